//! The browser's clock; one thread, so nothing needs to be `Send`.

use std::future::Future;
use std::pin::Pin;

/// `Send + Sync` where tasks move between threads; nothing here.
pub trait MaybeSend {}
impl<T: ?Sized> MaybeSend for T {}

/// A boxed future; `Send` only natively.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Seconds since the page (or worker) started, from `performance.now()`.
pub fn now_s() -> f64 {
    use wasm_bindgen::JsCast;
    js_sys::Reflect::get(&js_sys::global(), &"performance".into())
        .ok()
        .and_then(|performance| performance.dyn_into::<web_sys::Performance>().ok())
        .map_or(0.0, |performance| performance.now() / 1000.0)
}
