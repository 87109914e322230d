//! How fast the machine allows a sweep to be: arithmetic on what was measured.
//!
//! On a GPU uploads and shaders take turns on one queue, while the disk works beside them. On a processor's adapter reading,
//! copying and computing share the cores.

use serde::Serialize;
use tilestream::internals::stream::Stage;
use tilestream::monitor::Interval;

/// What some sweeps did, in all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// From the first sweep's begin to the last one's end.
    pub seconds: f64,
    pub sweeps: u64,
    /// Of all threads; none where the system does not tell.
    pub cpu_s: Option<f64>,
    /// That other programs used meanwhile, all cores together.
    pub other_cpu_s: Option<f64>,
    /// That a hypervisor kept from this machine meanwhile, all cores together.
    pub stolen_cpu_s: Option<f64>,
    /// That disks gave; none where the system does not tell.
    pub disk_bytes: Option<u64>,
    /// That travelled to the GPU, from files or from memory.
    pub streamed_bytes: u64,
    /// Of them those that `--ram` kept.
    pub ram_bytes: u64,
    /// Seconds in which the GPU's queue computed, and in which it copied.
    pub compute_s: f64,
    pub copy_s: f64,
}

impl Work {
    /// All of it, one after the other.
    pub fn sum(pieces: &[Self]) -> Self {
        pieces.iter().copied().reduce(Self::and).unwrap_or_default()
    }

    /// Whether the disk gave enough for its rate to matter: more than a hundredth of what streamed.
    pub fn uses_disk(&self) -> bool {
        // Programs read themselves too, and the system may read more than was asked for.
        self.disk_bytes.is_some_and(|bytes| bytes.min(self.streamed_bytes) > self.streamed_bytes / 100)
    }

    fn and(self, other: Self) -> Self {
        let both = |a: Option<f64>, b: Option<f64>| Some(a? + b?);
        Self {
            seconds: self.seconds + other.seconds,
            sweeps: self.sweeps + other.sweeps,
            cpu_s: both(self.cpu_s, other.cpu_s),
            other_cpu_s: both(self.other_cpu_s, other.other_cpu_s),
            stolen_cpu_s: both(self.stolen_cpu_s, other.stolen_cpu_s),
            disk_bytes: self.disk_bytes.and_then(|bytes| bytes.checked_add(other.disk_bytes?)),
            streamed_bytes: self.streamed_bytes + other.streamed_bytes,
            ram_bytes: self.ram_bytes + other.ram_bytes,
            compute_s: self.compute_s + other.compute_s,
            copy_s: self.copy_s + other.copy_s,
        }
    }
}

/// What the machine does without an engine around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// Shaders run on the processor.
    pub cpu_adapter: bool,
    pub cores: usize,
    /// Of plain reads from the disk; none where that could not be measured.
    pub disk_bytes_per_s: Option<f64>,
    /// Of copies to the GPU; none where shaders read the windows themselves.
    pub upload_bytes_per_s: Option<f64>,
}

/// The parts of a limit in seconds, and how near the engine came to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limit {
    /// What came from the disk, at the rate of plain reads; none where either is unknown.
    pub disk_s: Option<f64>,
    /// What travelled to the GPU, at the rate of plain copies; 0 where shaders read the windows themselves.
    pub upload_s: f64,
    /// In which the GPU computed; none where shaders run on the processor.
    pub gpu_compute_s: Option<f64>,
    /// In which processors worked, divided by their number; a part of the limit only where shaders run on them.
    pub cpu_s: Option<f64>,
    /// That a hypervisor kept from the processors, divided by their number: it carries out the disk's reads, and may give
    /// time to others. No part of the limit.
    pub stolen_s: Option<f64>,
    pub limit_s: Option<f64>,
    /// The part that decides: `disk`, `GPU` or `CPU`.
    pub bound_by: Option<&'static str>,
    /// The limit in percent of the time that it took. Where the disk's part is unknown, it is at least this.
    pub reached_percent: Option<f64>,
    /// The same of what the hypervisor left of that time; none where the processors do not decide.
    pub reached_of_left_percent: Option<f64>,
    /// As `reached_percent`, of the piece of work that came nearest: where other programs use the machine, the one they
    /// disturbed least.
    pub best_percent: Option<f64>,
}

