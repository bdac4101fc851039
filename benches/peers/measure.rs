//! What a server process has taken so far: CPU, memory, bytes written; and what the device below its data has written.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sender::now;

/// A process that is looked at through /proc.
#[derive(Clone, Copy)]
pub(crate) struct Gauge {
    pid: u32,
}

/// Memory of a process, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident.
    pub(crate) resident: u64,
    /// Of it what is not backed by a file.
    pub(crate) anonymous: u64,
    /// The most that was ever resident.
    pub(crate) peak: u64,
}

impl Gauge {
    /// Of the process with this id.
    pub(crate) fn new(pid: u32) -> Gauge {
        Gauge { pid }
    }

    /// User and system time of all threads, those that have ended included, seconds.
    pub(crate) fn cpu_seconds(self) -> f64 {
        let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
        // SAFETY: `clock` and `time` are valid for the write of one value each.
        let failed = unsafe {
            libc::clock_getcpuclockid(self.pid as libc::pid_t, &mut clock) != 0
                || libc::clock_gettime(clock, &mut time) != 0
        };
        assert!(!failed, "process {} has a clock of its CPU time", self.pid);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    }

    /// Memory now.
    pub(crate) fn memory(self) -> Memory {
        let status = self.read("status");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
        };
        Memory { resident: field("VmRSS:"), anonymous: field("RssAnon:"), peak: field("VmHWM:") }
    }

    /// Lets the peak begin anew at what is resident now.
    pub(crate) fn forget_peak(self) {
        fs::write(format!("/proc/{}/clear_refs", self.pid), "5").unwrap();
    }

    /// Bytes that the process has given to the page cache to be written, those of files removed before left out.
    pub(crate) fn written_bytes(self) -> u64 {
        let io = self.read("io");
        let field = |name: &str| {
            let line = io.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().parse::<u64>().unwrap()
        };
        field("write_bytes:").saturating_sub(field("cancelled_write_bytes:"))
    }

    /// Waits until the process has taken less than 3 % of a core for 2 s, at least `least` and at most a minute.
    pub(crate) fn wait_idle(self, least: Duration) {
        let (begin, mut quiet_since, mut before) = (now(), now(), self.cpu_seconds());
        while begin.elapsed() < Duration::from_secs(60) {
            sleep(Duration::from_millis(500));
            let after = self.cpu_seconds();
            if after - before > 0.015 {
                quiet_since = now();
            }
            before = after;
            if quiet_since.elapsed() >= Duration::from_secs(2) && begin.elapsed() >= least {
                return;
            }
        }
    }

    fn read(self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid)).unwrap()
    }
}

/// The block device below a folder.
pub(crate) struct Device {
    stat: Option<PathBuf>,
    /// Bytes a second that others write, as seen while nothing was measured.
    idle_rate: f64,
}

/// A reading of a device.
#[derive(Clone, Copy)]
pub(crate) struct DeviceMark {
    bytes: Option<u64>,
    at: std::time::Instant,
}

impl Device {
    /// The device of `folder`, and what is written to it within `watch` while nothing of the benchmark writes.
    pub(crate) fn of(folder: &Path, watch: Duration) -> Device {
        let device = fs::metadata(folder).unwrap().dev();
        let name = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        let stat = PathBuf::from(format!("/sys/dev/block/{name}/stat"));
        let mut found = Device { stat: stat.exists().then_some(stat), idle_rate: 0.0 };
        let before = found.mark();
        sleep(watch);
        found.idle_rate = found.written(before).map_or(0.0, |bytes| bytes as f64 / before.at.elapsed().as_secs_f64());
        found
    }

    /// Flushes all caches and reads the counter.
    pub(crate) fn mark(&self) -> DeviceMark {
        rustix::fs::sync();
        let text = self.stat.as_ref().map(|stat| fs::read_to_string(stat).unwrap());
        // The seventh field: sectors of 512 bytes.
        let sectors = text.map(|text| text.split_whitespace().nth(6).unwrap().parse::<u64>().unwrap());
        DeviceMark { bytes: sectors.map(|sectors| sectors * 512), at: now() }
    }

    /// Bytes written since, the others' as seen while idle not taken off; `None`: the device has no counter.
    pub(crate) fn written(&self, since: DeviceMark) -> Option<u64> {
        Some(self.mark().bytes?.saturating_sub(since.bytes?))
    }

    /// Bytes that others will have written since, judging by the idle time.
    pub(crate) fn idle_bytes(&self, since: DeviceMark) -> f64 {
        self.idle_rate * since.at.elapsed().as_secs_f64()
    }
}

/// All files below `folder` with their lengths.
pub(crate) fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = vec![];
    let Ok(entries) = fs::read_dir(folder) else { return found };
    // A server may remove files while they are counted.
    for entry in entries.flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push((entry.path(), meta.len()));
        }
    }
    found
}

/// Lets time pass.
#[allow(clippy::disallowed_methods, reason = "a benchmark waits in real time")]
pub(crate) fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}
