//! What may lie where a model is written, and what an earlier run left there.

use std::collections::HashSet;

use super::super::checksum::sums_name;
use super::super::{MANIFEST, Manifest};
use super::file::part_name;
use super::{Job, TOKENIZER, journal};
use crate::store::ModelSink;
use crate::{Error, ErrorKind, Result};

/// What systems put into every folder.
const HARMLESS: [&str; 4] = [".DS_Store", "Thumbs.db", "desktop.ini", "lost+found"];

/// Checks what lies in the sink and clears away what an earlier run with another source or other options made.
///
/// Returns the manifest where this very model already lies there.
pub(super) async fn prepare(job: &mut Job, sink: &dyn ModelSink, deletes: bool) -> Result<Option<Manifest>> {
    let entries = sink.entries().await?;
    let earlier = journal::load(sink).await?;
    let has_manifest = entries.iter().any(|entry| entry == MANIFEST);
    if earlier.is_none() && has_manifest {
        return finished(job, sink).await.map(Some);
    }
    let mut names = job.names();
    names.extend(earlier.iter().flat_map(|journal| journal.files.clone()));
    check_foreign(sink, &entries, &names)?;
    let Some(earlier) = earlier else {
        remove_parts(sink, &names).await;
        return Ok(None);
    };
    if job.journal.continues(&earlier) {
        job.journal = earlier;
        if has_manifest && !deletes {
            sink.remove(journal::NAME).await?;
            return finished(job, sink).await.map(Some);
        }
    } else if earlier.deleting {
        let message = "a stopped split of another checkpoint, or with other options, lies here and has begun to delete its \
                       original";
        let remedy = "finish that split with its own options, or choose another folder";
        return Err(Error::new(ErrorKind::Argument, message).file(sink.describe("")).remedy(remedy));
    } else {
        start_over(sink, &earlier.files).await?;
    }
    remove_parts(sink, &names).await;
    Ok(None)
}

/// The manifest that lies in the sink, if it is the one that this job would write and its files are there.
async fn finished(job: &Job, sink: &dyn ModelSink) -> Result<Manifest> {
    let manifest = Manifest::load(sink).await?;
    if manifest.source.as_deref() != Some(&job.journal.source()) {
        let error = Error::new(ErrorKind::Argument, "already holds another model").file(sink.describe(""));
        return Err(error.remedy("choose another folder, or remove this one"));
    }
    for file in &manifest.files {
        if sink.len(&file.name).await? != file.len_bytes {
            let error = Error::new(ErrorKind::Truncated, "is not as long as the manifest says");
            let error = error.file(sink.describe(&file.name));
            return Err(error.remedy("remove the folder and split again"));
        }
    }
    Ok(manifest)
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
