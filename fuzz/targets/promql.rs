//! A query of any text. What parses is printed on one line and laid out, and what was printed parses to the same print.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marigram_query::parse::{Features, parse_selector, parse_with, pretty};

fuzz_target!(|text: &str| {
    // Compiling regexes is the business of another target, and would take most of this one's time.
    if text.matches('~').count() > 2 {
        return;
    }
    let _ = parse_selector(text);
    let Ok(expr) = parse_with(text, Features::ALL) else { return };
    let printed = expr.to_string();
    let same = |text: &str| parse_with(text, Features::ALL).map(|expr| expr.to_string());
    assert_eq!(same(&printed).as_ref(), Ok(&printed), "{text:?}");
    if let Some(page) = pretty::pretty(&expr) {
        assert_eq!(same(&page).as_ref(), Ok(&printed), "{text:?}");
    }
});
