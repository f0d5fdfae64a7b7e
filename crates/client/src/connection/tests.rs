use super::*;
use crate::connection::reader::Reader;
use crate::error::Violation;
use proptest::prelude::*;

/// What three exchanges, of two requests each, get out of these bytes when they come in pieces.
fn digest(pieces: &[&[u8]]) -> (Vec<Option<Vec<Answer>>>, Option<Violation>) {
    let mut tickets = Vec::new();
    let mut queued = VecDeque::new();
    for first_opaque in [0, 2, 4] {
        let (reply, ticket) = oneshot::channel();
        queued.push_back(Exchange::many(first_opaque, 2, false, reply));
        tickets.push(ticket);
    }
    let mut reader = Reader::new(40_000);
    let mut waiting = VecDeque::new();
    let mut violation = None;
    for piece in pieces {
        reader.room().extend_from_slice(piece);
        if let Err(why) = reader.digest(&mut waiting, |waiting| waiting.extend(queued.pop_front()))
        {
            violation = Some(why);
            break;
        }
    }
    (tickets.iter_mut().map(|ticket| ticket.try_recv().ok()).collect(), violation)
}

/// Answers that are often right and sometimes not.
fn server_bytes() -> impl Strategy<Value = Vec<u8>> {
    let answer = |opaque: usize| {
        prop_oneof![
            Just(format!("EN O{opaque}\r\n")),
            Just("EN\r\n".to_owned()),
            Just(format!("HD c5 O{opaque}\r\n")),
            Just(format!("VA 5 f1 O{opaque}\r\nhe\r\no\r\n")),
            Just(format!("VA 35000 O{opaque}\r\n{}\r\n", "v".repeat(35_000))),
            Just("SERVER_ERROR busy\r\n".to_owned()),
            Just("CLIENT_ERROR no number\r\n".to_owned()),
        ]
    };
    let right: Vec<_> = (0..6).map(answer).collect();
    (right, "(|ERROR\r\n|EN O9\r\n|x\r\n|STORED\r\n)", 0..=6_usize).prop_map(
        |(mut answers, odd, at)| {
            answers.insert(at, odd);
            answers.concat().into_bytes()
        },
    )
}

proptest! {
    #[test]
    fn answers_do_not_depend_on_how_they_come(
        bytes in server_bytes(),
        mut cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let mut cuts: Vec<usize> = cuts.drain(..).map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        prop_assert!(digest(&pieces) == digest(&[&bytes]));
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        digest(&[&bytes]);
    }
}

#[test]
fn large_values_leave_the_buffer_as_whole_as_small_ones() {
    let value = "v".repeat(35_000);
    let sent = format!("VA 35000 f7 O0\r\n{value}\r\nVA 2 c3 O1\r\nhi\r\n");
    let (answers, violation) = digest(&[sent.as_bytes()]);
    assert_eq!(violation, None);
    let Some([Answer::Meta(_, large), Answer::Meta(_, small)]) = answers[0].as_deref() else {
        panic!("{answers:?}")
    };
    assert!(large.item.value == value.as_bytes() && large.item.flags == 7);
    assert_eq!((&small.item.value[..], small.item.cas), (&b"hi"[..], 3));
}
