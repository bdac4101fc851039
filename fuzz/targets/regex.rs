//! A label regex of any text, matched against another.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marigram_storage::model::regex::LabelRegex;

fuzz_target!(|input: (&str, &str)| {
    let (pattern, value) = input;
    if let Ok(regex) = LabelRegex::new(pattern) {
        let hit = regex.is_match(value);
        if let Some(literals) = regex.literals() {
            assert_eq!(hit, literals.iter().any(|literal| literal == value));
            assert!(literals.iter().all(|literal| regex.is_match(literal)));
        }
        if let Some(prefix) = regex.prefix() {
            assert!(!hit || value.starts_with(prefix));
        }
    }
});
