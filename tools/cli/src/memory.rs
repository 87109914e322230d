//! An end in plain words where the machine has no memory left: Rust's own is an abort, which shells call a crash.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A request that is smaller is met or the process ends. A larger one may come of a size in a file: whoever asked may be
/// prepared for a no.
const SMALL_BYTES: usize = 16 << 20;
/// The last request that was not met, in bytes.
static REFUSED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator.
pub struct Memory;

// SAFETY: every call is passed on as it came.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        checked(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        checked(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        checked(unsafe { System.realloc(place, layout, new_bytes) }, new_bytes)
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

fn checked(place: *mut u8, bytes: usize) -> *mut u8 {
    if place.is_null() {
        refused(bytes);
    }
    place
}

#[cold]
fn refused(bytes: usize) {
    REFUSED_BYTES.store(bytes, Ordering::Relaxed);
    if bytes < SMALL_BYTES {
        end(bytes);
    }
}

/// Says what is missing, without asking for memory, and ends the process at once.
fn end(bytes: usize) -> ! {
    let mut text = [0; 160];
    let mut rest = &mut text[..];
    let _ = writeln!(
        rest,
        "tilestream: not enough memory: {bytes} more bytes are refused; end other programs, or lower --ram, --budget or --context"
    );
    let left = rest.len();
    let said = &text[..text.len() - left];
    #[cfg(unix)]
    // SAFETY: the text is there for as long as it is written, and the second call never returns.
    unsafe {
        libc::write(libc::STDERR_FILENO, said.as_ptr().cast(), said.len());
        libc::_exit(1)
    }
    #[cfg(not(unix))]
    {
        let _ = std::io::stderr().write_all(said);
        std::process::exit(1)
    }
}

/// Rust aborts where a large request is refused that nobody was prepared for.
pub fn tell_of_aborts() {
    #[cfg(unix)]
    {
        extern "C" fn aborted(_: libc::c_int) {
            let bytes = REFUSED_BYTES.load(Ordering::Relaxed);
            // An abort for another reason goes on when this returns.
            if bytes > 0 {
                end(bytes);
            }
        }
        // SAFETY: the handler asks for no memory and takes no lock.
        unsafe {
            libc::signal(libc::SIGABRT, aborted as *const () as libc::sighandler_t);
        }
    }
}
