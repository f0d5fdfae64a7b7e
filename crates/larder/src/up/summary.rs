//! What `larder up` tells whoever started it.

use std::io::Write;

use super::child::Child;
use super::cluster::Cluster;
use crate::config::UpConfig;

/// One line on standard output. Nobody may be reading any more.
pub(super) fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "larder up: {line}").and_then(|()| output.flush()).ok();
}

/// What runs, where, and what to try first.
pub(super) fn print(cluster: &Cluster, config: &UpConfig) {
    let mut output = std::io::stdout().lock();
    output.write_all(text(cluster, config).as_bytes()).and_then(|()| output.flush()).ok();
}

fn text(cluster: &Cluster, config: &UpConfig) -> String {
    let mut lines = vec![format!("larder up: {} nodes serve", cluster.children().count())];
    lines.push(String::new());
    for child in cluster.children() {
        lines.push(row(child, config));
    }
    lines.push(String::new());
    lines.push(format!("data and logs: {}", config.data.display()));
    if let Some(first) = config.cache_ports.first() {
        // With nothing but bash, which every Debian has.
        lines.push(format!(
            "try: bash -c 'exec 3<>/dev/tcp/127.0.0.1/{first}; printf \"set hello 0 0 \
             5\\r\\nworld\\r\\nget hello\\r\\nquit\\r\\n\" >&3; cat <&3'"
        ));
    }
    if let [first, .., last] = &config.cache_ports[..] {
        lines.push(format!(
            "any cache node serves every key: what 127.0.0.1:{first} was told, 127.0.0.1:{last} knows"
        ));
    }
    if let [first, .., last] = &config.store_ports[..] {
        lines.push(format!(
            "the stores are copies of each other: what 127.0.0.1:{first} was told, \
             127.0.0.1:{last} knows"
        ));
    }
    lines.push("kill any of them (kill -9 PROCESS): the others go on".to_owned());
    lines.push("stop all: Ctrl-C".to_owned());
    lines.push(String::new());
    lines.join("\n")
}

fn row(child: &Child, config: &UpConfig) -> String {
    let program = &child.program;
    let within = |path: &std::path::Path| {
        path.strip_prefix(&config.data).unwrap_or(path).display().to_string()
    };
    let keeps = match &program.data {
        None => "memory only".to_owned(),
        Some(data) => format!("data {}", within(data)),
    };
    format!(
        "  {:9} 127.0.0.1:{:<5}  process {:<8} log {:18} {keeps}",
        program.name,
        program.port,
        child.id(),
        within(&program.log),
    )
}
