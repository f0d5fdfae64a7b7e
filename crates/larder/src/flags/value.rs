//! Values as written, parsed. Every error says what to write instead.

use std::ops::RangeInclusive;

/// A TCP port as `-p` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// `0`: no TCP
    Off,
    /// `-1`: any free one
    Free,
    /// This one
    Number(u16),
}

impl Port {
    /// As memcached writes it.
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Off => 0,
            Self::Free => -1,
            Self::Number(number) => i64::from(number),
        }
    }
}

pub(crate) fn port(text: &str) -> Result<Port, String> {
    match text.trim() {
        "0" => Ok(Port::Off),
        "-1" => Ok(Port::Free),
        number => number.parse().map(Port::Number).map_err(|_| {
            "want a port of 1 to 65535, -1 for any free one, or 0 for no TCP".to_owned()
        }),
    }
}

/// A whole number of `unit`s within `range`.
pub(crate) fn whole(
    range: RangeInclusive<u64>,
    unit: &'static str,
    example: &'static str,
) -> impl Fn(&str) -> Result<u64, String> + Clone {
    move |text| match text.trim().parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => {
            Err(format!("want {} to {} {unit}, for example {example}", range.start(), range.end()))
        }
    }
}

/// `-A` of a store, which is another thing to MemcacheDB.
pub(crate) fn shutdown_command(text: &str) -> Result<bool, String> {
    switch(text).map_err(|why| match text.parse::<u64>() {
        Ok(_) => "there are no pages whose size could be set; leave it out (-A alone enables the \
                  shutdown command)"
            .to_owned(),
        Err(_) => why,
    })
}

/// `-R` of a store, which is another thing to MemcacheDB.
pub(crate) fn requests_of_store(text: &str) -> Result<u64, String> {
    whole(1..=1_000_000, "requests", "20")(text).map_err(|why| {
        if text.contains(':') {
            "where other nodes reach this one is --peer-listen HOST:PORT".to_owned()
        } else {
            why
        }
    })
}

/// Worker threads: a number, or `None` for `auto`, one for each core.
pub(crate) fn threads(text: &str) -> Result<Threads, String> {
    match text.trim() {
        "auto" => Ok(Threads::Auto),
        number => match number.parse() {
            Ok(number @ 1..=1024) => Ok(Threads::Number(number)),
            _ => Err("want 1 to 1024 threads, or auto for one per core".to_owned()),
        },
    }
}

/// How many worker threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// One for each core
    Auto,
    /// This many
    Number(usize),
}

/// The largest item there may be, in bytes: 1 GiB.
const ITEM_SIZE_LIMIT: u64 = 1 << 30;

/// The largest item, in bytes.
pub(crate) fn item_size(text: &str) -> Result<u64, String> {
    bytes(text)
        .filter(|bytes| (1024..=ITEM_SIZE_LIMIT).contains(bytes))
        .ok_or_else(|| "want 1k to 1024m, for example 1m".to_owned())
}

/// How old what a read sees may be, in milliseconds.
pub(crate) fn stale_reads(text: &str) -> Result<StaleReads, String> {
    match text.trim() {
        "off" => Ok(StaleReads::Off),
        number => match number.parse() {
            Ok(ms @ 10..=3_600_000) => Ok(StaleReads::WithinMs(ms)),
            _ => Err("want 10 to 3600000 milliseconds, or off; for example 500".to_owned()),
        },
    }
}

/// Whether reads may see what is not the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StaleReads {
    /// They may not.
    Off,
    /// They may be so old, in milliseconds.
    WithinMs(u64),
}

/// Free space to keep, in bytes, or as much as the store needs.
pub(crate) fn reserve(text: &str) -> Result<Reserve, String> {
    match text.trim() {
        "auto" => Ok(Reserve::Auto),
        size => bytes(size)
            .filter(|bytes| i64::try_from(*bytes).is_ok())
            .map(Reserve::Bytes)
            .ok_or_else(|| {
                "want bytes, a number with k, m or g, or auto; for example 2g".to_owned()
            }),
    }
}

/// How much of a volume is kept free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reserve {
    /// What a store of its size needs
    Auto,
    /// So many bytes
    Bytes(u64),
}

/// Bytes, written plainly or with `k`, `m` or `g`.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (text.get(..at), 1 << 10),
        Some((at, 'm' | 'M')) => (text.get(..at), 1 << 20),
        Some((at, 'g' | 'G')) => (text.get(..at), 1 << 30),
        _ => (Some(text), 1),
    };
    digits?.parse::<u64>().ok()?.checked_mul(unit)
}

/// An access mask as chmod takes it, in octal.
pub(crate) fn mask(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text.trim(), 8)
        .ok()
        .filter(|mask| *mask <= 0o777)
        .ok_or_else(|| "want octal digits, 0 to 777, for example 700".to_owned())
}

/// A switch as the environment, a file or `--switch=…` sets it.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" | "" => Ok(false),
        _ => Err("want true or false".to_owned()),
    }
}

/// Text that is not empty.
pub(crate) fn filled(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("want a value that is not empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_memcacheds_suffixes() {
        assert_eq!(item_size("1k"), Ok(1024));
        assert_eq!(item_size("1024m"), Ok(1 << 30));
        assert_eq!(item_size("1g"), Ok(1 << 30));
        assert_eq!(item_size("2048"), Ok(2048));
        for wrong in ["", "k", "1023", "1025m", "-1m", "1 m b", "1é", "99999999999999999999g"] {
            assert!(item_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_reserve_is_a_size_or_auto() {
        assert_eq!(reserve("auto"), Ok(Reserve::Auto));
        assert_eq!(reserve("0"), Ok(Reserve::Bytes(0)));
        assert_eq!(reserve(" 3g "), Ok(Reserve::Bytes(3 << 30)));
        for wrong in ["", "-1", "2t", "g", "much", "9223372036854775808", "99999999999g"] {
            assert!(reserve(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn stale_reads_are_a_time_or_off() {
        assert_eq!(stale_reads(" off "), Ok(StaleReads::Off));
        assert_eq!(stale_reads("10"), Ok(StaleReads::WithinMs(10)));
        for wrong in ["", "0", "9", "-1", "500ms", "3600001"] {
            assert!(stale_reads(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_are_numbers_free_or_off() {
        assert_eq!(port("-1"), Ok(Port::Free));
        assert_eq!(port("0"), Ok(Port::Off));
        assert_eq!(port(" 65535"), Ok(Port::Number(65535)));
        for wrong in ["65536", "-2", "", "http"] {
            assert!(port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn masks_are_octal() {
        assert_eq!(mask("0700"), Ok(0o700));
        assert!(mask("800").is_err());
        assert!(mask("1000").is_err());
    }

    #[test]
    fn numbers_outside_their_range_say_the_range() {
        let parse = whole(1..=9, "cups", "3");
        assert_eq!(parse("9"), Ok(9));
        assert_eq!(parse("10"), Err("want 1 to 9 cups, for example 3".to_owned()));
    }
}
