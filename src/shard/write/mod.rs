//! Writes a model so that it can be stopped at any moment: what is found under a final name is whole, what was finished
//! is kept by the next run, and the manifest comes last.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::layout::{Shard, TensorSpec};
use super::{Extent, MANIFEST, Manifest, ModelFile, OnProgress, StoredTensor, tell};
use crate::platform::{BoxFuture, MaybeSend};
use crate::store::{ModelSink, Originals};
use crate::{Error, ErrorKind, Result};

mod file;
mod folder;
mod journal;

/// Takes what the user should know of a split that goes on.
pub type Tell<'a> = &'a (dyn Fn(&str) + Sync);

use folder::Earlier;
pub use journal::NAME as JOURNAL;
pub(super) use journal::{Journal, SavedCheckpoint};
pub use journal::{has_deleted, saved_checkpoint};

/// The tokenizer's name in a model.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// Damaged files that a notice lists at most.
const MOST_SHOWN: usize = 8;
/// What the manifest and small tables may take beside the files.
const MARGIN_BYTES: u64 = 4 << 20;

/// A model that is to be written.
pub(super) struct Job {
    /// The manifest, without files, tensors and checksum.
    pub manifest: Manifest,
    /// All tensors; the entries of `shards` point here.
    pub tensors: Vec<TensorSpec>,
    /// In sweep order.
    pub shards: Vec<Shard>,
    /// Indices of `shards` in the order of writing.
    pub order: Vec<usize>,
    pub tokenizer: Option<Vec<u8>>,
    /// What a later run must have in common with this one to continue it.
    pub journal: Journal,
    pub origins: Vec<Origin>,
}

/// A file of the checkpoint, and the shards that hold what came from it.
pub(super) struct Origin {
    pub name: String,
    pub len_bytes: u64,
    pub shards: Vec<usize>,
}

/// Where the rows of a job's tensors come from.
pub(super) trait Rows: MaybeSend {
    /// Rows to ask for at once: a few MiB.
    fn rows_at_once(&self, tensor: usize) -> u64;

    /// Appends rows of a tensor, as stored.
    fn rows<'a>(&'a mut self, tensor: usize, rows: Range<u64>, out: &'a mut Vec<u8>) -> BoxFuture<'a, Result<()>>;

    /// Checks that what the rows come from is still what it was.
    fn check_source(&self) -> Result<()> {
        Ok(())
    }
}

impl Job {
    /// The names of all files beside the manifest.
    pub(super) fn names(&self) -> Vec<String> {
        let tokenizer = self.tokenizer.as_ref().map(|_| TOKENIZER.to_owned());
        self.shards.iter().map(|shard| shard.name.clone()).chain(tokenizer).collect()
    }

    fn total_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.len_bytes).sum::<u64>()
            + self.tokenizer.as_ref().map_or(0, Vec::len) as u64
    }

    /// The manifest with everything in it.
    fn finished(&self, mut done: HashMap<String, ModelFile>) -> Result<Manifest> {
        let mut manifest = self.manifest.clone();
        for name in self.names() {
            let file = done.remove(&name);
            manifest.files.push(file.ok_or_else(|| Error::new(ErrorKind::Missing, "was not written").file(name))?);
        }
        manifest.tensors = self.stored();
        manifest.source = Some(self.journal.source());
        Ok(manifest)
    }

    /// Where each tensor will lie.
    pub(super) fn stored(&self) -> BTreeMap<String, StoredTensor> {
        let mut tensors = BTreeMap::new();
        for (file, shard) in (0..).zip(&self.shards) {
            for entry in &shard.entries {
                let spec = &self.tensors[entry.tensor];
                let tensor = tensors.entry(spec.name.clone()).or_insert_with(|| spec.stored());
                tensor.parts.push(Extent { file, offset_bytes: entry.offset_bytes, rows: entry.rows });
            }
        }
        tensors
    }

    /// Most bytes that the rest of the job has on the disk at once, where each origin goes when its shards are done.
    fn peak_bytes(&self, kept: &HashMap<String, ModelFile>, deletes: bool) -> u64 {
        let size = |len: u64| i128::from(len) + i128::from(super::checksum::blocks(len) * 8);
        let mut waiting: Vec<(&Origin, usize)> =
            self.origins.iter().filter(|_| deletes).map(|origin| (origin, origin.shards.len())).collect();
        let (mut now, mut peak) = (i128::from(MARGIN_BYTES), 0);
        for index in &self.order {
            let shard = &self.shards[*index];
            if !kept.contains_key(&shard.name) {
                now += size(shard.len_bytes);
            }
            peak = peak.max(now);
            for (origin, left) in &mut waiting {
                *left -= usize::from(origin.shards.contains(index));
                // An origin whose last shard was kept may be gone already.
                if *left == 0 && origin.shards.contains(index) && !kept.contains_key(&shard.name) {
                    now -= i128::from(origin.len_bytes);
                }
            }
        }
        peak.try_into().unwrap_or(u64::MAX)
    }
}

