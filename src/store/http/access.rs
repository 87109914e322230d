//! A host that takes a token, and redirects to signed addresses of other hosts, as hubs do.
//!
//! The token goes to the host's own origin and nowhere else. Where a file was found is kept, so that the host is not
//! asked again for each range, until the address is refused: signatures expire.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::answer::{Head, Trouble};
use super::native::{Client, Response};
use super::{Ask, Failure};
use crate::{Error, ErrorKind, Result};

/// Redirects in a row that make sense.
const MOST_REDIRECTS: usize = 8;
/// Longest token that is sent.
const MAX_TOKEN_BYTES: usize = 4096;

/// A token; never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token(String);

impl Token {
    /// # Errors
    /// [`ErrorKind::Argument`] where it cannot stand in a header.
    pub(super) fn new(token: &str) -> Result<Self> {
        let token = token.trim();
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES || !token.bytes().all(|b| b.is_ascii_graphic()) {
            let error = Error::new(ErrorKind::Argument, "the token is empty, or holds what no token holds");
            return Err(error.remedy("copy it again from the hub's settings"));
        }
        Ok(Self(format!("Bearer {token}")))
    }

    /// The value of the header `Authorization`.
    pub(super) fn bearer(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// What the host's own refusals mean.
pub(super) type Explain = fn(&Head, &super::hub::Subject) -> Option<Error>;

/// What a client knows of such a host.
pub(super) struct Access {
    /// `https://host:port`.
    origin: String,
    token: Option<Token>,
    place: super::hub::Subject,
    explain: Explain,
    /// The signed address of each address. As secret as the token, for as long as it lasts.
    found: Mutex<HashMap<String, String>>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Access {
    /// `base` is an address of the host.
    pub(super) fn new(base: &str, token: Option<Token>, place: super::hub::Subject, explain: Explain) -> Self {
        Self { origin: origin(base).to_owned(), token, place, explain, found: Mutex::default() }
    }

    /// Sends a request, follows where it leads, and waits for the head of the last answer.
    pub(super) async fn get(&self, client: &Client, ask: &Ask<'_>) -> Result<Response, Trouble> {
        let known = self.found().get(ask.url).cloned();
        if let Some(known) = known {
            let answer = client.send(&known, ask, None).await;
            if answer.as_ref().is_ok_and(|response| !has_expired(response.head.status)) {
                return Ok(answer?);
            }
            self.found().retain(|url, address| url != ask.url || *address != known);
            answer?;
        }
        let (mut url, mut at_home) = (ask.url.to_owned(), true);
        for _ in 0..=MOST_REDIRECTS {
            at_home = at_home && origin(&url) == self.origin;
            let response = client.send(&url, ask, self.token.as_ref().filter(|_| at_home)).await?;
            let head = &response.head;
            match (&head.location, head.status) {
                (Some(location), 301 | 302 | 303 | 307 | 308) => url = target(&url, location)?,
                (_, 401 | 403 | 404 | 410) if !at_home => {
                    // The host itself has just said that the file is there.
                    let message = format!("the storage that the host redirects to answers {}", head.status);
                    return Err(Trouble::passing(message));
                }
                (_, status) => {
                    if at_home && let Some(error) = (self.explain)(head, &self.place) {
                        return Err(Trouble::Final(error));
                    }
                    if !at_home && matches!(status, 200 | 206) {
                        self.found().insert(ask.url.to_owned(), url);
                    }
                    return Ok(response);
                }
            }
        }
        Err(hopeless("too many redirects").into())
    }

    // A panic elsewhere cannot leave the table half-changed: every change is one call on it.
    fn found(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a status of an address that has worked before may mean that its signature is too old.
fn has_expired(status: u16) -> bool {
    matches!(status, 300..=399 | 400 | 401 | 403 | 404 | 410)
}

fn hopeless(message: &str) -> Failure {
    Failure { message: message.to_owned(), hopeless: true, no_host: false }
}

/// `https://host:port` of an address.
pub(super) fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |scheme| scheme + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |end| host + end);
    &url[..end]
}

/// Where a `Location` leads from an address. Its query string may be a signature: no message shows it.
fn target(url: &str, location: &str) -> Result<String, Failure> {
    let refuse = |why: &str| Err(hopeless(&format!("the host redirects to {why}")));
    if location.is_empty() || !location.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
        return refuse("what is no address");
    }
    let home = origin(url);
    let location = location.split('#').next().unwrap_or_default();
    let scheme = url.split(':').next().unwrap_or_default();
    let path = &url[..url.find('?').unwrap_or(url.len())];
    let absolute = match location {
        _ if location.starts_with("//") => format!("{scheme}:{location}"),
        _ if location.starts_with('/') => format!("{home}{location}"),
        _ if location.split(['/', '?']).next().is_some_and(|first| first.contains(':')) => location.to_owned(),
        _ if location.starts_with('?') => format!("{path}{location}"),
        _ => format!("{}{location}", &path[..path.rfind('/').map_or(path.len(), |slash| slash + 1)]),
    };
    let lower = absolute.get(..8).unwrap_or(&absolute).to_ascii_lowercase();
    let (is_secure, is_plain) = (lower.starts_with("https://"), lower.starts_with("http://"));
    if !is_secure && !is_plain {
        return refuse("what is no http or https address");
    }
    if is_plain && scheme.eq_ignore_ascii_case("https") {
        return refuse("an address without encryption");
    }
    if origin(&absolute).contains('@') || absolute.parse::<ureq::http::Uri>().is_err() {
        return refuse("what is no address of a file");
    }
    Ok(absolute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_browsers_would_go() {
        let from = "https://hub:8/a/b?x=1";
        for (location, expected) in [
            ("https://cdn/f?sig=2#part", "https://cdn/f?sig=2"),
            ("/api/f", "https://hub:8/api/f"),
            ("//cdn/f", "https://cdn/f"),
            ("c?d=http://e/", "https://hub:8/a/c?d=http://e/"),
            ("?y=2", "https://hub:8/a/b?y=2"),
        ] {
            assert_eq!(target(from, location).map_err(|failure| failure.message).as_deref(), Ok(expected));
        }
        for location in
            ["", "http://cdn/f", "ftp://cdn/f", "file:///etc", "https://a b", "https://u@cdn/", "javascript:1"]
        {
            let failure = target(from, location).err().unwrap_or_else(|| panic!("{location:?} is followed"));
            assert!(failure.hopeless, "{location:?}");
        }
        assert!(target("http://hub/", "http://cdn/").is_ok());
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for url in ["https://hub:8", "https://hub:8/", "https://hub:8?a", "https://hub:8/a/b"] {
            assert_eq!(origin(url), "https://hub:8");
        }
        assert_ne!(origin("https://hub:8@evil/"), "https://hub:8");
        assert_ne!(origin("https://hub:80/"), "https://hub:8");
    }

    #[test]
    fn a_token_is_one_word_and_never_shown() {
        let token = Token::new(" hf_secret\n").expect("trimmed");
        assert_eq!(token.bearer(), "Bearer hf_secret");
        assert!(!format!("{token:?}").contains("secret"));
        for bad in ["", " ", "a b", "a\r\nX: y", "é", &"x".repeat(5000)] {
            let error = Token::new(bad).expect_err("no token");
            assert!(bad.trim().is_empty() || !error.to_string().contains(bad));
        }
    }
}
