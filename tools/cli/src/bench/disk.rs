//! A plain reader over the bytes that a sweep reads: as many at a time, as large, and nothing done with them.

#[cfg(target_os = "linux")]
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tilestream::internals::platform::disk_read_bytes;
use tilestream::store::Store;
use tilestream::{Error, ErrorKind, ModelFiles, Result};

/// Bytes that a pass reads at most: long enough for a fast disk to come to its rate.
const MOST_BYTES: u64 = 2 << 30;
/// The same where the page cache gave all that streamed, so that the disk's rate matters to nobody.
const MOST_BYTES_FROM_CACHE: u64 = 256 << 20;
/// A pass takes no further range after this: long enough for a slow disk.
const MOST_TIME: Duration = Duration::from_secs(2);
/// A pass is cold where at least this share of the bytes came from the disk indeed.
const LEAST_FROM_DISK: f64 = 0.5;

/// A byte range of one of the model's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub file: u32,
    pub offset_bytes: u64,
    pub len_bytes: u64,
}

/// What plain reads came to.
#[derive(Clone, Debug, Serialize)]
pub struct Disk {
    /// Of the bytes that a sweep streams, the share that the page cache held before the sweeps; none where nobody tells.
    pub share_in_page_cache: Option<f64>,
    /// Of the longest pass over a run of the ranges that a sweep streams.
    pub sample_bytes: u64,
    /// Of all these ranges.
    pub largest_read_bytes: u64,
    pub reads_in_flight: usize,
    /// After the page cache was asked to drop the bytes; none where it did not, or where that cannot be told.
    pub cold_bytes_per_s: Option<f64>,
    /// Once more, from the page cache.
    pub warm_bytes_per_s: Option<f64>,
}

/// One read of a run of ranges.
struct Pass {
    /// How many were read before time was up.
    ranges: usize,
    bytes: u64,
    seconds: f64,
    /// Bytes that disks gave meanwhile; none where the system does not tell.
    from_disk: Option<u64>,
}

impl Pass {
    /// Whether the disk gave most of it; not where nobody tells.
    fn is_from_disk(&self) -> bool {
        self.from_disk.is_some_and(|from_disk| from_disk as f64 >= LEAST_FROM_DISK * self.bytes as f64)
    }
}

fn len_bytes(ranges: &[Range]) -> u64 {
    ranges.iter().map(|range| range.len_bytes).sum()
}

fn largest(ranges: &[Range]) -> u64 {
    ranges.iter().map(|range| range.len_bytes).max().unwrap_or(0)
}

/// Consecutive ranges of `most_bytes` or little more, or all. Each round's run begins further on, so that they spread over
/// all ranges; after the last comes the first.
fn run(ranges: &[Range], round: u32, rounds: u32, most_bytes: u64) -> Vec<Range> {
    let before = u128::from(len_bytes(ranges)) * u128::from(round) / u128::from(rounds.max(1));
    let mut passed = 0;
    let ends_after = |range: &Range| {
        passed += u128::from(range.len_bytes);
        passed > before
    };
    let begin = ranges.iter().position(ends_after).unwrap_or(0);
    let mut bytes = 0;
    let has_room = |range: &Range| {
        let has_room = bytes < most_bytes;
        bytes += range.len_bytes;
        has_room
    };
    ranges[begin..].iter().chain(&ranges[..begin]).copied().take_while(has_room).collect()
}

/// Measures plain reads of files.
pub struct Reader<'a> {
    store: &'a dyn Store,
    names: Vec<&'a str>,
    ranges: Vec<Range>,
    in_flight: usize,
    stop: &'a AtomicBool,
}

impl<'a> Reader<'a> {
    /// A reader of `ranges`, which a sweep reads in this order, with so many reads at a time.
    pub fn new(files: &'a ModelFiles, ranges: &[Range], in_flight: usize, stop: &'a AtomicBool) -> Self {
        let names = files.model().manifest().files.iter().map(|file| file.name.as_str()).collect();
        let (store, ranges) = (files.model().store().as_ref(), ranges.to_vec());
        Self { store, names, ranges, in_flight: in_flight.max(1), stop }
    }

