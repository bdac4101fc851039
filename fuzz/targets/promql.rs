//! A query of any text. What parses is printed, and what was printed parses to the same print.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marigram_query::parse::{parse, parse_selector};

fuzz_target!(|text: &str| {
    // Compiling regexes is the business of another target, and would take most of this one's time.
    if text.matches('~').count() > 2 {
        return;
    }
    let _ = parse_selector(text);
    let Ok(expr) = parse(text) else { return };
    let printed = expr.to_string();
    let again = parse(&printed).map(|expr| expr.to_string());
    assert_eq!(again.as_ref(), Ok(&printed), "{text:?}");
});
