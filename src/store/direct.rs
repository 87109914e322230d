//! Open files, and reads of them that go past the system's file cache. The disk then writes straight to memory, but only
//! whole pages of a file to whole pages of memory: what a caller asks for beyond that goes through a buffer.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::path::Path;

use super::file::read_exact_at;
use super::{ReadMode, Revision, uring};
use crate::platform::PageMemory;

/// Offsets, lengths and memory of direct reads are multiples of this, which satisfies all common disks and file systems.
pub(super) const ALIGNMENT: usize = 4096;
/// Bytes of a thread's buffer: large enough for a disk, small enough to stay in the processor's cache.
const BOUNCE_BYTES: usize = 1 << 20;

/// An open file and how it is read.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub file: File,
    mode: ReadMode,
    opened: Revision,
}

impl OpenFile {
    /// Opens a file to be read in `mode`: directly where this process has no io_uring, buffered where the file system has no
    /// direct reads.
    pub(super) fn open(path: &Path, mode: ReadMode) -> io::Result<Self> {
        let direct = if mode == ReadMode::Buffered { None } else { open_direct(path)? };
        let (file, mode) = match direct {
            None => (File::open(path)?, ReadMode::Buffered),
            Some(file) if mode == ReadMode::Uring && uring::is_possible() => (file, ReadMode::Uring),
            Some(file) => (file, ReadMode::Direct),
        };
        Ok(Self { opened: Revision::of(&file)?, file, mode })
    }

    /// The file's state when it was opened.
    pub(super) fn opened(&self) -> Revision {
        self.opened
    }

    /// How the file is read.
    pub(super) fn mode(&self) -> ReadMode {
        self.mode
    }

