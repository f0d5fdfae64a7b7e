//! A server over a real socket: order, fairness, limits, and its end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

mod fake;
mod heat;
mod memory;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use larder_protocol::{Hit, Outcome, Value};
use larder_server::{Discovery, Endpoint, Overflow, Settings};

use crate::fake::{PATIENCE, Running, expect, header, hit, one_worker, rest, until};

#[test]
fn answers_keep_the_order_of_requests() {
    let server = Running::start(one_worker());
    let mut client = server.connect();
    client
        .write_all(b"set a 0 0 1\r\nx\r\nget later1 a later2\r\nmn\r\nget later3\r\nversion\r\n")
        .unwrap();
    expect(&mut client, "STORED\r\n");
    server.fake.answer("later3", Outcome::Miss);
    server.fake.answer("later2", hit("two"));
    server.fake.answer("later1", hit("one"));
    expect(
        &mut client,
        "VALUE later1 0 3\r\none\r\nVALUE a 0 1\r\nx\r\nVALUE later2 0 3\r\ntwo\r\nEND\r\nMN\r\nEND\r\nVERSION ",
    );
}

#[test]
fn the_cluster_is_told_in_its_turn_and_as_it_is() {
    let server = Running::start(one_worker());
    let mut client = server.connect();
    let asked = b"config get cluster\r\nget later\r\nconfig get cluster\r\nstats cluster\r\nmn\r\n";
    client.write_all(asked).unwrap();
    expect(&mut client, "ERROR\r\n");
    server.fake.answer("later", Outcome::Miss);
    expect(&mut client, "END\r\nERROR\r\nERROR\r\nMN\r\n");

    let tell = |version, ports: &[u16]| {
        let node = |port: &u16| Endpoint { host: "127.0.0.1".to_owned(), ip: None, port: *port };
        let nodes = ports.iter().map(node).collect();
        *server.fake.cluster.lock().unwrap() = Some(Discovery { version, nodes });
    };
    tell(7, &[11211, 11212]);
    client.write_all(b"config get cluster\nconfig get clusters\r\n").unwrap();
    expect(
        &mut client,
        "CONFIG cluster 0 54\r\n7\n127.0.0.1|127.0.0.1|11211 127.0.0.1|127.0.0.1|11212\n\r\nEND\r\n\
         ERROR\r\n",
    );
    tell(8, &[11212]);
    client.write_all(b"stats cluster\r\n").unwrap();
    expect(&mut client, "STAT version 8\r\nEND\r\n");
    client.write_all(b"config get cluster\r\n").unwrap();
    expect(&mut client, "CONFIG cluster 0 28\r\n8\n127.0.0.1|127.0.0.1|11212\n\r\nEND\r\n");
}

#[test]
fn large_answers_that_have_all_come_are_all_written() {
    let server = Running::start(one_worker());
    let mut client = server.connect();
    client.write_all(b"get later1 later2 later3\r\n").unwrap();
    let value = "v".repeat(300_000);
    let large = || {
        Outcome::Hit(Hit {
            before: header(0),
            exptime: 0,
            created: false,
            won: false,
            value: Value::Slice(value.as_bytes()).into_owned(),
        })
    };
    for key in ["later3", "later2", "later1"] {
        server.fake.answer(key, large());
    }
    for key in ["later1", "later2", "later3"] {
        expect(&mut client, &format!("VALUE {key} 0 300000\r\n{value}\r\n"));
    }
    expect(&mut client, "END\r\n");
}

#[test]
fn one_slow_key_stalls_nobody_else() {
    let server = Running::start(one_worker());
    let mut slow = server.connect();
    slow.write_all(b"get later\r\n").unwrap();
    let mut quick = server.connect();
    quick.write_all(b"mn\r\n").unwrap();
    expect(&mut quick, "MN\r\n");
    server.fake.answer("later", Outcome::Miss);
    expect(&mut slow, "END\r\n");
}

