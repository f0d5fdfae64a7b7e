//! The flags, checked and resolved into what a run needs.

use std::num::NonZero;
use std::str::FromStr;
use std::time::Duration;

use larder_protocol::MAX_KEY_LEN;
use larder_protocol::encode::is_printable;

use super::args::Args;
use super::keys::{KeySpace, Pattern};
use super::mix::Ratio;
use super::payload::Sizes;
use super::stream::{Family, Target};

/// What a run does.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) target: Target,
    /// Full runs. Default: 1.
    pub(super) runs: u32,
    /// Default: 4.
    pub(super) threads: u32,
    /// Connections per thread. Default: 50.
    pub(super) clients: u32,
    /// When a client is done. Default: after 10,000 requests.
    pub(super) limit: Limit,
    /// Requests per second and connection. Default: as many as are answered.
    pub(super) rate: Option<u32>,
    /// Default: 1:10.
    pub(super) ratio: Ratio,
    /// Requests outstanding per connection. Default: 1.
    pub(super) pipeline: usize,
    /// Default: 1.
    pub(super) keys_per_get: NonZero<u32>,
    pub(super) sizes: Sizes,
    pub(super) random_data: bool,
    /// Of sets, in seconds. Default: none.
    pub(super) expiry_secs: Option<(u32, u32)>,
    /// Default: `memtier-`.
    pub(super) key_prefix: String,
    pub(super) keys: KeySpace,
    pub(super) seeds: Seeds,
}

/// When a client is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// After so many requests.
    Requests(u64),
    /// After one request for each of its keys.
    AllKeys,
    /// After so long.
    Time(Duration),
}

/// What the clients' sources of chance start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seeds {
    /// Default: 0.
    pub(super) base: u64,
    /// Each client its own, in every run. Default: all the same.
    pub(super) distinct: bool,
}

/// Requests per client, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    Number(u64),
    AllKeys,
}

/// From one number to another, as written: `min-max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) min: u64,
    pub(super) max: u64,
}

/// The largest item a memcached can be told to take.
const LARGEST_VALUE: u64 = 1 << 30;

impl Plan {
    pub(super) fn resolve(args: Args) -> Result<Self, String> {
        let sizes = sizes(&args)?;
        let expiry_secs = expiry(args.expiry_range)?;
        let keys = key_space(&args)?;
        check_prefix(&args.key_prefix, keys.high)?;
        let family = match (args.ipv4, args.ipv6) {
            (true, _) => Family::V4,
            (_, true) => Family::V6,
            _ => Family::Any,
        };
        let clients = u64::from(args.clients) * u64::from(args.threads);
        if clients > u64::from(MOST_CLIENTS) {
            return Err(format!(
                "--clients {} x --threads {} is {clients} connections; {MOST_CLIENTS} is the most",
                args.clients, args.threads
            ));
        }
        Ok(Self {
            target: match args.unix_socket {
                Some(path) => Target::Unix(path),
                None => Target::Tcp { host: args.server, port: args.port, family },
            },
            runs: args.run_count,
            threads: args.threads,
            clients: args.clients,
            limit: match (args.requests, args.test_time) {
                (Some(Quantity::Number(requests)), _) => Limit::Requests(requests),
                (Some(Quantity::AllKeys), _) => Limit::AllKeys,
                (None, Some(secs)) => Limit::Time(Duration::from_secs(secs.into())),
                (None, None) => Limit::Requests(10_000),
            },
            rate: args.rate_limiting,
            ratio: args.ratio,
            pipeline: usize::try_from(args.pipeline).unwrap_or(usize::MAX),
            keys_per_get: args.multi_key_get.and_then(NonZero::new).unwrap_or(NonZero::<u32>::MIN),
            sizes,
            random_data: args.random_data,
            expiry_secs,
            key_prefix: args.key_prefix,
            keys,
            seeds: Seeds {
                base: if args.randomize { rand::random() } else { 0 },
                distinct: args.distinct_client_seed,
            },
        })
    }

    /// Connections of all threads.
    pub(super) fn connections(&self) -> u32 {
        self.threads.saturating_mul(self.clients)
    }

    /// The seed of client `client`, counted over all threads, in run `run`, counted from one.
    pub(super) fn seed(&self, client: u32, run: u32) -> u64 {
        let past = u64::from(run.saturating_sub(1)) * u64::from(self.connections());
        let offset = if self.seeds.distinct { past + u64::from(client) } else { 0 };
        self.seeds.base.wrapping_add(offset)
    }

    /// Requests client `client` of all threads sends, unless time decides.
    pub(super) fn requests(&self, client: u32) -> Option<u64> {
        match self.limit {
            Limit::Requests(requests) => Some(requests),
            Limit::Time(_) => None,
            Limit::AllKeys => {
                let range = self.keys.of_client(client, self.connections());
                Some((range.end() - range.start()).saturating_add(1))
            }
        }
    }
}

/// More ports than one address has; beyond it a number is a slip.
const MOST_CLIENTS: u32 = 1_000_000;

fn sizes(args: &Args) -> Result<Sizes, String> {
    let Some(range) = args.data_size_range else {
        return Ok(Sizes::Fixed(size(args.data_size.unwrap_or(32), "--data-size")?));
    };
    let min = size(range.min, "--data-size-range")?;
    let max = size(range.max, "--data-size-range")?;
    Ok(match args.data_size_pattern.as_str() {
        "S" => Sizes::ByKey(min, max),
        _ => Sizes::Random(min, max),
    })
}

