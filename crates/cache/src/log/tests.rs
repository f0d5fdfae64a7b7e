use std::sync::Arc;

use super::*;
use crate::arena::Arena;

const SEGMENT: usize = 16 << 10;

#[test]
fn what_room_a_segment_has_is_not_lost_to_the_next() {
    let arena = Arc::new(Arena::anonymous(SEGMENT));
    arena.set_limit(|| 3);
    let mut logs = Logs::new(SEGMENT);
    let begin = |logs: &mut Logs, used| {
        let number = logs.begin(arena.take().unwrap(), Queue::Main, 0, 0);
        logs.grow(number, used);
        number
    };
    // What stays of one that was looked through is little, and comes behind one just begun.
    let looked_through = begin(&mut logs, 1000);
    logs.detach(looked_through, Queue::Main);
    let other = begin(&mut logs, 2000);
    logs.attach(looked_through);
    assert_eq!(logs.roomy(Queue::Main, 15_000), Some(looked_through));
    logs.grow(looked_through, 15_000);
    assert_eq!(logs.roomy(Queue::Main, 1000), Some(other));
    logs.grow(other, 14_000);
    assert_eq!(logs.roomy(Queue::Main, 1000), None);
}
