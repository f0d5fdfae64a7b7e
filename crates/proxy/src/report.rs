//! `stats`, and `stats cluster`.

use std::fmt::Display;
use std::sync::atomic::Ordering;

use larder_client::NodeReport;
use larder_protocol::Seconds;

use crate::proxy::Proxy;

/// What a proxy adds to `stats`.
pub(crate) fn general(proxy: &Proxy, now: Seconds, emit: &mut dyn FnMut(&str, &str)) {
    let mut stat = |name: &str, value: &dyn Display| emit(name, &value.to_string());
    let (table, since, _) = proxy.state();
    let (pools, routes) = table.count();
    stat("proxy_pools", &pools);
    stat("proxy_routes", &routes);
    stat("proxy_table_age", &now.saturating_sub(since));
    stat("proxy_reloads", &proxy.reloads.load(Ordering::Relaxed));
    stat("proxy_reloads_refused", &proxy.refused.load(Ordering::Relaxed));
}

/// The pools, and how their nodes are doing: over all worker threads.
pub(crate) fn pools(proxy: &Proxy, emit: &mut dyn FnMut(&str, &str)) {
    let mut stat = |name: &str, value: &dyn Display| emit(name, &value.to_string());
    let (table, _, switches) = proxy.state();
    let (pools, routes) = table.count();
    stat("pools", &pools);
    stat("routes", &routes);
    // What an operator would else have to guess.
    stat("stats_cover", &"this proxy");
    stat("flush_all_covers", &"all nodes of pools of caches");
    for settings in &table.pools {
        let mut nodes: Vec<NodeReport> = Vec::new();
        let of_workers = switches.iter().flat_map(|switch| &switch.pools);
        let reports = of_workers.filter(|pool| pool.settings == *settings);
        for report in reports.flat_map(|pool| pool.client.report()) {
            match nodes.iter_mut().find(|node| node.node == report.node) {
                None => nodes.push(report),
                Some(node) => {
                    node.is_down |= report.is_down;
                    node.connections += report.connections;
                    node.outstanding += report.outstanding;
                    node.requests += report.requests;
                    node.failures += report.failures;
                }
            }
        }
        let mut stat =
            |name: &str, value: &dyn Display| stat(&format!("{}:{name}", settings.name), value);
        stat("tier", &settings.tier.name());
        stat("nodes", &nodes.len());
        for (number, report) in nodes.iter().enumerate() {
            let mut stat =
                |name: &str, value: &dyn Display| stat(&format!("{number}:{name}"), value);
            stat("address", &report.node);
            stat("weight", &report.weight);
            stat("state", &if report.is_down { "down" } else { "up" });
            stat("connections", &report.connections);
            stat("waiting", &report.outstanding);
            stat("requests", &report.requests);
            stat("failures", &report.failures);
        }
    }
}
