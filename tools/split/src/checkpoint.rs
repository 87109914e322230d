//! Opening what a user calls a checkpoint, and finding its split model.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use tilestream::checkpoint::gguf::PartName;
use tilestream::checkpoint::{self, Checkpoint};
use tilestream::shard::split::{SplitOptions, saved_checkpoint, split};
use tilestream::shard::{MANIFEST, OnProgress};
use tilestream::store::{FileStore, FolderSink, Store};
use tilestream::text::{ChatTemplate, Tokenizer, tokenizer_json, tokenizer_json_from_files};
use tilestream::{Error, ErrorKind, Result, plan};
use xxhash_rust::xxh3::Xxh3;

use crate::hub::{self, HubArgs};

/// Time between two looks at whether another process has finished.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Opens a checkpoint: a Hugging Face folder, or one file (GGUF, safetensors or PyTorch).
///
/// # Errors
/// Those of [`checkpoint::open`].
pub async fn open(path: &Path, args: &HubArgs) -> Result<(FileStore, Checkpoint)> {
    let (store, name) = store_of(path)?;
    let checkpoint = open_in(&store, name.as_deref(), &args.ignore_field).await?;
    Ok((store, checkpoint))
}

/// The same in a store.
pub(crate) async fn open_in(store: &dyn Store, name: Option<&str>, ignored: &[String]) -> Result<Checkpoint> {
    let mut checkpoint = checkpoint::open_ignoring(store, name, ignored).await?;
    // A split takes minutes; what the model could not be opened with is better refused now.
    if let Some(tokenizer) = &checkpoint.tokenizer {
        Tokenizer::from_bytes(tokenizer)?;
    } else if let Some(fields) = &checkpoint.gguf_tokenizer {
        checkpoint.tokenizer = Some(tokenizer_json(fields)?);
    } else if let Some(files) = &checkpoint.tokenizer_files {
        let made = tokenizer_json_from_files(files, checkpoint.tokenizer_config.as_ref(), &checkpoint.config);
        checkpoint.tokenizer = Some(made?);
    }
    if let Some(config) = &checkpoint.tokenizer_config {
        ChatTemplate::from_config(config)?;
    }
    Ok(checkpoint)
}

/// The store of a checkpoint's folder, and the file in it that was named.
pub(crate) fn store_of(path: &Path) -> Result<(FileStore, Option<String>)> {
    if path.is_dir() {
        let path = with_layers(path)?;
        let store = FileStore::open(&path)?;
        return Ok((if let Some(above) = above_layers(&path) { store.beside(above) } else { store }, None));
    }
    let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((FileStore::open(folder)?, name))
}

/// How the names of folders start that AirLLM writes layers into.
const LAYERS: &str = "splitted_model";

/// The checkpoint's folder, where `folder` is the one in it that AirLLM wrote layers into.
fn above_layers(folder: &Path) -> Option<PathBuf> {
    let folder = fs::canonicalize(folder).ok()?;
    folder.file_name()?.to_str()?.starts_with(LAYERS).then(|| folder.parent().map(Path::to_owned))?
}

/// The folder of layers that AirLLM left of a checkpoint whose weights it deleted; else the same folder.
///
/// # Errors
/// [`ErrorKind::Argument`] where there are several.
fn with_layers(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).map_err(|error| Error::io(error, folder.display().to_string()))?;
    let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let extension = |path: &Path| path.extension()?.to_str().map(str::to_owned);
    let is_weights = |path: &PathBuf| extension(path).is_some_and(|end| end != "json" && EXTENSIONS.contains(&&*end));
    let is_layers = |path: &PathBuf| {
        path.is_dir() && path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(LAYERS))
    };
    let mut layers: Vec<PathBuf> = paths.iter().filter(|path| is_layers(path)).cloned().collect();
    match layers.pop() {
        Some(one) if !paths.iter().any(is_weights) => match layers.is_empty() {
            true => Ok(one),
            false => {
                let message = "AirLLM left several folders of layers, and no other weights";
                let error = Error::new(ErrorKind::Argument, message).file(folder.display().to_string());
                Err(error.remedy(format!("name the one to open, such as {}", one.display())))
            }
        },
        _ => Ok(folder.to_owned()),
    }
}

