//! Cache folders that checkpoints are split into, by one process at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::checkpoint::Checkpoint;
use crate::plan;
use crate::shard::split::{SplitOptions, Tell, split};
use crate::shard::{JOURNAL, MANIFEST, OnProgress, Progress};
use crate::store::{FolderSink, ModelSink, Store};
use crate::{Error, ErrorKind, Result};

/// Time between two looks at whether another process has finished.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// What people call a checkpoint.
pub(super) struct Names {
    /// In the model.
    pub name: String,
    /// In messages.
    pub shown: String,
}

/// The file beside a cache folder that says that its model was found damaged: it is made good before it is used again.
pub(super) fn marker(folder: &Path) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".damaged");
    folder.with_file_name(name)
}

/// Says that the model in a cache folder is damaged. Where that cannot be written down, the next start finds out again.
pub(super) fn mark(folder: &Path) {
    let _ = fs::write(marker(folder), "");
}

/// Whether a cache folder holds a finished model, as far as is known.
pub(super) fn is_whole(folder: &Path) -> bool {
    folder.join(MANIFEST).is_file() && !marker(folder).exists()
}

/// Whether an error is of a model in a cache folder, which the next `open` makes good.
pub fn will_be_repaired(error: &Error) -> bool {
    let folder = error.file_name().and_then(|file| Path::new(file).parent());
    folder.is_some_and(|folder| folder.file_name().is_some() && marker(folder).is_file())
}

/// Splits a checkpoint into a cache folder, or makes good what is damaged there; unless another process does, which is then
/// waited for.
pub(super) async fn split_once(
    store: &dyn Store,
    checkpoint: &Checkpoint,
    folder: &Path,
    names: Names,
    tell: Tell<'_>,
    progress: &mut OnProgress<'_>,
) -> Result<()> {
    let spec = plan::model_spec(&checkpoint.config)?;
    let Some(sink) = wait_for(folder, tell, progress)? else { return Ok(()) };
    let options = SplitOptions { name: names.name, tell: Some(tell), ..SplitOptions::default() };
    let shown = folder.display();
    match folder.join(MANIFEST).is_file() {
        true => tell(&format!("{shown} is damaged: it is verified, and made good from {}", names.shown)),
        false => tell(&format!("splitting {} into {shown}, once", names.shown)),
    }
    let mut result = split(checkpoint, &spec, store, &sink, &options, progress).await;
    if let Err(error) = &result
        && is_of(error, folder)
    {
        // The folder is ours, and named after what it is made of: what says otherwise is damaged.
        for name in [MANIFEST, JOURNAL] {
            ModelSink::remove(&sink, name).await?;
        }
        result = split(checkpoint, &spec, store, &sink, &options, progress).await;
    }
    remove_if_empty(sink);
    result?;
    match fs::remove_file(marker(folder)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(error, marker(folder).display().to_string()))
        }
        _ => Ok(()),
    }
}

/// Whether an error is about the manifest or the journal in a folder.
fn is_of(error: &Error, folder: &Path) -> bool {
    let kinds = [ErrorKind::Argument, ErrorKind::Malformed, ErrorKind::Unsupported, ErrorKind::Checksum];
    let file = error.file_name().map(Path::new);
    let own = |file: &Path| file == folder || [MANIFEST, JOURNAL].iter().any(|name| file == folder.join(name));
    kinds.contains(&error.kind()) && file.is_some_and(own)
}

/// Waits until nobody else writes to the folder; `None` where the model has been finished meanwhile.
fn wait_for(folder: &Path, tell: Tell<'_>, progress: &mut OnProgress<'_>) -> Result<Option<FolderSink>> {
    let mut told = false;
    loop {
        let sink = FolderSink::try_create(folder)?;
        if is_whole(folder) {
            return Ok(None);
        }
        if sink.is_some() {
            return Ok(sink);
        }
        if !told {
            tell(&format!("waiting for another process that splits into {}", folder.display()));
            told = true;
        }
        let waiting = Progress { done_bytes: 0, total_bytes: 0, file: "" };
        if progress(waiting).is_break() {
            return Err(Error::new(ErrorKind::Cancelled, "stopped"));
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

/// Removes the folder that was made for a split which then wrote nothing.
pub fn remove_if_empty(sink: FolderSink) {
    let folder = sink.folder().to_owned();
    drop(sink);
    // Fails where there is anything in it, which is what is wanted.
    let _ = fs::remove_dir(folder);
}
