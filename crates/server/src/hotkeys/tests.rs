use larder_protocol::Seconds;

use super::*;

/// When counting begins: 5 seconds before counts are halved for the first time.
const BEGAN: Seconds = 1_000_005;

fn moment(now: Seconds) -> Duration {
    Duration::from_secs(now.into())
}

fn heat(seed: u64) -> Heat {
    Heat::new(seed, moment(BEGAN))
}

fn told(workers: &[Heat], now: Duration) -> Vec<String> {
    let mut lines = Vec::new();
    tell(workers.iter(), now, &mut |name, value| lines.push(format!("{name} {value}")));
    lines
}

fn count(heat: &Heat, key: &[u8], bytes: usize, times: usize, now: Seconds) {
    for _ in 0..times {
        heat.count(key, bytes, now);
    }
}

/// The number behind `name=` in a line.
fn number(line: &str, name: &str) -> f64 {
    let rest = line.split_once(&format!("{name}=")).expect("the name").1;
    rest.split(',').next().unwrap().parse().unwrap()
}

/// 400 of the sample in 4 seconds are 6,400 a second, give or take twice the root of 400 as many.
#[test]
fn rates_and_shares_are_told_with_their_errors() {
    let heat = heat(0);
    count(&heat, b"a b", 100, 300, BEGAN + 1);
    heat.count_late(b"a b", 30_000, BEGAN + 1);
    count(&heat, b"c", 0, 100, BEGAN + 2);
    assert_eq!(
        told(&[heat], moment(BEGAN + 4)),
        [
            "requests_per_second 6400",
            "bytes_per_second 960000",
            "requests:1 per_second=4800.0,error=554.3,percent=75.00,key=a%20b",
            "requests:2 per_second=1600.0,error=320.0,percent=25.00,key=c",
        ]
    );
}

#[test]
fn a_value_now_and_then_may_be_chance_and_one_again_and_again_is_not() {
    let heat = heat(0);
    count(&heat, b"large", 1_000_000, 4, BEGAN);
    count(&heat, b"small", 1_000, 100, BEGAN);
    let lines = told(&[heat], moment(BEGAN + 4));
    assert_eq!(
        lines[2..],
        [
            "requests:1 per_second=1600.0,error=320.0,percent=96.15,key=small",
            "bytes:1 per_second=1600000.0,error=320000.0,percent=2.44,key=small"
        ]
    );
}

#[test]
fn rates_stay_right_while_counts_are_halved() {
    let heat = heat(0);
    for now in BEGAN..BEGAN + 100 {
        count(&heat, b"k", 10, 50, now);
        let lines = told(std::slice::from_ref(&heat), moment(now) + Duration::from_millis(999));
        let told = number(&lines[2], "per_second");
        assert!((told - 3200.0).abs() < 3.5, "{told} a second after {} seconds", now + 1 - BEGAN);
        assert!(number(&lines[2], "error") < 3200.0 / 2.0);
    }
}

#[test]
fn who_counts_is_told_how_hot_a_key_is_at_least() {
    let heat = heat(0);
    count(&heat, b"k", 1, 3, BEGAN + 4);
    assert!(heat.count(b"k", 1, BEGAN + 4).abs() < f64::EPSILON, "that may be chance");
    count(&heat, b"k", 1, 95, BEGAN + 4);
    let told = heat.count(b"k", 1, BEGAN + 4);
    assert!((told - 1600.0).abs() < 1.0, "{told}");
    // Of many keys that share all cells of the sketch none is known to be hot.
    for key in 0..100_000_u32 {
        let told = heat.count(&key.to_be_bytes(), 1, BEGAN + 4);
        assert!(told.abs() < f64::EPSILON, "{key}: {told}");
    }
}

