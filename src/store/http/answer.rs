//! What a server's answer to a request means: pure functions of status and headers.

use std::ops::Range;

use crate::{Error, ErrorKind};

/// The head of an answer. A header that another origin hides from a browser is `None`.
#[derive(Clone, Debug, Default)]
#[cfg_attr(
    target_arch = "wasm32",
    allow(dead_code, reason = "a browser follows redirects by itself, and reads no hubs")
)]
pub(super) struct Head {
    pub status: u16,
    pub content_range: Option<String>,
    pub content_encoding: Option<String>,
    pub content_length: Option<u64>,
    pub retry_after: Option<String>,
    /// Where else the object is, for a redirect that the client does not follow by itself.
    pub location: Option<String>,
    /// Where a list goes on.
    pub link: Option<String>,
    /// What a hub says beside its status: `GatedRepo`.
    pub error_code: Option<String>,
    /// The host undoes a content encoding before it hands out the body, as browsers do.
    pub decoded: bool,
}

/// What went wrong with one request, and whether another one may help.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The network, or a server that may recover; after so many seconds, where the server said so.
    Passing {
        message: String,
        wait_s: Option<f64>,
        /// No address is known for the host's name.
        no_host: bool,
    },
    /// A host that is far too slow: once more, because another connection may be faster.
    Slow(Error),
    /// A server that breaks the rules: once more, because a proxy between may have, and then the error.
    Broken(Error),
    /// Nothing will change.
    Final(Error),
}

impl Trouble {
    pub(super) fn passing(message: impl Into<String>) -> Self {
        Self::Passing { message: message.into(), wait_s: None, no_host: false }
    }
}

/// How the body of an accepted answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// It starts at the byte that was asked for.
    Range,
    /// It is the whole object: the server ignores ranges.
    Whole,
}

/// Judges an answer to a request for `wanted` bytes of an object, or for all of it.
pub(super) fn judge(head: &Head, wanted: Option<&Range<u64>>) -> Result<Body, Trouble> {
    match (head.status, wanted) {
        (206, Some(wanted)) => {
            check_encoding(head, false)?;
            check_range(head, wanted)?;
            Ok(Body::Range)
        }
        (200, _) => {
            check_encoding(head, head.decoded)?;
            Ok(Body::Whole)
        }
        (416, Some(wanted)) => Err(Trouble::Final(past_the_end(wanted))),
        (status, _) => Err(refusal(status, head)),
    }
}

/// The error of a range that the object does not have.
pub(super) fn past_the_end(wanted: &Range<u64>) -> Error {
    let message = format!("bytes {}..{} lie past the object's end", wanted.start, wanted.end);
    Error::new(ErrorKind::Truncated, message).remedy("upload the file again")
}

fn refusal(status: u16, head: &Head) -> Trouble {
    let (kind, message, remedy) = match status {
        404 | 410 => {
            (ErrorKind::NotFound, "the host has no such file", "check the address, and that all files were uploaded")
        }
        401 | 403 => (
            ErrorKind::Io,
            "the host refuses access",
            "make the folder readable, sign the address anew, or check that the file exists: some hosts answer so for a \
             file that is not there",
        ),
        408 | 425 | 429 | 500..=599 => {
            return Trouble::Passing {
                message: format!("the host answers {status}"),
                wait_s: retry_after(head),
                no_host: false,
            };
        }
        _ => (ErrorKind::Io, "the host does not hand out the file", "check the address"),
    };
    Trouble::Final(Error::new(kind, format!("{message} (HTTP {status})")).remedy(remedy))
}

/// Seconds of `Retry-After`. A date is left to the usual backoff: clocks of servers are often wrong.
fn retry_after(head: &Head) -> Option<f64> {
    head.retry_after.as_deref()?.trim().parse::<u32>().ok().map(f64::from)
}

fn check_encoding(head: &Head, decoded: bool) -> Result<(), Trouble> {
    match head.content_encoding.as_deref().map(str::trim) {
        None | Some("" | "identity") => Ok(()),
        Some(_) if decoded => Ok(()),
        Some(encoding) => {
            let message = format!("the host compresses the file ({encoding:?}), so that its positions are lost");
            let remedy = "have it served as application/octet-stream without compression";
            Err(Trouble::Broken(Error::new(ErrorKind::Unsupported, message).remedy(remedy)))
        }
    }
}

