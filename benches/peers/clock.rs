//! Sets back the wall clock of a Marigram process, through a preloaded library (shim/clock.rs).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::now_ms;

/// How far behind the machine's clock a process runs, and the library that does it.
#[derive(Clone, Default)]
pub(crate) struct Behind {
    shim: Option<PathBuf>,
    behind_ms: i64,
}

/// The compiled library.
pub(crate) struct ClockShim(Option<PathBuf>);

impl ClockShim {
    /// Compiles it into `folder`; without a compiler says so, and clocks stay as they are.
    pub(crate) fn build(folder: &Path) -> ClockShim {
        let library = folder.join("libclock.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/shim/clock.rs");
        let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        command.args(["--edition=2024", "--crate-type=cdylib", "-Copt-level=2", "-Cpanic=abort", "-o"]);
        let built = command.arg(&library).arg(source).status();
        if built.is_ok_and(|status| status.success()) {
            return ClockShim(Some(library));
        }
        println!(
            "MISSING: the clock shim cannot be compiled; Marigram will cut its blocks while they are being filled"
        );
        ClockShim(None)
    }

    /// Sets a clock to `at_ms` as of now.
    pub(crate) fn set_to(&self, at_ms: i64) -> Behind {
        Behind { shim: self.0.clone(), behind_ms: now_ms() - at_ms }
    }
}

impl Behind {
    /// Lets the process to be started run behind.
    pub(crate) fn apply(&self, command: &mut Command) {
        if let Some(shim) = &self.shim {
            command.env("LD_PRELOAD", shim);
            command.env("MARIGRAM_BENCH_CLOCK_BEHIND_NS", (self.behind_ms * 1_000_000).to_string());
        }
    }
}
