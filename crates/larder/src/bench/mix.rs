//! Which command a client sends next.

use std::fmt;
use std::num::NonZero;
use std::str::FromStr;

/// Sets to gets; not both zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ratio {
    sets: u32,
    gets: u32,
}

/// One request to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Set,
    /// A get of so many keys.
    Get(NonZero<u32>),
}

/// A client's position in the ratio: all sets of a round, then all its gets.
#[derive(Debug, Clone)]
pub(super) struct Mix {
    ratio: Ratio,
    /// Keys asked for by one get, at most.
    keys_per_get: NonZero<u32>,
    /// Sets, then keys of gets, still to send in this round.
    sets_left: u32,
    gets_left: u32,
}

impl Mix {
    pub(super) fn new(ratio: Ratio, keys_per_get: NonZero<u32>) -> Self {
        Self { ratio, keys_per_get, sets_left: ratio.sets, gets_left: ratio.gets }
    }

    pub(super) fn step(&mut self) -> Step {
        if self.sets_left == 0 && self.gets_left == 0 {
            self.sets_left = self.ratio.sets;
            self.gets_left = self.ratio.gets;
        }
        if self.sets_left > 0 {
            self.sets_left -= 1;
            return Step::Set;
        }
        // A round's last get asks for what is left of its share, so the ratio counts keys.
        let keys = NonZero::new(self.gets_left)
            .map_or(NonZero::<u32>::MIN, |left| left.min(self.keys_per_get));
        self.gets_left = self.gets_left.saturating_sub(keys.get());
        Step::Get(keys)
    }
}

impl FromStr for Ratio {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text
            .split_once(':')
            .and_then(|(sets, gets)| Some((sets.parse().ok()?, gets.parse().ok()?)));
        match numbers {
            Some((0, 0)) => Err("0:0 would send nothing".to_owned()),
            Some((sets, gets)) => Ok(Self { sets, gets }),
            None => Err("a ratio is two numbers, sets to gets, like 1:10".to_owned()),
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sets, self.gets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands of `steps` requests: s for a set, a digit for a get of so many keys.
    fn sequence(ratio: &str, keys_per_get: u32, steps: usize) -> String {
        let mut mix = Mix::new(ratio.parse().unwrap(), NonZero::new(keys_per_get).unwrap());
        (0..steps)
            .map(|_| match mix.step() {
                Step::Set => "s".to_owned(),
                Step::Get(keys) => keys.to_string(),
            })
            .collect()
    }

    #[test]
    fn sets_come_first_and_rounds_repeat() {
        assert_eq!(sequence("1:3", 1, 9), "s111s111s");
        assert_eq!(sequence("2:1", 1, 7), "ss1ss1s");
        assert_eq!(sequence("1:0", 1, 3), "sss");
        assert_eq!(sequence("0:1", 1, 3), "111");
    }

    #[test]
    fn a_rounds_last_get_asks_for_the_rest() {
        assert_eq!(sequence("1:10", 4, 8), "s442s442");
        assert_eq!(sequence("0:3", 8, 2), "33");
    }
}
