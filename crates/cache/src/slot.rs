//! One item in memory.

use bytes::Bytes;
use larder_protocol::{Header, NewValue, Value};

/// An item: its header, and its key and value in one allocation, or two if the value is large.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) header: Header,
    /// Used, or new, since the clock hand last passed.
    pub(crate) used: bool,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// The key, then the value.
    Small { key_len: u8, bytes: Box<[u8]> },
    /// A value that is worth sharing instead of copying; boxed, so that the small ones' slots stay
    /// small.
    Large(Box<Large>),
}

#[derive(Debug)]
struct Large {
    key: Box<[u8]>,
    value: Bytes,
}

impl Slot {
    /// A new item.
    pub(crate) fn new(key: &[u8], header: Header, value: &NewValue<'_>) -> Self {
        let (first, second) = value.parts(&[]);
        Self { header, used: true, body: Body::new(key, first, second) }
    }

    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        self.body.key()
    }

    /// The parts a fetch looks at and the parts it may change.
    #[inline]
    pub(crate) fn open(&mut self) -> (&mut Header, &mut bool, Value<'_>) {
        (&mut self.header, &mut self.used, self.body.value())
    }

    /// Replaces header and value, in place if the value keeps its length.
    pub(crate) fn put(&mut self, header: Header, value: &NewValue<'_>) {
        self.header = header;
        let grown = match value {
            NewValue::Append(_) | NewValue::Prepend(_) => {
                let old = self.body.value();
                let (first, second) = value.parts(old.as_slice());
                Body::new(self.body.key(), first, second)
            }
            NewValue::Whole(_) | NewValue::Decimal(_) => {
                let (first, second) = value.parts(&[]);
                if self.body.overwrite(first, second) {
                    return;
                }
                Body::new(self.body.key(), first, second)
            }
        };
        self.body = grown;
    }

    /// The bytes of key and value.
    #[inline]
    pub(crate) fn payload(&self) -> usize {
        match &self.body {
            Body::Small { bytes, .. } => bytes.len(),
            Body::Large(large) => large.key.len() + large.value.len(),
        }
    }
}

impl Body {
    fn new(key: &[u8], first: &[u8], second: &[u8]) -> Self {
        let len = first.len() + second.len();
        let join = |room: usize, parts: [&[u8]; 3]| {
            let mut bytes = Vec::with_capacity(room);
            for part in parts {
                bytes.extend_from_slice(part);
            }
            bytes
        };
        if len >= LARGE_BYTES {
            let value = join(len, [&[], first, second]).into();
            return Self::Large(Box::new(Large { key: key.into(), value }));
        }
        // The protocol's keys are 250 bytes at most.
        let key_len = u8::try_from(key.len()).unwrap_or(u8::MAX);
        let bytes = join(key.len() + len, [key, first, second]).into_boxed_slice();
        Self::Small { key_len, bytes }
    }

    #[inline]
    fn key(&self) -> &[u8] {
        match self {
            Self::Small { key_len, bytes } => {
                bytes.get(..usize::from(*key_len)).unwrap_or_default()
            }
            Self::Large(large) => &large.key,
        }
    }

    #[inline]
    fn value(&self) -> Value<'_> {
        match self {
            Self::Small { key_len, bytes } => {
                Value::Slice(bytes.get(usize::from(*key_len)..).unwrap_or_default())
            }
            Self::Large(large) => Value::Shared(large.value.clone()),
        }
    }

    /// Writes over a small value of the same length. A large one may be on its way to a client.
    fn overwrite(&mut self, first: &[u8], second: &[u8]) -> bool {
        let Self::Small { key_len, bytes } = self else { return false };
        let Some(room) = bytes.get_mut(usize::from(*key_len)..) else { return false };
        if room.len() != first.len() + second.len() {
            return false;
        }
        let (front, back) = room.split_at_mut(first.len());
        front.copy_from_slice(first);
        back.copy_from_slice(second);
        true
    }
}

/// A value of this many bytes or more is handed out shared: beyond two memory pages, copying it
/// under the lock costs more than counting references.
const LARGE_BYTES: usize = 8 << 10;

/// What key and value cost of the limit, in bytes: their allocation as a malloc rounds it. The slot
/// is part of the table, which is counted as a whole.
#[inline]
pub(crate) fn cost(payload: usize) -> u64 {
    (payload + 8).next_multiple_of(16).max(32) as u64
}
