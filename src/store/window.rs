//! A destination that bytes are only ever written to.

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

use crate::{Error, ErrorKind, Result};

/// A write-only stretch of memory: a slice, or a mapped buffer of a GPU, in which reading is slow (write-combined
/// memory) or forbidden. Nobody reads through a window, not even what was just written to it.
pub struct Window<'a> {
    start: NonNull<u8>,
    len: usize,
    lifetime: PhantomData<&'a mut [u8]>,
}

// SAFETY: a window is an exclusive borrow of plain bytes, like `&mut [u8]`, which is `Send`.
unsafe impl Send for Window<'_> {}

impl<'a> Window<'a> {
    /// A window on a slice.
    pub fn from_slice(slice: &'a mut [u8]) -> Self {
        Self { len: slice.len(), start: NonNull::from(slice).cast(), lifetime: PhantomData }
    }

    /// A window on mapped memory.
    ///
    /// # Safety
    /// For `'a`, `start` must be valid for writes of `len` bytes which no one else reads or writes, and which are
    /// initialized (mapped memory of a GPU always is).
    pub unsafe fn from_raw(start: NonNull<u8>, len: usize) -> Self {
        Self { start, len, lifetime: PhantomData }
    }

    /// Bytes of the window.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the window has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A part of the window for a positioned read to fill. Write to it only: reading may be very slow.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where the range leaves the window.
    pub fn slice(&mut self, range: Range<usize>) -> Result<&mut [u8]> {
        if range.start > range.end || range.end > self.len {
            let message = format!("bytes {}..{} leave a window of {} bytes", range.start, range.end, self.len);
            return Err(Error::new(ErrorKind::Argument, message));
        }
        // SAFETY: the range was checked above; the constructors promise `len` exclusive bytes at `start` for `'a`, and
        // the borrow of `self` keeps a second slice from existing at the same time.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(range.start), range.len()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_hands_out_its_parts_and_nothing_else() {
        let mut bytes = [0_u8; 8];
        let mut window = Window::from_slice(&mut bytes);
        window.slice(2..5).expect("inside").fill(7);
        assert_eq!(window.slice(8..8).expect("the end is inside").len(), 0);
        assert!(window.slice(8..9).is_err());
        #[expect(clippy::reversed_empty_ranges, reason = "what is tested")]
        let reversed = window.slice(5..2).is_err();
        assert!(reversed);
        assert_eq!(bytes, [0, 0, 7, 7, 7, 0, 0, 0]);
    }
}
