//! Command line, environment and file, laid over each other.
//!
//! What the environment and the file say is put where the command line says nothing, and the
//! whole is parsed once more: one grammar reads all three, and any error of that second reading is
//! theirs.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::file;
use super::source::{Source, Sources};
use crate::failure::Failure;
use crate::flags::{INTERNAL, complaint, nearest};

/// A command with everything that was said about it.
#[derive(Debug)]
pub(crate) struct Layered {
    /// `cache`, `store`, …
    pub(crate) command: String,
    /// Its arguments.
    pub(crate) matches: ArgMatches,
    /// Where they came from.
    pub(crate) sources: Sources,
}

/// What reading a command line comes to, if not to a command.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Help or version was asked for.
    Asked(clap::Error),
    /// Something is wrong.
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Reads `args`, the first of which is the program, in the `environment` given.
pub(crate) fn layered(
    grammar: &Command,
    args: &[OsString],
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Layered, Ended> {
    let first = parse(grammar, args, |_| None)?;
    let Some((name, matches)) = first.subcommand() else {
        return Err(Failure::usage("no command: larder -h lists them").into());
    };
    let Some(spec) = grammar.find_subcommand(name) else {
        return Err(Failure::usage(format!("unknown command {name}")).into());
    };
    let layer = Layer { name, spec, matches };
    let mut sources = Sources::default();
    let mut added = HashMap::new();
    for (option, arg) in layer.options() {
        if layer.on_command_line(arg) {
            sources.set(option, Source::CommandLine);
        } else if let Some((variable, value)) = from_environment(option, &environment) {
            added.insert(option.to_owned(), written(arg, &[value], &variable)?);
            sources.set(option, Source::Environment(variable));
        }
    }
    if let Some(path) = layer.file(&environment) {
        let commands: Vec<_> = grammar
            .get_subcommands()
            .filter(|spec| reads_file(spec))
            .map(Command::get_name)
            .collect();
        for entry in file::read(&path, name, &commands)? {
            let place = format!("{}:{}", path.display(), entry.line);
            let arg = layer.option(&entry.key, &place)?;
            if entry.list && !matches!(arg.get_action(), ArgAction::Append) {
                let line = format!("{place}: {} takes one value, not a list", entry.key);
                return Err(Failure::usage(line).into());
            }
            if !sources.given(&entry.key) {
                added.insert(entry.key.clone(), written(arg, &entry.values, &place)?);
                sources.set(&entry.key, Source::File(path.clone(), entry.line));
            }
        }
    }
    let mut all = args.to_vec();
    let rest = all.split_off(all.len().min(2));
    all.extend(added.into_values().flatten());
    all.extend(rest);
    let mut second = parse(grammar, &all, |argument| {
        let option = argument.strip_prefix("--")?.split([' ', '[', '=']).next()?;
        Some(format!("{option} ({})", sources.of(option)))
    })?;
    match second.remove_subcommand() {
        Some((command, matches)) => Ok(Layered { command, matches, sources }),
        None => Err(Failure::usage("no command: larder -h lists them").into()),
    }
}

fn parse(
    grammar: &Command,
    args: &[OsString],
    origin: impl FnOnce(&str) -> Option<String>,
) -> Result<ArgMatches, Ended> {
    grammar.clone().try_get_matches_from(args).map_err(|error| {
        let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
        if !error.use_stderr() || is_help {
            return Ended::Asked(error);
        }
        let spec = args.get(1).and_then(|name| grammar.find_subcommand(name)).unwrap_or(grammar);
        let failure = Failure::usage(complaint(&error, spec, origin));
        match spec.get_name() {
            "larder" => failure,
            name => failure.within(name),
        }
        .into()
    })
}

/// One command, as its command line alone reads.
struct Layer<'a> {
    name: &'a str,
    spec: &'a Command,
    matches: &'a ArgMatches,
}

