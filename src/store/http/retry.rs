//! When a request that failed is sent again.

use super::HttpOptions;
use super::answer::Trouble;
use super::host;
use crate::platform::now_s;
use crate::{Error, ErrorKind, Result};

/// Longest pause that nobody asked for, in seconds.
const MOST_BACKOFF_S: f64 = 10.0;
/// Bytes that count as progress. A server that hands out a byte a request would otherwise never come to an end.
const PROGRESS_BYTES: u64 = 16 << 10;

/// Bytes after which it no longer counts that the host was too slow once.
const SLOW_FORGIVEN_BYTES: u64 = 4 << 20;

/// How fast the body of an answer arrives.
#[derive(Debug)]
pub(super) struct Pace {
    least_bytes_per_s: f64,
    slow_s: f64,
    /// Waited for the host, and what came.
    waited_s: f64,
    bytes: u64,
}

impl Pace {
    pub(super) fn new(options: &HttpOptions) -> Self {
        let HttpOptions { least_bytes_per_s, slow_s, .. } = *options;
        Self { least_bytes_per_s, slow_s, waited_s: 0.0, bytes: 0 }
    }

    /// Takes note of bytes that have arrived, and of the seconds that were waited for them.
    ///
    /// # Errors
    /// [`Trouble::Slow`] where they were too few for the time.
    pub(super) fn took(&mut self, bytes: u64, seconds: f64) -> Result<(), Trouble> {
        self.bytes += bytes;
        self.waited_s += seconds;
        let seconds = self.waited_s;
        if seconds < self.slow_s {
            return Ok(());
        }
        if (self.bytes as f64) < self.least_bytes_per_s * seconds {
            let message = format!("the host is too slow: {} bytes in {seconds:.0} s", self.bytes);
            return Err(Trouble::Slow(Error::new(ErrorKind::Network, message).remedy(host::REMEDY)));
        }
        (self.waited_s, self.bytes) = (0.0, 0);
        Ok(())
    }
}

/// The attempts of one read.
#[derive(Debug)]
pub(super) struct Attempts<'a> {
    options: &'a HttpOptions,
    failed: u32,
    /// When the first of these failures came.
    failed_s: f64,
    broken: u32,
    slow: u32,
    /// Whether it was time that was given up for.
    pub(super) timed_out: bool,
    /// Bytes since the host was last too slow.
    since_slow: u64,
    received: u64,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(options: &'a HttpOptions) -> Self {
        Self { options, failed: 0, failed_s: 0.0, broken: 0, slow: 0, timed_out: false, since_slow: 0, received: 0 }
    }

    /// Takes note of bytes that need not be asked for again: enough of them start the count anew.
    pub(super) fn progress(&mut self, bytes: u64) {
        self.received += bytes;
        self.since_slow += bytes;
        if self.since_slow >= SLOW_FORGIVEN_BYTES {
            self.slow = 0;
        }
        if self.received >= PROGRESS_BYTES {
            self.received = 0;
            self.failed = 0;
        }
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The trouble itself, where another attempt is of no use.
    pub(super) async fn next(&mut self, trouble: Trouble) -> Result<()> {
        if self.failed == 0 {
            self.failed_s = now_s();
        }
        self.failed += 1;
        let wait_s = match trouble {
            Trouble::Final(error) => return Err(error),
            Trouble::Slow(error) => {
                (self.slow, self.since_slow) = (self.slow + 1, 0);
                if self.slow > 1 {
                    self.timed_out = true;
                    return Err(error);
                }
                None
            }
            Trouble::Broken(error) => {
                self.broken += 1;
                if self.broken > 1 {
                    return Err(error);
                }
                None
            }
            Trouble::Passing { message, wait_s, .. } => {
                self.timed_out = now_s() - self.failed_s >= self.options.patience_s;
                if self.failed >= self.options.attempts || self.timed_out {
                    let message = format!("{message} (attempt {} of {})", self.failed, self.options.attempts);
                    return Err(Error::new(ErrorKind::Network, message).remedy(host::REMEDY));
                }
                wait_s
            }
        };
        let wait_s = match wait_s {
            Some(asked_s) => asked_s.min(self.options.most_wait_s).max(0.0),
            None => backoff_s(self.options.backoff_s, self.failed) * (0.5 + 0.5 * jitter()),
        };
        host::pause(wait_s).await;
        Ok(())
    }
}

/// Doubles with each failure.
fn backoff_s(first_s: f64, failed: u32) -> f64 {
    (first_s * 2_f64.powi(failed.saturating_sub(1).min(20) as i32)).min(MOST_BACKOFF_S)
}

/// 0 to 1, so that readers that failed together do not come back together. The clock's last digits are random enough.
fn jitter() -> f64 {
    let hash = xxhash_rust::xxh3::xxh3_64(&now_s().to_bits().to_le_bytes());
    hash as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let pauses: Vec<f64> = (1..=7).map(|failed| backoff_s(0.25, failed)).collect();
        assert_eq!(pauses, [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0]);
        assert!((0..100).all(|_| (0.0..=1.0).contains(&jitter())));
    }

    #[test]
    fn a_read_is_given_up_after_a_time_too() {
        let options = HttpOptions { attempts: 1000, backoff_s: 0.0, patience_s: 0.02, ..HttpOptions::default() };
        let fail = |attempts: &mut Attempts| pollster::block_on(attempts.next(Trouble::passing("gone")));
        let mut attempts = Attempts::new(&options);
        fail(&mut attempts).expect("the first");
        std::thread::sleep(std::time::Duration::from_millis(30));
        attempts.progress(PROGRESS_BYTES);
        fail(&mut attempts).expect("progress starts the time anew");
        std::thread::sleep(std::time::Duration::from_millis(30));
        assert_eq!(fail(&mut attempts).expect_err("late").kind(), ErrorKind::Network);
    }

    #[test]
    fn progress_starts_the_count_anew_and_a_trickle_does_not() {
        let options = HttpOptions { attempts: 3, backoff_s: 0.0, ..HttpOptions::default() };
        let fail = |attempts: &mut Attempts| pollster::block_on(attempts.next(Trouble::passing("gone")));
        let mut attempts = Attempts::new(&options);
        for _ in 0..10 {
            attempts.progress(PROGRESS_BYTES);
            fail(&mut attempts).expect("goes on");
        }
        attempts.progress(1);
        fail(&mut attempts).expect("the second");
        attempts.progress(1);
        let error = fail(&mut attempts).expect_err("the third");
        assert_eq!(error.kind(), ErrorKind::Network);
    }
}
