//! Models on the Hugging Face Hub: `ORG/NAME` where a path could stand.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use clap::Args;
use tilestream::checkpoint::Checkpoint;
use tilestream::checkpoint::gguf::PartName;
use tilestream::shard::{MANIFEST, OnProgress};
use tilestream::store::{HttpOptions, HubRepo, HubStore, HubToken, Store, check_name};
use tilestream::text::Tokenizer;
use tilestream::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::Xxh3;

use crate::checkpoint::{EXTENSIONS, Names, is_vocabulary, open_in, split_once};

/// Longest file with a token, and longest note of where a model was split to.
const MAX_SMALL_BYTES: u64 = 8192;
/// Folders of a repository that an error lists at most.
const MOST_SHOWN: usize = 40;
/// Files that may change what a checkpoint means, beside those that hold it.
const TEMPLATE: &str = "jinja";

/// How a checkpoint is taken, on this machine or on the Hugging Face Hub.
#[derive(Args, Clone, Debug, Default)]
pub struct HubArgs {
    /// A token of the Hub, for gated and private models [default: HF_TOKEN, or what `hf auth login` keeps]
    #[arg(long, value_name = "TOKEN", value_parser = secret)]
    pub hf_token: Option<Secret>,
    /// The file to take of a model on the Hub that has several, such as GGUF files; or FOLDER/NAME
    #[arg(long = "file", value_name = "NAME")]
    pub hub_file: Option<String>,
    /// Go on without a field of config.json (or a metadata key of a GGUF file) that is not known; may be given several times.
    /// Only for one that does not change the model's numbers
    #[arg(long, value_name = "NAME")]
    pub ignore_field: Vec<String>,
}

impl HubArgs {
    /// The folder of the repository, and the file in it.
    fn place(&self) -> (Option<&str>, Option<&str>) {
        let file = self.hub_file.as_deref();
        file.and_then(|file| file.rsplit_once('/')).map_or((None, file), |(folder, name)| (Some(folder), Some(name)))
    }

    /// For a checkpoint on this machine.
    pub(crate) fn check_unused(&self) -> Result<()> {
        if self.hub_file.is_none() {
            return Ok(());
        }
        let error = Error::new(ErrorKind::Argument, "--file is for models on the Hub");
        Err(error.remedy("give the file's path in place of its folder's"))
    }
}

/// What no message shows.
#[derive(Clone)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Takes any text: what clap refuses, it shows.
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret(text.to_owned()))
}

/// The repository that MODEL names; `None` where it is a path on this machine, which goes first.
///
/// # Errors
/// [`ErrorKind::NotFound`] where it is neither.
pub(crate) fn repo_of(model: &Path) -> Result<Option<HubRepo>> {
    if fs::symlink_metadata(model).is_ok() {
        return Ok(None);
    }
    let is_file = model.extension().and_then(|found| found.to_str()).is_some_and(|found| EXTENSIONS.contains(&found));
    let repo = model.to_str().filter(|_| !is_file).and_then(|text| HubRepo::parse(text).ok());
    repo.map(Some).ok_or_else(|| {
        let error =
            Error::new(ErrorKind::NotFound, "there is no such file or folder, and no model on the Hub is named so");
        error.file(model.display().to_string()).remedy("check the path, or write ORG/NAME")
    })
}

/// Opens a repository.
///
/// # Errors
/// Those of [`HubStore::open`].
pub(crate) async fn open(repo: &HubRepo, args: &HubArgs) -> Result<HubStore> {
    let store = open_with(repo, args, HttpOptions::default()).await;
    store.map_err(|error| not_here(error, repo))
}

async fn open_with(repo: &HubRepo, args: &HubArgs, options: HttpOptions) -> Result<HubStore> {
    let repo = match args.place() {
        (Some(folder), _) => repo.clone().in_folder(folder).map_err(|error| error.file("--file"))?,
        (None, _) => repo.clone(),
    };
    HubStore::open(endpoint().as_deref(), &repo, token(args)?, options).await
}

/// Opens the checkpoint of a repository.
///
/// # Errors
/// Those of [`tilestream::checkpoint::open`].
pub(crate) async fn checkpoint(store: &HubStore, args: &HubArgs) -> Result<Checkpoint> {
    let (_, name) = args.place();
    let opened = open_in(store, name, &args.ignore_field).await;
    let folders = store.folders();
    if opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) && !folders.is_empty() {
        let more = if folders.len() > MOST_SHOWN { "…" } else { "" };
        let shown = folders[..folders.len().min(MOST_SHOWN)].join(", ");
        eprintln!("folders there are {shown}{more}: --file FOLDER/NAME takes a file of one");
    }
    opened
}

