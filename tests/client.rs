//! The client against a real memcached, and a Larder node where they must be alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use larder_client::{Cas, Client, Error, Expiry, Tiers, Value};
use tokio::task::JoinSet;

use crate::node::Node;
use crate::process::Memcached;

const MINUTE: Duration = Duration::from_mins(1);

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn client(nodes: &[&Memcached]) -> Client {
    let builder = Client::builder().timeout(Duration::from_secs(10));
    nodes.iter().fold(builder, |b, node| b.node(node.address().to_string())).build().unwrap()
}

#[test]
fn items_come_back_as_stored() {
    let node = Memcached::start(&[]);
    run(async {
        let client = client(&[&node]);
        assert_eq!(client.get("k").await.unwrap(), None);
        client.set("k", Value::with_flags(b"a\r\nb\0", u32::MAX), MINUTE).await.unwrap();
        let item = client.get("k").await.unwrap().unwrap();
        assert_eq!((&item.value[..], item.flags), (&b"a\r\nb\0"[..], u32::MAX));
        assert_eq!(client.cas("k", "new", MINUTE, item.cas).await.unwrap(), Cas::Stored);
        assert_eq!(client.cas("k", "newer", MINUTE, item.cas).await.unwrap(), Cas::Changed);
        assert_eq!(client.cas("gone", "new", MINUTE, item.cas).await.unwrap(), Cas::Gone);
        assert!(client.append("k", "!").await.unwrap());
        assert!(client.prepend("k", "<").await.unwrap());
        assert_eq!(&client.get("k").await.unwrap().unwrap().value[..], b"<new!");
        assert!(!client.add("k", "x", MINUTE).await.unwrap());
        assert!(!client.replace("gone", "x", MINUTE).await.unwrap());
        assert!(!client.append("gone", "x").await.unwrap());
        assert!(client.delete("k").await.unwrap());
        assert!(!client.delete("k").await.unwrap());
    });
}

#[test]
fn numbers_count() {
    let node = Memcached::start(&[]);
    run(async {
        let client = client(&[&node]);
        assert_eq!(client.incr("n", 1).await.unwrap(), None);
        client.set("n", "9", Expiry::Never).await.unwrap();
        assert_eq!(client.incr("n", 2).await.unwrap(), Some(11));
        assert_eq!(client.decr("n", 4).await.unwrap(), Some(7));
        assert_eq!(client.decr("n", 100).await.unwrap(), Some(0));
        assert_eq!(client.incr("n", u64::MAX).await.unwrap(), Some(u64::MAX));
        client.set("n", "text", Expiry::Never).await.unwrap();
        assert!(matches!(client.incr("n", 1).await, Err(Error::Server { .. })));
        // The connection is as good as before.
        assert_eq!(&client.get("n").await.unwrap().unwrap().value[..], b"text");
    });
}

#[test]
fn expiries_mean_what_they_say() {
    let node = Memcached::start(&[]);
    run(async {
        let client = client(&[&node]);
        let year = Duration::from_hours(365 * 24);
        client.set("never", "v", Expiry::Never).await.unwrap();
        client.set("year", "v", year).await.unwrap();
        client.set("date", "v", SystemTime::now() + year).await.unwrap();
        client.set("past", "v", SystemTime::UNIX_EPOCH).await.unwrap();
        client.set("at once", "v", Duration::ZERO).await.unwrap();
        let keys = ["never", "year", "date", "past", "at once"];
        let there: Vec<bool> =
            client.get_many(&keys).await.into_iter().map(|item| item.unwrap().is_some()).collect();
        assert_eq!(there, [true, true, true, false, false]);
        assert!(client.touch("never", Duration::ZERO).await.unwrap());
        assert!(!client.touch("never", MINUTE).await.unwrap());
        assert!(client.get_and_touch("year", Duration::ZERO).await.unwrap().is_some());
        assert_eq!(client.get("year").await.unwrap(), None);
    });
}

