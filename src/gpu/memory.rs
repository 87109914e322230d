//! The accountant: every GPU buffer is made here, and never past the cap.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, ErrorKind, Result};

/// What wgpu's allocator may hold beyond the buffers it was asked for: it sub-allocates small buffers from 4 MiB
/// blocks, one kind for the device and one for the host. The accountant keeps this much of the budget back.
pub const ALLOCATOR_SLACK_BYTES: u64 = 8 << 20;

/// Counts GPU bytes against a hard cap. Clones share the count.
#[derive(Clone, Debug)]
pub struct Accountant(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    cap_bytes: u64,
    used_bytes: AtomicU64,
    peak_bytes: AtomicU64,
}

impl Accountant {
    /// An accountant that lets buffers take `cap_bytes` together.
    pub fn new(cap_bytes: u64) -> Self {
        Self(Arc::new(Counts { cap_bytes, used_bytes: AtomicU64::new(0), peak_bytes: AtomicU64::new(0) }))
    }

    /// The cap in bytes.
    pub fn cap_bytes(&self) -> u64 {
        self.0.cap_bytes
    }

    /// Bytes of all live buffers.
    pub fn used_bytes(&self) -> u64 {
        self.0.used_bytes.load(Ordering::Relaxed)
    }

    /// The most bytes that were live at once.
    pub fn peak_bytes(&self) -> u64 {
        self.0.peak_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that can still be taken.
    pub fn free_bytes(&self) -> u64 {
        self.0.cap_bytes.saturating_sub(self.used_bytes())
    }

    /// Takes `bytes` until the lease is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] where the cap would be passed; nothing is taken then.
    pub fn take(&self, label: &str, bytes: u64) -> Result<Lease> {
        let counts = &self.0;
        let grown = counts.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= counts.cap_bytes)
        });
        match grown {
            Ok(before) => {
                counts.peak_bytes.fetch_max(before + bytes, Ordering::Relaxed);
                Ok(Lease { accountant: self.clone(), bytes })
            }
            Err(used) => Err(Error::new(
                ErrorKind::Budget,
                format!(
                    "buffer '{label}' of {bytes} bytes does not fit: {used} of {} bytes are in use",
                    counts.cap_bytes
                ),
            )
            .remedy("raise the budget")),
        }
    }
}

/// Bytes taken from an [`Accountant`], given back on drop.
#[derive(Debug)]
pub struct Lease {
    accountant: Accountant,
    bytes: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.accountant.0.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A GPU buffer that is counted as long as it lives. Dropping it destroys the buffer at once: waiting for the last
/// reference (or a garbage collector) would hold memory that the budget thinks is free.
#[derive(Debug)]
pub struct CountedBuffer {
    id: u64,
    buffer: wgpu::Buffer,
    _lease: Lease,
}

impl CountedBuffer {
    pub(super) fn new(buffer: wgpu::Buffer, lease: Lease) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), buffer, _lease: lease }
    }

    /// A number that no other buffer of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl std::ops::Deref for CountedBuffer {
    type Target = wgpu::Buffer;

    fn deref(&self) -> &wgpu::Buffer {
        &self.buffer
    }
}

impl Drop for CountedBuffer {
    fn drop(&mut self) {
        self.buffer.destroy();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_is_hard_and_leases_come_back() {
        let accountant = Accountant::new(100);
        let first = accountant.take("first", 60).expect("fits");
        assert_eq!(accountant.take("second", 41).map(|_| ()).map_err(|e| e.kind()), Err(ErrorKind::Budget));
        let second = accountant.take("second", 40).expect("fits exactly");
        drop(first);
        assert_eq!((accountant.used_bytes(), accountant.peak_bytes(), accountant.free_bytes()), (40, 100, 60));
        drop(second);
        assert_eq!(accountant.used_bytes(), 0);
        assert!(accountant.take("overflow", u64::MAX).is_err());
    }
}
