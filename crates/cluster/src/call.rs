//! Forwarded commands and what came of them, as bytes. The crate's documentation has the tables.

use bytes::Bytes;
use larder_protocol::{Op, Outcome, Seconds, told};
use serde::{Deserialize, Serialize};

use crate::failure;

/// Asks for commands to be carried out.
pub(crate) const COMMANDS: u8 = 16;
/// Asks for all items to be forgotten.
pub(crate) const FLUSH: u8 = 17;
/// Asks for a sign of life.
pub(crate) const PING: u8 = 18;
/// Asks for keys to be forgotten.
pub(crate) const FORGET: u8 = 19;
/// Asks how many items there are.
pub(crate) const ITEMS: u8 = 20;
/// Hands over items.
pub(crate) const HAND: u8 = 21;
/// Asks for all items to be forgotten that were there while this node could not be told what to forget.
pub(crate) const FORGET_ALL: u8 = 22;

/// A command as it goes to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Asked<'a> {
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) key: &'a [u8],
    #[serde(borrow)]
    pub(crate) op: Op<'a>,
}

/// Commands, as they are in a call, until the first that makes no sense.
#[derive(Clone, Debug)]
pub(crate) struct Commands<'a>(&'a [u8]);

/// The beginning of a call to which commands are appended. With `lives`, the node stands in for another,
/// and what is stored lives for so many seconds at most.
pub(crate) fn begin(lives: Option<Seconds>) -> Vec<u8> {
    let mut body = Vec::with_capacity(USUAL_LEN);
    body.push(VERSION);
    body.extend_from_slice(&lives.unwrap_or(0).to_le_bytes());
    body
}

/// Appends a command; `None` if it cannot be written, which none of ours is.
pub(crate) fn push(asked: &Asked<'_>, body: Vec<u8>) -> Option<Vec<u8>> {
    postcard::to_extend(asked, body).ok()
}

/// How long what is stored may live, and the commands. `None` if they make no sense to this version.
pub(crate) fn read(body: &[u8]) -> Option<(Option<Seconds>, Commands<'_>)> {
    let ([VERSION], rest) = body.split_first_chunk()? else { return None };
    let (lives, rest) = rest.split_first_chunk()?;
    Some((Some(Seconds::from_le_bytes(*lives)).filter(|lives| *lives > 0), Commands(rest)))
}

impl<'a> Iterator for Commands<'a> {
    type Item = Option<Asked<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let taken = postcard::take_from_bytes(self.0);
        self.0 = taken.as_ref().map_or(&[], |(_, rest)| rest);
        Some(taken.ok().map(|(asked, _)| asked))
    }
}

/// The beginning of an answer, to which outcomes are appended by [`told::write`].
pub(crate) fn begin_answer(now: Seconds) -> Vec<u8> {
    let mut body = Vec::with_capacity(USUAL_LEN);
    body.push(VERSION);
    body.extend_from_slice(&now.to_le_bytes());
    body
}

/// The outcomes of `count` commands, in terms of the clock that says `now`. `None` if they make no sense
/// to this version.
pub(crate) fn read_answer(
    body: &Bytes,
    count: usize,
    now: Seconds,
) -> Option<Vec<Outcome<'static>>> {
    let ([VERSION], rest) = body.split_first_chunk()? else { return None };
    let (theirs, _) = rest.split_first_chunk()?;
    let theirs = Seconds::from_le_bytes(*theirs);
    let mut outcomes = told::read(&body.slice(HEADER..), count, failure::of_number)?;
    if theirs != now {
        for outcome in &mut outcomes {
            set_clock(outcome, theirs, now);
        }
    }
    Some(outcomes)
}

/// A moment stays as far from now as it is, whatever two clocks say.
fn set_clock(outcome: &mut Outcome<'_>, theirs: Seconds, ours: Seconds) {
    let later = i64::from(ours) - i64::from(theirs);
    let set = |moment: &mut Seconds| {
        // 0 is never.
        if *moment != 0 {
            let moved = (i64::from(*moment) + later).clamp(1, Seconds::MAX.into());
            *moment = Seconds::try_from(moved).unwrap_or(Seconds::MAX);
        }
    };
    match outcome {
        Outcome::Hit(hit) => {
            for moment in [&mut hit.before.exptime, &mut hit.before.last_access, &mut hit.exptime] {
                set(moment);
            }
        }
        Outcome::Counted(counted) => {
            set(&mut counted.exptime_before);
            set(&mut counted.exptime);
        }
        _ => {}
    }
}

