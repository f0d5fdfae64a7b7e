//! What an engine decides, message by message.

use std::time::Duration;

use bytes::Bytes;
use foca::{Codec as _, Header, Message, PostcardCodec};

use super::*;
use crate::membership::message::{Answer, VERSION, decode, dissect};
use crate::membership::report::PeerState;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn member(name: &str, run: u64) -> Member {
    Member {
        name: name.into(),
        run,
        client_address: format!("{name}:1").into(),
        peer_address: format!("{name}:2").into(),
        weight: 1,
        zone: "".into(),
        stage: Stage::Serving,
    }
}

fn engine(name: &str, run: u64) -> Engine {
    Engine::new(member(name, run), &[], 1)
}

fn knock_of(engine: &mut Engine) -> Bytes {
    let knocks = sent(engine).1;
    assert_eq!(knocks.len(), 1, "it knocks once");
    knocks.into_iter().next().unwrap().1
}

type Sent = Vec<(Arc<str>, Bytes)>;

/// Gossip and knocks, with where to.
fn sent(engine: &mut Engine) -> (Sent, Sent) {
    let (mut gossip, mut knocks) = (Vec::new(), Vec::new());
    for output in engine.take_outputs() {
        match output {
            Output::Send { to, message } => gossip.push((to, message)),
            Output::Knock { at, message } => knocks.push((at, message)),
            _ => {}
        }
    }
    (gossip, knocks)
}

/// A knows b, and b knows a.
fn pair() -> (Engine, Engine) {
    let (mut a, mut b) = (engine("a", 100), Engine::new(member("b", 200), &["a:2".into()], 2));
    b.tick(MS(0));
    let answer = a.knocked(&knock_of(&mut b)).unwrap().unwrap();
    b.answered(MS(0), "a:2", Ok(&answer));
    for (_, message) in sent(&mut b).0 {
        a.hear(MS(0), &message).unwrap();
    }
    for (_, message) in sent(&mut a).0 {
        b.hear(MS(0), &message).unwrap();
    }
    sent(&mut b);
    assert_eq!((names(&a), names(&b)), (vec!["a", "b"], vec!["a", "b"]));
    (a, b)
}

fn names(engine: &Engine) -> Vec<&str> {
    engine.members().iter().map(|member| &*member.name).collect()
}

fn message(from: &Engine, to: &Engine, message: Message<Identity>) -> Vec<u8> {
    let header = Header { src: from.me.clone(), src_incarnation: 0, dst: to.me.clone(), message };
    let mut body = vec![VERSION];
    PostcardCodec.encode_header(&header, &mut body).unwrap();
    body
}

#[test]
fn who_knocks_is_told_who_is_there_and_who_has_its_name() {
    let (a, _) = pair();
    let answer = |guest: Member| {
        let guest = Identity { member: Arc::new(guest), bump: 0 };
        decode(&a.knocked(&encode(&guest)).unwrap().unwrap()).unwrap()
    };
    let Answer::Come { by, known: None, members } = answer(member("c", 1)) else { panic!() };
    assert_eq!((by, members.len()), (a.me.clone(), 2));

    let elsewhere = |name| Member { peer_address: "elsewhere:2".into(), ..member(name, 900) };
    let Answer::Taken { rival, .. } = answer(elsewhere("b")) else { panic!() };
    assert_eq!(*rival.member, member("b", 200));
    let Answer::Taken { rival, .. } = answer(elsewhere("a")) else { panic!() };
    assert_eq!(rival, a.me);

    // Started anew in the same place.
    let Answer::Come { known: Some(known), .. } = answer(member("b", 150)) else { panic!() };
    assert_eq!(*known.member, member("b", 200));
    assert!(matches!(answer(member("b", 200)), Answer::Come { known: None, .. }));
    assert!(matches!(answer(member("a", 100)), Answer::Come { .. }), "it is this node itself");
}

#[test]
fn who_was_started_with_a_clock_set_back_is_later_all_the_same() {
    let (a, _) = pair();
    let mut back = Engine::new(member("b", 150), &["a:2".into()], 3);
    back.tick(MS(0));
    let answer = a.knocked(&knock_of(&mut back)).unwrap().unwrap();
    back.answered(MS(5), "a:2", Ok(&answer));
    assert_eq!(back.me.member.run, 201);
    assert_eq!(names(&back), ["a", "b"]);
    let former = Identity { member: Arc::new(member("b", 200)), bump: 0 };
    let mut news = message(&a, &back, Message::Gossip);
    news.extend(1_u16.to_be_bytes());
    PostcardCodec.encode_member(&foca::Member::alive(former), &mut news).unwrap();
    back.hear(MS(10), &news).unwrap();
    assert_eq!(names(&back), ["a", "b"]);
    assert!(back.addresses().eq(["a:2"].map(Arc::from).iter()), "it does not call itself");
}

#[test]
fn who_speaks_to_a_former_self_learns_what_has_become_of_it() {
    let (mut a, mut b) = pair();
    let to_former = message(&a, &b, Message::Ping(1));
    b.begin_leaving(MS(10));
    sent(&mut b);
    b.hear(MS(20), &to_former).unwrap();
    let (gossip, _) = sent(&mut b);
    assert_eq!(gossip.len(), 1);
    a.hear(MS(30), &gossip[0].1).unwrap();
    assert!(a.members()[1].stage == Stage::Leaving);
}

