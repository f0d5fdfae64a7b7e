use std::collections::HashMap;
use std::future::ready;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use larder_peer::{Credentials, Handler, PeerId, Refusal, Secret};
use larder_protocol::{
    Arithmetic, Change, Delete, Exptime, Fetch, Header, Item, Op, Outcome, Seconds, Store, Value,
    decide,
};
use tokio::net::TcpListener;

use super::*;
use crate::answers::{Answers, Awaited};
use crate::call;
use crate::counters::Counters;
use crate::courier::{MAX_BYTES, MAX_COMMANDS};
use crate::fetching::Fetching;
use crate::hints::Hints;
use crate::links::Links;
use crate::member::Stage;
use crate::near::Near;
use crate::places::Places;
use crate::resolved::Resolved;

const NOW: Seconds = 1_700_000_000;
const GUTTER: Seconds = 10;

fn clock() -> Seconds {
    NOW
}

/// An engine that keeps everything.
#[derive(Debug, Default)]
struct Fake(Mutex<HashMap<Vec<u8>, (Header, Bytes)>>);

impl Fake {
    fn value(&self, key: &str) -> Option<String> {
        let items = self.0.lock();
        items.get(key.as_bytes()).map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    }

    fn exptime(&self, key: &str) -> Option<Seconds> {
        self.0.lock().get(key.as_bytes()).map(|(header, _)| header.exptime)
    }
}

impl Engine for Fake {
    fn expect(&self, _keys: &[&[u8]]) {}

    fn execute(&self, key: &[u8], op: &Op<'_>, now: Seconds, respond: impl FnOnce(Outcome<'_>)) {
        let mut items = self.0.lock();
        let found = items.get(key).cloned();
        let item = found
            .as_ref()
            .map(|(header, value)| Item { header: *header, value: Value::Shared(value.clone()) });
        let next = u64::try_from(items.len()).unwrap() + 1;
        let verdict = decide(item, op, now, || next);
        match verdict.change {
            Change::Keep => {}
            Change::Use(header) | Change::Header(header) => {
                if let Some((kept, _)) = items.get_mut(key) {
                    *kept = header;
                }
            }
            Change::Put(header, value) => {
                let old = found.map(|(_, value)| value).unwrap_or_default();
                let (front, back) = value.parts(&old);
                items.insert(key.to_vec(), (header, [front, back].concat().into()));
            }
            Change::Remove => {
                items.remove(key);
            }
        }
        respond(verdict.outcome);
    }

    fn flush_all(&self, _at: Seconds, _now: Seconds) {
        self.0.lock().clear();
    }

    fn items(&self) -> u64 {
        self.0.lock().len() as u64
    }

    fn forget(&self, key: &[u8], _now: Seconds) {
        self.0.lock().remove(key);
    }

    fn take_over(&self, key: &[u8], item: &Item<'_>, _now: Seconds) -> bool {
        let mut items = self.0.lock();
        let takes = !items.contains_key(key);
        if takes {
            let value = item.value.to_bytes().into_owned().into();
            items.insert(key.to_vec(), (item.header, value));
        }
        takes
    }

    type Walk = ();
    type HandOver = ();

    fn hand_over(&self, _: Seconds) {}

    fn hand_over_a_step(
        &self,
        (): &mut (),
        _: Seconds,
        mut give: impl FnMut(&[u8], Item<'_>),
    ) -> bool {
        for (key, (header, value)) in &*self.0.lock() {
            give(key, Item { header: *header, value: Value::Shared(value.clone()) });
        }
        false
    }

    fn walk(&self) {}

    fn drop_a_step(&self, (): &mut (), _: Seconds, mut keep: impl FnMut(&[u8]) -> bool) -> bool {
        self.0.lock().retain(|key, _| keep(key));
        false
    }
}

fn credentials(name: &str, run: u64) -> Credentials {
    let secret = Secret::new(b"what all of them know").unwrap();
    Credentials::new("test", PeerId { id: run, name: name.into() }, secret).unwrap()
}

