//! The thread that keeps house: it takes back dead records, has the engine make durable what it was
//! given and the log forget that, notes how far that is and what time it is, looks how much room there
//! is, and notices an engine or a log that has given up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use larder_protocol::{Outcome, Seconds};
use tracing::{error, warn};

use crate::caution::Caution;
use crate::cluster::{Cluster, Hosting};
use crate::directory::Directory;
use crate::error::Error;
use crate::failure;
use crate::groups::Groups;
use crate::pending::Ticket;
use crate::placement::GroupId;
use crate::replica::Replica;
use crate::shared::Shared;
use crate::stats::Condition;
use crate::stop::Stop;
use crate::sweep::Sweep;

/// The thread that keeps house.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    groups: Arc<Groups>,
    directory: Arc<Directory>,
    /// For each group the place up to which the engine was noted to be durable last.
    noted: BTreeMap<GroupId, u64>,
    /// When the engine was made durable last, and how many bytes were proposed by then.
    persisted: (Instant, u64),
    /// The time that was noted last.
    clock: Seconds,
    /// For how many seconds a time was doubted, as it was noted last.
    doubted: u64,
    sweep: Sweep,
    caution: Caution,
    cluster: Option<Arc<Cluster>>,
    /// Whether the log was told last that there is no room, and when.
    told_full: bool,
    told_at: Option<Instant>,
    /// Whether what others have is left to them.
    retired: bool,
    /// Looks for what is damaged, once something may be, and how it is ended.
    search: Option<JoinHandle<()>>,
    stop_search: Arc<Stop>,
}

impl Keeper {
    pub(crate) fn new(
        shared: Arc<Shared>,
        groups: Arc<Groups>,
        directory: Arc<Directory>,
        caution: Caution,
        cluster: Option<Arc<Cluster>>,
    ) -> Self {
        let (sweep, noted) = (Sweep::default(), shared.ways.watermarks());
        let (told_full, told_at) = (false, None);
        Self {
            shared,
            groups,
            directory,
            noted,
            persisted: (Instant::now(), 0),
            clock: 0,
            doubted: 0,
            sweep,
            caution,
            cluster,
            told_full,
            told_at,
            retired: false,
            search: None,
            stop_search: Arc::default(),
        }
    }

    pub(crate) fn run(mut self, stop: &Stop) {
        let mut ticks = 0_u32;
        while !stop.wait(TICK) {
            let per_sec = self.shared.options.sweep_per_sec;
            if per_sec > 0 {
                let limit = per_sec.div_ceil(TICKS_PER_SEC) as usize;
                let surely = self.surely().unwrap_or(0);
                self.sweep.tick(&self.shared, limit, surely);
            }
            self.look();
            self.retire();
            self.search();
            ticks = ticks.wrapping_add(1);
            self.checkpoint();
            self.persist();
            if ticks.is_multiple_of(TICKS_PER_NOTE) {
                self.note();
                self.note_doubt(BETWEEN_DOUBTS);
            }
        }
        self.shared.ways.checkpoints.close();
        tell(self.shared.ways.checkpoints.drain(), &Outcome::Failed(failure::CLOSED));
        // The log need not forget it: what is done twice is done once.
        for error in self.groups.each(|replica| async move { replica.persist().await }) {
            warn!("{}: it will be done again from the log: {error}", self.shared.path.display());
        }
        self.note();
        self.note_doubt(1);
        self.stop_search.stop();
        // One that panicked has found nothing.
        self.search.take().into_iter().for_each(|search| drop(search.join()));
    }

    /// Has the engine make durable what it was given, from time to time: so much is done again from
    /// the log after a crash.
    fn persist(&mut self) {
        let shared = &self.shared;
        let logged = shared.counters.logged_bytes.value();
        let (when, before) = self.persisted;
        let every = shared.options.checkpoint_every;
        let due = logged.saturating_sub(before) >= shared.options.log_bytes / 2
            || (!every.is_zero() && when.elapsed() >= every);
        // What was on its way to a slow node may have come there, or is to be kept no longer.
        let again = || when.elapsed() >= FORGOTTEN_AGAIN && self.log_is_filling();
        let wanted = (due && logged != before) || again();
        if wanted && !shared.health.is_poisoned() {
            self.forget(logged);
        }
    }

    /// Does so because somebody asks for it.
    fn checkpoint(&mut self) {
        // Who asks from now on is told of the next.
        let waiting = self.shared.ways.checkpoints.drain();
        if waiting.is_empty() {
            return;
        }
        let poisoned = self.shared.health.is_poisoned();
        let logged = self.shared.counters.logged_bytes.value();
        let outcome = if poisoned {
            Outcome::Failed(failure::POISONED)
        } else if self.forget(logged) {
            Outcome::Done
        } else {
            Outcome::Failed(failure::KEPT)
        };
        tell(waiting, &outcome);
    }

    /// Has the engine make durable what it was given, when so many bytes had been proposed. Whether the
    /// log has forgotten it.
    fn forget(&mut self, logged: u64) -> bool {
        self.persisted = (Instant::now(), logged);
        let log = self.groups.log();
        let forget = |replica: Arc<Replica>| async move { replica.forget_history(log).await };
        // If it is the engine that has failed, the machine has said so.
        let failed = self.groups.each(forget);
        for error in &failed {
            warn!("{}: the log is kept longer: {error}", self.shared.path.display());
        }
        failed.is_empty()
    }