#[test]
fn a_client_that_does_not_read_is_not_read_from() {
    let server = Running::start(one_worker());
    let mut deaf = server.connect();
    let value = "v".repeat(100_000);
    deaf.write_all(format!("set big 0 0 {}\r\n{value}\r\n", value.len()).as_bytes()).unwrap();
    expect(&mut deaf, "STORED\r\n");
    // It asks until its own requests no longer fit into the sockets' buffers.
    deaf.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let requests = b"get big big big big\r\n".repeat(1000);
    let mut sent = 0_usize;
    let stuck = loop {
        match deaf.write(&requests) {
            Ok(written) => sent += written,
            Err(error) => break error,
        }
        assert!(sent < 200 << 20, "the server goes on reading");
    };
    assert_eq!(stuck.kind(), std::io::ErrorKind::WouldBlock);
    let mut other = server.connect();
    other.write_all(b"mn\r\n").unwrap();
    expect(&mut other, "MN\r\n");
    // Once it reads, it gets what it asked for.
    expect(&mut deaf, &format!("VALUE big 0 {}\r\n", value.len()));
    expect(&mut deaf, &value);
    expect(&mut deaf, &format!("\r\nVALUE big 0 {}\r\n", value.len()));
}

#[test]
fn turns_end_and_nothing_is_left_behind() {
    let server = Running::start(Settings { requests_per_turn: 1, ..one_worker() });
    let mut client = server.connect();
    client.write_all(&b"mn\r\n".repeat(500)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), "MN\r\n".repeat(500));
}

#[test]
fn a_value_in_pieces_is_followed_by_more_than_a_turn() {
    let server = Running::start(Settings { requests_per_turn: 2, ..one_worker() });
    let mut client = server.connect();
    let value = "v".repeat(50_000);
    client.write_all(format!("set k 0 0 {}\r\n{value}", value.len()).as_bytes()).unwrap();
    client.write_all(&[b"\r\n".as_slice(), &b"mn\r\n".repeat(20)].concat()).unwrap();
    expect(&mut client, &format!("STORED\r\n{}", "MN\r\n".repeat(20)));
}

#[test]
fn what_was_asked_before_half_a_connection_closed_is_answered() {
    let server = Running::start(one_worker());
    let mut client = server.connect();
    client.write_all(b"get later\r\nmn\r\nget a\r\nset b 0 0 5\r\nhal").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    server.fake.answer("later", Outcome::Miss);
    assert_eq!(rest(&mut client), "END\r\nMN\r\nEND\r\n");
}

#[test]
fn one_connection_too_many_is_told() {
    let server = Running::start(Settings { max_connections: 1, ..one_worker() });
    let mut first = server.connect();
    first.write_all(b"mn\r\n").unwrap();
    expect(&mut first, "MN\r\n");
    assert_eq!(rest(&mut server.connect()), "ERROR Too many open connections\r\n");
    drop(first);
    until("there is room again", || {
        let mut next = server.connect();
        next.write_all(b"mn\r\n").ok()?;
        let mut answer = [0; 4];
        next.read_exact(&mut answer).ok().filter(|()| &answer == b"MN\r\n")
    });
}

#[test]
fn one_connection_too_many_waits_if_it_may() {
    let settings = Settings { max_connections: 1, overflow: Overflow::Wait, ..one_worker() };
    let server = Running::start(settings);
    let mut first = server.connect();
    first.write_all(b"mn\r\n").unwrap();
    expect(&mut first, "MN\r\n");
    let mut second = server.connect();
    second.write_all(b"mn\r\n").unwrap();
    second.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(second.read_exact(&mut [0]).is_err(), "it is not served beside the first");
    drop(first);
    second.set_read_timeout(Some(PATIENCE)).unwrap();
    expect(&mut second, "MN\r\n");
}

#[test]
fn a_stop_answers_what_is_owed_and_sends_the_idle_away() {
    let mut server = Running::start(one_worker());
    let mut idle = server.connect();
    let mut owed = server.connect();
    owed.write_all(b"mn\r\nget later\r\n").unwrap();
    expect(&mut owed, "MN\r\n");
    idle.write_all(b"mn\r\n").unwrap();
    expect(&mut idle, "MN\r\n");
    server.tell_to_stop();
    assert_eq!(rest(&mut idle), "");
    assert!(!server.has_stopped());
    server.fake.answer("later", hit("late"));
    assert_eq!(rest(&mut owed), "VALUE later 0 4\r\nlate\r\nEND\r\n");
    until("it ends", || server.has_stopped().then_some(()));
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let drain_timeout = Duration::from_millis(200);
    let mut server = Running::start(Settings { drain_timeout, ..one_worker() });
    let mut owed = server.connect();
    owed.write_all(b"get later\r\n").unwrap();
    until("it is asked", || (!server.fake.waiting.lock().unwrap().is_empty()).then_some(()));
    server.tell_to_stop();
    until("it ends", || server.has_stopped().then_some(()));
    assert_eq!(rest(&mut owed), "");
}

