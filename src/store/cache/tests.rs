use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use pollster::block_on;

use super::*;

const BLOCK: u64 = 16;
const HASH: u64 = 7;

fn open(place: &FolderCache) -> BlockCache {
    let files = block_on(place.open(&[JOURNAL, "a", "b"])).expect("opens");
    BlockCache::open(files, HASH, vec![100, 40], BLOCK, place.is_writer()).expect("opens")
}

fn read(cache: &BlockCache, file: u32, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    cache.read(file, offset, &mut Window::from_slice(&mut bytes)).expect("reads");
    bytes
}

#[test]
fn what_was_kept_is_there_the_next_time() {
    let folder = tempfile::tempdir().expect("a folder");
    {
        let place = FolderCache::create(folder.path()).expect("made");
        let cache = open(&place);
        assert!(cache.keep(0, 2, &[5; 32]) && cache.keep(0, 6, &[6; 4]) && cache.keep(1, 0, &[7; 16]));
        assert_eq!((cache.kept_bytes(), cache.total_bytes()), (32 + 4 + 16, 140));
        assert!(cache.keeps(0, 3) && !cache.trusts(0, 3), "not durable yet");
    }
    let place = FolderCache::create(folder.path()).expect("made");
    let cache = open(&place);
    let here: Vec<_> = (0..7).filter(|block| cache.trusts(0, *block)).collect();
    assert_eq!((here, cache.kept_bytes()), (vec![2, 3, 6], 52));
    assert_eq!(read(&cache, 0, 40, 24), [vec![5; 24]].concat());
    let journal = std::fs::read(folder.path().join(JOURNAL)).expect("a journal");
    assert_eq!(journaled_bytes(&journal, &[100, 40], BLOCK), 52);
    for (journal, lens) in [(&journal[..], &[100][..]), (&journal[1..], &[100, 40]), (&[], &[100, 40])] {
        assert_eq!(journaled_bytes(journal, lens, BLOCK), 0, "not theirs");
    }
    assert!(cache.trusts(1, 0) && !cache.keeps(1, 1) && !cache.keeps(9, 0) && !cache.keeps(0, 999));
}

#[test]
fn a_second_process_reads_and_does_not_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = FolderCache::create(folder.path()).expect("made");
    let cache = open(&first);
    assert!(cache.keep(0, 0, &[1; 16]));
    cache.flush().expect("flushes");
    let second = FolderCache::create(folder.path()).expect("made");
    assert!(first.is_writer() && !second.is_writer());
    let other = open(&second);
    assert!(other.trusts(0, 0) && !other.keep(0, 1, &[2; 16]));
    assert_eq!(read(&other, 0, 0, 16), vec![1; 16]);
    assert!(cache.keep(0, 1, &[2; 16]), "the first still writes");
}

#[test]
fn a_journal_of_another_model_or_another_length_is_started_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = FolderCache::create(folder.path()).expect("made");
    assert!(open(&place).keep(0, 0, &[1; 16]));
    let files = || block_on(place.open(&[JOURNAL, "a", "b"])).expect("opens");
    let other = BlockCache::open(files(), HASH + 1, vec![100, 40], BLOCK, true).expect("opens");
    assert_eq!(other.kept_bytes(), 0);
    drop(other);
    let longer = BlockCache::open(files(), HASH + 1, vec![10_000, 40], BLOCK, true).expect("opens");
    assert_eq!(longer.kept_bytes(), 0);
}

/// Files that fail from some write on, as a full disk does, or forget that they were flushed.
struct Faulty {
    inner: Arc<dyn CacheFiles>,
    writes_left: AtomicU64,
    lost_power: AtomicBool,
}

impl CacheFiles for Faulty {
    fn len(&self, file: usize) -> Result<u64> {
        self.inner.len(file)
    }

    fn read_at(&self, file: usize, offset: u64, window: &mut Window<'_>) -> Result<()> {
        self.inner.read_at(file, offset, window)
    }

    fn write_at(&self, file: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        let left = self.writes_left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        left.map_err(|_| Error::new(ErrorKind::NoSpace, "the disk is full"))?;
        self.inner.write_at(file, offset, bytes)
    }

    fn flush(&self, _file: usize) -> Result<()> {
        match self.lost_power.load(Relaxed) {
            true => Err(Error::new(ErrorKind::Io, "the power is gone")),
            false => Ok(()),
        }
    }
}

fn faulty(place: &FolderCache, writes: u64, lost_power: bool) -> BlockCache {
    let inner = block_on(place.open(&[JOURNAL, "a", "b"])).expect("opens");
    let files = Faulty { inner, writes_left: writes.into(), lost_power: lost_power.into() };
    BlockCache::open(Arc::new(files), HASH, vec![100, 40], BLOCK, true).expect("opens")
}

#[test]
fn a_full_disk_ends_the_writing_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = FolderCache::create(folder.path()).expect("made");
    let cache = faulty(&place, 5, false);
    let kept: Vec<bool> = (0..6).map(|block| cache.keep(0, block, &[1; 16])).collect();
    assert_eq!(kept, [true, false, false, false, false, false]);
    assert!(cache.failure().is_some_and(|why| why.contains("full")));
    assert_eq!(read(&cache, 0, 0, 16), vec![1; 16]);
}

#[test]
fn without_a_flush_blocks_are_kept_but_not_trusted() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = FolderCache::create(folder.path()).expect("made");
    assert!(faulty(&place, 99, true).keep(0, 1, &[1; 16]));
    let cache = open(&place);
    assert!(cache.keeps(0, 1) && !cache.trusts(0, 1));
}
