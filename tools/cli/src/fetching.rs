//! How much of a model from elsewhere is on this machine, on stderr, while it is fetched.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tilestream::ModelFiles;
use tilestream::internals::shard::Progress;
use tilestream_split::Reporter;

/// Time between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Shows it until it is dropped: at the first token, say, when every layer was needed once.
pub struct Fetching {
    /// Its end is what the thread waits for.
    alive: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Fetching {
    /// Begins; `None` for a model that is here, or of which nothing is kept.
    pub fn show(files: &ModelFiles) -> Option<Self> {
        let model = Arc::clone(files.model());
        let lacks = model.verified().cache().is_some_and(|cache| cache.kept_bytes() < cache.total_bytes());
        if !lacks {
            return None;
        }
        let (alive, ended) = channel();
        let look = move || {
            let mut reporter = Reporter::new("fetching", Arc::new(AtomicBool::new(false)));
            while ended.recv_timeout(BETWEEN_LOOKS) == Err(RecvTimeoutError::Timeout) {
                let Some(cache) = model.verified().cache().filter(|cache| cache.is_keeping()) else { return };
                let (done_bytes, total_bytes) = (cache.kept_bytes(), cache.total_bytes());
                let _ = reporter.update(Progress { done_bytes, total_bytes, file: &model.manifest().name });
            }
        };
        // Without a thread the model is fetched all the same.
        let thread = std::thread::Builder::new().name("fetching".into()).spawn(look).ok();
        Some(Self { alive: Some(alive), thread })
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.alive = None;
        // What the thread has shown is gone when this returns.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
