//! `stats engine`: what the memory engine says of itself. `docs/engine.md` says how to read it.

use std::fmt::Display;

use larder_cache::{Census, LogCensus, Memory, Spread};

/// Names and values of a census.
pub(super) fn tell(census: &Census, stat: &mut dyn FnMut(&str, &dyn Display)) {
    memory(&census.memory, stat);
    stat("segment_bytes", &census.segment_bytes);
    for (name, log) in ["small", "medium", "large"].into_iter().zip(&census.probation) {
        segments(name, log, stat);
    }
    segments("main", &census.main, stat);
    for (uses, items) in census.main_uses.iter().enumerate() {
        stat(&format!("main:uses_{uses}"), items);
    }
    stat("sampled_items", &census.sampled);
    stat("shards", &census.shard_items.count());
    spread("probation_permille", &census.probation_permille, stat);
    spread("shard_items", &census.shard_items, stat);
    spread("shard_bytes", &census.shard_bytes, stat);
    spread("shard_evictions", &census.shard_evictions, stat);
}

fn memory(memory: &Memory, stat: &mut dyn FnMut(&str, &dyn Display)) {
    stat("memory_limit", &memory.limit);
    stat("memory_records", &memory.records);
    stat("memory_pages", &memory.pages);
    stat("memory_passing", &memory.passing);
    stat("memory_dead", &memory.dead);
    stat("memory_slack", &memory.slack);
    stat("memory_index", &memory.index);
    stat("memory_ghosts", &memory.ghosts);
    stat("memory_bookkeeping", &memory.bookkeeping);
    stat("memory_lent", &memory.lent);
    stat("memory_free", &memory.free);
    stat("memory_over", &memory.over);
}

fn segments(name: &str, log: &LogCensus, stat: &mut dyn FnMut(&str, &dyn Display)) {
    stat(&format!("{name}:items"), &log.items);
    stat(&format!("{name}:bytes"), &log.bytes);
    stat(&format!("{name}:segments"), &log.segments());
    stat(&format!("{name}:newest_age"), &log.newest());
    stat(&format!("{name}:median_age"), &log.median());
    stat(&format!("{name}:oldest_age"), &log.oldest());
}

fn spread(name: &str, spread: &Spread, stat: &mut dyn FnMut(&str, &dyn Display)) {
    stat(&format!("{name}:least"), &spread.least());
    stat(&format!("{name}:mean"), &spread.mean());
    stat(&format!("{name}:most"), &spread.most());
}
