//! A catalog that decodes encodes to a document that decodes to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marigram_storage::bucket::catalog::Catalog;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(catalog) = Catalog::decode("catalog", bytes) {
        let again = catalog.encode().unwrap();
        assert_eq!(Catalog::decode("catalog", &again).unwrap(), catalog);
    }
});
