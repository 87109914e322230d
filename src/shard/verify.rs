//! Checks every block of every file of a model.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::checksum::{check_table, load_sums, parse};
use super::model::{check_len, open_cache};
use super::verified::{list, tensors_in};
use super::{CHECKSUM_BLOCK, MANIFEST, Manifest, OnProgress, tell};
use crate::store::cache::CachePlace;
use crate::store::{Store, Window, known_len};
use crate::{Error, ErrorKind, Result};

/// Bytes read at once.
const CHUNK_BYTES: u64 = 4 << 20;

/// Something that is not as it was written.
#[derive(Debug)]
pub struct Finding {
    /// Index in [`Manifest::files`], and the file's name.
    pub file: u32,
    pub name: String,
    /// The bytes concerned: a block, or the whole file where it cannot be read.
    pub bytes: Range<u64>,
    /// The tensors that have bytes there; none where only a header or padding is damaged.
    pub tensors: Vec<String>,
    /// Why the file could not be checked; `None` where the block's checksum differs.
    pub error: Option<Error>,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Range { start, end } = self.bytes;
        match &self.error {
            Some(error) => write!(f, "{error} (bytes {start}..{end}, {})", list(&self.tensors)),
            None => {
                write!(f, "{}: bytes {start}..{end} do not match their checksum ({})", self.name, list(&self.tensors))
            }
        }
    }
}

/// Finds something in bytes of a file.
fn find(manifest: &Manifest, file: u32, bytes: Range<u64>, error: Option<Error>) -> Finding {
    let tensors = tensors_in(manifest, file, &bytes).into_iter().map(str::to_owned).collect();
    Finding { file, name: manifest.files[file as usize].name.clone(), bytes, tensors, error }
}

/// Compares every block of every file with its checksum, and its length with the manifest's; returns what differs, in the
/// order of the files.
///
/// # Errors
/// Those of [`Manifest::load`], and [`ErrorKind::Cancelled`](crate::ErrorKind). A file that is missing, of another length or
/// unreadable is a finding and no error.
pub async fn verify(store: &dyn Store, progress: &mut OnProgress<'_>) -> Result<Vec<Finding>> {
    let manifest = Manifest::load(store).await?;
    let total = manifest.files.iter().map(|file| file.len_bytes).sum();
    let mut done = 0;
    let mut findings = Vec::new();
    let mut buffer = Vec::new();
    for (index, file) in (0..).zip(&manifest.files) {
        let find = |bytes, error| find(&manifest, index, bytes, error);
        tell(progress, done, total, &file.name)?;
        let sums = match load_sums(store, file).await {
            Ok(sums) => sums,
            Err(error) => {
                findings.push(find(0..file.len_bytes, Some(error)));
                done += file.len_bytes;
                continue;
            }
        };
        // What is missing at the end is found by reading it.
        if known_len(store, &file.name).await.is_ok_and(|len| len > Some(file.len_bytes))
            && let Err(error) = check_len(store, file).await
        {
            findings.push(find(file.len_bytes..file.len_bytes, Some(error)));
        }
        let mut start = 0;
        while start < file.len_bytes {
            let end = file.len_bytes.min(start + CHUNK_BYTES);
            buffer.resize((end - start) as usize, 0);
            if let Err(error) = store.read_at(&file.name, start, &mut buffer).await {
                findings.push(find(start..file.len_bytes, Some(error)));
                done += file.len_bytes - start;
                break;
            }
            let first = (start / CHECKSUM_BLOCK) as usize;
            for (block, (bytes, sum)) in
                (first as u64..).zip(buffer.chunks(CHECKSUM_BLOCK as usize).zip(&sums[first..]))
            {
                if xxh3_64(bytes) != *sum {
                    let at = block * CHECKSUM_BLOCK;
                    findings.push(find(at..at + bytes.len() as u64, None));
                }
            }
            done += end - start;
            start = end;
            tell(progress, done, total, &file.name)?;
        }
    }
    Ok(findings)
}

/// What was found of a model from elsewhere that is kept in part.
#[derive(Debug)]
pub struct KeptReport {
    pub findings: Vec<Finding>,
    /// Bytes of the blocks that lie here and are right.
    pub right_bytes: u64,
    /// Bytes of the model.
    pub total_bytes: u64,
}

/// Compares every block that a place keeps of a model with its checksum. Blocks that are not there are no finding.
///
/// # Errors
/// [`ErrorKind::NotFound`] where the place keeps no manifest; those of [`Manifest::parse`], and
/// [`ErrorKind::Cancelled`](crate::ErrorKind).
pub async fn verify_kept(place: &dyn CachePlace, progress: &mut OnProgress<'_>) -> Result<KeptReport> {
    let again = "the next run fetches it again";
    let none = || Error::new(ErrorKind::NotFound, "nothing is kept here").file(MANIFEST).remedy(again);
    let text = place.load(MANIFEST).await?.ok_or_else(none)?;
    let manifest = Manifest::parse(&text);
    let manifest = manifest.map_err(|error| {
        Error::new(error.kind(), format!("the copy that is kept here is damaged: {error}")).file(MANIFEST).remedy(again)
    })?;
    let cache = open_cache(place, &manifest, xxh3_64(&text)).await?;
    let total_bytes = cache.total_bytes();
    let mut report = KeptReport { findings: Vec::new(), right_bytes: 0, total_bytes };
    let mut done = 0;
    for (index, file) in (0..).zip(&manifest.files) {
        tell(progress, done, total_bytes, &file.name)?;
        let kept: Vec<u64> =
            (0..file.len_bytes.div_ceil(CHECKSUM_BLOCK)).filter(|block| cache.keeps(index, *block)).collect();
        let table = cache.checksums(index).and_then(|table| check_table(&table, file).map(|()| parse(&table)));
        for (number, block) in kept.into_iter().enumerate() {
            let start = block * CHECKSUM_BLOCK;
            let bytes = start..(start + CHECKSUM_BLOCK).min(file.len_bytes);
            let table = match &table {
                Ok(table) => table,
                Err(error) => {
                    let what = Error::new(error.kind(), format!("its checksums cannot be read here: {error}"));
                    report.findings.push(find(&manifest, index, 0..file.len_bytes, Some(what.file(&file.name))));
                    break;
                }
            };
            let mut read = vec![0; (bytes.end - bytes.start) as usize];
            match cache.read(index, start, &mut Window::from_slice(&mut read)).await {
                Ok(()) if table.get(block as usize) == Some(&xxh3_64(&read)) => {
                    report.right_bytes += read.len() as u64;
                }
                read => report.findings.push(find(&manifest, index, bytes, read.err())),
            }
            if number % 64 == 0 {
                tell(progress, done + start, total_bytes, &file.name)?;
            }
        }
        done += file.len_bytes;
    }
    Ok(report)
}