fn check_range(head: &Head, wanted: &Range<u64>) -> Result<(), Trouble> {
    let lie = |what: String| {
        let message = format!("asked for bytes {}..{}, the host {what}", wanted.start, wanted.end);
        let remedy = "the host or a proxy breaks range requests: use another one";
        Err(Trouble::Broken(Error::new(ErrorKind::Network, message).remedy(remedy)))
    };
    if let Some(length) = head.content_length.filter(|&length| length > wanted.end - wanted.start) {
        return lie(format!("answers with {length} bytes"));
    }
    let Some(text) = head.content_range.as_deref() else { return Ok(()) };
    let Some((first, last, total)) = parse_range(text) else {
        return lie(format!("answers with the range {text:?}"));
    };
    if first != wanted.start || last < first || last >= wanted.end {
        return lie(format!("answers with bytes {first}-{last}"));
    }
    match total {
        // The rest is not there, so that nobody needs to ask for it.
        Some(total) if total < wanted.end && wanted.end != u64::MAX => Err(Trouble::Final(past_the_end(wanted))),
        _ => Ok(()),
    }
}

/// `bytes FIRST-LAST/TOTAL`, where the total may be `*`.
fn parse_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((first.parse().ok()?, last.parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partial(content_range: &str) -> Head {
        Head { status: 206, content_range: Some(content_range.into()), ..Head::default() }
    }

    #[test]
    fn a_range_is_taken_only_where_it_starts_and_ends_right() {
        let wanted = 10..20;
        for good in ["bytes 10-19/100", "bytes 10-19/*", "bytes 10-15/100", " bytes 10-19/20 "] {
            assert_eq!(judge(&partial(good), Some(&wanted)).ok(), Some(Body::Range), "{good}");
        }
        assert_eq!(judge(&Head { status: 206, ..Head::default() }, Some(&wanted)).ok(), Some(Body::Range));
        for bad in
            ["bytes 9-19/100", "bytes 11-19/100", "bytes 10-20/100", "bytes 10-9/100", "bytes 0-99/100", "10-19", ""]
        {
            let verdict = judge(&partial(bad), Some(&wanted));
            assert!(matches!(&verdict, Err(Trouble::Broken(_))), "{bad}: {verdict:?}");
        }
        let longer = Head { content_length: Some(11), ..partial("bytes 10-19/100") };
        assert!(matches!(judge(&longer, Some(&wanted)), Err(Trouble::Broken(_))));
        let short = judge(&partial("bytes 10-14/15"), Some(&wanted));
        assert!(matches!(&short, Err(Trouble::Final(error)) if error.kind() == ErrorKind::Truncated), "{short:?}");
    }

    #[test]
    fn each_status_has_its_meaning() {
        let wanted = 0..4;
        let verdict = |status| judge(&Head { status, ..Head::default() }, Some(&wanted));
        assert_eq!(verdict(200).ok(), Some(Body::Whole));
        for (status, kind) in [
            (404, ErrorKind::NotFound),
            (410, ErrorKind::NotFound),
            (401, ErrorKind::Io),
            (403, ErrorKind::Io),
            (416, ErrorKind::Truncated),
            (204, ErrorKind::Io),
            (304, ErrorKind::Io),
        ] {
            let result = verdict(status);
            assert!(matches!(&result, Err(Trouble::Final(error)) if error.kind() == kind), "{status}: {result:?}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(matches!(verdict(status), Err(Trouble::Passing { wait_s: None, .. })), "{status}");
        }
        let told = Head { status: 429, retry_after: Some("7".into()), ..Head::default() };
        assert!(matches!(judge(&told, None), Err(Trouble::Passing { wait_s: Some(7.0), .. })));
        let date = Head { status: 503, retry_after: Some("Wed, 21 Oct 2015 07:28:00 GMT".into()), ..Head::default() };
        assert!(matches!(judge(&date, None), Err(Trouble::Passing { wait_s: None, .. })));
    }

    #[test]
    fn compressed_ranges_are_refused_and_whole_files_only_where_nobody_unpacks_them() {
        let gzip = |status, decoded| {
            let head = Head { status, content_encoding: Some("gzip".into()), decoded, ..Head::default() };
            judge(&head, Some(&(0..4))).is_ok()
        };
        assert_eq!([gzip(206, false), gzip(206, true), gzip(200, false), gzip(200, true)], [false, false, false, true]);
    }
}
