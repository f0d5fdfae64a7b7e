use std::future::poll_fn;
use std::pin::pin;
use std::task::Waker;
use std::time::Duration;

use tokio::io::{AsyncReadExt, duplex};
use tokio::sync::{mpsc, oneshot};

use larder_protocol::{Listed, Output, Pieces, Piecewise, Value};

use super::*;
use crate::unsent::{MAX_SLICES, MIN_SHARED};

type Answer = Pin<Box<dyn Future<Output = Outcome<'static>> + Send>>;

/// Pages as they are asked for.
type Listing = Box<dyn FnMut(&mut Context<'_>) -> Poll<Outcome<'static>>>;

/// An answer that comes when it is sent.
fn later() -> (oneshot::Sender<Outcome<'static>>, Answer) {
    let (sender, receiver) = oneshot::channel();
    (sender, Box::pin(async { receiver.await.unwrap() }))
}

fn delete_form() -> Form<'static> {
    let key = Key { text: b"k", base64: false };
    Form { shape: Shape::Deleted, quiet: false, key, flags: &[] }
}

fn heat() -> Heat {
    Heat::new(0, Duration::ZERO)
}

/// Polls everything once and returns what reached the other side of a socket.
fn written<P: Future<Output = Outcome<'static>> + Unpin>(outbox: &mut Outbox<P>) -> String {
    let counters = Counters::default();
    let mut cx = Context::from_waker(Waker::noop());
    outbox.poll_answers(&mut cx, &counters, &heat(), || 0);
    let (mut near, mut far) = duplex(4 << 20);
    assert!(outbox.poll_write(&mut near, &mut cx, &counters).is_ready());
    drop(near);
    let mut bytes = String::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(far.read_to_string(&mut bytes)).unwrap();
    bytes
}

/// Writes everything to a socket that takes no more than `room` bytes at a time, and returns what
/// reached the other side.
fn written_in_parts(outbox: &mut Outbox<Answer>, room: usize) -> String {
    let counters = Counters::default();
    let mut cx = Context::from_waker(Waker::noop());
    let (mut near, mut far) = duplex(room);
    let mut all = Vec::new();
    while !outbox.is_empty() {
        let _ = outbox.poll_write(&mut near, &mut cx, &counters);
        let mut read = pin!(far.read_buf(&mut all));
        assert!(read.as_mut().poll(&mut cx).is_ready(), "what is written can be read");
    }
    drop(near);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(far.read_to_end(&mut all)).unwrap();
    String::from_utf8(all).unwrap()
}

#[test]
fn replies_leave_in_the_order_of_requests_whenever_answers_come() {
    let mut outbox = Outbox::default();
    let (first, answer) = later();
    outbox.end().put(b"a\r\n");
    outbox.wait(answer, &delete_form(), Tally::Delete, 0, false);
    outbox.end().put(b"b\r\n");
    let (second, answer) = later();
    outbox.wait(answer, &delete_form(), Tally::Delete, 0, false);
    outbox.end().put(b"c\r\n");
    second.send(Outcome::NotFound).unwrap();
    assert_eq!(written(&mut outbox), "a\r\n");
    first.send(Outcome::Deleted).unwrap();
    assert_eq!(written(&mut outbox), "DELETED\r\nb\r\nNOT_FOUND\r\nc\r\n");
    assert!(outbox.is_empty());
}

#[test]
fn the_pages_of_a_range_leave_as_they_come_and_before_what_stands_behind() {
    let page = |key: &'static str, more: bool| {
        let item = Listed { key: key.into(), client_flags: 0, value: "v".into() };
        Outcome::Listed(Page { items: vec![item], after: more.then(|| key.into()) })
    };
    let (ask, mut pages) = mpsc::unbounded_channel();
    let answer: Listing = Box::new(move |cx: &mut Context<'_>| {
        pages.poll_recv(cx).map(|page| page.unwrap_or(Outcome::Failed("gone")))
    });
    let mut outbox = Outbox::default();
    let key = Key { text: &[], base64: false };
    let form = Form { shape: Shape::Range, quiet: false, key, flags: &[] };
    outbox.wait(poll_fn(answer), &form, Tally::Nothing, 0, false);
    outbox.end().put(b"behind\r\n");
    assert_eq!(written(&mut outbox), "");
    ask.send(page("a", true)).unwrap();
    ask.send(page("b", true)).unwrap();
    assert_eq!(written(&mut outbox), "VALUE a 0 1\r\nv\r\nVALUE b 0 1\r\nv\r\n");
    assert!(outbox.is_waiting());
    ask.send(page("c", false)).unwrap();
    assert_eq!(written(&mut outbox), "VALUE c 0 1\r\nv\r\nEND\r\nbehind\r\n");
    assert!(outbox.is_empty());
}