#[test]
fn what_was_hot_goes() {
    let heat = heat(0);
    count(&heat, b"old", 1, 10_000, BEGAN);
    for now in BEGAN + 5..BEGAN + 60 {
        count(&heat, b"new", 1, 50, now);
    }
    let lines = told(&[heat], moment(BEGAN + 60));
    assert!(lines[2].starts_with("requests:1 ") && lines[2].ends_with("=new"), "{lines:?}");
    assert!((number(&lines[2], "per_second") - 3200.0).abs() < 400.0, "{lines:?}");

    let heat = self::heat(0);
    count(&heat, b"old", 1, 10_000, BEGAN);
    let nothing = ["requests_per_second 0", "bytes_per_second 0"];
    assert_eq!(told(&[heat], moment(BEGAN + 3600)), nothing);
}

#[test]
fn workers_are_added_up() {
    let workers: Vec<_> = (0..4).map(heat).collect();
    for worker in &workers {
        count(worker, b"everywhere", 0, 100, BEGAN);
    }
    count(&workers[2], b"at one", 0, 200, BEGAN);
    assert_eq!(
        told(&workers, moment(BEGAN + 4))[2..],
        [
            "requests:1 per_second=6400.0,error=640.0,percent=66.67,key=everywhere",
            "requests:2 per_second=3200.0,error=452.5,percent=33.33,key=at%20one",
        ]
    );
}

#[test]
fn no_more_than_twenty_are_told() {
    let heat = heat(0);
    for key in 0..40_u8 {
        count(&heat, &[b'k', b'0' + key], 1, 10 + usize::from(key), BEGAN);
    }
    let lines = told(&[heat], moment(BEGAN + 1));
    assert_eq!(lines.len(), 2 + 20 + 20);
    assert!(lines[2].ends_with("=kW") && lines[21].starts_with("requests:20 "), "{lines:?}");
}

#[test]
fn keys_that_are_asked_for_once_are_not_told() {
    let workers: Vec<_> = (0..4).map(heat).collect();
    for key in 0..100_000_u32 {
        workers[key as usize % 4].count(&key.to_be_bytes(), 100_000, BEGAN);
    }
    assert_eq!(
        told(&workers, moment(BEGAN + 4)),
        ["requests_per_second 1600000", "bytes_per_second 160000000000"]
    );
    // Of a dozen requests more is told than there were, as others are counted with them.
    count(&workers[0], b"seldom", 0, 12, BEGAN);
    assert_eq!(told(&workers, moment(BEGAN + 4)).len(), 2);
    count(&workers[0], b"often", 0, 500, BEGAN);
    let lines = told(&workers, moment(BEGAN + 4));
    assert!(lines.len() == 3 && lines[2].ends_with("=often"), "{lines:?}");
    let (told, error) = (number(&lines[2], "per_second"), number(&lines[2], "error"));
    assert!((told - error..=told).contains(&8000.0), "{lines:?}");
}

#[test]
fn no_byte_of_a_key_can_end_a_line_or_a_word() {
    let heat = heat(0);
    for byte in 0..=255_u8 {
        let mut line = String::new();
        push_escaped(&mut line, &[b'k', byte, b'k']);
        assert!(line.bytes().all(|byte| byte.is_ascii_graphic()), "{byte}: {line:?}");
        assert_eq!(
            line == format!("k{}k", char::from(byte)),
            (b'!'..=b'~').contains(&byte) && byte != b'%'
        );
    }
    count(&heat, b"\r\nSTAT x,%\xff", 0, 10, BEGAN);
    let lines = told(&[heat], moment(BEGAN + 1));
    assert!(lines[2].ends_with(",key=%0D%0ASTAT%20x,%25%FF"), "{lines:?}");
}

#[test]
fn a_reset_begins_anew() {
    let heat = heat(0);
    count(&heat, b"k", 1, 100, BEGAN);
    heat.reset(moment(BEGAN + 2));
    count(&heat, b"l", 0, 10, BEGAN + 2);
    assert_eq!(
        told(&[heat], moment(BEGAN + 3))[2..],
        ["requests:1 per_second=640.0,error=404.8,percent=100.00,key=l"]
    );
}
