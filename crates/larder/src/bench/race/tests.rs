use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use clap::Parser;

use super::*;
use crate::bench::args::Args;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// Runs `flags` against a server whose connections each answer request *k*, counted from zero, as
/// `answer(k, line)` has it, and close where it has nothing.
fn race(flags: &str, answer: fn(u64, &str) -> Option<&'static str>) -> Measured {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || serve(stream.unwrap(), answer));
        }
    });
    let words = ["bench", "-s", "127.0.0.1", "-p", &port];
    let words = words.into_iter().chain(flags.split_whitespace());
    let plan = Plan::resolve(Line::try_parse_from(words).unwrap().args).unwrap();
    run(&Arc::new(plan), 1).unwrap()
}

fn serve(stream: TcpStream, answer: fn(u64, &str) -> Option<&'static str>) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    for number in 0.. {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line.starts_with("set ") {
            let length: usize = line.split_whitespace().last().unwrap().parse().unwrap();
            let mut data = vec![0; length + 2];
            reader.read_exact(&mut data).unwrap();
            assert_eq!(data.pop(), Some(b'\n'));
        }
        let Some(reply) = answer(number, &line) else { return };
        if writer.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

/// Finds up to two keys, of three bytes and none.
const WELL: fn(u64, &str) -> Option<&'static str> = |_, line| {
    Some(match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["set", ..] => "STORED\r\n",
        ["get", _] => "VALUE k 0 3\r\nabc\r\nEND\r\n",
        _ => "VALUE k 0 3\r\nabc\r\nVALUE l 0 0\r\n\r\nEND\r\n",
    })
};

#[test]
fn all_requests_are_sent_answered_and_counted() {
    for pipeline in [1, 7, 64] {
        let flags = format!("-t 2 -c 3 -n 22 --ratio 1:10 --pipeline {pipeline} -d 100");
        let measured = race(&flags, WELL);
        assert!(measured.is_sound());
        let tally = &measured.tally;
        assert_eq!((tally.sets.count.ops, tally.gets.count.ops), (12, 120));
        assert_eq!((tally.hits, tally.misses), (120, 0));
        assert_eq!(tally.gets.histogram.len(), 120);
        assert_eq!(tally.gets.count.bytes_in, 120 * 23);
        assert_eq!(tally.sets.count.bytes_in, 12 * 8);
        assert!(tally.sets.count.bytes_out > 12 * 100);
        assert!(!measured.duration.is_zero());
    }
}

#[test]
fn gets_of_many_keys_are_one_request_each() {
    let measured = race("-t 1 -c 1 -n 4 --ratio 0:8 --multi-key-get 4", WELL);
    assert_eq!(measured.tally.gets.count.ops, 4);
    assert_eq!((measured.tally.hits, measured.tally.misses), (8, 8));
}

#[test]
fn values_larger_than_any_buffer_go_through() {
    let measured = race("-t 1 -c 2 -n 3 --ratio 1:0 --pipeline 3 -d 3000000", WELL);
    assert!(measured.is_sound());
    assert_eq!(measured.tally.sets.count.ops, 6);
    assert!(measured.tally.sets.count.bytes_out > 18_000_000);
}

#[test]
fn closed_connections_are_counted_and_the_run_is_unsound() {
    let measured =
        race("-t 1 -c 2 -n 10 --ratio 0:1", |number, _| (number < 4).then_some("END\r\n"));
    assert!(!measured.is_sound());
    assert_eq!(measured.tally.gets.count.ops, 8);
    assert_eq!(measured.tally.lost.count, 2);
    assert_eq!(measured.tally.unanswered, 2);
    let first = measured.tally.lost.first.unwrap();
    assert!(first.contains("after 5 requests"), "{first}");
}

#[test]
fn refused_requests_are_counted_apart() {
    let measured = race("-t 1 -c 1 -n 10 --ratio 0:1 --pipeline 4", |number, _| {
        Some(if number % 2 == 0 { "SERVER_ERROR out of memory\r\n" } else { "END\r\n" })
    });
    assert!(measured.is_sound(), "what was answered was measured");
    let tally = measured.tally;
    assert_eq!((tally.gets.count.ops, tally.misses, tally.errors.count), (5, 5, 5));
    assert_eq!(tally.errors.first.as_deref(), Some("SERVER_ERROR out of memory"));
}

#[test]
fn replies_to_another_command_end_the_connection() {
    let measured = race("-t 1 -c 1 -n 10 --ratio 0:1", |_, _| Some("STORED\r\n"));
    assert_eq!(measured.tally.lost.count, 1);
    assert!(measured.tally.lost.first.unwrap().contains("another command"));
}

#[test]
fn a_stall_is_charged_to_all_requests_due_meanwhile() {
    let stalling_at_first = |number, _: &str| {
        if number == 0 {
            thread::sleep(Duration::from_millis(50));
        }
        Some("END\r\n")
    };
    // Without a rate only the request that was outstanding took long.
    let closed_loop = race("-t 1 -c 1 -n 5 --ratio 0:1", stalling_at_first);
    let count = closed_loop.tally.gets.count;
    assert!(count.max_us >= 50_000);
    // With one due each millisecond, the second was late by 49, the third by 48, and so on.
    let paced = race("-t 1 -c 1 -n 5 --ratio 0:1 --rate-limiting 1000", stalling_at_first);
    let count = paced.tally.gets.count;
    assert!(count.latency_us >= 5 * 50_000 - (1 + 2 + 3 + 4) * 1_000, "{count:?}");
    assert!(count.min_us >= 46_000, "{count:?}");
}

#[test]
fn requests_are_not_sent_before_they_are_due() {
    let measured = race("-t 1 -c 2 -n 11 --ratio 0:1 --rate-limiting 500", WELL);
    // Due at 0, 2, ... 20 ms; the other client's half an interval later.
    assert!(measured.duration >= Duration::from_millis(21), "{:?}", measured.duration);
    assert_eq!(measured.tally.gets.count.ops, 22);
}

#[test]
fn time_ends_a_run_and_what_was_due_is_told() {
    // Answers come a hundred times slower than requests are due.
    let measured = race("-t 1 -c 1 --test-time 1 --ratio 0:1 --rate-limiting 10000", |_, _| {
        thread::sleep(Duration::from_millis(10));
        Some("END\r\n")
    });
    assert!(measured.is_sound());
    assert!(measured.duration >= Duration::from_secs(1));
    let tally = measured.tally;
    assert!(tally.gets.count.ops <= 101, "{}", tally.gets.count.ops);
    assert_eq!(tally.gets.count.ops + tally.unsent, 10_000);
}
