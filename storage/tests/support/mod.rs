//! What the tests of this crate share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test binary uses its own part; a failed unwrap fails the test"
)]

pub mod sim_disk;
pub mod store;
