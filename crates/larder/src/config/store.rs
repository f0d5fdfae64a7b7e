//! What a node of the durable tier runs on.

use std::path::{Path, PathBuf};

use toml::Value;

use super::node::{absolute, given, integer, path};
use super::{NodeConfig, Note, Setting, Sources, StoreMember, store_member};
use crate::failure::Failure;
use crate::flags::StoreFlags;
use crate::flags::value::Reserve;

/// MemcacheDB's port.
const PORT: u16 = 21201;

/// What `larder store` runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreConfig {
    /// What every node has.
    pub(crate) node: NodeConfig,
    /// Directory of the data. Default: the first of `$STATE_DIRECTORY`, which service managers
    /// set, else `larder-data/store` in the working directory.
    pub(crate) data_dir: PathBuf,
    /// Memory for cached blocks, in megabytes of 2^20 bytes. Default: 256.
    pub(crate) memory_limit_mb: u64,
    /// Free space of the volume below which writes are refused. Default: what the store needs, at
    /// most 2 GiB.
    pub(crate) reserve: Reserve,
    /// Seconds after which the log may forget what was written; 0 for only by its size. Default: 5.
    pub(crate) checkpoint_interval_secs: u64,
    /// Its place in a cluster. Default: none, it is alone.
    pub(crate) member: Option<StoreMember>,
}

impl StoreConfig {
    /// Resolves `flags`, and notes what of them does nothing.
    pub(crate) fn resolve(
        flags: &StoreFlags,
        sources: &mut Sources,
        state_directory: Option<&str>,
    ) -> Result<(Self, Vec<Note>), Failure> {
        let memory_limit_mb = flags.node.memory_limit.unwrap_or(256);
        let reserve = flags.reserve.unwrap_or(Reserve::Auto);
        if flags.node.enable_sasl {
            return Err(Failure::usage(
                "-S: no node is started as a slave, and there is no SASL authentication yet; leave \
                 it out: with --join HOST a node is one of a cluster, which agrees on who leads",
            ));
        }
        let (node, mut notes) = NodeConfig::resolve(&flags.node, sources, PORT, memory_limit_mb)?;
        let member = StoreMember::resolve(flags, &node, &mut notes)?;
        let state = state_directory.and_then(|list| list.split(':').next());
        let data_dir = match (given(flags.data_dir.as_deref()), state.filter(|dir| !dir.is_empty()))
        {
            (Some(dir), _) => absolute(dir)?,
            (_, Some(dir)) => absolute(Path::new(dir))?,
            // A daemon's working directory is an accident of who started it: another would find
            // an empty store.
            _ if node.daemon => {
                return Err(Failure::usage("-d: say where the data is with -H DIR"));
            }
            _ => absolute(Path::new("larder-data/store"))?,
        };
        let useless = [
            (
                flags.node.disable_evictions,
                "-M",
                "a store never evicts, and nodes agree on who is the master",
            ),
            (
                given(flags.node.memory_file.as_deref()).is_some(),
                "-e",
                "a store keeps everything in --data-dir",
            ),
            (
                matches!(flags.node.protocol.as_deref(), Some("btree" | "hash")),
                "-B",
                "there is one kind of table",
            ),
            (flags.log_dir.is_some(), "-G", "the log is kept with the data"),
            (flags.remove_logs, "-E", "logs that are no longer needed are always removed"),
            (flags.txn_nosync, "-N", "a write is answered once it is on disk"),
            (flags.log_buffer.is_some(), "-L", "the log has the buffers it needs"),
            (flags.trickle_interval.is_some(), "-T", "there are no dirty pages to write"),
        ];
        for (_, flag, why) in useless.into_iter().filter(|(given, ..)| *given) {
            notes.push(Note { text: format!("{flag}: {why}; ignored"), warning: false });
        }
        let checkpoint_interval_secs = flags.checkpoint_interval.unwrap_or(5);
        let config =
            Self { node, data_dir, memory_limit_mb, reserve, checkpoint_interval_secs, member };
        Ok((config, notes))
    }

    /// The options by their long names.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let mut settings = vec![
            ("data-dir", path(Some(&self.data_dir))),
            ("memory-limit", integer(self.memory_limit_mb)),
            (
                "reserve",
                match self.reserve {
                    Reserve::Auto => Value::String("auto".to_owned()),
                    Reserve::Bytes(bytes) => integer(bytes),
                },
            ),
            ("checkpoint-interval", integer(self.checkpoint_interval_secs)),
        ];
        settings.extend(store_member::settings(self.member.as_ref()));
        settings.extend(self.node.settings());
        settings
    }
}
