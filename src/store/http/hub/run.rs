//! Ranges that are read in order: one request for all of it, in place of one for each piece.
//!
//! The network goes on while the reader works: what arrives meanwhile waits in the system's buffers.

use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::super::answer::{Body, judge};
use super::super::retry::Pace;
use super::super::{Ask, HttpStore, host};

/// The run that was announced, and the one that is open.
#[derive(Default)]
pub(super) struct Runs {
    announced: Mutex<Option<(String, Range<u64>)>>,
    open: async_lock::Mutex<Option<Run>>,
}

impl fmt::Debug for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runs").finish_non_exhaustive()
    }
}

/// An answer that is read in pieces.
struct Run {
    name: String,
    /// What of it has not been handed out yet.
    range: Range<u64>,
    response: host::Response,
    /// Bytes that arrived with the last ones that were wanted.
    rest: Vec<u8>,
}

impl Runs {
    /// Takes note of what will be read.
    pub(super) fn announce(&self, name: &str, range: Range<u64>) {
        let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        *announced = Some((name.to_owned(), range));
    }

    /// Fills the beginning of a buffer from a run; how much of it. What is missing is for the caller to read otherwise,
    /// with its patience: a run that breaks is just closed.
    pub(super) async fn fill(&self, http: &HttpStore, name: &str, offset: u64, buffer: &mut [u8]) -> usize {
        // Another reader is at it: two cannot be in order.
        let Some(mut open) = self.open.try_lock() else { return 0 };
        let wanted = offset..offset + buffer.len() as u64;
        let mut run = match open.take().filter(|run| run.holds(name, &wanted)) {
            Some(run) => run,
            None => match self.begin(http, name, &wanted).await {
                Some(run) => run,
                None => return 0,
            },
        };
        let filled = run.fill(http, buffer).await;
        if filled == buffer.len() && !run.range.is_empty() {
            *open = Some(run);
        } else if run.range.is_empty() {
            // Read to its end, a connection can be used again.
            let _ = http.next_chunk(&mut run.response, &mut Pace::new(&http.options)).await;
        }
        filled
    }

    /// Opens a run where more than this was announced.
    async fn begin(&self, http: &HttpStore, name: &str, wanted: &Range<u64>) -> Option<Run> {
        let announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (_, range) = announced
            .filter(|(known, range)| known == name && range.start <= wanted.start && wanted.end < range.end)?;
        let range = wanted.start..range.end;
        let url = http.address.of(name).ok()?;
        let ask = Ask { url: &url, range: Some(format!("bytes={}-{}", range.start, range.end - 1)), fresh: false };
        let first = http.ranges.first().await;
        if http.ignores_ranges() {
            return None;
        }
        let response = http.send(&ask).await.ok()?;
        let body = judge(&response.head, Some(&range)).ok()?;
        http.ranges.saw(body);
        drop(first);
        (body == Body::Range).then(|| Run { name: name.to_owned(), range, response, rest: Vec::new() })
    }
}

impl Run {
    fn holds(&self, name: &str, wanted: &Range<u64>) -> bool {
        self.name == name && self.range.start == wanted.start && wanted.end <= self.range.end
    }

    /// Hands out the next bytes; how many, fewer than wanted where the answer breaks off.
    async fn fill(&mut self, http: &HttpStore, buffer: &mut [u8]) -> usize {
        let mut filled = self.rest.len().min(buffer.len());
        buffer[..filled].copy_from_slice(&self.rest[..filled]);
        self.rest.drain(..filled);
        let mut pace = Pace::new(&http.options);
        while filled < buffer.len() {
            let Ok(Some(chunk)) = http.next_chunk(&mut self.response, &mut pace).await else { break };
            let taken = chunk.len().min(buffer.len() - filled);
            buffer[filled..filled + taken].copy_from_slice(&chunk[..taken]);
            self.rest.extend_from_slice(&chunk[taken..]);
            filled += taken;
        }
        self.range.start += filled as u64;
        filled
    }
}
