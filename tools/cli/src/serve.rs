//! `tilestream serve`: a model behind the HTTP APIs that today's programs speak. All requests ride each sweep.

mod admission;
mod answers;
mod anthropic;
mod asked;
mod chat;
mod completions;
mod embeddings;
mod failure;
mod formats;
mod kept;
mod metrics;
mod models;
mod ollama;
mod rerank;
mod responses;
mod sampling;
mod texts;
mod tools;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use hyper::Request;
use hyper::body::Incoming;
use tilestream::internals::source::cache_dir;
use tilestream::store::PrefixFiles;
use tilestream::{Error, ModelHandle, Pooling, Result, SamplerOptions};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::args::ServeArgs;
use crate::connections::{self, Bounds};
use crate::host;
use crate::model;
use crate::signals::{self, Signals};
use admission::{Door, Places};
use failure::Failure;
use kept::Responses;
use metrics::Counters;

/// Bytes of a request's body at most: a context of a million tokens as JSON.
const MOST_BODY_BYTES: usize = 8 << 20;
/// Bytes of all bodies that are taken apart at once. JSON takes many times its bytes.
const ALL_BODY_BYTES: usize = 32 << 20;
/// Threads that read texts beside the connections: more would take the cores from who waits for tokens.
const READING_THREADS: usize = 2;
/// The last bytes of an answer are still on their way when its place is free again.
const LAST_BYTES: Duration = Duration::from_millis(200);
/// How often it is looked whether the last answer has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What all requests share.
struct Server {
    handle: ModelHandle,
    /// Names by which requests may ask for the model; the first is its own.
    names: Vec<String>,
    /// Seconds since 1970 at which it was loaded.
    loaded_at: u64,
    /// Positions that a text may take.
    positions: u32,
    /// What the checkpoint recommends, where a request says nothing.
    sampling: SamplerOptions,
    /// How a text becomes a vector.
    pooling: Pooling,
    /// Texts that share sweeps at most.
    parallel: usize,
    places: Places,
    counters: Arc<Counters>,
    /// A permit for each byte.
    bodies: Arc<Semaphore>,
    /// What requests may go on from.
    responses: Responses,
    /// Takes no request any more.
    ending: AtomicBool,
}

