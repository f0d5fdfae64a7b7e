//! A thousand clients miss one key at once.

use std::io::Write as _;

use crate::support::caches::Caches;
use crate::support::stores::Client;

/// Of each node.
const CLIENTS: usize = 200;

/// So often, each time another key.
const ROUNDS: usize = 10;

#[test]
fn of_1000_clients_of_five_nodes_that_miss_a_key_one_is_told_to_fill_it() {
    let caches = Caches::start(5, "--peer-timeout 30000");
    let mut clients: Vec<Client> = Vec::new();
    for node in caches.nodes() {
        clients.extend((0..CLIENTS).map(|_| caches.client(node)));
    }
    for round in 0..ROUNDS {
        let key = format!("key{round}");
        // All have asked before the first is listened to.
        for client in &clients {
            client.sender().write_all(format!("mg {key} v N30\r\n").as_bytes()).unwrap();
        }
        let mut winners = Vec::new();
        for (number, client) in clients.iter_mut().enumerate() {
            let line = client.line();
            assert_eq!(client.line(), "", "nobody has filled it: {line}");
            match &*line {
                "VA 0 W" => winners.push(number),
                line => assert_eq!(line, "VA 0 Z", "{number}"),
            }
        }
        let [winner] = winners[..] else { panic!("{key}: {winners:?}") };
        let filled = clients[winner].ask(&format!("ms {key} 5 T60\r\nvalue\r\n"));
        assert_eq!(filled, "HD");
        for client in &clients {
            client.sender().write_all(format!("mg {key} v N30\r\n").as_bytes()).unwrap();
        }
        for client in &mut clients {
            assert_eq!((client.line(), client.line()), ("VA 5".to_owned(), "value".to_owned()));
        }
    }
}
