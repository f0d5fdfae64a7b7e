//! From the command line to the command.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::FromArgMatches;

use crate::config::{
    self, CacheConfig, CtlConfig, Ended, Layered, ProxyConfig, StoreConfig, UpConfig,
};
use crate::failure::Failure;
use crate::flags::{
    self, CacheFlags, CtlFlags, ProxyFlags, StoreAction, StoreFlags, UpFlags, What,
};
use crate::{bench, cache, ctl, proxy, store, up};

const LICENSE: &str = "Larder is licensed under either of the MIT License and the Apache License, \
    Version 2.0, at your choice.\n";

/// Does what the command line says.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let environment = |variable: &str| std::env::var(variable).ok();
    let ended = match config::layered(&flags::command(), &args, environment) {
        Ok(layered) => run(layered).map_err(Ended::Failed),
        Err(ended) => Err(ended),
    };
    match ended {
        Ok(code) => code,
        Err(Ended::Asked(shown)) => {
            shown.print().ok();
            if shown.use_stderr() { Failure::usage("").exit_code() } else { ExitCode::SUCCESS }
        }
        Err(Ended::Failed(failure)) => {
            writeln!(std::io::stderr(), "larder: {failure}").ok();
            failure.exit_code()
        }
    }
}

fn run(mut layered: Layered) -> Result<ExitCode, Failure> {
    let within = |failure: Failure| failure.within(&layered.command);
    let sources = &mut layered.sources;
    let print = |settings, sources: &_, notes: &[_]| {
        show(&config::print(&layered.command, settings, sources, notes))
    };
    match layered.command.as_str() {
        "cache" => {
            let flags = raw::<CacheFlags>(&layered.matches)?;
            if flags.node.license {
                return show(LICENSE);
            }
            let (config, notes) = CacheConfig::resolve(&flags, sources).map_err(within)?;
            if flags.node.print_config {
                return print(&config.settings(), sources, &notes);
            }
            cache::run(&config, &notes).map_err(within)
        }
        "store" => {
            let flags = raw::<StoreFlags>(&layered.matches)?;
            if flags.node.license {
                return show(LICENSE);
            }
            let state = std::env::var("STATE_DIRECTORY").ok();
            let (config, notes) =
                StoreConfig::resolve(&flags, sources, state.as_deref()).map_err(within)?;
            if flags.node.print_config {
                return print(&config.settings(), sources, &notes);
            }
            store::run(&config, &notes).map_err(within)
        }
        "proxy" => {
            let flags = raw::<ProxyFlags>(&layered.matches)?;
            if flags.node.license {
                return show(LICENSE);
            }
            let (config, notes) = ProxyConfig::resolve(&flags, sources).map_err(within)?;
            if flags.node.print_config {
                return print(&config.settings(), sources, &notes);
            }
            if flags.check_routes {
                let table = config.table().map_err(Failure::usage).map_err(within)?;
                let (pools, routes) = table.count();
                return show(&format!("good: pools: {pools}; routes: {routes}\n"));
            }
            proxy::run(&config, &notes).map_err(within)
        }
        "up" => {
            let flags = raw::<UpFlags>(&layered.matches)?;
            let config = UpConfig::resolve(&flags).map_err(within)?;
            if flags.print_config {
                return print(&config.settings(), sources, &[]);
            }
            up::run(&config).map_err(within)
        }
        "ctl" => {
            let flags = raw::<CtlFlags>(&layered.matches)?;
            if let What::Store(StoreAction::Verify { directory }) = &flags.what {
                return ctl::verify(directory).map_err(within);
            }
            let config = CtlConfig::resolve(&flags).map_err(within)?;
            match &flags.what {
                What::Store(action) => ctl::store(&config, action).map_err(within),
            }
        }
        "bench" => Ok(bench::run(raw(&layered.matches)?)),
        other => Err(Failure::usage(format!("unknown command {other}"))),
    }
}

/// The flags of a command that was parsed by their own grammar.
fn raw<F: FromArgMatches>(matches: &clap::ArgMatches) -> Result<F, Failure> {
    F::from_arg_matches(matches).map_err(|error| Failure::usage(error.to_string()))
}

fn show(text: &str) -> Result<ExitCode, Failure> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map(|()| ExitCode::SUCCESS)
        .map_err(|error| Failure::system(format!("cannot write: {error}")))
}
