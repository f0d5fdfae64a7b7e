//! A node is back with what it had, and the others have changed that meanwhile.

use crate::support::caches::Caches;
use crate::support::stores::Client;
use crate::support::until;

/// So many that each node has some hundreds.
const KEYS: usize = 2000;

fn key(number: usize) -> String {
    format!("key{number}")
}

fn set_all(client: &mut Client, numbers: impl Iterator<Item = usize>, value: &str) {
    for number in numbers {
        assert_eq!(client.set(&key(number), value), "STORED");
    }
}

#[test]
fn who_is_back_with_its_memory_file_serves_nothing_that_was_changed_meanwhile() {
    let mut caches = Caches::plan(3, "--peer-timeout 30000");
    let file = format!("-e {}", caches.place.path().join("items").display());
    let warm = 2;
    caches.open(1);
    caches.open_with(warm, &file);
    caches.open(3);
    caches.until_all_know(3);
    let owners = caches.owners();
    set_all(&mut caches.client(1), 0..KEYS, "old");
    caches.stop(warm);
    for node in [1, 3] {
        until("it is gone", || (caches.stats(node).owners() == 2).then_some(()));
    }
    // Of three keys one is overwritten, one is deleted, and one stays.
    let mut client = caches.client(3);
    set_all(&mut client, (0..KEYS).step_by(3), "new");
    for number in (1..KEYS).step_by(3) {
        let deleted = client.ask(&format!("delete {}\r\n", key(number)));
        assert!(["DELETED", "NOT_FOUND"].contains(&&*deleted), "{deleted}");
    }
    let owed: u64 = [1, 3].map(|node| caches.stats(node).number("hints_owed")).iter().sum();
    assert!(owed > KEYS as u64 / 10, "{owed}");
    caches.open_with(warm, &file);
    caches.until_all_know(3);
    let mut kept = 0;
    for node in caches.nodes() {
        let mut client = caches.client(node);
        for number in 0..KEYS {
            let (key, is_its) = (key(number), owners.of(key(number).as_bytes()) == warm);
            let value = client.get(&key);
            match number % 3 {
                // What has been overwritten is nowhere but where it was, or where it is asked for.
                0 => assert!(value.as_deref() == Some("new") || value.is_none() && is_its, "{key}"),
                1 => assert_eq!(value, None, "{key} through {node}"),
                _ if is_its => kept += usize::from(value.as_deref() == Some("old")),
                _ => assert_eq!(value.as_deref(), Some("old"), "{key} through {node}"),
            }
        }
    }
    assert!(kept > KEYS / 10, "it has what nobody has changed: {kept}");
}
