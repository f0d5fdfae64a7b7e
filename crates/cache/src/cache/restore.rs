//! Empty shards filled with what a file has.

use std::num::NonZero;
use std::thread;

use ahash::RandomState;
use larder_protocol::Seconds;
use parking_lot::Mutex;

use crate::arena::Recovery;
use crate::image::Image;
use crate::label::Label;
use crate::restored::Restored;
use crate::shard::Shard;

/// Fills empty shards with what a file has: several at a time, as many as there are processors.
pub(super) fn restore(
    shards: &mut [Shard],
    mut recovery: Recovery,
    image: &Image,
    hashing: &RandomState,
    now: Seconds,
) -> (Recovery, Restored) {
    let mut segments: Vec<_> = shards.iter().map(|_| Vec::new()).collect();
    for number in 0..recovery.segments() {
        let memory = recovery.segment(number);
        let Some(label) = memory.and_then(|memory| Label::read(memory, image.secret())) else {
            continue;
        };
        let shard = usize::from(label.shard);
        let Some(its) = segments.get_mut(shard) else { continue };
        if label.number >= image.past(shard).first_segment {
            its.extend(recovery.claim(number).map(|memory| (label, memory)));
        }
    }
    let recovery = Mutex::new(recovery);
    let restored = Mutex::new(Restored::default());
    let tasks = Mutex::new(shards.iter_mut().zip(segments));
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some((shard, segments)) = tasks.lock().next() else { return };
                    let found = shard.restore(segments, &recovery, hashing, now);
                    restored.lock().add(&found);
                }
            });
        }
    });
    (recovery.into_inner(), restored.into_inner())
}
