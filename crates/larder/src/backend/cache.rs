//! The memory engine as a server knows it.

use std::fmt::Display;
use std::future::Pending;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use larder_cache::{Cache, HandOver, Options, Runway, Walk};
use larder_cluster::Engine;
use larder_protocol::{Form, Item, Op, Outcome, Seconds};
use larder_server::{Backend, Session, StatsGroup};

use super::engine;

/// A cache, served.
#[derive(Debug)]
pub struct CacheBackend {
    cache: Arc<Cache>,
    options: Options,
}

/// One connection's part of a cache: all of it, since every answer is at hand.
#[derive(Debug)]
pub struct CacheSession(Arc<Cache>);

impl CacheBackend {
    /// An empty cache.
    pub fn new(options: Options) -> Self {
        Self::of(Arc::new(Cache::new(&options)), options)
    }

    /// This cache, made with these options.
    pub fn of(cache: Arc<Cache>, options: Options) -> Self {
        Self { cache, options }
    }
}

impl Session for CacheSession {
    type Pending = Pending<Outcome<'static>>;
    type Landing = Runway;

    fn land(&self, len: usize, now: Seconds) -> Option<Runway> {
        self.0.land(len, now)
    }

    fn lengthen(&self, landing: &mut Runway, now: Seconds) -> bool {
        self.0.lengthen(landing, now)
    }

    #[inline]
    fn expect(&self, keys: &[&[u8]]) {
        self.0.expect(keys);
    }

    #[inline]
    fn execute<R>(
        &mut self,
        key: &[u8],
        op: &Op<'_>,
        _form: &Form<'_>,
        landed: Option<Runway>,
        now: Seconds,
        respond: R,
    ) -> Option<Self::Pending>
    where
        R: FnOnce(Outcome<'_>),
    {
        match landed {
            None => self.0.execute(key, op, now, respond),
            Some(runway) => self.0.execute_landed(key, op, runway, now, respond),
        }
        None
    }

    fn refused(&mut self, key: &[u8], now: Seconds) {
        self.0.remove(key, now);
    }

    fn flush_all(&mut self, at: Seconds, now: Seconds) -> Option<Self::Pending> {
        self.0.flush_all(at, now);
        None
    }
}

impl Backend for CacheBackend {
    type Worker = ();
    type Session = CacheSession;

    fn worker(&self) {}

    fn session(&self, (): &()) -> CacheSession {
        CacheSession(Arc::clone(&self.cache))
    }

    fn stats(&self, group: StatsGroup, now: Seconds, emit: &mut dyn FnMut(&str, &str)) {
        let mut stat = |name: &str, value: &dyn Display| emit(name, &value.to_string());
        let stats = self.cache.stats(now);
        match group {
            StatsGroup::General => {
                stat("get_expired", &stats.get_expired);
                stat("limit_maxbytes", &stats.memory_limit);
                stat("hash_bytes", &stats.index_bytes);
                stat("bytes", &stats.bytes);
                stat("curr_items", &stats.items);
                stat("total_items", &stats.stored);
                stat("expired_unfetched", &stats.expired_unfetched);
                stat("evicted_unfetched", &stats.evicted_unfetched);
                stat("evictions", &stats.evictions);
                stat("reclaimed", &stats.reclaimed);
            }
            StatsGroup::Settings => {
                stat("maxbytes", &stats.memory_limit);
                stat("evictions", if self.options.evict { &"on" } else { &"off" });
                stat("hash_algorithm", &"ahash");
            }
            // There are no slab classes: all items are of class 1.
            StatsGroup::Items if stats.items > 0 => {
                stat("items:1:number", &stats.items);
                stat("items:1:age", &self.cache.oldest_use(now));
                stat("items:1:mem_requested", &stats.payload_bytes);
                stat("items:1:evicted", &stats.evictions);
                stat("items:1:evicted_nonzero", &stats.evicted_with_ttl);
                stat("items:1:evicted_time", &stats.evicted_idle_secs);
                stat("items:1:outofmemory", &stats.out_of_memory);
                stat("items:1:reclaimed", &stats.reclaimed);
                stat("items:1:expired_unfetched", &stats.expired_unfetched);
                stat("items:1:evicted_unfetched", &stats.evicted_unfetched);
            }
            StatsGroup::Items
            | StatsGroup::Cluster
            | StatsGroup::Bdb
            | StatsGroup::Rep
            | StatsGroup::RepCfg
            | StatsGroup::RepMs => {}
            StatsGroup::Slabs => {
                if stats.items > 0 {
                    stat("1:used_chunks", &stats.items);
                }
                stat("active_slabs", &u8::from(stats.items > 0));
                stat("total_malloced", &stats.bytes);
            }
            StatsGroup::Sizes => {
                for (bytes, items) in self.cache.sizes(now) {
                    stat(&bytes.to_string(), &items);
                }
            }
            StatsGroup::Engine => engine::tell(&self.cache.census(now), &mut stat),
        }
    }

    fn list(&self, most: usize, now: Seconds, emit: &mut dyn FnMut(&[u8], usize, Seconds)) {
        self.cache.list(most, now, emit);
    }

    fn lend(&self, change: i64, now: Seconds) {
        self.cache.lend(change, now);
    }

    fn reset_stats(&self) {
        self.cache.reset_stats();
    }

    fn set_memory_limit(&self, bytes: u64, now: Seconds) -> Result<(), &'static str> {
        self.cache.set_memory_limit(bytes, now);
        let cache = Arc::clone(&self.cache);
        // Beside the workers, since it can take seconds; and no more than half of the time, since
        // there may be no processor but theirs.
        let shrink = move || {
            let mut begun = Instant::now();
            while cache.shrink_a_step(now) {
                thread::sleep(begun.elapsed());
                begun = Instant::now();
            }
        };
        if thread::Builder::new().name("shrink".to_owned()).spawn(shrink).is_err() {
            self.cache.shrink(now);
        }
        Ok(())
    }
}

impl Engine for CacheBackend {
    type Walk = Walk;
    type HandOver = HandOver;

    #[inline]
    fn expect(&self, keys: &[&[u8]]) {
        self.cache.expect(keys);
    }

    #[inline]
    fn execute(&self, key: &[u8], op: &Op<'_>, now: Seconds, respond: impl FnOnce(Outcome<'_>)) {
        self.cache.execute(key, op, now, respond);
    }

    fn flush_all(&self, at: Seconds, now: Seconds) {
        self.cache.flush_all(at, now);
    }

    fn items(&self) -> u64 {
        self.cache.stats(larder_server::now()).items
    }

    fn forget(&self, key: &[u8], now: Seconds) {
        self.cache.remove(key, now);
    }

    fn take_over(&self, key: &[u8], item: &Item<'_>, now: Seconds) -> bool {
        self.cache.take_over(key, item, now)
    }

    fn hand_over(&self, now: Seconds) -> HandOver {
        HandOver::new(now)
    }

    fn hand_over_a_step(
        &self,
        hand_over: &mut HandOver,
        now: Seconds,
        give: impl FnMut(&[u8], Item<'_>),
    ) -> bool {
        self.cache.hand_over_a_step(hand_over, now, give)
    }

    fn walk(&self) -> Walk {
        Walk::default()
    }

    fn drop_a_step(&self, walk: &mut Walk, now: Seconds, keep: impl FnMut(&[u8]) -> bool) -> bool {
        self.cache.drop_a_step(walk, now, keep)
    }
}