#[test]
fn a_range_of_more_than_may_be_unsent_is_asked_for_as_it_leaves() {
    let mut asked = 0;
    let answer: Listing = Box::new(move |_: &mut Context<'_>| {
        asked += 1;
        let value = vec![b'v'; MAX_UNSENT / 2].into();
        let items = vec![Listed { key: "k".into(), client_flags: 0, value }];
        Poll::Ready(Outcome::Listed(Page { items, after: (asked < 100).then(|| "k".into()) }))
    });
    let mut outbox = Outbox::default();
    let key = Key { text: &[], base64: false };
    let form = Form { shape: Shape::Range, quiet: false, key, flags: &[] };
    outbox.wait(poll_fn(answer), &form, Tally::Nothing, 0, false);
    let mut rounds = 0;
    while !outbox.is_empty() {
        let len = written(&mut outbox).len();
        assert!((1..=2 * MAX_UNSENT).contains(&len), "{len}");
        rounds += 1;
    }
    assert_eq!(rounds, 50);
}

#[test]
fn shared_values_stay_between_their_neighbours() {
    for value_len in [MIN_SHARED, 3 * MIN_SHARED] {
        let mut outbox: Outbox<Answer> = Outbox::default();
        let mut expected = String::new();
        let (sender, answer) = later();
        outbox.wait(answer, &delete_form(), Tally::Delete, 0, false);
        for number in 0..2 * MAX_SLICES {
            let (before, value) = (format!("<{number}>"), "v".repeat(value_len));
            outbox.end().put(before.as_bytes());
            outbox.end().put_value(&Value::Shared(value.clone().into()));
            expected += &(before + &value);
        }
        sender.send(Outcome::Deleted).unwrap();
        assert_eq!(written(&mut outbox), format!("DELETED\r\n{expected}"));
    }
}

/// A value in three pieces.
#[derive(Debug)]
struct Three(String);

impl Piecewise for Three {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn piece(&self, number: usize) -> Option<&[u8]> {
        let third = self.0.len() / 3;
        (number < 3).then(|| &self.0.as_bytes()[number * third..][..third])
    }
}

#[test]
fn values_in_pieces_are_written_in_order_wherever_a_write_stops() {
    let value = "abc".repeat(100) + &"def".repeat(100) + &"ghi".repeat(100);
    for room in [1, 2, 299, 300, 301, 2000] {
        let mut outbox: Outbox<Answer> = Outbox::default();
        let mut expected = String::new();
        for number in 0..30 {
            let head = format!("<{number}>");
            let long =
                Value::Long(Pieces(std::sync::Arc::new(Three(value.clone()))), b"rest".into());
            outbox.end().put(head.as_bytes());
            outbox.end().put_value(&long);
            expected += &(head + &value + "rest");
        }
        assert_eq!(written_in_parts(&mut outbox, room), expected, "{room} bytes at a time");
    }
}

#[test]
fn a_write_may_stop_anywhere() {
    for room in [1, 2, 7, 4095, 4096, 4097, 10_000] {
        let mut outbox: Outbox<Answer> = Outbox::default();
        let value = "v".repeat(MIN_SHARED);
        outbox.end().put(b"begin ");
        outbox.end().put_value(&Value::Shared(value.clone().into()));
        outbox.end().put(b" middle ");
        outbox.end().put_value(&Value::Shared(value.clone().into()));
        outbox.end().put(b" end");
        let all = written_in_parts(&mut outbox, room);
        assert_eq!(all, format!("begin {value} middle {value} end"), "{room} bytes at a time");
    }
}

#[test]
fn a_client_that_does_not_read_gets_no_more() {
    let mut outbox: Outbox<Answer> = Outbox::default();
    outbox.end().put(&vec![0; MAX_UNSENT - 1]);
    assert!(outbox.has_room());
    outbox.end().put(b"0");
    assert!(!outbox.has_room());
    let mut outbox: Outbox<Answer> = Outbox::default();
    for _ in 0..MAX_WAITING {
        assert!(outbox.has_room());
        outbox.wait(later().1, &delete_form(), Tally::Delete, 0, false);
    }
    assert!(!outbox.has_room());
}

/// What is full when it is asked and empty when all is written must be asked again: whoever waits was
/// not told of, and would wake nobody.
#[test]
fn who_waits_behind_a_full_buffer_is_asked_for_once_that_is_written() {
    let counters = Counters::default();
    let mut cx = Context::from_waker(Waker::noop());
    let mut outbox: Outbox<Answer> = Outbox::default();
    outbox.end().put(&vec![b'x'; MAX_UNSENT]);
    let (sender, answer) = later();
    outbox.wait(answer, &delete_form(), Tally::Delete, 0, false);
    assert!(outbox.poll_answers(&mut cx, &counters, &heat(), || 0), "there may be more");
    written_in_parts(
        &mut Outbox::<Answer> { ready: std::mem::take(&mut outbox.ready), ..Outbox::default() },
        1 << 20,
    );
    assert!(!outbox.poll_answers(&mut cx, &counters, &heat(), || 0), "it was asked, and waits");
    sender.send(Outcome::Deleted).unwrap();
    assert_eq!(written(&mut outbox), "DELETED\r\n");
}