/// Writes a job, or what is left of it.
///
/// # Errors
/// [`ErrorKind::Argument`] for a folder with foreign files, [`ErrorKind::NoSpace`] before writing what would not fit and
/// when the disk fills all the same, [`ErrorKind::Cancelled`]; whatever happens, no final name is on half a file.
pub(super) async fn build(
    job: &mut Job,
    rows: &mut dyn Rows,
    sink: &dyn ModelSink,
    originals: Option<&dyn Originals>,
    tell: Option<Tell<'_>>,
    progress: &mut OnProgress<'_>,
) -> Result<Manifest> {
    for origin in &job.origins {
        originals.map_or(Ok(()), |originals| originals.may_remove(&origin.name))?;
    }
    let earlier = folder::prepare(job, sink).await?;
    let result = write_all(job, rows, sink, originals, (earlier, tell), progress).await;
    if result.is_err() {
        folder::remove_parts(sink, &job.names()).await;
    }
    result
}

/// Counts bytes for the caller's progress.
struct Counter<'a, 'b> {
    done: u64,
    total: u64,
    tell: &'a mut OnProgress<'b>,
}

impl Counter<'_, '_> {
    fn add(&mut self, bytes: u64, file: &str) -> Result<()> {
        self.done += bytes;
        tell(self.tell, self.done, self.total, file)
    }
}