#[test]
fn who_is_told_again_at_once_that_it_is_lost_does_not_shout() {
    let (a, mut b) = pair();
    b.hear(MS(10), &message(&a, &b, Message::TurnUndead)).unwrap();
    assert_eq!(b.me.bump, 1);
    let (_, knocks) = sent(&mut b);
    assert_eq!(*knocks[0].0, *"a:2", "it asks why");
    b.hear(MS(20), &message(&a, &b, Message::TurnUndead)).unwrap();
    assert_eq!((b.me.bump, sent(&mut b)), (1, (Vec::new(), Vec::new())));
    b.hear(MS(600), &message(&a, &b, Message::TurnUndead)).unwrap();
    assert_eq!(b.me.bump, 2);
}

#[test]
fn who_hears_of_a_later_one_of_its_name_asks_and_tells_nobody_that_it_is_gone() {
    let (mut a, b) = pair();
    let mut later = a.me.clone();
    later.member = Member { peer_address: "later:2".into(), ..member("a", 500) }.into();
    let mut news = message(&b, &a, Message::Gossip);
    news.extend(1_u16.to_be_bytes());
    PostcardCodec.encode_member(&foca::Member::alive(later.clone()), &mut news).unwrap();
    a.hear(MS(10), &news).unwrap();
    let (gossip, knocks) = sent(&mut a);
    assert!(gossip.is_empty());
    assert_eq!(*knocks[0].0, *"b:2");
    let taken = encode(&Answer::Taken { by: b.me.clone(), rival: later });
    a.answered(MS(12), "b:2", Ok(&taken));
    assert!(matches!(a.standing, Standing::Outside { .. }));
    let notices = a.take_outputs();
    assert!(matches!(
        notices[..],
        [Output::Tell(Notice::Displaced(_)), Output::Publish { .. }, Output::Settled(false)]
    ));
    assert_eq!(names(&a), ["a"]);
    // From outside it says nothing.
    a.hear(MS(20), &message(&b, &a, Message::Ping(1))).unwrap();
    a.tick(MS(30));
    assert_eq!(a.take_outputs().len(), 0);
    assert_eq!(a.knocked(&encode(&b.me)), Ok(None));
}

#[test]
fn a_node_knocks_until_it_is_let_in_and_serves_alone_meanwhile() {
    let seeds = ["a:2", "b:2", " c:2"].map(str::to_owned);
    let mut b = Engine::new(member("b", 1), &seeds, 1);
    b.take_outputs();
    b.tick(MS(0));
    let (_, knocks) = sent(&mut b);
    let at: Vec<_> = knocks.iter().map(|(at, _)| &**at).collect();
    assert_eq!(at, ["a:2", "c:2"], "not at its own address");
    b.answered(MS(1), "a:2", Err("nobody is there"));
    assert!(!b.settled);
    b.answered(MS(1), "c:2", Ok(b"\x09"));
    let said = b.take_outputs();
    assert!(matches!(said[..], [Output::Tell(Notice::Alone), Output::Settled(true)]));
    let silent = b.silent_seeds(MS(2001));
    let why: Vec<_> = silent.iter().map(|seed| (&*seed.address, &*seed.why)).collect();
    assert_eq!(why[0], ("a:2", "nobody is there"));
    assert!(why[1].1.contains("version 9"), "{why:?}");
    assert_eq!(silent[0].since, MS(2000));

    let mut waits = Vec::new();
    let mut now = MS(1);
    for _ in 0..8 {
        let before = now;
        now = b.seeds.next_due().unwrap();
        b.tick(now);
        for (at, _) in sent(&mut b).1 {
            b.answered(now, &at, Err("nobody is there"));
        }
        waits.push(now.saturating_sub(before));
    }
    assert!(waits.iter().all(|wait| *wait <= MS(3000)), "{waits:?}");
}

#[test]
fn the_lost_are_reported_and_called_and_those_who_left_are_not() {
    let (mut a, mut b) = pair();
    let mut now = MS(0);
    while names(&a).len() > 1 {
        now = a.next_due().unwrap();
        a.tick(now);
    }
    let state =
        |a: &Engine, now| a.peers(now).into_iter().map(|(_, state)| state).collect::<Vec<_>>();
    assert_eq!(state(&a, now + MS(7)), [PeerState::Here, PeerState::Lost { since: MS(7) }]);
    sent(&mut a);
    let later = now + MS(1500);
    while now < later {
        now = a.next_due().unwrap();
        a.tick(now);
    }
    let (gossip, _) = sent(&mut a);
    let mut calls = gossip.iter().map(|(_, call)| dissect(call).unwrap().header.message);
    assert!(!gossip.is_empty() && calls.all(|call| call == Message::Announce), "{gossip:?}");

    b.leave(MS(50));
    for (_, message) in sent(&mut b).0 {
        a.hear(now, &message).unwrap();
    }
    let calls = sent(&mut a).0;
    assert!(
        calls.iter().all(|(_, call)| dissect(call).unwrap().header.message == Message::TurnUndead)
    );
    assert_eq!(state(&a, now), [PeerState::Here]);
    assert_eq!(a.addresses().count(), 0);
    assert_eq!(b.next_due(), None);
}
