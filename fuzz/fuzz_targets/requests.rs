//! Whatever bytes a client sends and however they are cut: no panic, progress, and the same
//! requests as if they had come in one piece. The first byte says where they are cut.
#![no_main]

use larder_protocol::{Limits, Parsed, parse};
use libfuzzer_sys::fuzz_target;

/// Small, so that they are met.
const LIMITS: Limits = Limits { item: 128, line: 128, keys_line: 256, buffer: usize::MAX };

fuzz_target!(|data: &[u8]| {
    let Some((&step, input)) = data.split_first() else { return };
    let whole = requests(input, input.len());
    let pieces = requests(input, usize::from(step).max(1));
    assert_eq!(whole, pieces);
});

/// The requests in `input`, of which `step` bytes more are seen each time more is needed.
fn requests(input: &[u8], step: usize) -> Vec<String> {
    let (mut found, mut start, mut end) = (Vec::new(), 0, 0);
    loop {
        match parse(&input[start..end], &LIMITS) {
            Parsed::Done { request, consumed } => {
                assert!(consumed > 0 && consumed <= end - start);
                found.push(format!("{request:?}"));
                start += consumed;
            }
            Parsed::Incomplete { need, .. } => {
                assert!(need > end - start);
                if end == input.len() {
                    return found;
                }
                end = input.len().min(end + step);
            }
        }
    }
}
