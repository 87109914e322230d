use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pollster::block_on;

use super::*;

const BLOCK: u64 = 16;
const HASH: u64 = 7;

fn files(place: &FolderCache) -> Arc<dyn CacheFiles> {
    block_on(place.open(&[JOURNAL, CHECKSUMS, "a", "b"])).expect("opens")
}

fn open(place: &FolderCache) -> BlockCache {
    BlockCache::open(files(place), HASH, vec![100, 40], BLOCK, place.is_writer())
}

impl BlockCache {
    fn put(&self, file: u32, first_block: u64, bytes: &[u8]) -> bool {
        block_on(self.keep(file, first_block, bytes))
    }
}

fn read(cache: &BlockCache, file: u32, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    block_on(cache.read(file, offset, &mut Window::from_slice(&mut bytes))).expect("reads");
    bytes
}

#[test]
fn what_was_kept_is_there_the_next_time() {
    let folder = tempfile::tempdir().expect("a folder");
    {
        let place = FolderCache::create(folder.path()).expect("made");
        let cache = open(&place);
        assert!(cache.put(0, 2, &[5; 32]) && cache.put(0, 6, &[6; 4]) && cache.put(1, 0, &[7; 16]));
        assert_eq!((cache.kept_bytes(), cache.total_bytes()), (32 + 4 + 16, 140));
        cache.keep_checksums(1, &[9; 3 * 8]);
    }
    let place = FolderCache::create(folder.path()).expect("made");
    let cache = open(&place);
    let here: Vec<_> = (0..7).filter(|block| cache.keeps(0, *block)).collect();
    assert_eq!((here, cache.kept_bytes()), (vec![2, 3, 6], 52));
    assert_eq!(read(&cache, 0, 40, 24), [vec![5; 24]].concat());
    let journal = std::fs::read(folder.path().join(JOURNAL)).expect("a journal");
    assert_eq!(journaled_bytes(&journal, &[100, 40], BLOCK), 52);
    for journal in [&journal[1..], &[]] {
        assert_eq!(journaled_bytes(journal, &[100, 40], BLOCK), 0, "no journal");
    }
    assert_eq!(cache.checksums(1).expect("kept"), [9; 24]);
    assert_ne!(cache.checksums(0).ok(), Some(vec![9; 56]));
    assert!(cache.keeps(1, 0) && !cache.keeps(1, 1) && !cache.keeps(9, 0) && !cache.keeps(0, 999));
}

#[test]
fn a_second_process_reads_and_does_not_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = FolderCache::create(folder.path()).expect("made");
    let cache = open(&first);
    assert!(cache.put(0, 0, &[1; 16]));
    let second = FolderCache::create(folder.path()).expect("made");
    assert!(first.is_writer() && !second.is_writer());
    let other = open(&second);
    assert!(other.keeps(0, 0) && !other.put(0, 1, &[2; 16]));
    assert_eq!(read(&other, 0, 0, 16), vec![1; 16]);
    assert!(cache.put(0, 1, &[2; 16]), "the first still writes");
}

#[test]
fn a_journal_of_another_model_is_started_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = FolderCache::create(folder.path()).expect("made");
    assert!(open(&place).put(0, 0, &[1; 16]));
    let other = BlockCache::open(files(&place), HASH + 1, vec![100, 40], BLOCK, true);
    assert_eq!((other.kept_bytes(), other.failure()), (0, None));
    assert_eq!(open(&place).kept_bytes(), 0, "and the first one's is gone");
}

#[test]
fn a_journal_of_any_content_is_good_enough() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(JOURNAL);
    let place = FolderCache::create(folder.path()).expect("made");
    assert!(open(&place).put(0, 0, &[1; 112]) && open(&place).put(1, 2, &[1; 8]));
    let good = std::fs::read(&path).expect("reads");
    // Earlier versions held a second bit for each block behind the first ones.
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let cases: [(&str, Vec<u8>, u64); 8] = [
        ("as it is", good.clone(), 108),
        ("of an earlier version", [&good[..], &[0xFF, 0xFF]].concat(), 108),
        ("one bit less", with(&|bytes| bytes[16] ^= 1), 92),
        ("bits past the end", with(&|bytes| bytes[17] = 0xFF), 140),
        ("without the last byte", good[..17].to_vec(), 100),
        ("half a header", good[..9].to_vec(), 0),
        ("empty", Vec::new(), 0),
        ("noise", vec![0xA5; 4000], 0),
    ];
    for (what, journal, kept) in cases {
        std::fs::write(&path, journal).expect("writes");
        let cache = open(&place);
        assert_eq!((cache.kept_bytes(), cache.failure()), (kept, None), "{what}");
        assert!(cache.put(1, 2, &[1; 8]), "{what}");
        assert!(open(&place).keeps(1, 2), "{what}: it goes on from there");
    }
}