    fn log_is_filling(&self) -> bool {
        self.shared.is_among_others() && self.groups.log().is_filling()
    }

    /// Publishes what the engine says of itself, and whether there is room.
    pub(crate) fn look(&mut self) {
        let shared = &self.shared;
        let usage = shared.storage.usage();
        *shared.usage.lock() = usage;
        let reserve = shared.health.reserve(usage.sorted_bytes(), &shared.options);
        let room = shared.storage.room().ok();
        shared.health.admission(room);
        let Some(room) = room else { return };
        let full = shared.health.condition() == Condition::OutOfSpace;
        let again = self.told_at.is_none_or(|told| told.elapsed() >= BETWEEN_TOLD);
        if full == self.told_full || !again {
            return;
        }
        (self.told_full, self.told_at) = (full, Some(Instant::now()));
        let path = shared.path.display();
        if full {
            let (needs, has) = (reserve.div_ceil(1 << 20), room >> 20);
            warn!(
                "{path}: out of disk space: needs {needs} MiB free, has {has} MiB: writes are \
                 refused until there is room"
            );
        } else if !shared.health.is_poisoned() {
            warn!("{path}: there is room again, {} MiB: writes are taken", room >> 20);
        }
    }

    /// Leaves to others what they have, once nothing is acknowledged here any more.
    fn retire(&mut self) {
        let poisoned = self.shared.health.poisoned();
        if self.retired || poisoned != Some(failure::POISONED) || !self.shared.is_among_others() {
            return;
        }
        self.retired = true;
        let path = self.shared.path.display();
        error!("{path}: its replicas stop, and what is asked here is forwarded to others");
        self.groups.retire();
    }

    /// Has a thread find what is damaged, once, when something may be: the engine says that a block is,
    /// and not which.
    fn search(&mut self) {
        if self.search.is_some() || !self.shared.health.is_suspect() {
            return;
        }
        let (shared, stop) = (Arc::clone(&self.shared), Arc::clone(&self.stop_search));
        let search = move || search(&shared, &stop);
        // There may be room for another thread at the next tick.
        self.search = thread::Builder::new().name("store-search".to_owned()).spawn(search).ok();
    }

    fn note(&mut self) {
        let shared = &self.shared;
        if shared.health.is_poisoned() {
            return;
        }
        if let Err(error) = shared.storage.check() {
            shared.health.poison(error);
            return;
        }
        if let Some(why) = self.cluster.as_ref().and_then(|cluster| cluster.refusal()) {
            shared.health.poison(Error::Member { detail: why.to_owned() });
            return;
        }
        if let Some(why) = self.groups.failure() {
            let source = std::io::Error::other(why);
            shared.health.poison(Error::io("write to", &shared.path)(source));
            return;
        }
        let durable = shared.ways.watermarks();
        // A note that fails is made up for by the next; the older one stays true.
        if durable != self.noted
            && self.directory.note_watermarks(|| shared.ways.watermarks()).is_ok()
        {
            self.noted = durable;
        }
        if let Some(now) = self.surely()
            && now.abs_diff(self.clock) >= BETWEEN_CLOCKS
            && self.directory.note_clock(now).is_ok()
        {
            if self.clock == 0 {
                self.directory.forget_doubt();
            }
            self.clock = now;
        }
    }

    /// Notes a doubt that has lasted so many seconds more than was noted.
    fn note_doubt(&mut self, more: u64) {
        if let Some(doubt) = self.caution.doubt(Instant::now())
            && doubt.secs >= self.doubted.saturating_add(more)
            && self.directory.note_doubt(doubt).is_ok()
        {
            self.doubted = doubt.secs;
        }
    }

    fn surely(&mut self) -> Option<Seconds> {
        let told = self.shared.clock.now();
        let machine = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let machine = Seconds::try_from(machine).unwrap_or(Seconds::MAX);
        self.caution.surely(told, machine, Instant::now(), &self.shared.path)
    }
}

/// Reads all that the engine has sorted, slowly enough to leave the disk to others, until it finds what is
/// not what was written.
fn search(shared: &Shared, stop: &Stop) {
    let mut read = 0;
    let found = shared.storage.find_damaged(&mut |bytes| {
        read += bytes;
        if read < SLICE {
            return true;
        }
        read = 0;
        !stop.wait(BETWEEN_SLICES)
    });
    if let Some(error) = found {
        shared.health.damaged(error);
    }
}

fn tell(waiting: VecDeque<Ticket>, outcome: &Outcome<'static>) {
    for ticket in waiting {
        ticket.answer(outcome.clone()).into_iter().for_each(Waker::wake);
    }
}

/// So much is read of a damaged store in one go, and such a pause made then: 50 MiB a second at most.
const SLICE: usize = 1 << 20;
const BETWEEN_SLICES: Duration = Duration::from_millis(20);
/// A log that is filling is asked so often to forget what it has, though nothing is written.
const FORGOTTEN_AGAIN: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(100);
const TICKS_PER_SEC: u32 = 10;
const TICKS_PER_NOTE: u32 = 10;
/// Seconds after which the time is noted anew.
const BETWEEN_CLOCKS: Seconds = 60;
/// Seconds after which a doubt is noted anew.
const BETWEEN_DOUBTS: u64 = 10;
/// A volume whose room goes up and down around the reserve does not fill the log.
const BETWEEN_TOLD: Duration = Duration::from_secs(10);
