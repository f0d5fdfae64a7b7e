//! However what a client sends is cut into pieces on its way, it is answered the same.

use std::cell::RefCell;

use larder_protocol::{Limits, Parsed, Request, Then, parse};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::conversations::{self, Partner, forget, hold};
use crate::node::Node;
use crate::notation::{Conversation, Piece, Words, spell};

/// All that is sent in a conversation, with a number for each word to be received.
fn sent(conversation: &Conversation) -> Vec<u8> {
    let pieces: Vec<Piece> =
        conversation.steps.iter().flat_map(|step| step.sent.iter().cloned()).collect();
    let named = pieces.iter().filter_map(|piece| match piece {
        Piece::Word { name, .. } => Some((name.clone(), b"17".to_vec())),
        _ => None,
    });
    spell(&pieces, &named.collect::<Words>())
}

/// The requests in `input`, as they are found when it arrives in pieces that end at `ends`.
fn requests(input: &[u8], ends: &[usize]) -> Vec<String> {
    let limits = Limits::default();
    let mut found = Vec::new();
    let mut at = 0;
    for end in ends.iter().copied().chain([input.len()]) {
        while at <= end {
            let buffer = &input[at..end];
            match parse(buffer, &limits) {
                Parsed::Incomplete { need, .. } => {
                    assert!(need > buffer.len(), "asks for what it has: {need}");
                    break;
                }
                Parsed::Done { request, consumed } => {
                    assert!(consumed <= buffer.len(), "takes what is not there");
                    found.push(format!("{request:?}"));
                    at += consumed;
                    match request {
                        Request::Quit => return found,
                        Request::Refused(refusal) => match refusal.then {
                            Then::Continue => {}
                            Then::Skip(len) => at += len,
                            Then::Close => return found,
                        },
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

/// Where a random number of pieces end, in order.
fn random_cuts(rng: &mut StdRng, len: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> =
        (0..rng.random_range(1..8)).map(|_| rng.random_range(0..=len)).collect();
    cuts.sort_unstable();
    cuts
}

#[test]
fn requests_are_found_however_they_arrive() {
    let mut rng = StdRng::seed_from_u64(1);
    for conversation in conversations::all() {
        let input = sent(&conversation);
        let whole = requests(&input, &[]);
        let same = |ends: &[usize]| {
            let found = requests(&input, ends);
            assert!(found == whole, "{} cut at {ends:?}: {found:?}", conversation.title);
        };
        if input.len() <= SHORT {
            let bytes: Vec<usize> = (0..input.len()).collect();
            same(&bytes);
            for cut in 0..input.len() {
                same(&[cut]);
            }
        }
        for _ in 0..10 {
            same(&random_cuts(&mut rng, input.len()));
        }
    }
}

#[test]
fn conversations_hold_however_they_arrive() {
    let node = Node::cache();
    let rng = RefCell::new(StdRng::seed_from_u64(2));
    let bytes =
        |sent: &[u8]| if sent.len() <= SHORT { (1..sent.len()).collect() } else { Vec::new() };
    let twice = |sent: &[u8]| vec![rng.borrow_mut().random_range(0..=sent.len())];
    let some = |sent: &[u8]| random_cuts(&mut rng.borrow_mut(), sent.len());
    let cuts: [conversations::Cut<'_>; 4] = [&bytes, &twice, &twice, &some];
    let quick = |conversation: &Conversation| {
        !conversation.takes_time() && Partner::Cache.excused(conversation).is_none()
    };
    for conversation in conversations::all().into_iter().filter(quick) {
        for cut in cuts {
            forget(node.address());
            if let Err(failure) = hold(&conversation, Partner::Cache, node.address(), cut) {
                panic!("cut into pieces: {failure}");
            }
        }
    }
}

/// What is longer is cut at some places only.
const SHORT: usize = 600;
