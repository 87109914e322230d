//! A short measurement of the disk under a folder.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::direct::OpenFile;
use super::{Figure, FileStore, ReadMode, ReadPlan, Stop, Store};
use crate::{Error, ErrorKind, Result};

/// All of it.
const MOST: Duration = Duration::from_millis(1500);
/// One trial.
const TRIAL: Duration = Duration::from_millis(60);
const TRIAL_BYTES: u64 = 64 << 20;
/// The largest read. Trials take whole stretches of this size, and leave two free between them, for the system reads ahead.
const STRETCH_BYTES: u64 = 8 << 20;
const FREE_STRETCHES: usize = 2;
/// Rounds over all plans: what differs between them is not the plan.
const ROUNDS: usize = 2;
/// Reads begin here in a stretch: matrices of a model lie at multiples of it.
const OFFSET_BYTES: u64 = 256;
/// Modes, MiB of a read, and reads in flight: the usual first, for a slow disk has no time for all.
const SHAPES: [(&[ReadMode], u64, usize); 5] = [
    (EVERY_MODE, 4, 3),
    // A thread with a ring has several reads in flight, so it may do alone.
    (EVERY_MODE, 4, 1),
    (BY_THREADS, 4, 7),
    (BY_THREADS, 8, 3),
    (BY_THREADS, 2, 3),
];
const BY_THREADS: &[ReadMode] = &[ReadMode::Buffered, ReadMode::Direct];
const EVERY_MODE: &[ReadMode] = &[ReadMode::Buffered, ReadMode::Direct, ReadMode::Uring];

/// A part of a file, by its index.
type Stretch = (usize, u64);

/// What the file system of a folder is called: its device, and the number that it was given when it was made.
pub(super) fn file_system(folder: &Path) -> Option<String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let device = std::fs::metadata(folder).ok()?.dev();
        let id = rustix::fs::statvfs(folder).ok()?.f_fsid;
        Some(format!("{device:x}-{id:x}"))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// See [`Disk::measure`](super::Disk::measure).
pub(super) fn measure(store: &FileStore, files: &[(&str, u64)], stop: Stop<'_>) -> Result<Vec<Figure>> {
    let stretches: Vec<Stretch> = files.iter().enumerate().flat_map(|(file, (_, len))| stretches(file, *len)).collect();
    let mut figures: Vec<Figure> = Vec::new();
    if stretches.is_empty() || !cfg!(target_os = "linux") {
        return Ok(figures);
    }
    let (deadline, mut next) = (Instant::now() + MOST, stretches.into_iter().cycle());
    let plans = |(modes, mib, in_flight): (&'static [ReadMode], u64, usize)| {
        modes.iter().map(move |mode| ReadPlan { mode: *mode, read_bytes: mib << 20, in_flight })
    };
    let most_reads = SHAPES.iter().map(|(_, _, reads)| *reads).max().unwrap_or(1);
    let mut memory = vec![vec![1; STRETCH_BYTES as usize]; most_reads];
    for plan in (0..ROUNDS).flat_map(|_| SHAPES).flat_map(plans) {
        let part: Vec<Stretch> = next.by_ref().take((TRIAL_BYTES / STRETCH_BYTES) as usize).collect();
        next.by_ref().take(FREE_STRETCHES).for_each(drop);
        let end = deadline.min(Instant::now() + TRIAL);
        let trial = Trial { store, files, plan, stop, end };
        let Some(bytes_per_s) = trial.run(&part, &mut memory)? else { continue };
        match figures.iter_mut().find(|figure| figure.plan == plan) {
            Some(figure) => {
                figure.trials += 1;
                figure.least_bytes_per_s = figure.least_bytes_per_s.min(bytes_per_s);
                figure.most_bytes_per_s = figure.most_bytes_per_s.max(bytes_per_s);
            }
            None => {
                let (least_bytes_per_s, most_bytes_per_s) = (bytes_per_s, bytes_per_s);
                figures.push(Figure { plan, trials: 1, least_bytes_per_s, most_bytes_per_s });
            }
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    Ok(figures)
}

fn stretches(file: usize, len: u64) -> impl Iterator<Item = Stretch> {
    (0..len.saturating_sub(OFFSET_BYTES) / STRETCH_BYTES).map(move |index| (file, index * STRETCH_BYTES + OFFSET_BYTES))
}

/// One plan, once.
struct Trial<'a> {
    store: &'a FileStore,
    files: &'a [(&'a str, u64)],
    plan: ReadPlan,
    stop: Stop<'a>,
    end: Instant,
}

