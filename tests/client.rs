//! The client against a real memcached.

use std::time::{Duration, SystemTime};

use larder_client::{Cas, Client, Error, Expiry, Value};

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
