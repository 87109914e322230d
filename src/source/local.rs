//! Opens checkpoints on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use super::SourceOptions;
use crate::checkpoint::gguf::PartName;
use crate::checkpoint::{self, Checkpoint, Told};
use crate::shard::split::saved_checkpoint;
use crate::store::{FileStore, FolderSink, Store};
use crate::text::{ChatTemplate, Tokenizer, tokenizer_json, tokenizer_json_from_files};
use crate::{Error, ErrorKind, Result};

/// Opens a checkpoint: a Hugging Face folder, or one file (GGUF, safetensors or PyTorch).
///
/// # Errors
/// Those of [`checkpoint::open`].
pub async fn open_checkpoint(path: &Path, options: &SourceOptions) -> Result<(FileStore, Checkpoint)> {
    let (store, name) = store_of(path)?;
    let checkpoint = open_in(&store, name.as_deref(), options).await?;
    Ok((store, checkpoint))
}

/// The same in a store.
pub(super) async fn open_in(store: &dyn Store, name: Option<&str>, options: &SourceOptions) -> Result<Checkpoint> {
    let told = Told { ignored: &options.ignored_fields, class: options.class.as_deref() };
    let mut checkpoint = checkpoint::open_told(store, name, told).await?;
    // A split takes minutes; what the model could not be opened with is better refused now.
    if let Some(tokenizer) = &checkpoint.tokenizer {
        Tokenizer::with_config(tokenizer, checkpoint.tokenizer_config.as_ref())?;
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
fn store_of(path: &Path) -> Result<(FileStore, Option<String>)> {
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
pub(super) fn above_layers(folder: &Path) -> Option<PathBuf> {
    let folder = fs::canonicalize(folder).ok()?;
    folder.file_name()?.to_str()?.starts_with(LAYERS).then(|| folder.parent().map(Path::to_owned))?
}

/// The folder of layers that AirLLM left of a checkpoint whose weights it deleted; else the same folder.
///
/// # Errors
/// [`ErrorKind::Argument`] where there are several.
pub(super) fn with_layers(folder: &Path) -> Result<PathBuf> {
    let folder = &snapshot_of(folder)?;
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

/// The snapshot of a model's folder in Hugging Face's cache, `models--ORG--NAME`: that of `main`, or the only one. Any other
/// folder is itself.
///
/// # Errors
/// [`ErrorKind::Argument`] where there are several, and no `main`.
fn snapshot_of(folder: &Path) -> Result<PathBuf> {
    let snapshots = folder.join("snapshots");
    if !snapshots.is_dir() || !cached_name(folder).is_some_and(|_| folder.join("blobs").is_dir()) {
        return Ok(folder.to_owned());
    }
    let main = fs::read_to_string(folder.join("refs/main")).unwrap_or_default();
    let main = snapshots.join(main.trim());
    if main != snapshots && main.parent() == Some(&*snapshots) && main.is_dir() {
        return Ok(main);
    }
    let entries = fs::read_dir(&snapshots).map_err(|error| Error::io(error, snapshots.display().to_string()))?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    match &found[..] {
        [only] => Ok(only.clone()),
        several => {
            let message =
                format!("is a model's folder in the Hub's cache, with {} snapshots and no main", several.len());
            let error = Error::new(ErrorKind::Argument, message).file(folder.display().to_string());
            Err(error.remedy(several.first().map_or_else(
                || "download the model again".to_owned(),
                |first| format!("name the snapshot to open, such as {}", first.display()),
            )))
        }
    }
}

/// `NAME` of a folder that is called `models--ORG--NAME`.
fn cached_name(folder: &Path) -> Option<&str> {
    let name = folder.file_name()?.to_str()?;
    name.strip_prefix("models--")?.rsplit("--").next()
}

/// The name of a checkpoint, for people and for folders: the last part of its path, without `.gguf`, and without a number
/// where it is one file of several.
pub fn name_of(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let path = above_layers(&path).unwrap_or(path);
    // A folder of Hugging Face's cache: models--ORGANISATION--NAME/snapshots/REVISION.
    let snapshots = path.parent().filter(|parent| parent.ends_with("snapshots"));
    let cached = snapshots.and_then(Path::parent).unwrap_or(&path);
    let cached = cached_name(cached).filter(|_| path.is_dir());
    let last = path.file_stem().filter(|_| path.is_file()).or(path.file_name()).and_then(|name| name.to_str());
    let named = path.file_name().and_then(|name| name.to_str());
    let part = named.and_then(PartName::parse).filter(|_| path.is_file()).map(|part| part.stem);
    cached.or(part).or(last).unwrap_or("model").to_owned()
}

/// The checkpoint of a split in `sink` that has begun to delete its original, opened from what that split kept.
///
/// # Errors
/// [`ErrorKind::NotFound`] where it kept nothing.
pub async fn open_saved(path: &Path, sink: &FolderSink) -> Result<(FileStore, Checkpoint)> {
    let (store, _) = store_of(path)?;
    let saved = saved_checkpoint(sink).await?;
    let gone = || Error::new(ErrorKind::NotFound, "the stopped split kept no checkpoint");
    Ok((store, saved.ok_or_else(gone)?))
}

/// How the names of a checkpoint's files end.
pub(super) const EXTENSIONS: &[&str] = &["safetensors", "bin", "pt", "pth", "gguf", "json"];

/// Whether a file holds the tokenizer of a checkpoint without `tokenizer.json`, or a part of it.
pub(super) fn is_vocabulary(name: &str) -> bool {
    [".model", ".tiktoken", "merges.txt"].iter().any(|end| name.ends_with(end))
}

/// How a file's name ends, in lower case.
pub(super) fn extension_of(name: &str) -> String {
    name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_folder_in_the_hubs_cache_is_its_snapshot() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("models--org--name");
        for made in ["blobs", "refs", "snapshots/aa", "snapshots/bb"] {
            fs::create_dir_all(folder.join(made)).expect("made");
        }
        let error = with_layers(&folder).expect_err("which?").to_string();
        assert!(error.contains("2 snapshots") && error.contains("aa"), "{error}");
        fs::write(folder.join("refs/main"), "bb\n").expect("written");
        assert_eq!(with_layers(&folder).expect("main"), folder.join("snapshots/bb"));
        assert_eq!((&*name_of(&folder), &*name_of(&folder.join("snapshots/bb"))), ("name", "name"));
        // A name from elsewhere leads nowhere else.
        for odd in ["../..", "", "/", "cc"] {
            fs::write(folder.join("refs/main"), odd).expect("written");
            assert!(with_layers(&folder).is_err(), "{odd}");
        }
        fs::remove_dir(folder.join("snapshots/bb")).expect("removed");
        assert_eq!(with_layers(&folder).expect("the only one"), folder.join("snapshots/aa"));
        assert_eq!(with_layers(root.path()).expect("no cache"), root.path());
    }
}
