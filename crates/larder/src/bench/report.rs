//! The report, as text.

#![expect(clippy::cast_precision_loss, reason = "figures shown rounded")]

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use super::plan::{Limit, Plan};
use super::race::Measured;
use super::tally::{Command, Count, Tally};

/// What of the results is shown.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// Default: 50, 99, 99.9 and 99.99.
    pub(super) percentiles: Vec<f64>,
    /// Default: yes.
    pub(super) histogram: bool,
    /// Of several runs each, not only best, worst and all together. Default: no.
    pub(super) all_runs: bool,
}

/// One table of results.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) tally: Tally,
    /// Of all runs the section is about, together.
    pub(super) duration: Duration,
    /// Of the first of them.
    pub(super) started: SystemTime,
    pub(super) interrupted: bool,
}

/// The figures of one line of the table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) count: Count,
    pub(super) ops_sec: f64,
    /// Hits and misses per second, of what has them.
    pub(super) found_sec: Option<(f64, f64)>,
    /// In units of 1,024 bytes, as all below.
    pub(super) kb_sec_in: f64,
    pub(super) kb_sec_out: f64,
}

/// What to show of `runs`, of which there is at least one.
pub(super) fn sections(runs: &[Measured], all_runs: bool) -> Vec<Section> {
    let section = |title: String, run: &Measured| Section {
        title,
        tally: run.tally.clone(),
        duration: run.duration,
        started: run.started,
        interrupted: run.interrupted,
    };
    let rate = |run: &&Measured| per_second(run.tally.ops(), run.duration);
    let best = runs.iter().max_by(|a, b| rate(a).total_cmp(&rate(b)));
    let worst = runs.iter().min_by(|a, b| rate(a).total_cmp(&rate(b)));
    let (Some(first), Some(best), Some(worst)) = (runs.first(), best, worst) else {
        return Vec::new();
    };
    if runs.len() == 1 {
        return vec![section("ALL STATS".to_owned(), first)];
    }
    let mut sections = Vec::new();
    if all_runs {
        for (index, run) in runs.iter().enumerate() {
            sections.push(section(format!("RUN #{} RESULTS", index + 1), run));
        }
    }
    sections.push(section("BEST RUN RESULTS".to_owned(), best));
    sections.push(section("WORST RUN RESULTS".to_owned(), worst));
    let mut average = section(format!("AGGREGATED AVERAGE RESULTS ({} runs)", runs.len()), first);
    for run in runs.iter().skip(1) {
        average.tally.merge(&run.tally);
        average.duration += run.duration;
        average.interrupted |= run.interrupted;
    }
    sections.push(average);
    sections
}

impl Section {
    /// Sets, gets and totals, each with its histogram.
    pub(super) fn rows(&self) -> [(Row, Command); 3] {
        let tally = &self.tally;
        let found =
            (per_second(tally.hits, self.duration), per_second(tally.misses, self.duration));
        let row = |name, command: Command, found_sec| {
            let count = command.count;
            let row = Row {
                name,
                count,
                ops_sec: per_second(count.ops, self.duration),
                found_sec,
                kb_sec_in: per_second(count.bytes_in, self.duration) / 1_024.0,
                kb_sec_out: per_second(count.bytes_out, self.duration) / 1_024.0,
            };
            (row, command)
        };
        [
            row("Sets", tally.sets.clone(), None),
            row("Gets", tally.gets.clone(), Some(found)),
            row("Totals", tally.totals(), Some(found)),
        ]
    }
}

fn per_second(count: u64, duration: Duration) -> f64 {
    let secs = duration.as_secs_f64();
    if secs > 0.0 { count as f64 / secs } else { 0.0 }
}

/// Writes all sections.
pub(super) fn write(
    out: &mut impl Write,
    plan: &Plan,
    view: &View,
    sections: &[Section],
) -> io::Result<()> {
    writeln!(out, "{:<9} Threads", plan.threads)?;
    writeln!(out, "{:<9} Connections per thread", plan.clients)?;
    match plan.limit {
        Limit::Requests(requests) => writeln!(out, "{requests:<9} Requests per client")?,
        Limit::AllKeys => writeln!(out, "{:<9} Requests per client", "allkeys")?,
        Limit::Time(time) => writeln!(out, "{:<9} Seconds", time.as_secs())?,
    }
    if let Some(rate) = plan.rate {
        let total = u64::from(rate) * u64::from(plan.connections());
        writeln!(out, "{rate:<9} Requests per second and connection, {total} in all")?;
    }
    for section in sections {
        write_section(out, plan, view, section)?;
    }
    out.flush()
}

