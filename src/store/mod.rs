//! Where bytes come from: named objects and byte ranges behind one trait.
//!
//! A store knows nothing of tensors or layers. Objects are flat names such as `layer-00003.safetensors`.

mod window;
pub use window::Window;

use crate::Result;
use crate::platform::{BoxFuture, MaybeSend};

/// Read access to named objects by position.
///
/// Guarantees that every implementation keeps (and the conformance suite checks):
/// - `read_at` fills the whole buffer or fails; a range past the end is [`ErrorKind::Truncated`](crate::ErrorKind).
/// - an object that is not there is [`ErrorKind::NotFound`](crate::ErrorKind) with its name.
/// - reads at the same time from several tasks do not disturb each other (positioned reads, no cursor).
/// - a name that leaves the store (`..`, an absolute path) is refused.
pub trait Store: MaybeSend {
    /// The object's length in bytes.
    fn len<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u64>>;

    /// Fills `buffer` from `offset_bytes` of the object.
    fn read_at<'a>(&'a self, name: &'a str, offset_bytes: u64, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<()>>;

    /// The names of all objects, sorted; [`ErrorKind::Unsupported`](crate::ErrorKind) where a store cannot list.
    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>>;

    /// How messages call the object: a path or an address.
    fn describe(&self, name: &str) -> String;
}
