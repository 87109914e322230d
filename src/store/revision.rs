//! What tells whether a file is still the one that it was.

/// One state of an object: another one after it was replaced or written to. It is made of what the file system says, not of
/// the bytes, so asking costs next to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision(u64);

impl Revision {
    /// The revision of an object whose changes are counted.
    pub(super) fn count(changes: u64) -> Self {
        Self(changes)
    }

    /// The revision of a file: which file it is, its length, when its bytes and its entry last changed, and its names (a
    /// file that another one took the place of has one less).
    #[cfg(unix)]
    pub(super) fn of(file: &std::fs::File) -> std::io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let of = file.metadata()?;
        let times = [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()].map(i64::cast_unsigned);
        Ok(Self::hash([of.dev(), of.ino(), of.size(), of.nlink()].into_iter().chain(times)))
    }

    /// The revision of a file: its length, and when it was made and last written to.
    #[cfg(windows)]
    pub(super) fn of(file: &std::fs::File) -> std::io::Result<Self> {
        use std::os::windows::fs::MetadataExt;
        let of = file.metadata()?;
        Ok(Self::hash([of.file_size(), of.creation_time(), of.last_write_time()].into_iter()))
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn hash(facts: impl Iterator<Item = u64>) -> Self {
        let bytes: Vec<u8> = facts.flat_map(u64::to_le_bytes).collect();
        Self(xxhash_rust::xxh3::xxh3_64(&bytes))
    }
}
