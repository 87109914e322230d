//! Answers: the file that an address means, with what a browser must know to use it.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tower_http::services::ServeFile;

use super::Body;
use super::site::{Found, Site};
use crate::hosts::{Hosts, Refused};

/// On every answer.
const ALWAYS: [(HeaderName, &str); 2] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // A shard keeps its name when its model is split anew, so that a copy may only be used after asking whether it is
    // still the same: by its ETag, that costs an empty answer.
    (header::CACHE_CONTROL, "no-cache"),
];

/// On answers that pages of every site may read: those about models.
const FOR_ALL: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        "Accept-Ranges, Content-Encoding, Content-Length, Content-Range, ETag, Retry-After",
    ),
    // For pages that are isolated from other origins (COEP).
    (CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"),
];
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Answers a request.
pub async fn answer(
    site: Arc<Site>,
    hosts: Arc<Hosts>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (mut response, for_all) = match (hosts.check(&request), request.method()) {
        (Err(refused), _) => (refuse(&refused), false),
        (Ok(()), &Method::GET | &Method::HEAD | &Method::OPTIONS) => hand_out(site, request).await,
        _ => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
            (response, false)
        }
    };
    let headers = response.headers_mut();
    add(headers, ALWAYS);
    match for_all {
        true => add(headers, FOR_ALL),
        false => add(headers, [(CROSS_ORIGIN_RESOURCE_POLICY, "same-origin")]),
    }
    Ok(response)
}

fn add<const N: usize>(headers: &mut HeaderMap, more: [(HeaderName, &'static str); N]) {
    for (name, value) in more {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn refuse(refused: &Refused) -> Response<Body> {
    match refused {
        Refused::Malformed => plain(StatusCode::BAD_REQUEST, "the request must name one host\n"),
        Refused::Unknown(name) => {
            let text = format!(
                "This server is not known as '{name}'. To let browsers reach it by that name, start it with --allow-host {name}\n"
            );
            typed(StatusCode::FORBIDDEN, "text/plain; charset=utf-8", text)
        }
    }
}

/// The answer, and whether every site may read it.
async fn hand_out(site: Arc<Site>, request: Request<Incoming>) -> (Response<Body>, bool) {
    let path = request.uri().path().to_owned();
    // Asking the file system may block.
    let found = tokio::task::spawn_blocking(move || {
        let found = site.find(&path);
        let for_all = site.is_for_all(&path, &found);
        let models = (found == Found::Models).then(|| site.models());
        (found, for_all, models)
    });
    let gone = || plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot read it\n");
    let Ok((found, for_all, models)) = found.await else { return (gone(), false) };
    if request.method() == Method::OPTIONS {
        return (preflight(for_all), for_all);
    }
    let response = match found {
        Found::File(file) => send(&file, request).await.unwrap_or_else(gone),
        Found::MissingSlash => moved(request.uri().path()),
        Found::Models => match serde_json::to_string_pretty(&models.unwrap_or_default()) {
            Ok(text) => typed(StatusCode::OK, "application/json", text + "\n"),
            Err(_) => gone(),
        },
        Found::Nothing => plain(StatusCode::NOT_FOUND, "no such file\n"),
    };
    (response, for_all)
}

/// A file, or the range of it that is asked for. `None` where it cannot be read.
async fn send(file: &Path, request: Request<Incoming>) -> Option<Response<Body>> {
    let mut request = request.map(|_| ());
    if !request.headers().get(header::RANGE).is_some_and(is_one_range) {
        // The whole file answers what is no range, and several ranges too (RFC 9110, 14.2).
        request.headers_mut().remove(header::RANGE);
    }
    let whole = {
        let mut whole = request.clone();
        whole.headers_mut().remove(header::RANGE);
        whole
    };
    let response = ServeFile::new(file).try_call(request).await.ok()?;
    // A range of the file that the client has a part of; of another one it wants all.
    let headers = response.headers();
    let other = whole.headers().get(header::IF_RANGE).is_some_and(|condition| {
        [header::ETAG, header::LAST_MODIFIED].iter().all(|name| headers.get(name) != Some(condition))
    });
    let part = matches!(response.status(), StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE);
    let response = if part && other { ServeFile::new(file).try_call(whole).await.ok()? } else { response };
    Some(response.map(BodyExt::boxed_unsync))
}

/// Whether a header asks for one range of bytes, well-formed: `bytes=0-499`, `bytes=500-` or `bytes=-500`.
fn is_one_range(header: &HeaderValue) -> bool {
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|digit| digit.is_ascii_digit()));
    let parts = || header.to_str().ok()?.strip_prefix("bytes=")?.trim().split_once('-');
    match parts() {
        Some(("", last)) => number(last).is_some(),
        Some((first, "")) => number(first).is_some(),
        Some((first, last)) => matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last),
        None => false,
    }
}

/// To the same path with a slash; it is known to start with one slash and a name, so that it stays on this host.
fn moved(path: &str) -> Response<Body> {
    let mut response = plain(StatusCode::TEMPORARY_REDIRECT, "");
    match HeaderValue::from_str(&format!("{path}/")) {
        Ok(location) => response.headers_mut().insert(header::LOCATION, location),
        Err(_) => return plain(StatusCode::NOT_FOUND, "no such file\n"),
    };
    response
}

/// What a browser asks before a request with headers of its own.
fn preflight(for_all: bool) -> Response<Body> {
    let mut response = plain(StatusCode::NO_CONTENT, "");
    if !for_all {
        return response;
    }
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
    let allowed = "Cache-Control, If-Modified-Since, If-None-Match, If-Range, Range";
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    typed(status, "text/plain; charset=utf-8", text.to_owned())
}

fn typed(status: StatusCode, content_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Full::from(text).map_err(|never: Infallible| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_told_from_several_and_from_none() {
        let one = |text: &str| is_one_range(&HeaderValue::from_str(text).expect("a header"));
        for text in ["bytes=0-0", "bytes=0-499", "bytes=500-", "bytes=-500", "bytes= 1-2"] {
            assert!(one(text), "{text}");
        }
        for text in [
            "",
            "bytes=",
            "bytes=-",
            "bytes=2-1",
            "bytes=0-1,4-5",
            "bytes=0-1, 4-5",
            "bytes=a-b",
            "bytes=+1-2",
            "lines=0-1",
            "bytes 0-1",
            "bytes=0-99999999999999999999",
        ] {
            assert!(!one(text), "{text}");
        }
    }
}
