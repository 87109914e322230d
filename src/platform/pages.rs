//! Memory that disks write to.

use std::io;
use std::ops::Range;

use memmap2::MmapMut;

/// What such memory begins at a multiple of, in bytes: the huge page of most processors.
const ALIGNMENT: usize = 2 << 20;

/// Memory on huge pages, where the system has some to give. A disk fills a huge page in one stretch, where pages of 4 KiB lie
/// scattered: a disk that a hypervisor emulates is asked for each of those by itself, which costs it more than the bytes.
#[derive(Debug, Default)]
pub struct PageMemory {
    map: Option<MmapMut>,
    aligned: Range<usize>,
}

impl PageMemory {
    /// The first `len` bytes, with whatever was in them. Where there are not as many yet, all are new, and zero.
    ///
    /// # Errors
    /// Where the system has no memory.
    pub fn bytes(&mut self, len: usize) -> io::Result<&mut [u8]> {
        if self.map.is_none() || self.aligned.len() < len {
            let whole = len.checked_next_multiple_of(ALIGNMENT).ok_or(io::ErrorKind::OutOfMemory)?;
            let mapped = whole.checked_add(ALIGNMENT).ok_or(io::ErrorKind::OutOfMemory)?;
            self.map = None;
            let map = MmapMut::map_anon(mapped)?;
            // A wish: without huge pages the same memory is slower to fill.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            let start = map.as_ptr().align_offset(ALIGNMENT);
            self.aligned = start..start + whole;
            self.map = Some(map);
        }
        let start = self.aligned.start;
        let bytes = self.map.as_mut().and_then(|map| map.get_mut(start..start + len));
        bytes.ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_kept_until_it_must_grow() {
        let mut memory = PageMemory::default();
        for (len, first) in [(0, None), (5, Some(0)), (ALIGNMENT, Some(7)), (ALIGNMENT + 1, Some(0)), (3, Some(7))] {
            let bytes = memory.bytes(len).expect("memory");
            assert_eq!((bytes.len(), bytes.as_ptr().align_offset(ALIGNMENT)), (len, 0));
            assert_eq!(bytes.first().copied(), first, "{len} bytes");
            bytes.fill(7);
        }
        for too_much in [usize::MAX / 4, usize::MAX] {
            assert!(memory.bytes(too_much).is_err(), "more than any machine has");
        }
        assert_eq!(memory.bytes(1).expect("memory"), [0], "an error leaves it usable");
    }
}
