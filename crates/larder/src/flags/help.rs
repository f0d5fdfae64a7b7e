//! The grammar of the command line, and what is said when it is not kept.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Args, Command};

use super::{CacheFlags, CtlFlags, ProxyFlags, StoreFlags, UpFlags, value};
use crate::bench;

/// Version, and the protocol's in the form that tools look for.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (memcached 1.6.45 protocol)");

const SOURCES: &str = "Every option may also be set in the environment (--memory-limit as \
    LARDER_MEMORY_LIMIT) or in a table of the TOML file given by --config or LARDER_CONFIG, named \
    like the command. The command line comes first, then the environment, then the file.";

/// Options that are about one run, and so are taken from the command line alone.
pub(crate) const INTERNAL: [&str; 8] = [
    "help",
    "version",
    "license",
    "print-config",
    "check-routes",
    "detached",
    "announce-ready",
    "stop-on-stdin-eof",
];

/// The whole grammar.
pub(crate) fn command() -> Command {
    let cache = CacheFlags::augment_args(Command::new("cache"))
        .about("A node of the cache tier: memory only, bounded, evicts");
    let store = StoreFlags::augment_args(Command::new("store"))
        .about("A node of the durable tier: nothing is evicted")
        .mut_arg("port", |arg| {
            arg.help("TCP port to listen on; -1 for any free one, 0 for none (default: 21201)")
        })
        .mut_arg("memory_limit", |arg| {
            arg.help("Memory for cached blocks in megabytes (default: 256)")
        })
        .mut_arg("disable_evictions", |arg| arg.help("A store never evicts: this changes nothing"))
        .mut_arg("peer_listen", |arg| {
            arg.help(
                "Address to listen on for other nodes, host or host:port (default port: 31201); a \
                 node without is alone",
            )
        })
        .mut_arg("node_name", |arg| {
            arg.help("Name of this node, which no other has (default: that of the machine)")
        })
        .mut_arg("zone", |arg| {
            arg.help(
                "What this node shares its fate with, such as a rack: copies are kept in different \
                 zones",
            )
        });
    // Their letters are MemcacheDB's, for what it has by them.
    let store = ["disable_cas", "enable_largepages", "napi_ids"]
        .into_iter()
        .fold(store, |store, id| store.mut_arg(id, |arg| arg.short(None)));
    let proxy = ProxyFlags::augment_args(Command::new("proxy"))
        .about("Passes keys on to caches and stores, by their beginnings; holds no data")
        .mut_arg("memory_limit", |arg| {
            arg.help("Twice the memory for connections' buffers, in megabytes (default: 256)")
        });
    let up = UpFlags::augment_args(Command::new("up"))
        .about("A local cluster for trying out, until Ctrl-C");
    let ctl = CtlFlags::augment_args(Command::new("ctl"))
        .about("Looks after a cluster")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .after_help(SOURCES);
    let bench = bench::Args::augment_args(Command::new("bench"))
        .about("A load generator with memtier_benchmark's flags");
    Command::new("larder")
        .about("A distributed memcache-protocol cache cluster with a durable tier")
        .version(VERSION)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommands([
            finished(cache),
            of_memcachedb(finished(store)),
            finished(proxy),
            finished(up),
        ])
        .subcommand(ctl)
        .subcommand(bench)
}

/// What every command has that is layered.
fn finished(command: Command) -> Command {
    command
        .display_name("larder")
        .version(VERSION)
        .after_help(SOURCES)
        // As with getopt, the last of several counts.
        .args_override_self(true)
        .mut_args(|arg| match arg.get_action() {
            ArgAction::SetTrue if !arg.get_long().is_some_and(|long| INTERNAL.contains(&long)) => {
                switch(arg)
            }
            _ => arg,
        })
}

/// Flags that have memcached's meaning, and are told apart from MemcacheDB's.
fn of_memcachedb(store: Command) -> Command {
    store
        .mut_arg("enable_shutdown", |arg| {
            arg.require_equals(false).value_parser(value::shutdown_command)
        })
        .mut_arg("max_reqs_per_event", |arg| arg.value_parser(value::requests_of_store))
}

/// A switch that can be put back to false, when the environment or a file says true.
fn switch(arg: Arg) -> Arg {
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_value("false")
        .default_missing_value("true")
        .hide_default_value(true)
        .value_name("bool")
        .value_parser(value::switch)
}