/// Runs the command, until Ctrl-C or SIGTERM.
pub fn serve(args: &ServeArgs, stop: &Arc<AtomicBool>) -> Result<()> {
    let key = args.api_key_file.as_deref().map(admission::read_key).transpose()?;
    // Found out before minutes go into loading.
    let listener = host::listen(&args.host, args.port)?;
    let address = listener.local_addr().map_err(|error| Error::io(error, args.host.as_str()))?;
    let door = Door::new(args, address.ip(), key)?;
    let server = Arc::new(pollster::block_on(load(args, stop))?);
    tell(&server, address, &door);
    let failed = |error: io::Error| Error::io(error, address.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(READING_THREADS)
        .enable_all()
        .build()
        .map_err(failed)?;
    let silence = Duration::from_secs(u64::from(args.timeout));
    let bounds = Bounds { silence, connections: args.max_connections as usize };
    let grace = Duration::from_secs(u64::from(args.grace));
    let ended = runtime.block_on(run(listener, Arc::clone(&server), door, bounds, grace));
    // A client that reads slowly would hold up the end.
    runtime.shutdown_background();
    ended.map_err(failed)?;
    drop(server);
    // Connections that have not ended yet may hold the model still, and its thread the GPU.
    signals::end(0)
}

async fn load(args: &ServeArgs, stop: &Arc<AtomicBool>) -> Result<Server> {
    let files = model::open(&args.model, stop).await?;
    let files = model::with_chat_template(files, args.chat_template.as_deref())?;
    files.text().tokenizer()?;
    let mut options = model::load_options(&args.model, None);
    options.sequences = args.parallel;
    let options = files.with_fewer_sequences(options, false)?;
    let own = files.model().manifest().name.clone();
    let sampling = files.sampling();
    let mut model = model::load(files, &options, stop).await?;
    if let Some(most_bytes) = args.prefix_cache {
        let usual = || Ok(cache_dir()?.join("prefixes"));
        let folder = args.prefix_cache_dir.clone().map_or_else(usual, Ok)?;
        model.keep_prefixes(Box::new(PrefixFiles::open(&folder, most_bytes)?));
    }
    if options.sequences < args.parallel {
        eprintln!("the budget lets {} of {} answers be made at once; others wait", options.sequences, args.parallel);
    }
    Ok(Server {
        names: [own].into_iter().chain(args.alias.iter().cloned()).collect(),
        loaded_at: unix_s(),
        positions: model.positions(),
        sampling,
        pooling: args.pooling.map_or(Pooling::Last, Pooling::from),
        parallel: options.sequences as usize,
        places: Places::new(options.sequences as usize + args.queue as usize),
        counters: Arc::default(),
        bodies: Arc::new(Semaphore::new(ALL_BODY_BYTES)),
        responses: Responses::default(),
        ending: AtomicBool::new(false),
        handle: model.into_handle()?,
    })
}

/// Seconds since 1970.
fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn tell(server: &Server, mut address: SocketAddr, door: &Door) {
    let everyone = (!address.ip().is_loopback()).then(|| address.ip());
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    eprintln!("serving {} at http://{address}/v1 (Ctrl-C ends it)", server.names.join(", "));
    eprintln!("  http://{address}/ in a browser is a page for chats");
    eprintln!("  OPENAI_BASE_URL=http://{address}/v1 OPENAI_API_KEY={}", if door.has_key() { "…" } else { "none" });
    if let Some(ip) = everyone.filter(|_| !door.has_key()) {
        eprintln!("everyone who reaches {ip} can use it (see --api-key-file)");
    }
}

async fn run(
    listener: std::net::TcpListener,
    server: Arc<Server>,
    door: Door,
    bounds: Bounds,
    grace: Duration,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let routes = routes(Arc::clone(&server), door);
    let answer = move |request: Request<Incoming>| routes.clone().oneshot(request.map(Body::new));
    let accepting = tokio::spawn(connections::serve(listener, bounds, answer));
    let mut signals = Signals::new()?;
    signals.next().await;
    server.ending.store(true, Ordering::SeqCst);
    if server.places.taken() > 0 {
        eprintln!(
            "ending: {} answers have {} s to end (once more ends at once)",
            server.places.taken(),
            grace.as_secs()
        );
    }
    let all_ended = async {
        while server.places.taken() > 0 {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        tokio::time::sleep(LAST_BYTES).await;
    };
    tokio::select! {
        () = all_ended => {}
        () = signals.next() => {}
        () = tokio::time::sleep(grace) => {}
    }
    accepting.abort();
    Ok(())
}

fn routes(server: Arc<Server>, door: Door) -> Router {
    let door = Arc::new(door);
    let known = Router::new()
        .route("/", get(models::welcome))
        .route("/health", get(models::health))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::one))
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/completions", post(completions::complete))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1/rerank", post(rerank::rerank))
        .route("/rerank", post(rerank::rerank))
        .route("/v1/responses", post(responses::create))
        .route("/v1/responses/{id}", get(responses::one).delete(responses::delete))
        .route("/v1/messages", post(anthropic::create))
        .route("/v1/messages/count_tokens", post(anthropic::count_tokens))
        .route("/api/version", get(ollama::version))
        .route("/api/tags", get(ollama::tags))
        .route("/api/chat", post(ollama::chat))
        .route("/api/generate", post(ollama::generate))
        .route("/api/embed", post(embeddings::embed))
        .route("/tokenize", post(texts::tokenize))
        .route("/detokenize", post(texts::detokenize))
        .method_not_allowed_fallback(|| async { Failure::method() })
        .fallback(|| async { Failure::no_such_address() });
    let guard = move |request, next| admission::guard(Arc::clone(&door), request, next);
    known.layer(axum::middleware::from_fn(guard)).layer(DefaultBodyLimit::max(MOST_BODY_BYTES)).with_state(server)
}
