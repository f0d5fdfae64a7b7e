//! Buffers that connections of one worker share. A connection holds one only while it has a use
//! for it, so that an idle connection costs next to nothing and a busy worker's buffers stay in
//! the processor's cache.

use std::cell::RefCell;

/// Capacity of an input buffer, in bytes: a value of 16 KiB and the longest line fit.
pub(crate) const INPUT_BYTES: usize = 18 << 10;

/// An output buffer that has grown past this many bytes is not kept. An input buffer that has
/// grown at all is not: the next connection would hold more than it asked for.
const MAX_OUTPUT_BYTES: usize = 128 << 10;

/// How many bytes of buffers of each kind a worker keeps: those of 16 busy connections, or more.
const MAX_KEPT_BYTES: usize = 512 << 10;

thread_local! {
    static INPUTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static OUTPUTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer to read into.
pub(crate) fn take_input() -> Vec<u8> {
    INPUTS.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(INPUT_BYTES))
}

/// Gives an input buffer back.
pub(crate) fn give_input(buffer: Vec<u8>) {
    INPUTS.with_borrow_mut(|kept| keep(kept, buffer, INPUT_BYTES));
}

/// An empty buffer to collect replies in.
pub(crate) fn take_output() -> Vec<u8> {
    OUTPUTS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Gives an output buffer back.
pub(crate) fn give_output(buffer: Vec<u8>) {
    OUTPUTS.with_borrow_mut(|kept| keep(kept, buffer, MAX_OUTPUT_BYTES));
}

fn keep(kept: &mut Vec<Vec<u8>>, mut buffer: Vec<u8>, most: usize) {
    let bytes = buffer.capacity() + kept.iter().map(Vec::capacity).sum::<usize>();
    if buffer.capacity() > 0 && buffer.capacity() <= most && bytes <= MAX_KEPT_BYTES {
        buffer.clear();
        kept.push(buffer);
    }
}
