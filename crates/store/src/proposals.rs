//! What waits to be proposed to a group, and what this node has proposed and not yet done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::bell::Bell;
use crate::command::Command;
use crate::placement::GroupId;

/// What waits to be proposed to a group, and what this node has proposed, or forwarded to who may, and
/// not yet done, in the order in which it did.
///
/// An entry comes back by the group's history, when a majority has it, to the thread that applies it:
/// that one answers. Who learns that an entry will not come back, or may not, takes it out here, or
/// gives it back if it surely was not taken: it is proposed anew.
#[derive(Debug)]
pub(crate) struct Proposals {
    group: GroupId,
    /// Rung when who proposes can go on.
    bell: Arc<Bell>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Not proposed yet.
    waiting: VecDeque<Command>,
    proposed: VecDeque<Proposed>,
    /// By number.
    returned: BTreeMap<u64, Vec<Command>>,
    /// How many may be proposed before the first is done.
    room: usize,
    /// Who proposes was called, and will look.
    called: bool,
    /// It does not want to be called for a while.
    paused: bool,
    closed: bool,
    /// It is known that nothing comes any more.
    ended: bool,
    /// Who holds back what is not proposed yet, and until when.
    held: Option<(u64, Instant)>,
    /// The last term in which this node took what others forward, and whether it does still.
    term: u64,
    leads: bool,
}

/// Commands that were proposed together.
#[derive(Debug)]
struct Proposed {
    number: u64,
    since: Instant,
    commands: VecDeque<Command>,
}

/// What is next.
#[derive(Debug)]
pub(crate) enum Next {
    /// What was given back, in the order in which it was proposed. Nothing else is on its way.
    Again(Vec<Command>),
    /// What has been gathered.
    Gathered(Vec<Command>),
    /// Nothing yet.
    Nothing,
    /// Nothing any more: it is closed, and all is done.
    Ended,
}

impl Proposals {
    pub(crate) fn new(group: GroupId, bell: Arc<Bell>) -> Self {
        let inner = Inner {
            waiting: VecDeque::new(),
            proposed: VecDeque::new(),
            returned: BTreeMap::new(),
            room: 1,
            called: false,
            paused: false,
            closed: false,
            ended: false,
            held: None,
            term: 0,
            leads: false,
        };
        Self { group, bell, inner: Mutex::new(inner) }
    }

    /// Appends a command to what waits; gives it back if the store is being closed, or another node has
    /// forwarded it for a term in which this one does not lead.
    pub(crate) fn push(&self, command: Command) -> Option<Command> {
        let mut inner = self.inner.lock();
        if inner.closed || inner.is_strange(&command) {
            return Some(command);
        }
        inner.waiting.push_back(command);
        self.call(inner);
        None
    }

    /// Whether what others forward for this term is taken. If not, who proposes is called, who may not know
    /// yet that this node leads.
    pub(crate) fn takes(&self, term: u64) -> bool {
        let mut inner = self.inner.lock();
        let takes = inner.leads && inner.term == term;
        if !takes && !inner.called && !inner.paused && !inner.closed {
            inner.called = true;
            drop(inner);
            self.bell.ring(self.group);
        }
        takes
    }

    /// From now on what others forward for this term is taken, unless it was before and is so no longer:
    /// who forwards was told so of some, and what it sent behind those may come yet.
    pub(crate) fn take_up(&self, term: u64) {
        let mut inner = self.inner.lock();
        if term > inner.term {
            (inner.term, inner.leads) = (term, true);
        }
    }

    /// From now on nothing is taken that others forward. Gives what waits of it, which is not to wait for
    /// what this node has forwarded itself: who has that may be waiting for this.
    pub(crate) fn stand_down(&self) -> Vec<Command> {
        let inner = &mut *self.inner.lock();
        if !std::mem::replace(&mut inner.leads, false) {
            return Vec::new();
        }
        let is_forwarded = |command: &Command| command.forwarded.is_some();
        let mut strangers = Vec::new();
        for commands in inner.returned.values_mut() {
            strangers.extend(commands.extract_if(.., |command| is_forwarded(command)));
        }
        inner.returned.retain(|_, commands| !commands.is_empty());
        let (forwarded, own) =
            std::mem::take(&mut inner.waiting).into_iter().partition(is_forwarded);
        inner.waiting = own;
        strangers.extend::<VecDeque<_>>(forwarded);
        strangers
    }

    /// Who proposes has come: it is called anew for what comes from now on.
    pub(crate) fn attend(&self) {
        self.inner.lock().called = false;
    }

