//! What a hub's refusals mean to the user.

use super::super::answer::Head;
use super::Subject;
use crate::words::{Term, Words};
use crate::{Error, ErrorKind};

/// The error of a status by which the hub itself refuses; `None` for every other.
pub(in super::super) fn refusal(head: &Head, place: &Subject) -> Option<Error> {
    let Subject { page, tokens, revision, has_token } = place;
    let status = head.status;
    let kind = match status {
        401 | 403 => ErrorKind::Io,
        404 | 410 => ErrorKind::NotFound,
        _ => return None,
    };
    let give = |before: String| {
        Words::from(before) + " and give a token (" + Term::Token + ", HF_TOKEN, or what `hf auth login` keeps)"
    };
    let (message, remedy) = match (head.error_code.as_deref(), has_token) {
        (Some("GatedRepo"), true) => (
            "the model is gated, and the account of the token has no access".to_owned(),
            format!("accept the licence at {page}, or give the token of an account that has").into(),
        ),
        (Some("GatedRepo"), false) => {
            let remedy = give(format!("accept the licence at {page}")) + format!(", made at {tokens}");
            ("the model is gated".to_owned(), remedy)
        }
        (Some("RevisionNotFound"), _) => (
            format!("the model has no revision {revision:?}"),
            format!("see its branches and tags at {page}/tree/main").into(),
        ),
        (Some("EntryNotFound"), _) => {
            ("the repository has no such file".to_owned(), format!("see its files at {page}/tree/main").into())
        }
        (_, false) => (
            "the hub shows no such model".to_owned(),
            give(format!("check the name; if the model is gated or private, accept the licence at {page}")),
        ),
        (_, true) if status == 401 => (
            "the hub takes neither the name nor the token".to_owned(),
            format!("check the name, and the token at {tokens}").into(),
        ),
        (_, true) => (
            "the hub shows no such model to the account of the token".to_owned(),
            format!("check the name, that the licence is accepted at {page}, and what the token may read at {tokens}")
                .into(),
        ),
    };
    Some(Error::new(kind, format!("{message} (HTTP {status})")).file(page).remedy(remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_to_do() {
        let place = |has_token| Subject {
            page: "https://hub/o/n".into(),
            tokens: "https://hub/settings/tokens".into(),
            revision: "v9".into(),
            has_token,
        };
        let told = |status, code: Option<&str>, has_token| {
            let head = Head { status, error_code: code.map(str::to_owned), ..Head::default() };
            refusal(&head, &place(has_token)).map(|error| error.to_string()).unwrap_or_default()
        };
        for (status, code, has_token, says) in [
            (
                401,
                Some("GatedRepo"),
                false,
                &["gated", "licence at https://hub/o/n", "HF_TOKEN", "SourceOptions::token"][..],
            ),
            (403, Some("GatedRepo"), true, &["gated", "licence at https://hub/o/n"]),
            (401, Some("RepoNotFound"), false, &["check the name", "private", "HF_TOKEN"]),
            (404, None, false, &["check the name", "private"]),
            (404, Some("RepoNotFound"), true, &["check the name", "licence"]),
            (404, Some("RevisionNotFound"), false, &["\"v9\"", "tree/main"]),
            (404, Some("EntryNotFound"), false, &["no such file"]),
            (401, None, true, &["token at https://hub/settings/tokens"]),
        ] {
            let text = told(status, code, has_token);
            assert!(says.iter().all(|part| text.contains(part)), "{status} {code:?}: {text}");
        }
        for status in [200, 206, 302, 416, 429, 500] {
            assert_eq!(told(status, None, false), "");
        }
    }
}
