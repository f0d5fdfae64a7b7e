//! A proxy before caches and a store, each a process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

mod support;

use std::fs;

use nix::sys::signal::Signal;
use support::{Running, Stream, converse, ended, free_ports, larder};
use tempfile::TempDir;

fn start(line: &str) -> Running {
    let running = Running::start(&mut larder(line));
    running.line(Stream::Err, "listening on ");
    running
}

#[test]
fn keys_go_where_the_table_says_and_a_bad_one_changes_nothing() {
    let place = TempDir::new().unwrap();
    let ports = free_ports(4);
    let [web, store, other, proxy] = [0, 1, 2, 3].map(|at| format!("127.0.0.1:{}", ports + at));
    let _web = start(&format!("cache -t 1 -l {web}"));
    let _other = start(&format!("cache -t 1 -l {other}"));
    let _store =
        start(&format!("store -t 1 -l {store} -H {}", place.path().join("data").display()));
    let file = place.path().join("routes.toml");
    let table = |to: &str| {
        format!(
            "[pools.web]\nnodes = [\"{to}\"]\n[pools.kept]\ntier = \"store\"\nnodes = [\"{store}\"]\n\
             [[routes]]\nprefix = \"kept:\"\npool = \"kept\"\n\
             [[routes]]\nprefix = \"\"\npool = \"web\"\n"
        )
    };
    fs::write(&file, table(&web)).unwrap();
    let running = start(&format!("proxy -t 1 -l {proxy} --routes {}", file.display()));
    let both = "set a 1 0 1\r\nx\r\nset kept:a 2 0 1\r\ny\r\nget a kept:a none\r\nmg a v t Oz\r\n";
    let told = "STORED\r\nSTORED\r\nVALUE a 1 1\r\nx\r\nVALUE kept:a 2 1\r\ny\r\nEND\r\nVA 1 t-1 Oz\r\nx\r\n";
    assert_eq!(converse(&proxy, both), told);
    assert_eq!(converse(&web, "get a kept:a\r\n"), "VALUE a 1 1\r\nx\r\nEND\r\n");
    assert_eq!(converse(&store, "get a kept:a\r\n"), "VALUE kept:a 2 1\r\ny\r\nEND\r\n");

    fs::write(&file, "[pools.web]\nnodse = []\n").unwrap();
    running.signal(Signal::SIGHUP);
    let refused = running.line(Stream::Err, "the routes stay as they were");
    assert!(refused.contains("routes.toml:2: unknown field `nodse`"), "{refused}");
    assert_eq!(converse(&proxy, "get a\r\n"), "VALUE a 1 1\r\nx\r\nEND\r\n");
    let checked = ended(&mut larder(&format!("proxy --routes {} --check-routes", file.display())));
    assert!(!checked.status.success() && checked.err.contains(":2: unknown field"), "{checked:?}");

    fs::write(&file, table(&other)).unwrap();
    running.signal(Signal::SIGHUP);
    running.line(Stream::Err, "pools: 1 new, 1 gone, 1 kept; routes: 2");
    assert_eq!(converse(&proxy, "get a kept:a\r\n"), "VALUE kept:a 2 1\r\ny\r\nEND\r\n");

    assert_eq!(
        converse(&proxy, "set b 0 0 1\r\nx\r\nflush_all\r\nget b kept:a\r\n"),
        "STORED\r\nOK\r\nVALUE kept:a 2 1\r\ny\r\nEND\r\n"
    );
    let stats = converse(&proxy, "stats\r\n");
    assert!(stats.contains("STAT proxy_reloads 1\r\nSTAT proxy_reloads_refused 1\r\n"), "{stats}");
    let stats = converse(&proxy, "stats cluster\r\n");
    assert!(stats.contains("STAT kept:0:connections 1\r\n"), "{stats}");
}