/// The folder of a repository's split model: found in `parent`, or split there.
pub(crate) async fn open_or_split(
    repo: &HubRepo,
    args: &HubArgs,
    parent: &Path,
    progress: &mut OnProgress<'_>,
) -> Result<PathBuf> {
    let note = note_path(repo, args, parent);
    let noted = read_note(&note, parent);
    let store = match &noted {
        Some(folder) if repo.is_commit() => return Ok(folder.clone()),
        // Where a model is there already, the Hub is only asked for news.
        Some(folder) => match open_soon(repo, args).await {
            Err(error) if error.kind() == ErrorKind::Network => {
                eprintln!("{error}");
                eprintln!("running {} as it was when it was split", repo.id());
                return Ok(folder.clone());
            }
            opened => opened?,
        },
        None => open(repo, args).await?,
    };
    let folder = parent.join(format!("{}-{:016x}", repo.name(), content(&store, args).await?));
    if !folder.join(MANIFEST).is_file() {
        let store = if noted.is_some() { open(repo, args).await? } else { store };
        let checkpoint = checkpoint(&store, args).await?;
        let shown = format!("{} (commit {})", repo.id(), store.commit());
        split_once(&store, &checkpoint, &folder, Names { name: repo.name().to_owned(), shown }, progress).await?;
    }
    if noted.as_ref() != Some(&folder) {
        // A comfort for when there is no network.
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let _ = fs::write(&note, name);
    }
    Ok(folder)
}

async fn open_soon(repo: &HubRepo, args: &HubArgs) -> Result<HubStore> {
    let options = HttpOptions { attempts: 2, stall_s: 5.0, ..HttpOptions::default() };
    open_with(repo, args, options).await
}

/// A hash of what a model is split from: commits that change something else share the result.
async fn content(store: &HubStore, args: &HubArgs) -> Result<u64> {
    let mut hash = Xxh3::new();
    let (_, named) = args.place();
    let named_part = named.and_then(PartName::parse);
    let names = store.list().await?;
    let has_tokenizer = names.iter().any(|name| name == Tokenizer::FILE);
    for name in names {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
        let is_config = extension == "json" || extension == TEMPLATE || (!has_tokenizer && is_vocabulary(&name));
        let is_part = match named {
            Some(named) => {
                let goes_with =
                    |part: &PartName<'_>| PartName::parse(&name).is_some_and(|other| part.goes_with(&other));
                is_config || name == named || named_part.as_ref().is_some_and(goes_with)
            }
            None => is_config || EXTENSIONS.contains(&extension.as_str()),
        };
        if is_part {
            for part in [&name, &store.content_id(&name).unwrap_or_default()] {
                hash.update(&(part.len() as u64).to_le_bytes());
                hash.update(part.as_bytes());
            }
        }
    }
    hash.update(named.unwrap_or_default().as_bytes());
    Ok(hash.digest())
}

/// Where it is noted which folder a repository was split to.
fn note_path(repo: &HubRepo, args: &HubArgs, parent: &Path) -> PathBuf {
    let mut hash = Xxh3::new();
    for part in [
        endpoint().unwrap_or_default().as_str(),
        repo.id(),
        repo.revision(),
        args.hub_file.as_deref().unwrap_or_default(),
    ] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
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
fn token(args: &HubArgs) -> Result<Option<HubToken>> {
    if let Some(Secret(token)) = &args.hf_token {
        return HubToken::new(token).map(Some).map_err(|error| error.file("--hf-token"));
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

/// A path with a slip of the pen looks like a name on the Hub.
fn not_here(error: Error, repo: &HubRepo) -> Error {
    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Io | ErrorKind::Network) {
        eprintln!("{}: no such file or folder here, so the Hub was asked", repo.id());
    }
    error
}

/// Ends work that waits for the network when `stop` becomes true. What was written so far is continued by the next run.
///
/// # Errors
/// [`ErrorKind::Cancelled`], and those of the work.
pub async fn stoppable<T>(stop: &AtomicBool, work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| {
        let done = work.as_mut().poll(context);
        if done.is_pending() && stop.load(Ordering::Relaxed) {
            return Poll::Ready(Err(Error::new(ErrorKind::Cancelled, "stopped")));
        }
        done
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_before_a_name_and_what_is_neither_says_so() {
        assert_eq!(repo_of(Path::new("src/hub.rs")).expect("a path"), None);
        assert_eq!(
            repo_of(Path::new("org/name@v1")).expect("a name").map(|repo| repo.id().to_owned()),
            Some("org/name".into())
        );
        for neither in ["absent", "./org/name", "a/b/c", "/org/name", "models/absent.gguf", "org/na me"] {
            let error = repo_of(Path::new(neither)).expect_err(neither);
            assert!(error.to_string().starts_with(neither) && error.to_string().contains("ORG/NAME"), "{error}");
        }
    }

    #[test]
    fn a_token_on_the_command_line_is_not_shown() {
        let args = HubArgs { hf_token: Some(Secret("hf_secret".into())), hub_file: None, ignore_field: Vec::new() };
        assert!(!format!("{args:?}").contains("hf_secret"));
    }
}
