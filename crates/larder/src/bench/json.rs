//! The report, as JSON. Its shape is described in the module documentation of `bench`.

#![expect(clippy::cast_precision_loss, reason = "figures shown rounded")]

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::payload::Sizes;
use super::plan::{Limit, Plan};
use super::report::{Row, Section, View, distribution, histogram_name};
use super::stream::Target;
use super::tally::{Command, Count, Noted, Second};

/// Memtier's version of the shape that is followed.
const FORMAT_VERSION: u32 = 2;

/// All that was measured.
pub(super) fn document(plan: &Plan, view: &View, sections: &[Section]) -> Value {
    let mut document = Map::new();
    document.insert("configuration".to_owned(), configuration(plan));
    document.insert("run information".to_owned(), information(plan));
    for part in sections {
        document.insert(part.title.clone(), section(view, part));
    }
    document.into()
}

fn configuration(plan: &Plan) -> Value {
    let (server, port, socket) = match &plan.target {
        Target::Tcp { host, port, .. } => (Some(host.as_str()), Some(*port), None),
        Target::Unix(path) => (None, None, Some(path.display().to_string())),
    };
    let (fixed, range) = match plan.sizes {
        Sizes::Fixed(size) => (size, (0, 0)),
        Sizes::Random(min, max) | Sizes::ByKey(min, max) => (0, (min, max)),
    };
    let (expiry_min, expiry_max) = plan.expiry_secs.unwrap_or_default();
    let (requests, secs) = match plan.limit {
        Limit::Requests(requests) => (json!(requests), 0),
        Limit::AllKeys => (json!("allkeys"), 0),
        Limit::Time(time) => (json!(0), time.as_secs()),
    };
    json!({
        "server": server,
        "port": port,
        "unix socket": socket,
        "protocol": "memcache_text",
        "run_count": plan.runs,
        "requests": requests,
        "rate_limit": plan.rate.unwrap_or(0),
        "clients": plan.clients,
        "threads": plan.threads,
        "test_time": secs,
        "ratio": plan.ratio.to_string(),
        "pipeline": plan.pipeline,
        "data_size": fixed,
        "data_size_range": format!("{}:{}", range.0, range.1),
        "data_size_pattern": if matches!(plan.sizes, Sizes::ByKey(..)) { "S" } else { "R" },
        "random_data": plan.random_data.to_string(),
        "expiry_range": format!("{expiry_min}:{expiry_max}"),
        "key_prefix": plan.key_prefix,
        "key_minimum": plan.keys.low,
        "key_maximum": plan.keys.high,
        "key_pattern": plan.keys.patterns.to_string(),
        "key_stddev": plan.keys.stddev.unwrap_or(0.0),
        "key_median": plan.keys.median.unwrap_or(0.0),
        "key_zipf_exp": plan.keys.zipf_exponent,
        "multi_key_get": plan.keys_per_get.get(),
        "distinct_client_seed": plan.seeds.distinct.to_string(),
        "seed": plan.seeds.base,
    })
}

fn information(plan: &Plan) -> Value {
    let (name, limit) = match plan.limit {
        Limit::Requests(requests) => ("Requests per client", json!(requests)),
        Limit::AllKeys => ("Requests per client", json!("allkeys")),
        Limit::Time(time) => ("Seconds", json!(time.as_secs())),
    };
    json!({
        "Threads": plan.threads,
        "Connections per thread": plan.clients,
        name: limit,
        "Format version": FORMAT_VERSION,
        "Latency from": if plan.rate.is_some() { "due" } else { "sent" },
    })
}

