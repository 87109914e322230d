//! Ctrl-C and its like: a clean end where the work comes to one soon, and an end in any case.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Exit code of a command that was stopped, as shells count it.
pub const INTERRUPTED: i32 = 130;
/// Time in which work may end by itself: a wait for a slow host or for a driver's compiler looks at no flag.
const GRACE: Duration = Duration::from_secs(1);

/// Ctrl-C, and on Unix SIGTERM and SIGHUP, ask the work to stop; after a moment, or when asked again, the process ends.
pub fn stop_on_signals(stop: &Arc<AtomicBool>) {
    let flag = Arc::clone(stop);
    // Without a handler a signal just ends the process, and all work on disk can be continued after that too.
    let _ = ctrlc::set_handler(move || interrupt(&flag));
    #[cfg(unix)]
    {
        let flag = Arc::clone(stop);
        let _ = std::thread::Builder::new().name("signals".into()).spawn(move || wait_for_ends(&flag));
    }
}

fn interrupt(stop: &Arc<AtomicBool>) {
    if stop.swap(true, Ordering::Relaxed) {
        end(INTERRUPTED);
    }
    let late = || {
        std::thread::sleep(GRACE);
        eprintln!("tilestream: stopped");
        end(INTERRUPTED);
    };
    if std::thread::Builder::new().name("grace".into()).spawn(late).is_err() {
        end(INTERRUPTED);
    }
}

/// Waits for the signals that end a process, and treats each like Ctrl-C.
#[cfg(unix)]
fn wait_for_ends(stop: &Arc<AtomicBool>) {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::signal::unix::{SignalKind, signal};
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let (Ok(mut terminate), Ok(mut hang_up)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
        else {
            return;
        };
        loop {
            poll_fn(|context| {
                let came = terminate.poll_recv(context).is_ready() || hang_up.poll_recv(context).is_ready();
                if came { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            interrupt(stop);
        }
    });
}

/// The signals that ask a server to end, for who gives its work time for that.
pub struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes them from now on.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Ends the process at once. Nothing that is run at an exit may: a thread that still uses the GPU would have its driver torn
/// down under its feet.
pub fn end(code: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: it takes no pointer and never returns.
    unsafe {
        libc::_exit(code)
    }
    #[cfg(not(unix))]
    std::process::exit(code)
}

/// A reader of our output that goes away, such as `head`, ends the process without a word, as it ends other programs.
pub fn end_with_the_reader() {
    #[cfg(unix)]
    // SAFETY: no other thread has started yet; the default action is always valid.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Whether the reader of standard output has gone away.
pub fn is_closed_output(error: &tilestream::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
        && error.file_name() == Some("standard output")
}
