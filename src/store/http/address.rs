//! The address of a folder on a static host, and of the objects in it.

use crate::store::check_name;
use crate::{Error, ErrorKind, Result};

/// `https://host/folder/` with the query string that signed hosts want on every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Ends with a slash.
    folder: String,
    query: Option<String>,
}

impl Address {
    /// # Errors
    /// [`ErrorKind::Argument`] where `base` is no http(s) address of a folder.
    pub(super) fn parse(base: &str) -> Result<Self> {
        let refuse = |why: &str| {
            let shown: String = base.split('?').next().unwrap_or(base).chars().take(200).collect();
            let remedy = "give the folder's whole address, such as https://host/models/name/";
            Err(Error::new(ErrorKind::Argument, why).file(format!("{shown:?}")).remedy(remedy))
        };
        if base.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return refuse("an address has no spaces, control characters or backslashes");
        }
        if base.contains('#') {
            return refuse("a model's address has no fragment (#)");
        }
        let (folder, query) = match base.split_once('?') {
            Some((folder, query)) => (folder, Some(query)),
            None => (base, None),
        };
        let Some((scheme, rest)) = folder.split_once("://") else {
            return refuse("not an http or https address");
        };
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "http" && scheme != "https" {
            return refuse("not an http or https address");
        }
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() || !host.is_ascii() {
            return refuse("the address names no host, or one that is not ASCII (xn--…)");
        }
        if host.contains('@') {
            return refuse("a browser takes no user and password in an address");
        }
        let slash = if path.is_empty() || path.ends_with('/') { "" } else { "/" };
        let folder = format!("{scheme}://{host}/{}{slash}", encode(path, |b| b.is_ascii_graphic()));
        let query = query.filter(|query| !query.is_empty()).map(|query| encode(query, |b| b.is_ascii_graphic()));
        Ok(Self { folder, query })
    }

    /// The address of an object, to send.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where the name is no plain one.
    pub(super) fn of(&self, name: &str) -> Result<String> {
        check_name(name)?;
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(format!("{}{query}", self.shown(name)))
    }

    /// The address of an object for messages: without the query string, which may be a secret.
    pub(super) fn shown(&self, name: &str) -> String {
        format!("{}{}", self.folder, encode_part(name))
    }

    /// The folder's address, for messages.
    pub(super) fn folder(&self) -> &str {
        &self.folder
    }
}

/// Percent-encodes one part of a path, slashes included.
pub(super) fn encode_part(text: &str) -> String {
    encode(text, |b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}

/// Percent-encodes every byte that is not `plain`.
fn encode(text: &str, plain: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if plain(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_lies_in_the_folder_with_or_without_its_slash() {
        for base in ["https://host/a/b", "https://host/a/b/", "HTTPS://host/a/b"] {
            let address = Address::parse(base).expect("an address");
            assert_eq!(address.of("x.bin").expect("a name"), "https://host/a/b/x.bin");
        }
        let root = Address::parse("http://127.0.0.1:80").expect("an address");
        assert_eq!(root.of("x y%#?é").expect("a name"), "http://127.0.0.1:80/x%20y%25%23%3F%C3%A9");
    }

    #[test]
    fn a_query_is_sent_and_not_shown() {
        let signed = Address::parse("https://host/m%20é?key=s/cret&b=1").expect("an address");
        assert_eq!(signed.of("x").expect("a name"), "https://host/m%20%C3%A9/x?key=s/cret&b=1");
        assert_eq!(signed.shown("x"), "https://host/m%20%C3%A9/x");
    }

    #[test]
    fn what_is_no_address_of_a_folder_is_refused() {
        for base in [
            "",
            "models/",
            "/models/",
            "ftp://host/a",
            "file:///etc",
            "https://",
            "https:///a",
            "https://host/a#b",
            "https://user:word@host/",
            "https://host/a b",
            "https://host/a\r\nX: y",
            "https://hôst/",
            "https:\\\\host\\a",
        ] {
            let error = Address::parse(base).expect_err(base);
            assert_eq!(error.kind(), ErrorKind::Argument, "{error}");
        }
        assert!(Address::parse("https://host").expect("an address").of("../a").is_err());
    }
}
