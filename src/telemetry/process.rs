//! `process_*`, under the names that Prometheus' own libraries use, read from `/proc/self` when scraped.
//!
//! What is not readable (another system, a hardened unit) is left out rather than shown as 0. The start
//! time is not here: it needs `/proc/stat`, which `ProcSubset=pid` hides, so the process says it itself.

use std::fmt::Write;
use std::fs;

/// The kernel reports CPU times to user space in this unit on every architecture we build for
/// (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Appends what is readable to `text`.
pub(super) fn render(text: &mut String) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(seconds) = cpu_seconds(&stat) {
        let help = "User and system CPU time spent.";
        family(text, "process_cpu_seconds_total", "counter", help, seconds);
    }
    for (name, help, value) in [
        (
            "process_resident_memory_bytes",
            "Resident memory.",
            kilobytes(&status, "VmRSS:"),
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory.",
            kilobytes(&status, "VmSize:"),
        ),
        ("process_threads", "Threads.", field(&status, "Threads:")),
        ("process_open_fds", "Open file descriptors.", open_fds()),
        (
            "process_max_fds",
            "Most file descriptors allowed.",
            max_fds(&limits),
        ),
    ] {
        if let Some(value) = value {
            family(text, name, "gauge", help, value);
        }
    }
}

fn family(text: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
    );
}

/// `utime` and `stime`: fields 14 and 15. The second field, the program's name, may hold spaces and
/// parentheses, so counting starts after its last one.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn kilobytes(status: &str, name: &str) -> Option<f64> {
    field(status, name).map(|value| value * 1024.0)
}

fn open_fds() -> Option<f64> {
    // One of them is the directory being read.
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    u32::try_from(count.saturating_sub(1)).ok().map(f64::from)
}

/// The soft limit.
fn max_fds(limits: &str) -> Option<f64> {
    field(limits, "Max open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_an_odd_program_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 2 0 0 0 150 50 0 0 20 0 3 0 99 1 2";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(cpu_seconds("7 (x) S 1"), None);
    }

    #[test]
    fn fields_are_read_with_their_units() {
        let status = "Name:\taqueduct\nVmSize:\t    2000 kB\nVmRSS:\t     100 kB\nThreads:\t9\n";
        assert_eq!(kilobytes(status, "VmRSS:"), Some(102_400.0));
        assert_eq!(field(status, "Threads:"), Some(9.0));
        assert_eq!(field(status, "VmSwap:"), None);
        let limits =
            "Limit    Soft Limit  Hard Limit  Units\nMax open files   1024   4096   files\n";
        assert_eq!(max_fds(limits), Some(1024.0));
    }
}
