use super::*;
use crate::bench::tally::Done;

fn measured(ops: u64, secs: u64) -> Measured {
    let mut tally = Tally::new().unwrap();
    for op in 0..ops {
        let done = Done { at_us: op, latency_us: 1_000, bytes_in: 512, bytes_out: 1_536 };
        if op % 4 == 0 { tally.set(done) } else { tally.get(done, 2, 1) }
    }
    Measured {
        tally,
        duration: Duration::from_secs(secs),
        started: SystemTime::UNIX_EPOCH,
        interrupted: false,
    }
}

fn view() -> View {
    View { percentiles: vec![50.0, 99.9], histogram: true, all_runs: false }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

#[test]
fn rows_are_rates_over_the_duration() {
    let [one] = <[Section; 1]>::try_from(sections(&[measured(400, 2)], false)).unwrap();
    let [(sets, _), (gets, _), (totals, _)] = one.rows();
    assert!(
        close(sets.ops_sec, 50.0) && close(gets.ops_sec, 150.0) && close(totals.ops_sec, 200.0)
    );
    assert_eq!(sets.found_sec, None);
    let (hits, misses) = gets.found_sec.unwrap();
    assert!(close(hits, 300.0) && close(misses, 150.0));
    assert!(close(totals.kb_sec_in, 100.0) && close(totals.kb_sec_out, 300.0));
    assert!(close(totals.count.average_ms(), 1.0));
}

#[test]
fn several_runs_are_best_worst_and_together() {
    let runs = [measured(400, 2), measured(100, 1), measured(900, 1)];
    let titles = |all| -> Vec<String> {
        sections(&runs, all).into_iter().map(|section| section.title).collect()
    };
    let summary = ["BEST RUN RESULTS", "WORST RUN RESULTS", "AGGREGATED AVERAGE RESULTS (3 runs)"];
    assert_eq!(titles(false), summary);
    assert_eq!(titles(true).len(), 6);
    let rates: Vec<f64> =
        sections(&runs, false).iter().map(|section| section.rows()[2].0.ops_sec).collect();
    assert!(
        close(rates[0], 900.0) && close(rates[1], 100.0) && close(rates[2], 350.0),
        "{rates:?}"
    );
}

#[test]
fn the_table_has_memtiers_columns_in_its_order() {
    let mut out = Vec::new();
    let section = &sections(&[measured(400, 2)], false)[0];
    for (row, command) in section.rows() {
        write_row(&mut out, &view(), &row, &command).unwrap();
    }
    let text = String::from_utf8(out).unwrap();
    let words: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().collect()).collect();
    let latencies = ["1.00000", "1.00000", "1.00000", "1.00000"];
    let line = |start: [&'static str; 4], end| [&start[..], &latencies[..], &[end]].concat();
    assert_eq!(words[0], line(["Sets", "50.00", "---", "---"], "100.00"));
    assert_eq!(words[1], line(["Gets", "150.00", "300.00", "150.00"], "300.00"));
    assert_eq!(words[2], line(["Totals", "200.00", "300.00", "150.00"], "400.00"));
}

#[test]
fn nothing_done_shows_no_latency() {
    let mut out = Vec::new();
    let section = &sections(&[measured(0, 1)], false)[0];
    let (row, command) = &section.rows()[0];
    write_row(&mut out, &view(), row, command).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(
        text.split_whitespace().collect::<Vec<_>>()[..5],
        ["Sets", "0.00", "---", "---", "---"]
    );
}

#[test]
fn troubles_are_told() {
    let mut run = measured(4, 1);
    run.tally.errors.note("SERVER_ERROR out of memory storing object".to_owned());
    run.tally.lost.note("closed by the server after 3 requests".to_owned());
    (run.tally.unanswered, run.tally.unsent, run.interrupted) = (7, 9, true);
    assert!(!run.is_sound());
    let mut out = Vec::new();
    write_troubles(&mut out, &sections(&[run], false)[0]).unwrap();
    let text = String::from_utf8(out).unwrap();
    for part in
        ["out of memory", "1 connections were lost", "7 requests", "9 requests", "Interrupted"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(measured(4, 1).is_sound());
    assert!(!measured(0, 1).is_sound(), "nothing was measured");
}

#[test]
fn the_distribution_ends_with_all() {
    let section = &sections(&[measured(400, 2)], false)[0];
    let steps: Vec<(f64, f64)> = distribution(&section.rows()[2].1).collect();
    let (ms, percent) = *steps.last().unwrap();
    assert!(close(ms, 1.0) && close(percent, 100.0), "{steps:?}");
}