fn section(view: &View, section: &Section) -> Value {
    let started = section.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut value = Map::new();
    value.insert(
        "Runtime".to_owned(),
        json!({
            "Start time": millis(started),
            "Finish time": millis(started + section.duration),
            "Total duration": millis(section.duration),
            "Time unit": "MILLISECONDS",
            "Interrupted": section.interrupted.to_string(),
        }),
    );
    let counts: [fn(&Second) -> Count; 3] =
        [|second| second.sets, |second| second.gets, Second::totals];
    for ((row, command), count) in section.rows().iter().zip(counts) {
        let seconds = section.tally.seconds.iter().map(count);
        let lost = match row.name {
            "Totals" => section.tally.lost.count,
            // A connection is no command's own.
            _ => 0,
        };
        value.insert(
            row.name.to_owned(),
            row_value(view, row, command, seconds, lost, section.duration),
        );
        if let Some(name) = histogram_name(row).filter(|_| view.histogram) {
            let steps = distribution(command)
                .map(|(ms, percent)| json!({ "<=msec": rounded(ms), "percent": rounded(percent) }));
            value.insert(name.to_owned(), steps.collect());
        }
    }
    let tally = &section.tally;
    let first = |noted: &Noted| noted.first.clone();
    value.insert(
        "Errors".to_owned(),
        json!({
            "Error replies": tally.errors.count,
            "First error reply": first(&tally.errors),
            "Connections lost": tally.lost.count,
            "First connection lost": first(&tally.lost),
            "Requests unanswered": tally.unanswered,
            "Requests due but not sent": tally.unsent,
        }),
    );
    value.into()
}

fn row_value(
    view: &View,
    row: &Row,
    command: &Command,
    seconds: impl Iterator<Item = Count>,
    lost: u64,
    duration: Duration,
) -> Value {
    let (hits_sec, misses_sec) = row.found_sec.unwrap_or_default();
    let lost_sec = if duration.is_zero() { 0.0 } else { lost as f64 / duration.as_secs_f64() };
    let average = rounded(row.count.average_ms());
    let percentiles: Map<String, Value> = view
        .percentiles
        .iter()
        .map(|percentile| {
            (percentile_name(*percentile), json!(rounded(command.percentile_ms(*percentile))))
        })
        .collect();
    let series: Map<String, Value> = seconds
        .enumerate()
        .map(|(second, count)| (second.to_string(), second_value(&count)))
        .collect();
    json!({
        "Count": row.count.ops,
        "Ops/sec": rounded(row.ops_sec),
        "Hits/sec": rounded(hits_sec),
        "Misses/sec": rounded(misses_sec),
        "Connection Errors/sec": rounded(lost_sec),
        "Connection Errors": lost,
        "Latency": average,
        "Average Latency": average,
        "Accumulated Latency": row.count.latency_us / 1_000,
        "Min Latency": ms(row.count.min_us),
        "Max Latency": ms(row.count.max_us),
        "KB/sec": rounded(row.kb_sec_in + row.kb_sec_out),
        "KB/sec RX/TX": rounded(row.kb_sec_in + row.kb_sec_out),
        "KB/sec RX": rounded(row.kb_sec_in),
        "KB/sec TX": rounded(row.kb_sec_out),
        "Time-Serie": series,
        "Percentile Latencies": percentiles,
    })
}

fn second_value(count: &Count) -> Value {
    let mut value = Map::new();
    value.insert("Count".to_owned(), json!(count.ops));
    value.insert("Bytes RX".to_owned(), json!(count.bytes_in));
    value.insert("Bytes TX".to_owned(), json!(count.bytes_out));
    if count.ops > 0 {
        value.insert("Average Latency".to_owned(), json!(rounded(count.average_ms())));
        value.insert("Accumulated Latency".to_owned(), json!(count.latency_us / 1_000));
        value.insert("Min Latency".to_owned(), json!(ms(count.min_us)));
        value.insert("Max Latency".to_owned(), json!(ms(count.max_us)));
    }
    value.into()
}