fn shared(name: &str, run: u64) -> Arc<Shared<Fake>> {
    let max_bytes = 2 * MAX_BYTES;
    let link = larder_peer::Settings { max_bytes, ..larder_peer::Settings::default() };
    Arc::new(Shared {
        engine: Arc::default(),
        name: name.into(),
        credentials: credentials(name, run),
        link: link.clone(),
        timeout: Duration::from_millis(300),
        gutter: GUTTER,
        clock,
        counters: Counters::default(),
        places: Mutex::new(Arc::new(Places::alone(&name.into()))),
        settled: AtomicU64::default(),
        warm_up: Duration::from_mins(1),
        hints: Hints::default(),
        fetching: Fetching::default(),
        near: Arc::new(Near::new(Duration::ZERO, 1.0)),
        resolved: Resolved::default(),
        links: Links::new(credentials(name, run), link),
        told: Mutex::default(),
    })
}

fn member(name: &str, run: u64, peer_address: &str) -> Arc<Member> {
    Arc::new(Member { run, peer_address: peer_address.into(), ..Member::called(name) })
}

/// Another node, which can be made to say nothing.
struct Other {
    shared: Arc<Shared<Fake>>,
    silent: Arc<AtomicBool>,
    member: Arc<Member>,
    _stop: watch::Sender<()>,
}

struct Answering {
    shared: Arc<Shared<Fake>>,
    silent: Arc<AtomicBool>,
}

impl Handler for Answering {
    fn handle(
        self: Arc<Self>,
        peer: PeerId,
        kind: u8,
        body: Bytes,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + 'static {
        let silent = self.silent.load(Ordering::Relaxed);
        let answer = if silent { None } else { self.shared.answer(&peer.name, kind, &body) };
        async move {
            match answer {
                Some(answer) => ready(answer).await,
                None => std::future::pending().await,
            }
        }
    }
}

impl Other {
    async fn start(name: &str, run: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let member = member(name, run, &listener.local_addr().unwrap().to_string());
        let (shared, silent) = (shared(name, run), Arc::<AtomicBool>::default());
        let handler = Answering { shared: Arc::clone(&shared), silent: Arc::clone(&silent) };
        let (stop, mut stopped) = watch::channel(());
        let settings = larder_peer::Settings::default();
        let serving = larder_peer::serve(
            listener,
            credentials(name, run),
            Arc::new(handler),
            settings,
            async move {
                let _ = stopped.changed().await;
            },
        );
        tokio::spawn(serving);
        Self { shared, silent, member, _stop: stop }
    }
}

/// A worker of the node `here`, and how its view is changed.
fn worker(others: &[&Arc<Member>]) -> (Arc<Worker<Fake>>, watch::Sender<Arc<View>>) {
    let me = member("here", 1, "127.0.0.1:1");
    let (sender, views) = watch::channel(view(1, &me, others));
    (Worker::start(shared("here", 1), views), sender)
}

fn view(version: u32, me: &Arc<Member>, others: &[&Arc<Member>]) -> Arc<View> {
    Arc::new(View::new(version, others.iter().copied().chain([me]).cloned().collect()))
}

/// Keys that belong to the other node.
fn keys_away(worker: &Worker<Fake>, count: usize) -> Vec<String> {
    let table = worker.table();
    let away = |key: &String| matches!(table.route(key.as_bytes()), Route::Away(..));
    (0..).map(|number| format!("key{number}")).filter(away).take(count).collect()
}

fn send(worker: &Worker<Fake>, key: &str, op: Op<'_>) -> Awaited {
    let table = worker.table();
    match table.route(key.as_bytes()) {
        Route::Away(courier, lives) => {
            courier.send(&Asked { key: key.as_bytes(), op }, lives).unwrap()
        }
        route => panic!("{key} is {route:?}"),
    }
}

fn set(value: &str) -> Op<'_> {
    Op::Store(Store { value: value.as_bytes(), ..Store::SET })
}

const GET: Op<'static> = Op::Fetch(Fetch::GET);
const INCR: Op<'static> = Op::Arithmetic(Arithmetic::INCR);

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let so = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), so).await.unwrap_or_else(|_| panic!("{what}"));
}

