//! The flags, as written on the command line. What they mean together is [`super::plan`]'s.

use std::path::{Path, PathBuf};

use super::keys::Patterns;
use super::mix::Ratio;
use super::plan::{Quantity, Span};
use super::report::View;

/// Load a memcached server and report throughput and latency, with memtier_benchmark's flag names
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Latency is measured from sending a request to having read its reply. With --rate-limiting it is \
measured from when the request was due, so that what a stalled server keeps waiting is counted \
(coordinated omission).\n\n\
Each client draws the same keys unless --distinct-client-seed is given. To fill a cache first: \
--ratio 1:0 --key-pattern P:P -n allkeys.")]
pub(crate) struct Args {
    /// Server host name or address
    #[arg(
        short = 's',
        long,
        visible_alias = "host",
        value_name = "ADDR",
        default_value = "localhost"
    )]
    pub(super) server: String,

    /// Server port
    #[arg(short = 'p', long, default_value_t = 11211, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: u16,

    /// UNIX domain socket to connect to, instead of server and port
    #[arg(short = 'S', long, value_name = "SOCKET", conflicts_with_all = ["server", "port"])]
    pub(super) unix_socket: Option<PathBuf>,

    /// Use only IPv4 addresses of the server
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub(super) ipv4: bool,

    /// Use only IPv6 addresses of the server
    #[arg(short = '6', long)]
    pub(super) ipv6: bool,

    /// Protocol to speak; there is only one
    #[arg(short = 'P', long, default_value = "memcache_text", value_parser = protocol)]
    pub(super) protocol: String,

    /// Number of full runs
    #[arg(short = 'x', long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) run_count: u32,

    /// File for the report (default: stdout)
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(super) out_file: Option<PathBuf>,

    /// File for the report as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) json_out_file: Option<PathBuf>,

    /// Leave the latency histogram out
    #[arg(long)]
    pub(super) hide_histogram: bool,

    /// Percentiles to show, separated by commas
    #[arg(long, value_name = "LIST", default_value = "50,99,99.9,99.99", value_delimiter = ',', value_parser = percentile)]
    pub(super) print_percentiles: Vec<f64>,

    /// With --run-count, report each run too
    #[arg(long)]
    pub(super) print_all_runs: bool,

    /// Requests per client [default: 10000], or "allkeys" for each key once per client
    #[arg(short = 'n', long, value_name = "NUMBER", conflicts_with = "test_time")]
    pub(super) requests: Option<Quantity>,

    /// Requests per second and connection; latency then counts from when each was due
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rate_limiting: Option<u32>,

    /// Clients (connections) per thread
    #[arg(short = 'c', long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) clients: u32,

    /// Threads
    #[arg(short = 't', long, value_name = "NUMBER", default_value_t = 4, value_parser = threads)]
    pub(super) threads: u32,

    /// Seconds to run, instead of a number of requests
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) test_time: Option<u32>,

    /// Sets to gets: each client sends so many sets, then so many gets, and again
    #[arg(long, value_name = "SETS:GETS", default_value = "1:10")]
    pub(super) ratio: Ratio,

    /// Requests outstanding per connection
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) pipeline: u32,

    /// Keys per get; a get of many keys is one request
    #[arg(long, value_name = "NUM", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) multi_key_get: Option<u32>,

    /// Seed each client differently, so that they draw different keys
    #[arg(long)]
    pub(super) distinct_client_seed: bool,

    /// Seed by chance (default: the same keys every time)
    #[arg(long)]
    pub(super) randomize: bool,

    /// Bytes per value [default: 32]
    #[arg(short = 'd', long, value_name = "BYTES", conflicts_with = "data_size_range")]
    pub(super) data_size: Option<u64>,

    /// Values of random size in bytes, from and to
    #[arg(long, value_name = "MIN-MAX")]
    pub(super) data_size_range: Option<Span>,

    /// Of --data-size-range: R picks sizes at random, S grows them with the key's number
    #[arg(long, value_name = "R|S", default_value = "R", value_parser = ["R", "S"], requires = "data_size_range")]
    pub(super) data_size_pattern: String,

    /// Random bytes as values (default: all x)
    #[arg(short = 'R', long)]
    pub(super) random_data: bool,

    /// Random expiry of each set in seconds, from and to (default: none)
    #[arg(long, value_name = "MIN-MAX")]
    pub(super) expiry_range: Option<Span>,

    /// Prefix of keys
    #[arg(long, value_name = "PREFIX", default_value = "memtier-")]
    pub(super) key_prefix: String,

    /// Lowest key number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(super) key_minimum: u64,

    /// Highest key number
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000_000)]
    pub(super) key_maximum: u64,

    /// Order of keys of sets and gets: R uniformly random, G Gaussian, Z Zipf, S sequential (each
    /// client all keys), P parallel (each client its own part of the keys, in order)
    #[arg(long, value_name = "SET:GET", default_value = "R:R")]
    pub(super) key_pattern: Patterns,

    /// Of pattern G: standard deviation in keys [default: a sixth of the range]
    #[arg(long, value_name = "KEYS")]
    pub(super) key_stddev: Option<f64>,

    /// Of pattern G: the most frequent key [default: the middle of the range]
    #[arg(long, value_name = "KEY")]
    pub(super) key_median: Option<f64>,

    /// Of pattern Z: exponent, between 0 and 5; higher favours the lowest keys more
    #[arg(long, value_name = "EXPONENT", default_value_t = 1.0)]
    pub(super) key_zipf_exp: f64,
}