    /// Fills the buffer, which it never reads from.
    pub(super) fn read_exact_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self.mode {
            ReadMode::Buffered => read_exact_at(&self.file, offset_bytes, buffer),
            ReadMode::Direct => read_direct(&self.file, offset_bytes, buffer),
            // The plain read knows every error's name, or a way around it.
            ReadMode::Uring => {
                uring::read(&self.file, offset_bytes, buffer).or_else(|_| read_direct(&self.file, offset_bytes, buffer))
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> io::Result<Option<File>> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    // Some file systems take the flag and refuse the read.
    let tried = opened.and_then(|file| read_direct(&file, 0, &mut [0]).map(|()| file));
    match tried {
        Ok(file) => Ok(Some(file)),
        // An empty file, or no direct reads here; if it is anything else, opening it again tells.
        Err(_) => Ok(None),
    }
}

#[cfg(target_vendor = "apple")]
fn open_direct(path: &Path) -> io::Result<Option<File>> {
    let file = File::open(path)?;
    Ok(rustix::fs::fcntl_nocache(&file, true).is_ok().then_some(file))
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn open_direct(_path: &Path) -> io::Result<Option<File>> {
    Ok(None)
}

fn read_direct(file: &File, mut offset_bytes: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        let aligned = offset_bytes.is_multiple_of(ALIGNMENT as u64) && buffer.as_ptr().align_offset(ALIGNMENT) == 0;
        let pages = if aligned { buffer.len() / ALIGNMENT * ALIGNMENT } else { 0 };
        // Mapped memory of a GPU may be none that a disk can write to; the buffer serves where this fails.
        let straight = (pages > 0).then(|| read_at(file, offset_bytes, &mut buffer[..pages]).ok()).flatten();
        let read = match straight {
            Some(read) => read,
            None => read_bounced(file, offset_bytes, buffer)?,
        };
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before the range"));
        }
        buffer = &mut buffer[read..];
        offset_bytes += read as u64;
    }
    Ok(())
}

/// Reads the pages around (the beginning of) a range into this thread's buffer, and copies. Returns the bytes copied.
fn read_bounced(file: &File, offset_bytes: u64, target: &mut [u8]) -> io::Result<usize> {
    thread_local!(static BOUNCE: RefCell<PageMemory> = RefCell::default());
    let before = (offset_bytes % ALIGNMENT as u64) as usize;
    let len = target.len().min(BOUNCE_BYTES - before);
    let pages = (before + len).next_multiple_of(ALIGNMENT);
    BOUNCE.with_borrow_mut(|memory| {
        let bounce = memory.bytes(pages)?;
        let read = read_at(file, offset_bytes - before as u64, bounce)?;
        let len = read.saturating_sub(before).min(len);
        target[..len].copy_from_slice(&bounce[before..before + len]);
        Ok(len)
    })
}

/// One read; short where the file ends.
fn read_at(file: &File, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(file, buffer, offset_bytes);
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(file, buffer, offset_bytes);
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file of `len` bytes and ways to read it past the cache; none, with a message, where the file system or the kernel
    /// refuses.
    fn opened(len: usize) -> (tempfile::NamedTempFile, Vec<OpenFile>, Vec<u8>) {
        let bytes: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
        // Beside this program, for the folder of temporary files is often memory.
        let program = std::env::current_exe().expect("a path");
        let file = tempfile::NamedTempFile::new_in(program.parent().expect("a folder")).expect("a file");
        std::fs::write(file.path(), &bytes).expect("written");
        let mut open = Vec::new();
        for mode in [ReadMode::Direct, ReadMode::Uring] {
            let opened = OpenFile::open(file.path(), mode).expect("opens");
            match opened.mode() == mode {
                true => open.push(opened),
                false => println!("skipped: no {mode} reads of {}", file.path().display()),
            }
        }
        (file, open, bytes)
    }

    /// Reads without the way around what a ring refuses.
    fn read(open: &OpenFile, offset: usize, target: &mut [u8]) -> io::Result<()> {
        match open.mode() {
            ReadMode::Uring => uring::read(&open.file, offset as u64, target),
            _ => open.read_exact_at(offset as u64, target),
        }
    }

    #[test]
    fn direct_reads_give_the_same_bytes_wherever_they_begin_and_end() {
        // More than a ring has in flight.
        let len = 9 * BOUNCE_BYTES + 12_345;
        let (_file, open, bytes) = opened(len);
        let edges = (0..len, 0..len, 0..ALIGNMENT);
        let near = |at: usize| (at / ALIGNMENT * ALIGNMENT).min(len);
        let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let run = runner.run(&edges, |(start, end, skip)| {
            // The range as it is, up to the tail, and with ends on pages, in memory that is aligned or not.
            for range in [start.min(end)..start.max(end), start..len, near(start)..len, near(start.min(end))..near(end)]
            {
                for (open, skip) in open.iter().flat_map(|open| [(open, skip), (open, 0)]) {
                    let mut memory = PageMemory::default();
                    let target = &mut memory.bytes(skip + range.len()).expect("memory")[skip..];
                    read(open, range.start, target).expect("reads");
                    prop_assert!(target == &bytes[range.clone()], "{}: {range:?} into memory at {skip}", open.mode());
                }
            }
            Ok(())
        });
        run.expect("all ranges");
    }

    #[test]
    fn the_end_of_a_file_is_an_error_of_its_own() {
        for len in [ALIGNMENT, 2 * ALIGNMENT + 5, 5 * BOUNCE_BYTES + 5] {
            let (_file, open, bytes) = opened(len);
            let mut memory = PageMemory::default();
            for open in open {
                // The last of them has reads in flight when the first comes back short.
                for (offset, size) in [
                    (0, len + 1),
                    (len - 1, 2),
                    (len, 1),
                    (len + ALIGNMENT, ALIGNMENT),
                    (0, len + 4 * ALIGNMENT),
                    (len - 1, 8 * BOUNCE_BYTES),
                ] {
                    let target = memory.bytes(size).expect("memory");
                    for error in [read(&open, offset, target), open.read_exact_at(offset as u64, target)] {
                        let error = error.expect_err("past the end");
                        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{size} bytes at {offset} of {len}");
                    }
                    let whole = memory.bytes(len).expect("memory");
                    read(&open, 0, whole).expect("reads after an error");
                    assert!(whole == bytes);
                }
                read(&open, len, &mut []).expect("nothing is there to read");
            }
        }
    }
}
