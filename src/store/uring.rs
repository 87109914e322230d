//! Direct reads through io_uring: a thread has several of them in flight, and copies what one brought while the disk is busy
//! with the next.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, Probe, opcode, types};

use super::direct::ALIGNMENT;
use crate::platform::PageMemory;

/// Bytes of a read, few enough to be in the processor's cache when they are copied; and reads in flight for each thread.
const PIECE_BYTES: usize = 1 << 20;
const PIECES: usize = 4;

thread_local!(static RING: RefCell<Option<Ring>> = const { RefCell::new(None) });

/// Whether the system lets this thread have a ring: old kernels do not, and many sandboxes do not.
pub(super) fn is_possible() -> bool {
    RING.with_borrow_mut(|ring| ring.is_some() || Ring::new().map(|new| *ring = Some(new)).is_ok())
}

/// Fills the buffer from a file that was opened for direct reads. An error says only that it was not filled.
pub(super) fn read(file: &File, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
    if buffer.is_empty() {
        return Ok(());
    }
    RING.with_borrow_mut(|kept| {
        let mut ring = kept.take().map_or_else(Ring::new, Ok)?;
        ring.read(file, offset_bytes, buffer)?;
        *kept = Some(ring);
        Ok(())
    })
}

/// A queue of reads, and the memory that they fill.
struct Ring {
    queue: IoUring,
    /// A memory for each read in flight, so that nobody touches what another one fills.
    memory: [PageMemory; PIECES],
    /// Reads that were given to the queue and have not come back from it.
    in_flight: usize,
}

impl Ring {
    fn new() -> io::Result<Self> {
        let queue = IoUring::new(PIECES as u32)?;
        let mut probe = Probe::new();
        queue.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Read::CODE) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { queue, memory: Default::default(), in_flight: 0 })
    }

    /// Cuts the range into pieces, from the page in which it begins. Piece `n` is read to memory `n % PIECES`, so one that came
    /// back makes room for another.
    fn read(&mut self, file: &File, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let before = (offset_bytes % ALIGNMENT as u64) as usize;
        let end = before + buffer.len();
        let count = end.div_ceil(PIECE_BYTES);
        // What piece `n` brings, counted from that page.
        let span = |n: usize| (n * PIECE_BYTES).max(before)..((n + 1) * PIECE_BYTES).min(end);
        let start = offset_bytes - before as u64;
        for n in 0..count.min(PIECES) {
            self.push(file, start, n, span(n).end)?;
        }
        while self.in_flight > 0 {
            let (n, read) = self.wait()?;
            let (brought, piece) = (span(n), n * PIECE_BYTES);
            let needed = brought.start - piece..brought.end - piece;
            if read < needed.end {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let memory = self.memory[n % PIECES].bytes(PIECE_BYTES)?;
            buffer[brought.start - before..brought.end - before].copy_from_slice(&memory[needed]);
            let next = n + PIECES;
            if next < count {
                self.push(file, start, next, span(next).end)?;
                // At once: others may have come back already, and while they are copied the disk had nothing to do.
                self.queue.submit()?;
            }
        }
        Ok(())
    }

    /// Has piece `n`, which is needed up to `end`, read from a file's page at `start`.
    fn push(&mut self, file: &File, start: u64, n: usize, end: usize) -> io::Result<()> {
        let len = (end - n * PIECE_BYTES).next_multiple_of(ALIGNMENT);
        let target = &mut self.memory[n % PIECES].bytes(PIECE_BYTES)?[..len];
        let read = opcode::Read::new(types::Fd(file.as_raw_fd()), target.as_mut_ptr(), len as u32)
            .offset(start + (n * PIECE_BYTES) as u64)
            .build()
            .user_data(n as u64);
        // SAFETY: the memory is this ring's own, never moves, for it never grows, and is not touched while the read is in
        // flight. `Ring::read` returns when none is, and where it fails the ring is dropped, which waits for all of them: so
        // both the memory and the borrowed file outlive the read.
        unsafe { self.queue.submission().push(&read) }.map_err(io::Error::other)?;
        self.in_flight += 1;
        Ok(())
    }

    /// The next read that comes back, and its bytes.
    fn wait(&mut self) -> io::Result<(usize, usize)> {
        loop {
            if let Some(done) = self.queue.completion().next() {
                self.in_flight -= 1;
                let read = usize::try_from(done.result()).map_err(|_| io::Error::from_raw_os_error(-done.result()))?;
                return Ok((done.user_data() as usize, read));
            }
            match self.queue.submit_and_wait(1) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
    }
}

impl Drop for Ring {
    /// Waits for what the system still writes to the memory.
    fn drop(&mut self) {
        // Reads that the system has not taken write nothing.
        while self.in_flight > self.queue.submission().len() {
            if self.wait().is_err() {
                std::thread::yield_now();
            }
        }
    }
}