impl Trial<'_> {
    /// Bytes a second; none where the file system cannot be read so.
    fn run(&self, part: &[Stretch], memory: &mut [Vec<u8>]) -> Result<Option<f64>> {
        let mut open: Vec<(usize, OpenFile)> = Vec::new();
        let mut reads = Vec::new();
        for (file, start) in part {
            if open.last().is_none_or(|(last, _)| last != file) {
                let opened = self.store.open_file(self.files[*file].0, self.plan.mode)?;
                if opened.mode() != self.plan.mode {
                    return Ok(None);
                }
                forget(&opened);
                open.push((*file, opened));
            }
            let offsets = (0..STRETCH_BYTES).step_by(self.plan.read_bytes as usize);
            reads.extend(offsets.map(|offset| (open.len() - 1, start + offset)));
        }
        let (next, done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(None));
        let work = |memory: &mut [u8]| {
            while let Some((file, offset)) = reads.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (file, name) = (&open[*file].1, self.files[open[*file].0].0);
                let stopped = || Error::new(ErrorKind::Cancelled, "stopped on request");
                let read =
                    file.read_exact_at(*offset, memory).map_err(|error| Error::io(error, self.store.describe(name)));
                if let Err(error) = if (self.stop)() { Err(stopped()) } else { read } {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    break;
                }
                done.fetch_add(1, Ordering::Relaxed);
                if Instant::now() >= self.end {
                    break;
                }
            }
        };
        let start = Instant::now();
        std::thread::scope(|scope| {
            for memory in memory.iter_mut().take(self.plan.in_flight) {
                let (work, memory) = (&work, &mut memory[..self.plan.read_bytes as usize]);
                scope.spawn(move || work(memory));
            }
        });
        let bytes = done.into_inner() as f64 * self.plan.read_bytes as f64;
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(Some(bytes / start.elapsed().as_secs_f64())),
        }
    }
}

/// Takes a file out of the system's cache. A hint, but one that Linux follows; of a part it would leave what crosses its ends.
#[cfg(target_os = "linux")]
fn forget(file: &OpenFile) {
    let _ = rustix::fs::fadvise(&file.file, 0, None, rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn forget(_file: &OpenFile) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Disk;

    fn folder(bytes: u64) -> (tempfile::TempDir, FileStore) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("large"), vec![7; bytes as usize]).expect("written");
        let store = FileStore::open(folder.path()).expect("opens");
        (folder, store)
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_measurement_has_a_figure_for_what_the_disk_can_do() {
        let len = STRETCH_BYTES + OFFSET_BYTES;
        let (_folder, store) = folder(len);
        let figures = store.measure(&[("large", len)], &|| false).expect("measures");
        assert_eq!(figures[0].plan, ReadPlan::default(), "the usual plan is measured first");
        assert!(figures.len() <= SHAPES.iter().map(|(modes, ..)| modes.len()).sum());
        assert!(figures.iter().all(|figure| figure.least_bytes_per_s > 0.0), "{figures:?}");
        let known: Vec<Figure> =
            serde_json::from_slice(&serde_json::to_vec(&figures).expect("to JSON")).expect("from JSON");
        assert_eq!(known.len(), figures.len(), "can be remembered");
        assert!(store.measure(&[("large", STRETCH_BYTES)], &|| false).expect("measures").is_empty(), "too small");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_measurement_can_be_stopped_and_tells_of_files_that_are_gone() {
        let len = STRETCH_BYTES + OFFSET_BYTES;
        let (_folder, store) = folder(len);
        let kind = |name: &str, stop: bool| store.measure(&[(name, len)], &|| stop).err().map(|error| error.kind());
        assert_eq!(kind("large", true), Some(ErrorKind::Cancelled));
        assert_eq!(kind("absent", false), Some(ErrorKind::NotFound));
        assert_eq!(kind("../large", false), Some(ErrorKind::Argument));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_system_has_one_name() {
        let (folder, store) = folder(1);
        let other = FileStore::open(folder.path()).expect("opens");
        assert!(store.file_system().is_some_and(|name| Some(name) == other.file_system()));
    }
}