#[test]
fn the_idle_are_sent_away_and_the_busy_are_not() {
    let idle_timeout = Some(Duration::from_secs(2));
    let server = Running::start(Settings { idle_timeout, ..one_worker() });
    let mut idle = server.connect();
    let mut busy = server.connect();
    let ended = thread::spawn(move || rest(&mut idle));
    until("the idle one is gone", || {
        busy.write_all(b"mn\r\n").unwrap();
        expect(&mut busy, "MN\r\n");
        ended.is_finished().then_some(())
    });
    assert_eq!(ended.join().unwrap(), "");
}

#[test]
fn half_a_request_does_not_keep_an_idle_connection() {
    let idle_timeout = Some(Duration::from_secs(1));
    let server = Running::start(Settings { idle_timeout, ..one_worker() });
    let mut line = server.connect();
    line.write_all(b"get fo").unwrap();
    let mut value = server.connect();
    value.write_all(b"set k 0 0 100\r\nhalf").unwrap();
    assert_eq!(rest(&mut line), "");
    assert_eq!(rest(&mut value), "");
    let mut client = server.connect();
    client.write_all(b"stats\r\nquit\r\n").unwrap();
    assert!(rest(&mut client).contains("STAT idle_kicks 2\r\n"));
}

#[test]
fn a_client_that_never_pauses_does_not_keep_a_server_from_ending() {
    let mut server = Running::start(one_worker());
    let mut busy = server.connect();
    busy.write_all(b"mn\r\n").unwrap();
    expect(&mut busy, "MN\r\n");
    let mut output = busy.try_clone().unwrap();
    let sender = thread::spawn(move || while output.write_all(&b"mn\r\n".repeat(100)).is_ok() {});
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        // One that goes on sending long after it was told goodbye is cut off.
        let end = busy.read_to_end(&mut text);
        (text, end.is_ok())
    });
    server.tell_to_stop();
    let (text, told) = reader.join().unwrap();
    assert!(!told || text.is_empty() || text.ends_with(b"MN\r\n"), "a reply is cut");
    sender.join().unwrap();
    until("it ends", || server.has_stopped().then_some(()));
}

#[test]
fn waiting_connections_are_served_when_others_go() {
    let settings = Settings { max_connections: 1, overflow: Overflow::Wait, ..one_worker() };
    let server = Running::start(settings);
    for _ in 0..20 {
        let mut first = server.connect();
        let mut second = server.connect();
        first.write_all(b"mn\r\n").unwrap();
        expect(&mut first, "MN\r\n");
        second.write_all(b"mn\r\n").unwrap();
        drop(first);
        expect(&mut second, "MN\r\n");
    }
}

#[test]
fn many_keys_that_miss_leave_turns_to_others() {
    let server = Running::start(one_worker());
    let mut greedy = server.connect();
    let line = [b"get".as_slice(), &b" k".repeat(400_000), b"\r\n"].concat();
    let writer = thread::spawn(move || {
        for _ in 0..10 {
            greedy.write_all(&line).unwrap();
        }
        expect(&mut greedy, &"END\r\n".repeat(10));
    });
    let mut other = server.connect();
    let mut answered = 0;
    while !writer.is_finished() {
        other.write_all(b"mn\r\n").unwrap();
        expect(&mut other, "MN\r\n");
        answered += 1;
    }
    writer.join().unwrap();
    assert!(answered > 10, "{answered} answers while others asked for four million keys");
}

#[test]
fn a_refused_value_is_read_past_and_its_older_one_forgotten() {
    let server = Running::start(one_worker());
    let mut client = server.connect();
    client.write_all(b"set k 0 0 3\r\nold\r\nset k 0 0 2000000\r\n").unwrap();
    expect(&mut client, "STORED\r\nSERVER_ERROR object too large for cache\r\n");
    for _ in 0..20 {
        client.write_all(&vec![b'x'; 100_000]).unwrap();
    }
    client.write_all(b"\r\nget k\r\n").unwrap();
    expect(&mut client, "END\r\n");
}

#[test]
fn connections_and_workers_are_counted() {
    let server = Running::start(Settings { workers: 3, ..one_worker() });
    let mut clients: Vec<_> = (0..9).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(b"mn\r\n").unwrap();
        expect(client, "MN\r\n");
    }
    let mut client = server.connect();
    client.write_all(b"stats\r\nquit\r\n").unwrap();
    let stats = rest(&mut client);
    assert!(stats.contains("STAT curr_connections 10\r\n"), "{stats}");
    assert!(stats.contains("STAT threads 3\r\n"), "{stats}");
}
