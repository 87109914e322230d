//! Who is fetching what: readers that want the same blocks at the same time fetch them once.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use event_listener::{Event, EventListener};

/// Blocks of files that are on their way.
#[derive(Debug, Default)]
pub(super) struct Claims {
    taken: Mutex<Vec<(u32, Range<u64>)>>,
    freed: Event,
}

/// The right to fetch some blocks; dropped when they are here, or when fetching them has failed.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    claims: &'a Claims,
    file: u32,
    pub blocks: Range<u64>,
}

impl Claims {
    /// Claims blocks, up to the first that somebody else fetches. Where that is the very first one: what tells when to
    /// ask again.
    pub(super) fn claim(&self, file: u32, blocks: Range<u64>) -> Result<Claim<'_>, EventListener> {
        let mut taken = self.taken();
        let overlaps = |(other, range): &&(u32, Range<u64>)| {
            *other == file && range.start < blocks.end && blocks.start < range.end
        };
        let next = taken.iter().filter(overlaps).map(|(_, range)| range.start).min();
        let end = next.unwrap_or(blocks.end);
        if end <= blocks.start {
            // Listening begins before the lock is given back, so that no release is missed.
            return Err(self.freed.listen());
        }
        let blocks = blocks.start..end;
        taken.push((file, blocks.clone()));
        Ok(Claim { claims: self, file, blocks })
    }

    // A panic elsewhere cannot leave the list half-changed.
    fn taken(&self) -> MutexGuard<'_, Vec<(u32, Range<u64>)>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claims.taken().retain(|(file, blocks)| (*file, blocks) != (self.file, &self.blocks));
        self.claims.freed.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_claimed_once_up_to_the_next_that_is_taken() {
        let claims = Claims::default();
        let middle = claims.claim(0, 4..6).expect("free");
        assert_eq!(claims.claim(0, 0..9).expect("free up to 4").blocks, 0..4);
        assert!(claims.claim(0, 4..5).is_err() && claims.claim(0, 5..9).is_err());
        assert_eq!(claims.claim(1, 4..6).expect("another file").blocks, 4..6);
        assert_eq!(claims.claim(0, 6..7).expect("after it").blocks, 6..7);
        let waiting = claims.claim(0, 5..9).expect_err("taken");
        drop(middle);
        pollster::block_on(waiting);
        assert_eq!(claims.claim(0, 4..9).expect("free again").blocks, 4..9);
    }
}
