//! Connections: how long a silent one may stay, and how many there may be at once.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep};

/// Bytes of a request's head; browsers send a few hundred.
const MOST_HEAD_BYTES: usize = 64 << 10;
/// A connection over which a byte went this shortly ago is at work and not closed for another's sake.
const AT_WORK: Duration = Duration::from_millis(500);
/// Until it is looked again whether there is room, or whether the system accepts again.
const AGAIN: Duration = Duration::from_millis(20);

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// A connection that owes the rest of a request's head, or takes nothing of an answer, is closed after this time.
    pub silence: Duration,
    /// Connections at once. Beyond them the one that was silent longest is closed.
    pub connections: usize,
}

/// An open connection.
struct Open {
    task: JoinHandle<()>,
    moved: Moved,
}

/// Answers whoever connects. It ends only when it is dropped.
pub async fn serve<F, R, B>(listener: TcpListener, bounds: Bounds, answer: F) -> Infallible
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let mut open: Vec<Open> = Vec::new();
    loop {
        // What fails here is one client's, or passes when other connections end.
        let Ok((stream, _)) = listener.accept().await else {
            sleep(AGAIN).await;
            continue;
        };
        make_room(&mut open, bounds.connections).await;
        let moved = Moved::now();
        let stream = TokioIo::new(Watched { stream, moved: moved.clone(), silence: bounds.silence, stalled: None });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(bounds.silence).max_buf_size(MOST_HEAD_BYTES);
        // A stream is written event by event.
        let _ = stream.inner().stream.set_nodelay(true);
        let (answer, working) = (answer.clone(), moved.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(working.clone());
            answer(request)
        });
        let connection = http.serve_connection(stream, service);
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                log::debug!("a connection ended: {error}");
            }
        });
        open.push(Open { task, moved });
    }
}

/// Returns when one more connection may be open. The one that was silent longest has to go for it, unless all are at work.
async fn make_room(open: &mut Vec<Open>, most: usize) {
    loop {
        open.retain(|open| !open.task.is_finished());
        if open.len() < most {
            return;
        }
        let silent = open.iter().enumerate().max_by_key(|(_, open)| open.moved.silence());
        match silent {
            Some((index, silent)) if silent.moved.silence() >= AT_WORK => {
                // A dropped connection closes its socket.
                open.swap_remove(index).task.abort();
            }
            _ => sleep(AGAIN).await,
        }
    }
}

/// When the last byte went over a connection. Clones share it; each request has one among its extensions.
#[derive(Clone, Debug)]
pub struct Moved {
    opened: Instant,
    after_ms: Arc<AtomicU64>,
    /// Answers that are being made for it.
    asked: Arc<AtomicUsize>,
}

/// An answer is being made for a connection, until this is dropped: it is not closed for another's sake.
#[derive(Debug)]
pub struct AtWork(Moved);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.note();
        self.0.asked.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Moved {
    fn now() -> Self {
        Self { opened: Instant::now(), after_ms: Arc::default(), asked: Arc::default() }
    }

    fn note(&self) {
        self.after_ms.store(self.opened.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// An answer begins to be made.
    pub fn at_work(&self) -> AtWork {
        self.asked.fetch_add(1, Ordering::Relaxed);
        AtWork(self.clone())
    }

    /// How long nothing went over the connection, although no answer is being made for it.
    fn silence(&self) -> Duration {
        if self.asked.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        self.opened.elapsed().saturating_sub(Duration::from_millis(self.after_ms.load(Ordering::Relaxed)))
    }
}

/// A socket whose other end has to take what is written within a time. (The HTTP server bounds the time in which a head is read.)
struct Watched {
    stream: TcpStream,
    moved: Moved,
    silence: Duration,
    /// Ends the wait of a write that is under way.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    fn bounded(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            self.moved.note();
            return written;
        }
        let silence = self.silence;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(silence)));
        stalled.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            self.moved.note();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
