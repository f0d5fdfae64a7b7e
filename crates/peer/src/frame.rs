//! The unit that nodes exchange.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use constant_time_eq::constant_time_eq_n;

use crate::failure::Failure;
use crate::seal::{Seal, TAG};

/// The length of what comes before the body, in bytes.
pub(crate) const HEADER: usize = 13;

/// How much longer a frame's length is than its body's.
const AROUND: usize = HEADER - 4 + TAG;

/// A body at least this long, in bytes, is not copied between its frame and the handler or caller. A
/// shorter one is, so that it does not keep the whole of what was read with it in memory.
pub(crate) const SHARED_FROM: usize = 16 << 10;

/// A call, or the answer to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) call: u64,
    pub(crate) kind: u8,
    pub(crate) body: Bytes,
}

impl Frame {
    /// Says that this side is alive, and nothing else.
    pub(crate) const BEAT: Self = Self { call: 0, kind: 0, body: Bytes::new() };

    /// What comes before the body.
    pub(crate) fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let mut fields = &mut header[..];
        // The longest body has been agreed on as a u32.
        fields.put_u32_le(u32::try_from(AROUND + self.body.len()).unwrap_or(u32::MAX));
        fields.put_u64_le(self.call);
        fields.put_u8(self.kind);
        header
    }
}

/// Takes frames out of what was read.
#[derive(Debug)]
pub(crate) struct Decoder {
    seal: Seal,
    max_body: usize,
}

/// What came of an attempt to decode.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    Frame(Frame),
    /// At least so many bytes are missing.
    Missing(usize),
}

impl Decoder {
    /// For bodies of up to `max_body` bytes.
    pub(crate) fn new(seal: Seal, max_body: usize) -> Self {
        Self { seal, max_body }
    }

    /// Takes the first frame, if it is all there.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, Failure> {
        let Some(mut header) = buffer.get(..HEADER) else {
            return Ok(Decoded::Missing(HEADER - buffer.len()));
        };
        let len = header.get_u32_le();
        let (call, kind) = (header.get_u64_le(), header.get_u8());
        let body_len = usize::try_from(len).ok().and_then(|len| len.checked_sub(AROUND));
        let Some(body_len) = body_len.filter(|len| *len <= self.max_body) else {
            return Err(Failure::BadLength(len));
        };
        let end = HEADER + body_len;
        if buffer.len() < end + TAG {
            return Ok(Decoded::Missing(end + TAG - buffer.len()));
        }
        let mut tagged = buffer.split_to(end);
        let expected = self.seal.tag(&[&tagged]);
        match buffer.first_chunk() {
            Some(tag) if constant_time_eq_n(&expected, tag) => {}
            _ => return Err(Failure::Altered),
        }
        buffer.advance(TAG);
        tagged.advance(HEADER);
        let shared = body_len >= SHARED_FROM;
        let body = if shared { tagged.freeze() } else { Bytes::copy_from_slice(&tagged) };
        Ok(Decoded::Frame(Frame { call, kind, body }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seal() -> Seal {
        Seal::new(blake3::hash(b"a key"))
    }

    fn encode(frames: &[Frame]) -> Vec<Vec<u8>> {
        let mut seal = seal();
        let encode = |frame: &Frame| {
            let header = frame.header();
            [&header[..], &frame.body, &seal.tag(&[&header, &frame.body])].concat()
        };
        frames.iter().map(encode).collect()
    }

    /// What comes out of these bytes when they come in pieces.
    fn decode(pieces: &[&[u8]], max_body: usize) -> (Vec<Frame>, Option<Failure>) {
        let mut decoder = Decoder::new(seal(), max_body);
        let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match decoder.decode(&mut buffer) {
                    Ok(Decoded::Frame(frame)) => frames.push(frame),
                    Ok(Decoded::Missing(missing)) => {
                        assert!(missing > 0 && missing <= HEADER + max_body + TAG);
                        break;
                    }
                    Err(failure) => return (frames, Some(failure)),
                }
            }
        }
        (frames, None)
    }

    fn frame(call: u64, body: &[u8]) -> Frame {
        Frame { call, kind: 7, body: Bytes::copy_from_slice(body) }
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        let long = (SHARED_FROM - 2..SHARED_FROM + 2).prop_map(|len| vec![b'x'; len]);
        let body = prop_oneof![8 => prop::collection::vec(any::<u8>(), 0..200), 1 => long];
        (any::<u64>(), any::<u8>(), body).prop_map(|(call, kind, body)| Frame {
            call,
            kind,
            body: body.into(),
        })
    }

    proptest! {
        #[test]
        fn frames_do_not_depend_on_how_their_bytes_come(
            frames in prop::collection::vec(any_frame(), 1..8),
            mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let bytes = encode(&frames).concat();
            let mut cuts: Vec<usize> =
                cuts.drain(..).map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            let (decoded, failure) = decode(&pieces, 1 << 20);
            prop_assert!(failure.is_none() && decoded == frames);
        }

        #[test]
        fn random_bytes_are_no_frame(
            len in 0..60_u32,
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            prop_assert!(decode(&[&bytes], 1000).0.is_empty());
            // A length that may be takes them further.
            for (byte, len) in bytes.iter_mut().zip(len.to_le_bytes()) {
                *byte = len;
            }
            prop_assert!(decode(&[&bytes], 1000).0.is_empty());
        }

        #[test]
        fn an_altered_bit_spoils_a_frame(
            body in prop::collection::vec(any::<u8>(), 0..100),
            bit in any::<prop::sample::Index>(),
        ) {
            let mut bytes = encode(&[frame(5, &body)]).concat();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (frames, failure) = decode(&[&bytes], 1000);
            // More length: it waits for what does not come, until patience ends.
            prop_assert!(frames.is_empty() && (failure.is_some() || bit < 32));
        }
    }

    #[test]
    fn a_frame_counts_once_and_in_its_place() {
        let frames = [frame(1, b"one"), frame(2, b"two"), frame(3, b"two")];
        let [one, two, three] = &encode(&frames)[..] else { unreachable!() };
        let orders: [&[&[u8]]; 4] = [&[one, one], &[two, one], &[one, three], &[one, two, two]];
        for order in orders {
            let (decoded, failure) = decode(order, 1000);
            assert!(matches!(failure, Some(Failure::Altered)), "{failure:?}");
            assert!(decoded.len() < order.len() && decoded[..] == frames[..decoded.len()]);
        }
    }

    #[test]
    fn what_is_too_long_is_known_by_its_header() {
        let limit = 1000;
        let header = |body: usize| frame(1, &vec![0; body]).header();
        assert!(decode(&[&header(limit)], limit).1.is_none());
        let mut least = header(0);
        least[0] -= 1;
        for header in [header(limit + 1), least, [255; HEADER]] {
            let (_, failure) = decode(&[&header], limit);
            assert!(matches!(failure, Some(Failure::BadLength(_))), "{failure:?}");
        }
    }
}