/// A client reads no further than the line that says so, and takes what follows for the next reply.
#[test]
fn a_get_of_which_a_key_cannot_be_fetched_ends_with_that() {
    let form = |key| Form {
        shape: Shape::Value { cas: false },
        key: Key { text: key, base64: false },
        ..delete_form()
    };
    let failed = || Outcome::Failed("out of order");
    for broken in 0..4 {
        let mut outbox = Outbox::default();
        let (senders, answers): (Vec<_>, Vec<_>) = (0..3).map(|_| later()).unzip();
        for answer in answers {
            outbox.wait(answer, &form(b"k"), Tally::Nothing, 0, false);
            // Of a key whose value was at hand.
            outbox.end().put(b"V");
        }
        outbox.end_get(b"END\r\n");
        outbox.end().put(b"MN\r\n");
        let (next, answer) = later();
        outbox.wait(answer, &form(b"k"), Tally::Nothing, 0, false);
        outbox.end_get(b"END\r\n");
        next.send(Outcome::Miss).unwrap();
        for (number, sender) in senders.into_iter().enumerate() {
            sender.send(if number >= broken { failed() } else { Outcome::Miss }).unwrap();
        }
        let end = if broken < 3 { "SERVER_ERROR out of order" } else { "END" };
        let whole = format!("{}{end}\r\nMN\r\nEND\r\n", "V".repeat(broken));
        assert_eq!(written(&mut outbox), whole);
        assert!(outbox.is_empty() && outbox.pending() == 0);
    }
    // It may be told before all keys have been asked for.
    for at_once in [true, false] {
        let mut outbox = Outbox::default();
        let [(first, one), (second, two)] = [later(), later()];
        outbox.wait(one, &form(b"k"), Tally::Nothing, 0, false);
        outbox.wait(two, &form(b"k"), Tally::Nothing, 0, false);
        first.send(failed()).unwrap();
        let mut second = Some(second);
        if at_once {
            second.take().unwrap().send(Outcome::Miss).unwrap();
        }
        assert_eq!(written(&mut outbox), "SERVER_ERROR out of order\r\n");
        assert!(outbox.is_get_broken());
        outbox.end_get(b"");
        assert_eq!(outbox.is_waiting(), !at_once);
        if let Some(second) = second {
            second.send(Outcome::Miss).unwrap();
        }
        // The next is another.
        assert!(!outbox.is_get_broken());
        let (next, answer) = later();
        outbox.wait(answer, &form(b"k"), Tally::Nothing, 0, false);
        outbox.end().put(b"V");
        outbox.end_get(b"END\r\n");
        next.send(Outcome::Miss).unwrap();
        assert_eq!(written(&mut outbox), "VEND\r\n");
        assert!(outbox.is_empty() && !outbox.is_get_broken());
    }
    // What failed at once has been told by the caller.
    let mut outbox = Outbox::default();
    let (sender, answer) = later();
    outbox.wait(answer, &form(b"k"), Tally::Nothing, 0, false);
    outbox.end().put(b"SERVER_ERROR at once\r\n");
    outbox.end_get(b"");
    sender.send(Outcome::Miss).unwrap();
    assert_eq!(written(&mut outbox), "SERVER_ERROR at once\r\n");
}

#[test]
fn large_requests_and_answers_are_not_piled_up() {
    let mut outbox: Outbox<Answer> = Outbox::default();
    outbox.wait(later().1, &delete_form(), Tally::Set, MAX_WEIGHT - 1, false);
    assert!(outbox.has_room());
    outbox.wait(later().1, &delete_form(), Tally::Set, 1, false);
    assert!(!outbox.has_room());

    // What stands behind an answer that does not come counts too.
    let mut outbox: Outbox<Answer> = Outbox::default();
    let (sender, answer) = later();
    outbox.wait(answer, &delete_form(), Tally::Delete, 0, false);
    outbox.end().put(&vec![b'x'; MAX_UNSENT / 2]);
    let (second, answer) = later();
    outbox.wait(answer, &delete_form(), Tally::Delete, 0, false);
    assert!(outbox.has_room());
    outbox.end().put(&vec![b'x'; MAX_UNSENT / 2]);
    assert!(!outbox.has_room());
    sender.send(Outcome::Deleted).unwrap();
    second.send(Outcome::Deleted).unwrap();
    assert_eq!(written(&mut outbox).len(), MAX_UNSENT + 18);
    assert_eq!((outbox.behind, outbox.weight), (0, 0));
    // The size of one answer is what the next are expected to have.
    for _ in 0..10 {
        assert!(outbox.has_room());
        outbox.expected = MAX_WEIGHT / 10;
        outbox.wait(later().1, &delete_form(), Tally::Get, 0, false);
    }
    outbox.wait(later().1, &delete_form(), Tally::Get, 0, false);
    assert!(!outbox.has_room());
}

#[test]
fn a_form_survives_its_request() {
    let key = Key { text: b"Zm9v", base64: true };
    let shape = Shape::MetaGet { value: true, unless_cas: Some(3) };
    let form = Form { shape, quiet: true, key, flags: b" k O1" };
    let owned = OwnedForm::new(&form);
    assert_eq!(format!("{:?}", owned.borrow()), format!("{form:?}"));
}
