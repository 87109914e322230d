//! Threads and the monotonic clock.

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

/// `Send + Sync` where tasks move between threads.
pub trait MaybeSend: Send + Sync {}
impl<T: Send + Sync + ?Sized> MaybeSend for T {}

/// A boxed future; `Send` only natively.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Seconds since the first call in this process.
pub fn now_s() -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}
