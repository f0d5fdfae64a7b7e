//! Power cuts: whatever the disk had not synced may be there, or not, or in part.

use std::fs;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::obstinate::{Faults, Obstinate};
use super::*;
use crate::log::keeper::Keeper;

/// What a group's log should be after each thing that was done with it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
    entries: Vec<Entry>,
}

/// One group, what it should be after each step, and the last step that was acknowledged.
struct Subject {
    log: GroupLog,
    steps: Vec<Model>,
    acknowledged: usize,
    term: u64,
}

impl Subject {
    /// Does one thing, and says what to wait for.
    async fn step(&mut self, random: &mut StdRng) -> Option<Written> {
        let mut model = self.steps.last().unwrap().clone();
        let next = model.last.map_or(0, |id| id.index + 1);
        let mut written = None;
        match random.random_range(0..20) {
            0 | 1 => {
                self.term += 1;
                let vote = Vote::new(self.term, random.random_range(0..3));
                self.log.save_vote(&vote).await.unwrap();
                model.vote = Some(vote);
            }
            2 if !model.entries.is_empty() => {
                let keep = random.random_range(0..model.entries.len());
                model.entries.truncate(keep);
                model.last = model.entries.last().map(|entry| entry.log_id).or(model.purged);
                self.log.truncate_after(model.last).await.unwrap();
                self.term += 1;
            }
            3 if model.last.is_some() => {
                // Seldom beyond the end, as a snapshot is.
                let upto = match random.random_range(0..=model.entries.len()) {
                    0 => id(self.term, next + 10),
                    count => model.entries[count - 1].log_id,
                };
                model.entries.retain(|entry| entry.log_id.index > upto.index);
                model.purged = Some(upto);
                model.last = model.entries.last().map_or(model.purged, |last| Some(last.log_id));
                self.log.purge(upto).await.unwrap();
            }
            _ => {
                let term = self.term.max(1);
                let count = random.random_range(1..4);
                let bytes = random.random_range(0..1500);
                let new: Vec<_> =
                    (next..next + count).map(|index| large(term, index, bytes)).collect();
                model.entries.extend(new.clone());
                model.last = new.last().map(|entry| entry.log_id);
                written = Some(begin(&mut self.log, new).await.unwrap());
            }
        }
        self.steps.push(model);
        written
    }

    async fn found(&mut self) -> Model {
        let (purged, last) = ends(&mut self.log).await;
        let vote = self.log.read_vote().await.unwrap();
        Model { vote, purged, last, entries: all(&mut self.log).await }
    }
}

/// Whether files were used again in it.
async fn round(seed: u64) -> bool {
    let mut random = StdRng::seed_from_u64(seed);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("before");
    let faults = Faults::new(seed);
    let options = if seed.is_multiple_of(2) { small() } else { alone() };
    let log = Log::open_with(&path, options.clone(), Obstinate(Arc::clone(&faults))).unwrap();
    let mut keeper = Keeper::new(&log.shared).unwrap();
    let subject = |group| Subject {
        log: log.group(group).unwrap(),
        steps: vec![Model::default()],
        acknowledged: 0,
        term: 0,
    };
    let mut subjects: Vec<_> = (0..3).map(subject).collect();
    let mut waiting: Vec<(usize, usize, Written)> = Vec::new();
    faults.cut_after(random.random_range(0..400));
    for _ in 0..random.random_range(1..150) {
        let group = random.random_range(0..3);
        let subject = &mut subjects[group];
        let written = subject.step(&mut random).await;
        let step = subject.steps.len() - 1;
        match written {
            Some(written) => waiting.push((group, step, written)),
            // It was waited for, but for a purge.
            None if subject.steps[step].purged != subject.steps[step - 1].purged => {}
            None if !faults.is_cut() => subject.acknowledged = step,
            None => {}
        }
        if random.random_bool(0.3) {
            for (group, step, written) in waiting.drain(..) {
                written.await.unwrap().unwrap();
                // What was acknowledged before the cut; after it nothing was promised.
                if !faults.is_cut() {
                    subjects[group].acknowledged = subjects[group].acknowledged.max(step);
                }
            }
        }
        if random.random_bool(0.1) {
            keeper.purge();
        }
        if random.random_bool(0.1) {
            keeper.note();
        }
        if faults.is_cut() {
            break;
        }
    }
    let after = place.path().join("after");
    fs::create_dir_all(after.join("data")).unwrap();
    for (name, bytes) in faults.image(&path.join("data")) {
        fs::write(after.join(name), bytes).unwrap();
    }
    drop(keeper);
    log.close();

    let mut wanted: Vec<Option<Model>> = vec![None; 3];
    for _ in 0..3 {
        let log = Log::open(&after, options.clone());
        let log = log.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        for (group, subject) in subjects.iter_mut().enumerate() {
            subject.log =
                log.group(group as u64).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let mut found = subject.found().await;
            match &wanted[group] {
                Some(wanted) => assert_eq!(found, *wanted, "seed {seed}, group {group}"),
                None => assert!(
                    subject.steps[subject.acknowledged..].contains(&found),
                    "seed {seed}, group {group}: {found:?} is none of {:?}",
                    &subject.steps[subject.acknowledged..]
                ),
            }
            // And it goes on from there.
            let next = found.last.map_or(0, |id| id.index + 1);
            append(&mut subject.log, entries(90, next..next + 2)).await.unwrap();
            found.entries.extend(entries(90, next..next + 2));
            found.last = Some(id(90, next + 1));
            wanted[group] = Some(found);
        }
        log.close();
    }
    faults.has_renamed()
}

#[test]
fn what_was_acknowledged_is_there_after_a_power_cut() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let used_again = (0..ROUNDS).filter(|seed| runtime.block_on(round(*seed))).count();
    assert!(used_again > 50, "{used_again} rounds");
}

const ROUNDS: u64 = 400;
