//! Which blocks of a file have been verified.

use std::ops::Range;

use crate::store::Revision;
use crate::store::cache::Bits;

/// What this process knows of a file. It holds for one revision: a file that changed must be verified again.
#[derive(Default)]
pub(super) struct FileState {
    revision: Option<Revision>,
    /// A bit for each block; made when the first is verified, so that the file's length has been checked.
    verified: Bits,
    count: u64,
    changed: bool,
}

impl FileState {
    /// The revision that the verified blocks are of.
    pub(super) fn revision(&self) -> Option<Revision> {
        self.revision
    }

    /// Whether the file changed after blocks of it were verified.
    pub(super) fn has_changed(&self) -> bool {
        self.changed
    }

    pub(super) fn is_verified(&self, block: u64) -> bool {
        self.verified.get(block)
    }

    /// Forgets what was verified of another revision.
    pub(super) fn see(&mut self, revision: Option<Revision>) {
        if self.revision != revision {
            self.changed |= self.count > 0;
            self.revision = revision;
            self.forget();
        }
    }

    /// Forgets everything that was verified.
    pub(super) fn forget(&mut self) {
        (self.verified, self.count) = (Bits::default(), 0);
    }

    /// Notes that blocks of a revision are right, of `total`; true where all of them are now.
    pub(super) fn mark(&mut self, revision: Option<Revision>, blocks: Range<u64>, total: u64) -> bool {
        self.see(revision);
        if self.count == 0 {
            self.verified = Bits::new(total);
        }
        self.count += blocks.map(|block| u64::from(self.verified.set(block))).sum::<u64>();
        self.count == total
    }
}
