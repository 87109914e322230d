//! The pages of one group of layers, and the tables in which sequences have them.

use crate::gpu::CountedBuffer;
use crate::gpu::kernels::PAGE_TOKENS;

/// Pages of a sequence in one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageTable {
    /// The page that `pages` begins with, counted from the start of the text.
    pub first: u32,
    pub pages: Vec<u32>,
    /// Pages that hold nothing yet, the next one last.
    pub(super) spare: Vec<u32>,
}

impl PageTable {
    /// Pages that the sequence can use. A page before page `seen` of the text can be filled anew, unless others have it too.
    pub(super) fn held(&self, pool: &Pool, seen: u32) -> u64 {
        let behind = self.pages.iter().take(seen.saturating_sub(self.first) as usize);
        let shared = behind.filter(|page| pool.is_shared(**page)).count();
        (self.pages.len() - shared + self.spare.len()) as u64
    }

    /// The page of a position.
    pub(super) fn page_of(&self, position: u32) -> Option<u32> {
        self.pages.get((position / PAGE_TOKENS).checked_sub(self.first)? as usize).copied()
    }
}

#[derive(Debug)]
pub(super) struct Segment {
    pub buffer: CountedBuffer,
    pub first_page: u32,
    pub pages: u32,
}

/// The pages of a group.
#[derive(Debug, Default)]
pub(super) struct Pool {
    pub segments: Vec<Segment>,
    /// Highest number first, so that pages are handed out in order.
    pub free: Vec<u32>,
    /// How many sequences and snapshots have each page.
    pub owners: Vec<u32>,
}

impl Pool {
    pub(super) fn is_shared(&self, page: u32) -> bool {
        self.owners[page as usize] > 1
    }

    pub(super) fn take(&mut self) -> Option<u32> {
        let page = self.free.pop()?;
        self.owners[page as usize] = 1;
        Some(page)
    }

    pub(super) fn give_back(&mut self, pages: impl Iterator<Item = u32>) {
        for page in pages {
            let owners = &mut self.owners[page as usize];
            *owners -= 1;
            if *owners == 0 {
                self.free.push(page);
            }
        }
        self.free.sort_unstable_by(|a, b| b.cmp(a));
    }

    pub(super) fn segment_of(&self, page: u32) -> usize {
        self.segments.partition_point(|segment| segment.first_page <= page).saturating_sub(1)
    }
}
