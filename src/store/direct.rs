//! Open files, and reads of them that go past the system's file cache. The disk then writes straight to memory, but only
//! whole pages of a file to whole pages of memory: what a caller asks for beyond that goes through a buffer.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::path::Path;

use super::ReadMode;
use super::file::read_exact_at;

/// Offsets, lengths and memory of direct reads are multiples of this, which satisfies all common disks and file systems.
pub(super) const ALIGNMENT: usize = 4096;
/// Bytes of a thread's buffer: large enough for a disk, small enough to stay in the processor's cache.
const BOUNCE_BYTES: usize = 1 << 20;

/// An open file and how it is read.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub file: File,
    direct: bool,
}

impl OpenFile {
    /// Opens a file to be read in `mode`, or buffered where its file system has no direct reads.
    pub fn open(path: &Path, mode: ReadMode) -> io::Result<Self> {
        if mode == ReadMode::Direct
            && let Some(file) = open_direct(path)?
        {
            return Ok(Self { file, direct: true });
        }
        Ok(Self { file: File::open(path)?, direct: false })
    }

    /// How the file is read.
    pub fn mode(&self) -> ReadMode {
        if self.direct { ReadMode::Direct } else { ReadMode::Buffered }
    }

    /// Fills the buffer, which it never reads from.
    pub fn read_exact_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self.direct {
            return read_direct(&self.file, offset_bytes, buffer);
        }
        read_exact_at(&self.file, offset_bytes, buffer)
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
    thread_local!(static BOUNCE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    let before = (offset_bytes % ALIGNMENT as u64) as usize;
    let len = target.len().min(BOUNCE_BYTES - before);
    let pages = (before + len).next_multiple_of(ALIGNMENT);
    BOUNCE.with_borrow_mut(|memory| {
        let bounce = aligned(memory, BOUNCE_BYTES);
        let read = read_at(file, offset_bytes - before as u64, &mut bounce[..pages])?;
        let len = read.saturating_sub(before).min(len);
        target[..len].copy_from_slice(&bounce[before..before + len]);
        Ok(len)
    })
}

/// The first `len` bytes of `memory` that a direct read can fill; it grows where it has not as many.
pub(super) fn aligned(memory: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if memory.len() < len + ALIGNMENT {
        memory.resize(len + ALIGNMENT, 0);
    }
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    &mut memory[start..start + len]
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

    /// A file of `len` bytes that is read directly; none, with a message, where the file system refuses.
    fn direct(len: usize) -> Option<(tempfile::NamedTempFile, OpenFile, Vec<u8>)> {
        let bytes: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
        // Beside this program, for the folder of temporary files is often memory.
        let program = std::env::current_exe().expect("a path");
        let file = tempfile::NamedTempFile::new_in(program.parent().expect("a folder")).expect("a file");
        std::fs::write(file.path(), &bytes).expect("written");
        let open = OpenFile::open(file.path(), ReadMode::Direct).expect("opens");
        if open.mode() == ReadMode::Buffered {
            println!("skipped: {} is on a file system without direct reads", file.path().display());
            return None;
        }
        Some((file, open, bytes))
    }

    #[test]
    fn direct_reads_give_the_same_bytes_wherever_they_begin_and_end() {
        let len = BOUNCE_BYTES + 12_345;
        let Some((_file, open, bytes)) = direct(len) else { return };
        let edges = (0..len, 0..len, 0..ALIGNMENT);
        let near = |at: usize| (at / ALIGNMENT * ALIGNMENT).min(len);
        let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let run = runner.run(&edges, |(start, end, skip)| {
            // The range as it is, up to the tail, and with ends on pages, in memory that is aligned or not.
            for range in [start.min(end)..start.max(end), start..len, near(start)..len, near(start.min(end))..near(end)]
            {
                for skip in [skip, 0] {
                    let mut memory = Vec::new();
                    let target = &mut aligned(&mut memory, skip + range.len())[skip..];
                    open.read_exact_at(range.start as u64, target).expect("reads");
                    prop_assert!(target == &bytes[range.clone()], "{range:?} into memory at {skip}");
                }
            }
            Ok(())
        });
        run.expect("all ranges");
    }

    #[test]
    fn the_end_of_a_file_is_an_error_of_its_own() {
        for len in [ALIGNMENT, 2 * ALIGNMENT + 5] {
            let Some((_file, open, bytes)) = direct(len) else { return };
            let mut memory = Vec::new();
            for (offset, size) in
                [(0, len + 1), (len - 1, 2), (len, 1), (len + ALIGNMENT, ALIGNMENT), (0, 4 * ALIGNMENT)]
            {
                let error = open.read_exact_at(offset as u64, aligned(&mut memory, size)).expect_err("past the end");
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{size} bytes at {offset} of {len}");
            }
            let tail = &mut aligned(&mut memory, len)[..];
            open.read_exact_at(0, tail).expect("reads");
            assert!(tail == bytes);
        }
    }
}
