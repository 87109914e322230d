//! Who may ask, and how many at once.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tilestream::{Error, ErrorKind, Result};

use super::failure::Failure;
use crate::args::ServeArgs;
use crate::hosts::{Hosts, Refused};
use crate::model;

/// Headers that pages of allowed origins may send, where they do not say which they want to.
const ALLOWED_HEADERS: &str = "authorization, content-type, x-api-key";
/// Seconds for which a browser remembers what it may send.
const PREFLIGHT_S: &str = "600";

/// What a request must have to be let in.
pub struct Door {
    hosts: Hosts,
    key: Option<String>,
    origins: Vec<HeaderValue>,
}

impl Door {
    /// The door of a server at `ip`.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an origin that no browser sends.
    pub fn new(args: &ServeArgs, ip: IpAddr, key: Option<String>) -> Result<Self> {
        let names = args.allow_host.iter().chain([&args.host]).cloned();
        let origins = args.allow_origin.iter().map(|origin| {
            let plain = origin.contains("://") && !origin.ends_with('/');
            HeaderValue::from_str(origin).ok().filter(|_| plain).ok_or_else(|| {
                Error::new(ErrorKind::Argument, format!("'{origin}' is no origin"))
                    .remedy("write scheme, name and port: --allow-origin http://localhost:3000")
            })
        });
        Ok(Self { hosts: Hosts::new(ip, names), key, origins: origins.collect::<Result<_>>()? })
    }

    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    fn check(&self, request: &Request) -> Result<(), Failure> {
        self.hosts.check(request).map_err(|refused| {
            Failure::host(match refused {
                Refused::Malformed => "the request must name one host".into(),
                Refused::Unknown(name) => format!("this server is not known as '{name}' (see --allow-host)"),
            })
        })?;
        // Else a page of any site could have the model work, although it could not read the answer.
        let headers = request.headers();
        if headers.contains_key(header::ORIGIN) && self.allowed(headers).is_none() && !is_own_page(headers) {
            return Err(Failure::origin());
        }
        // A browser asks without the key whether it may send it. And whether a server is up is no secret, nor its page.
        if request.method() == Method::OPTIONS || ["/", "/health"].contains(&request.uri().path()) {
            return Ok(());
        }
        match &self.key {
            Some(key) if !given_keys(request.headers()).any(|given| same(given, key)) => Err(Failure::key()),
            _ => Ok(()),
        }
    }

    fn allowed(&self, headers: &HeaderMap) -> Option<&HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        self.origins.iter().find(|allowed| *allowed == origin)
    }
}

/// Whether a script of this server's own page asks: it comes from the host that the request names, which is one of ours.
fn is_own_page(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let from = text(header::ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    from.zip(text(header::HOST)).is_some_and(|(from, host)| from.eq_ignore_ascii_case(host))
}

/// As OpenAI's clients send it, and Anthropic's.
fn given_keys(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(header::AUTHORIZATION).and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, key)| key.trim());
    bearer.into_iter().chain(text(HeaderName::from_static("x-api-key")))
}

/// Compares every byte, so that the time does not tell how many of them are right.
fn same(given: &str, key: &str) -> bool {
    let (given, key) = (given.as_bytes(), key.as_bytes());
    let differing = given.iter().zip(key).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    differing == 0 && given.len() == key.len()
}

/// Reads the key of a file: its first line.
///
/// # Errors
/// What the system says of the file; [`ErrorKind::Argument`] where it holds none.
pub fn read_key(path: &Path) -> Result<String> {
    let text = model::read_text(path)?;
    let key = text.lines().next().unwrap_or_default().trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::new(ErrorKind::Argument, "holds no key")
            .file(path.display().to_string())
            .remedy("write one into its first line: letters, digits and signs, without spaces"));
    }
    Ok(key.to_owned())
}

/// Lets in who may ask, and lets pages of the allowed origins read the answer.
pub async fn guard(door: Arc<Door>, request: Request, next: Next) -> Response {
    let origin = door.allowed(request.headers()).cloned();
    let preflight = request.method() == Method::OPTIONS;
    let headers_asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let mut response = match door.check(&request) {
        Ok(()) if preflight => StatusCode::NO_CONTENT.into_response(),
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
        if preflight {
            // Clients have headers of their own.
            let allowed = headers_asked.unwrap_or(HeaderValue::from_static(ALLOWED_HEADERS));
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_S));
        }
    }
    response
}

/// How many answers may be under way or wait. Clones share the count.
#[derive(Clone)]
pub struct Places {
    most: usize,
    taken: Arc<AtomicUsize>,
}

/// The places of one request, until it is dropped.
pub struct Taken {
    count: usize,
    taken: Arc<AtomicUsize>,
}

impl Places {
    pub fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    pub fn most(&self) -> usize {
        self.most
    }

    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    /// Places for so many answers, where all of them have room.
    pub fn take(&self, count: usize) -> Option<Taken> {
        let room = |taken: usize| taken.checked_add(count).filter(|sum| *sum <= self.most);
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, room).ok()?;
        Some(Taken { count, taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.count, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let places = Places::new(3);
        let two = places.take(2).expect("room");
        assert!(places.take(2).is_none());
        let one = places.take(1).expect("room");
        drop(two);
        assert_eq!(places.taken(), 1);
        drop(one);
        assert!(places.take(4).is_none() && places.take(3).is_some() && places.taken() == 0);
    }

    #[test]
    fn the_own_page_is_told_from_others() {
        let is_own = |origin: &'static str, host: &'static str| {
            let values = [(header::ORIGIN, origin), (header::HOST, host)];
            is_own_page(&values.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect())
        };
        assert!(is_own("http://127.0.0.1:8080", "127.0.0.1:8080") && is_own("https://My.box", "my.box"));
        for origin in ["http://127.0.0.1:3000", "http://page.example", "null", "127.0.0.1:8080", ""] {
            assert!(!is_own(origin, "127.0.0.1:8080"), "{origin}");
        }
    }

    #[test]
    fn a_key_is_compared_whole() {
        assert!(same("abc", "abc"));
        for given in ["", "ab", "abcd", "abd", "bbc"] {
            assert!(!same(given, "abc"), "{given}");
        }
    }

    #[test]
    fn keys_come_in_two_headers() {
        let headers = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
        };
        let given = |name, value| given_keys(&headers(name, value)).map(str::to_owned).collect::<Vec<_>>();
        for bearer in ["Bearer k", "bearer  k"] {
            assert_eq!(given("authorization", bearer), ["k"]);
        }
        assert_eq!(given("x-api-key", "k"), ["k"]);
        assert!(given("authorization", "Basic k").is_empty() && given_keys(&HeaderMap::new()).next().is_none());
    }
}
