//! From what was typed to what the program needs: [`args`] is the command line as clap reads it, [`settings`] is the
//! validated form that the roles take, [`flags`] writes `docs/flags.md`.

pub mod args;
pub mod flags;
pub mod settings;
pub mod units;

pub use settings::Settings;