/// A call to flush, so many seconds from now.
pub(crate) fn flush(delay: Seconds) -> Bytes {
    let [a, b, c, d] = delay.to_le_bytes();
    Bytes::copy_from_slice(&[VERSION, a, b, c, d])
}

/// How many seconds from now to flush. `None` if that makes no sense to this version.
pub(crate) fn read_flush(body: &[u8]) -> Option<Seconds> {
    let ([VERSION], rest) = body.split_first_chunk()? else { return None };
    rest.try_into().ok().map(Seconds::from_le_bytes)
}

/// Items that are handed over.
#[derive(Debug)]
pub(crate) struct Handed {
    now: Seconds,
    count: u32,
    keys: Vec<u8>,
    items: Vec<u8>,
}

impl Handed {
    /// None yet, at a node whose clock says `now`.
    pub(crate) fn new(now: Seconds) -> Self {
        Self { now, count: 0, keys: Vec::new(), items: Vec::new() }
    }

    /// One more, as a fetch tells it.
    pub(crate) fn push(&mut self, key: &[u8], item: &Outcome<'_>) {
        let items = told::write(item, std::mem::take(&mut self.items), failure::number);
        if let (Some(items), Ok(len)) = (items, u8::try_from(key.len())) {
            self.items = items;
            self.keys.push(len);
            self.keys.extend_from_slice(key);
            self.count += 1;
        }
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.keys.len() + self.items.len()
    }
}

impl From<Handed> for Bytes {
    fn from(handed: Handed) -> Self {
        let mut body = begin_answer(handed.now);
        body.extend_from_slice(&handed.count.to_le_bytes());
        body.extend_from_slice(&handed.keys);
        body.extend_from_slice(&handed.items);
        body.into()
    }
}

/// The items, each with its key, in terms of the clock that says `now`. `None` if they make no sense to this
/// version.
pub(crate) fn read_handed(
    body: &Bytes,
    now: Seconds,
) -> Option<impl Iterator<Item = (Bytes, Outcome<'static>)>> {
    let ([VERSION], rest) = body.split_first_chunk()? else { return None };
    let (theirs, rest) = rest.split_first_chunk()?;
    let (count, mut rest) = rest.split_first_chunk()?;
    let (theirs, count) = (Seconds::from_le_bytes(*theirs), u32::from_le_bytes(*count));
    let mut keys = Vec::new();
    for _ in 0..count {
        let (len, behind) = rest.split_first()?;
        let (key, behind) = behind.split_at_checked(usize::from(*len))?;
        keys.push(body.slice_ref(key));
        rest = behind;
    }
    let mut items = told::read(&body.slice_ref(rest), keys.len(), failure::of_number)?;
    for item in &mut items {
        set_clock(item, theirs, now);
    }
    Some(keys.into_iter().zip(items))
}

/// A call to forget keys, of up to 255 bytes.
pub(crate) fn forget<'k>(keys: impl Iterator<Item = &'k [u8]>) -> Bytes {
    let mut body = vec![VERSION];
    for key in keys {
        if let Ok(len) = u8::try_from(key.len()) {
            body.push(len);
            body.extend_from_slice(key);
        }
    }
    body.into()
}

/// The keys to forget, until the first that makes no sense. `None` if none do to this version.
pub(crate) fn read_forget(body: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let ([VERSION], mut rest) = body.split_first_chunk()? else { return None };
    Some(std::iter::from_fn(move || {
        let (len, behind) = rest.split_first()?;
        let (key, behind) = behind.split_at_checked(usize::from(*len))?;
        rest = behind;
        Some(key)
    }))
}

/// How many items there are.
pub(crate) fn items(count: u64) -> Bytes {
    let mut body = vec![VERSION];
    body.extend_from_slice(&count.to_le_bytes());
    body.into()
}

/// How many items there are. `None` if that makes no sense to this version.
pub(crate) fn read_items(body: &[u8]) -> Option<u64> {
    let ([VERSION], rest) = body.split_first_chunk()? else { return None };
    rest.try_into().ok().map(u64::from_le_bytes)
}