impl Limit {
    /// The limit of equal pieces of work, on average.
    pub fn of_each(pieces: &[Work], machine: &Machine) -> Self {
        let best = pieces.iter().filter_map(|piece| Self::of(piece, machine, 1).reached_percent).reduce(f64::max);
        Self { best_percent: best, ..Self::of(&Work::sum(pieces), machine, pieces.len() as u64) }
    }

    /// The limit of `work`, for one of `count` equal pieces of it.
    fn of(work: &Work, machine: &Machine, count: u64) -> Self {
        let each = |seconds: f64| seconds / count.max(1) as f64;
        let disk_s = match (work.disk_bytes, machine.disk_bytes_per_s) {
            (Some(0), _) => Some(0.0),
            (Some(bytes), Some(rate)) => Some(each(bytes as f64 / rate)),
            _ => None,
        };
        let upload_s = machine.upload_bytes_per_s.map_or(0.0, |rate| each(work.streamed_bytes as f64 / rate));
        let gpu_compute_s = (!machine.cpu_adapter).then(|| each(work.compute_s));
        let of_a_core = |seconds: f64| each(seconds) / machine.cores.max(1) as f64;
        let cpu_s = work.cpu_s.map(of_a_core);
        let (rest, name) = match gpu_compute_s {
            Some(compute_s) => (Some(upload_s + compute_s), "GPU"),
            None => (cpu_s, "CPU"),
        };
        let disk = disk_s.map(|seconds| (seconds, "disk"));
        let rest = rest.map(|seconds| (seconds, name));
        let most = [rest, disk].into_iter().flatten().reduce(|a, b| if b.0 > a.0 { b } else { a });
        // Without the processor's share the disk's alone says nothing.
        let most = most.filter(|_| rest.is_some());
        let reached_percent = most.filter(|_| work.seconds > 0.0).map(|(limit, _)| 100.0 * limit / each(work.seconds));
        let (limit_s, bound_by) = (most.map(|most| most.0), most.map(|most| most.1));
        let stolen_s = work.stolen_cpu_s.map(of_a_core);
        let left_s = stolen_s.map(|stolen_s| each(work.seconds) - stolen_s).filter(|left_s| *left_s > 0.0);
        let of_left = limit_s.filter(|_| bound_by == Some("CPU")).zip(left_s);
        Self {
            disk_s,
            upload_s,
            gpu_compute_s,
            cpu_s,
            stolen_s,
            limit_s,
            bound_by,
            reached_percent,
            reached_of_left_percent: of_left.map(|(limit_s, left_s)| 100.0 * limit_s / left_s),
            best_percent: reached_percent,
        }
    }
}

/// Seconds in which the GPU's one queue computed and copied within a span. An interval lasts from a submit to its end as it
/// was noticed; as the queue keeps its order, a piece of work begins no earlier than the one before it ends.
pub fn queue_seconds(intervals: &[Interval], begin_s: f64, end_s: f64) -> (f64, f64) {
    let queued = |interval: &&Interval| {
        let within = interval.end_s > begin_s && interval.begin_s < end_s;
        within && matches!(interval.stage, Stage::Compute | Stage::Upload)
    };
    let mut queue: Vec<&Interval> = intervals.iter().filter(queued).collect();
    queue.sort_by(|a, b| a.end_s.total_cmp(&b.end_s).then(a.begin_s.total_cmp(&b.begin_s)));
    let (mut free_s, mut compute_s, mut copy_s) = (begin_s, 0.0, 0.0);
    for interval in queue {
        let until = interval.end_s.min(end_s);
        let own = (until - interval.begin_s.max(free_s)).max(0.0);
        free_s = free_s.max(until);
        match interval.stage {
            Stage::Compute => compute_s += own,
            _ => copy_s += own,
        }
    }
    (compute_s, copy_s)
}