/// What is wrong with a command line, in one line. `origin` tells where the argument of this
/// display form came from, if not from the command line.
pub(crate) fn complaint(
    error: &clap::Error,
    grammar: &Command,
    origin: impl FnOnce(&str) -> Option<String>,
) -> String {
    let argument = text(error, ContextKind::InvalidArg).unwrap_or_default();
    let given = text(error, ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument => unknown(&argument, grammar),
        ErrorKind::InvalidSubcommand => {
            let given = text(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            let names = grammar.get_subcommands().map(Command::get_name);
            match nearest(&given, names) {
                Some(name) => format!("unknown command {given}: the nearest is {name}"),
                None => format!("unknown command {given}: larder -h lists the commands"),
            }
        }
        ErrorKind::InvalidValue if given.is_empty() => {
            format!("{argument} needs a value: {} -h describes it", grammar.get_name())
        }
        ErrorKind::MissingRequiredArgument => {
            format!("{argument} is missing: larder {} -h says what it takes", grammar.get_name())
        }
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let place = origin(&argument).unwrap_or_else(|| {
                format!("{} {given}", argument.split([' ', '[']).next().unwrap_or_default())
            });
            let reason = std::error::Error::source(error)
                .map_or_else(|| "not a value it takes".to_owned(), ToString::to_string);
            format!("{place}: {reason}")
        }
        _ => {
            let whole = error.to_string();
            let line = whole.lines().next().unwrap_or_default();
            line.trim_start_matches("error: ").to_owned()
        }
    }
}

fn unknown(argument: &str, grammar: &Command) -> String {
    let help = match grammar.get_name() {
        "larder" => "larder -h".to_owned(),
        name => format!("larder {name} -h"),
    };
    if !argument.starts_with('-') {
        return format!(
            "unexpected '{argument}': no option before it takes it ({help} lists them)"
        );
    }
    let near = if let Some(long) = argument.strip_prefix("--") {
        nearest(long, visible(grammar).filter_map(Arg::get_long)).map(|name| format!("--{name}"))
    } else {
        argument
            .chars()
            .nth(1)
            .and_then(|letter| {
                visible(grammar)
                    .filter_map(Arg::get_short)
                    .find(|short| short.eq_ignore_ascii_case(&letter))
            })
            .map(|short| format!("-{short}"))
    };
    match near {
        Some(near) => {
            format!("unknown option {argument}: the nearest is {near} ({help} lists all)")
        }
        None => format!("unknown option {argument}: {help} lists all"),
    }
}

fn visible(grammar: &Command) -> impl Iterator<Item = &Arg> {
    grammar.get_arguments().filter(|arg| !arg.is_hide_set())
}

/// The name most like `given`, if any is like it at all.
pub(crate) fn nearest<'n>(given: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    names
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(name: &str) -> String {
        let mut command = command();
        command.find_subcommand_mut(name).unwrap().render_help().to_string()
    }

    #[test]
    fn the_grammar_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn help_promises_only_what_is_there() {
        for name in ["cache", "store"] {
            let help = help(name).to_lowercase();
            assert!(help.contains("--unix-socket"));
            for absent in
                ["sasl", "enable-ssl", "auth-file", "ext_path", "proxy_config", "drop_privileges"]
            {
                assert!(!help.contains(absent), "{name}: {absent}");
            }
        }
    }

    #[test]
    fn each_tier_tells_its_own_defaults() {
        for (name, port, other) in [("cache", "21211", "31201"), ("store", "31201", "21211")] {
            let help = help(name).split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(help.contains(&format!("(default port: {port})")), "{help}");
            assert!(!help.contains(other), "{help}");
        }
        assert!(help("cache").contains("--seed <addr>") && !help("store").contains("--seed"));
        assert!(help("store").contains("--join <addr>") && !help("cache").contains("--join"));
    }

    #[test]
    fn every_flag_of_memcached_is_known() {
        let command = command();
        for name in ["cache", "store"] {
            let grammar = command.find_subcommand(name).unwrap();
            let shorts: String = grammar.get_arguments().filter_map(Arg::get_short).collect();
            for flag in "psaUAldruMmcktvhiVPfnLDRCbBIFXWYeoNSZ".chars() {
                let found = shorts.contains(flag) || "hV".contains(flag);
                assert!(found, "{name}: -{flag}");
            }
        }
    }

    #[test]
    fn likeness_has_a_floor() {
        assert_eq!(nearest("prot", ["port", "threads"].into_iter()), Some("port"));
        assert_eq!(nearest("zzz", ["port", "threads"].into_iter()), None);
    }
}
