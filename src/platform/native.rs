//! Threads and the monotonic clock.

use std::collections::HashMap;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

/// `Send + Sync` where tasks move between threads.
pub trait MaybeSend: Send + Sync {}
impl<T: Send + Sync + ?Sized> MaybeSend for T {}

/// A boxed future; `Send` only natively.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What looks at an object that is read as a stream: gets each chunk with its offset, and breaks where it has enough.
pub type Visit<'a> = dyn FnMut(u64, &[u8]) -> crate::Result<ControlFlow<()>> + Send + 'a;

/// Seconds since the first call in this process.
pub fn now_s() -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Seconds since 1970, of the clock on the wall.
pub fn unix_s() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// What a name of HTML stands for, such as `hellip`. None: it is no name.
///
/// # Errors
/// None.
pub fn html_text(name: &str) -> Result<Option<&'static str>, String> {
    static NAMES: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
        let named = |entity: &'static entities::Entity| {
            Some((entity.entity.strip_prefix('&')?.strip_suffix(';')?, entity.characters))
        };
        entities::ENTITIES.iter().filter_map(named).collect()
    });
    Ok(NAMES.get(name).copied())
}

/// The character of this name in Unicode, in capitals or not.
pub fn character_named(name: &str) -> Option<char> {
    let character = unicode_names2::character(name)?;
    // The crate also takes names with other blanks and hyphens, and Python does not.
    let same = |known: unicode_names2::Name| known.to_string().eq_ignore_ascii_case(name);
    unicode_names2::name(character).is_none_or(same).then_some(character)
}

type Task = BoxFuture<'static, ()>;

/// Threads that take work from a channel, and end with it.
///
/// Dropping waits for them: a thread that still held GPU objects while the process ends would tear the driver down
/// under its own feet.
#[derive(Debug)]
struct Workers<T> {
    sender: Option<mpsc::Sender<T>>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static> Workers<T> {
    fn new(name: &str, threads: usize, work: impl Fn(T) + Clone + Send + 'static) -> std::io::Result<Arc<Self>> {
        let (sender, receiver) = mpsc::channel::<T>();
        let receiver = Arc::new(Mutex::new(receiver));
        let mut workers = Self { sender: Some(sender), threads: Vec::new() };
        for index in 0..threads.max(1) {
            let (receiver, work) = (Arc::clone(&receiver), work.clone());
            let run = move || {
                // The lock is held only while waiting for a task, not while running it.
                let next = || receiver.lock().ok().and_then(|tasks| tasks.recv().ok());
                while let Some(task) = next() {
                    work(task);
                }
            };
            workers.threads.push(std::thread::Builder::new().name(format!("{name}-{index}")).spawn(run)?);
        }
        Ok(Arc::new(workers))
    }

    fn send(&self, task: T) {
        if let Some(sender) = &self.sender {
            // A send fails only when every thread has died of a panic; who waits then sees its channel closed.
            let _ = sender.send(task);
        }
    }
}

impl<T> Drop for Workers<T> {
    fn drop(&mut self) {
        self.sender = None;
        for thread in self.threads.drain(..) {
            // The last owner may be one of the threads themselves.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

/// Runs futures beside the engine: on a few threads of their own, each future to its end before the next.
///
/// Made for reads: their futures block in positioned reads, so a thread a read in flight is what the disk wants.
#[derive(Clone)]
pub struct Spawner(Arc<Workers<Task>>);

impl Spawner {
    /// A spawner with `threads` threads, which end when the last clone is dropped.
    ///
    /// # Errors
    /// The operating system's, when it starts no thread.
    pub fn new(name: &str, threads: usize) -> std::io::Result<Self> {
        Workers::new(name, threads, |task: Task| pollster::block_on(task)).map(Self)
    }

    /// Starts a future. It is dropped unrun where the threads are gone.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.send(Box::pin(task));
    }
}

/// Waits for the GPU on a thread of its own, so that mapping callbacks fire without the engine blocking.
#[derive(Clone, Debug)]
pub struct Poller(Arc<Workers<wgpu::SubmissionIndex>>);

impl Poller {
    /// A poller for `device`; its thread ends when the last clone is dropped.
    ///
    /// # Errors
    /// The operating system's, when it starts no thread.
    pub fn new(device: wgpu::Device) -> std::io::Result<Self> {
        let wait = move |submission| {
            let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
            // A lost device is reported by its own callback and by the mappings that fail.
            let _ = device.poll(wait);
        };
        Workers::new("gpu-poller", 1, wait).map(Self)
    }

    /// Sees to it that callbacks fire which depend on `submission` or earlier ones.
    pub fn watch(&self, submission: wgpu::SubmissionIndex) {
        self.0.send(submission);
    }
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Gives the host's event loop a turn; nothing to do where there are threads.
pub async fn yield_now() {}

/// Whether a shader with subgroup functions starts with `enable subgroups;`: naga takes subgroup functions without it, and refuses the directive.
pub const ENABLE_SUBGROUPS: bool = false;
