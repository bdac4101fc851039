//! A child process: its output goes to a log file, whose path is printed when the test fails; it is killed on drop.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::poll_until;

/// A running child.
pub(crate) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with all output appended to `log`.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Process {
        let out = File::options().create(true).append(true).open(log).unwrap();
        let err = out.try_clone().unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        Process { child, name: name.into(), log: log.into() }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it and its predecessors in the same log have printed.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Waits until `find` finds something in the output after byte `from`.
    pub(crate) fn wait_for<T>(&mut self, what: &str, from: usize, find: impl Fn(&str) -> Option<T>) -> T {
        let name = &self.name;
        poll_until(&format!("{name}: {what}"), || {
            let output = fs::read(&self.log).unwrap();
            if let Some(found) = find(&String::from_utf8_lossy(output.get(from..).unwrap_or_default())) {
                return Some(found);
            }
            assert!(self.child.try_wait().unwrap().is_none(), "{name} ended before: {what}");
            None
        })
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// CPU time that it has taken so far, its threads' together.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        // The name, in brackets, may hold anything; the fields after it are counted from the third.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11..=12].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let name = &self.name;
        poll_until(&format!("the end of {name}"), || self.child.try_wait().unwrap())
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = self.output();
            let tail = output.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
            eprintln!("---- {}, {}:\n{}", self.name, self.log.display(), &output[tail..]);
        }
    }
}

/// A folder for one test, on the disk of the build. It is kept when the test fails.
pub(crate) struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    /// A new, empty one.
    pub(crate) fn new(test: &str) -> Folder {
        let prefix = format!("{test}-");
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Folder { dir }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("the files of the failed test are kept in {}", self.dir.path().display());
        }
    }
}
