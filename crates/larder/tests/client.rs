//! The Rust client and a cluster of cache nodes, each a process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use larder_client::{Builder, Client, Error, Expiry};
use support::caches::Caches;
use support::{PATIENCE, until};

const MINUTE: Duration = Duration::from_mins(1);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn discover(caches: &Caches, node: u16) -> Builder {
    Client::builder()
        .discover(caches.address(node))
        .poll_interval(Duration::from_millis(100))
        .timeout(PATIENCE)
}

#[test]
fn a_node_dies_and_another_comes_and_no_request_fails() {
    let mut caches = Caches::plan(4, "");
    (1..=3).for_each(|node| caches.open(node));
    caches.until_all_know(3);
    let runtime = runtime();
    let client = discover(&caches, 1).build().unwrap();
    let keys: Vec<_> = (0..300).map(|n| format!("key:{n}")).collect();
    let entries: Vec<_> = keys.iter().map(|key| (key, key)).collect();
    let set_all = || {
        for stored in runtime.block_on(client.set_many(&entries, MINUTE)) {
            stored.unwrap();
        }
    };
    // Of what is there each value is the one that was stored.
    let found = || {
        let items = runtime.block_on(client.get_many(&keys)).into_iter().zip(&keys);
        let found = items.filter_map(|(item, key)| item.unwrap().map(|item| (item, key)));
        found.inspect(|(item, key)| assert_eq!(item.value, key.as_bytes())).count()
    };
    let nodes = || {
        let mut nodes = runtime.block_on(client.nodes()).unwrap();
        nodes.sort();
        nodes
    };
    let addresses = |nodes: &[u16]| -> Vec<_> {
        let mut nodes: Vec<_> = nodes.iter().map(|node| caches.address(*node)).collect();
        nodes.sort();
        nodes
    };
    let (three, two) = (addresses(&[1, 2, 3]), addresses(&[2, 3]));
    let other_three = addresses(&[2, 3, 4]);
    set_all();
    assert_eq!((found(), nodes()), (300, three));
    // The one whose cluster was asked.
    caches.kill(1);
    assert!(found() < 300, "nothing was lost with the node");
    set_all();
    assert_eq!(found(), 300);
    until("the client knows that it is gone", || {
        found();
        (nodes() == two).then_some(())
    });
    set_all();
    assert_eq!(found(), 300);
    caches.open(4);
    until("the client knows that another is there", || {
        found();
        (nodes() == other_three).then_some(())
    });
    caches.until_all_see(3);
    assert_eq!(found(), 300);
    set_all();
    assert_eq!(found(), 300);
    let counted = runtime.block_on(async {
        client.add("n", "1", Expiry::Never).await.unwrap();
        client.incr("n", 1).await.unwrap()
    });
    assert_eq!(counted, Some(2));
}

#[test]
fn of_1000_callers_of_five_clients_through_five_nodes_one_fills() {
    let caches = Caches::start(5, "");
    let runtime = runtime();
    let clients: Vec<_> = (1..=5)
        .map(|node| {
            // Each through its own node alone, whoever owns the key.
            let builder = Client::builder().node(caches.address(node)).timeout(PATIENCE);
            builder.fill_wait(PATIENCE).build().unwrap()
        })
        .collect();
    for key in 0..20 {
        let key = format!("key:{key}");
        let fills = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..1000)
            .map(|caller| {
                let (client, key) = (clients[caller % 5].clone(), key.clone());
                let fills = Arc::clone(&fills);
                runtime.spawn(async move {
                    let fill = move || async move {
                        fills.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        Ok::<_, Error>(format!("value of {caller}"))
                    };
                    client.get_or_fill(key, MINUTE, fill).await.unwrap()
                })
            })
            .collect();
        let values: Vec<_> =
            callers.into_iter().map(|caller| runtime.block_on(caller).unwrap()).collect();
        assert!(values.iter().all(|value| *value == values[0]), "{key}");
        assert_eq!(fills.load(Ordering::Relaxed), 1, "{key}");
    }
}
