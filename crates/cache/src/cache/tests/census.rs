//! What a census says is what there is.

use super::*;
use crate::policy::Queue;

/// Items by log, and those of the main log by uses, one by one.
fn recount(cache: &Cache) -> ([u64; 4], [u64; 4]) {
    let (mut by_log, mut by_uses) = ([0; 4], [0; 4]);
    for shard in &cache.shards {
        for (queue, uses) in shard.0.lock().uses() {
            by_log[queue.number()] += 1;
            if queue == Queue::Main {
                by_uses[usize::from(uses)] += 1;
            }
        }
    }
    (by_log, by_uses)
}

/// The same as a census has it.
fn counted(census: &Census) -> ([u64; 4], [u64; 4]) {
    let [small, medium, large] = &census.probation;
    ([small, medium, large, &census.main].map(|log| log.items), census.main_uses)
}

/// Keeps using some items while others, of lengths up to `longest`, pass through; at another time
/// it is others that are used.
fn use_some(cache: &Cache, items: u32, longest: u32, now: Seconds) {
    let mut chance = Chance(7);
    let mut put = |key: &str, most: u32| {
        let value = vec![b'x'; chance.below(most) as usize];
        told(cache, key, &Op::Store(Store { value: &value, ..Store::SET }), now);
        chance.below(items / 20)
    };
    let mut next = 0;
    for number in 0..items {
        let hot = format!("hot-{now}-{next}");
        if get(cache, &hot, now).is_none() {
            put(&hot, 200);
        }
        next = put(&format!("key-{number}"), longest);
    }
}

#[test]
fn each_byte_is_counted_where_it_belongs() {
    let cache = cache(8 << 20);
    let empty = cache.census(NOW).memory;
    assert_eq!((empty.limit, empty.records, empty.slack, empty.over), (8 << 20, 0, 0, 0));
    assert_eq!(empty.free, (8 << 20) - empty.index);

    set(&cache, "k", &[b'x'; 100], 0);
    let one = cache.census(NOW).memory;
    let segment = cache.arena.segment_bytes() as u64;
    assert_eq!((one.records, one.slack, one.dead), (113, segment - 113, 0));

    told(&cache, "k", &Op::Delete(Delete::default()), NOW);
    set(&cache, "k", &[b'x'; 50], 10);
    let now = cache.census(NOW).memory;
    assert_eq!((now.records, now.dead), (67, 113));
    let later = cache.census(NOW + 10).memory;
    assert_eq!((later.records, later.dead), (0, 180), "what has expired is dead");

    cache.lend(1 << 20, NOW);
    let lent = cache.census(NOW).memory;
    assert_eq!((lent.lent, lent.free), (1 << 20, now.free - (1 << 20)));
    cache.lend(100 << 20, NOW);
    let lent = cache.census(NOW).memory;
    assert_eq!((lent.lent, lent.over), (4 << 20, 0), "half stays with the items");
    cache.lend(-(101 << 20), NOW);
    assert_eq!(cache.census(NOW).memory.lent, 4 << 20, "it may soon be needed again");
    cache.lend(0, NOW + 2);
    assert_eq!(cache.census(NOW).memory.lent, 0);
}

#[test]
fn pages_are_told_apart_by_who_has_them() {
    let cache = cache(8 << 20);
    set(&cache, "k", &[b'x'; 10_000], 0);
    let memory = cache.census(NOW).memory;
    assert_eq!((memory.pages, memory.passing), (8192, 0));
    assert!(memory.bookkeeping > 0 && memory.slack > 8192);

    let Outcome::Hit(hit) = told(&cache, "k", &Op::Fetch(Fetch::GET), NOW) else { panic!() };
    cache.remove(b"k", NOW);
    let memory = cache.census(NOW).memory;
    assert_eq!((memory.pages, memory.passing), (0, 8192), "it is still being sent");
    drop(hit);
    let memory = cache.census(NOW).memory;
    assert_eq!((memory.pages, memory.passing), (0, 0));
}

#[test]
fn what_is_above_a_lower_limit_is_told() {
    let options = Options { memory_limit: 4 << 20, evict: false, shards: Some(2) };
    let cache = Cache::new(&options);
    for number in 0..20_000 {
        set(&cache, &format!("key-{number}"), &[b'x'; 100], 0);
    }
    cache.set_memory_limit(1 << 20, NOW);
    cache.shrink(NOW);
    let memory = cache.census(NOW).memory;
    assert_eq!((memory.limit, memory.free), (1 << 20, 0));
    assert_eq!(memory.used(), memory.limit + memory.over);
    assert!(memory.over > 1 << 20);
    assert_accounts(&cache);
}

