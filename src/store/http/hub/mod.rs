//! The repositories of the Hugging Face Hub, or of a mirror that speaks its protocol.
//!
//! A revision is resolved to its commit first, and everything is read from that commit: a repository that changes in the
//! middle of a download cannot mix. Lengths and hashes stand in the listing.

use std::ops::Range;

use super::access::{Access, Token};
use super::address::{Address, encode_part};
use super::answer::past_the_end;
use super::{HttpCounters, HttpOptions, HttpStore, host};
use crate::platform::BoxFuture;
use crate::store::{Store, check_name};
use crate::{Error, ErrorKind, Result};

mod listing;
mod refusal;
mod run;
mod spool;

use listing::{Entry, Listing};
use run::Runs;
use spool::Spool;

/// Where the Hub is, unless a mirror is named.
const ENDPOINT: &str = "https://huggingface.co";
/// Largest answer about a revision: it names every file.
const REVISION_CAP: u64 = 32 << 20;
/// Largest page of a listing.
const PAGE_CAP: u64 = 8 << 20;
/// Longest listing, in pages and in names.
const MOST_PAGES: usize = 100;
const MOST_FILES: usize = 20_000;

/// A repository of models, and what of it: `ORG/NAME`, `ORG/NAME@REVISION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubRepo {
    id: String,
    revision: String,
    /// Names of folders, one in the other.
    folder: Vec<String>,
}

impl HubRepo {
    /// Takes a name apart; the revision is `main` where none is named.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where it is no such name.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_any(text).and_then(|repo| if repo.id.contains('/') { Ok(repo) } else { Err(no_name(text)) })
    }

    /// The same, and names without an organisation, which the Hub's first models have: it redirects to where they lie now.
    ///
    /// # Errors
    /// As [`HubRepo::parse`].
    pub fn parse_any(text: &str) -> Result<Self> {
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        let is_part = |part: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            let edge = |b: Option<u8>| b.is_some_and(|b| b != b'-' && b != b'.');
            part.len() <= 96
                && part.bytes().all(plain)
                && edge(part.bytes().next())
                && edge(part.bytes().last())
                && !part.contains("..")
                && !part.contains("--")
        };
        let (organisation, name) = id.split_once('/').unwrap_or(("legacy", id));
        let is_id = is_part(organisation) && is_part(name);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._/".contains(&b);
        let is_revision =
            (1..=255).contains(&revision.len()) && revision.bytes().all(plain) && !revision.contains("..");
        if is_id && is_revision {
            return Ok(Self { id: id.to_owned(), revision: revision.to_owned(), folder: Vec::new() });
        }
        Err(no_name(text))
    }

    /// A folder of the repository in place of its first level: `Q4_K_M`, or `a/b`.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where it is no such path.
    pub fn in_folder(mut self, folder: &str) -> Result<Self> {
        for name in folder.split('/') {
            check_name(name)?;
            self.folder.push(name.to_owned());
        }
        Ok(self)
    }

    /// `ORG/NAME`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `NAME`.
    pub fn name(&self) -> &str {
        self.id.split_once('/').map_or(&self.id, |(_, name)| name)
    }

    /// A branch, a tag or a commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Whether the revision is a commit, which never changes.
    pub fn is_commit(&self) -> bool {
        is_commit(&self.revision)
    }
}

fn is_commit(revision: &str) -> bool {
    matches!(revision.len(), 40 | 64) && revision.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// What an account of the Hub reads with; never shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubToken(Token);

impl HubToken {
    /// A token, without the white space around it.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where it is empty or cannot stand in a header.
    pub fn new(token: &str) -> Result<Self> {
        Token::new(token).map(Self)
    }
}

/// What a refusal is about.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// The model's page, for people.
    page: String,
    /// Where tokens are made.
    tokens: String,
    revision: String,
    has_token: bool,
}

/// Read access to the files of one commit of a repository: those of its first level, or of one of its folders.
///
/// The files of a commit never change; still nothing is believed of them that is not checked by whoever reads.
#[derive(Debug)]
pub struct HubStore {
    http: HttpStore,
    commit: String,
    listing: Listing,
    runs: Runs,
    spool: Spool,
}

impl HubStore {
    /// Asks a hub for the commit of a revision and for its files. No `endpoint` is the Hugging Face Hub.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an endpoint that is no address, [`ErrorKind::NotFound`] and [`ErrorKind::Io`] where
    /// the hub refuses, with what to do about it, [`ErrorKind::Network`], and [`ErrorKind::Malformed`] for answers that
    /// are none.
    pub async fn open(
        endpoint: Option<&str>,
        repo: &HubRepo,
        token: Option<HubToken>,
        options: HttpOptions,
    ) -> Result<Self> {
        let given = endpoint.unwrap_or(ENDPOINT);
        let endpoint = Address::parse(given)?;
        if given.contains('?') {
            let error = Error::new(ErrorKind::Argument, "a hub's address has no query string");
            return Err(error.file(endpoint.folder()));
        }
        let base = endpoint.folder().to_owned();
        let place = Subject {
            page: format!("{base}{}", repo.id),
            tokens: format!("{base}settings/tokens"),
            revision: repo.revision.clone(),
            has_token: token.is_some(),
        };
        let page = place.page.clone();
        let options = HttpOptions { concurrent: options.concurrent.max(1), ..options };
        let access = Access::new(&base, token.map(|token| token.0), place, refusal::refusal);
        let client = host::Client::with_access(&options, access);
        let mut http = HttpStore::with_client(endpoint, client, options);
        let api = format!("{base}api/models/{}", repo.id);
        let named = |error: Error| error.file(page.clone());
        let commit = commit(&http, &api, &repo.revision).await.map_err(named)?;
        let listing = list(&http, &api, &commit, &repo.folder).await.map_err(named)?;
        let folder: String = repo.folder.iter().map(|name| encode_part(name) + "/").collect();
        http.address = Address::parse(&format!("{page}/resolve/{commit}/{folder}"))?;
        Ok(Self { http, commit, listing, runs: Runs::default(), spool: Spool::default() })
    }

