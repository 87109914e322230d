//! How a disk is read: the ways, what they were measured to give, and the choice among them.

use std::fmt;

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
    /// Past it too, by io_uring (Linux): each read in pieces, of which several are in flight, and one is copied meanwhile.
    #[serde(rename = "io_uring")]
    Uring,
}

impl fmt::Display for ReadMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReadMode::Buffered => "buffered",
            ReadMode::Direct => "direct",
            ReadMode::Uring => "io_uring",
        })
    }
}

/// How files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadPlan {
    /// Through the system's cache, or past it.
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
    /// How it was read.
    pub plan: ReadPlan,
    /// How often it was tried.
    pub trials: u32,
    /// Of the slowest trial.
    pub least_bytes_per_s: f64,
    /// Of the fastest trial.
    pub most_bytes_per_s: f64,
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
    /// At most 1.5 s and 1.6 GB, more or less. Empty where the system does not let its cache be emptied, or the files are
    /// small.
    ///
    /// # Errors
    /// Those of reads; [`ErrorKind::Cancelled`](crate::ErrorKind) where `stop` says so.
    fn measure(&self, files: &[(&str, u64)], stop: Stop<'_>) -> Result<Vec<Figure>>;
}

/// Direct reads are taken where they reach this share of the buffered rate: they leave the cache alone.
const NEARLY: f64 = 0.95;
/// Another size or depth than the usual has to be so much faster: a short measurement is not exact.
const CLEARLY: f64 = 1.1;
/// Trials of one plan that lie further apart say that something else used the disk.
const STEADY: f64 = 0.5;

/// The plan for files that are larger than the cache, and read from their beginning to their end again and again: of such
/// reads the cache serves none, so the disk's rate decides. What takes the place of another plan is judged by its slowest trial
/// against the other's fastest.
pub fn choose(figures: &[Figure]) -> ReadPlan {
    let of = |plan: ReadPlan| figures.iter().find(|figure| figure.plan == plan);
    let usual = ReadPlan::default();
    let Some(buffered) = of(usual) else { return usual };
    let direct = of(ReadPlan { mode: ReadMode::Direct, ..usual });
    let base =
        direct.filter(|direct| direct.least_bytes_per_s >= NEARLY * buffered.most_bytes_per_s).unwrap_or(buffered);
    let faster = figures.iter().filter(|figure| figure.least_bytes_per_s >= CLEARLY * base.most_bytes_per_s);
    let best = faster.max_by(|a, b| a.least_bytes_per_s.total_cmp(&b.least_bytes_per_s));
    best.unwrap_or(base).plan
}

/// Whether figures say enough to choose by: the usual plan was tried twice.
pub fn is_enough(figures: &[Figure]) -> bool {
    figures.iter().any(|figure| figure.plan == ReadPlan::default() && figure.trials > 1)
}

/// Whether figures are good for longer: there are enough, and no plan's trials lie far apart.
pub fn is_steady(figures: &[Figure]) -> bool {
    is_enough(figures) && figures.iter().all(|figure| figure.least_bytes_per_s >= STEADY * figure.most_bytes_per_s)
}

#[cfg(test)]
mod tests {
    use super::ReadMode::{Buffered, Direct, Uring};
    use super::*;

    fn plan(mode: ReadMode, mib: u64, in_flight: usize) -> ReadPlan {
        ReadPlan { mode, read_bytes: mib << 20, in_flight }
    }

    /// What a case is called, each plan with the rates of its trials, and what is chosen.
    type Case<'a> = (&'a str, &'a [(ReadPlan, &'a [f64])], ReadPlan);

    /// A figure of trials that gave these rates.
    fn figure(plan: ReadPlan, rates: &[f64]) -> Figure {
        let (least, most) = rates.iter().fold((f64::MAX, 0.0), |(least, most), rate| (rate.min(least), rate.max(most)));
        Figure { plan, trials: rates.len() as u32, least_bytes_per_s: least, most_bytes_per_s: most }
    }

    #[test]
    fn the_fastest_plan_is_chosen_and_the_usual_one_in_doubt() {
        let (buffered, direct) = (plan(Buffered, 4, 3), plan(Direct, 4, 3));
        let (deep, single, large) = (plan(Direct, 4, 7), plan(Direct, 4, 1), plan(Buffered, 8, 3));
        let table: &[Case<'_>] = &[
            ("nothing is known", &[], buffered),
            ("the usual was not measured", &[(deep, &[1.0])], buffered),
            ("no direct reads", &[(buffered, &[1.0]), (plan(Buffered, 4, 7), &[1.05])], buffered),
            ("equal: past the cache", &[(buffered, &[1.0, 0.97]), (direct, &[0.96, 1.0])], direct),
            ("buffered is faster", &[(buffered, &[1.0]), (direct, &[0.9])], buffered),
            ("direct is faster", &[(buffered, &[1.0]), (direct, &[1.4])], direct),
            ("direct was faster once", &[(buffered, &[1.0, 1.0]), (direct, &[1.4, 0.7])], buffered),
            ("buffered was slow once", &[(buffered, &[0.2, 1.0]), (direct, &[0.8, 0.8])], buffered),
            ("seeks are dear", &[(buffered, &[0.9]), (direct, &[1.0]), (single, &[1.3])], single),
            ("depth pays", &[(buffered, &[1.0]), (direct, &[2.0]), (deep, &[3.0])], deep),
            ("depth paid once", &[(buffered, &[1.0]), (direct, &[2.0, 2.0]), (deep, &[2.0, 3.0])], direct),
            ("direct pays with depth", &[(buffered, &[1.0]), (direct, &[0.5]), (deep, &[1.2])], deep),
            ("size pays", &[(buffered, &[1.0]), (large, &[1.2]), (direct, &[0.5])], large),
            (
                "pieces in flight pay",
                &[(buffered, &[1.0]), (direct, &[1.2]), (plan(Uring, 4, 1), &[1.4])],
                plan(Uring, 4, 1),
            ),
            ("they hardly pay", &[(buffered, &[1.0]), (direct, &[1.2]), (plan(Uring, 4, 3), &[1.3])], direct),
            ("hardly pays", &[(buffered, &[1.0]), (direct, &[1.0]), (deep, &[1.05]), (large, &[1.09])], direct),
        ];
        for (name, rates, expected) in table {
            let figures: Vec<_> = rates.iter().map(|(plan, rates)| figure(*plan, rates)).collect();
            assert_eq!(choose(&figures), *expected, "{name}");
            let turned: Vec<_> = figures.into_iter().rev().collect();
            assert_eq!(choose(&turned), *expected, "{name}, turned round");
        }
    }

    #[test]
    fn figures_of_a_disk_that_others_used_are_not_for_long() {
        let usual = ReadPlan::default();
        let steady = |others: &[f64]| is_steady(&[figure(usual, &[1.0, 0.8]), figure(plan(Direct, 4, 3), others)]);
        assert!(steady(&[2.0, 1.1]) && steady(&[0.3]));
        assert!(!steady(&[2.0, 0.9]));
        for few in [&[figure(usual, &[1.0])][..], &[]] {
            assert!(!is_steady(few) && !is_enough(few));
        }
        assert!(is_enough(&[figure(usual, &[1.0, 0.1])]));
    }
}
