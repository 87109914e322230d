//! Models on a hub: opened, and split into a cache folder.

use std::fs;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::kept::{Names, is_whole, split_once};
use super::local::open_in;
use super::named::not_here;
use super::{Secret, SourceOptions, key};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::gguf::PartName;
use crate::shard::split::Tell;
use crate::shard::{MANIFEST, OnProgress};
use crate::store::{HttpOptions, HubRepo, HubStore, HubToken, Store, check_name};
use crate::words::{Term, Words};
use crate::{Error, ErrorKind, Result};

/// Longest file with a token, and longest note of where a model was split to.
const MAX_SMALL_BYTES: u64 = 8192;
/// Folders of a repository that an error lists at most.
const MOST_SHOWN: usize = 40;

/// Opens a repository.
///
/// # Errors
/// Those of [`HubStore::open`].
pub async fn open(repo: &HubRepo, args: &SourceOptions) -> Result<HubStore> {
    let store = open_with(repo, args, HttpOptions::default()).await;
    store.map_err(|error| not_here(error, repo))
}

async fn open_with(repo: &HubRepo, args: &SourceOptions, options: HttpOptions) -> Result<HubStore> {
    let repo = match args.place() {
        (Some(folder), _) => {
            let usage = Term::File + " takes NAME or FOLDER/NAME";
            repo.clone().in_folder(folder).map_err(|error| error.remedy(usage))?
        }
        (None, _) => repo.clone(),
    };
    HubStore::open(endpoint().as_deref(), &repo, token(args)?, options).await
}

/// Opens the checkpoint of a repository.
///
/// # Errors
/// Those of [`checkpoint::open`](crate::checkpoint::open).
pub async fn checkpoint_of(store: &HubStore, args: &SourceOptions) -> Result<Checkpoint> {
    let (_, name) = args.place();
    open_in(store, name, args).await.map_err(|error| match store.folders() {
        [] => error,
        _ if error.kind() != ErrorKind::NotFound => error,
        folders => {
            let more = if folders.len() > MOST_SHOWN { "…" } else { "" };
            let shown = folders[..folders.len().min(MOST_SHOWN)].join(", ");
            let remedy = Words::from(format!("folders there are {shown}{more}: "));
            error.more_remedy(remedy + Term::File + " FOLDER/NAME takes a file of one")
        }
    })
}

/// The folder of a repository's split model: found in `parent`, or split there.
pub(super) async fn split_folder(
    repo: &HubRepo,
    args: &SourceOptions,
    tell: Tell<'_>,
    progress: &mut OnProgress<'_>,
) -> Result<PathBuf> {
    let parent = args.parent()?;
    let note = note_path(repo, args, &parent);
    let noted = read_note(&note, &parent);
    let store = match &noted {
        Some(folder) if repo.is_commit() && is_whole(folder) => return Ok(folder.clone()),
        // Where a model is there already, the Hub is only asked for news.
        Some(folder) => match open_soon(repo, args).await {
            Err(error) if error.kind() == ErrorKind::Network && is_whole(folder) => {
                tell(&error.to_string());
                tell(&format!("running {} as it was when it was split", repo.id()));
                return Ok(folder.clone());
            }
            opened => opened?,
        },
        None => open(repo, args).await?,
    };
    let folder = parent.join(format!("{}-{:016x}", repo.name(), content(&store, args).await?));
    if !is_whole(&folder) {
        let store = if noted.is_some() { open(repo, args).await? } else { store };
        let checkpoint = checkpoint_of(&store, args).await?;
        let shown = format!("{} (commit {})", repo.id(), store.commit());
        let names = Names { name: repo.name().to_owned(), shown };
        split_once(&store, &checkpoint, &folder, names, tell, progress).await?;
    }
    if noted.as_ref() != Some(&folder) {
        // A comfort for when there is no network.
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let _ = fs::write(&note, name);
    }
    Ok(folder)
}

