//! Whether an answer can be, by what is known of its key, and what is known from then on.

use larder_protocol::{Arithmetic, Delete, Exptime, Fetch, Mode, Store};

use super::answer::{Answer, Told};
use super::command::Command;
use super::item::{Item, Presence};
use super::ledger::Entry;
use super::moment::{Expiry, Moment};
use super::value::Value;
use crate::filler::Filler;

/// An answer, judged by what is known of its key. Errors say what is wrong.
pub(super) struct Judge<'a> {
    pub(super) entry: &'a mut Entry,
    pub(super) moment: &'a Moment,
    pub(super) filler: &'a Filler,
    pub(super) scratch: &'a mut Vec<u8>,
    pub(super) lost: &'a mut u64,
}

/// What is wrong, in words.
pub(super) type Judged = Result<(), String>;

impl Judge<'_> {
    pub(super) fn fetch(&mut self, op: &Fetch, command: &Command, answer: &Answer<'_>) -> Judged {
        let told = match answer {
            Answer::Done(told) => told,
            Answer::NotFound | Answer::Silence => {
                self.absent();
                return Ok(());
            }
            Answer::NoMemory => return Ok(()),
            _ => return wrong(),
        };
        if let Some(ttl) = op.vivify.filter(|_| told.won && !told.stale) {
            self.absent();
            self.store_new(Value::Text([].into()), 0, ttl);
            self.update(|item| item.won = true);
            return self.compare(told);
        }
        self.present()?;
        self.compare(told)?;
        let Some(item) = &mut self.entry.item else { return wrong() };
        if command.is_meta() {
            let wins = op.may_win && item.stale && !item.won;
            if (told.stale, told.already_won, told.won) != (item.stale, item.won, wins) {
                return Err("its marks X, Z and W are not those of the item".to_owned());
            }
            item.won |= wins;
        }
        self.expire(op.ttl);
        self.compare_ttl(told)
    }

    pub(super) fn store(&mut self, op: &Store<'_>, value: &Value, answer: &Answer<'_>) -> Judged {
        let joins = matches!(op.mode, Mode::Append | Mode::Prepend);
        match (answer, op.mode, op.compare) {
            (Answer::TooLarge | Answer::NoMemory, Mode::Set, None) => self.entry.item = None,
            (Answer::NoMemory, ..) => {}
            (Answer::Done(_) | Answer::Silence, Mode::Set, None) => {
                self.store_new(value.clone(), op.client_flags, op.exptime);
            }
            (Answer::Done(_), Mode::Add, _) => {
                self.absent();
                self.store_new(value.clone(), op.client_flags, op.exptime);
            }
            (Answer::Done(_), _, compare) => {
                self.present()?;
                self.compared(compare, true)?;
                if joins {
                    self.join(op.mode, value)?;
                } else {
                    self.store_new(value.clone(), op.client_flags, op.exptime);
                }
            }
            (Answer::NotStored, Mode::Add, _) => self.present()?,
            (Answer::NotStored, Mode::Replace | Mode::Append | Mode::Prepend, None)
            | (Answer::NotFound, _, Some(_)) => self.absent(),
            (Answer::Exists, _, Some(_)) => {
                self.present()?;
                self.compared(op.compare, false)?;
            }
            _ => return wrong(),
        }
        if let Answer::Done(told) = answer { self.compare(told) } else { Ok(()) }
    }

    pub(super) fn delete(&mut self, op: &Delete, answer: &Answer<'_>) -> Judged {
        match answer {
            Answer::Done(_) => {
                self.present()?;
                self.compared(op.compare, true)?;
            }
            Answer::Silence => {}
            Answer::NotFound => {
                self.absent();
                return Ok(());
            }
            Answer::Exists => {
                self.present()?;
                return self.compared(op.compare, false);
            }
            _ => return wrong(),
        }
        if op.invalidate {
            self.update(|item| (item.stale, item.won, item.cas) = (true, false, None));
            self.expire(op.ttl);
        } else {
            self.entry.item = None;
        }
        Ok(())
    }

    pub(super) fn count(&mut self, op: &Arithmetic, answer: &Answer<'_>) -> Judged {
        let told = match answer {
            Answer::Done(told) => told,
            Answer::NotFound => {
                self.absent();
                return Ok(());
            }
            Answer::NotANumber => {
                self.present()?;
                let is_number = self.entry.item.as_ref().is_some_and(Item::is_number);
                return if is_number { wrong() } else { Ok(()) };
            }
            Answer::NoMemory => return Ok(()),
            _ => return wrong(),
        };
        let next = self.entry.item.as_ref().and_then(|item| item.counted(op));
        match op.vivify {
            Some(ttl) if told.number == Some(op.initial) && next != told.number => {
                self.absent();
                self.store_new(Value::number(op.initial), 0, ttl);
            }
            _ => {
                self.present()?;
                let (Some(next), Some(item)) = (next, &mut self.entry.item) else {
                    return Err("it counts what is no number".to_owned());
                };
                if told.number.is_some_and(|number| number != next) {
                    return Err(format!("it is no {next}"));
                }
                let width = next.to_string().len();
                if width > item.value.len() {
                    (item.stale, item.won) = (false, false);
                }
                item.value = Value::Number { number: next, width: width.max(item.value.len()) };
                item.cas = None;
                item.stored = *self.moment;
                self.expire(op.ttl);
            }
        }
        self.compare(told)?;
        self.compare_ttl(told)
    }

    /// The item was there.
    fn present(&mut self) -> Judged {
        match &self.entry.item {
            None => Err("there was no item: it was never set, or deleted, or seen gone".to_owned()),
            Some(item) if item.is_flushed(self.moment) => Err("it was flushed".to_owned()),
            Some(item) if item.presence(self.moment) == Presence::Never => {
                Err("it was expired".to_owned())
            }
            Some(_) => Ok(()),
        }
    }

    /// There was no item: there is always a reason, if need be that it was evicted.
    fn absent(&mut self) {
        let gone = self.entry.item.take();
        let surely = gone.is_some_and(|item| item.presence(self.moment) == Presence::Surely);
        *self.lost += u64::from(surely);
    }

    /// Whether a cas unique matched is what it should be.
    fn compared(&self, given: Option<u64>, matched: bool) -> Judged {
        let (Some(given), Some(item)) = (given, &self.entry.item) else { return Ok(()) };
        match (item.cas == Some(given), matched) {
            (true, false) => Err("the cas unique is that of the item".to_owned()),
            (false, true) => Err("the cas unique is an older one".to_owned()),
            _ => Ok(()),
        }
    }

    /// Compares what was told with the item.
    fn compare(&mut self, told: &Told<'_>) -> Judged {
        let Some(item) = &mut self.entry.item else { return Ok(()) };
        if let Some(cas) = told.cas {
            match item.cas {
                Some(known) if known != cas => {
                    return Err(format!("the cas unique was {known}, and nothing has changed"));
                }
                None if cas <= self.entry.last_cas => {
                    return Err(format!("the cas unique is not above {}", self.entry.last_cas));
                }
                _ => (item.cas, self.entry.last_cas) = (Some(cas), cas),
            }
        }
        if told.client_flags.is_some_and(|flags| flags != item.client_flags) {
            return Err("its client flags are others".to_owned());
        }
        if told.len.is_some_and(|len| len != item.value.len() as u64) {
            return Err(format!("its length is {}", item.value.len()));
        }
        let Some(value) = told.value else { return Ok(()) };
        self.scratch.clear();
        item.value.put(self.filler, self.scratch);
        if value != self.scratch {
            let equal = value.iter().zip(&*self.scratch).take_while(|(a, b)| a == b).count();
            return Err(format!(
                "its value is another: {} bytes and not {}, equal up to byte {equal}",
                value.len(),
                self.scratch.len()
            ));
        }
        Ok(())
    }

    fn compare_ttl(&self, told: &Told<'_>) -> Judged {
        match (told.left, &self.entry.item) {
            (Some(left), Some(item)) if !item.expiry.allows(left, self.moment) => {
                Err("its time to live is another".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn store_new(&mut self, value: Value, client_flags: u32, exptime: Exptime) {
        self.entry.item = Some(Item {
            value,
            client_flags,
            cas: None,
            expiry: Expiry::new(exptime.0, self.moment),
            stale: false,
            won: false,
            stored: *self.moment,
        });
    }

    /// Puts a piece behind or before the value.
    fn join(&mut self, mode: Mode, value: &Value) -> Judged {
        let moment = *self.moment;
        let (Some(item), Value::Text(added)) = (&mut self.entry.item, value) else {
            return wrong();
        };
        let Value::Text(pieces) = &mut item.value else { return wrong() };
        for piece in added {
            if mode == Mode::Append { pieces.push_back(*piece) } else { pieces.push_front(*piece) }
        }
        (item.cas, item.stale, item.won, item.stored) = (None, false, false, moment);
        Ok(())
    }

    /// The item, if there is one, has another exptime.
    fn expire(&mut self, ttl: Option<Exptime>) {
        if let Some(Exptime(exptime)) = ttl {
            let expiry = Expiry::new(exptime, self.moment);
            self.update(|item| item.expiry = expiry);
        }
    }

    fn update(&mut self, change: impl FnOnce(&mut Item)) {
        if let Some(item) = &mut self.entry.item {
            change(item);
        }
    }
}

pub(super) fn wrong() -> Judged {
    Err("that is no answer to it".to_owned())
}
