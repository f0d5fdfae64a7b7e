//! What a node of the cache tier runs on.

use std::path::PathBuf;

use toml::Value;

use super::node::{absolute, given, integer, least_buffer_memory_mb, path};
use super::{CacheMember, NodeConfig, Note, Setting, Sources, cache_member};
use crate::failure::Failure;
use crate::flags::CacheFlags;

/// memcached's port.
const PORT: u16 = 11211;

/// What `larder cache` runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheConfig {
    /// What every node has.
    pub(crate) node: NodeConfig,
    /// Memory for items, in megabytes of 2^20 bytes. Default: 64.
    pub(crate) memory_limit_mb: u64,
    /// Whether items make room for others when memory is full. Default: true.
    pub(crate) evict: bool,
    /// File that the items are in, for the next process. Default: none.
    pub(crate) memory_file: Option<PathBuf>,
    /// Its part in a cluster. Default: none, it is alone.
    pub(crate) member: Option<CacheMember>,
}

impl CacheConfig {
    /// Resolves `flags`, and notes what of them does nothing.
    pub(crate) fn resolve(
        all: &CacheFlags,
        sources: &mut Sources,
    ) -> Result<(Self, Vec<Note>), Failure> {
        let flags = &all.node;
        let memory_limit_mb = flags.memory_limit.unwrap_or(64);
        let (node, mut notes) = NodeConfig::resolve(flags, sources, PORT, memory_limit_mb)?;
        let member = CacheMember::resolve(all, &node, &mut notes)?;
        if let Some(factor) = &flags.slab_growth_factor
            && !factor.parse::<f64>().is_ok_and(|factor| factor > 1.0)
        {
            return Err(Failure::usage(format!("-f {factor}: want a number above 1, or no -f")));
        }
        if let Some(kind @ ("btree" | "hash")) = flags.protocol.as_deref() {
            return Err(Failure::usage(format!("-B {kind}: want ascii or auto")));
        }
        // memcached's own rule. With less, one item of the largest size would empty the cache.
        if node.item_size_max > (memory_limit_mb << 20) / 2 {
            let needed = (node.item_size_max * 2).div_ceil(1 << 20);
            return Err(Failure::usage(format!(
                "-m {memory_limit_mb}: an item of -I {} bytes must fit twice; write -m {needed} or \
                 more, or a smaller -I",
                node.item_size_max,
            )));
        }
        let most = (memory_limit_mb / 2).max(least_buffer_memory_mb(node.item_size_max));
        if node.buffer_memory_mb > most {
            return Err(Failure::usage(format!(
                "--buffer-memory {}: it is taken from -m {memory_limit_mb}, of which half stays \
                 with the items; write {most} or less, or a larger -m",
                node.buffer_memory_mb,
            )));
        }
        if let Some(machine) = machine_memory_mb().filter(|machine| memory_limit_mb > *machine) {
            notes.push(Note {
                text: format!("-m {memory_limit_mb}: this machine has only {machine} megabytes"),
                warning: true,
            });
        }
        let evict = !flags.disable_evictions;
        // A daemon leaves the working directory.
        let memory_file = given(flags.memory_file.as_deref()).map(absolute).transpose()?;
        Ok((Self { node, memory_limit_mb, evict, memory_file, member }, notes))
    }

    /// The options by their long names.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let mut settings = vec![
            ("memory-limit", integer(self.memory_limit_mb)),
            ("disable-evictions", Value::Boolean(!self.evict)),
            ("memory-file", path(self.memory_file.as_deref())),
        ];
        settings.extend(cache_member::settings(self.member.as_ref()));
        settings.extend(self.node.settings());
        settings
    }
}

/// Megabytes of memory the machine has, where it says so.
fn machine_memory_mb() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes >> 10)
}