async fn open_soon(repo: &HubRepo, args: &SourceOptions) -> Result<HubStore> {
    let options = HttpOptions { attempts: 2, stall_s: 5.0, ..HttpOptions::default() };
    open_with(repo, args, options).await
}

/// A hash of what a model is split from: commits that change something else share the result.
async fn content(store: &HubStore, args: &SourceOptions) -> Result<u64> {
    let mut hash = Xxh3::new();
    hash.update(&key::VERSION.to_le_bytes());
    let (_, named) = args.place();
    let named_part = named.and_then(PartName::parse);
    for name in store.list().await? {
        let goes_with = |part: &PartName<'_>| PartName::parse(&name).is_some_and(|other| part.goes_with(&other));
        let is_part = match named {
            Some(named) => key::describes(&name) || name == named || named_part.as_ref().is_some_and(goes_with),
            None => key::is_part(&name),
        };
        if is_part {
            key::add(&mut hash, name.as_bytes());
            key::add(&mut hash, store.content_id(&name).unwrap_or_default().as_bytes());
        }
    }
    key::add_ignored(&mut hash, args);
    hash.update(named.unwrap_or_default().as_bytes());
    Ok(hash.digest())
}

/// Where it is noted which folder a repository was split to.
fn note_path(repo: &HubRepo, args: &SourceOptions, parent: &Path) -> PathBuf {
    let mut hash = Xxh3::new();
    for part in
        [endpoint().unwrap_or_default().as_str(), repo.id(), repo.revision(), args.file.as_deref().unwrap_or_default()]
    {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    key::add_ignored(&mut hash, args);
    parent.join(format!("{}-{:016x}.hub", repo.name(), hash.digest()))
}

/// The finished model that a note names.
fn read_note(note: &Path, parent: &Path) -> Option<PathBuf> {
    let name = read_small(note).ok()??;
    check_name(&name).ok()?;
    Some(parent.join(name)).filter(|folder| folder.join(MANIFEST).is_file())
}

/// A mirror of the Hub.
fn endpoint() -> Option<String> {
    let endpoint = std::env::var("HF_ENDPOINT").ok()?;
    Some(endpoint.trim().to_owned()).filter(|endpoint| !endpoint.is_empty())
}

/// The token: from the command line, from `HF_TOKEN`, or from the file that `hf auth login` keeps.
fn token(args: &SourceOptions) -> Result<Option<HubToken>> {
    if let Some(Secret(token)) = &args.token {
        return HubToken::new(token).map(Some).map_err(|error| error.more_remedy("it came with " + Term::Token));
    }
    if let Some(token) = std::env::var("HF_TOKEN").ok().filter(|token| !token.trim().is_empty()) {
        return HubToken::new(&token).map(Some).map_err(|error| error.file("HF_TOKEN"));
    }
    let Some(path) = token_path() else { return Ok(None) };
    let shown = || path.display().to_string();
    match read_small(&path).map_err(|error| Error::io(error, shown()))? {
        Some(token) if !token.is_empty() => HubToken::new(&token).map(Some).map_err(|error| error.file(shown())),
        _ => Ok(None),
    }
}

/// `$HF_TOKEN_PATH`, `$HF_HOME/token`, or `token` in the usual cache folder.
fn token_path() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || variable("XDG_CACHE_HOME").or_else(|| Some(std::env::home_dir()?.join(".cache")));
    let home = || variable("HF_HOME").or_else(|| Some(cache()?.join("huggingface")));
    variable("HF_TOKEN_PATH").or_else(|| Some(home()?.join("token")))
}

/// A small text file without the white space around its text; `None` where there is none.
fn read_small(path: &Path) -> std::io::Result<Option<String>> {
    use std::io::{ErrorKind as Os, Read};
    let file = match fs::File::open(path) {
        Err(error) if matches!(error.kind(), Os::NotFound | Os::NotADirectory) => return Ok(None),
        opened => opened?,
    };
    let mut text = String::new();
    file.take(MAX_SMALL_BYTES).read_to_string(&mut text)?;
    Ok(Some(text.trim().to_owned()))
}
