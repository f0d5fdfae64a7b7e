//! `larder ctl store backup`: all items of a cluster, as they were at one moment, in a directory.

use std::path::{Path, PathBuf};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use larder_store::{Admin, Cut};

use super::archive::{self, Entry, Manifest, Writer};
use super::progress::Progress;
use super::{now, on_a_thread, say};
use crate::failure::Failure;

/// Takes a backup.
pub(super) async fn take(admin: &Admin, directory: &Path) -> Result<(), Failure> {
    // Before any write waits for it.
    archive::refuse_used(directory)?;
    let taken = now();
    let cut = admin.cut().await?;
    let path = directory.to_owned();
    on_a_thread(move || archive::make(&path)).await?;
    let progress = Progress::new("backed up", None);
    let groups: Vec<_> = cut.groups().collect();
    let entries = stream::iter(groups).map(|group| one(&cut, group, directory, &progress));
    let entries = entries.buffered(AT_ONCE).try_collect::<Vec<_>>().await;
    let groups = entries.map_err(|failure| {
        failure.within(&format!("{} is no whole backup, remove it", directory.display()))
    })?;
    let manifest = Manifest {
        cluster: cut.cluster().escape_default().to_string(),
        cluster_id: cut.cluster_id(),
        backup: cut.id(),
        taken: taken.into(),
        groups,
    };
    cut.end().await;
    progress.end();
    let done = format!(
        "done: {} items in {} groups, {} bytes in {}\n",
        manifest.items(),
        manifest.groups.len(),
        manifest.bytes(),
        directory.display()
    );
    let path = directory.to_owned();
    on_a_thread(move || archive::finish(&path, &manifest)).await?;
    say(&done);
    Ok(())
}

/// Writes what a group has.
async fn one(
    cut: &Cut,
    group: u64,
    directory: &Path,
    progress: &Progress,
) -> Result<Entry, Failure> {
    let path: PathBuf = directory.join(archive::name(group));
    let (cluster_id, backup) = (cut.cluster_id(), cut.id());
    let create = move || Writer::create(&path, cluster_id, backup, group);
    let mut writer = on_a_thread(create).await?;
    for number in 0.. {
        let part = cut.part(group, number).await.map_err(Failure::system)?;
        let len = part.items.len() as u64;
        if !part.items.is_empty() {
            let (back, count) = on_a_thread(move || {
                let count = writer.block(&part.items)?;
                Ok((writer, count))
            })
            .await?;
            writer = back;
            progress.add(count.into(), len);
        }
        if part.is_last {
            break;
        }
    }
    on_a_thread(move || writer.finish()).await
}

/// Groups that are read at once: while one waits for a disk, another is on its way.
const AT_ONCE: usize = 4;
