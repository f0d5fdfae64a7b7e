//! Where servers are known to answer differently: what, and why. All else must be the same.

use crate::process::Version;

/// What was sent to two servers, and what each answered.
pub(crate) struct Exchange {
    pub(crate) sent: Vec<u8>,
    pub(crate) left: Vec<u8>,
    pub(crate) right: Vec<u8>,
}

/// A known difference.
pub(crate) struct Difference {
    /// What is different.
    pub(crate) what: &'static str,
    /// Why it is so, or why it stays so.
    pub(crate) why: &'static str,
    /// Who differs from memcached as it is now.
    who: Who,
    how: How,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Larder,
    /// Any server beside any memcached.
    Any,
    /// memcached up to this version.
    UpTo(Version),
}

enum How {
    /// It shows in the answer: this tells whether an exchange is a case of it.
    Shows(fn(&Exchange) -> bool),
    /// It may show much later, or spoils the comparison: such commands are not sent.
    Hides(fn(&Sent<'_>) -> bool),
    /// Streams are made so that it cannot show.
    Apart,
}

/// The known differences of two servers.
pub(crate) struct Differences {
    known: Vec<&'static Difference>,
}

impl Differences {
    /// Those of Larder and a memcached.
    pub(crate) fn of_larder(memcached: Version) -> Self {
        Self::of(true, memcached)
    }

    /// Those of two memcacheds.
    pub(crate) fn between_memcacheds(left: Version, right: Version) -> Self {
        Self::of(false, left.min(right))
    }

    fn of(larder: bool, oldest: Version) -> Self {
        let known = TABLE
            .iter()
            .filter(|difference| match difference.who {
                Who::Larder => larder,
                Who::Any => true,
                Who::UpTo(version) => oldest <= version,
            })
            .collect();
        Self { known }
    }

    /// Whether a difference in the answers is a known one.
    pub(crate) fn explain(&self, exchange: &Exchange) -> Option<&'static Difference> {
        let explains = |known: &&&'static Difference| match known.how {
            How::Shows(applies) => applies(exchange),
            How::Hides(_) | How::Apart => false,
        };
        self.known.iter().find(explains).copied()
    }

    /// Whether a command must not be sent, as what it does is known to differ.
    pub(crate) fn avoid(&self, command: &[u8]) -> bool {
        let sent = Sent::new(command);
        self.known.iter().any(|known| match known.how {
            How::Hides(applies) => applies(&sent),
            How::Shows(_) | How::Apart => false,
        })
    }
}