impl Args {
    pub(super) fn out_file(&self) -> Option<&Path> {
        self.out_file.as_deref()
    }

    pub(super) fn json_out_file(&self) -> Option<&Path> {
        self.json_out_file.as_deref()
    }

    pub(super) fn view(&self) -> View {
        View {
            percentiles: self.print_percentiles.clone(),
            histogram: !self.hide_histogram,
            all_runs: self.print_all_runs,
        }
    }
}

fn protocol(name: &str) -> Result<String, String> {
    if name == "memcache_text" {
        Ok(name.to_owned())
    } else {
        Err("larder bench speaks memcache_text only".to_owned())
    }
}

fn threads(text: &str) -> Result<u32, String> {
    match text.trim().parse() {
        Ok(number @ 1..=1024) => Ok(number),
        _ => Err("want 1 to 1024 threads, for example 4".to_owned()),
    }
}

fn percentile(text: &str) -> Result<f64, String> {
    match text.trim().parse() {
        Ok(value) if (0.0..=100.0).contains(&value) => Ok(value),
        _ => Err("a percentile is a number from 0 to 100".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, String> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_are_consistent() {
        Line::command().debug_assert();
    }

    #[test]
    fn defaults_are_memtiers() {
        let args = parse("").unwrap();
        assert_eq!((args.clients, args.threads, args.pipeline), (50, 4, 1));
        assert_eq!(args.ratio.to_string(), "1:10");
        assert_eq!((args.key_minimum, args.key_maximum), (0, 10_000_000));
        assert_eq!(args.key_prefix, "memtier-");
        assert_eq!(args.key_pattern.to_string(), "R:R");
    }

    #[test]
    fn memtiers_spelling_is_understood() {
        let args = parse(
            "-s 10.0.0.1 -p 11212 -P memcache_text -t 1 -c 5 --ratio=0:1 --pipeline=16 -d 100 \
             --key-maximum=1000 --key-minimum=1 --key-pattern=P:P --test-time=3 --hide-histogram \
             --json-out-file x.json --rate-limiting 5 --distinct-client-seed --randomize \
             --expiry-range 1-9 -x 2 --multi-key-get=4 -R",
        )
        .unwrap();
        assert_eq!((args.server.as_str(), args.port, args.pipeline), ("10.0.0.1", 11212, 16));
        assert_eq!(args.expiry_range, Some(Span { min: 1, max: 9 }));
        assert!(matches!(parse("-n allkeys").unwrap().requests, Some(Quantity::AllKeys)));
        assert_eq!(parse("--host cache1").unwrap().server, "cache1");
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        for (line, reason) in [
            ("--pipelin 4", "--pipeline"),
            ("--ratio 0:0", "0:0"),
            ("--ratio 1", "1:10"),
            ("--pipeline 0", "1..="),
            ("-c 0", "1.."),
            ("-t 0", "want 1 to 1024 threads"),
            ("-t 1025", "want 1 to 1024 threads"),
            ("-t 99999999999", "want 1 to 1024 threads"),
            ("-n 0", "above zero"),
            ("-n 5 --test-time 3", "cannot be used with"),
            ("-P redis", "memcache_text only"),
            ("--key-pattern Q:R", "S, R, G, Z or P"),
            ("--key-pattern P:R", "both"),
            ("--data-size-range 9-3", "at most"),
            ("--print-percentiles 50,101", "from 0 to 100"),
        ] {
            let message = parse(line).expect_err(line);
            assert!(message.contains(reason), "{line}: {message}");
        }
    }
}
