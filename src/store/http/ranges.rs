//! Whether a host answers ranges, which its first answer to a range shows.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use async_lock::{Mutex, MutexGuard};

use super::answer::Body;

/// What is known of a host. The first request for a range finds it out, and the others wait for that: a host that ignores
/// ranges would answer each of them with a whole file.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    answered: AtomicBool,
    ignored: AtomicBool,
    first: Mutex<()>,
}

/// Held by the request that finds it out, until it has; `None` where it is known.
pub(super) type First<'a> = Option<MutexGuard<'a, ()>>;

impl Ranges {
    /// Waits until it is known, or until nobody is at finding it out.
    pub(super) async fn first(&self) -> First<'_> {
        if self.is_known() {
            return None;
        }
        let first = self.first.lock().await;
        (!self.is_known()).then_some(first)
    }

    /// Takes note of an answer to a range.
    pub(super) fn saw(&self, body: Body) {
        let seen = match body {
            Body::Range => &self.answered,
            Body::Whole => &self.ignored,
        };
        seen.store(true, Relaxed);
    }

    /// Whether a range was seen to be answered with the whole file.
    pub(super) fn are_ignored(&self) -> bool {
        self.ignored.load(Relaxed)
    }

    fn is_known(&self) -> bool {
        self.are_ignored() || self.answered.load(Relaxed)
    }
}
