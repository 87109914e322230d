//! How a model's files are read: what is measured when, and remembered.

mod common;

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{block_on, split_small};
use tilestream::internals::platform::BoxFuture;
use tilestream::internals::reads::SweepFootprint;
use tilestream::internals::shard::Model;
use tilestream::store::{Disk, Figure, MemoryStore, ReadMode, ReadPlan, Stop, Store};
use tilestream::{Error, ErrorKind, LoadOptions, ReadStrategy, Result};

const GIB: u64 = 1 << 30;
const DEEP: ReadPlan = ReadPlan { mode: ReadMode::Direct, read_bytes: 4 << 20, in_flight: 7 };

/// A disk that is fastest with direct reads, seven at a time.
struct Fake {
    objects: Arc<MemoryStore>,
    file_system: Mutex<&'static str>,
    has_direct: bool,
    mode: Mutex<ReadMode>,
    measured: AtomicUsize,
}

impl Store for Fake {
    fn len<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u64>> {
        self.objects.len(name)
    }

    fn read_at<'a>(&'a self, name: &'a str, offset_bytes: u64, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        self.objects.read_at(name, offset_bytes, buffer)
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        self.objects.list()
    }

    fn describe(&self, name: &str) -> String {
        name.to_owned()
    }

    fn disk(&self) -> Option<&dyn Disk> {
        Some(self)
    }
}

impl Disk for Fake {
    fn set_mode(&self, mode: ReadMode, _name: &str) -> Result<ReadMode> {
        let mode = if self.has_direct { mode } else { ReadMode::Buffered };
        *self.mode.lock().expect("no panic") = mode;
        Ok(mode)
    }

    fn file_system(&self) -> Option<String> {
        Some((*self.file_system.lock().expect("no panic")).to_owned())
    }

    fn measure(&self, files: &[(&str, u64)], stop: Stop<'_>) -> Result<Vec<Figure>> {
        assert!(files.iter().any(|(_, len)| *len > 0));
        if stop() {
            return Err(Error::new(ErrorKind::Cancelled, "stopped"));
        }
        self.measured.fetch_add(1, Ordering::Relaxed);
        // What the slower trial of each came to.
        let slower = match self.file_system().as_deref() {
            Some("busy") => [0.1, 0.1],
            Some("shared cache") => [0.1, 1.0],
            _ => [1.0, 1.0],
        };
        let plans = [(ReadPlan::default(), 1e9, slower[0]), (DEEP, 2.5e9, slower[1])];
        let figure = |(plan, most, slower): (ReadPlan, f64, f64)| Figure {
            plan,
            trials: 2,
            least_bytes_per_s: slower * most,
            most_bytes_per_s: most,
        };
        Ok(plans.map(figure).to_vec())
    }
}

/// A model on a fake disk.
struct OnDisk {
    disk: Arc<Fake>,
    model: Model,
}

impl OnDisk {
    fn new(has_direct: bool) -> Self {
        block_on(async {
            let objects = split_small("gqa", "config.json").await.store;
            let (file_system, mode) = (Mutex::new("first"), Mutex::default());
            let disk = Arc::new(Fake { objects, file_system, has_direct, mode, measured: AtomicUsize::new(0) });
            let model = Model::open(Arc::clone(&disk) as Arc<dyn Store>).await.expect("opens");
            Self { disk, model }
        })
    }

    /// What is chosen, and how often the disk was measured so far.
    fn choose(&self, streamed: u64, cache: Option<u64>, options: &LoadOptions) -> (ReadStrategy, usize) {
        let reads = ReadStrategy::choose(&self.model, SweepFootprint { streamed, cache }, options).expect("chooses");
        assert_eq!(reads.plan.mode, *self.mode.lock().expect("no panic"), "the store reads so");
        (reads, self.measured.load(Ordering::Relaxed))
    }
}

impl Deref for OnDisk {
    type Target = Fake;

    fn deref(&self) -> &Fake {
        &self.disk
    }
}

// One test, for what is remembered lies in a folder that the whole process shares.
#[test]
fn a_disk_is_measured_once_and_only_where_it_matters() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // SAFETY: the only test of this program, before it starts threads.
    unsafe { std::env::set_var("XDG_CACHE_HOME", folder.path()) };
    let (on_disk, auto) = (OnDisk::new(true), LoadOptions::default());

    for (why, streamed, cache) in [
        ("all tiles stay on the GPU", 0, Some(0)),
        ("a short sweep", GIB - 1, Some(0)),
        ("the cache holds it", 8 * GIB, Some(8 * GIB)),
        ("nobody knows what the cache holds", 8 * GIB, None),
    ] {
        assert_eq!(on_disk.choose(streamed, cache, &auto), (ReadStrategy::default(), 0), "{why}");
    }
    for mode in [ReadMode::Direct, ReadMode::Uring, ReadMode::Buffered] {
        let said = LoadOptions::default().io(mode);
        let (reads, measured) = on_disk.choose(8 * GIB, Some(0), &said);
        assert_eq!((reads.plan, measured), (ReadPlan { mode, ..ReadPlan::default() }, 0));
    }

    let stopped = LoadOptions::default();
    stopped.cancel.cancel();
    let large = SweepFootprint { streamed: 8 * GIB, cache: Some(8 * GIB - 1) };
    let error = ReadStrategy::choose(&on_disk.model, large, &stopped).expect_err("stopped");
    assert_eq!(error.kind(), ErrorKind::Cancelled);

    let (first, measured) = on_disk.choose(large.streamed, large.cache, &auto);
    assert_eq!((first.plan, first.measured, measured), (DEEP, true, 1));
    let shown = "reads: direct, 4 MiB, 7 in flight (measured now: buffered, 4 MiB, 3 in flight 1.00 to 1.00 GB/s; direct, \
                 4 MiB, 7 in flight 2.50 to 2.50 GB/s)";
    assert_eq!(first.to_string(), shown);
    let (again, measured) = on_disk.choose(GIB, Some(GIB - 1), &stopped);
    assert_eq!((again, measured), (ReadStrategy { measured: false, ..first }, 1), "remembered");
    *on_disk.file_system.lock().expect("no panic") = "second";
    assert_eq!(on_disk.choose(GIB, Some(0), &auto).1, 2, "another file system is measured");

    *on_disk.file_system.lock().expect("no panic") = "busy";
    for measured in [3, 4] {
        let (reads, times) = on_disk.choose(GIB, Some(0), &auto);
        assert_eq!((reads.plan, times), (ReadPlan::default(), measured), "nothing certain, nothing kept");
    }
    *on_disk.file_system.lock().expect("no panic") = "shared cache";
    for measured in [5, 6] {
        let (reads, times) = on_disk.choose(GIB, Some(0), &auto);
        assert_eq!((reads.plan, times), (DEEP, measured), "faster all the same, and not kept");
    }

    let without = OnDisk::new(false);
    assert_eq!(without.choose(GIB, Some(0), &auto).0.plan, ReadPlan { mode: ReadMode::Buffered, ..DEEP });

    let elsewhere = block_on(Model::open(Arc::clone(&on_disk.objects) as Arc<dyn Store>)).expect("opens");
    let direct = LoadOptions::default().io(ReadMode::Direct);
    assert_eq!(ReadStrategy::choose(&elsewhere, large, &auto).expect("chooses"), ReadStrategy::default());
    let error = ReadStrategy::choose(&elsewhere, large, &direct).expect_err("no disk");
    assert_eq!(error.kind(), ErrorKind::Argument);
}
