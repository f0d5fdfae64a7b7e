//! The memory that a process holds.

use std::{fs, io};

/// Bytes of a process that are in memory, as `/proc` tells: its `VmRSS`.
///
/// # Errors
///
/// Those of the system: there is no such process, or no `/proc`.
pub fn resident_bytes(process: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes =
        line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes << 10).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("process {process} tells no VmRSS"))
    })
}
