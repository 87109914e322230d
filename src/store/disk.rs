//! How a disk is read: the ways, what they were measured to give, and the choice among them.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::platform::MaybeSend;

/// Whether reads go through the system's file cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadMode {
    /// Through the cache, which keeps what is read as long as it has room.
    #[default]
    Buffered,
    /// Past it: nothing else is pushed out, and a copy is saved where file and memory lie on pages; but the disk is asked every
    /// time.
    Direct,
}

/// How files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadPlan {
    pub mode: ReadMode,
    /// Bytes of one read.
    pub read_bytes: u64,
    /// Reads at the same time.
    pub in_flight: usize,
}

impl Default for ReadPlan {
    /// What suits most disks, and a file that the cache holds.
    fn default() -> Self {
        Self { mode: ReadMode::Buffered, read_bytes: 4 << 20, in_flight: 3 }
    }
}

/// What a disk gave to a plan, for bytes that the cache did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub plan: ReadPlan,
    pub bytes_per_s: f64,
}

/// Asked between reads whether to stop.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// A store on a disk of this machine.
pub trait Disk: MaybeSend {
    /// Reads in `mode` from now on, where the file system lets `name` be read so; returns the mode that it is.
    ///
    /// # Errors
    /// Those of opening `name`.
    fn set_mode(&self, mode: ReadMode, name: &str) -> Result<ReadMode>;

    /// A name for the file system, the same in every process; none where it has none.
    fn file_system(&self) -> Option<String>;

    /// What plans give on parts of `files` (with their lengths in bytes), which are taken out of the system's cache first.
    /// At most 1.5 s and 1.5 GB, more or less. Empty where the system does not let its cache be emptied, or the files are
    /// small.
    ///
    /// # Errors
    /// Those of reads; [`ErrorKind::Cancelled`](crate::ErrorKind) where `stop` says so.
    fn measure(&self, files: &[(&str, u64)], stop: Stop<'_>) -> Result<Vec<Figure>>;
}

/// Direct reads are taken where they reach this share of the buffered rate: they leave the cache alone.
const NEARLY: f64 = 0.95;
/// The usual size and depth are kept where they reach this share of the best rate: a short measurement is not exact.
const USUAL: f64 = 0.9;

/// The plan for files that are larger than the cache, and read from their beginning to their end again and again: of such
/// reads the cache serves none, so the disk's rate decides.
pub fn choose(figures: &[Figure]) -> ReadPlan {
    let best = |mode: ReadMode| {
        let of_mode = figures.iter().filter(|figure| figure.plan.mode == mode && figure.bytes_per_s.is_finite());
        of_mode.copied().max_by(|a, b| a.bytes_per_s.total_cmp(&b.bytes_per_s))
    };
    let best = match (best(ReadMode::Buffered), best(ReadMode::Direct)) {
        (Some(buffered), Some(direct)) if direct.bytes_per_s < NEARLY * buffered.bytes_per_s => buffered,
        (_, Some(direct)) => direct,
        (Some(buffered), None) => buffered,
        (None, None) => return ReadPlan::default(),
    };
    let usual = ReadPlan { mode: best.plan.mode, ..ReadPlan::default() };
    let is_fast = |figure: &Figure| figure.plan == usual && figure.bytes_per_s >= USUAL * best.bytes_per_s;
    if figures.iter().any(is_fast) { usual } else { best.plan }
}

#[cfg(test)]
mod tests {
    use super::ReadMode::{Buffered, Direct};
    use super::*;

    fn plan(mode: ReadMode, mib: u64, in_flight: usize) -> ReadPlan {
        ReadPlan { mode, read_bytes: mib << 20, in_flight }
    }

    #[test]
    fn the_fastest_plan_is_chosen_and_the_usual_one_among_equals() {
        let (buffered, direct) = (plan(Buffered, 4, 3), plan(Direct, 4, 3));
        let table: &[(&str, &[(ReadPlan, f64)], ReadPlan)] = &[
            ("nothing is known", &[], ReadPlan::default()),
            ("no direct reads", &[(buffered, 1.0), (plan(Buffered, 4, 7), 1.05)], buffered),
            ("equal: past the cache", &[(buffered, 1.0), (direct, 0.96)], direct),
            ("buffered is faster", &[(buffered, 1.0), (direct, 0.9)], buffered),
            ("direct is faster", &[(buffered, 1.0), (direct, 1.4)], direct),
            ("seeks are dear", &[(direct, 1.0), (plan(Direct, 4, 1), 1.3)], plan(Direct, 4, 1)),
            ("depth pays", &[(buffered, 1.0), (direct, 2.0), (plan(Direct, 4, 7), 3.0)], plan(Direct, 4, 7)),
            ("size pays", &[(buffered, 1.0), (plan(Buffered, 8, 3), 1.2), (direct, 0.5)], plan(Buffered, 8, 3)),
            ("hardly pays", &[(direct, 1.0), (plan(Direct, 8, 3), 1.1), (plan(Direct, 2, 3), 1.08)], direct),
            ("the usual was not measured", &[(plan(Direct, 4, 7), 1.0)], plan(Direct, 4, 7)),
            ("no number", &[(direct, f64::NAN), (buffered, f64::INFINITY)], ReadPlan::default()),
        ];
        for (name, rates, expected) in table {
            let figures: Vec<_> = rates.iter().map(|(plan, rate)| Figure { plan: *plan, bytes_per_s: *rate }).collect();
            assert_eq!(choose(&figures), *expected, "{name}");
            let turned: Vec<_> = figures.into_iter().rev().collect();
            assert_eq!(choose(&turned), *expected, "{name}, turned round");
        }
    }
}
