//! Finds the split model that is meant, or makes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::kept::{Names, is_whole, mark, marker, split_once};
use super::local::{name_of, open_checkpoint};
use super::{SourceOptions, cache_dir, hub, key, named};
use crate::model_files::ModelFiles;
use crate::shard::split::Tell;
use crate::shard::{MANIFEST, Manifest, OnProgress};
use crate::store::cache::{CachePlace, FolderCache};
use crate::store::{FileStore, HttpStore};
use crate::{Error, ErrorKind, Result};

/// Opens what `model` stands for: a split model in a folder or at a web address; or a checkpoint, on this machine or on a
/// hub, which is split when it is first used. `tell` gets what the user should know.
///
/// # Errors
/// [`ErrorKind::NotFound`] where there is nothing, and those of opening and splitting a checkpoint.
pub async fn open(
    model: &Path,
    options: &SourceOptions,
    tell: Tell<'_>,
    progress: &mut OnProgress<'_>,
) -> Result<ModelFiles> {
    if let Some(address) = named::address_of(model) {
        return open_address(address, options, tell).await;
    }
    let folder = split_folder(model, options, tell, progress).await?;
    let opened = open_folder(&folder, model).await;
    let Err(error) = opened else { return opened };
    if folder == model || !is_damage(&error, &folder).await {
        return Err(error);
    }
    // What to do about it is done here.
    tell(&error.what());
    mark(&folder);
    let folder = split_folder(model, options, tell, progress).await?;
    open_folder(&folder, model).await
}

/// The folder of the split model that `model` stands for: itself where it is one, else a checkpoint's cache folder.
///
/// # Errors
/// As [`open`].
pub async fn split_folder(
    model: &Path,
    options: &SourceOptions,
    tell: Tell<'_>,
    progress: &mut OnProgress<'_>,
) -> Result<PathBuf> {
    if model.join(MANIFEST).is_file() {
        return Ok(model.to_owned());
    }
    if let Some(repo) = named::hub_repo(model)? {
        return hub::split_folder(&repo, options, tell, progress).await;
    }
    options.check_local()?;
    let folder = key::cached_folder(model, options)?;
    if is_whole(&folder) {
        return Ok(folder);
    }
    let (store, checkpoint) = open_checkpoint(model, options).await?;
    let names = Names { name: name_of(model), shown: model.display().to_string() };
    split_once(&store, &checkpoint, &folder, names, tell, progress).await?;
    Ok(folder)
}

async fn open_folder(folder: &Path, model: &Path) -> Result<ModelFiles> {
    let store = FileStore::open(folder)?;
    let store = if folder == model { store } else { store.with_damage_marker(marker(folder)) };
    ModelFiles::open(Arc::new(store)).await
}

/// Whether an error says that a file of the model is not as it was written.
async fn is_damage(error: &Error, folder: &Path) -> bool {
    if matches!(error.kind(), ErrorKind::Checksum | ErrorKind::Truncated | ErrorKind::NotFound) {
        return true;
    }
    match FileStore::open(folder) {
        Ok(store) => Manifest::load(&store).await.is_err(),
        Err(_) => false,
    }
}

/// Opens the model that a static host serves, and keeps what is fetched of it on this machine.
async fn open_address(address: &str, options: &SourceOptions, tell: Tell<'_>) -> Result<ModelFiles> {
    let store = HttpStore::new(address)?;
    let parent = match &options.cache_dir {
        Some(folder) => folder.clone(),
        None => cache_dir()?.join("web"),
    };
    // The query string may be a signature that changes, and is no part of what the model is.
    let known = store.folder().trim_end_matches('/').to_owned();
    let name: String =
        known.rsplit('/').next().unwrap_or_default().chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let place = FolderCache::create(parent.join(format!("{name}-{:016x}", xxh3_64(known.as_bytes()))))?;
    if !place.is_writer() {
        tell("another process stores this model; this one reads what is there and fetches the rest");
    }
    let files = ModelFiles::open_remote(Arc::new(store), &place).await?;
    if let Some(cache) = files.model().verified().cache() {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (kept, total, folder) = (mib(cache.kept_bytes()), mib(cache.total_bytes()), place.folder().display());
        tell(&format!("{known}: {kept:.1} of {total:.1} MiB lie in {folder}; the rest is fetched as it is needed"));
    }
    Ok(files)
}
