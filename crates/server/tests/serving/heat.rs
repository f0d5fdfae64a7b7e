//! Which keys are asked for most, as a client is told.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;

use crate::fake::{Running, expect, hit, one_worker};

/// The keys that are told by a measure, the hottest first, with what is told of them.
fn hottest(client: &mut TcpStream, measure: &str) -> Vec<(String, f64, f64)> {
    client.write_all(b"stats hotkeys\r\n").unwrap();
    let mut text = String::new();
    while !text.ends_with("END\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        text.push(byte[0].into());
    }
    let lines = text.lines().filter(|line| line.starts_with(&format!("STAT {measure}:")));
    let read = |line: &str| {
        let number = |name: &str| {
            let rest = line.split_once(&format!("{name}=")).unwrap().1;
            rest.split(',').next().unwrap().parse().unwrap()
        };
        let key = line.split_once(",key=").unwrap().1.to_owned();
        (key, number("per_second"), number("percent"))
    };
    lines.map(read).collect()
}

fn draw(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    f64::from(u32::try_from(*state >> 32).unwrap()) / f64::from(u32::MAX)
}

/// Numbers from 0 on, each `k` with a probability of one in `k` and one, before those are made to add up.
fn zipf(draws: u32) -> Vec<usize> {
    let mut area = 0.0;
    let areas: Vec<f64> = (1..=10_000)
        .map(|number| {
            area += 1.0 / f64::from(number);
            area
        })
        .collect();
    let mut state = 1;
    (0..draws)
        .map(|_| draw(&mut state) * area)
        .map(|at| areas.partition_point(|to| *to < at))
        .collect()
}

/// Asks for these keys, twenty at a time, and reads what is answered until all is.
fn ask(client: &TcpStream, keys: &[String]) {
    let mut writer = client.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            for keys in keys.chunks(20) {
                writer.write_all(format!("get {}\r\n", keys.join(" ")).as_bytes()).unwrap();
            }
        });
        let ends = BufReader::new(client).lines().filter(|line| line.as_deref().unwrap() == "END");
        assert_eq!(ends.take(keys.len().div_ceil(20)).count(), keys.len().div_ceil(20));
    });
}

#[test]
fn the_keys_that_most_requests_are_for_are_told() {
    let server = Running::start(one_worker());
    let mut client = server.connect();
    let asked = 300_000;
    let keys: Vec<String> = zipf(asked).iter().map(|number| format!("key:{number}")).collect();
    ask(&client, &keys);
    let told = hottest(&mut client, "requests");
    assert_eq!(told.len(), 20);

    let mut exact: HashMap<&str, f64> = HashMap::new();
    for key in &keys {
        *exact.entry(key).or_default() += 100.0 / f64::from(asked);
    }
    let mut order: Vec<_> = exact.iter().map(|(key, percent)| (*key, *percent)).collect();
    order.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    // Neighbours further down are too close for a sample.
    for (key, percent) in &order[..5] {
        let (_, _, told) = told.iter().find(|(told, ..)| told == key).expect("it is told");
        assert!((told - percent).abs() < percent / 2.5, "{key}: {told} for {percent}");
    }
    assert_eq!(told[0].0, order[0].0);
    for (key, ..) in &told {
        assert!(order[..60].iter().any(|(hot, _)| hot == key), "{key} is none of the first sixty");
    }
}

#[test]
fn a_scan_of_keys_makes_none_of_them_hot_and_hides_none_that_is() {
    let server = Running::start(one_worker());
    let mut client = server.connect();
    let scanned: Vec<String> = (0..200_000).map(|number| format!("scan:{number}")).collect();
    ask(&client, &scanned);
    assert_eq!(hottest(&mut client, "requests"), []);

    let mut keys = scanned;
    keys.iter_mut().step_by(20).for_each(|key| "hot".clone_into(key));
    ask(&client, &keys);
    let told = hottest(&mut client, "requests");
    assert_eq!(told.len(), 1, "{told:?}");
    let (key, _, percent) = &told[0];
    // A twentieth of what was asked for last, which is half or more of what counts.
    assert_eq!(key, "hot");
    assert!((1.5..7.0).contains(percent), "{told:?}");
}

#[test]
fn values_are_counted_in_both_directions() {
    let server = Running::start(one_worker());
    let mut client = server.connect();
    let value = "v".repeat(1000);
    let set = format!("set in 0 0 1000 noreply\r\n{value}\r\n");
    client.write_all(set.repeat(2000).as_bytes()).unwrap();
    client.write_all(b"set out 0 0 1000\r\n").unwrap();
    client.write_all(format!("{value}\r\n").as_bytes()).unwrap();
    expect(&mut client, "STORED\r\n");
    for _ in 0..4000 {
        client.write_all(b"mg out v q\r\nmg out t q\r\nmn\r\n").unwrap();
        expect(&mut client, &format!("VA 1000\r\n{value}\r\nHD t-1\r\nMN\r\n"));
    }
    let by_requests = hottest(&mut client, "requests");
    let by_bytes = hottest(&mut client, "bytes");
    let keys =
        |told: &[(String, f64, f64)]| told.iter().map(|told| told.0.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&by_requests), ["out", "in"]);
    assert_eq!(keys(&by_bytes), ["out", "in"]);
    // Half of the requests for the one bring no value.
    let (requests, bytes) = (by_requests[0].1, by_bytes[0].1);
    assert!((400.0..600.0).contains(&(bytes / requests)), "{requests} requests, {bytes} bytes");
    let (requests, bytes) = (by_requests[1].1, by_bytes[1].1);
    assert!((900.0..1100.0).contains(&(bytes / requests)), "{requests} requests, {bytes} bytes");
}

#[test]
fn what_is_answered_later_counts_with_its_value() {
    let server = Running::start(one_worker());
    let mut client = server.connect();
    // In base64, which is undone for the key that is told.
    client.write_all(&b"mg bGF0ZXIgaXQ= b v\r\n".repeat(1000)).unwrap();
    for _ in 0..1000 {
        server.fake.answer("later it", hit("0123456789"));
    }
    expect(&mut client, &"VA 10\r\n0123456789\r\n".repeat(1000));
    let (requests, bytes) = (hottest(&mut client, "requests"), hottest(&mut client, "bytes"));
    assert_eq!((requests.len(), bytes.len()), (1, 1));
    assert_eq!((&*requests[0].0, &*bytes[0].0), ("later%20it", "later%20it"));
    assert!((9.0..11.0).contains(&(bytes[0].1 / requests[0].1)), "{requests:?}, {bytes:?}");

    client.write_all(b"stats reset\r\n").unwrap();
    expect(&mut client, "RESET\r\n");
    assert_eq!(hottest(&mut client, "requests"), []);
    assert_eq!(hottest(&mut client, "bytes"), []);
}