const TABLE: &[Difference] = &[
    // memcached 1.6.18, which is what Debian has.
    Difference {
        what: "the words of errors, and how much of what follows a bad line is passed over",
        why: "1.6.45 parses anew: bad arguments are one error, and values are passed over",
        who: Who::UpTo(OLD),
        how: How::Shows(|exchange| {
            complaints_only(&exchange.left) && complaints_only(&exchange.right)
        }),
    },
    Difference {
        what: "meta flags E and x, and N and s of ms",
        why: "they came later",
        who: Who::UpTo(OLD),
        how: How::Hides(|sent| {
            sent.is_meta() && (sent.has(b'E') || sent.has(b'x'))
                || sent.name() == b"ms" && (sent.has(b'N') || sent.has(b's'))
        }),
    },
    Difference {
        what: "C of mg",
        why: "it came later; flags of other commands were taken by some",
        who: Who::UpTo(OLD),
        how: How::Hides(|sent| {
            sent.name() == b"mg" && b"CMFIJD".iter().any(|flag| sent.has(*flag))
        }),
    },
    Difference {
        what: "ma with q answers when it creates",
        why: "q came to that later",
        who: Who::UpTo(OLD),
        how: How::Hides(|sent| sent.name() == b"ma" && sent.has(b'q') && sent.has(b'N')),
    },
    Difference {
        what: "me shows the time left as a negative number",
        why: "a slip, mended later",
        who: Who::UpTo(OLD),
        how: How::Hides(|sent| sent.name() == b"me"),
    },
    Difference {
        what: "noreply as the key of delete, or behind an unknown command, is answered",
        why: "a last word of noreply was not always taken for what it says",
        who: Who::UpTo(OLD),
        how: How::Hides(|sent| {
            let known = COMMANDS.contains(&sent.name());
            sent.last() == b"noreply" && (!known || sent.words.len() == 2)
        }),
    },
    Difference {
        what: "numbers from 2^63 on are now and then taken for none",
        why: "1.6.18 looks for a minus sign beyond the end of the value",
        who: Who::UpTo(OLD),
        how: How::Hides(|sent| sent.bytes.windows(20).any(|part| part == b"18446744073709551615")),
    },
    Difference {
        what: "numbers beyond their size are cut to it",
        why: "1.6.45 refuses them, as 1.6.18 does some",
        who: Who::UpTo(OLD),
        how: How::Shows(|exchange| {
            let sent = Sent::new(&exchange.sent);
            let digits = |word: &&[u8]| word.iter().filter(|byte| byte.is_ascii_digit()).count();
            sent.words.iter().any(|word| digits(word) > 9) && one_complains(exchange)
        }),
    },
    Difference {
        what: "a length far beyond what follows, in a line that is bad, or beyond 32 bits",
        why: "one of 1.6.18 and 1.6.45 waits for the value, the other has refused the line",
        who: Who::UpTo(OLD),
        how: How::Hides(|sent| {
            let length = if sent.name() == b"ms" { 2 } else { 4 };
            sent.number(length).is_some_and(|length| length > sent.bytes.len())
        }),
    },
    Difference {
        what: "words too many",
        why: "1.6.45 passes over them",
        who: Who::UpTo(OLD),
        how: How::Shows(|exchange| {
            let sent = Sent::new(&exchange.sent);
            !sent.is_meta() && sent.words.len() > 3 && one_complains(exchange)
        }),
    },
    Difference {
        what: "mn with a bare line feed, leading spaces and gat without keys",
        why: "1.6.45 takes a line of three bytes for too short, and a command to begin its line",
        who: Who::UpTo(OLD),
        how: How::Shows(|exchange| {
            let sent = Sent::new(&exchange.sent);
            let odd = sent.bytes.starts_with(b"mn\n")
                || sent.bytes.starts_with(b" ")
                || (sent.name().starts_with(b"gat") && sent.words.len() < 3);
            odd && one_complains(exchange)
        }),
    },
    // Any server beside any memcached.
    Difference {
        what: "a flush in the future brings back what an earlier flush has removed",
        why: "memcached keeps one flush time, and finds out at a fetch that an item is flushed",
        who: Who::Any,
        how: How::Hides(|sent| {
            sent.name() == b"flush_all" && sent.words.get(1).is_some_and(|delay| *delay > &b"0"[..])
        }),
    },
    Difference {
        what: "words beyond the key of a delete",
        why: "1.6.18 and Larder refuse them, 1.6.45 passes over them",
        who: Who::Any,
        how: How::Shows(|exchange| {
            let sent = Sent::new(&exchange.sent);
            let both = complaints_only(&exchange.left) && complaints_only(&exchange.right);
            sent.name() == b"delete" && sent.words.len() > 2 && (both || one_complains(exchange))
        }),
    },
    Difference {
        what: "a key too long in a get: an empty line follows the error, or stands for it if the \
               last key is noreply",
        why: "slips of 1.6.45 that leave the client out of step",
        who: Who::Any,
        how: How::Shows(|exchange| {
            let sent = Sent::new(&exchange.sent);
            sent.name().starts_with(b"g")
                && sent.words.iter().any(|word| word.len() > 250)
                && rest(&exchange.left) == rest(&exchange.right)
        }),
    },
    Difference {
        what: "E of an ms whose value is bad",
        why: "memcached gives that cas unique to the next item that is set, on any connection",
        who: Who::Any,
        how: How::Hides(|sent| {
            sent.name() == b"ms" && sent.has(b'E') && !sent.value_is_as_announced()
        }),
    },
    Difference {
        what: "counting an item that an unsent answer still holds",
        why: "memcached makes a new item then, without the padding and marks of the old one; so \
              fetching and counting are not sent together",
        who: Who::Any,
        how: How::Apart,
    },
    // Larder, on purpose.
    Difference {
        what: "the connection is closed when it is not known where the next command begins",
        why: "a value must not be taken for commands",
        who: Who::Larder,
        how: How::Shows(|exchange| {
            let closed = |answer: &[u8], why: &[u8]| answer.ends_with(why);
            closed(&exchange.left, b"CLIENT_ERROR bad data chunk\r\n")
                || closed(&exchange.left, b"CLIENT_ERROR bad command line format\r\n")
        }),
    },
    Difference {
        what: "words beyond the key of a delete, noreply",
        why: "as above, in silence",
        who: Who::Any,
        how: How::Hides(|sent| {
            sent.name() == b"delete" && sent.words.len() > 3 && sent.last() == b"noreply"
        }),
    },
    Difference {
        what: "a key too long among those of a get",
        why: "Larder refuses the command whole; memcached has fetched and touched those before it",
        who: Who::Larder,
        how: How::Hides(|sent| {
            sent.name().starts_with(b"g") && sent.words.iter().any(|word| word.len() > 250)
        }),
    },
    Difference {
        what: "a key that came as base64 is given back as base64 for as long as the item lives",
        why: "memcached forgets, and answers raw bytes, when it creates, lengthens or empties it",
        who: Who::Larder,
        how: How::Shows(|exchange| base64_keys(&exchange.left) != base64_keys(&exchange.right)),
    },
    Difference {
        what: "T and E of ma when the number gets longer",
        why: "memcached gives them to the item it has just replaced",
        who: Who::Larder,
        how: How::Hides(|sent| {
            let down = sent.words.iter().any(|word| word.starts_with(b"MD"));
            sent.name() == b"ma" && !down && (sent.has(b'T') || sent.has(b'E'))
        }),
    },
    Difference {
        what: "t of what is past already, and t between T and N",
        why: "memcached's difference wraps around; and one item has one exptime",
        who: Who::Larder,
        how: How::Hides(|sent| {
            let past = |word: &&[u8]| word.ends_with(b"-1") || word.ends_with(b"2592001");
            let both = sent.has(b'T') && sent.has(b'N');
            sent.has(b't') && (sent.words.iter().any(past) || both)
        }),
    },
    Difference {
        what: "an opaque that is too long",
        why: "memcached finds it too long only after the command has done its work",
        who: Who::Larder,
        how: How::Hides(|sent| {
            let long = |word: &&[u8]| word.len() > 32 && word.starts_with(b"O");
            sent.words.iter().any(long)
        }),
    },
    Difference {
        what: "a number at the start of a long value",
        why: "Larder looks no further than any padded number goes",
        who: Who::Larder,
        how: How::Shows(|exchange| {
            let refuses = |answer: &[u8]| answer.ends_with(b"non-numeric value\r\n");
            let lines = |answer: &[u8]| answer.split_inclusive(|b| *b == b'\n').any(refuses);
            lines(&exchange.left) && !lines(&exchange.right)
        }),
    },
    Difference {
        what: "me with words behind its key, with b, and of a key that came as base64",
        why: "they mean nothing to it; memcached decodes only with one more word, and answers the \
              key as it is kept",
        who: Who::Larder,
        how: How::Hides(|sent| {
            let plain = sent.words.get(1).is_some_and(|key| *key == b"b" || key.len() > 200);
            sent.name() == b"me" && (sent.words.len() > 2 || !plain)
        }),
    },
    Difference {
        what: "flags beyond 32 bits in the classic storage commands",
        why: "memcached cuts them to their size",
        who: Who::Larder,
        how: How::Hides(|sent| {
            !sent.is_meta() && sent.words.get(2).is_some_and(|flags| flags.len() > 10)
        }),
    },
    Difference {
        what: "ms with a flag that is neither a letter nor a digit",
        why: "memcached does not pass over its value",
        who: Who::Larder,
        how: How::Shows(|exchange| {
            Sent::new(&exchange.sent).name() == b"ms"
                && complaints_only(&exchange.left)
                && complaints_only(&exchange.right)
        }),
    },
];