const VERSION: u8 = 1;
/// The bytes before commands or outcomes.
const HEADER: usize = 5;
/// Room for what some tens of clients ask at once.
const USUAL_LEN: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use larder_protocol::{Exptime, Fetch, Header, Hit, Marks, Store, Value};

    use super::*;

    #[test]
    fn the_bytes_are_these_for_good() {
        let get = Asked { key: b"k", op: Op::Fetch(Fetch::GET) };
        let set = Store { value: b"ab", exptime: Exptime(60), max_len: 300, ..Store::SET };
        let set = Asked { key: b"l", op: Op::Store(set) };
        let body = [get, set].iter().try_fold(begin(Some(10)), |body, asked| push(asked, body));
        let body = body.unwrap();
        let expected = [
            &[1, 10, 0, 0, 0][..],
            &[1, b'k', 0, 0, 0, 0, 0, 0, 0, 1, 0],
            &[1, b'l', 1, 0, 0, 2, b'a', b'b', 0, 120, 0, 0, 0, 0, 0, 172, 2],
        ];
        assert_eq!(body, expected.concat());
        let (lives, commands) = read(&body).unwrap();
        assert_eq!((lives, commands.collect()), (Some(10), vec![Some(get), Some(set)]));
        assert_eq!(read(&begin(None)).unwrap().0, None);
        assert!(read(&[2, 0, 0, 0, 0]).is_none() && read(&[1, 0]).is_none());
        assert!(read(&body[..body.len() - 1]).unwrap().1.last().unwrap().is_none());
        assert_eq!((&flush(258)[..], read_flush(&flush(258))), (&[1, 2, 1, 0, 0][..], Some(258)));
        assert!(read_flush(&[2, 0, 0, 0, 0]).is_none() && read_flush(&[1]).is_none());
        let keys = [&b"a"[..], b"bc"];
        let body = forget(keys.into_iter());
        assert_eq!(body, b"\x01\x01a\x02bc"[..]);
        assert_eq!(read_forget(&body).unwrap().collect::<Vec<_>>(), keys);
        assert_eq!(read_forget(&body[..5]).unwrap().count(), 1);
        assert!(read_forget(&[2]).is_none());
        assert_eq!(items(258), [1, 2, 1, 0, 0, 0, 0, 0, 0][..]);
        assert_eq!((read_items(&items(258)), read_items(&[1, 0])), (Some(258), None));
    }

    #[test]
    fn items_that_are_handed_over_are_these_bytes() {
        let header =
            Header { cas: 9, client_flags: 7, exptime: 1060, last_access: 990, marks: Marks::WON };
        let value = Value::Slice(b"v");
        let hit = Hit { before: header, exptime: 1060, created: false, won: false, value };
        let mut handed = Handed::new(1000);
        handed.push(b"key", &Outcome::Hit(hit));
        let body = Bytes::from(handed);
        let expected = [
            &[1, 232, 3, 0, 0, 1, 0, 0, 0, 3, b'k', b'e', b'y'][..],
            &[0, 9, 7, 164, 8, 222, 7, 4, 164, 8, 0, 0, 1, b'v'],
        ];
        assert_eq!(body, expected.concat());
        let items: Vec<_> = read_handed(&body, 5000).unwrap().collect();
        let [(key, Outcome::Hit(hit))] = &items[..] else { panic!("{items:?}") };
        assert_eq!(
            (&key[..], hit.before.exptime, hit.before.last_access),
            (&b"key"[..], 5060, 4990)
        );
        assert_eq!((hit.before.client_flags, hit.before.marks), (7, Marks::WON));
        for len in 0..body.len() {
            assert!(read_handed(&body.slice(..len), 5000).is_none(), "{len}");
        }
    }

    #[test]
    fn a_moment_of_another_clock_is_as_far_away_by_ours() {
        let header = |exptime, last_access| Header {
            cas: 1,
            client_flags: 0,
            exptime,
            last_access,
            marks: Marks::default(),
        };
        let hit = |exptime, before| {
            let value = Value::Slice(b"v");
            Outcome::Hit(Hit { before, exptime, created: false, won: false, value })
        };
        let answer = |outcome| {
            let body = told::write(&outcome, begin_answer(1000), failure::number).unwrap();
            let outcome = read_answer(&body.into(), 1, 5000).unwrap().pop();
            let Some(Outcome::Hit(hit)) = outcome else { panic!("{outcome:?}") };
            (hit.exptime, hit.before.exptime, hit.before.last_access)
        };
        assert_eq!(answer(hit(1060, header(1010, 990))), (5060, 5010, 4990));
        assert_eq!(answer(hit(0, header(0, 990))), (0, 0, 4990));
        assert!(read_answer(&Bytes::from_static(&[2, 0, 0, 0, 0]), 0, 1).is_none());
        assert!(read_answer(&Bytes::from_static(&[1, 0, 0, 0, 0]), 1, 1).is_none());
    }
}
