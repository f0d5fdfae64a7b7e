//! Values that say of themselves what they are: a model keeps how they were made, not their bytes.

use std::collections::VecDeque;

use crate::filler::Filler;

/// A value, by how it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// What was set, with what was appended and prepended to it.
    Text(VecDeque<Piece>),
    /// A number, and the length that it was padded to with spaces.
    Number { number: u64, width: usize },
}

/// Bytes that were sent at once: which key they are for, how many were sent for it before, and the
/// rest up to their length random. They never begin with a digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The key's number, over all connections.
    pub(super) key: u64,
    pub(super) generation: u32,
    pub(super) len: usize,
}

impl Value {
    pub(super) fn number(number: u64) -> Self {
        Self::Number { number, width: number.to_string().len() }
    }

    pub(super) fn piece(piece: Piece) -> Self {
        Self::Text(VecDeque::from([piece]))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(pieces) => pieces.iter().map(|piece| piece.len).sum(),
            Self::Number { width, .. } => *width,
        }
    }

    /// Appends its bytes to `out`.
    pub(super) fn put(&self, filler: &Filler, out: &mut Vec<u8>) {
        match self {
            Self::Text(pieces) => pieces.iter().for_each(|piece| piece.put(filler, out)),
            Self::Number { number, width } => {
                out.extend_from_slice(format!("{number:<width$}").as_bytes());
            }
        }
    }
}

impl Piece {
    fn put(&self, filler: &Filler, out: &mut Vec<u8>) {
        let head = format!("of {}.{}:", self.key, self.generation);
        let head = head.as_bytes();
        out.extend_from_slice(head.get(..self.len).unwrap_or(head));
        let number = self.key << 32 | u64::from(self.generation);
        filler.put(number, self.len.saturating_sub(head.len()), out);
    }
}
