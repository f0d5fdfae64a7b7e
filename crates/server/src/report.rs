//! `stats`: names and values as memcached 1.6.45 has them, wherever the thing exists here.

use std::fmt::Display;
use std::sync::atomic::Ordering;

use larder_protocol::{Output, Seconds, parse_u32};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::backend::{Backend, StatsGroup};
use crate::clock;
use crate::hotkeys;
use crate::settings::Overflow;
use crate::shared::Shared;

/// The memcached whose behaviour this is, since clients choose what they use by it; then our own.
macro_rules! version {
    () => {
        concat!("1.6.45+larder.", env!("CARGO_PKG_VERSION"))
    };
}
pub(crate) use version;

/// Writes the answer to `stats` and the words behind it. What follows an answer that lists things
/// is `END`, always: tools read until there.
pub(crate) fn stats<B: Backend>(
    shared: &Shared<B>,
    words: &[u8],
    now: Seconds,
    out: &mut impl Output,
) {
    let words: Vec<_> = words.split(|b| *b == b' ').filter(|word| !word.is_empty()).collect();
    let mut emit = |name: &str, value: &str| {
        for part in ["STAT ", name, " ", value, "\r\n"] {
            out.put(part.as_bytes());
        }
    };
    let end: &[u8] = match words.as_slice() {
        [] => {
            general(shared, now, &mut emit);
            shared.backend.stats(StatsGroup::General, now, &mut emit);
            b"END"
        }
        [b"settings", ..] => {
            settings(shared, &mut emit);
            shared.backend.stats(StatsGroup::Settings, now, &mut emit);
            b"END"
        }
        [b"items", ..] => {
            shared.backend.stats(StatsGroup::Items, now, &mut emit);
            b"END"
        }
        [b"slabs", ..] => {
            shared.backend.stats(StatsGroup::Slabs, now, &mut emit);
            b"END"
        }
        [b"sizes", ..] => {
            shared.backend.stats(StatsGroup::Sizes, now, &mut emit);
            b"END"
        }
        [b"engine", ..] => {
            shared.backend.stats(StatsGroup::Engine, now, &mut emit);
            b"END"
        }
        [b"hotkeys", ..] => {
            let workers = shared.workers.iter().map(|worker| &worker.heat);
            hotkeys::tell(workers, clock::precisely(), &mut emit);
            b"END"
        }
        [b"cluster", ..] => optional(shared, StatsGroup::Cluster, now, &mut emit),
        [b"bdb", ..] => optional(shared, StatsGroup::Bdb, now, &mut emit),
        [b"rep", ..] => optional(shared, StatsGroup::Rep, now, &mut emit),
        [b"repcfg", ..] => optional(shared, StatsGroup::RepCfg, now, &mut emit),
        [b"repms", ..] => optional(shared, StatsGroup::RepMs, now, &mut emit),
        [b"conns", ..] => {
            connections(shared, now, &mut emit);
            b"END"
        }
        [b"reset", ..] => {
            shared.reset_counters();
            shared.backend.reset_stats();
            b"RESET"
        }
        [b"cachedump", ..] if !shared.settings.dump_command => {
            b"CLIENT_ERROR stats cachedump not allowed"
        }
        [b"cachedump", class, most, ..] => match (parse_u32(class), parse_u32(most)) {
            (Some(class), Some(most)) => {
                cachedump(shared, class, most, now, out);
                b"END"
            }
            _ => b"CLIENT_ERROR bad command line format",
        },
        [b"cachedump", ..] => b"CLIENT_ERROR bad command line",
        // No prefixes are counted.
        [b"detail", b"dump", ..] => b"END",
        [b"detail", b"on" | b"off", ..] => b"CLIENT_ERROR stats detail not allowed",
        [b"detail", ..] => b"CLIENT_ERROR usage: stats detail on|off|dump",
        _ => b"ERROR",
    };
    out.put(end);
    out.put(b"\r\n");
}

/// A group that not every node has, and how its answer ends: where there is nothing to say of it, as if it
/// were not known, which is what MemcacheDB says of replication where there is none.
fn optional<B: Backend>(
    shared: &Shared<B>,
    group: StatsGroup,
    now: Seconds,
    emit: &mut dyn FnMut(&str, &str),
) -> &'static [u8] {
    let mut end: &[u8] = b"ERROR";
    shared.backend.stats(group, now, &mut |name, value| {
        emit(name, value);
        end = b"END";
    });
    end
}

/// `ITEM <key> [<size> b; <exptime> s]`, for the one class that there is. As in memcached, no more
/// than 2 MiB of them, and 0 stands for as many as that.
fn cachedump<B: Backend>(
    shared: &Shared<B>,
    class: u32,
    most: u32,
    now: Seconds,
    out: &mut impl Output,
) {
    const ITEM_CLASS: u32 = 1;
    const MAX_BYTES: usize = 2 << 20;
    const MIN_LINE_BYTES: usize = 20;
    if class != ITEM_CLASS {
        return;
    }
    let most = if most == 0 { MAX_BYTES / MIN_LINE_BYTES } else { most as usize };
    let mut written = 0;
    shared.backend.list(most, now, &mut |key, size, exptime| {
        let rest = format!(" [{size} b; {exptime} s]\r\n");
        written += 5 + key.len() + rest.len();
        if written <= MAX_BYTES {
            for part in [b"ITEM ", key, rest.as_bytes()] {
                out.put(part);
            }
        }
    });
}

