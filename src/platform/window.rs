//! A destination that bytes are only ever written to.

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

use crate::{Error, ErrorKind, Result};

/// A write-only stretch of memory: a slice, a mapped buffer of a GPU in which reading is slow (write-combined memory) or
/// forbidden, or an `ArrayBuffer` that lies outside of wasm's own memory. Nobody reads through a window, not even what
/// was just written to it.
pub struct Window<'a> {
    target: Target,
    lifetime: PhantomData<&'a mut [u8]>,
}

enum Target {
    Memory {
        start: NonNull<u8>,
        len: usize,
    },
    #[cfg(target_arch = "wasm32")]
    Host(js_sys::Uint8Array),
}

// SAFETY: a window is an exclusive borrow of plain bytes, like `&mut [u8]`, which is `Send`.
#[cfg(not(target_arch = "wasm32"))]
unsafe impl Send for Window<'_> {}

impl<'a> Window<'a> {
    /// A window on a slice.
    pub fn from_slice(slice: &'a mut [u8]) -> Self {
        Self::memory_at(NonNull::from(&mut *slice).cast(), slice.len())
    }

    /// A window on mapped memory.
    ///
    /// # Safety
    /// For `'a`, `start` must be valid for writes of `len` bytes which no one else reads or writes, and which are
    /// initialized (mapped memory of a GPU always is).
    pub unsafe fn from_raw(start: NonNull<u8>, len: usize) -> Self {
        Self::memory_at(start, len)
    }

    /// A window on memory of the host, such as a mapped `GPUBuffer`.
    #[cfg(target_arch = "wasm32")]
    pub fn from_host(bytes: js_sys::Uint8Array) -> Self {
        Self { target: Target::Host(bytes), lifetime: PhantomData }
    }

    fn memory_at(start: NonNull<u8>, len: usize) -> Self {
        Self { target: Target::Memory { start, len }, lifetime: PhantomData }
    }

    /// Bytes of the window.
    pub fn len(&self) -> usize {
        match &self.target {
            Target::Memory { len, .. } => *len,
            #[cfg(target_arch = "wasm32")]
            Target::Host(bytes) => bytes.length() as usize,
        }
    }

    /// Whether the window has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A window on a part of this one.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where the range leaves the window.
    pub fn part(&mut self, range: Range<usize>) -> Result<Window<'_>> {
        if range.start > range.end || range.end > self.len() {
            let message = format!("bytes {}..{} leave a window of {} bytes", range.start, range.end, self.len());
            return Err(Error::new(ErrorKind::Argument, message));
        }
        Ok(match &self.target {
            // SAFETY: the range was checked above, so the start stays within (or one past) the window's bytes.
            Target::Memory { start, .. } => Window::memory_at(unsafe { start.add(range.start) }, range.len()),
            #[cfg(target_arch = "wasm32")]
            Target::Host(bytes) => Window::from_host(bytes.subarray(range.start as u32, range.end as u32)),
        })
    }

    /// The window as memory for a positioned read to fill; none where it is the host's. Write to it only: reading may
    /// be very slow.
    pub fn memory(&mut self) -> Option<&mut [u8]> {
        match &self.target {
            // SAFETY: the constructors promise `len` exclusive bytes at `start` for `'a`, and the borrow of `self` keeps
            // a second slice from existing at the same time.
            Target::Memory { start, len } => Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), *len) }),
            #[cfg(target_arch = "wasm32")]
            Target::Host(_) => None,
        }
    }

    /// The window as memory of the host; none where it is a slice.
    #[cfg(target_arch = "wasm32")]
    pub fn host(&self) -> Option<&js_sys::Uint8Array> {
        match &self.target {
            Target::Memory { .. } => None,
            Target::Host(bytes) => Some(bytes),
        }
    }

    /// Fills the whole window.
    ///
    /// # Panics
    /// Where `bytes` has another length than the window.
    pub fn copy_from(&mut self, bytes: &[u8]) {
        #[cfg(target_arch = "wasm32")]
        if let Target::Host(target) = &self.target {
            return target.copy_from(bytes);
        }
        if let Some(memory) = self.memory() {
            memory.copy_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_hands_out_its_parts_and_nothing_else() {
        let mut bytes = [0_u8; 8];
        let mut window = Window::from_slice(&mut bytes);
        window.part(2..5).expect("inside").copy_from(&[7; 3]);
        assert_eq!(window.part(8..8).expect("the end is inside").len(), 0);
        assert!(window.part(8..9).is_err());
        #[expect(clippy::reversed_empty_ranges, reason = "what is tested")]
        let reversed = window.part(5..2).is_err();
        assert!(reversed);
        assert!(window.part(3..6).expect("inside").part(3..4).is_err(), "a part ends where it ends");
        assert_eq!(bytes, [0, 0, 7, 7, 7, 0, 0, 0]);
    }
}
