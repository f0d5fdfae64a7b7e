//! Logs of which one byte is not what was written, in each kind of file.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use raft_engine::env::DefaultFileSystem;

use super::*;
use crate::log::keeper::Keeper;

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What a group has: its vote, where it begins, its entries.
type Has = (Option<Vote>, Option<LogId>, Option<Vec<Entry>>);

fn files(path: &Path) -> Files {
    let list = |path: &Path| fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    let files = list(path).chain(list(&path.join("data"))).filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn put_back(path: &Path, whole: &Files) {
    for name in files(path).keys().filter(|name| !whole.contains_key(*name)) {
        fs::remove_file(name).unwrap();
    }
    for (name, bytes) in whole {
        fs::write(name, bytes).unwrap();
    }
}

/// Groups with votes and entries, old ones of them copied, so that there are files of both sequences.
async fn filled(path: &Path) {
    let log = Log::open_with(path, small(), DefaultFileSystem).unwrap();
    let mut keeper = Keeper::new(&log.shared).unwrap();
    for group in 2..=5 {
        let mut log = log.group(group).unwrap();
        log.save_vote(&Vote::new(group, 7)).await.unwrap();
        append(&mut log, entries(1, 0..3)).await.unwrap();
    }
    let mut group = log.group(1).unwrap();
    group.save_vote(&Vote::new(4, 7)).await.unwrap();
    for round in 0..12 {
        for index in 0..10 {
            append(&mut group, vec![large(1, round * 10 + index, 1000)]).await.unwrap();
        }
        if round > 2 {
            group.purge(id(1, round * 10 - 20)).await.unwrap();
        }
        keeper.purge();
    }
    // Behind what nobody waited for.
    group.save_vote(&Vote::new(5, 7)).await.unwrap();
    keeper.note();
    drop(keeper);
    log.close();
}

async fn has(path: &Path) -> Result<Vec<Has>, String> {
    let log =
        Log::open_with(path, small(), DefaultFileSystem).map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    for group in 1..=5 {
        let mut log = log.group(group).map_err(|error| error.to_string())?;
        let vote = log.read_vote().await.unwrap();
        let (purged, _) = ends(&mut log).await;
        all.push((vote, purged, log.try_get_log_entries(..).await.ok()));
    }
    log.close();
    Ok(all)
}

#[tokio::test]
async fn a_damaged_byte_in_any_file_is_refused_or_not_read_and_never_a_loss() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    filled(path).await;
    let whole = files(path);
    let wanted = has(path).await.unwrap();
    assert!(wanted.iter().all(|(vote, _, entries)| vote.is_some() && entries.is_some()));
    let mut refused = 0;
    for (name, bytes) in &whole {
        for at in (0..bytes.len()).step_by((bytes.len() / PLACES).max(1)) {
            put_back(path, &whole);
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            fs::write(name, &damaged).unwrap();
            let (case, before) = (format!("{} at {at}", name.display()), files(path));
            match has(path).await {
                Ok(found) => {
                    for (found, wanted) in found.iter().zip(&wanted) {
                        assert_eq!((found.0, found.1), (wanted.0, wanted.1), "{case}");
                        assert!(found.2.is_none() || found.2 == wanted.2, "{case}");
                    }
                }
                Err(why) => {
                    refused += 1;
                    assert!(why.contains(path.to_str().unwrap()), "{case}: {why}");
                    assert!(why.contains("keep a copy as it is"), "{case}: {why}");
                    assert_eq!(has(path).await, Err(why), "{case}");
                    let changed = changed(&before, &files(path));
                    assert!(changed.is_empty(), "{case}: {changed:?}");
                }
            }
        }
    }
    // There would be nothing to see otherwise.
    assert!(refused > 50, "{refused}");
}

/// What is not there any more as it was: a log that was opened before a group was refused goes on
/// behind its end, and notes so.
fn changed(before: &Files, after: &Files) -> Vec<PathBuf> {
    let is_changed = |(name, bytes): &(&PathBuf, &Vec<u8>)| {
        !name.ends_with("LARDER") && !after[*name].starts_with(bytes)
    };
    before.iter().filter(is_changed).map(|(name, _)| name.clone()).collect()
}

const PLACES: usize = 25;