/// The last version that parses as of old which tests meet.
const OLD: Version = (1, 6, 18);

/// Whether an answer is errors and nothing else.
fn complaints_only(answer: &[u8]) -> bool {
    answer.split_inclusive(|byte| *byte == b'\n').all(|line| {
        let complaint = line.starts_with(b"ERROR") || line.starts_with(b"CLIENT_ERROR");
        complaint || line.starts_with(b"EN k~")
    })
}

/// Whether one of two servers answers with an error, where the other does not.
fn one_complains(exchange: &Exchange) -> bool {
    let complains = |answer: &[u8]| {
        let first = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
        complaints_only(first)
    };
    complains(&exchange.left) != complains(&exchange.right)
}

/// Which lines of an answer give a key back as base64, or are of `me`.
fn base64_keys(answer: &[u8]) -> Vec<Option<&[u8]>> {
    answer
        .split(|byte| *byte == b'\n')
        .map(|line| {
            let mut words = line.trim_ascii_end().split(|byte| *byte == b' ');
            if line.starts_with(b"ME ") { words.nth(1) } else { words.find(|word| *word == b"b") }
        })
        .collect()
}

/// What is not an error, nor an empty line.
fn rest(answer: &[u8]) -> Vec<&[u8]> {
    let lines = answer.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| *line != b"\r\n" && !complaints_only(line)).collect()
}

/// A command, and the words of its line.
struct Sent<'a> {
    bytes: &'a [u8],
    words: Vec<&'a [u8]>,
}

impl<'a> Sent<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
        Self { bytes, words }
    }

    fn name(&self) -> &'a [u8] {
        self.words.first().copied().unwrap_or_default()
    }

    fn last(&self) -> &'a [u8] {
        self.words.last().copied().unwrap_or_default()
    }

    /// Whether a value follows the line of `ms`, as long as the line says.
    fn value_is_as_announced(&self) -> bool {
        let line = self.bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.number(2) == (self.bytes.len() - line).checked_sub(2)
    }

    /// The word at `index`, as a number.
    fn number(&self, index: usize) -> Option<usize> {
        std::str::from_utf8(self.words.get(index)?).ok()?.parse().ok()
    }

    fn is_meta(&self) -> bool {
        matches!(self.name(), b"mg" | b"ms" | b"md" | b"ma")
    }

    /// Whether a meta command carries a flag.
    fn has(&self, flag: u8) -> bool {
        self.words.iter().skip(2).any(|word| word.first() == Some(&flag))
    }
}

/// The commands that random streams hold.
const COMMANDS: [&[u8]; 23] = [
    b"set",
    b"add",
    b"replace",
    b"append",
    b"prepend",
    b"cas",
    b"get",
    b"gets",
    b"gat",
    b"gats",
    b"touch",
    b"incr",
    b"decr",
    b"delete",
    b"flush_all",
    b"verbosity",
    b"version",
    b"mg",
    b"ms",
    b"md",
    b"ma",
    b"mn",
    b"me",
];