    /// What is to be proposed next, if less than `room` is on its way. What was given back comes first,
    /// when nothing is: what was sent behind it may be given back too. Of the rest `gather` takes some.
    pub(crate) fn next(
        &self,
        room: usize,
        gather: impl FnOnce(&mut VecDeque<Command>, &mut Vec<Command>),
    ) -> Next {
        let inner = &mut *self.inner.lock();
        inner.room = room;
        if !inner.returned.is_empty() {
            if !inner.proposed.is_empty() {
                return Next::Nothing;
            }
            return Next::Again(
                std::mem::take(&mut inner.returned).into_values().flatten().collect(),
            );
        }
        if inner.ends() {
            let told = std::mem::replace(&mut inner.ended, true);
            return if told { Next::Nothing } else { Next::Ended };
        }
        if inner.waiting.is_empty() || inner.proposed.len() >= room {
            return Next::Nothing;
        }
        let mut gathered = Vec::new();
        gather(&mut inner.waiting, &mut gathered);
        Next::Gathered(gathered)
    }

    pub(crate) fn add(&self, number: u64, commands: Vec<Command>) {
        let proposed = Proposed { number, since: Instant::now(), commands: commands.into() };
        self.inner.lock().proposed.push_back(proposed);
    }

    /// As [`add`](Self::add), of what this node is about to propose itself; gives it back while that is
    /// [held](Self::hold) back.
    pub(crate) fn add_unless_held(
        &self,
        number: u64,
        commands: Vec<Command>,
    ) -> Result<(), Vec<Command>> {
        let mut inner = self.inner.lock();
        if inner.held_by().is_some() {
            return Err(commands);
        }
        let proposed = Proposed { number, since: Instant::now(), commands: commands.into() };
        inner.proposed.push_back(proposed);
        Ok(())
    }

    /// From now on this node proposes nothing that it has not yet, until `until` or until `by` lets
    /// [go](Self::let_go). `false` if another does so already.
    pub(crate) fn hold(&self, by: u64, until: Instant) -> bool {
        let mut inner = self.inner.lock();
        let free = inner.held_by().is_none();
        if free {
            inner.held = Some((by, until));
        }
        free
    }

    /// Whether anyone holds something back.
    pub(crate) fn is_held(&self) -> bool {
        self.inner.lock().held_by().is_some()
    }

    /// Whether `by` has done so without a break since it began to.
    pub(crate) fn is_held_by(&self, by: u64) -> bool {
        self.inner.lock().held_by() == Some(by)
    }

    /// `by` holds nothing back any more.
    pub(crate) fn let_go(&self, by: u64) {
        self.inner.lock().held.take_if(|(holder, _)| *holder == by);
    }

    /// Takes the next `count` commands of a proposal out, or all there are; none if who waited for
    /// them was told otherwise.
    pub(crate) fn take(&self, number: u64, count: usize) -> Vec<Command> {
        let mut inner = self.inner.lock();
        let proposed = &mut inner.proposed;
        let Some(at) = proposed.iter().position(|proposed| proposed.number == number) else {
            return Vec::new();
        };
        let Some(of_number) = proposed.get_mut(at) else { return Vec::new() };
        let count = count.min(of_number.commands.len());
        let taken = of_number.commands.drain(..count).collect();
        if of_number.commands.is_empty() {
            proposed.remove(at);
            self.call(inner);
        }
        taken
    }

    /// Takes the commands of a proposal out, which waits on until they are
    /// [given back](Self::give_back).
    pub(crate) fn withdraw(&self, number: u64) -> Vec<Command> {
        let proposed = &mut self.inner.lock().proposed;
        let proposed = proposed.iter_mut().find(|proposed| proposed.number == number);
        proposed.map_or_else(Vec::new, |proposed| proposed.commands.drain(..).collect())
    }

    /// Takes a proposal out of which only these commands are left to be done, to be proposed anew.
    pub(crate) fn give_back(&self, number: u64, commands: Vec<Command>) {
        let mut inner = self.inner.lock();
        inner.proposed.retain(|proposed| proposed.number != number);
        if !commands.is_empty() {
            inner.returned.insert(number, commands);
        }
        self.call(inner);
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_settled(&self) -> bool {
        self.inner.lock().proposed.is_empty()
    }

    /// From now on who proposes is not called.
    pub(crate) fn pause(&self) {
        self.inner.lock().paused = true;
    }

    /// Calls it after a [pause](Self::pause), whatever there is.
    pub(crate) fn resume(&self) {
        let mut inner = self.inner.lock();
        inner.paused = false;
        if !std::mem::replace(&mut inner.called, true) {
            drop(inner);
            self.bell.ring(self.group);
        }
    }

    /// Takes no more commands; those it has are still proposed.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        self.call(inner);
    }

