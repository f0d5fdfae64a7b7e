//! `-o`: memcached's extended options.

use crate::flags::nearest;

/// What of `-o` counts here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Extended {
    /// Seconds.
    pub(crate) idle_timeout: Option<u64>,
    pub(crate) maxconns_fast: Option<bool>,
    /// Megabytes; `Some(0)`, memcached's default, says nothing.
    pub(crate) read_buf_mem_limit: Option<u64>,
}

enum Meaning {
    IdleTimeout,
    MaxconnsFast(bool),
    ReadBufMemLimit,
    /// What Larder does anyway.
    Granted,
    /// Tunes what Larder does not have; whether it comes with a value, and what that is.
    Ignored(Value, &'static str),
    /// Asks for what would be missed; what to do instead.
    Refused(&'static str),
}

use Meaning::{Granted, IdleTimeout, Ignored, MaxconnsFast, ReadBufMemLimit, Refused};

enum Value {
    None,
    Optional,
    Required,
}

const HASH: &str = "the index grows by itself";
const SLABS: &str = "Larder has no slab classes";
const LRU: &str = "Larder has no LRU lists to tune";
const FLASH: &str = "Larder has no flash storage";
const TLS: &str = "there is no TLS yet; leave it to a proxy in front";
const PROXY: &str = "there is no proxy here; point clients at the nodes";

impl Extended {
    /// Reads one list, and adds a note for each option that does nothing here.
    pub(crate) fn read(&mut self, list: &str, notes: &mut Vec<String>) -> Result<(), String> {
        for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (part, None),
            };
            let Some(meaning) = meaning(name) else {
                let names = OPTIONS.iter().flat_map(|(names, _)| names.iter().copied());
                return Err(match nearest(name, names) {
                    Some(near) => format!("-o {name}: unknown; the nearest is {near}"),
                    None => format!("-o {name}: unknown; leave it out"),
                });
            };
            match meaning {
                IdleTimeout => {
                    let most = 31_536_000;
                    self.idle_timeout = Some(number(value, most, "seconds", "idle_timeout=300")?);
                }
                ReadBufMemLimit => {
                    let (most, example) = (16 << 20, "read_buf_mem_limit=64");
                    self.read_buf_mem_limit = Some(number(value, most, "megabytes", example)?);
                }
                MaxconnsFast(fast) => self.maxconns_fast = Some(*fast),
                Granted => {}
                Ignored(Value::Required, _) if value.is_none_or(str::is_empty) => {
                    return Err(format!("-o {name} needs a value: {name}=…, or leave it out"));
                }
                Ignored(Value::None, _) if value.is_some() => {
                    return Err(format!("-o {part}: takes no value; write {name}"));
                }
                Ignored(_, why) => notes.push(format!("-o {name}: {why}; ignored")),
                Refused(why) => return Err(format!("-o {name}: {why}")),
            }
            if name == "no_modern" {
                self.maxconns_fast = Some(false);
            }
        }
        Ok(())
    }
}

fn number(value: Option<&str>, most: u64, unit: &str, example: &str) -> Result<u64, String> {
    let name = example.split('=').next().unwrap_or(example);
    value
        .and_then(|value| value.parse().ok())
        .filter(|number| *number <= most)
        .ok_or_else(|| format!("-o {name}: want {unit} up to {most}, for example {example}"))
}

fn meaning(name: &str) -> Option<&'static Meaning> {
    OPTIONS.iter().find(|(names, _)| names.contains(&name)).map(|(_, meaning)| meaning)
}

