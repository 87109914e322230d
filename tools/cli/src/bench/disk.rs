//! A plain reader over the bytes that a sweep reads: as many at a time, as large, and nothing done with them.

#[cfg(target_os = "linux")]
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use serde::Serialize;
use tilestream::platform::disk_read_bytes;
use tilestream::store::Store;
use tilestream::{Error, ErrorKind, ModelFiles, Result};

/// Bytes that are read to measure with, at most.
const SAMPLE_BYTES: u64 = 256 << 20;
/// A cold rate counts where at least this share of the bytes came from the disk indeed.
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
    pub sample_bytes: u64,
    pub largest_read_bytes: u64,
    pub reads_in_flight: usize,
    /// After the page cache was asked to drop the bytes; none where it did not, or where that cannot be told.
    pub cold_bytes_per_s: Option<f64>,
    /// Once more, from the page cache.
    pub warm_bytes_per_s: Option<f64>,
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
    /// A reader of the first of `ranges` with so many reads at a time.
    pub fn new(files: &'a ModelFiles, ranges: &[Range], in_flight: usize, stop: &'a AtomicBool) -> Self {
        let names = files.model().manifest().files.iter().map(|file| file.name.as_str()).collect();
        let (mut sample, mut bytes) = (Vec::new(), 0);
        for range in ranges {
            if bytes >= SAMPLE_BYTES {
                break;
            }
            bytes += range.len_bytes;
            sample.push(*range);
        }
        Self { store: files.model().store().as_ref(), names, ranges: sample, in_flight: in_flight.max(1), stop }
    }

    /// The best of some rounds, each cold first and then warm.
    ///
    /// # Errors
    /// Those of reading; [`ErrorKind::Cancelled`].
    pub fn measure(&self, rounds: u32) -> Result<Disk> {
        let sample_bytes: u64 = self.ranges.iter().map(|range| range.len_bytes).sum();
        let (mut cold, mut warm) = (None, None);
        let best = |best: Option<f64>, rate: f64| Some(best.map_or(rate, |best| best.max(rate)));
        for _ in 0..rounds {
            let dropped = self.drop_cached();
            let before = disk_read_bytes();
            let seconds = self.read()?;
            let from_disk = disk_read_bytes().zip(before).map(|(after, before)| after.saturating_sub(before));
            if let Some(from_disk) = from_disk.filter(|_| dropped)
                && from_disk as f64 >= LEAST_FROM_DISK * sample_bytes as f64
            {
                // The system may have read more than was asked for.
                cold = best(cold, from_disk.min(sample_bytes) as f64 / seconds);
            }
            warm = best(warm, sample_bytes as f64 / self.read()?);
        }
        Ok(Disk {
            share_in_page_cache: None,
            sample_bytes,
            largest_read_bytes: self.largest(),
            reads_in_flight: self.in_flight,
            cold_bytes_per_s: cold,
            warm_bytes_per_s: warm,
        })
    }

    fn largest(&self) -> u64 {
        self.ranges.iter().map(|range| range.len_bytes).max().unwrap_or(0)
    }

    /// Seconds of one read of everything.
    fn read(&self) -> Result<f64> {
        let next = AtomicUsize::new(0);
        // Memory that is there already, as the engine's windows are.
        let mut buffers = vec![vec![1_u8; self.largest() as usize]; self.in_flight];
        let start = Instant::now();
        std::thread::scope(|scope| {
            let next = &next;
            let read = |buffer| move || self.read_some(next, buffer);
            let threads: Vec<_> = buffers.iter_mut().map(|buffer| scope.spawn(read(buffer))).collect();
            let dead = |_| Err(Error::new(ErrorKind::Io, "a reader thread died"));
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(dead))
        })?;
        Ok(start.elapsed().as_secs_f64().max(1e-9))
    }

    fn read_some(&self, next: &AtomicUsize, buffer: &mut [u8]) -> Result<()> {
        while let Some(range) = self.ranges.get(next.fetch_add(1, Ordering::Relaxed)) {
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

    /// Asks the page cache to drop the bytes; whether it took the question.
    fn drop_cached(&self) -> bool {
        use rustix::fs::{Advice, fadvise};
        self.ranges.iter().all(|range| {
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
        let total: u64 = self.ranges.iter().map(|range| range.len_bytes).sum();
        let step = (total / PROBES).max(4096);
        let (mut here, mut asked, mut skip) = (0_u32, 0_u32, 0);
        for range in &self.ranges {
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
    fn drop_cached(&self) -> bool {
        false
    }

    /// Nobody tells.
    pub fn share_in_page_cache(&self) -> Option<f64> {
        None
    }
}
