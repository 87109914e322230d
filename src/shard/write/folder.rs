//! What may lie where a model is written, and what an earlier run left there.

use std::collections::HashSet;

use super::super::checksum::sums_name;
use super::super::{MANIFEST, Manifest};
use super::file::part_name;
use super::{Job, TOKENIZER, journal};
use crate::store::ModelSink;
use crate::{Error, ErrorKind, Result};

/// Largest damaged manifest that is looked through.
const MAX_DAMAGED_BYTES: u64 = 64 << 20;
/// What systems put into every folder.
const HARMLESS: [&str; 4] = [".DS_Store", "Thumbs.db", "desktop.ini", "lost+found"];

/// What an earlier run left in the sink.
#[derive(Default)]
pub(super) struct Earlier {
    /// The manifest of this very model, where it was finished and the manifest is whole.
    pub manifest: Option<Manifest>,
    /// Whether the model was finished, or looks so.
    pub was_finished: bool,
    /// Whether what lies there is known to be made from this job's source. Else no file is kept: another fine-tune has the
    /// same names, lengths and headers.
    pub is_ours: bool,
}

/// Checks what lies in the sink and clears away what an earlier run with another source or other options made.
///
/// # Errors
/// [`ErrorKind::Argument`] for foreign files, and for another model.
pub(super) async fn prepare(job: &mut Job, sink: &dyn ModelSink) -> Result<Earlier> {
    let entries = sink.entries().await?;
    let journal = journal::load(sink).await?;
    let has_manifest = entries.iter().any(|entry| entry == MANIFEST);
    let mut names = job.names();
    names.extend(journal.iter().flat_map(|journal| journal.files.clone()));
    let was_finished = has_manifest || journal.is_none() && entries.iter().any(|entry| names.contains(entry));
    let mut earlier = Earlier { was_finished, ..Earlier::default() };
    if has_manifest && journal.is_none() {
        (earlier.manifest, earlier.is_ours) = finished(job, sink).await?;
    }
    if earlier.manifest.is_none() {
        check_foreign(sink, &entries, &names)?;
    }
    let Some(journal) = journal else {
        remove_parts(sink, &names).await;
        return Ok(earlier);
    };
    if job.journal.continues(&journal) {
        job.journal = journal;
        if has_manifest {
            (earlier.manifest, _) = finished(job, sink).await?;
        }
        earlier.is_ours = true;
    } else if journal.deleting {
        let message = "a stopped split of another checkpoint, or with other options, lies here and has begun to delete its \
                       original";
        let remedy = "finish that split with its own options, or choose another folder";
        return Err(Error::new(ErrorKind::Argument, message).file(sink.describe("")).remedy(remedy));
    } else {
        start_over(sink, &journal.files).await?;
        earlier = Earlier::default();
    }
    remove_parts(sink, &names).await;
    Ok(earlier)
}

/// The manifest that lies in the sink, if it is the one that this job would write, and whether the files there are this
/// job's: that can be told of most manifests that are damaged, too.
///
/// # Errors
/// [`ErrorKind::Argument`] for the manifest of another model.
async fn finished(job: &Job, sink: &dyn ModelSink) -> Result<(Option<Manifest>, bool)> {
    let source = job.journal.source();
    let error = match Manifest::load(sink).await {
        Ok(manifest) if manifest.source.as_deref() == Some(&source) => return Ok((Some(manifest), true)),
        Ok(_) => return Err(another(sink, "already holds another model")),
        Err(error) => error,
    };
    if !matches!(error.kind(), ErrorKind::Checksum | ErrorKind::Malformed | ErrorKind::Truncated) {
        return Err(error);
    }
    let text = sink.read_small(MANIFEST, MAX_DAMAGED_BYTES).await.unwrap_or_default();
    let quoted = format!("\"{source}\"");
    if text.windows(quoted.len()).any(|window| window == quoted.as_bytes()) {
        return Ok((None, true));
    }
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    match value.get("source").and_then(serde_json::Value::as_str) {
        Some(_) => Err(another(sink, "holds another model, whose manifest is damaged")),
        None => Ok((None, false)),
    }
}

fn another(sink: &dyn ModelSink, message: &str) -> Error {
    let error = Error::new(ErrorKind::Argument, message).file(sink.describe(""));
    error.remedy("choose another folder, or remove this one")
}

/// Refuses a folder that holds anything but files of `names` and what belongs to them.
fn check_foreign(sink: &dyn ModelSink, entries: &[String], names: &[String]) -> Result<()> {
    let known: HashSet<String> = all_names(names).chain(HARMLESS.map(str::to_owned)).collect();
    match entries.iter().find(|entry| !known.contains(*entry)) {
        Some(foreign) => {
            let message = format!("holds {foreign:?}, which is not part of the model that is to be written here");
            let error = Error::new(ErrorKind::Argument, message).file(sink.describe(""));
            Err(error.remedy("choose an empty folder"))
        }
        None => Ok(()),
    }
}

/// Every name that a job with these files may leave.
fn all_names(names: &[String]) -> impl Iterator<Item = String> {
    let own = [MANIFEST, journal::NAME].into_iter().flat_map(|name| [name.to_owned(), part_name(name)]);
    own.chain(names.iter().flat_map(|name| {
        let sums = sums_name(name);
        [name.clone(), part_name(name), part_name(&sums), sums]
    }))
}

/// Removes the files of an earlier job: the manifest first, the journal that knows the others last.
async fn start_over(sink: &dyn ModelSink, files: &[String]) -> Result<()> {
    sink.remove(MANIFEST).await?;
    sink.sync_names().await?;
    for name in all_names(files).filter(|name| name != journal::NAME) {
        sink.remove(&name).await?;
    }
    sink.sync_names().await?;
    sink.remove(journal::NAME).await
}

/// Removes what is not finished. A part that cannot be removed now is overwritten by the next run.
pub(super) async fn remove_parts(sink: &dyn ModelSink, names: &[String]) {
    let Ok(entries) = sink.entries().await else { return };
    let ours: HashSet<String> = all_names(names).filter(|name| name.ends_with(".part")).collect();
    for name in entries.iter().filter(|name| ours.contains(*name)) {
        let _ = sink.remove(name).await;
    }
}

/// Writes a small object so that it is there whole or not at all.
pub(super) async fn write_small(sink: &dyn ModelSink, name: &str, bytes: &[u8]) -> Result<()> {
    let part = part_name(name);
    sink.create(&part).await?;
    sink.append(&part, bytes).await?;
    sink.sync(&part).await?;
    sink.rename(&part, name).await?;
    sink.sync_names().await
}

/// Whether a name is one that a model's files have, so that a journal from elsewhere cannot name other files.
pub(super) fn is_model_file(name: &str) -> bool {
    let stem = name.strip_suffix(".safetensors").filter(|stem| !stem.contains('.'));
    name == TOKENIZER || stem.is_some_and(|stem| ["layer-", "embeddings", "head"].iter().any(|s| stem.starts_with(s)))
}