fn write_section(
    out: &mut impl Write,
    plan: &Plan,
    view: &View,
    section: &Section,
) -> io::Result<()> {
    let rows = section.rows();
    let percentiles = view.percentiles.iter().map(|p| format!("{:>15} ", format!("p{p} Latency")));
    let head = format!(
        "{:<6} {:>12} {:>12} {:>12} {:>15} {}{:>15} {:>12}",
        "Type",
        "Ops/sec",
        "Hits/sec",
        "Misses/sec",
        "Avg. Latency",
        percentiles.collect::<String>(),
        "Max Latency",
        "KB/sec"
    );
    let width = head.len();
    writeln!(out, "\n\n{}\n{}\n{head}\n{}", section.title, "=".repeat(width), "-".repeat(width))?;
    for (row, command) in &rows {
        write_row(out, view, row, command)?;
    }
    writeln!(out)?;
    match plan.rate {
        None => writeln!(out, "Latency in msec, from sending a request to having read its reply.")?,
        Some(_) => writeln!(
            out,
            "Latency in msec, from when a request was due to having read its reply: waiting to be \
             sent counts (no coordinated omission)."
        )?,
    }
    write_troubles(out, section)?;
    if view.histogram {
        write_histogram(out, &rows)?;
    }
    Ok(())
}

fn write_row(out: &mut impl Write, view: &View, row: &Row, command: &Command) -> io::Result<()> {
    let (hits, misses) = match row.found_sec {
        Some((hits, misses)) => (format!("{hits:.2}"), format!("{misses:.2}")),
        None => (NONE.to_owned(), NONE.to_owned()),
    };
    let latency = |ms: f64| match row.count.ops {
        0 => NONE.to_owned(),
        _ => format!("{ms:.5}"),
    };
    write!(out, "{:<6} {:>12.2} {hits:>12} {misses:>12} ", row.name, row.ops_sec)?;
    write!(out, "{:>15} ", latency(row.count.average_ms()))?;
    for percentile in &view.percentiles {
        write!(out, "{:>15} ", latency(command.percentile_ms(*percentile)))?;
    }
    let max_ms = row.count.max_us as f64 / 1_000.0;
    writeln!(out, "{:>15} {:>12.2}", latency(max_ms), row.kb_sec_in + row.kb_sec_out)
}

/// What makes the figures less than they seem.
fn write_troubles(out: &mut impl Write, section: &Section) -> io::Result<()> {
    let tally = &section.tally;
    if section.interrupted {
        writeln!(out, "Interrupted after {:.1} seconds.", section.duration.as_secs_f64())?;
    }
    if let Some(first) = &tally.errors.first {
        let count = tally.errors.count;
        writeln!(out, "{count} requests were refused and are in no figure above; first: {first}")?;
    }
    if let Some(first) = &tally.lost.first {
        writeln!(out, "{} connections were lost; first: {first}", tally.lost.count)?;
    }
    if tally.unanswered > 0 {
        writeln!(out, "{} requests were sent and not answered.", tally.unanswered)?;
    }
    if tally.unsent > 0 {
        writeln!(
            out,
            "{} requests were due and never sent: server or generator did not keep up.",
            tally.unsent
        )?;
    }
    Ok(())
}

fn write_histogram(out: &mut impl Write, rows: &[(Row, Command)]) -> io::Result<()> {
    writeln!(out, "\n\nRequest Latency Distribution")?;
    writeln!(out, "{:<6} {:>12} {:>12}\n{}", "Type", "<= msec   ", "Percent", "-".repeat(72))?;
    for (row, command) in rows {
        let Some(name) = histogram_name(row) else { continue };
        for (ms, percent) in distribution(command) {
            writeln!(out, "{name:<6} {ms:>11.3} {percent:>14.3}")?;
        }
        writeln!(out, "---")?;
    }
    Ok(())
}

/// The command of a row, unless it is that of the totals.
pub(super) fn histogram_name(row: &Row) -> Option<&'static str> {
    match row.name {
        "Sets" => Some("SET"),
        "Gets" => Some("GET"),
        _ => None,
    }
}

/// Latencies in milliseconds, each with the percentage that did not exceed it; in steps that halve
/// towards 100 %.
pub(super) fn distribution(command: &Command) -> impl Iterator<Item = (f64, f64)> + '_ {
    const STEPS_PER_HALVING: u32 = 10;
    command.histogram.iter_quantiles(STEPS_PER_HALVING).map(|value| {
        (value.value_iterated_to() as f64 / 1_000.0, value.quantile_iterated_to() * 100.0)
    })
}

const NONE: &str = "---";

#[cfg(test)]
mod tests;