/// The name of a checkpoint, for people and for folders: the last part of its path, without `.gguf`, and without a number
/// where it is one file of several.
pub(crate) fn name_of(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let path = above_layers(&path).unwrap_or(path);
    // A folder of Hugging Face's cache: models--ORGANISATION--NAME/snapshots/REVISION.
    let snapshots = path.parent().filter(|parent| parent.ends_with("snapshots"));
    let cached = snapshots.and_then(Path::parent).and_then(|folder| folder.file_name()?.to_str()?.rsplit("--").next());
    let last = path.file_stem().filter(|_| path.is_file()).or(path.file_name()).and_then(|name| name.to_str());
    let named = path.file_name().and_then(|name| name.to_str());
    let part = named.and_then(PartName::parse).filter(|_| path.is_file()).map(|part| part.stem);
    cached.or(part).or(last).unwrap_or("model").to_owned()
}

/// The folder of the split model that `model` stands for: itself where it is one, else a checkpoint, on this machine or on
/// a hub, which is split into a cache folder when it is first used and found there the next time.
///
/// # Errors
/// [`ErrorKind::NotFound`] where there is nothing, and those of opening and splitting a checkpoint.
pub async fn open_or_split(
    model: &Path,
    hub: &HubArgs,
    shards_dir: Option<&Path>,
    progress: &mut OnProgress<'_>,
) -> Result<PathBuf> {
    if model.join(MANIFEST).is_file() {
        return Ok(model.to_owned());
    }
    if let Some(repo) = hub::repo_of(model)? {
        return hub::open_or_split(&repo, hub, &parent(shards_dir)?, progress).await;
    }
    hub.check_unused()?;
    let folder = cached_folder(model, shards_dir)?;
    if folder.join(MANIFEST).is_file() {
        return Ok(folder);
    }
    let (store, checkpoint) = open(model, hub).await?;
    let names = Names { name: name_of(model), shown: model.display().to_string() };
    split_once(&store, &checkpoint, &folder, names, progress).await?;
    Ok(folder)
}

/// What people call a checkpoint.
pub(crate) struct Names {
    /// In the model.
    pub name: String,
    /// In messages.
    pub shown: String,
}

/// Splits a checkpoint into a cache folder, unless another process does, which is then waited for.
pub(crate) async fn split_once(
    store: &dyn Store,
    checkpoint: &Checkpoint,
    folder: &Path,
    names: Names,
    progress: &mut OnProgress<'_>,
) -> Result<()> {
    let spec = plan::model_spec(&checkpoint.config)?;
    let Some(sink) = wait_for(folder, progress)? else { return Ok(()) };
    let options = SplitOptions { name: names.name, ..SplitOptions::default() };
    eprintln!("splitting {} into {}, once", names.shown, folder.display());
    let result = split(checkpoint, &spec, store, &sink, &options, progress).await;
    remove_if_empty(sink);
    result.map(drop)
}

