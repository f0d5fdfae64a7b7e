//! The heaviest of any number of keys, in bounded memory.
//!
//! A count-min sketch with conservative update says how much a key has at most, and the keys that have
//! most by it are named. From then on what a named key gets is also counted by itself, which says how
//! much it has at least. `docs/decisions.md` has what this was compared with.

/// What keys have, of a stream of keys with weights.
#[derive(Debug)]
pub(crate) struct Sketch {
    /// What all keys have together.
    total: f64,
    /// [`ROWS`] rows of [`WIDTH`]. A key has a cell in each; none of them has less than the key.
    cells: Box<[f32]>,
    /// In no strict order.
    named: Vec<Named>,
    /// No named key has less than this at most, so that most others need not be looked for.
    weakest: f32,
}

/// A key that is known by name.
#[derive(Debug)]
pub(crate) struct Named {
    /// Another key with the same is as unlikely as a failure of the machine.
    hash: u64,
    key: Box<[u8]>,
    /// What it got since it is named.
    counted: f32,
    /// The sum of the squares of the weights in that.
    squares: f32,
    /// What it may have had before, at most.
    before: f32,
}

/// What a key has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Estimate {
    /// No more than this,
    pub(crate) at_most: f32,
    /// and no less than this.
    pub(crate) counted: f32,
    /// The sum of the squares of the weights in `counted`.
    pub(crate) squares: f32,
}

impl Default for Sketch {
    fn default() -> Self {
        let cells = vec![0.0; ROWS * WIDTH].into();
        Self { total: 0.0, cells, named: Vec::with_capacity(NAMED), weakest: 0.0 }
    }
}

impl Sketch {
    /// A key gets this much more.
    pub(crate) fn add(&mut self, hash: u64, key: &[u8], weight: f32) {
        self.total += f64::from(weight);
        let at_most = self.raise(hash, weight);
        if at_most < self.weakest {
            return;
        }
        let Some(at) = self.named.iter().position(|named| named.hash == hash) else {
            return self.name(Named {
                hash,
                key: key.into(),
                counted: weight,
                squares: weight * weight,
                before: at_most - weight,
            });
        };
        if let Some(named) = self.named.get_mut(at) {
            named.counted += weight;
            named.squares += weight * weight;
            named.before = named.before.min(at_most - named.counted).max(0.0);
            self.weakest = self.weakest.min(named.at_most());
        }
        // Those that come most often are found first.
        self.named.swap(at, at.saturating_sub(1));
    }

    /// Names a key, in place of the one that has least if there are enough, unless that has as much.
    fn name(&mut self, new: Named) {
        if self.named.len() < NAMED {
            self.named.push(new);
            return;
        }
        let least =
            |one: &&mut Named, other: &&mut Named| one.at_most().total_cmp(&other.at_most());
        if let Some(weakest) = self.named.iter_mut().min_by(least) {
            self.weakest = weakest.at_most();
            if self.weakest < new.at_most() {
                *weakest = new;
            }
        }
    }

    /// All is halved, so many times. What is less than nothing then is forgotten.
    pub(crate) fn halve(&mut self, times: u32) {
        let factor = 0.5_f32.powi(times.min(MOST_HALVINGS).cast_signed());
        self.total *= f64::from(factor);
        for cell in &mut self.cells {
            *cell *= factor;
            if *cell < NOTHING {
                *cell = 0.0;
            }
        }
        for named in &mut self.named {
            named.counted *= factor;
            named.squares *= factor * factor;
            named.before *= factor;
        }
        self.named.retain(|named| named.at_most() >= NOTHING);
        self.weakest = 0.0;
    }

    /// What all keys have together.
    pub(crate) fn total(&self) -> f64 {
        self.total
    }

    /// The keys that are known by name, and what each has at most.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&[u8], f32)> {
        self.named.iter().map(|named| (&*named.key, named.at_most()))
    }

    /// What a key has.
    pub(crate) fn estimate(&self, hash: u64) -> Estimate {
        match self.named.iter().find(|named| named.hash == hash) {
            Some(named) => Estimate {
                at_most: named.at_most(),
                counted: named.counted,
                squares: named.squares,
            },
            None => Estimate { at_most: self.least(hash), ..Estimate::default() },
        }
    }

    /// The least of a key's cells.
    fn least(&self, hash: u64) -> f32 {
        let cells = places(hash).filter_map(|place| self.cells.get(place));
        cells.copied().fold(f32::INFINITY, f32::min)
    }

    /// Raises a key's cells as far as it needs, which is what it has at most.
    fn raise(&mut self, hash: u64, weight: f32) -> f32 {
        let raised = self.least(hash) + weight;
        for place in places(hash) {
            if let Some(cell) = self.cells.get_mut(place) {
                *cell = cell.max(raised);
            }
        }
        raised
    }
}

impl Named {
    fn at_most(&self) -> f32 {
        self.counted + self.before
    }
}

/// A key's cells, one of each row.
fn places(hash: u64) -> impl Iterator<Item = usize> {
    (0..ROWS).map(move |row| {
        let [low, high, ..] = (hash >> (16 * row)).to_le_bytes();
        row * WIDTH + usize::from(u16::from_le_bytes([low, high])) % WIDTH
    })
}

/// Each takes sixteen bits of a hash.
const ROWS: usize = 4;
const WIDTH: usize = 1024;

/// How many keys are known by name: more than are told, so that one has been counted for a while when it
/// comes to be told.
const NAMED: usize = 48;

/// Less than this is forgotten: counts that are halved for ever would never be zero.
const NOTHING: f32 = 1.0 / 64.0;

/// So many leave nothing of any count.
const MOST_HALVINGS: u32 = 100;

/// The most memory that a sketch takes, in bytes: its cells, its names, and what an allocator may add to
/// a key of 250 bytes.
pub(crate) const MOST_MEMORY: usize =
    ROWS * WIDTH * size_of::<f32>() + NAMED * (size_of::<Named>() + 272);

#[cfg(test)]
mod tests;
