//! What a hub's answers say: pure functions of bytes and headers.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::store::check_name;
use crate::{Error, ErrorKind, Result};

/// Longest query string that is sent back to the hub.
const MAX_QUERY_BYTES: usize = 4096;
/// Longest hash of a file.
const MAX_ID_BYTES: usize = 128;

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub len_bytes: u64,
    /// A hash of its content, as git or its large file storage make it.
    pub content_id: Option<String>,
}

/// What a folder of a repository holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub files: BTreeMap<String, Entry>,
    pub folders: Vec<String>,
}

/// The commit that an answer about a revision names.
pub(super) fn commit(answer: &[u8]) -> Result<String> {
    #[derive(Deserialize)]
    struct Revision {
        sha: String,
    }
    serde_json::from_slice(answer).map(|revision: Revision| revision.sha).map_err(no_answer)
}

/// Adds one page of a listing of `folder`: empty, or with a slash at its end. Names that no store follows are passed over.
pub(super) fn add_page(answer: &[u8], folder: &str, listing: &mut Listing) -> Result<()> {
    #[derive(Deserialize)]
    struct Item {
        #[serde(rename = "type")]
        kind: String,
        path: String,
        size: Option<u64>,
        oid: Option<String>,
        lfs: Option<Large>,
    }
    /// The content that a pointer in the repository stands for.
    #[derive(Deserialize)]
    struct Large {
        size: u64,
        oid: Option<String>,
    }
    let page: Vec<Item> = serde_json::from_slice(answer).map_err(no_answer)?;
    for item in page {
        let Some(name) = item.path.strip_prefix(folder).filter(|name| check_name(name).is_ok()) else { continue };
        match item.kind.as_str() {
            "file" => {}
            "directory" => {
                listing.folders.push(name.to_owned());
                continue;
            }
            _ => continue,
        }
        let (size, id) = match item.lfs {
            Some(large) => (Some(large.size), large.oid),
            None => (item.size, item.oid),
        };
        let Some(len_bytes) = size else {
            let error = Error::new(ErrorKind::Malformed, format!("the hub says no size of {}", item.path));
            return Err(error.remedy("check HF_ENDPOINT"));
        };
        let content_id = id.filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()) && id.is_ascii());
        listing.files.insert(name.to_owned(), Entry { len_bytes, content_id });
    }
    Ok(())
}

/// The query string of the next page, of the header `Link`. The rest of that address is not followed: a mirror may name
/// the host that it copies, and a token goes nowhere else.
pub(super) fn next_query(link: &str) -> Option<String> {
    let next = link.split(',').find(|part| {
        let relation = part.rsplit('>').next().unwrap_or_default().replace([' ', '"'], "");
        relation.split(';').any(|parameter| parameter == "rel=next")
    })?;
    let (address, _) = next.trim().strip_prefix('<')?.split_once('>')?;
    let query = address.split_once('?')?.1.split('#').next()?;
    let plain = query.len() <= MAX_QUERY_BYTES && query.bytes().all(|b| b.is_ascii_graphic());
    plain.then(|| query.to_owned()).filter(|query| !query.is_empty())
}

fn no_answer(error: serde_json::Error) -> Error {
    let message = format!("the answer is not that of a hub: {error}");
    Error::new(ErrorKind::Malformed, message).remedy("check HF_ENDPOINT, and that nothing between answers in its place")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_lists_files_with_the_sizes_of_their_content() {
        let page = br#"[
            {"type":"directory","oid":"1","size":0,"path":"onnx"},
            {"type":"file","oid":"2","size":487,"path":"config.json"},
            {"type":"file","oid":"3","size":135,"path":"m.safetensors","lfs":{"oid":"abc","size":9000000000,"pointerSize":135}},
            {"type":"file","oid":"4","size":1,"path":"../up"},
            {"type":"file","oid":"5","size":1,"path":"sub/file"}
        ]"#;
        let found = |folder: &str| {
            let mut listing = Listing::default();
            add_page(page, folder, &mut listing).expect("a page");
            let lens: Vec<_> = listing.files.iter().map(|(name, entry)| (name.clone(), entry.len_bytes)).collect();
            (lens, listing)
        };
        let (lens, listing) = found("");
        assert_eq!(lens, [("config.json".to_owned(), 487), ("m.safetensors".to_owned(), 9_000_000_000)]);
        assert_eq!(listing.files["m.safetensors"].content_id.as_deref(), Some("abc"));
        assert_eq!(listing.folders, ["onnx"]);
        assert_eq!(found("sub/").0, [("file".to_owned(), 1)]);
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for page in [
            "",
            "<html>",
            "{}",
            "[1]",
            r#"[{"type":"file","path":"a"}]"#,
            r#"[{"type":"file","path":"a","size":-1}]"#,
            r#"[{"type":"file","path":"a","size":1,"lfs":{}}]"#,
        ] {
            let error = add_page(page.as_bytes(), "", &mut Listing::default()).expect_err(page);
            assert_eq!(error.kind(), ErrorKind::Malformed);
        }
        assert!(commit(br#"{"sha":null}"#).is_err() && commit(br#"{"sha":"x"}"#).is_ok());
    }

    #[test]
    fn only_the_query_of_the_next_page_is_taken() {
        let link = |text: &str| next_query(text);
        assert_eq!(link(r#"<https://h/t?a=1&cursor=x%3D>; rel="next""#).as_deref(), Some("a=1&cursor=x%3D"));
        assert_eq!(link(r#"<https://h/t?p>; rel="prev", <https://h/t?n>; rel=next"#).as_deref(), Some("n"));
        for none in [
            "",
            "<https://h/t>; rel=\"next\"",
            "<https://h/t?p>; rel=\"prev\"",
            "https://h?x; rel=next",
            "<h?a b>; rel=next",
        ] {
            assert_eq!(link(none), None, "{none}");
        }
    }
}