#[test]
fn a_small_cache_is_counted_item_by_item() {
    let cache = cache(1 << 20);
    use_some(&cache, 20_000, 1500, NOW);
    let census = cache.census(NOW);
    let stats = cache.stats(NOW);
    assert_eq!(census.sampled, stats.items);
    assert_eq!(counted(&census), recount(&cache));
    assert!(census.main.items > 0 && census.main_uses[3] > 0, "{census:?}");
    assert_eq!(census.main_uses.iter().sum::<u64>(), census.main.items);
    let logs = census.probation.iter().chain([&census.main]);
    assert_eq!(logs.map(|log| log.bytes).sum::<u64>(), stats.bytes);
    let spread = census.shard_items;
    assert_eq!((spread.count(), spread.mean()), (4, stats.items / 4));
    assert!(0 < spread.least() && spread.least() <= spread.mean(), "{spread:?}");
    assert!(spread.mean() <= spread.most() && spread.most() < stats.items, "{spread:?}");
    assert_eq!(census.shard_evictions.mean(), stats.evictions / 4);
    assert!((50..=300).contains(&census.probation_permille.mean()));
}

#[test]
fn of_a_large_cache_some_items_stand_for_all() {
    let cache = cache(48 << 20);
    use_some(&cache, 500_000, 300, NOW);
    let census = cache.census(NOW);
    let items = cache.stats(NOW).items;
    assert!(census.sampled < items / 8, "{} of {items}", census.sampled);
    let ((logs, uses), (all_logs, all_uses)) = (counted(&census), recount(&cache));
    for (estimate, exact) in logs.into_iter().chain(uses).zip(all_logs.into_iter().chain(all_uses))
    {
        // Five times what is usual.
        assert!(estimate.abs_diff(exact) < items / 40, "{estimate} for {exact} of {items}");
    }
}

#[test]
fn segments_have_the_age_of_their_place_in_the_log() {
    let cache = Cache::new(&Options { memory_limit: 8 << 20, shards: Some(1), evict: true });
    let value = [b'x'; 1000];
    for number in 0..100 {
        let op = Op::Store(Store { value: &value, ..Store::SET });
        told(&cache, &format!("key-{number}"), &op, NOW + number);
    }
    let census = cache.census(NOW + 150);
    let [small, medium, large] = &census.probation;
    assert_eq!((small.segments(), large.segments()), (0, 0));
    // Thirty-two records fill a segment.
    assert_eq!((medium.segments(), census.main.segments()), (4, 0));
    assert_eq!((medium.newest(), medium.median(), medium.oldest()), (54, 118, 150));
    let memory = census.memory;
    assert_eq!((memory.records + memory.slack) / census.segment_bytes, 4);
}

#[test]
fn the_main_log_begins_with_what_is_used_or_comes_back() {
    const KEYS: u64 = 400_000;
    let cache = cache(4 << 20);
    let store = |number: u64| drop(set(&cache, &format!("key-{number}"), &[0; 100], 0));
    let begun = || cache.shards.iter().filter(|shard| shard.0.lock().has_main_log()).count();
    (0..KEYS).for_each(store);
    let last_that_went = KEYS - cache.stats(NOW).items;
    assert!(last_that_went > KEYS / 2);
    assert_eq!(begun(), 0, "nothing was used twice, nor came back");
    // Not the very last: shards are not equally far.
    (last_that_went - 6000..last_that_went - 2000).for_each(store);
    assert_eq!(begun(), cache.shards.len());
    let ([.., in_main], _) = recount(&cache);
    assert!(in_main > 2000, "{in_main}");
}

#[test]
fn those_that_stay_begin_anew_in_the_main_log() {
    let cache = Cache::new(&Options { memory_limit: 2 << 20, shards: Some(1), evict: true });
    use_some(&cache, 40_000, 300, NOW);
    assert_eq!(cache.census(NOW + 100).main.newest(), 100);
    // Others are used, until each segment has had its turn.
    for later in 50..55 {
        use_some(&cache, 40_000, 300, NOW + later);
    }
    let main = cache.census(NOW + 100).main;
    assert_eq!(main.newest(), 46);
    assert!(main.oldest() <= 50, "{main:?}");
}

#[test]
fn the_next_to_leave_is_found_behind_those_that_are_gone() {
    let cache = Cache::new(&Options { shards: Some(1), ..Options::default() });
    assert_eq!(cache.oldest_use(NOW), 0);
    // Beside these, the others are large, and one segment has them all.
    for number in 0..2000 {
        set(&cache, &format!("tiny-{number}"), b"", 0);
    }
    let op = Op::Store(Store { value: &[b'x'; 200], ..Store::SET });
    for number in 0..400 {
        told(&cache, &format!("key-{number}"), &op, NOW + number);
    }
    assert_eq!(cache.oldest_use(NOW + 1000), 1000);
    for (gone, oldest) in [(101, 899), (300, 745)] {
        for number in 0..gone {
            cache.remove(format!("key-{number}").as_bytes(), NOW);
        }
        // No more than 256 are looked at: the last of them is near enough.
        assert_eq!(cache.oldest_use(NOW + 1000), oldest);
    }
}