fn size(bytes: u64, flag: &str) -> Result<usize, String> {
    if !(1..=LARGEST_VALUE).contains(&bytes) {
        return Err(format!(
            "{flag} {bytes}: a value has from 1 to {LARGEST_VALUE} bytes (and the server's -I)"
        ));
    }
    usize::try_from(bytes).map_err(|error| format!("{flag} {bytes}: {error}"))
}

fn expiry(range: Option<Span>) -> Result<Option<(u32, u32)>, String> {
    let Some(Span { min, max }) = range else { return Ok(None) };
    match (u32::try_from(min), u32::try_from(max)) {
        (Ok(min), Ok(max)) => Ok(Some((min, max))),
        _ => Err(format!("--expiry-range {min}-{max}: seconds are at most {}", u32::MAX)),
    }
}

fn key_space(args: &Args) -> Result<KeySpace, String> {
    let (low, high) = (args.key_minimum, args.key_maximum);
    if low > high {
        return Err(format!("--key-minimum {low} is above --key-maximum {high}"));
    }
    let patterns = args.key_pattern;
    let gaussian = patterns.set == Pattern::Gaussian || patterns.get == Pattern::Gaussian;
    if !gaussian && (args.key_stddev.is_some() || args.key_median.is_some()) {
        return Err("--key-stddev and --key-median need pattern G in --key-pattern".to_owned());
    }
    if let Some(stddev) = args.key_stddev
        && !(stddev.is_finite() && stddev > 0.0)
    {
        return Err(format!("--key-stddev {stddev} is not above zero"));
    }
    #[expect(clippy::cast_precision_loss, reason = "compared with a number as imprecise")]
    let bounds = low as f64..=high as f64;
    if let Some(median) = args.key_median
        && !bounds.contains(&median)
    {
        return Err(format!("--key-median {median} is not between the keys {low} and {high}"));
    }
    let zipf_exponent = args.key_zipf_exp;
    if !(zipf_exponent > 0.0 && zipf_exponent < 5.0) {
        return Err(format!("--key-zipf-exp {zipf_exponent} is not between 0 and 5"));
    }
    Ok(KeySpace {
        low,
        high,
        patterns,
        stddev: args.key_stddev,
        median: args.key_median,
        zipf_exponent,
    })
}

fn check_prefix(prefix: &str, highest: u64) -> Result<(), String> {
    if !is_printable(prefix.as_bytes()) {
        return Err("--key-prefix: keys have no spaces or control characters".to_owned());
    }
    let longest = prefix.len() + highest.to_string().len();
    if longest > MAX_KEY_LEN {
        return Err(format!(
            "--key-prefix makes keys of {longest} bytes; {MAX_KEY_LEN} is the protocol's limit"
        ));
    }
    Ok(())
}

impl FromStr for Quantity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "allkeys" => Ok(Self::AllKeys),
            Ok(number) if number > 0 => Ok(Self::Number(number)),
            _ => Err("a number above zero, or allkeys".to_owned()),
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text
            .split_once('-')
            .and_then(|(min, max)| Some((min.parse().ok()?, max.parse().ok()?)));
        match numbers {
            Some((min, max)) if min <= max => Ok(Self { min, max }),
            _ => Err("two numbers, the first at most the second, like 10-100".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn resolve(line: &str) -> Result<Plan, String> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Plan::resolve(Line::try_parse_from(words).unwrap().args)
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        let long_prefix = format!("--key-prefix {}", "k".repeat(MAX_KEY_LEN));
        for (line, reason) in [
            ("--key-minimum 5 --key-maximum 4", "above --key-maximum 4"),
            ("-d 0", "from 1 to"),
            ("-d 1073741825", "from 1 to"),
            ("--data-size-range 0-5", "from 1 to"),
            ("--key-stddev 3", "pattern G"),
            ("--key-pattern G:G --key-median 20000000", "not between"),
            ("--key-pattern G:G --key-stddev 0", "above zero"),
            ("--key-zipf-exp 5", "between 0 and 5"),
            ("--expiry-range 1-4294967296", "at most"),
            ("-c 1000000 -t 2", "is the most"),
            (long_prefix.as_str(), "protocol's limit"),
        ] {
            let message = resolve(line).expect_err(line);
            assert!(message.contains(reason), "{line}: {message}");
        }
    }

    #[test]
    fn limits_are_what_the_flags_say() {
        assert_eq!(resolve("").unwrap().requests(0), Some(10_000));
        assert_eq!(resolve("-n 7").unwrap().requests(3), Some(7));
        assert_eq!(resolve("--test-time 2").unwrap().requests(0), None);
        let all = resolve("-n allkeys --key-minimum 1 --key-maximum 1000").unwrap();
        assert_eq!(all.requests(0), Some(1_000));
        let parallel =
            resolve("-n allkeys --key-minimum 1 --key-maximum 1000 --key-pattern P:P").unwrap();
        let total: u64 = (0..200).filter_map(|client| parallel.requests(client)).sum();
        assert_eq!(total, 1_000);
    }

    #[test]
    fn seeds_are_the_same_unless_asked() {
        let same = resolve("-c 2 -t 1").unwrap();
        assert_eq!([same.seed(0, 1), same.seed(1, 1), same.seed(1, 2)], [0, 0, 0]);
        let distinct = resolve("-c 2 -t 1 --distinct-client-seed").unwrap();
        let seeds = [1, 2].map(|run| [distinct.seed(0, run), distinct.seed(1, run)]);
        assert_eq!(seeds, [[0, 1], [2, 3]]);
    }
}