fn general<B: Backend>(shared: &Shared<B>, now: Seconds, emit: &mut dyn FnMut(&str, &str)) {
    let mut stat = |name: &str, value: &dyn Display| emit(name, &value.to_string());
    let totals = shared.totals();
    stat("pid", &std::process::id());
    stat("uptime", &now.saturating_sub(shared.started));
    stat("time", &now);
    stat("version", &version!());
    stat("pointer_size", &usize::BITS);
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let seconds = |time: TimeVal| format!("{}.{:06}", time.tv_sec(), time.tv_usec());
        stat("rusage_user", &seconds(usage.user_time()));
        stat("rusage_system", &seconds(usage.system_time()));
    }
    stat("max_connections", &shared.settings.max_connections);
    stat("curr_connections", &shared.registry.len());
    stat("total_connections", &shared.registry.opened());
    stat("rejected_connections", &shared.rejected.load(Ordering::Relaxed));
    stat("cmd_get", &totals.cmd_get);
    stat("cmd_set", &totals.cmd_set);
    stat("cmd_flush", &totals.cmd_flush);
    stat("cmd_touch", &totals.cmd_touch);
    stat("cmd_meta", &totals.cmd_meta);
    stat("get_hits", &totals.get_hits);
    stat("get_misses", &totals.get_misses);
    stat("delete_misses", &totals.delete_misses);
    stat("delete_hits", &totals.delete_hits);
    stat("incr_misses", &totals.incr_misses);
    stat("incr_hits", &totals.incr_hits);
    stat("decr_misses", &totals.decr_misses);
    stat("decr_hits", &totals.decr_hits);
    stat("cas_misses", &totals.cas_misses);
    stat("cas_hits", &totals.cas_hits);
    stat("cas_badval", &totals.cas_badval);
    stat("touch_hits", &totals.touch_hits);
    stat("touch_misses", &totals.touch_misses);
    stat("store_too_large", &totals.store_too_large);
    stat("store_no_memory", &totals.store_no_memory);
    stat("auth_cmds", &0);
    stat("auth_errors", &0);
    stat("read_buf_bytes", &shared.budget.held());
    stat("read_buf_oom", &shared.budget.refused.load(Ordering::Relaxed));
    stat("response_obj_oom", &shared.budget.cut_off.load(Ordering::Relaxed));
    if shared.settings.idle_timeout.is_some() {
        stat("idle_kicks", &shared.idle_kicks.load(Ordering::Relaxed));
    }
    stat("bytes_read", &totals.bytes_read);
    stat("bytes_written", &totals.bytes_written);
    stat("accepting_conns", &u8::from(shared.accepting.load(Ordering::Relaxed)));
    stat("listen_disabled_num", &shared.listen_disabled.load(Ordering::Relaxed));
    stat("threads", &shared.workers.len());
    stat("conn_yields", &totals.conn_yields);
}

fn settings<B: Backend>(shared: &Shared<B>, emit: &mut dyn FnMut(&str, &str)) {
    let mut stat = |name: &str, value: &dyn Display| emit(name, &value.to_string());
    let settings = &shared.settings;
    let yes = |is: bool| if is { "yes" } else { "no" };
    let unix = shared.addresses.iter().find_map(|address| address.strip_prefix("unix:"));
    let tcp: Vec<_> = shared.addresses.iter().filter_map(|a| a.strip_prefix("tcp:")).collect();
    let port = tcp.iter().find_map(|address| address.rsplit(':').next());
    stat("maxconns", &settings.max_connections);
    stat("tcpport", &port.unwrap_or("0"));
    stat("udpport", &0);
    stat("inter", &if tcp.is_empty() { "NULL".to_owned() } else { tcp.join(",") });
    stat("verbosity", &shared.verbosity.load(Ordering::Relaxed));
    stat("domain_socket", &unix.unwrap_or("NULL"));
    stat("shutdown_command", &yes(settings.shutdown_command));
    stat("num_threads", &shared.workers.len());
    stat("reqs_per_event", &settings.requests_per_turn);
    stat("cas_enabled", &"yes");
    stat("binding_protocol", &"ascii");
    stat("auth_enabled_sasl", &"no");
    stat("auth_enabled_ascii", &"no");
    stat("item_size_max", &settings.limits.item);
    stat("maxconns_fast", &yes(settings.overflow == Overflow::Refuse));
    stat("flush_enabled", &yes(settings.flush_command));
    stat("dump_enabled", &yes(settings.dump_command));
    stat("idle_timeout", &settings.idle_timeout.map_or(0, |timeout| timeout.as_secs()));
}

fn connections<B: Backend>(shared: &Shared<B>, now: Seconds, emit: &mut dyn FnMut(&str, &str)) {
    for (number, address) in shared.addresses.iter().enumerate() {
        emit(&format!("{number}:addr"), address);
        emit(&format!("{number}:state"), "conn_listening");
    }
    for peer in shared.registry.peers() {
        let number = shared.addresses.len() as u64 + peer.number();
        emit(&format!("{number}:addr"), &peer.address);
        emit(&format!("{number}:listen_addr"), &peer.listener);
        emit(&format!("{number}:state"), "conn_read");
        emit(&format!("{number}:secs_since_last_cmd"), &peer.idle(now).to_string());
    }
}