    /// The best of some rounds, each of another run of ranges, cold first and then warm. The runs are long only where the
    /// disk's rate matters (`uses_disk`). The store reads in the mode in which the engine had it read.
    ///
    /// # Errors
    /// Those of reading; [`ErrorKind::Cancelled`].
    pub fn measure(&self, rounds: u32, uses_disk: bool) -> Result<Disk> {
        let most_bytes = if uses_disk { MOST_BYTES } else { MOST_BYTES_FROM_CACHE };
        let (mut sample_bytes, mut cold, mut warm) = (0, None, None);
        let best = |best: Option<f64>, rate: f64| Some(best.map_or(rate, |best| best.max(rate)));
        for round in 0..rounds {
            let run = run(&self.ranges, round, rounds, most_bytes);
            let dropped = self.drop_cached(&run);
            let first = self.read(&run, MOST_TIME)?;
            sample_bytes = first.bytes.max(sample_bytes);
            if let Some(from_disk) = first.from_disk.filter(|_| dropped)
                && first.is_from_disk()
            {
                // The system may have read more than was asked for.
                cold = best(cold, from_disk.min(first.bytes) as f64 / first.seconds);
            }
            let again = self.read(&run[..first.ranges], MOST_TIME)?;
            // Direct reads pass the cache.
            if !again.is_from_disk() {
                warm = best(warm, again.bytes as f64 / again.seconds);
            }
        }
        Ok(Disk {
            share_in_page_cache: None,
            sample_bytes,
            largest_read_bytes: largest(&self.ranges),
            reads_in_flight: self.in_flight,
            cold_bytes_per_s: cold,
            warm_bytes_per_s: warm,
        })
    }

    /// Reads `ranges` in order, and takes no further one once `most_time` has passed.
    fn read(&self, ranges: &[Range], most_time: Duration) -> Result<Pass> {
        let next = AtomicUsize::new(0);
        // Memory that is there already, as the engine's windows are.
        let mut buffers = vec![vec![1_u8; largest(ranges) as usize]; self.in_flight];
        let before = disk_read_bytes();
        let start = Instant::now();
        // Whoever takes a range reads it whole, and somebody takes the first.
        let take = || {
            let is_late = next.load(Ordering::Relaxed) > 0 && start.elapsed() >= most_time;
            if is_late { None } else { ranges.get(next.fetch_add(1, Ordering::Relaxed)) }
        };
        std::thread::scope(|scope| {
            let read = |buffer| || self.read_some(&take, buffer);
            let threads: Vec<_> = buffers.iter_mut().map(|buffer| scope.spawn(read(buffer))).collect();
            let dead = |_| Err(Error::new(ErrorKind::Io, "a reader thread died"));
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(dead))
        })?;
        let seconds = start.elapsed().as_secs_f64().max(1e-9);
        let from_disk = disk_read_bytes().zip(before).map(|(after, before)| after.saturating_sub(before));
        let taken = next.load(Ordering::Relaxed).min(ranges.len());
        Ok(Pass { ranges: taken, bytes: len_bytes(&ranges[..taken]), seconds, from_disk })
    }

    /// One of the reads at a time: one range after the other.
    fn read_some<'b>(&self, take: &impl Fn() -> Option<&'b Range>, buffer: &mut [u8]) -> Result<()> {
        while let Some(range) = take() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Cancelled, "stopped"));
            }
            let name = self.names[range.file as usize];
            let bytes = &mut buffer[..range.len_bytes as usize];
            pollster::block_on(self.store.read_at(name, range.offset_bytes, bytes))?;
        }
        Ok(())
    }
}

/// What only Linux tells and does.
#[cfg(target_os = "linux")]
impl Reader<'_> {
    /// The file of a range.
    fn open(&self, range: &Range) -> std::io::Result<File> {
        File::open(self.store.describe(self.names[range.file as usize]))
    }

    /// Asks the page cache to drop the bytes of `ranges`; whether it took the question.
    fn drop_cached(&self, ranges: &[Range]) -> bool {
        use rustix::fs::{Advice, fadvise};
        ranges.iter().all(|range| {
            let advise =
                |file: File| fadvise(&file, range.offset_bytes, range.len_bytes.try_into().ok(), Advice::DontNeed);
            self.open(range).is_ok_and(|file| advise(file).is_ok())
        })
    }

    /// The share of the bytes that the page cache holds, of pages spread over them; none where the file system cannot say.
    pub fn share_in_page_cache(&self) -> Option<f64> {
        use rustix::fs::{Advice, fadvise};
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        const PROBES: u64 = 1024;
        let step = (len_bytes(&self.ranges) / PROBES).max(4096);
        let (mut here, mut asked, mut skip) = (0_u32, 0_u32, 0);
        for range in &self.ranges {
            if skip >= range.len_bytes {
                skip -= range.len_bytes;
                continue;
            }
            let file = self.open(range).ok()?;
            // So that a question brings no more than its own page.
            fadvise(&file, 0, None, Advice::Random).ok()?;
            while skip < range.len_bytes {
                let mut byte = [0];
                let slices = &mut [std::io::IoSliceMut::new(&mut byte)];
                match preadv2(&file, slices, range.offset_bytes + skip, ReadWriteFlags::NOWAIT) {
                    Ok(_) => here += 1,
                    Err(Errno::AGAIN) => {}
                    Err(_) => return None,
                }
                asked += 1;
                skip += step;
            }
            skip -= range.len_bytes;
        }
        (asked > 0).then(|| f64::from(here) / f64::from(asked))
    }
}

