//! Checks every block of every file of a model.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::checksum::load_sums;
use super::verified::{list, tensors_in};
use super::{CHECKSUM_BLOCK, Manifest, OnProgress, tell};
use crate::store::Store;
use crate::{Error, Result};

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

/// Compares every block of every file with its checksum; returns what differs, in the order of the files.
///
/// # Errors
/// Those of [`Manifest::load`], and [`ErrorKind::Cancelled`](crate::ErrorKind). A file that is missing, truncated or
/// unreadable is a finding and no error.
pub async fn verify(store: &dyn Store, progress: &mut OnProgress<'_>) -> Result<Vec<Finding>> {
    let manifest = Manifest::load(store).await?;
    let total = manifest.files.iter().map(|file| file.len_bytes).sum();
    let mut done = 0;
    let mut findings = Vec::new();
    let mut buffer = Vec::new();
    for (index, file) in (0..).zip(&manifest.files) {
        let find = |bytes: Range<u64>, error| {
            let tensors = tensors_in(&manifest, index, &bytes).into_iter().map(str::to_owned).collect();
            Finding { file: index, name: file.name.clone(), bytes, tensors, error }
        };
        tell(progress, done, total, &file.name)?;
        let sums = match load_sums(store, file).await {
            Ok(sums) => sums,
            Err(error) => {
                findings.push(find(0..file.len_bytes, Some(error)));
                done += file.len_bytes;
                continue;
            }
        };
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
