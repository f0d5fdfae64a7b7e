//! Up to which moment a replica is known to have all that was acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Up to which moment this node's replica of a group is known to have all that was acknowledged, for
/// reads that may be answered from it though nobody is asked for them.
///
/// The moment is that at which it was asked how far the group is, by this node's own clock, which never
/// goes back. It counts once a majority has said since that who answers leads, and the machine has done
/// as much. A heartbeat proves nothing of the kind: one that leads no longer sends them too.
#[derive(Debug)]
pub(crate) struct Freshness {
    /// How long ago the moment may be; `None` if no read is answered so.
    bound: Option<Duration>,
    epoch: Instant,
    /// In nanoseconds since the epoch, 0 for none.
    moment: AtomicU64,
    tenure: AtomicU64,
    /// Held while the tenure ends, or the moment is that of one: who reads needs no lock, for it looks
    /// at the tenure before and behind.
    changing: Mutex<()>,
    /// When it was asked last, in nanoseconds since the epoch, 0 for never.
    asked: AtomicU64,
    /// It is to be asked, or is being asked.
    is_asking: AtomicBool,
    is_due: AtomicBool,
}

/// A question how far the group is: what the answer proves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    /// All that was acknowledged before this is there.
    pub(crate) moment: Instant,
    /// While the tenure is this.
    pub(crate) tenure: u64,
    /// An answer after so long is worth nothing.
    pub(crate) limit: Duration,
}

/// What there is for a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// It may be answered while the tenure is this; `None` if it may not.
    pub(crate) tenure: Option<u64>,
    /// Who asks questions is to be called.
    pub(crate) is_due: bool,
}

impl Freshness {
    /// Of a replica of which nothing is known, whose reads may be so old.
    pub(crate) fn new(bound: Option<Duration>) -> Self {
        let (moment, tenure, asked) = Default::default();
        let (changing, is_asking, is_due) = Default::default();
        // So that no moment is 0.
        let now = Instant::now();
        let epoch = now.checked_sub(Duration::from_nanos(1)).unwrap_or(now);
        Self { bound, epoch, moment, tenure, changing, asked, is_asking, is_due }
    }

    /// Whether reads may be answered so at all.
    pub(crate) fn is_used(&self) -> bool {
        self.bound.is_some()
    }

    /// What there is for a read at `now`, which must see what was acknowledged before `after`. If it
    /// says so a question is due: somebody reads, and the last was a third of the bound ago, or a second
    /// if what is known does not do.
    pub(crate) fn look(&self, now: Instant, after: Option<Instant>) -> Sight {
        let Some(bound) = self.bound else { return Sight { tenure: None, is_due: false } };
        // Before the moment: that of a later tenure is then not taken for one of this.
        let tenure = self.tenure();
        let age = self.age(now).filter(|age| *age <= bound);
        let has_all = |after| self.moment.load(Ordering::SeqCst) >= self.since_epoch(after);
        let is_fresh = age.is_some() && after.is_none_or(has_all);
        let asked = self.asked.load(Ordering::Relaxed);
        let since_asked = self.since_epoch(now).saturating_sub(asked);
        let pause = if is_fresh { bound / PER_BOUND } else { PAUSE.min(bound / PER_BOUND) };
        let may_ask = asked == 0 || Duration::from_nanos(since_asked) >= pause;
        let is_due = may_ask && !self.is_asking.swap(true, Ordering::Relaxed);
        if is_due {
            self.is_due.store(true, Ordering::Release);
        }
        Sight { tenure: is_fresh.then_some(tenure), is_due }
    }

    /// Begins the question that is due, at `now`: it goes on until it is [over](Self::question_over).
    pub(crate) fn begin_question(&self, now: Instant) -> Option<Question> {
        let limit = self.bound?;
        if !self.is_due.swap(false, Ordering::Acquire) {
            return None;
        }
        self.asked.store(self.since_epoch(now), Ordering::Relaxed);
        Some(Question { moment: now, tenure: self.tenure(), limit })
    }

    /// Another may be asked when it is time.
    pub(crate) fn question_over(&self) {
        self.is_asking.store(false, Ordering::Relaxed);
    }

    /// All that was acknowledged before `moment` is here, or was in that tenure.
    pub(crate) fn learn(&self, moment: Instant, tenure: u64) {
        if self.bound.is_none() {
            return;
        }
        let _alone = self.changing.lock();
        if self.tenure() == tenure {
            self.moment.fetch_max(self.since_epoch(moment), Ordering::SeqCst);
        }
    }

    /// Nothing is known any more.
    pub(crate) fn forget(&self) {
        let _alone = self.changing.lock();
        self.moment.store(0, Ordering::SeqCst);
    }

    /// How long ago the moment is.
    pub(crate) fn age(&self, now: Instant) -> Option<Duration> {
        let moment = self.moment.load(Ordering::SeqCst);
        // One that another thread has learnt meanwhile may be later.
        (moment > 0).then(|| Duration::from_nanos(self.since_epoch(now).saturating_sub(moment)))
    }

