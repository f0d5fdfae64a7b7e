//! A node of a cluster of whose files some are not what was written, as its clients and its operator see
//! it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use support::stores::Stores;
use support::until;

/// So much in all that the engine sorts it.
const ITEMS: u32 = 60;

fn value(number: u32) -> String {
    let mut noise = u64::from(number) + 1;
    let letter = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'!' + u8::try_from(noise >> 58).unwrap())
    };
    std::iter::repeat_with(letter).take(900_000).collect()
}

#[test]
fn a_damaged_node_answers_with_what_others_have_and_says_what_to_do() {
    let mut stores = Stores::start(3);
    let mut client = stores.client(1);
    for number in 0..ITEMS {
        client.set_at_last(&format!("key{number}"), &value(number));
    }
    let sorted = stores.place.path().join("db2/data/keyspaces/1/tables");
    let files = until("it has sorted them", || {
        let files: Vec<_> = fs::read_dir(&sorted).ok()?.map(|file| file.unwrap().path()).collect();
        Some(files).filter(|files| !files.is_empty())
    });
    stores.kill(2);
    for path in files {
        let file = File::options().read(true).write(true).open(path).unwrap();
        // Behind how the groups stand, and before what the engine wants to open it.
        let end = file.metadata().unwrap().len() - (64 << 10);
        for at in ((64 << 10)..end).step_by(256 << 10) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
        }
    }
    stores.open(2);
    let mut client = stores.client(2);
    // It may lead nothing yet.
    let told = until("it has met the damage", || {
        for number in 0..ITEMS {
            assert!(client.get(&format!("key{number}")) == Some(value(number)), "{number}");
        }
        let told = stores.ctl("status");
        let met = told.status.success() && told.out.contains("at offset");
        met.then_some(told.out)
    });
    assert!(told.contains("db2 is damaged: others lead the groups of which"), "{told}");
    assert!(told.contains("db2/data/keyspaces/1/tables/"), "{told}");
    assert!(told.ends_with("larder ctl store replace db2 --by NEW\n"), "{told}");
    let stats = support::converse(&format!("127.0.0.1:{}", stores.client_port(2)), "stats\r\n");
    let failure = stats.lines().find(|line| line.starts_with("STAT store_failure "));
    assert!(failure.is_some_and(|line| line.contains("at offset ")), "{failure:?}");
    for node in 1..=3 {
        stores.kill(node);
    }
    let nobody = stores.ctl("status");
    assert!(!nobody.status.success());
    for node in 1..=3 {
        assert!(nobody.err.contains(&stores.peer(node)), "{nobody:?}");
    }
}
