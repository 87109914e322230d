//! What this process has used of the machine so far, and what is left of it. None where the system does not tell, rather
//! than a wrong number.

/// Seconds that processors worked for this process: user and system, all threads, no children.
pub fn cpu_s() -> Option<f64> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Some(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
    }
    #[cfg(not(unix))]
    None
}

/// The most physical memory that this process had at once, in bytes.
pub fn peak_memory_bytes() -> Option<u64> {
    field("/proc/self/status", "VmHWM")
}

/// Bytes that this process had fetched from disks: what the system's file cache held is not among them.
pub fn disk_read_bytes() -> Option<u64> {
    field("/proc/self/io", "read_bytes")
}

/// The number after `name:` in a file of Linux's `/proc`; there is no such file elsewhere.
pub(super) fn field(path: &str, name: &str) -> Option<u64> {
    number(&std::fs::read_to_string(path).ok()?, name)
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let mut words = line.split_whitespace();
    let value: u64 = words.next()?.parse().ok()?;
    match words.next() {
        None => Some(value),
        Some("kB") => value.checked_mul(1024),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let text = "VmHWMs:\t 7 kB\nVmHWM:\t     34 kB\nread_bytes: 4096\nodd: 3 miles\nempty:\n";
        assert_eq!(number(text, "VmHWM"), Some(34 << 10));
        assert_eq!(number(text, "read_bytes"), Some(4096));
        for absent in ["VmPeak", "odd", "empty", "VmHWMs:"] {
            assert_eq!(number(text, absent), None, "{absent}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_all() {
        let before = cpu_s().expect("a clock");
        let mut sum = 0_u64;
        while cpu_s().expect("a clock") <= before {
            sum = std::hint::black_box(sum.wrapping_mul(3) + 1);
        }
        assert!(peak_memory_bytes() > Some(1 << 20));
        assert!(crate::platform::available_memory_bytes() > Some(1 << 20));
        assert!(disk_read_bytes().is_some());
    }
}
