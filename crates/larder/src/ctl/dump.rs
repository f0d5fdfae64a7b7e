//! `larder ctl store dump`: all items of a cluster, as they were at one moment, as meta commands.
//!
//! A dump is what `text` has of each item, and `mn` at the end: without that it is part of one. So any
//! memcached takes it, and answers `MN` when it has all of it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use larder_protocol::encode::noop;
use larder_store::Admin;

use super::progress::Progress;
use super::steady::Steady;
use super::{now, on_a_thread, read_items, text};
use crate::failure::Failure;

/// Where a dump goes.
enum Output {
    Standard(io::Stdout),
    /// A file, under another name until it is whole.
    File {
        file: Steady,
        new: PathBuf,
        path: PathBuf,
    },
}

/// Writes a dump to a file that is not there yet, or to standard output if its name is `-`.
pub(super) async fn dump(admin: &Admin, path: &Path) -> Result<(), Failure> {
    let mut output = Output::open(path)?;
    let cut = admin.cut().await?;
    let progress = Progress::new("dumped", None);
    for group in cut.groups() {
        for number in 0.. {
            let part = cut.part(group, number).await.map_err(Failure::system)?;
            let (commands, count) = commands(&part.items)?;
            progress.add(count, commands.len() as u64);
            output = on_a_thread(move || output.write(&commands)).await?;
            if part.is_last {
                break;
            }
        }
    }
    cut.end().await;
    on_a_thread(move || output.finish()).await?;
    progress.end();
    Ok(())
}

/// What makes these items, and how many they are that are not gone.
fn commands(items: &[u8]) -> Result<(Vec<u8>, u64), Failure> {
    let (mut commands, mut count) = (Vec::with_capacity(items.len()), 0);
    for item in read_items(items) {
        let item = item?;
        if !item.expired(now()) {
            count += 1;
            text::write(&mut commands, &item)?;
        }
    }
    Ok((commands, count))
}

impl Output {
    fn open(path: &Path) -> Result<Self, Failure> {
        if path.as_os_str() == "-" {
            return Ok(Self::Standard(io::stdout()));
        }
        let path = path.to_owned();
        if path.exists() {
            return Err(Failure::usage(format!("{} is there already", path.display())));
        }
        let mut new = path.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        let file = Steady::new(File::create(&new).map_err(|error| failed(&new, &error))?);
        Ok(Self::File { file, new, path })
    }

    fn write(mut self, bytes: &[u8]) -> Result<Self, Failure> {
        match &mut self {
            Self::Standard(stdout) => {
                stdout.write_all(bytes).map_err(|error| failed(Path::new("-"), &error))?;
            }
            Self::File { file, new, .. } => {
                file.write_all(bytes).map_err(|error| failed(new, &error))?;
            }
        }
        Ok(self)
    }

    fn finish(self) -> Result<(), Failure> {
        let mut end = Vec::new();
        noop(&mut end);
        match self.write(&end)? {
            Self::Standard(mut stdout) => {
                stdout.flush().map_err(|error| failed(Path::new("-"), &error))
            }
            Self::File { file, new, path } => {
                file.finish().map_err(|error| failed(&new, &error))?;
                fs::rename(&new, &path).map_err(|error| failed(&path, &error))
            }
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::system(format!("cannot write {}: {error}", path.display()))
}
