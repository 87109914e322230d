//! `tilestream host`: a static host for the page and for split models.
//!
//! Any static host does as well; this one is for trying things out, and does what the others must: ranges, the right
//! types, models for other origins, and no compression of what is read by ranges.

mod answer;
mod site;

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::{Bytes, Incoming};
use tilestream::{Error, ErrorKind, Result};
use tilestream_split::size::show_size;

use crate::args::HostArgs;
use crate::connections::{self, Bounds};
use crate::hosts::Hosts;
use answer::answer;
use site::{FoundModel, Site};

/// Of an answer: a file as it is read, or a short text.
type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>;

/// Runs the command, until Ctrl-C.
pub fn host(args: &HostArgs) -> Result<()> {
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
    let names = args.allow_host.iter().chain([&args.host]).cloned();
    let hosts = Arc::new(Hosts::new(address.ip(), names));
    let silence = Duration::from_secs(u64::from(args.timeout));
    let bounds = Bounds { silence, connections: args.max_connections as usize };
    let ended = runtime.block_on(run(listener, site, hosts, bounds));
    // A download that is under way would hold up the end for as long as it takes.
    runtime.shutdown_background();
    ended.map_err(failed)
}

async fn run(listener: TcpListener, site: Arc<Site>, hosts: Arc<Hosts>, bounds: Bounds) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let answer = move |request: Request<Incoming>| answer(Arc::clone(&site), Arc::clone(&hosts), request);
    tokio::spawn(connections::serve(listener, bounds, answer));
    tokio::signal::ctrl_c().await
}

/// The page of the repository that this binary was built in, where FOLDER has none of its own.
fn built_page(args: &HostArgs) -> Option<PathBuf> {
    if args.folder.join("index.html").exists() {
        return None;
    }
    let binary = std::env::current_exe().ok()?;
    let target = binary.ancestors().nth(2).filter(|folder| folder.ends_with("target"))?;
    let page = target.parent()?.join("web/dist");
    page.join("index.html").is_file().then_some(page)
}

/// Listens at an address.
///
/// # Errors
/// [`ErrorKind::Io`] with what to choose instead.
pub fn listen(host: &str, port: u16) -> Result<TcpListener> {
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