fn text(outcome: Outcome<'static>) -> String {
    match outcome {
        Outcome::Hit(hit) => String::from_utf8_lossy(&hit.value.to_bytes()).into_owned(),
        outcome => format!("{outcome:?}"),
    }
}

#[tokio::test]
async fn commands_go_to_who_owns_their_keys_in_their_order_and_many_in_one_call() {
    let other = Other::start("there", 2).await;
    let (worker, _views) = worker(&[&other.member]);
    let keys = keys_away(&worker, 50);
    let mut awaited = Vec::new();
    for key in &keys {
        awaited.extend([set("1"), INCR, GET].map(|op| send(&worker, key, op)));
    }
    for answers in awaited.chunks_mut(3) {
        let [stored, counted, got] = answers else { panic!() };
        assert!(matches!(stored.await, Outcome::Stored { .. }));
        assert!(matches!(counted.await, Outcome::Counted(counted) if counted.number == 2));
        assert_eq!(text(got.await), "2");
    }
    let counters = &other.shared.counters;
    assert_eq!((counters.answered.get(), counters.calls.get()), (150, 1));
    assert!(keys.iter().all(|key| other.shared.engine.value(key).as_deref() == Some("2")));
    assert_eq!(worker.shared().engine.0.lock().len(), 0);
}

#[tokio::test]
async fn who_does_not_answer_is_stood_in_for_until_it_does() {
    let other = Other::start("there", 2).await;
    let (worker, _views) = worker(&[&other.member]);
    let [counted, kept, late] = &keys_away(&worker, 3)[..] else { panic!() };
    assert!(matches!(send(&worker, counted, set("1")).await, Outcome::Stored { .. }));

    other.silent.store(true, Ordering::Relaxed);
    let sent = [set("a"), set("b"), GET].map(|op| send(&worker, kept, op));
    let unknown = send(&worker, counted, INCR);
    let [first, second, got] = sent;
    assert!(matches!(first.await, Outcome::Stored { .. }));
    assert!(matches!(second.await, Outcome::Stored { .. }));
    // Also elsewhere they are done in their order.
    assert_eq!(text(got.await), "b");
    // Nobody knows whether it was counted there.
    assert!(matches!(unknown.await, Outcome::Failed(failure::UNKNOWN)));
    let here = &worker.shared().engine;
    assert_eq!(here.exptime(kept), Some(NOW + GUTTER));
    // The next are not even sent.
    let table = worker.table();
    assert!(matches!(table.route(late.as_bytes()), Route::Here(Some(GUTTER))));
    assert_eq!(worker.shared().counters.lost.get(), 1);

    other.silent.store(false, Ordering::Relaxed);
    until("it is back", || matches!(table.route(late.as_bytes()), Route::Away(_, None))).await;
    assert!(matches!(send(&worker, counted, INCR).await, Outcome::Counted(it) if it.number == 2));
}