#[test]
fn any_bytes_make_a_key() {
    let node = Memcached::start(&[]);
    run(async {
        let client = client(&[&node]);
        let mut keys: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        keys.push(vec![b'k'; 250]);
        keys.push(vec![0; 186]);
        // What no server takes.
        keys.extend([vec![b'k'; 251], vec![b'k'; 252], vec![0; 187], vec![b' '; 100_000]]);
        let entries: Vec<(&[u8], &[u8])> = keys.iter().map(|key| (&key[..], &key[..])).collect();
        for stored in client.set_many(&entries, MINUTE).await {
            stored.unwrap();
        }
        for (key, item) in keys.iter().zip(client.get_many(&keys).await) {
            assert_eq!(item.unwrap().unwrap().value, key[..]);
        }
    });
}

#[test]
fn large_batches_and_large_values_are_split_over_nodes() {
    let nodes = [Memcached::start(&[]), Memcached::start(&[]), Memcached::start(&[])];
    run(async {
        let client = client(&[&nodes[0], &nodes[1], &nodes[2]]);
        let values: Vec<Vec<u8>> = (0..5000).map(|n| vec![b'v'; n * 7 % 3000]).collect();
        let entries: Vec<(String, &[u8])> =
            values.iter().enumerate().map(|(n, value)| (format!("key:{n}"), &value[..])).collect();
        for stored in client.set_many(&entries, MINUTE).await {
            stored.unwrap();
        }
        let keys: Vec<&String> = entries.iter().map(|(key, _)| key).collect();
        for (value, item) in values.iter().zip(client.get_many(&keys).await) {
            assert!(item.unwrap().unwrap().value == value[..]);
        }
        for deleted in client.delete_many(&keys[..100]).await {
            assert!(deleted.unwrap());
        }
        let large = vec![7; 1_000_000];
        client.set("large", &large, MINUTE).await.unwrap();
        assert!(client.get("large").await.unwrap().unwrap().value == large[..]);
        let larger = vec![7; 2_000_000];
        let refused = client.set("large", &larger, MINUTE).await;
        assert!(matches!(refused, Err(Error::Server { .. })), "{refused:?}");
        assert_eq!(client.get("large").await.unwrap(), None);
    });
}

#[test]
fn a_stopped_node_is_unreachable() {
    let node = Memcached::start(&[]);
    run(async {
        let client = client(&[&node]);
        client.set("k", "v", MINUTE).await.unwrap();
        drop(node);
        // Whether the end of the connection or the refusal comes first is the system's choice.
        let error = client.get("k").await.unwrap_err();
        assert!(matches!(error, Error::Disconnected { .. } | Error::Unreachable { .. }), "{error}");
        let error = client.get("k").await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    });
}

/// A memcached and a Larder node: leases must mean the same on both.
fn with_each_server(test: impl AsyncFn(String)) {
    let (memcached, larder) = (Memcached::start(&[]), Node::cache());
    for address in [memcached.address(), larder.address()] {
        run(test(address.to_string()));
    }
}

