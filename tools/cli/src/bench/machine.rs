//! What the machine has, and what others use of it.

/// Processors that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Seconds that all processors have worked since the machine started, for whomever; time that a hypervisor gave to others
/// counts. None where the system does not tell, or speaks of other processors than this process may use.
pub fn busy_cpu_s() -> Option<f64> {
    #[cfg(target_os = "linux")]
    {
        let ticks = busy_ticks(&std::fs::read_to_string("/proc/stat").ok()?, cores())?;
        Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Of `/proc/stat` (<https://docs.kernel.org/filesystems/proc.html>): user, nice, system, irq, softirq and steal; not idle
/// and iowait. Guests' time is in that of users.
#[cfg(target_os = "linux")]
fn busy_ticks(stat: &str, cores: usize) -> Option<u64> {
    let of_core =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if stat.lines().filter(of_core).count() != cores {
        return None;
    }
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else { return None };
    [user, nice, system, irq, softirq, steal].into_iter().try_fold(0_u64, u64::checked_add)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn idle_processors_are_not_busy() {
        let text = "cpu  100 20 3 5000 600 7 8 9 50 4\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 3\n";
        assert_eq!(busy_ticks(text, 1), Some(147));
        assert_eq!(busy_ticks(text, 2), None, "another core works for somebody else");
        for odd in ["", "cpu 1 2 3\ncpu0 1 2 3", "cpu a b c d e f g h\ncpu0 1", "cpu0 1 2 3 4 5 6 7 8"] {
            assert_eq!(busy_ticks(odd, 1), None, "{odd:?}");
        }
    }
}
