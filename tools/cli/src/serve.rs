//! `tilestream serve`: a static host for the page and for split models.
//!
//! Any static host does as well; this one is for trying things out, and does what the others must: ranges, the right
//! types, requests from other origins, and no compression of what is read by ranges.

mod site;

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use tilestream::{Error, ErrorKind, Result};
use tilestream_split::size::show_size;
use tower_http::services::ServeFile;

use crate::args::ServeArgs;
use site::{Found, FoundModel, Site};

/// On every answer.
const ALWAYS: [(HeaderName, &str); 5] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        "Accept-Ranges, Content-Encoding, Content-Length, Content-Range, ETag, Retry-After",
    ),
    // For pages that are isolated from other origins (COEP).
    (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // A shard keeps its name when its model is split anew, so that a copy may only be used after asking whether it is
    // still the same: by its ETag, that costs an empty answer.
    (header::CACHE_CONTROL, "no-cache"),
];

/// Runs the command, until Ctrl-C.
pub fn serve(args: &ServeArgs) -> Result<()> {
    let page = args.page.clone().or_else(|| built_page(args));
    let site = Arc::new(Site::new(&args.folder, page.as_deref())?);
    let listener = listen(&args.host, args.port)?;
    let address = listener.local_addr().map_err(|error| Error::io(error, args.host.as_str()))?;
    eprintln!("serving {} at http://{address}/ (Ctrl-C ends it)", args.folder.display());
    if !address.ip().is_loopback() {
        eprintln!("everyone who reaches {} can read it", address.ip());
    }
    if !site.has_page() {
        eprintln!("no index.html: only files are served (see --page)");
    }
    announce(&site.models());
    let failed = |error: io::Error| Error::io(error, address.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(failed)?;
    let ended = runtime.block_on(run(listener, site));
    // A download that is under way would hold up the end for as long as it takes.
    runtime.shutdown_background();
    ended.map_err(failed)
}

async fn run(listener: TcpListener, site: Arc<Site>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let handler = move |request: Request| answer(Arc::clone(&site), request);
    tokio::select! {
        ended = axum::serve(listener, Router::new().fallback(handler)).into_future() => ended,
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

/// The page of the repository that this binary was built in, where FOLDER has none of its own.
fn built_page(args: &ServeArgs) -> Option<PathBuf> {
    if args.folder.join("index.html").exists() {
        return None;
    }
    let binary = std::env::current_exe().ok()?;
    let target = binary.ancestors().nth(2).filter(|folder| folder.ends_with("target"))?;
    let page = target.parent()?.join("web/dist");
    page.join("index.html").is_file().then_some(page)
}

fn listen(host: &str, port: u16) -> Result<TcpListener> {
    let listener = TcpListener::bind((host, port)).map_err(|error| {
        let (message, remedy) = match error.kind() {
            io::ErrorKind::AddrInUse => {
                (format!("port {port} is taken"), "choose another with --port, or let --port 0 find a free one")
            }
            io::ErrorKind::PermissionDenied => {
                (format!("port {port} is not for everyone"), "choose one above 1023 with --port")
            }
            _ => (error.to_string(), "give an address of this machine with --host"),
        };
        Error::new(ErrorKind::Io, message).file(format!("{host}:{port}")).remedy(remedy).source(error)
    })?;
    listener.set_nonblocking(true).map_err(|error| Error::io(error, format!("{host}:{port}")))?;
    Ok(listener)
}

fn announce(models: &[FoundModel]) {
    if models.is_empty() {
        eprintln!("no split models in it yet (see `tilestream split`)");
    }
    for model in models {
        eprintln!("  {} ({}, {})", model.path, model.name, show_size(model.bytes));
    }
}

async fn answer(site: Arc<Site>, request: Request) -> Result<Response, Infallible> {
    let mut response = match *request.method() {
        Method::GET | Method::HEAD => hand_out(site, request).await,
        Method::OPTIONS => preflight(),
        _ => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
            response
        }
    };
    for (name, value) in ALWAYS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

async fn hand_out(site: Arc<Site>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    // Asking the file system may block.
    let found = tokio::task::spawn_blocking(move || {
        let found = site.find(&path);
        let models = (found == Found::Models).then(|| site.models());
        (found, models)
    });
    let gone = || plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot read it\n");
    let Ok((found, models)) = found.await else { return gone() };
    match found {
        Found::File(file) => match ServeFile::new(file).try_call(request).await {
            Ok(response) => response.map(Body::new),
            Err(_) => gone(),
        },
        Found::MissingSlash => moved(request.uri().path()),
        Found::Models => match serde_json::to_string_pretty(&models.unwrap_or_default()) {
            Ok(text) => typed(StatusCode::OK, "application/json", text + "\n"),
            Err(_) => gone(),
        },
        Found::Nothing => plain(StatusCode::NOT_FOUND, "no such file\n"),
    }
}

/// To the same path with a slash; it is known to start with one slash and a name, so that it stays on this host.
fn moved(path: &str) -> Response {
    let mut response = plain(StatusCode::TEMPORARY_REDIRECT, "");
    match HeaderValue::from_str(&format!("{path}/")) {
        Ok(location) => response.headers_mut().insert(header::LOCATION, location),
        Err(_) => return plain(StatusCode::NOT_FOUND, "no such file\n"),
    };
    response
}

/// What a browser asks before a request with headers of its own.
fn preflight() -> Response {
    let mut response = plain(StatusCode::NO_CONTENT, "");
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
    let allowed = "Cache-Control, If-Modified-Since, If-None-Match, If-Range, Range";
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    typed(status, "text/plain; charset=utf-8", text.to_owned())
}

fn typed(status: StatusCode, content_type: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