impl Layer<'_> {
    /// The options that may come from elsewhere, by their long names.
    fn options(&self) -> impl Iterator<Item = (&str, &Arg)> {
        // The other commands end with their run, and are told everything on the command line.
        let any = reads_file(self.spec);
        self.spec
            .get_arguments()
            .filter(move |_| any)
            .filter_map(|arg| Some((arg.get_long()?, arg)))
            .filter(|(long, _)| !INTERNAL.contains(long) && *long != "config")
    }

    fn on_command_line(&self, arg: &Arg) -> bool {
        self.matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
    }

    fn file(&self, environment: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
        let given = self.matches.try_get_one::<PathBuf>("config").ok()?;
        given.cloned().or_else(|| {
            environment("LARDER_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from)
        })
    }

    fn option(&self, key: &str, place: &str) -> Result<&Arg, Failure> {
        let found = self.options().find(|(long, _)| *long == key);
        found.map(|(_, arg)| arg).ok_or_else(|| {
            let known = self.options().filter(|(_, arg)| !arg.is_hide_set()).map(|(long, _)| long);
            let remedy = nearest(key, known).map_or_else(
                || format!("larder {} -h lists the long names", self.name),
                |near| format!("the nearest is {near}"),
            );
            Failure::usage(format!("{place}: unknown option {key}: {remedy}"))
        })
    }
}

/// Whether a command can be given a file.
fn reads_file(spec: &Command) -> bool {
    spec.get_arguments().any(|arg| arg.get_long() == Some("config"))
}

