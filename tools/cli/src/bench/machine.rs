//! What the machine has, and what others use of it.

/// Processors that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Seconds of all processors together since the machine started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessorTimes {
    /// In which they worked, for whomever.
    pub busy_s: f64,
    /// In which they would have worked and a hypervisor did not let them: it worked itself, on reads that it carries out for
    /// one, or let other machines work.
    pub stolen_s: f64,
}

impl ProcessorTimes {
    /// Until now; none where the system does not tell, or speaks of other processors than this process may use.
    pub fn now() -> Option<Self> {
        #[cfg(target_os = "linux")]
        {
            let (busy, stolen) = ticks(&std::fs::read_to_string("/proc/stat").ok()?, cores())?;
            let seconds = |ticks: u64| ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
            Some(Self { busy_s: seconds(busy), stolen_s: seconds(stolen) })
        }
        #[cfg(not(target_os = "linux"))]
        None
    }
}

/// Of `/proc/stat` (<https://docs.kernel.org/filesystems/proc.html>): user, nice, system, irq and softirq, and apart from them
/// steal; not idle and iowait. Guests' time is in that of users.
#[cfg(target_os = "linux")]
fn ticks(stat: &str, cores: usize) -> Option<(u64, u64)> {
    let of_core =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if stat.lines().filter(of_core).count() != cores {
        return None;
    }
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else { return None };
    let busy = [user, nice, system, irq, softirq].into_iter().try_fold(0_u64, u64::checked_add)?;
    Some((busy, steal))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn idle_processors_are_not_busy() {
        let text = "cpu  100 20 3 5000 600 7 8 9 50 4\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 3\n";
        assert_eq!(ticks(text, 1), Some((138, 9)));
        assert_eq!(ticks(text, 2), None, "another core works for somebody else");
        for odd in ["", "cpu 1 2 3\ncpu0 1 2 3", "cpu a b c d e f g h\ncpu0 1", "cpu0 1 2 3 4 5 6 7 8"] {
            assert_eq!(ticks(odd, 1), None, "{odd:?}");
        }
    }
}