    /// The commit that is read.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// Names of the folders beside the files.
    pub fn folders(&self) -> &[String] {
        &self.listing.folders
    }

    /// What the store has done so far.
    pub fn counters(&self) -> HttpCounters {
        self.http.counters()
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        check_name(name)?;
        self.listing
            .files
            .get(name)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "the repository has no such file").file(self.describe(name)))
    }
}

fn no_name(text: &str) -> Error {
    let shown: String = text.chars().take(120).collect();
    let error = Error::new(ErrorKind::Argument, format!("{shown:?} is no name of a model on the Hub"));
    error.remedy("write ORG/NAME or ORG/NAME@REVISION")
}

/// The commit of a revision.
async fn commit(http: &HttpStore, api: &str, revision: &str) -> Result<String> {
    let (answer, _) = http.whole(&format!("{api}/revision/{}", encode_part(revision)), REVISION_CAP).await?;
    let commit = listing::commit(&answer)?;
    if is_commit(&commit) {
        return Ok(commit);
    }
    Err(Error::new(ErrorKind::Malformed, "the hub's answer names no commit").remedy("check HF_ENDPOINT"))
}

/// What the first level or a folder holds.
async fn list(http: &HttpStore, api: &str, commit: &str, folder: &[String]) -> Result<Listing> {
    let path: String = folder.iter().map(|name| format!("/{}", encode_part(name))).collect();
    let folder: String = folder.iter().map(|name| format!("{name}/")).collect();
    let (mut listing, mut query) = (Listing::default(), Some("recursive=false".to_owned()));
    for _ in 0..MOST_PAGES {
        let Some(asked) = query else { return Ok(listing) };
        let (answer, head) = http.whole(&format!("{api}/tree/{commit}{path}?{asked}"), PAGE_CAP).await?;
        listing::add_page(&answer, &folder, &mut listing)?;
        if listing.files.len() + listing.folders.len() > MOST_FILES {
            break;
        }
        query = head.link.as_deref().and_then(listing::next_query);
    }
    Err(Error::new(ErrorKind::Malformed, "the repository lists more files than any model has"))
}

impl Store for HubStore {
    fn len<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(std::future::ready(self.entry(name).map(|entry| entry.len_bytes)))
    }

    fn read_at<'a>(&'a self, name: &'a str, offset_bytes: u64, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let end = offset_bytes.checked_add(buffer.len() as u64);
            let len_bytes = self.entry(name)?.len_bytes;
            if end.is_none_or(|end| end > len_bytes) && !buffer.is_empty() {
                let wanted = offset_bytes..end.unwrap_or(u64::MAX);
                return Err(past_the_end(&wanted).file(self.describe(name)));
            }
            let filled = match self.http.ignores_ranges() {
                true => 0,
                false => self.runs.fill(&self.http, name, offset_bytes, buffer).await,
            };
            let (offset_bytes, buffer) = (offset_bytes + filled as u64, &mut buffer[filled..]);
            if self.http.read_range(name, offset_bytes, buffer).await? {
                return Ok(());
            }
            if self.spool.is_header(name, offset_bytes + buffer.len() as u64).await {
                return self.http.read_at(name, offset_bytes, buffer).await;
            }
            self.spool.read(&self.http, (name, len_bytes), offset_bytes, buffer).await
        })
    }

    fn announce(&self, name: &str, range: Range<u64>) {
        if self.entry(name).is_ok_and(|entry| range.end <= entry.len_bytes) {
            self.runs.announce(name, range);
        }
    }

    fn is_local(&self) -> bool {
        false
    }

    fn content_id(&self, name: &str) -> Option<String> {
        self.listing.files.get(name).map(|entry| entry.content_id.clone().unwrap_or_else(|| self.commit.clone()))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(std::future::ready(Ok(self.listing.files.keys().cloned().collect())))
    }

    fn describe(&self, name: &str) -> String {
        self.http.describe(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_an_organisation_a_name_and_perhaps_a_revision() {
        for (text, id, revision) in [
            ("org/name", "org/name", "main"),
            ("Org-1/N.a_me-2B@v1.0", "Org-1/N.a_me-2B", "v1.0"),
            ("a/b@refs/pr/1", "a/b", "refs/pr/1"),
        ] {
            let repo = HubRepo::parse(text).expect("a name");
            assert_eq!((repo.id(), repo.revision(), repo.is_commit()), (id, revision, false));
        }
        let commit = HubRepo::parse(&format!("a/b@{}", "0a".repeat(20))).expect("a name");
        assert!(commit.is_commit() && commit.name() == "b");
        let long = format!("a/{}", "b".repeat(97));
        for text in [
            "", "a", "a/", "/b", "a/b/c", "./b", "../b", "a/..", "a/b@", "a/b@x y", "a/b@..", "~/b", "a/b?x", &long,
            "a\\b",
        ] {
            assert_eq!(HubRepo::parse(text).map_err(|error| error.kind()), Err(ErrorKind::Argument), "{text}");
        }
        for (folder, good) in
            [("a", true), ("a/b c", true), ("", false), ("/a", false), ("a//b", false), ("../a", false)]
        {
            assert_eq!(HubRepo::parse("a/b").expect("a name").in_folder(folder).is_ok(), good, "{folder}");
        }
    }
}