/// The variable of an option and what it holds.
fn from_environment(
    option: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Option<(String, String)> {
    let variable = format!("LARDER_{}", option.to_uppercase().replace('-', "_"));
    let value = environment(&variable)?;
    // Kubernetes gives every container of a namespace such a variable for a service named larder.
    let of_kubernetes = option == "port" && value.starts_with("tcp://");
    (!of_kubernetes).then_some((variable, value))
}

/// An option as a command line would say it. An empty value is as none.
fn written(arg: &Arg, values: &[String], place: &str) -> Result<Vec<OsString>, Failure> {
    let long = arg.get_long().unwrap_or_default();
    let values = values.iter().filter(|value| !value.is_empty());
    if !matches!(arg.get_action(), ArgAction::Count) {
        return Ok(values.map(|value| format!("--{long}={value}").into()).collect());
    }
    let mut times = 0;
    for value in values {
        times = value
            .parse::<u8>()
            .ok()
            .filter(|times| *times <= 3)
            .ok_or_else(|| Failure::usage(format!("{place}: {long} {value}: want 0 to 3")))?;
    }
    Ok(vec![format!("--{long}").into(); usize::from(times)])
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;
    use crate::flags::value::Port;
    use crate::flags::{NodeFlags, command};

    fn read(line: &str, environment: &[(&str, &str)]) -> Result<(NodeFlags, Sources), String> {
        let args: Vec<OsString> =
            format!("larder cache {line}").split_whitespace().map(Into::into).collect();
        let lookup = |variable: &str| {
            let found = environment.iter().find(|(name, _)| *name == variable);
            found.map(|(_, value)| (*value).to_owned())
        };
        match layered(&command(), &args, lookup) {
            Ok(layered) => {
                Ok((NodeFlags::from_arg_matches(&layered.matches).unwrap(), layered.sources))
            }
            Err(Ended::Failed(failure)) => Err(failure.to_string()),
            Err(Ended::Asked(error)) => Err(error.to_string()),
        }
    }

    /// A file that stays while the test runs.
    fn file(text: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("larder.toml");
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (dir, path)
    }

    #[test]
    fn the_command_line_comes_before_the_environment_before_the_file() {
        let (_dir, path) = file("[cache]\nport = 1\nthreads = 2\nconn-limit = 3\n");
        let environment =
            [("LARDER_CONFIG", path.as_str()), ("LARDER_PORT", "11"), ("LARDER_THREADS", "12")];
        let (flags, sources) = read("-p 21", &environment).unwrap();
        assert_eq!(flags.port, Some(Port::Number(21)));
        assert_eq!(flags.threads, Some(value_threads(12)));
        assert_eq!(flags.conn_limit, Some(3));
        assert_eq!(*sources.of("port"), Source::CommandLine);
        assert_eq!(*sources.of("threads"), Source::Environment("LARDER_THREADS".into()));
        assert_eq!(*sources.of("conn-limit"), Source::File(path.into(), 4));
        assert_eq!(*sources.of("memory-limit"), Source::Default);
    }

    fn value_threads(number: usize) -> crate::flags::value::Threads {
        crate::flags::value::Threads::Number(number)
    }

    #[test]
    fn a_switch_of_the_file_can_be_put_back() {
        let (_dir, path) = file("[cache]\ndisable-flush-all = true\nverbose = 2\n");
        let environment = [("LARDER_CONFIG", path.as_str())];
        let (flags, _) = read("", &environment).unwrap();
        assert!(flags.disable_flush_all);
        assert_eq!(flags.verbose, 2);
        let (flags, _) = read("--disable-flush-all=false -v", &environment).unwrap();
        assert!(!flags.disable_flush_all);
        assert_eq!(flags.verbose, 1);
    }

    #[test]
    fn switches_cluster_and_repeat_as_with_getopt() {
        let (flags, _) = read("-MFvvv -p 1 -p -1 -l a -l b -m64", &[]).unwrap();
        assert!(flags.disable_evictions && flags.disable_flush_all);
        assert_eq!((flags.verbose, flags.port), (3, Some(Port::Free)));
        assert_eq!((flags.listen, flags.memory_limit), (vec!["a".into(), "b".into()], Some(64)));
    }

    #[test]
    fn an_empty_variable_is_as_none() {
        let environment = [("LARDER_USER", ""), ("LARDER_DAEMON", ""), ("LARDER_PORT", "")];
        let (flags, _) = read("", &environment).unwrap();
        assert_eq!((flags.user, flags.daemon, flags.port), (None, false, None));
    }

    #[test]
    fn the_port_variable_of_kubernetes_is_not_ours() {
        let (flags, sources) = read("", &[("LARDER_PORT", "tcp://10.0.0.1:11211")]).unwrap();
        assert_eq!(flags.port, None);
        assert!(!sources.given("port"));
    }

    #[test]
    fn errors_are_one_line_with_place_and_remedy() {
        let (_dir, path) = file("[cache]\nthreads = 0\n");
        let (_other, misspelt) = file("[cache]\n\nthread = 1\n");
        let (_third, list) = file("[cache]\nport = [1]\n");
        for (line, environment, wanted) in [
            ("--prot 1", ("", ""), "unknown option --prot: the nearest is --port".to_owned()),
            ("-z", ("", ""), "unknown option -z: larder cache -h lists all".to_owned()),
            ("-T 1", ("", ""), "unknown option -T: the nearest is -t".to_owned()),
            ("stray", ("", ""), "unexpected 'stray'".to_owned()),
            ("-m 0", ("", ""), "--memory-limit 0: want 1 to".to_owned()),
            ("-c 0", ("", ""), "--conn-limit 0: want 1 to".to_owned()),
            ("-t 0", ("", ""), "--threads 0: want 1 to 1024".to_owned()),
            ("-m 99999999999999999999999", ("", ""), "--memory-limit 999".to_owned()),
            ("-I 2g", ("", ""), "--max-item-size 2g: want 1k to 1024m".to_owned()),
            ("-p 70000", ("", ""), "--port 70000: want a port".to_owned()),
            ("-m", ("", ""), "--memory-limit <num> needs a value".to_owned()),
            ("-A=perhaps", ("", ""), "--enable-shutdown perhaps: want true or false".to_owned()),
            ("", ("LARDER_PORT", "x"), "port (environment LARDER_PORT): want a port".to_owned()),
            ("", ("LARDER_VERBOSE", "x"), "LARDER_VERBOSE: verbose x: want 0 to 3".to_owned()),
            ("", ("LARDER_CONFIG", &path), format!("threads ({path}:2): want 1 to 1024")),
            (
                "",
                ("LARDER_CONFIG", &misspelt),
                format!("{misspelt}:3: unknown option thread: the nearest is threads"),
            ),
            ("", ("LARDER_CONFIG", &list), format!("{list}:2: port takes one value")),
            ("--config /no/such", ("", ""), "--config /no/such: cannot be read".to_owned()),
        ] {
            let found = read(line, &[environment]).unwrap_err();
            assert!(found.contains(&wanted), "{line}: {found}");
            assert!(!found.contains('\n'), "{found}");
        }
    }
}
