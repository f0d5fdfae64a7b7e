//! `larder ctl store verify` and `restore`: whether a backup is whole, and its items in a cluster.

use std::path::Path;

use larder_store::Admin;

use super::archive::{Archive, Entry};
use super::progress::Progress;
use super::sender::Sender;
use super::{now, on_a_thread, read_items, say, text};
use crate::failure::Failure;

/// Reads all of a backup.
pub(super) fn verify(directory: &Path) -> Result<Archive, Failure> {
    let archive = Archive::open(directory)?;
    let progress = Progress::new("verified", Some(archive.manifest.items()));
    for entry in &archive.manifest.groups {
        let mut reader = archive.read(entry)?;
        while let Some((items, count)) = reader.block()? {
            progress.add(count.into(), items.len() as u64);
        }
    }
    progress.end();
    Ok(archive)
}

/// Says what a backup is that is whole.
pub(super) fn describe(archive: &Archive) -> String {
    let manifest = &archive.manifest;
    format!(
        "whole: cluster {}, backup {:016x} of {} seconds since 1970, {} items in {} groups, {} bytes\n",
        manifest.cluster,
        manifest.backup,
        manifest.taken,
        manifest.items(),
        manifest.groups.len(),
        manifest.bytes()
    )
}

/// Puts the items of a backup into a cluster, over those of the same keys if it has some and is to be
/// `merged` with.
pub(super) async fn restore(admin: &Admin, directory: &Path, merge: bool) -> Result<(), Failure> {
    let path = directory.to_owned();
    let archive = on_a_thread(move || verify(&path)).await?;
    if !merge && !is_empty(admin).await? {
        return Err(Failure::usage(
            "the cluster has items: restore to one that has none, or say --merge to put those of the \
             backup over what it has, which is also how to go on after a restore that did not end",
        ));
    }
    let progress = Progress::new("restored", Some(archive.manifest.items()));
    let mut sender = Sender::new(super::clients(admin).await?, progress.clone());
    let mut expired = 0;
    for entry in &archive.manifest.groups {
        expired += restore_group(&archive, entry, &mut sender).await?;
    }
    sender.finish().await?;
    progress.end();
    let restored = progress.items();
    say(&format!("done: {restored} items restored, {expired} had expired\n"));
    Ok(())
}

/// Gives how many had expired.
async fn restore_group(
    archive: &Archive,
    entry: &Entry,
    sender: &mut Sender,
) -> Result<u64, Failure> {
    let mut reader = archive.read(entry)?;
    let mut expired = 0;
    loop {
        let (back, block) = on_a_thread(move || {
            let block = reader.block()?;
            Ok((reader, block))
        })
        .await?;
        reader = back;
        let Some((items, _)) = block else { return Ok(expired) };
        for item in read_items(&items) {
            let item = item?;
            if item.expired(now()) {
                expired += 1;
            } else {
                sender.send(text::command(&item)?).await?;
            }
        }
    }
}

/// Whether a cluster has nothing that is not gone.
async fn is_empty(admin: &Admin) -> Result<bool, Failure> {
    let cut = admin.cut().await?;
    let mut found = false;
    'groups: for group in cut.groups() {
        for number in 0.. {
            let part = cut.part(group, number).await.map_err(Failure::system)?;
            for item in read_items(&part.items) {
                if !item?.expired(now()) {
                    found = true;
                    break 'groups;
                }
            }
            if part.is_last {
                break;
            }
        }
    }
    cut.end().await;
    Ok(!found)
}
