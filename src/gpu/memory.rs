//! The accountant: every GPU buffer is counted here, and never past the cap. A device has one, and each budget one that is
//! cut out of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::words::Term;
use crate::{Error, ErrorKind, Result};

/// What wgpu's allocator may hold beyond the buffers it was asked for: it sub-allocates small buffers from 4 MiB
/// blocks, one kind for the device and one for the host. Each budget keeps this much back: the blocks are shared by all
/// budgets of a device, but a budget that goes leaves holes in blocks that others still use.
pub const ALLOCATOR_SLACK_BYTES: u64 = 8 << 20;

/// Counts GPU bytes against a hard cap. Clones share the count.
#[derive(Clone, Debug)]
pub struct Accountant(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    cap_bytes: u64,
    used_bytes: AtomicU64,
    peak_bytes: AtomicU64,
    /// Bytes of the buffers of all budgets that were cut out of this accountant.
    buffer_bytes: AtomicU64,
    /// What this accountant was cut out of, given back with the last of its handles and buffers.
    cut: Option<Lease>,
}

impl Accountant {
    /// An accountant that lets buffers, or budgets, take `cap_bytes` together.
    pub fn new(cap_bytes: u64) -> Self {
        Self::within(None, cap_bytes)
    }

    fn within(cut: Option<Lease>, cap_bytes: u64) -> Self {
        let [used_bytes, peak_bytes, buffer_bytes] = [const { AtomicU64::new(0) }; 3];
        Self(Arc::new(Counts { cap_bytes, used_bytes, peak_bytes, buffer_bytes, cut }))
    }

    /// Cuts a budget of `bytes` out of this one, of which `kept_bytes` are for no buffer.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] with what is left, where it is less; nothing is taken then.
    pub fn cut(&self, bytes: u64, kept_bytes: u64) -> Result<Self> {
        let lease = self.lease(bytes).map_err(|used| {
            let (cap, left) = (self.cap_bytes(), self.cap_bytes() - used);
            let message =
                format!("a budget of {bytes} bytes does not fit: {left} of the device's {cap} bytes are left");
            Error::new(ErrorKind::Budget, message).remedy("give it less, or close another model of the device")
        })?;
        Ok(Self::within(Some(lease), bytes.saturating_sub(kept_bytes)))
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

    /// Bytes of the live buffers of all budgets that were cut out of this accountant.
    pub fn buffer_bytes(&self) -> u64 {
        self.0.buffer_bytes.load(Ordering::Relaxed)
    }

    /// Takes `bytes` until the lease is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] where the cap would be passed; nothing is taken then.
    pub fn take(&self, label: &str, bytes: u64) -> Result<Lease> {
        self.lease(bytes).map_err(|used| {
            let cap = self.cap_bytes();
            let message = format!("buffer '{label}' of {bytes} bytes does not fit: {used} of {cap} bytes are in use");
            Error::new(ErrorKind::Budget, message).remedy("raise " + Term::Budget)
        })
    }

    /// Takes bytes, or says how many are in use where they pass the cap.
    fn lease(&self, bytes: u64) -> Result<Lease, u64> {
        let counts = &self.0;
        let before = counts.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= counts.cap_bytes)
        })?;
        counts.peak_bytes.fetch_max(before + bytes, Ordering::Relaxed);
        if let Some(cut) = &counts.cut {
            cut.accountant.0.buffer_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(Lease { accountant: self.clone(), bytes })
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
        let counts = &self.accountant.0;
        counts.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Some(cut) = &counts.cut {
            cut.accountant.0.buffer_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
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
    #[test]
    fn a_budget_is_cut_out_and_comes_back_with_its_last_handle_or_buffer() {
        let device = Accountant::new(100);
        let first = device.cut(60, 10).expect("fits");
        assert_eq!((first.cap_bytes(), device.free_bytes()), (50, 40));
        let refused = device.cut(41, 0).expect_err("40 are left");
        assert_eq!(refused.kind(), ErrorKind::Budget);
        assert!(refused.to_string().contains("40 of the device's 100 bytes are left"), "{refused}");
        let second = device.cut(40, 50).expect("fits exactly");
        assert_eq!(second.take("buffer", 1).map(|_| ()).map_err(|e| e.kind()), Err(ErrorKind::Budget));
        let buffer = first.take("buffer", 50).expect("fits");
        assert_eq!((device.buffer_bytes(), device.used_bytes()), (50, 100));
        let clone = first.clone();
        drop((first, second));
        assert_eq!(device.free_bytes(), 40, "the first one has handles yet");
        drop(clone);
        assert_eq!(device.free_bytes(), 40, "and a buffer");
        drop(buffer);
        assert_eq!((device.free_bytes(), device.buffer_bytes(), device.peak_bytes()), (100, 0, 100));
    }
}