    /// All that waits to be proposed.
    pub(crate) fn drain(&self) -> VecDeque<Command> {
        std::mem::take(&mut self.inner.lock().waiting)
    }

    /// How many commands wait to be proposed.
    pub(crate) fn waiting(&self) -> usize {
        self.inner.lock().waiting.len()
    }

    /// For how long the oldest is on its way at `now`, if that is `limit` or longer.
    pub(crate) fn late(&self, now: Instant, limit: Duration) -> Option<Duration> {
        late(&self.inner.lock().proposed, now, limit)
    }

    /// Shows all commands that are on their way while the oldest is for `limit` or longer.
    pub(crate) fn if_late(&self, now: Instant, limit: Duration, mut show: impl FnMut(&Command)) {
        let proposed = &self.inner.lock().proposed;
        if late(proposed, now, limit).is_some() {
            proposed.iter().flat_map(|proposed| &proposed.commands).for_each(&mut show);
        }
    }

    /// So much of the time until `now` has not passed for what is on its way either.
    pub(crate) fn forgive(&self, time: Duration, now: Instant) {
        for proposed in &mut self.inner.lock().proposed {
            proposed.since = proposed.since.checked_add(time).map_or(now, |since| since.min(now));
        }
    }

    /// Calls who proposes, unless it was called or can do nothing.
    fn call(&self, mut inner: MutexGuard<'_, Inner>) {
        if !inner.called && !inner.paused && inner.can_go_on() {
            inner.called = true;
            drop(inner);
            self.bell.ring(self.group);
        }
    }
}

impl Inner {
    fn can_go_on(&self) -> bool {
        if !self.returned.is_empty() {
            return self.proposed.is_empty();
        }
        let waits = !self.waiting.is_empty();
        (waits && self.proposed.len() < self.room) || (self.ends() && !self.ended)
    }

    fn is_strange(&self, command: &Command) -> bool {
        command.forwarded.is_some_and(|term| !self.leads || term != self.term)
    }

    fn held_by(&self) -> Option<u64> {
        let (by, until) = self.held?;
        (Instant::now() < until).then_some(by)
    }

    fn ends(&self) -> bool {
        let empty = self.waiting.is_empty() && self.proposed.is_empty();
        self.closed && empty && self.returned.is_empty()
    }
}

fn late(proposed: &VecDeque<Proposed>, now: Instant, limit: Duration) -> Option<Duration> {
    let waited = now.saturating_duration_since(proposed.front()?.since);
    (waited >= limit).then_some(waited)
}

#[cfg(test)]
mod tests {
    use larder_protocol::{Fetch, Op};

    use super::*;
    use crate::pending::Ticket;
    use crate::tests::block_on;

    fn command() -> Command {
        Command::op(b"k", 0, &Op::Fetch(Fetch::GET), 1, Ticket::new().0).of_group(7)
    }

    /// For which group it is called, 0 for none.
    fn called(bell: &Bell) -> GroupId {
        bell.ring(0);
        let group = block_on(Box::pin(bell.wait()));
        if group != 0 {
            assert_eq!(block_on(Box::pin(bell.wait())), 0, "it was called once");
        }
        group
    }

    fn next(proposals: &Proposals, room: usize) -> Next {
        proposals.attend();
        proposals.next(room, |waiting, taken| taken.extend(waiting.drain(..)))
    }

    #[test]
    fn who_proposes_is_called_once_and_only_when_it_can_go_on() {
        let bell = Arc::<Bell>::default();
        let proposals = Proposals::new(7, Arc::clone(&bell));
        assert_eq!(called(&bell), 0);
        for _ in 0..3 {
            assert!(proposals.push(command()).is_none());
        }
        assert_eq!(called(&bell), 7);
        let Next::Gathered(commands) = next(&proposals, 1) else { panic!("they wait") };
        assert_eq!(commands.len(), 3);
        proposals.add(1, commands);
        // What comes while that is on its way gathers.
        for _ in 0..3 {
            assert!(proposals.push(command()).is_none());
        }
        assert_eq!(proposals.take(1, 2).len(), 2);
        assert_eq!(called(&bell), 0);
        assert!(matches!(next(&proposals, 1), Next::Nothing));
        assert_eq!(proposals.take(1, 1).len(), 1);
        assert_eq!(called(&bell), 7);
        let Next::Gathered(commands) = next(&proposals, 2) else { panic!("they wait") };
        // One that waits for something else is left alone.
        proposals.pause();
        proposals.add(2, commands);
        assert!(proposals.push(command()).is_none());
        assert_eq!(called(&bell), 0);
        proposals.resume();
        assert_eq!(called(&bell), 7);
    }

