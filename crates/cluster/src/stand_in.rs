//! What a node does that stands in for another.

use larder_protocol::{Arithmetic, Delete, Exptime, Fetch, Op, Seconds, Store};

/// The same operation, after which nothing that it stores or touches lives for more than so many seconds:
/// whoever owns the key comes back, and must not be contradicted for longer.
pub(crate) fn bounded<'a>(op: &Op<'a>, lives: Seconds, now: Seconds) -> Op<'a> {
    let bound = |exptime: Exptime| match exptime.at(now) {
        0 => Exptime(lives.into()),
        at if at > now.saturating_add(lives) => Exptime(lives.into()),
        _ => exptime,
    };
    match *op {
        Op::Fetch(fetch) => {
            Op::Fetch(Fetch { ttl: fetch.ttl.map(bound), vivify: fetch.vivify.map(bound), ..fetch })
        }
        Op::Store(store) => Op::Store(Store {
            exptime: bound(store.exptime),
            vivify: store.vivify.map(bound),
            ..store
        }),
        Op::Delete(delete) => Op::Delete(Delete { ttl: delete.ttl.map(bound), ..delete }),
        Op::Arithmetic(arithmetic) => Op::Arithmetic(Arithmetic {
            ttl: arithmetic.ttl.map(bound),
            vivify: arithmetic.vivify.map(bound),
            ..arithmetic
        }),
    }
}

/// Whether an operation comes to the same if it is done once more, elsewhere: whoever cannot know whether
/// it was done may ask another.
pub(crate) fn is_repeatable(op: &Op<'_>) -> bool {
    use larder_protocol::Mode;
    match op {
        Op::Fetch(fetch) => fetch.vivify.is_none() && fetch.recache.is_none(),
        Op::Store(store) => matches!(store.mode, Mode::Set) && store.compare.is_none(),
        Op::Delete(delete) => delete.compare.is_none(),
        Op::Arithmetic(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use larder_protocol::Mode;

    use super::*;

    const NOW: Seconds = 1_700_000_000;

    #[test]
    fn nothing_lives_longer_than_the_bound_and_what_dies_sooner_does() {
        for (exptime, wanted) in [
            (0, 10),
            (5, 5),
            (10, 10),
            (11, 10),
            (i64::from(Exptime::LONGEST), 10),
            (i64::from(NOW) + 7, i64::from(NOW) + 7),
            (i64::from(NOW) + 70, 10),
            (-1, -1),
        ] {
            let exptime = Exptime(exptime);
            let set = Op::Store(Store { exptime, ..Store::SET });
            let touch = Op::Fetch(Fetch { ttl: Some(exptime), ..Fetch::GET });
            let count = Op::Arithmetic(Arithmetic { vivify: Some(exptime), ..Arithmetic::INCR });
            let Op::Store(Store { exptime: set, .. }) = bounded(&set, 10, NOW) else { panic!() };
            let Op::Fetch(Fetch { ttl: touch, vivify: None, .. }) = bounded(&touch, 10, NOW) else {
                panic!()
            };
            let Op::Arithmetic(Arithmetic { vivify: count, ttl: None, .. }) =
                bounded(&count, 10, NOW)
            else {
                panic!()
            };
            assert_eq!(
                [Some(set), touch, count].map(|exptime| exptime.unwrap().0),
                [wanted; 3],
                "{exptime:?}"
            );
        }
    }

    #[test]
    fn what_counts_or_compares_is_not_asked_twice() {
        let add = Store { mode: Mode::Add, ..Store::SET };
        let cas = Store { compare: Some(1), ..Store::SET };
        let vivify = Fetch { vivify: Some(Exptime(1)), ..Fetch::GET };
        for op in
            [Op::Store(add), Op::Store(cas), Op::Fetch(vivify), Op::Arithmetic(Arithmetic::INCR)]
        {
            assert!(!is_repeatable(&op), "{op:?}");
        }
        for op in [Op::Store(Store::SET), Op::Fetch(Fetch::GET), Op::Delete(Delete::default())] {
            assert!(is_repeatable(&op), "{op:?}");
        }
    }
}