#[tokio::test]
async fn what_was_surely_not_done_is_done_elsewhere_whatever_it_is() {
    // Nobody listens there any more.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let other = member("there", 2, &gone);
    let (worker, _views) = worker(&[&other]);
    let [key] = &keys_away(&worker, 1)[..] else { panic!() };
    let sent =
        [set("5"), INCR, Op::Delete(Delete::default()), INCR].map(|op| send(&worker, key, op));
    let mut outcomes = Vec::new();
    for awaited in sent {
        outcomes.push(awaited.await);
    }
    assert!(
        matches!(
            &outcomes[..],
            [Outcome::Stored { .. }, Outcome::Counted(it), Outcome::Deleted, Outcome::NotFound]
            if it.number == 6
        ),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn what_waits_for_a_member_that_goes_is_done_by_who_has_its_keys_then() {
    let first = Other::start("there", 2).await;
    let again = Other::start("there", 3).await;
    let (worker, views) = worker(&[&first.member]);
    let keys = keys_away(&worker, 20);
    let me = member("here", 1, "127.0.0.1:1");
    let sent: Vec<_> = keys.iter().map(|key| send(&worker, key, set("v"))).collect();
    // Before the courier had its turn.
    views.send(view(2, &me, &[&again.member])).unwrap();
    for awaited in sent {
        assert!(matches!(awaited.await, Outcome::Stored { .. }));
    }
    let version = worker.version();
    until("the view is taken up", || worker.version() > 1).await;
    assert!(version >= 1);
    for key in &keys {
        assert!(matches!(send(&worker, key, set("w")).await, Outcome::Stored { .. }));
        assert_eq!(again.shared.engine.value(key).as_deref(), Some("w"));
    }
    // Alone it owns them all.
    views.send(view(3, &me, &[])).unwrap();
    until("the view is taken up", || worker.table().is_alone()).await;
    assert!(matches!(worker.table().route(keys[0].as_bytes()), Route::Here(None)));
}

#[tokio::test]
async fn long_answers_come_in_several_calls() {
    let other = Other::start("there", 2).await;
    let (worker, _views) = worker(&[&other.member]);
    let keys = keys_away(&worker, 30);
    let value = "v".repeat(1 << 20);
    for key in &keys {
        assert!(matches!(send(&worker, key, set(&value)).await, Outcome::Stored { .. }));
    }
    let before = other.shared.counters.calls.get();
    let sent: Vec<_> = keys.iter().map(|key| send(&worker, key, GET)).collect();
    for awaited in sent {
        assert!(text(awaited.await) == value);
    }
    assert!(other.shared.counters.calls.get() - before > 2);
}

#[tokio::test]
async fn no_more_wait_for_one_node_than_may() {
    let other = Other::start("there", 2).await;
    let (worker, _views) = worker(&[&other.member]);
    let [key] = &keys_away(&worker, 1)[..] else { panic!() };
    other.silent.store(true, Ordering::Relaxed);
    let table = worker.table();
    let Route::Away(courier, _) = table.route(key.as_bytes()) else { panic!() };
    let asked = Asked { key: key.as_bytes(), op: GET };
    let sent: Vec<_> = std::iter::from_fn(|| courier.send(&asked, None).ok()).collect();
    assert!(matches!(courier.send(&asked, None), Err(failure::BUSY)));
    for awaited in sent {
        assert!(matches!(awaited.await, Outcome::Miss));
    }
    other.silent.store(false, Ordering::Relaxed);
    until("it is back", || !courier.is_out()).await;
    assert!(courier.send(&asked, None).is_ok());
}

#[tokio::test]
async fn what_a_stand_in_is_sent_lives_shortly_there_too() {
    let gone = member("gone", 9, "127.0.0.1:1");
    let other = Other::start("there", 2).await;
    let (worker, _views) = worker(&[&other.member, &gone]);
    let table = worker.table();
    // Of the one that is gone, and then of the other.
    let is_such = |key: &String| {
        let mut couriers = table.couriers();
        let first = table.route(key.as_bytes());
        let gone = couriers.find(|courier| courier.member.name == gone.name).unwrap();
        matches!(first, Route::Away(courier, None) if courier.member.name == gone.member.name)
    };
    let keys: Vec<_> = (0..200).map(|number| format!("key{number}")).filter(is_such).collect();
    for key in &keys {
        let table = worker.table();
        if let Route::Away(courier, lives) = table.route(key.as_bytes()) {
            let op = Op::Store(Store { exptime: Exptime(600), ..Store::SET });
            let stored = courier.send(&Asked { key: key.as_bytes(), op }, lives).unwrap().await;
            assert!(matches!(stored, Outcome::Stored { .. }));
        }
    }
    let there = keys.iter().filter_map(|key| other.shared.engine.exptime(key));
    let lives: Vec<_> = there.collect();
    assert!(!lives.is_empty() && lives.iter().all(|exptime| *exptime == NOW + GUTTER), "{lives:?}");
}

#[tokio::test]
async fn who_goes_hands_over_what_has_not_changed_meanwhile() {
    let other = Other::start("there", 2).await;
    let going = shared("here", 1);
    let me = member("here", 1, "127.0.0.1:1");
    let before = view(1, &me, &[&other.member]);
    let is_mine =
        |key: &str| *before.members[before.owner(key.as_bytes()).unwrap()].name == *"here";
    let keys: Vec<_> = (0..1000).map(|number| format!("key{number}")).collect();
    for key in &keys {
        let op = Op::Store(Store { value: b"v", exptime: Exptime(600), ..Store::SET });
        going.engine.execute(key.as_bytes(), &op, NOW, |_| {});
    }
    let mine: Vec<_> = keys.iter().filter(|key| is_mine(key)).collect();
    let [changed, newer, plain, ..] = &mine[..] else { panic!() };
    // One was changed there, of which the one that goes has been told.
    other.shared.hints.note(&"here".into(), changed.as_bytes());
    let due = other.shared.hints.due("here").unwrap();
    other.shared.hints.settle("here", &due, true);
    // And one is there already.
    other.shared.engine.execute(newer.as_bytes(), &set("newer"), NOW, |_| {});
    let mut me = Member::clone(&me);
    me.stage = Stage::Leaving;
    let view = View::new(1, vec![Arc::new(me), Arc::clone(&other.member)]);
    going.hand_over(&view, tokio::time::Instant::now() + Duration::from_secs(30)).await;
    let there = &other.shared.engine;
    // What was the other's before stays here: nobody has told this node of what changed.
    assert_eq!(there.items(), mine.len() as u64 - 1);
    assert_eq!((there.value(changed), there.value(newer).as_deref()), (None, Some("newer")));
    assert_eq!((there.value(plain).as_deref(), there.exptime(plain)), (Some("v"), Some(NOW + 600)));
    assert_eq!(other.shared.counters.fetched.get(), mine.len() as u64 - 2);
}

#[tokio::test]
async fn who_is_sent_what_another_has_by_its_own_view_only_stands_in() {
    let shared = shared("here", 1);
    let (me, other) = (member("here", 1, "127.0.0.1:1"), member("there", 2, "127.0.0.1:2"));
    let places = Places::new("here".into(), view(1, &me, &[&other]), &[], None, false);
    let (mut mine, mut others) = (0, 0);
    shared.set_places(places);
    for number in 0..50 {
        let key = format!("key{number}");
        let asked = Asked { key: key.as_bytes(), op: set("v") };
        shared.carry_out(&call::push(&asked, call::begin(None)).unwrap()).unwrap();
        let is_mine = shared.places().is_mine(key.as_bytes());
        assert_eq!(shared.hints.has("there", key.as_bytes()), !is_mine);
        assert_eq!(shared.engine.exptime(&key), Some(if is_mine { 0 } else { NOW + GUTTER }));
        if is_mine { mine += 1 } else { others += 1 }
    }
    assert!(mine > 0 && others > 0);
}

#[tokio::test]
async fn only_so_much_waits_for_one_node_and_what_comes_past_it_is_told_so_at_once() {
    let other = Other::start("there", 2).await;
    let (worker, _views) = worker(&[&other.member]);
    let table = worker.table();
    let courier = table.couriers().next().unwrap();
    let key = &keys_away(&worker, 1)[0];
    let sent = |op| courier.send(&Asked { key: key.as_bytes(), op }, None);
    let long = "x".repeat(1 << 20);
    for (op, most) in [(GET, MAX_COMMANDS), (set(&long), MAX_BYTES / long.len())] {
        // Nothing is on its way as long as this test has its turn.
        let taken: Vec<_> = (0..most).map(|_| sent(op).unwrap()).collect();
        assert_eq!(sent(GET).unwrap_err(), failure::BUSY);
        assert_eq!(courier.flush(0).unwrap_err(), failure::BUSY);
        for (done, wanted) in [(Done::Not, failure::BUSY), (Done::Perhaps, failure::UNKNOWN)] {
            let (ticket, awaited) = Arc::<Answers>::default().expect();
            worker.again(&Asked { key: key.as_bytes(), op: set("1") }, ticket, done);
            let Outcome::Failed(why) = awaited.await else { panic!("it was taken") };
            assert_eq!(why, wanted);
        }
        for awaited in taken {
            let outcome = awaited.await;
            assert!(!outcome.is_failure(), "{outcome:?}");
        }
        // There is room again, however long one is.
        assert!(!sent(GET).unwrap().await.is_failure());
    }
}
