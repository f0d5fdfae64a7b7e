//! Files by which a node tells others of itself.
//!
//! Each is written under another name and renamed, so that nobody reads half of it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use larder_server::Listener;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tracing::warn;

/// The variable in which memcached's test harnesses ask for the ports.
const PORT_FILE: &str = "MEMCACHED_PORT_FILENAME";

/// Writes the process id. It says why where it cannot, as memcached does, and the node goes on.
pub(super) fn write_pid(path: &Path) -> bool {
    let earlier = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    if let Some(pid) = earlier.filter(|pid| kill(Pid::from_raw(*pid), None).is_ok()) {
        warn!("-P {}: it named process {pid}, which is running", path.display());
    }
    let written = replace(path, "tmp", &format!("{}\n", std::process::id()));
    if let Err(error) = &written {
        warn!("-P {}: cannot be written: {error}", path.display());
    }
    written.is_ok()
}

/// Writes the TCP ports where the environment asks for them.
pub(super) fn write_ports(listeners: &[Listener]) {
    let Some(path) = std::env::var_os(PORT_FILE).filter(|path| !path.is_empty()) else { return };
    let addresses: Vec<_> = listeners.iter().filter_map(Listener::tcp_address).collect();
    // As memcached, none for a UNIX socket.
    if addresses.is_empty() {
        return;
    }
    let mut text = String::new();
    for address in addresses {
        let family = if address.is_ipv4() { "INET" } else { "INET6" };
        writeln!(text, "TCP {family}: {}", address.port()).ok();
    }
    let path = PathBuf::from(path);
    if let Err(error) = replace(&path, "lck", &text) {
        warn!("{PORT_FILE} {}: cannot be written: {error}", path.display());
    }
}

fn replace(path: &Path, suffix: &str, text: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    fs::write(&name, text)?;
    fs::rename(&name, path)
}