/// Waits until nobody else writes to the folder; `None` where the model has been finished meanwhile.
fn wait_for(folder: &Path, progress: &mut OnProgress<'_>) -> Result<Option<FolderSink>> {
    let mut told = false;
    loop {
        let sink = FolderSink::try_create(folder)?;
        if folder.join(MANIFEST).is_file() {
            return Ok(None);
        }
        if sink.is_some() {
            return Ok(sink);
        }
        if !told {
            eprintln!("waiting for another process that splits into {}", folder.display());
            told = true;
        }
        let waiting = tilestream::shard::Progress { done_bytes: 0, total_bytes: 0, file: "" };
        if progress(waiting).is_break() {
            return Err(Error::new(ErrorKind::Cancelled, "stopped"));
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

/// Removes the folder that was made for a split which then wrote nothing.
pub(crate) fn remove_if_empty(sink: FolderSink) {
    let folder = sink.folder().to_owned();
    drop(sink);
    // Fails where there is anything in it, which is what is wanted.
    let _ = fs::remove_dir(folder);
}

/// The checkpoint of a split in `sink` that has begun to delete its original, opened from what that split kept.
pub(crate) async fn open_saved(path: &Path, sink: &FolderSink) -> Result<(FileStore, Checkpoint)> {
    let (store, _) = store_of(path)?;
    let saved = saved_checkpoint(sink).await?;
    let gone = || Error::new(ErrorKind::NotFound, "the stopped split kept no checkpoint");
    Ok((store, saved.ok_or_else(gone)?))
}

/// The cache folder for a checkpoint: its name, and a hash of its place, and of its files' names, lengths and times.
fn cached_folder(model: &Path, shards_dir: Option<&Path>) -> Result<PathBuf> {
    let shown = || model.display().to_string();
    let mut place = fs::canonicalize(model).map_err(|error| Error::io(error, shown()))?;
    if place.is_dir() {
        place = with_layers(&place)?;
    }
    let mut hash = Xxh3::new();
    hash.update(place.as_os_str().as_encoded_bytes());
    let mut files = if place.is_dir() { weight_files(&place)? } else { parts_of(place.clone()) };
    if let Some(above) = above_layers(&place) {
        files.extend(weight_files(&above)?);
    }
    files.sort();
    for file in files {
        let metadata = fs::metadata(&file).map_err(|error| Error::io(error, file.display().to_string()))?;
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        hash.update(&metadata.len().to_le_bytes());
        hash.update(&modified.unwrap_or_default().as_nanos().to_le_bytes());
    }
    Ok(parent(shards_dir)?.join(format!("{}-{:016x}", name_of(model), hash.digest())))
}

/// The file, and the others that go with it where it is a part of a model in several GGUF files.
fn parts_of(file: PathBuf) -> Vec<PathBuf> {
    let name = file.file_name().and_then(|name| name.to_str());
    match name.and_then(PartName::parse) {
        // Parts that are missing are for opening to tell.
        Some(part) => (1..=part.count).map(|n| file.with_file_name(part.of(n))).filter(|part| part.is_file()).collect(),
        None => vec![file],
    }
}

/// Where cache folders lie.
fn parent(shards_dir: Option<&Path>) -> Result<PathBuf> {
    shards_dir.map_or_else(cache_dir, |folder| Ok(folder.to_owned()))
}

/// How the names of a checkpoint's files end.
pub(crate) const EXTENSIONS: &[&str] = &["safetensors", "bin", "pt", "pth", "gguf", "json"];

/// Whether a file holds the tokenizer of a checkpoint without `tokenizer.json`, or a part of it.
pub(crate) fn is_vocabulary(name: &str) -> bool {
    [".model", ".tiktoken", "merges.txt"].iter().any(|end| name.ends_with(end))
}

/// The files of a folder that a checkpoint is made of.
fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| Error::io(error, folder.display().to_string()))?;
    let has_tokenizer = folder.join(Tokenizer::FILE).is_file();
    let is_part = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        path.is_file() && (EXTENSIONS.contains(&extension) || (!has_tokenizer && is_vocabulary(name)))
    };
    Ok(entries.flatten().map(|entry| entry.path()).filter(is_part).collect())
}

/// Where this user's programs cache: `XDG_CACHE_HOME` or the system's usual place.
///
/// # Errors
/// [`ErrorKind::NotFound`] where the system names none.
pub fn cache_dir() -> Result<PathBuf> {
    let nowhere = || {
        let error = Error::new(ErrorKind::NotFound, "this user has no cache folder to split the checkpoint into");
        error.remedy("give --shards-dir")
    };
    Ok(tilestream::platform::user_cache_dir().ok_or_else(nowhere)?.join("tilestream"))
}