#[test]
fn of_many_callers_and_clients_one_fills() {
    with_each_server(async |address| {
        let fills = Arc::new(AtomicUsize::new(0));
        let mut callers = JoinSet::new();
        for _ in 0..3 {
            let client = Client::builder().node(&address).build().unwrap();
            for _ in 0..50 {
                let (client, fills) = (client.clone(), Arc::clone(&fills));
                callers.spawn(async move {
                    let fill = move || async move {
                        fills.fetch_add(1, Ordering::Relaxed);
                        // Long enough for all to ask.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        Ok::<_, Error>("made")
                    };
                    client.get_or_fill("k", MINUTE, fill).await.unwrap()
                });
            }
        }
        let values = callers.join_all().await;
        assert!(values.iter().all(|value| value == "made") && values.len() == 150);
        assert_eq!(fills.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn what_was_deleted_or_written_while_it_was_filled_is_not_undone() {
    with_each_server(async |address| {
        let (client, other) = (
            Client::builder().node(&address).build().unwrap(),
            Client::builder().node(&address).build().unwrap(),
        );
        let deletes = other.clone();
        let delete = || async move { deletes.delete("k").await.map(|_| "old") };
        assert_eq!(client.get_or_fill("k", MINUTE, delete).await.unwrap(), "old");
        assert_eq!(client.get("k").await.unwrap(), None);
        let writes = other.clone();
        let write = || async move { writes.set("k", "new", MINUTE).await.map(|()| "old") };
        assert_eq!(client.get_or_fill("k", MINUTE, write).await.unwrap(), "old");
        assert_eq!(client.get("k").await.unwrap().unwrap().value, "new");
    });
}

#[test]
fn a_failed_fill_leaves_the_key_to_the_next() {
    with_each_server(async |address| {
        let client = Client::builder().node(&address).build().unwrap();
        let other = Client::builder().node(&address).build().unwrap();
        let fail = || async { Err::<&str, _>("no database") };
        assert!(matches!(client.get_or_fill("k", MINUTE, fail).await, Err(Error::Fill { .. })));
        let fill = |value: &'static str| move || async move { Ok::<_, Error>(value) };
        assert_eq!(other.get_or_fill("k", MINUTE, fill("first")).await.unwrap(), "first");
        // Stale, and again when the fill fails.
        for _ in 0..2 {
            assert!(client.invalidate("k", MINUTE).await.unwrap());
            assert!(client.get_or_fill("k", MINUTE, fail).await.is_err());
        }
        assert_eq!(other.get_or_fill("k", MINUTE, fill("second")).await.unwrap(), "second");
        assert_eq!(client.get_or_fill("k", MINUTE, fail).await.unwrap(), "second");
        assert!(!client.invalidate("gone", MINUTE).await.unwrap());
    });
}

#[test]
fn values_of_any_type_come_back_through_another_client() {
    with_each_server(async |address| {
        let client = |compress_from| {
            let builder = Client::builder().node(&address).compress_from(compress_from);
            builder.build().unwrap()
        };
        let (always, never) = (client(0), client(usize::MAX));
        let value = (vec!["text".repeat(500); 3], 7_u64, Some('x'));
        always.set_as("always", &value, MINUTE).await.unwrap();
        never.set_as("never", &value, MINUTE).await.unwrap();
        assert_eq!(always.get_as("never").await.unwrap().as_ref(), Some(&value));
        assert_eq!(never.get_as("always").await.unwrap().as_ref(), Some(&value));
        let len = async |key| never.get(key).await.unwrap().unwrap().value.len();
        assert!(len("always").await < len("never").await / 10);
        let fill = || async { Err::<(Vec<String>, u64, Option<char>), _>("unasked") };
        assert_eq!(always.get_or_fill_as("never", MINUTE, fill).await.unwrap(), value);
        always.set("text", "text", MINUTE).await.unwrap();
        assert!(matches!(never.get_as::<u8>("text").await, Err(Error::Unreadable { .. })));
    });
}

/// A cache and a store, each a node, and a client of each.
fn with_tiers(test: impl AsyncFn(Client, Client)) {
    let (cache, store) = (Node::cache(), Node::store());
    let client = |node: &Node| Client::builder().node(node.address().to_string()).build().unwrap();
    run(test(client(&cache), client(&store)));
}

#[test]
fn a_store_is_read_through_a_cache_and_written_through_it() {
    with_tiers(async |cache, store| {
        let tiers = Tiers::new(cache.clone(), store.clone(), MINUTE);
        let other = tiers.clone().with_copies(1 << 20, MINUTE);
        assert_eq!(tiers.get("k").await.unwrap(), None);
        assert_eq!(cache.get("k").await.unwrap(), None);
        tiers.set("k", Value::with_flags(b"first", 7), Expiry::Never).await.unwrap();
        assert_eq!(other.get("k").await.unwrap().unwrap(), "first");
        let kept = cache.get("k").await.unwrap().unwrap();
        assert_eq!((&kept.value[..], kept.flags), (&b"first"[..], 7));
        // The cache answers for the store, and the copy for the cache.
        store.set("k", "behind the cache", Expiry::Never).await.unwrap();
        assert_eq!(tiers.get("k").await.unwrap().unwrap(), "first");
        tiers.set("k", "second", Expiry::Never).await.unwrap();
        assert_eq!(tiers.get("k").await.unwrap().unwrap(), "second");
        assert_eq!(other.get("k").await.unwrap().unwrap(), "first");
        // Whose own writes are seen at once.
        other.set("k", "third", Expiry::Never).await.unwrap();
        assert_eq!(other.get("k").await.unwrap().unwrap(), "third");
        assert!(other.delete("k").await.unwrap());
        assert_eq!((other.get("k").await.unwrap(), tiers.get("k").await.unwrap()), (None, None));
        assert!(!tiers.delete("k").await.unwrap());
        tiers.set_as("k", &vec![1, 2], Expiry::Never).await.unwrap();
        assert_eq!(other.get_as::<Vec<u8>>("k").await.unwrap(), Some(vec![1, 2]));
    });
}

#[test]
fn the_cache_keeps_nothing_for_longer_than_the_store() {
    with_tiers(async |cache, store| {
        let tiers = Tiers::new(cache.clone(), store, Duration::from_hours(1));
        tiers.set("k", "v", Duration::from_secs(1)).await.unwrap();
        tiers.get("k").await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while cache.get("k").await.unwrap().is_some() {
            assert!(Instant::now() < deadline, "the cache keeps it");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn without_its_cache_a_store_is_read_and_written_all_the_same() {
    with_tiers(async |_, store| {
        let gone = Client::builder().node("127.0.0.1:1").build().unwrap();
        let tiers = Tiers::new(gone, store, MINUTE);
        tiers.set("k", "v", Expiry::Never).await.unwrap();
        assert_eq!(tiers.get("k").await.unwrap().unwrap(), "v");
        assert!(tiers.delete("k").await.unwrap());
        assert_eq!(tiers.get("k").await.unwrap(), None);
    });
    with_tiers(async |cache, _| {
        let gone = Client::builder().node("127.0.0.1:1").build().unwrap();
        let tiers = Tiers::new(cache, gone, MINUTE);
        assert!(matches!(tiers.get("k").await, Err(Error::Unreachable { .. })));
        assert!(matches!(tiers.set("k", "v", MINUTE).await, Err(Error::Unreachable { .. })));
    });
}

#[test]
fn no_reader_sees_an_older_value_once_a_write_is_done() {
    with_tiers(async |cache, store| {
        let tiers = Tiers::new(cache, store, MINUTE).with_copies(1 << 20, MINUTE);
        let done = Arc::new(AtomicUsize::new(0));
        tiers.set("k", "0", Expiry::Never).await.unwrap();
        let mut readers = JoinSet::new();
        for _ in 0..8 {
            let (tiers, done) = (tiers.clone(), Arc::clone(&done));
            readers.spawn(async move {
                while done.load(Ordering::SeqCst) < 300 {
                    let least = done.load(Ordering::SeqCst);
                    let value = tiers.get("k").await.unwrap().unwrap();
                    let value: usize = std::str::from_utf8(&value).unwrap().parse().unwrap();
                    assert!(value >= least, "{value} after {least}");
                    tokio::task::yield_now().await;
                }
            });
        }
        for n in 1..=300 {
            tiers.set("k", &n.to_string(), Expiry::Never).await.unwrap();
            done.store(n, Ordering::SeqCst);
        }
        readers.join_all().await;
    });
}