    /// What was found out of the items is true while this stays the same.
    pub(crate) fn tenure(&self) -> u64 {
        self.tenure.load(Ordering::SeqCst)
    }

    /// The items are about to be taken away, or replaced: whoever reads them meanwhile finds this.
    pub(crate) fn end_tenure(&self) {
        let _alone = self.changing.lock();
        self.moment.store(0, Ordering::SeqCst);
        self.tenure.fetch_add(1, Ordering::SeqCst);
    }

    fn since_epoch(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// So often in the time of the bound it is asked at most, and so long before it has passed.
const PER_BOUND: u32 = 3;
/// Who could not say it a moment ago may by now.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(300);
    const STEP: Duration = Duration::from_nanos(1);

    fn fresh() -> (Freshness, Instant) {
        (Freshness::new(Some(BOUND)), Instant::now())
    }

    fn before(at: Instant) -> Instant {
        at.checked_sub(STEP).unwrap()
    }

    /// A question, and its answer.
    fn ask(freshness: &Freshness, now: Instant) {
        let Question { moment, tenure, limit } = freshness.begin_question(now).unwrap();
        assert_eq!((moment, limit), (now, BOUND));
        freshness.learn(moment, tenure);
        freshness.question_over();
    }

    #[test]
    fn what_is_known_is_good_for_as_long_as_the_bound() {
        let (freshness, now) = fresh();
        assert_eq!(freshness.look(now, None), Sight { tenure: None, is_due: true });
        assert_eq!(freshness.age(now), None);
        ask(&freshness, now);
        let tenure = |at| freshness.look(at, None).tenure;
        assert_eq!([now, now + BOUND, now + BOUND + STEP].map(tenure), [Some(0), Some(0), None]);
        assert_eq!(freshness.age(now + STEP), Some(STEP));
        // What was asked before is no news.
        freshness.learn(before(now), 0);
        assert_eq!(freshness.age(now + STEP), Some(STEP));
    }

    #[test]
    fn who_has_written_reads_only_what_is_known_since() {
        let (freshness, now) = fresh();
        freshness.learn(now, 0);
        let tenure = |after| freshness.look(now + STEP, Some(after)).tenure;
        assert_eq!([before(now), now, now + STEP].map(tenure), [Some(0), Some(0), None]);
    }

    #[test]
    fn a_question_is_due_once_and_only_where_somebody_reads() {
        let (freshness, now) = fresh();
        assert!(freshness.begin_question(now).is_none(), "nobody reads");
        let is_due = |at| freshness.look(at, None).is_due;
        assert!(is_due(now) && !is_due(now + BOUND), "it is not yet begun");
        assert!(freshness.begin_question(now).is_some());
        assert!(freshness.begin_question(now).is_none());
        assert!(!is_due(now + BOUND), "one is not answered yet");
        freshness.question_over();
        assert!(!is_due(before(now + BOUND / 3)));
        assert!(is_due(now + BOUND / 3) && !is_due(now + BOUND));
        ask(&freshness, now + BOUND / 3);
        // Steady readers never wait: the next is answered before what is known is too old.
        assert_eq!(freshness.look(now + BOUND, None), Sight { tenure: Some(0), is_due: true });
    }

    #[test]
    fn where_nothing_is_known_it_is_asked_again_within_a_second() {
        let long = Duration::from_hours(1);
        let freshness = Freshness::new(Some(long));
        let now = Instant::now();
        let is_due = |at, after| freshness.look(at, after).is_due;
        assert!(is_due(now, None) && freshness.begin_question(now).is_some());
        freshness.question_over();
        assert!(!is_due(before(now + PAUSE), None) && is_due(now + PAUSE, None));
        let question = freshness.begin_question(now + PAUSE).unwrap();
        freshness.learn(question.moment, question.tenure);
        freshness.question_over();
        assert!(!is_due(before(now + PAUSE + long / 3), None));
        // It does for others, but not for who has written since.
        assert!(is_due(now + PAUSE * 2, Some(now + PAUSE * 2)));
    }

    #[test]
    fn nothing_is_known_of_another_tenure() {
        let (freshness, now) = fresh();
        freshness.look(now, None);
        let question = freshness.begin_question(now).unwrap();
        freshness.learn(now, question.tenure);
        freshness.end_tenure();
        assert_eq!((freshness.look(now, None).tenure, freshness.tenure()), (None, 1));
        // An answer to what was asked before it ended.
        freshness.learn(now, question.tenure);
        assert_eq!(freshness.look(now, None).tenure, None);
        freshness.learn(now, 1);
        assert_eq!(freshness.look(now, None).tenure, Some(1));
        freshness.forget();
        assert_eq!((freshness.look(now, None).tenure, freshness.tenure()), (None, 1));
    }

    #[test]
    fn without_a_bound_nothing_is_known_or_asked() {
        let freshness = Freshness::new(None);
        let now = Instant::now();
        freshness.learn(now, 0);
        assert_eq!(freshness.look(now, None), Sight { tenure: None, is_due: false });
        assert!(freshness.begin_question(now).is_none() && freshness.age(now).is_none());
    }
}
