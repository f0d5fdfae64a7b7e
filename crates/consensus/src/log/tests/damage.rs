//! What a log does when it finds less than it had.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;

use super::*;

/// The files of the append queue, oldest first.
fn files(path: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(path.join("data")).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|ext| ext == "raftlog")).collect();
    files.sort();
    files
}

/// Group 1 has entries up to 99, of these the last in a write of its own; group 2 a vote.
async fn filled(path: &Path) {
    let log = open(path);
    log.group(2).unwrap().save_vote(&Vote::new(5, 2)).await.unwrap();
    let mut group = log.group(1).unwrap();
    append(&mut group, entries(1, 0..99)).await.unwrap();
    append(&mut group, entries(1, 99..100)).await.unwrap();
    log.close();
}

fn refused(path: &Path) -> String {
    // However often: opening again must not make it good.
    let first = Log::open(path, small()).unwrap_err().to_string();
    assert_eq!(Log::open(path, small()).unwrap_err().to_string(), first);
    first
}

#[tokio::test]
async fn a_lost_tail_that_was_durable_is_refused() {
    for cut in [1, 30, 4000] {
        let place = tempfile::tempdir().unwrap();
        filled(place.path()).await;
        let file = OpenOptions::new().write(true).open(&files(place.path())[0]).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length - cut).unwrap();
        let error = refused(place.path());
        let (found, group) = match cut {
            // With its first write the group is lost.
            4000 => (1, "; group 2 has no entries;"),
            _ => (2, "; group 1 ends at index 98; group 2 has no entries;"),
        };
        let wanted = format!("it ends at write {found}, but write 3 was on disk{group}");
        assert!(error.contains(&wanted), "{error}");
        assert!(error.contains(&*place.path().to_string_lossy()), "{error}");
    }
}

#[tokio::test]
async fn a_tail_of_zeros_is_refused() {
    let place = tempfile::tempdir().unwrap();
    filled(place.path()).await;
    let path = &files(place.path())[0];
    let mut bytes = fs::read(path).unwrap();
    let length = bytes.len();
    bytes[length - 30..].fill(0);
    fs::write(path, bytes).unwrap();
    assert!(refused(place.path()).contains("it ends at write 2, but write 3"));
}

#[tokio::test]
async fn a_lost_vote_is_refused() {
    let place = tempfile::tempdir().unwrap();
    filled(place.path()).await;
    let log = open(place.path());
    log.group(2).unwrap().save_vote(&Vote::new(6, 2)).await.unwrap();
    log.close();
    let file = OpenOptions::new().write(true).open(&files(place.path())[0]).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    assert!(refused(place.path()).contains("it ends at write 4, but write 5"));
}

#[tokio::test]
async fn lost_files_are_refused() {
    let place = tempfile::tempdir().unwrap();
    filled(place.path()).await;
    fs::remove_file(&files(place.path())[0]).unwrap();
    assert!(refused(place.path()).contains("it ends at write 0, but write 3"));
    fs::remove_dir_all(place.path().join("data")).unwrap();
    assert!(refused(place.path()).contains("it ends at write 0, but write 3"));
    assert!(!place.path().join("data").exists());
}

#[tokio::test]
async fn a_lost_beginning_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    let mut group = log.group(1).unwrap();
    for index in 0..60 {
        append(&mut group, vec![large(1, index, 1000)]).await.unwrap();
    }
    log.close();
    let files = files(place.path());
    assert!(files.len() > 3);
    fs::remove_file(&files[1]).unwrap();
    let error = open(place.path()).group(1).unwrap_err().to_string();
    assert!(error.contains("group 1: it does not say where its entries"), "{error}");
}

#[tokio::test]
async fn what_does_not_say_what_it_is_is_refused() {
    let place = tempfile::tempdir().unwrap();
    filled(place.path()).await;
    fs::remove_file(place.path().join("LARDER")).unwrap();
    assert!(matches!(Log::open(place.path(), small()), Err(Error::NotALog { .. })));
}