/// Two decimals as memtier has them, more where two would give two percentiles one name.
fn percentile_name(percentile: f64) -> String {
    let written = percentile.to_string();
    let decimals = written.split_once('.').map_or(0, |(_, decimals)| decimals.len()).max(2);
    format!("p{percentile:.decimals$}")
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// To three decimals.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::bench::args::Args;
    use crate::bench::race::Measured;
    use crate::bench::report::sections;
    use crate::bench::tally::{Done, Tally};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn sample(line: &str, runs: usize) -> Value {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        let args = Line::try_parse_from(words).unwrap().args;
        let view = args.view();
        let plan = Plan::resolve(args).unwrap();
        let mut tally = Tally::new().unwrap();
        for at_us in [0, 500_000, 2_000_000] {
            let done = Done { at_us, latency_us: 1_500, bytes_in: 1_024, bytes_out: 2_048 };
            tally.set(done);
            tally.get(done, 1, 0);
        }
        tally.lost.note("closed".to_owned());
        let measured = Measured {
            tally,
            duration: Duration::from_secs(3),
            started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_234),
            interrupted: false,
        };
        document(&plan, &view, &sections(&vec![measured; runs], view.all_runs))
    }

    #[test]
    fn scripts_find_what_memtier_writes() {
        let value = sample("--test-time 3 -t 1", 1);
        let stats = &value["ALL STATS"];
        for row in ["Sets", "Gets", "Totals"] {
            let ops = if row == "Totals" { 6 } else { 3 };
            assert_eq!(stats[row]["Count"], ops, "{row}");
            assert_eq!(stats[row]["Ops/sec"], f64::from(ops) / 3.0, "{row}");
            assert_eq!(stats[row]["Latency"], 1.5, "{row}");
            assert_eq!(stats[row]["KB/sec"], f64::from(ops), "{row}");
            assert_eq!(stats[row]["Percentile Latencies"]["p50.00"], 1.5, "{row}");
            assert!(stats[row]["Percentile Latencies"]["p99.90"].is_number(), "{row}");
            assert_eq!(stats[row]["Max Latency"], 1.5, "{row}");
        }
        assert_eq!(stats["Gets"]["Hits/sec"], 1.0);
        assert_eq!(stats["Gets"]["Misses/sec"], 0.0);
        assert_eq!(stats["Totals"]["Connection Errors"], 1);
        assert_eq!(stats["Runtime"]["Total duration"], 3_000);
        assert_eq!(stats["Runtime"]["Finish time"], 4_234);
        assert_eq!(stats["Errors"]["First connection lost"], "closed");
        assert_eq!(value["run information"]["Seconds"], 3);
        assert_eq!(value["configuration"]["ratio"], "1:10");
        assert_eq!(value["configuration"]["test_time"], 3);
    }

    #[test]
    fn seconds_are_a_series() {
        let value = sample("", 1);
        let series = &value["ALL STATS"]["Totals"]["Time-Serie"];
        assert_eq!(series["0"]["Count"], 4);
        assert_eq!(series["1"], json!({ "Count": 0, "Bytes RX": 0, "Bytes TX": 0 }));
        assert_eq!(series["2"]["Average Latency"], 1.5);
    }

    #[test]
    fn histograms_are_there_unless_hidden() {
        let stats = &sample("", 1)["ALL STATS"];
        let steps = stats["GET"].as_array().unwrap();
        assert_eq!(steps.last().unwrap(), &json!({ "<=msec": 1.5, "percent": 100.0 }));
        assert!(sample("--hide-histogram", 1)["ALL STATS"]["GET"].is_null());
    }

    #[test]
    fn several_runs_have_their_sections() {
        let value = sample("-x 2", 2);
        assert!(value["ALL STATS"].is_null());
        assert_eq!(value["BEST RUN RESULTS"]["Totals"]["Count"], 6);
        assert_eq!(value["AGGREGATED AVERAGE RESULTS (2 runs)"]["Totals"]["Count"], 12);
        assert_eq!(value["AGGREGATED AVERAGE RESULTS (2 runs)"]["Totals"]["Ops/sec"], 2.0);
    }

    #[test]
    fn what_latency_means_is_said() {
        let origin = |line| sample(line, 1)["run information"]["Latency from"].clone();
        assert_eq!(origin(""), "sent");
        assert_eq!(origin("--rate-limiting 10"), "due");
    }

    #[test]
    fn percentiles_have_names_of_their_own() {
        let names = [50.0, 99.9, 99.99, 99.999].map(percentile_name);
        assert_eq!(names, ["p50.00", "p99.90", "p99.99", "p99.999"]);
    }
}
