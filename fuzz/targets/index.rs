//! An index file of any bytes, and every look-up in it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| marigram_storage::fuzzing::index(bytes));