#[test]
fn a_forgotten_block_stays_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = FolderCache::create(folder.path()).expect("made");
    let cache = open(&place);
    assert!(cache.put(0, 0, &[1; 100]));
    cache.forget(0, 1..3);
    cache.forget(0, 6..7);
    assert_eq!(cache.kept_bytes(), 64);
    let kept: Vec<_> = (0..7).filter(|block| open(&place).keeps(0, *block)).collect();
    assert_eq!(kept, [0, 3, 4, 5]);
}

#[test]
fn what_others_write_is_a_change_and_what_is_kept_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = FolderCache::create(folder.path()).expect("made");
    let cache = open(&place);
    assert!(cache.put(0, 0, &[1; 100]));
    let before = cache.revision(0);
    std::thread::sleep(std::time::Duration::from_millis(12));
    assert!(cache.put(0, 0, &[1; 100]));
    assert_eq!(cache.revision(0), before, "its own");
    std::fs::write(folder.path().join("a"), [2; 100]).expect("writes");
    assert!(cache.put(0, 0, &[1; 16]), "hides it from the file system, not from the cache");
    assert_ne!(cache.revision(0), before);
}

#[test]
fn files_are_opened_as_they_are_needed_and_not_all_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = FolderCache::create(folder.path()).expect("made");
    let names: Vec<String> = (0..300).map(|file| format!("part-{file}")).collect();
    let all: Vec<&str> = OWN_FILES.into_iter().chain(names.iter().map(String::as_str)).collect();
    let open = || {
        let files = block_on(place.open(&all)).expect("opens");
        BlockCache::open(files, HASH, vec![20; 300], BLOCK, true)
    };
    let cache = open();
    for file in 0..300 {
        assert!(cache.put(file, 0, &[file as u8; 20]), "{file}: {:?}", cache.failure());
    }
    let cache = open();
    for file in (0..300).rev() {
        assert_eq!(read(&cache, file, 1, 19), [file as u8; 19]);
    }
    let links = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let here = links.filter(|link| std::fs::read_link(link.path()).is_ok_and(|path| path.starts_with(folder.path())));
    // Two caches are open, and the lock.
    assert!(here.count() <= 2 * crate::store::handles::MAX_OPEN + 1);
}

/// Files that fail from some write on, as a full disk does.
struct Faulty {
    inner: Arc<dyn CacheFiles>,
    writes_left: AtomicU64,
}

impl Faulty {
    fn step(&self) -> Result<()> {
        let left = self.writes_left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        left.map(|_| ()).map_err(|_| Error::new(ErrorKind::NoSpace, "the disk is full"))
    }
}

impl CacheFiles for Faulty {
    fn len(&self, file: usize) -> Result<u64> {
        self.inner.len(file)
    }

    fn read_at(&self, file: usize, offset: u64, window: &mut Window<'_>) -> Result<()> {
        self.inner.read_at(file, offset, window)
    }

    fn write_at(&self, file: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        self.step()?;
        self.inner.write_at(file, offset, bytes)
    }

    fn set_len(&self, file: usize, len_bytes: u64) -> Result<()> {
        self.inner.set_len(file, len_bytes)
    }

    fn describe(&self, file: usize) -> String {
        self.inner.describe(file)
    }
}

#[test]
fn a_full_disk_ends_the_writing_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = FolderCache::create(folder.path()).expect("made");
    for (writes, expected) in [(3, [true, false, false]), (2, [false; 3]), (0, [false; 3])] {
        let faulty = Faulty { inner: files(&place), writes_left: AtomicU64::new(writes) };
        let cache = BlockCache::open(Arc::new(faulty), HASH + writes, vec![100, 40], BLOCK, true);
        let kept = [0, 1, 2].map(|block| cache.put(0, block, &[1; 16]));
        assert_eq!(kept, expected, "{writes} writes");
        assert!(cache.failure().is_some_and(|why| why.contains("full")));
        assert_eq!(cache.keeps(0, 0), expected[0] || writes == 2, "{writes} writes");
    }
}