    #[test]
    fn what_others_forward_is_taken_in_one_term_and_does_not_wait_when_that_is_over() {
        let bell = Arc::<Bell>::default();
        let proposals = Proposals::new(7, Arc::clone(&bell));
        let forwarded = |term| {
            let mut command = command();
            command.forwarded = Some(term);
            command
        };
        let takes = |term| {
            let takes = (proposals.takes(term), proposals.push(forwarded(term)).is_none());
            assert_eq!(takes.0, takes.1);
            (takes.0, called(&bell))
        };
        // Who proposes is told that somebody thinks that this node leads, once.
        assert_eq!(takes(3), (false, 7));
        assert_eq!(takes(3), (false, 0));
        proposals.attend();
        proposals.take_up(3);
        assert_eq!(takes(3), (true, 7));
        assert!(matches!(next(&proposals, 1), Next::Gathered(commands) if commands.len() == 1));
        assert_eq!(takes(2), (false, 7));
        // What is on its way leaves no room, and some of what others have sent was given back.
        proposals.add(1, vec![command()]);
        proposals.give_back(2, vec![command(), forwarded(3)]);
        proposals.give_back(3, vec![forwarded(3)]);
        assert!(proposals.push(command()).is_none() && proposals.push(forwarded(3)).is_none());
        assert_eq!(proposals.stand_down().len(), 3);
        assert_eq!(proposals.waiting(), 1);
        assert!(proposals.stand_down().is_empty());
        proposals.attend();
        assert_eq!(takes(3), (false, 7));
        assert_eq!(proposals.take(1, 1).len(), 1);
        assert!(matches!(next(&proposals, 2), Next::Again(commands) if commands.len() == 1));
        // What was sent behind it may be on its way.
        proposals.take_up(3);
        assert!(!proposals.takes(3));
        proposals.take_up(4);
        assert!(proposals.takes(4));
        // One that has ended has done so once.
        proposals.stand_down();
        assert!(matches!(next(&proposals, 2), Next::Gathered(commands) if commands.len() == 1));
        assert!(!proposals.takes(5));
        proposals.close();
        assert!(matches!(next(&proposals, 2), Next::Ended));
        assert!(matches!(next(&proposals, 2), Next::Nothing));
    }

    #[test]
    fn what_is_held_back_is_so_until_that_ends_by_itself_or_is_let_go() {
        let proposals = Proposals::new(7, Arc::default());
        let soon = || Instant::now() + Duration::from_mins(1);
        assert!(proposals.hold(1, soon()));
        assert!(!proposals.hold(2, soon()), "one at a time");
        assert!(proposals.is_held_by(1) && !proposals.is_held_by(2));
        let commands = proposals.add_unless_held(1, vec![command()]).unwrap_err();
        assert_eq!((commands.len(), proposals.is_settled()), (1, true));
        proposals.let_go(2);
        assert!(proposals.is_held(), "it is not that one's");
        proposals.let_go(1);
        proposals.add_unless_held(1, commands).unwrap();
        assert!(!proposals.is_held() && !proposals.is_settled());
        // One that has run out is nobody's, even if nothing came meanwhile.
        assert!(proposals.hold(1, Instant::now()));
        assert!(!proposals.is_held_by(1));
        proposals.add_unless_held(2, vec![command()]).unwrap();
    }

    #[test]
    fn what_is_given_back_comes_first_once_nothing_is_on_its_way_and_then_the_end() {
        let bell = Arc::<Bell>::default();
        let proposals = Proposals::new(7, Arc::clone(&bell));
        for number in 1..=2 {
            assert!(proposals.push(command()).is_none());
            assert_eq!(called(&bell), 7);
            let Next::Gathered(commands) = next(&proposals, 3) else { panic!("they wait") };
            proposals.add(number, commands);
        }
        assert!(proposals.push(command()).is_none());
        assert_eq!(called(&bell), 7);
        proposals.close();
        assert!(proposals.push(command()).is_some());
        let second = proposals.withdraw(2);
        proposals.give_back(2, second);
        assert!(matches!(next(&proposals, 3), Next::Nothing));
        let first = proposals.withdraw(1);
        proposals.give_back(1, first);
        assert_eq!(called(&bell), 7);
        assert!(matches!(next(&proposals, 3), Next::Again(commands) if commands.len() == 2));
        assert!(matches!(next(&proposals, 3), Next::Gathered(commands) if commands.len() == 1));
        assert!(matches!(next(&proposals, 3), Next::Ended));
        // What is heard late changes nothing.
        proposals.give_back(2, Vec::new());
        assert_eq!(called(&bell), 0);
    }
}
