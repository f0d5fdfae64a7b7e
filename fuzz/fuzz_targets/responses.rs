//! Whatever bytes a server sends: no panic, progress, and a beginning that decides anything
//! decides it as the whole would.
#![no_main]

use larder_protocol::response::{Limits, Parsed, parse_within};
use libfuzzer_sys::fuzz_target;

/// Small, so that they are met.
const LIMITS: Limits = Limits { line: 128, value: 64 };

fuzz_target!(|data: &[u8]| {
    let Some((&cut, input)) = data.split_first() else { return };
    let beginning = &input[..input.len().min(usize::from(cut))];
    let whole = parse_within(input, &LIMITS);
    match parse_within(beginning, &LIMITS) {
        Parsed::Done { consumed, .. } if consumed == 0 || consumed > beginning.len() => {
            panic!("{consumed} bytes of {}", beginning.len())
        }
        Parsed::Incomplete { .. } => {}
        decided => assert_eq!(decided, whole),
    }
});
