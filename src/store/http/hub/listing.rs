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

/// The commit that an answer about a revision names.
pub(super) fn commit(answer: &[u8]) -> Result<String> {
    #[derive(Deserialize)]
    struct Revision {
        sha: String,
    }
    serde_json::from_slice(answer).map(|revision: Revision| revision.sha).map_err(no_answer)
}

/// Adds the files of one page of a listing. Folders are passed over, and names that no store follows.
pub(super) fn add_page(answer: &[u8], files: &mut BTreeMap<String, Entry>) -> Result<()> {
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
        if item.kind != "file" || check_name(&item.path).is_err() {
            continue;
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
        files.insert(item.path, Entry { len_bytes, content_id });
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
        let mut files = BTreeMap::new();
        let page = br#"[
            {"type":"directory","oid":"1","size":0,"path":"onnx"},
            {"type":"file","oid":"2","size":487,"path":"config.json"},
            {"type":"file","oid":"3","size":135,"path":"m.safetensors","lfs":{"oid":"abc","size":9000000000,"pointerSize":135}},
            {"type":"file","oid":"4","size":1,"path":"../up"},
            {"type":"file","oid":"5","size":1,"path":"sub/file"}
        ]"#;
        add_page(page, &mut files).expect("a page");
        let found: Vec<_> = files.iter().map(|(name, entry)| (name.as_str(), entry.len_bytes)).collect();
        assert_eq!(found, [("config.json", 487), ("m.safetensors", 9_000_000_000)]);
        assert_eq!(files["m.safetensors"].content_id.as_deref(), Some("abc"));
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
            let error = add_page(page.as_bytes(), &mut BTreeMap::new()).expect_err(page);
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
