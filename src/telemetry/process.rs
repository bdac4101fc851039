//! What the kernel knows of this process, under the names that Prometheus' clients use. Where there is no `/proc`, the
//! metrics are absent.

use std::fs;

use super::single;

/// Writes the process metrics; `started_ms` is when the server was started.
pub(super) fn write(out: &mut String, started_ms: i64) {
    let help = "Start time of the process since the Unix epoch";
    single(out, "process_start_time_seconds", "gauge", help, started_ms as f64 / 1000.0);
    if let Some((cpu_seconds, resident_bytes)) = stat() {
        let help = "User and system CPU time spent";
        single(out, "process_cpu_seconds_total", "counter", help, cpu_seconds);
        single(out, "process_resident_memory_bytes", "gauge", "Resident memory size", resident_bytes);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        single(out, "process_open_fds", "gauge", "Number of open file descriptors", entries.count());
    }
}

/// Threads of this process.
pub(crate) fn threads() -> Option<usize> {
    Some(fs::read_dir("/proc/self/task").ok()?.count())
}

/// CPU seconds and resident bytes out of `/proc/self/stat`.
fn stat() -> Option<(f64, u64)> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold anything; count from behind it.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let (user_ticks, system_ticks, resident_pages) = (field(14)?, field(15)?, field(24)?);
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    let page_bytes = rustix::param::page_size() as u64;
    Some(((user_ticks + system_ticks) as f64 / ticks_per_second as f64, resident_pages * page_bytes))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn the_process_uses_memory() {
        let (cpu_seconds, resident_bytes) = super::stat().unwrap();
        assert!(cpu_seconds >= 0.0 && resident_bytes > 1 << 20, "{cpu_seconds} {resident_bytes}");
    }
}
