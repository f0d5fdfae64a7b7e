//! What the buffers of all connections may hold together.

use std::io::{Read, Write};
use std::net::TcpStream;

use larder_protocol::Outcome;
use larder_server::Settings;

use crate::fake::{Running, expect, one_worker, rest, until};

fn with_memory(bytes: u64) -> Running {
    Running::start(Settings { buffer_memory: bytes, ..one_worker() })
}

/// The value of one of the server's statistics.
fn stat(client: &mut TcpStream, name: &str) -> u64 {
    client.write_all(b"stats\r\n").unwrap();
    let mut text = String::new();
    while !text.ends_with("END\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        text.push(byte[0].into());
    }
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
    line.and_then(|value| value.parse().ok()).expect("a number")
}

#[test]
fn half_requests_of_many_are_bounded_and_the_streams_stay_in_sync() {
    let server = with_memory(1 << 20);
    let (head, half) = ("set k 0 0 400000\r\n", vec![b'x'; 300_000]);
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    let mut other = server.connect();
    other.write_all(b"set k 0 0 3\r\nold\r\n").unwrap();
    expect(&mut other, "STORED\r\n");
    for client in &mut clients {
        client.write_all(head.as_bytes()).unwrap();
        client.write_all(&half).unwrap();
    }
    until("most are refused", || (stat(&mut other, "read_buf_oom") >= 17).then_some(()));
    assert!(stat(&mut other, "read_buf_bytes") <= 1 << 20);
    assert!(stat(&mut other, "store_no_memory") >= 17);
    // The older value is not served for the one that was refused.
    other.write_all(b"get k\r\nset k 0 0 3\r\nnew\r\nget k\r\n").unwrap();
    expect(&mut other, "END\r\nSTORED\r\nVALUE k 0 3\r\nnew\r\nEND\r\n");
    let (mut stored, mut refused) = (0, 0);
    for client in &mut clients {
        // One that was found not to go on may have been closed since.
        let _ = client.write_all(&[&half[..100_000], b"\r\nmn\r\nquit\r\n"].concat());
        let mut told = Vec::new();
        let _ = client.read_to_end(&mut told);
        match String::from_utf8(told).unwrap().as_str() {
            "STORED\r\nMN\r\n" => stored += 1,
            "SERVER_ERROR out of memory storing object\r\nMN\r\n" => refused += 1,
            "" => {}
            other => panic!("{other}"),
        }
    }
    assert!(stored <= 3 && refused >= 17, "{stored} stored, {refused} refused");
    until("all is given back", || (stat(&mut other, "read_buf_bytes") == 0).then_some(()));
}

#[test]
fn a_list_of_keys_too_long_for_what_is_left_is_refused() {
    let server = with_memory(32 << 10);
    let mut client = server.connect();
    client.write_all(&[b"get".as_slice(), &b" key".repeat(20_000)].concat()).unwrap();
    assert_eq!(rest(&mut client), "SERVER_ERROR out of memory reading request\r\n");
}

#[test]
fn half_requests_that_do_not_go_on_make_way() {
    let server = with_memory(1 << 20);
    let mut stalled: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for client in &mut stalled {
        client.write_all(b"set k 0 0 400000\r\n").unwrap();
        client.write_all(&vec![b'x'; 300_000]).unwrap();
    }
    let mut client = server.connect();
    until("the memory is taken", || (stat(&mut client, "read_buf_oom") >= 3).then_some(()));
    let value = "v".repeat(390_000);
    until("a value is taken", || {
        client.write_all(format!("set k 0 0 390000\r\n{value}\r\n").as_bytes()).unwrap();
        let mut told = [0; 7];
        client.read_exact(&mut told).unwrap();
        if &told == b"STORED\r" {
            return Some(());
        }
        assert_eq!(&told, b"SERVER_");
        expect(&mut client, "ERROR out of memory storing object\r\n");
        None
    });
    expect(&mut client, "\n");
    assert!(stat(&mut client, "response_obj_oom") > 0);
}

#[test]
fn those_who_let_most_replies_lie_make_room_for_others() {
    // One is copied into each reply, the other shared by all.
    for len in [4000, 40_000] {
        let server = with_memory(1 << 20);
        let mut client = server.connect();
        let value = "v".repeat(len);
        client.write_all(format!("set k 0 0 {len}\r\n{value}\r\n").as_bytes()).unwrap();
        expect(&mut client, "STORED\r\n");
        let mut deaf = Vec::new();
        until("one is cut off", || {
            let mut next = server.connect();
            // Past what the sockets' buffers take.
            let requests = b"get k k k k k k k k k k\r\n".repeat(1000);
            next.set_nonblocking(true).unwrap();
            while next.write(&requests).is_ok() {}
            deaf.push(next);
            (stat(&mut client, "response_obj_oom") > 0).then_some(())
        });
        until("it holds", || (stat(&mut client, "read_buf_bytes") <= 1 << 20).then_some(()));
        client.write_all(b"get k\r\n").unwrap();
        expect(&mut client, &format!("VALUE k 0 {len}\r\n{value}\r\nEND\r\n"));
        drop(deaf);
        until("all is given back", || (stat(&mut client, "read_buf_bytes") == 0).then_some(()));
    }
}

#[test]
fn those_who_wait_for_an_answer_are_not_cut_off() {
    let server = with_memory(1 << 20);
    let value = "v".repeat(400_000);
    let mut clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let request = format!("set later{number} 0 0 400000\r\n{value}\r\n");
        client.write_all(request.as_bytes()).unwrap();
    }
    let mut other = server.connect();
    until("all have asked", || {
        let asked = server.fake.waiting.lock().unwrap().len() as u64;
        (asked + stat(&mut other, "read_buf_oom") >= 5).then_some(())
    });
    assert_eq!(stat(&mut other, "response_obj_oom"), 0);
    let asked: Vec<_> =
        server.fake.waiting.lock().unwrap().drain(..).map(|(_, sender)| sender).collect();
    assert!(!asked.is_empty());
    for sender in asked {
        sender.send(Outcome::Deleted).unwrap();
    }
    for client in &mut clients {
        client.write_all(b"mn\r\n").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let told = rest(client);
        assert!(told.ends_with("\r\nMN\r\n"), "{told}");
    }
}
