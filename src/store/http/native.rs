//! Requests by a blocking client: reads run on threads of their own.
//!
//! A future here blocks while it waits for the network, and gives way between chunks and during pauses, so that whoever
//! polls it can drop it.

use std::future::poll_fn;
use std::io::{self, Read};
use std::task::Poll;
use std::time::{Duration, Instant};

use ureq::config::ConfigBuilder;
use ureq::http::{HeaderMap, HeaderName, header};
use ureq::typestate::AgentScope;
use ureq::{Agent, BodyReader};

use super::access::{Access, Token, origin};
use super::answer::{Head, Trouble};
use super::{Ask, Failure, HttpOptions};

/// What to do about a network that fails.
pub(super) const REMEDY: &str = "check the address and the connection, then start again";

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Longest stretch of a pause in which nobody can drop the future.
const SLICE: Duration = Duration::from_millis(50);

/// The client with its open connections.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    access: Option<Access>,
}

impl Client {
    pub(super) fn new(options: &HttpOptions) -> Self {
        Self { agent: Agent::new_with_config(config(options).build()), access: None }
    }

    /// A client of a host that takes a token and redirects to signed addresses.
    pub(super) fn with_access(options: &HttpOptions, access: Access) -> Self {
        // A redirect is an answer like any other: `access` says where it leads, and what goes along.
        let config = config(options).max_redirects(0).build();
        Self { agent: Agent::new_with_config(config), access: Some(access) }
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn get(&self, ask: &Ask<'_>) -> Result<Response, Trouble> {
        match &self.access {
            Some(access) => access.get(self, ask).await,
            None => Ok(self.send(ask.url, ask, None).await?),
        }
    }

    /// Sends a request to an address, which need not be the one that was asked for at first.
    pub(super) async fn send(&self, url: &str, ask: &Ask<'_>, token: Option<&Token>) -> Result<Response, Failure> {
        turn().await;
        let mut request = self.agent.get(url);
        if let Some(range) = &ask.range {
            request = request.header(header::RANGE, range);
        }
        if ask.fresh {
            request = request.header(header::CACHE_CONTROL, "no-cache");
        }
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token.bearer());
        }
        let response = request.call().map_err(|error| refused(error, url))?;
        let head = head(response.status().as_u16(), response.headers());
        Ok(Response { head, body: response.into_body().into_reader(), chunk: Vec::new() })
    }
}

fn config(options: &HttpOptions) -> ConfigBuilder<AgentScope> {
    let stall = Some(Duration::from_secs_f64(options.stall_s.clamp(0.01, 86_400.0)));
    Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("tilestream/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .max_idle_connections_per_host(options.concurrent)
        .timeout_resolve(stall)
        .timeout_connect(stall)
        .timeout_recv_response(stall)
        .timeout_per_read(stall)
        .timeout_per_write(stall)
}

fn head(status: u16, headers: &HeaderMap) -> Head {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Head {
        status,
        content_range: text(header::CONTENT_RANGE),
        content_encoding: text(header::CONTENT_ENCODING),
        content_length: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        retry_after: text(header::RETRY_AFTER),
        location: text(header::LOCATION),
        link: text(header::LINK),
        error_code: text(HeaderName::from_static("x-error-code")),
        decoded: false,
    }
}

/// An answer whose body is still on its way; dropping it closes the connection, unless the body was read to its end.
pub(super) struct Response {
    pub head: Head,
    body: BodyReader<'static>,
    chunk: Vec<u8>,
}

impl Response {
    /// The next bytes of the body, `None` at its end.
    pub(super) async fn next_chunk(&mut self) -> Result<Option<&[u8]>, Failure> {
        turn().await;
        self.chunk.resize(CHUNK_BYTES, 0);
        loop {
            match self.body.read(&mut self.chunk) {
                Ok(0) => return Ok(None),
                Ok(read) => return Ok(Some(&self.chunk[..read])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failure(error.into())),
            }
        }
    }
}

/// The failure of a request that got no answer.
fn refused(error: ureq::Error, url: &str) -> Failure {
    if !is_unresolved(&error) {
        return failure(error);
    }
    let host = origin(url).split_once("://").map_or(url, |(_, host)| host);
    Failure { message: format!("the host {host} cannot be found ({error})"), hopeless: false, no_host: true }
}

/// Whether the system knows no address of the host's name. It has no kind of its own for that.
fn is_unresolved(error: &ureq::Error) -> bool {
    /// Windows' codes from "host not found" to "no data of this name".
    const UNKNOWN_NAME: std::ops::RangeInclusive<i32> = 11_001..=11_004;
    match error {
        ureq::Error::HostNotFound | ureq::Error::Timeout(ureq::Timeout::Resolve) => true,
        ureq::Error::Io(error) => {
            error.to_string().contains("lookup address")
                || error.raw_os_error().is_some_and(|code| UNKNOWN_NAME.contains(&code))
        }
        _ => false,
    }
}

fn failure(error: ureq::Error) -> Failure {
    use ureq::Error as Ureq;
    let hopeless = match &error {
        // A certificate that is not accepted comes as invalid data.
        Ureq::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        Ureq::Timeout(_) | Ureq::HostNotFound | Ureq::ConnectionFailed | Ureq::Protocol(_) | Ureq::BodyStalled => false,
        _ => true,
    };
    Failure { message: format!("the request failed: {error}"), hopeless, no_host: false }
}

/// Waits.
pub(super) async fn pause(seconds: f64) {
    let start = Instant::now();
    let whole = Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0));
    while let Some(rest) = whole.checked_sub(start.elapsed()).filter(|rest| !rest.is_zero()) {
        std::thread::sleep(rest.min(SLICE));
        turn().await;
    }
}

/// Returns to whoever polls, once.
async fn turn() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