/// Seconds of some sweeps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one number; zeros of none.
    pub fn of(values: &[f64]) -> Self {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        let last = values.len().saturating_sub(1);
        Self { median: (at(last / 2) + at(last.div_ceil(2))) / 2.0, min: at(0), max: at(last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPU: Machine =
        Machine { cpu_adapter: false, cores: 4, disk_bytes_per_s: Some(100.0), upload_bytes_per_s: Some(200.0) };
    const CPU: Machine = Machine { cpu_adapter: true, upload_bytes_per_s: None, ..GPU };
    const WORK: Work = Work {
        seconds: 20.0,
        sweeps: 2,
        cpu_s: Some(32.0),
        other_cpu_s: None,
        stolen_cpu_s: None,
        disk_bytes: Some(400),
        streamed_bytes: 1000,
        ram_bytes: 0,
        compute_s: 6.0,
        copy_s: 5.0,
    };

    #[test]
    fn the_longest_part_decides() {
        let slow_disk = Work { disk_bytes: Some(1800), ..WORK };
        // Work, machine, disk, upload, limit, the part that decides, percent: of one of two sweeps of ten seconds.
        let rows = [
            (WORK, GPU, Some(2.0), 2.5, Some(5.5), Some("GPU"), Some(55.0)),
            (slow_disk, GPU, Some(9.0), 2.5, Some(9.0), Some("disk"), Some(90.0)),
            (WORK, Machine { upload_bytes_per_s: None, ..GPU }, Some(2.0), 0.0, Some(3.0), Some("GPU"), Some(30.0)),
            (WORK, CPU, Some(2.0), 0.0, Some(4.0), Some("CPU"), Some(40.0)),
            (WORK, Machine { cores: 2, ..CPU }, Some(2.0), 0.0, Some(8.0), Some("CPU"), Some(80.0)),
            (slow_disk, CPU, Some(9.0), 0.0, Some(9.0), Some("disk"), Some(90.0)),
            // Nothing came from the disk: its rate does not matter.
            (
                Work { disk_bytes: Some(0), ..WORK },
                Machine { disk_bytes_per_s: None, ..CPU },
                Some(0.0),
                0.0,
                Some(4.0),
                Some("CPU"),
                Some(40.0),
            ),
            // What is not known of the disk leaves the other parts.
            (WORK, Machine { disk_bytes_per_s: None, ..CPU }, None, 0.0, Some(4.0), Some("CPU"), Some(40.0)),
            (Work { disk_bytes: None, ..WORK }, GPU, None, 2.5, Some(5.5), Some("GPU"), Some(55.0)),
            // What is not known of the processor leaves nothing to say on its own adapter, and everything on a GPU.
            (Work { cpu_s: None, ..WORK }, CPU, Some(2.0), 0.0, None, None, None),
            (Work { cpu_s: None, ..WORK }, GPU, Some(2.0), 2.5, Some(5.5), Some("GPU"), Some(55.0)),
        ];
        for (row, (work, machine, disk_s, upload_s, limit_s, bound_by, percent)) in rows.into_iter().enumerate() {
            let limit = Limit::of(&work, &machine, work.sweeps);
            assert_eq!((limit.disk_s, limit.upload_s), (disk_s, upload_s), "row {row}");
            assert_eq!(
                (limit.limit_s, limit.bound_by, limit.reached_percent),
                (limit_s, bound_by, percent),
                "row {row}"
            );
        }
    }

    #[test]
    fn what_a_hypervisor_kept_is_no_part_of_the_limit_and_told_apart() {
        let stolen = Work { stolen_cpu_s: Some(16.0), ..WORK };
        let of = |work: Work, machine| {
            let limit = Limit::of(&work, &machine, 2);
            (limit.stolen_s, limit.limit_s, limit.reached_percent, limit.reached_of_left_percent)
        };
        assert_eq!(of(stolen, CPU), (Some(2.0), Some(4.0), Some(40.0), Some(50.0)));
        assert_eq!(of(stolen, GPU), (Some(2.0), Some(5.5), Some(55.0), None), "the processors do not decide");
        assert_eq!(of(Work { stolen_cpu_s: Some(80.0), ..WORK }, CPU).3, None, "all of it");
        assert_eq!(of(WORK, CPU), (None, Some(4.0), Some(40.0), None));
    }

    #[test]
    fn the_least_disturbed_piece_is_told_apart() {
        let disturbed = Work { seconds: 60.0, ..WORK };
        let limit = Limit::of_each(&[disturbed, WORK], &CPU);
        assert_eq!((limit.limit_s, limit.reached_percent, limit.best_percent), (Some(8.0), Some(20.0), Some(40.0)));
        assert_eq!(Limit::of_each(&[], &CPU).best_percent, None);
    }

    #[test]
    fn nothing_done_is_no_percentage() {
        let limit = Limit::of(&Work::default(), &GPU, 0);
        assert_eq!((limit.limit_s, limit.reached_percent), (Some(0.0), None));
    }

    #[test]
    fn work_adds_up_and_what_is_unknown_stays_so() {
        let both = Work::sum(&[WORK, WORK]);
        assert_eq!((both.seconds, both.sweeps, both.cpu_s, both.disk_bytes), (40.0, 4, Some(64.0), Some(800)));
        assert_eq!((both.streamed_bytes, both.compute_s, both.copy_s, both.other_cpu_s), (2000, 12.0, 10.0, None));
        assert_eq!(WORK.and(Work { cpu_s: None, disk_bytes: None, ..WORK }).cpu_s, None);
        assert_eq!(Work { disk_bytes: None, ..WORK }.and(WORK).disk_bytes, None);
    }

    #[test]
    fn a_disk_matters_that_gave_more_than_a_hundredth() {
        let table = [(Some(400), true), (Some(11), true), (Some(10), false), (Some(0), false), (None, false)];
        for (disk_bytes, expected) in table {
            assert_eq!(Work { disk_bytes, ..WORK }.uses_disk(), expected, "{disk_bytes:?} of 1000");
        }
        assert!(!Work { streamed_bytes: 0, ..WORK }.uses_disk(), "nothing streams");
    }

    #[test]
    fn a_queue_does_one_thing_after_the_other() {
        let at = |stage, begin_s, end_s| Interval { stage, sweep: 0, load: 0, begin_s, end_s };
        let (compute, upload, read) = (Stage::Compute, Stage::Upload, Stage::Read);
        let rows: [(&[Interval], (f64, f64)); 6] = [
            (&[], (0.0, 0.0)),
            // Apart, with a pause that belongs to nobody.
            (&[at(upload, 1.0, 2.0), at(compute, 3.0, 5.0)], (2.0, 1.0)),
            // The copy was asked for while the queue computed, and the next product while it copied.
            (&[at(compute, 1.0, 4.0), at(upload, 2.0, 6.0), at(compute, 2.5, 9.0)], (6.0, 2.0)),
            // Two ends that were noticed together.
            (&[at(upload, 1.0, 4.0), at(compute, 2.0, 4.0)], (0.0, 3.0)),
            // Reads are beside the queue; what reaches beyond the span is cut.
            (&[at(read, 0.0, 9.0), at(compute, -3.0, 1.0), at(upload, 8.0, 12.0)], (1.0, 2.0)),
            (&[at(compute, 11.0, 12.0), at(upload, -2.0, -1.0)], (0.0, 0.0)),
        ];
        for (row, (intervals, expected)) in rows.into_iter().enumerate() {
            assert_eq!(queue_seconds(intervals, 0.0, 10.0), expected, "row {row}");
        }
    }

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        let spread = |values: &[f64]| {
            let Spread { median, min, max } = Spread::of(values);
            (median, min, max)
        };
        assert_eq!(spread(&[]), (0.0, 0.0, 0.0));
        assert_eq!(spread(&[3.0]), (3.0, 3.0, 3.0));
        assert_eq!(spread(&[4.0, 1.0, 2.0]), (2.0, 1.0, 4.0));
        assert_eq!(spread(&[8.0, 1.0, 2.0, 4.0]), (3.0, 1.0, 8.0));
    }
}
