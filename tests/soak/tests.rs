use std::time::Duration;

use larder_cache::Options;
use larder_server::Settings;

use super::*;
use crate::node::Node;

#[test]
fn ten_seconds_of_everything() {
    let options = Options { memory_limit: 64 << 20, ..Options::default() };
    let settings = Settings { workers: 2, buffer_memory: 32 << 20, ..Settings::default() };
    let node = Node::cache_of(options, settings);
    let seed = std::env::var("LARDER_SEED")
        .map_or_else(|_| rand::random(), |text| text.parse().expect("a number"));
    let plan = Plan {
        server: node.address(),
        // The other tests' process, too.
        process: None,
        seed,
        duration: Duration::from_secs(10),
        connections: 4,
        max_value: 1 << 20,
        may_refuse: false,
    };
    if let Err(violation) = soak(&plan, |_| {}) {
        panic!("{violation}\nrepeat with LARDER_SEED={seed}");
    }
}
