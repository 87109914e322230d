//! From what a user calls a model to its files: the folder of a split model, a checkpoint on this machine or on a hub, or a
//! web address.
//!
//! A checkpoint is split into a cache folder when it is first used, and found there the next time. What turns out to be
//! damaged there is made again from the checkpoint. A browser has neither folders nor hubs: it opens addresses by itself.

use std::fmt;
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;
use std::path::PathBuf;

#[cfg(not(target_arch = "wasm32"))]
mod hub;
#[cfg(not(target_arch = "wasm32"))]
mod kept;
#[cfg(not(target_arch = "wasm32"))]
mod key;
#[cfg(not(target_arch = "wasm32"))]
mod local;
#[cfg(not(target_arch = "wasm32"))]
mod named;
#[cfg(not(target_arch = "wasm32"))]
mod open;

#[cfg(not(target_arch = "wasm32"))]
pub use hub::{checkpoint_of as hub_checkpoint, open as open_hub};
#[cfg(not(target_arch = "wasm32"))]
pub use kept::{remove_if_empty, will_be_repaired};
#[cfg(not(target_arch = "wasm32"))]
pub use local::{name_of, open_checkpoint, open_saved};
#[cfg(not(target_arch = "wasm32"))]
pub use named::{address_of, hub_repo};
#[cfg(not(target_arch = "wasm32"))]
pub use open::{open, split_folder};

/// How a model is looked for that is no split model yet.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SourceOptions {
    /// A token of the Hub. `None`: `HF_TOKEN`, or what `hf auth login` keeps.
    pub token: Option<Secret>,
    /// The file to take of a model on the Hub that has several: `NAME`, or `FOLDER/NAME`.
    pub file: Option<String>,
    /// Fields of `config.json` to go on without, because they are known not to change the model's numbers.
    pub ignored_fields: Vec<String>,
    /// The class of the table that a checkpoint is read as whose own class is not known: it may be like it. `None`: its own.
    pub class: Option<String>,
    /// Where checkpoints are split to. `None`: this user's cache folder.
    pub cache_dir: Option<PathBuf>,
}

/// What no message shows.
#[derive(Clone)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl SourceOptions {
    crate::options::setters!(ignored_fields: Vec<String>; some token: Secret, file: String, class: String, cache_dir: PathBuf);
}

#[cfg(not(target_arch = "wasm32"))]
impl SourceOptions {
    /// The folder of the repository, and the file in it.
    fn place(&self) -> (Option<&str>, Option<&str>) {
        let file = self.file.as_deref();
        file.and_then(|file| file.rsplit_once('/')).map_or((None, file), |(folder, name)| (Some(folder), Some(name)))
    }

    /// For a checkpoint on this machine.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind) where a file of a model on the Hub is named.
    pub fn check_local(&self) -> crate::Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        let error = crate::Error::new(crate::ErrorKind::Argument, "the model is on this machine");
        Err(error.remedy(
            crate::words::Term::File + " is for models on the Hub: give the file's path in place of its folder's",
        ))
    }

    /// Where cache folders lie.
    fn parent(&self) -> crate::Result<PathBuf> {
        self.cache_dir.as_deref().map_or_else(cache_dir, |folder| Ok(Path::to_owned(folder)))
    }
}

/// Where this user's programs cache: `XDG_CACHE_HOME` or the system's usual place.
///
/// # Errors
/// [`ErrorKind::NotFound`](crate::ErrorKind) where the system names none.
#[cfg(not(target_arch = "wasm32"))]
pub fn cache_dir() -> crate::Result<PathBuf> {
    let nowhere = || {
        let message = "this user has no cache folder to split the checkpoint into";
        crate::Error::new(crate::ErrorKind::NotFound, message).remedy("give " + crate::words::Term::CacheDir)
    };
    Ok(crate::platform::user_cache_dir().ok_or_else(nowhere)?.join("tilestream"))
}

/// Opens the folder of a split model, where the host has folders.
///
/// # Errors
/// [`ErrorKind::Unsupported`](crate::ErrorKind): a browser has none.
#[cfg(target_arch = "wasm32")]
pub async fn open(
    model: &std::path::Path,
    _options: &SourceOptions,
    _tell: crate::shard::split::Tell<'_>,
    _progress: &mut crate::shard::OnProgress<'_>,
) -> crate::Result<crate::ModelFiles> {
    crate::ModelFiles::open(crate::store::open_folder(model)?).await
}