async fn write_all(
    job: &mut Job,
    rows: &mut dyn Rows,
    sink: &dyn ModelSink,
    originals: Option<&dyn Originals>,
    (earlier, say): (Earlier, Option<Tell<'_>>),
    progress: &mut OnProgress<'_>,
) -> Result<Manifest> {
    let mut counter = Counter { done: 0, total: job.total_bytes(), tell: progress };
    let mut done = match earlier.is_ours {
        true => keep_finished(job, sink, originals.is_some(), &mut counter).await?,
        false => HashMap::new(),
    };
    let bad = damaged(job, &earlier, &mut done)?;
    if let (Some(manifest), true) = (&earlier.manifest, bad.is_empty()) {
        remove_origins(job, sink, originals, &done).await?;
        sink.remove(journal::NAME).await?;
        sink.sync_names().await?;
        return Ok(manifest.clone());
    }
    if let (Some(say), false) = (say, bad.is_empty()) {
        say(&damage_notice(&bad));
    }
    check_space(job, sink, &done, originals.is_some()).await?;
    // Before the manifest goes: the journal tells the next run whose files these are.
    folder::write_small(sink, journal::NAME, &job.journal.to_json()?).await?;
    if done.len() < job.names().len() {
        // A finished model whose files rotted is not whole until they are made again.
        sink.remove(MANIFEST).await?;
    }
    if let Some(tokenizer) = job.tokenizer.as_ref().filter(|_| !done.contains_key(TOKENIZER)) {
        done.insert(TOKENIZER.to_owned(), file::write_bytes(sink, TOKENIZER, tokenizer).await?);
        counter.add(tokenizer.len() as u64, TOKENIZER)?;
    }
    for index in job.order.clone() {
        let shard = &job.shards[index];
        if !done.contains_key(&shard.name) {
            let file = file::write_shard(sink, shard, &job.tensors, rows, &mut counter).await?;
            rows.check_source()?;
            if originals.is_some() {
                file::read_back(sink, &file).await?;
            }
            done.insert(file.name.clone(), file);
        }
        if done.len() < job.names().len() {
            remove_origins(job, sink, originals, &done).await?;
        }
    }
    let manifest = job.finished(done.clone())?;
    let text = manifest.to_json()?;
    folder::write_small(sink, MANIFEST, &text).await?;
    remove_origins(job, sink, originals, &done).await?;
    sink.remove(journal::NAME).await?;
    sink.sync_names().await?;
    Manifest::parse(&text)
}

/// Names of the files of a finished model that are not as they were written; they leave `done`.
fn damaged(job: &Job, earlier: &Earlier, done: &mut HashMap<String, ModelFile>) -> Result<Vec<String>> {
    if !earlier.was_finished {
        return Ok(Vec::new());
    }
    if let Some(manifest) = &earlier.manifest {
        // A file and its table may be right by each other and still not the ones that the manifest knows.
        done.retain(|_, file| manifest.files.contains(file));
    }
    let mut bad: Vec<String> = job.names().into_iter().filter(|name| !done.contains_key(name)).collect();
    let is_right = match &earlier.manifest {
        Some(manifest) if bad.is_empty() => {
            let new = job.finished(done.clone())?;
            (new.files, new.tensors) == (manifest.files.clone(), manifest.tensors.clone())
        }
        manifest => manifest.is_some(),
    };
    if !is_right {
        bad.insert(0, MANIFEST.to_owned());
    }
    Ok(bad)
}

/// `2 files were damaged and are written again: a, b`.
fn damage_notice(bad: &[String]) -> String {
    let more = if bad.len() > MOST_SHOWN { " …" } else { "" };
    let shown = bad[..bad.len().min(MOST_SHOWN)].join(", ");
    match bad.len() {
        1 => format!("1 file was damaged or missing and is written again: {shown}"),
        count => format!("{count} files were damaged or missing and are written again: {shown}{more}"),
    }
}

/// The files of an earlier run that are whole.
async fn keep_finished(
    job: &Job,
    sink: &dyn ModelSink,
    deletes: bool,
    counter: &mut Counter<'_, '_>,
) -> Result<HashMap<String, ModelFile>> {
    let mut kept = HashMap::new();
    let headers = job.shards.iter().map(|shard| (shard.name.as_str(), shard.len_bytes, shard.header.as_slice()));
    let tokenizer = job.tokenizer.iter().map(|bytes| (TOKENIZER, bytes.len() as u64, bytes.as_slice()));
    for (name, len_bytes, beginning) in headers.chain(tokenizer) {
        if deletes {
            sink.forget_cached(name).await;
        }
        if let Some(file) = file::find_whole(sink, name, len_bytes, beginning, counter).await? {
            kept.insert(name.to_owned(), file);
        }
    }
    Ok(kept)
}

async fn check_space(job: &Job, sink: &dyn ModelSink, kept: &HashMap<String, ModelFile>, deletes: bool) -> Result<()> {
    let needed = job.peak_bytes(kept, deletes);
    match sink.available_bytes().await? {
        Some(available) if available < needed => {
            let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            let message = format!("{:.2} GiB are free, but {:.2} GiB are needed", gib(available), gib(needed));
            let error = Error::new(ErrorKind::NoSpace, message).file(sink.describe(""));
            Err(error.remedy("free some space or choose another folder"))
        }
        _ => Ok(()),
    }
}

/// Removes the originals whose shards are all there. Each shard has been read back, by this run or when it was kept.
async fn remove_origins(
    job: &mut Job,
    sink: &dyn ModelSink,
    originals: Option<&dyn Originals>,
    done: &HashMap<String, ModelFile>,
) -> Result<()> {
    let Some(originals) = originals else { return Ok(()) };
    let is_done = |index: &usize| done.contains_key(&job.shards[*index].name);
    let (ready, waiting) =
        std::mem::take(&mut job.origins).into_iter().partition(|origin: &Origin| origin.shards.iter().all(is_done));
    job.origins = waiting;
    for origin in ready as Vec<Origin> {
        if !job.journal.deleting {
            // From here on the shards may be the only copy: no later run may start over.
            job.journal.deleting = true;
            folder::write_small(sink, journal::NAME, &job.journal.to_json()?).await?;
        }
        originals.remove(&origin.name).await?;
    }
    Ok(())
}
