//! What the kernel says about this process.

use std::fmt::Write;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Kernel ticks per second; fixed at 100 for user space on every Linux we run on.
const TICKS: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;

/// Appends the `process_*` families; those that cannot be read are left out.
pub fn render(out: &mut String, started: SystemTime) {
    let now = SystemTime::now();
    let unix = |time: SystemTime| {
        time.duration_since(UNIX_EPOCH)
            .map_or(0.0, |since| since.as_secs_f64())
    };
    let mut put = |name: &str, kind: &str, help: &str, value: f64| {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
        );
    };
    put(
        "process_start_time_seconds",
        "gauge",
        "Time that the process started (in seconds since the UNIX epoch).",
        unix(started).floor(),
    );
    put(
        "process_clock_time_seconds",
        "gauge",
        "Current system time for this proxy.",
        unix(now),
    );
    let uptime = now
        .duration_since(started)
        .unwrap_or_default()
        .as_secs_f64();
    put(
        "process_uptime_seconds_total",
        "counter",
        "Total time since the process started (in seconds).",
        uptime.floor(),
    );
    if let Some(stat) = Stat::read() {
        put(
            "process_cpu_seconds_total",
            "counter",
            "Total user and system CPU time spent in seconds.",
            stat.cpu_s,
        );
        put(
            "process_virtual_memory_bytes",
            "gauge",
            "Virtual memory size in bytes.",
            stat.virtual_bytes as f64,
        );
        put(
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory size in bytes.",
            stat.resident_bytes as f64,
        );
        put(
            "process_threads",
            "gauge",
            "Number of OS threads in the process.",
            stat.threads as f64,
        );
    }
    if let Ok(fds) = fs::read_dir("/proc/self/fd") {
        // The directory itself is one of them.
        put(
            "process_open_fds",
            "gauge",
            "Number of open file descriptors.",
            fds.count().saturating_sub(1) as f64,
        );
    }
    if let Some(max) = max_fds() {
        put(
            "process_max_fds",
            "gauge",
            "Maximum number of open file descriptors.",
            max as f64,
        );
    }
    if let Some((received, sent)) = network() {
        put(
            "process_network_receive_bytes_total",
            "counter",
            "Number of bytes received by the process over the network.",
            received as f64,
        );
        put(
            "process_network_transmit_bytes_total",
            "counter",
            "Number of bytes sent by the process over the network.",
            sent as f64,
        );
    }
}

struct Stat {
    cpu_s: f64,
    threads: u64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// Fields after the parenthesised name, which may itself contain anything.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |i: usize| fields.get(i)?.parse::<u64>().ok();
        Some(Self {
            cpu_s: (number(11)? + number(12)?) as f64 / TICKS,
            threads: number(17)?,
            virtual_bytes: number(20)?,
            resident_bytes: number(21)? * PAGE_BYTES,
        })
    }
}

fn max_fds() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// Bytes received and sent by all interfaces of our network namespace except loopback.
fn network() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/net/dev").ok()?;
    let mut sums = (0, 0);
    for line in text.lines().skip(2) {
        let (name, rest) = line.split_once(':')?;
        if name.trim() == "lo" {
            continue;
        }
        let fields: Vec<u64> = rest
            .split_whitespace()
            .filter_map(|field| field.parse().ok())
            .collect();
        sums.0 += fields.first()?;
        sums.1 += fields.get(8)?;
    }
    Some(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_odd_names() {
        let text =
            "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 3 0 100 10485760 512 1844";
        let stat = Stat::parse(text).expect("valid");
        assert_eq!(
            (2.0, 3, 10_485_760, 2_097_152),
            (
                stat.cpu_s,
                stat.threads,
                stat.virtual_bytes,
                stat.resident_bytes
            )
        );
    }
}