/// memcached 1.6.45's names, and those of its builds with TLS, flash storage and proxy.
#[rustfmt::skip]
const OPTIONS: &[(&[&str], Meaning)] = &[
    (&["idle_timeout"], IdleTimeout),
    (&["maxconns_fast"], MaxconnsFast(true)),
    (&["no_maxconns_fast"], MaxconnsFast(false)),
    (&["modern", "inline_ascii_resp", "no_inline_ascii_resp", "no_drop_privileges"], Granted),
    (&["no_modern"], Ignored(Value::None, "but for no_maxconns_fast, Larder has no older ways")),
    (&["hashpower", "hash_algorithm"], Ignored(Value::Required, HASH)),
    (&["no_hashexpand"], Ignored(Value::None, HASH)),
    (&["slab_reassign", "no_slab_reassign", "no_slab_automove", "no_chunked_items"],
        Ignored(Value::None, SLABS)),
    (&["slab_automove"], Ignored(Value::Optional, SLABS)),
    (&["slab_automove_ratio", "slab_automove_window", "slab_automove_freeratio", "slab_sizes",
        "slab_chunk_max"], Ignored(Value::Required, SLABS)),
    (&["lru_crawler", "no_lru_crawler", "lru_maintainer", "no_lru_maintainer"],
        Ignored(Value::None, LRU)),
    (&["lru_crawler_sleep", "lru_crawler_tocrawl", "hot_lru_pct", "warm_lru_pct", "hot_max_factor",
        "warm_max_factor", "temporary_ttl", "tail_repair_time"], Ignored(Value::Required, LRU)),
    (&["track_sizes"], Ignored(Value::None, "there is nothing to switch on")),
    (&["watcher_logbuf_size", "worker_logbuf_size"],
        Ignored(Value::Required, "the log has no such buffers")),
    (&["read_buf_mem_limit"], ReadBufMemLimit),
    (&["resp_obj_mem_limit"],
        Ignored(Value::Optional, "read_buf_mem_limit covers replies too")),
    (&["ext_path"],
        Refused("there is no flash storage: give the memory with -m, or leave it out")),
    (&["ext_page_size", "ext_wbuf_size", "ext_threads", "ext_io_depth", "ext_item_size",
        "ext_item_age", "ext_low_ttl", "ext_recache_rate", "ext_compact_under", "ext_drop_under",
        "ext_max_frag", "ext_max_sleep"], Ignored(Value::Required, FLASH)),
    (&["ext_drop_unread"], Ignored(Value::None, FLASH)),
    (&["ssl_chain_cert", "ssl_key", "ssl_verify_mode", "ssl_keyformat", "ssl_ciphers",
        "ssl_ca_cert", "ssl_wbuf_size", "ssl_session_cache", "ssl_kernel_tls", "ssl_min_version"],
        Refused(TLS)),
    (&["proxy_config", "proxy_arg", "proxy_uring", "proxy_memprofile"], Refused(PROXY)),
    (&["drop_privileges"],
        Refused("there is no filter of system calls; use SystemCallFilter= of systemd")),
    (&["sock_cookie_id"], Refused("sockets get no cookie; filter by address")),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Result<(Extended, Vec<String>), String> {
        let (mut extended, mut notes) = (Extended::default(), Vec::new());
        extended.read(list, &mut notes)?;
        Ok((extended, notes))
    }

    #[test]
    fn what_counts_counts_and_the_rest_is_noted_once_each() {
        let list = "modern,idle_timeout=30,no_maxconns_fast,read_buf_mem_limit=64,\
            hashpower=20,slab_reassign";
        let (extended, notes) = read(list).unwrap();
        let wanted = Extended {
            idle_timeout: Some(30),
            maxconns_fast: Some(false),
            read_buf_mem_limit: Some(64),
        };
        assert_eq!(extended, wanted);
        assert_eq!(
            notes,
            [
                "-o hashpower: the index grows by itself; ignored",
                "-o slab_reassign: Larder has no slab classes; ignored"
            ]
        );
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (list, wanted) in [
            ("hashpwer=20", "-o hashpwer: unknown; the nearest is hashpower"),
            ("hashpower", "-o hashpower needs a value"),
            ("track_sizes=1", "-o track_sizes=1: takes no value"),
            ("idle_timeout", "want seconds up to 31536000, for example idle_timeout=300"),
            ("idle_timeout=-1", "want seconds"),
        ] {
            let found = read(list).unwrap_err();
            assert!(found.contains(wanted), "{list}: {found}");
        }
    }

    #[test]
    fn missing_protection_is_refused() {
        for list in ["ssl_chain_cert=/x", "drop_privileges", "ext_path=/x:1G", "proxy_config=/x"] {
            assert!(read(list).is_err(), "{list}");
        }
    }
}