#[cfg(not(target_os = "linux"))]
impl Reader<'_> {
    fn drop_cached(&self, _ranges: &[Range]) -> bool {
        false
    }

    /// Nobody tells.
    pub fn share_in_page_cache(&self) -> Option<f64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tilestream::store::MemoryStore;

    /// Ranges of these lengths, one after the other in one file.
    fn ranges(lengths: &[u64]) -> Vec<Range> {
        let mut offset_bytes = 0;
        let range = |len_bytes: &u64| {
            offset_bytes += len_bytes;
            Range { file: 0, offset_bytes: offset_bytes - len_bytes, len_bytes: *len_bytes }
        };
        lengths.iter().map(range).collect()
    }

    #[test]
    fn runs_begin_where_the_last_ones_did_not() {
        let even = ranges(&[10; 6]);
        // Round, of how many, bytes at most, the indices of the ranges.
        let table: &[(u32, u32, u64, &[usize])] = &[
            (0, 3, 20, &[0, 1]),
            (1, 3, 20, &[2, 3]),
            (2, 3, 20, &[4, 5]),
            (0, 3, 21, &[0, 1, 2]),
            (2, 3, 30, &[4, 5, 0]),
            (1, 2, u64::MAX, &[3, 4, 5, 0, 1, 2]),
            (0, 1, 60, &[0, 1, 2, 3, 4, 5]),
            (0, 1, 1, &[0]),
            // More rounds than ranges: some begin alike.
            (59, 60, 10, &[5]),
            (9, 60, 10, &[0]),
        ];
        for (round, rounds, most_bytes, expected) in table {
            let expected: Vec<Range> = expected.iter().map(|index| even[*index]).collect();
            assert_eq!(run(&even, *round, *rounds, *most_bytes), expected, "round {round} of {rounds}, {most_bytes}");
        }
        let odd = ranges(&[1, 50, 1, 8]);
        assert_eq!(run(&odd, 1, 2, 9), odd[1..2], "half of the bytes have passed within the second");
        assert_eq!(run(&[], 1, 2, 9), [], "nothing to read");
    }

    #[test]
    fn a_pass_reads_all_or_ends_behind_a_range_when_time_is_up() {
        let store = MemoryStore::new();
        store.insert("a", vec![7; 100]);
        let stop = AtomicBool::new(false);
        let (names, all) = (vec!["a"], ranges(&[30, 20, 50]));
        let reader =
            |in_flight| Reader { store: &store, names: names.clone(), ranges: all.clone(), in_flight, stop: &stop };
        let pass = reader(2).read(&all, Duration::MAX).expect("reads");
        assert_eq!((pass.ranges, pass.bytes), (3, 100));
        let pass = reader(1).read(&all, Duration::ZERO).expect("reads");
        assert_eq!((pass.ranges, pass.bytes), (1, 30), "one was begun, and is read whole");
        let disk = reader(2).measure(3, true).expect("measures");
        assert_eq!((disk.sample_bytes, disk.largest_read_bytes, disk.reads_in_flight), (100, 50, 2));
        assert!(disk.cold_bytes_per_s.is_none() && disk.warm_bytes_per_s.is_some(), "memory is no disk");
        stop.store(true, Ordering::Relaxed);
        let error = reader(1).measure(1, true).map(|_| ()).expect_err("was stopped");
        assert_eq!(error.kind(), ErrorKind::Cancelled);
    }

    #[test]
    fn what_the_disk_gave_tells_cold_from_warm() {
        let table = [(Some(100), true), (Some(200), true), (Some(50), true), (Some(49), false), (None, false)];
        for (from_disk, expected) in table {
            let pass = Pass { ranges: 1, bytes: 100, seconds: 1.0, from_disk };
            assert_eq!(pass.is_from_disk(), expected, "{from_disk:?} of 100");
        }
    }
}
