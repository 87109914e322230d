//! The browser's clock; one thread, so nothing needs to be `Send`.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;

/// `Send + Sync` where tasks move between threads; nothing here.
pub trait MaybeSend {}
impl<T: ?Sized> MaybeSend for T {}

/// A boxed future; `Send` only natively.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What looks at an object that is read as a stream: gets each chunk with its offset, and breaks where it has enough.
pub type Visit<'a> = dyn FnMut(u64, &[u8]) -> crate::Result<ControlFlow<()>> + 'a;

/// Seconds since the page (or worker) started, from `performance.now()`.
pub fn now_s() -> f64 {
    use wasm_bindgen::JsCast;
    js_sys::Reflect::get(&js_sys::global(), &"performance".into())
        .ok()
        .and_then(|performance| performance.dyn_into::<web_sys::Performance>().ok())
        .map_or(0.0, |performance| performance.now() / 1000.0)
}

/// Seconds since 1970, of the clock on the wall.
pub fn unix_s() -> i64 {
    (js_sys::Date::now() / 1000.0) as i64
}

/// What a name of HTML stands for. A page would load the table of all names for it.
///
/// # Errors
/// Always.
pub fn html_text(name: &str) -> Result<Option<&'static str>, String> {
    Err(format!("the reference &{name}; is not known in a browser: write the character"))
}

/// The character of this name in Unicode. A page does not load the table of half a megabyte.
pub fn character_named(_name: &str) -> Option<char> {
    None
}

/// Runs futures beside the engine, on the event loop.
#[derive(Clone, Debug)]
pub struct Spawner;

impl Spawner {
    /// A spawner; the number of threads has no meaning here.
    ///
    /// # Errors
    /// None.
    pub fn new(_name: &str, _threads: usize) -> std::io::Result<Self> {
        Ok(Self)
    }

    /// Starts a future.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        wasm_bindgen_futures::spawn_local(task);
    }
}

/// The browser polls the device itself.
#[derive(Clone, Debug)]
pub struct Poller;

impl Poller {
    /// A poller that has nothing to do.
    ///
    /// # Errors
    /// None.
    pub fn new(_device: wgpu::Device) -> std::io::Result<Self> {
        Ok(Self)
    }

    /// Callbacks fire from the event loop.
    pub fn watch(&self, _submission: wgpu::SubmissionIndex) {}
}

/// The browser compiles kernels in a process of its own.
pub fn cores() -> usize {
    1
}

/// Gives the host's event loop a turn, so that an abort or a question gets through. A message to oneself: browsers hold
/// timers back for four milliseconds, which is longer than a tile takes.
pub async fn yield_now() {
    let Ok(channel) = web_sys::MessageChannel::new() else { return };
    let (mine, theirs) = (channel.port1(), channel.port2());
    let message = js_sys::Promise::new(&mut |resolve, _| {
        mine.set_onmessage(Some(&resolve));
        // A port that was just made takes any message.
        let _ = theirs.post_message(&wasm_bindgen::JsValue::NULL);
    });
    let _ = wasm_bindgen_futures::JsFuture::from(message).await;
    mine.close();
}

/// Whether a shader with subgroup functions starts with `enable subgroups;`: browsers want it.
pub const ENABLE_SUBGROUPS: bool = true;

/// Whether anything is remembered on this host.
pub const REMEMBERS: bool = false;

/// Nothing is remembered here: a page measures what it needs again.
pub fn recall<T>(_name: &str) -> Option<T> {
    None
}

/// See [`recall`].
pub fn remember<T>(_name: &str, _value: &T) {}

/// See [`recall`].
pub fn recall_bytes(_name: &str) -> Option<Vec<u8>> {
    None
}

/// See [`recall`].
pub fn remember_bytes(_name: &str, _bytes: &[u8]) {}

/// A page does not learn what it uses of the machine.
pub fn cpu_s() -> Option<f64> {
    None
}

/// See [`cpu_s`].
pub fn peak_memory_bytes() -> Option<u64> {
    None
}

/// See [`cpu_s`].
pub fn disk_read_bytes() -> Option<u64> {
    None
}

/// See [`cpu_s`].
pub fn available_memory_bytes() -> Option<u64> {
    None
}

/// Memory that reads fill.
#[derive(Debug, Default)]
pub struct PageMemory(Vec<u8>);

impl PageMemory {
    /// The first `len` bytes, with whatever was in them.
    ///
    /// # Errors
    /// None here.
    pub fn bytes(&mut self, len: usize) -> std::io::Result<&mut [u8]> {
        if self.0.len() < len {
            self.0.resize(len, 0);
        }
        Ok(&mut self.0[..len])
    }
}
