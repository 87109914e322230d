//! One file of a model and its table of checksums: written under temporary names, then renamed.

use xxhash_rust::xxh3::xxh3_64;

use super::super::checksum::{SumsWriter, hex, load_sums, parse, read_table, sums_name};
use super::super::layout::{Shard, TensorSpec};
use super::super::{CHECKSUM_BLOCK, ModelFile};
use super::{Counter, Rows};
use crate::store::ModelSink;
use crate::{Error, ErrorKind, Result};

/// Bytes read at once to verify a file.
const CHUNK_BYTES: u64 = 4 << 20;

/// The name of a file that is not finished.
pub(super) fn part_name(name: &str) -> String {
    format!("{name}.part")
}

/// A file on its way: everything written goes into the checksums.
struct Writer<'a> {
    sink: &'a dyn ModelSink,
    name: &'a str,
    sums: SumsWriter,
    at: u64,
}

impl<'a> Writer<'a> {
    async fn create(sink: &'a dyn ModelSink, name: &'a str) -> Result<Self> {
        sink.create(&part_name(name)).await?;
        Ok(Self { sink, name, sums: SumsWriter::new(), at: 0 })
    }

    async fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.sums.update(bytes);
        self.at += bytes.len() as u64;
        self.sink.append(&part_name(self.name), bytes).await
    }

    /// Zeros up to an offset; alignments are small.
    async fn pad_to(&mut self, offset: u64) -> Result<()> {
        let missing = offset.checked_sub(self.at).expect("entries of a shard follow each other");
        if missing > 0 { self.append(&vec![0; missing as usize]).await } else { Ok(()) }
    }

    /// Makes both files durable and gives them their final names.
    async fn finish(self) -> Result<ModelFile> {
        let (table, file) = self.sums.finish(self.name);
        let sums = sums_name(self.name);
        self.sink.sync(&part_name(self.name)).await?;
        self.sink.create(&part_name(&sums)).await?;
        self.sink.append(&part_name(&sums), &table).await?;
        self.sink.sync(&part_name(&sums)).await?;
        self.sink.rename(&part_name(&sums), &sums).await?;
        self.sink.rename(&part_name(self.name), self.name).await?;
        self.sink.sync_names().await?;
        Ok(file)
    }
}

/// Writes a small file of a model.
pub(super) async fn write_bytes(sink: &dyn ModelSink, name: &str, bytes: &[u8]) -> Result<ModelFile> {
    let mut writer = Writer::create(sink, name).await?;
    writer.append(bytes).await?;
    writer.finish().await
}

/// Writes a shard, a few MiB at a time.
pub(super) async fn write_shard(
    sink: &dyn ModelSink,
    shard: &Shard,
    tensors: &[TensorSpec],
    rows: &mut dyn Rows,
    counter: &mut Counter<'_, '_>,
) -> Result<ModelFile> {
    let mut writer = Writer::create(sink, &shard.name).await?;
    writer.append(&shard.header).await?;
    let mut chunk = Vec::new();
    for entry in &shard.entries {
        writer.pad_to(entry.offset_bytes).await?;
        let end = entry.first_row + entry.rows;
        let step = rows.rows_at_once(entry.tensor).max(1);
        let mut first = entry.first_row;
        while first < end {
            let last = end.min(first + step);
            chunk.clear();
            rows.rows(entry.tensor, first..last, &mut chunk).await?;
            let expected = (last - first) * (entry.len_bytes / entry.rows);
            if chunk.len() as u64 != expected {
                let message = format!("{} bytes were made of rows that have {expected}", chunk.len());
                return Err(Error::new(ErrorKind::Malformed, message).tensor(&tensors[entry.tensor].name));
            }
            writer.append(&chunk).await?;
            counter.add(chunk.len() as u64, &shard.name)?;
            first = last;
        }
    }
    writer.pad_to(shard.len_bytes).await?;
    writer.finish().await
}

/// Looks for a file of an earlier run: final name, right length and beginning, and every block matches its checksum.
pub(super) async fn find_whole(
    sink: &dyn ModelSink,
    name: &str,
    len_bytes: u64,
    beginning: &[u8],
    counter: &mut Counter<'_, '_>,
) -> Result<Option<ModelFile>> {
    let found = async {
        if sink.len(name).await? != len_bytes {
            return Ok(None);
        }
        let mut read = vec![0; beginning.len()];
        sink.read_at(name, 0, &mut read).await?;
        let table = read_table(sink, name, len_bytes).await?;
        let sums = hex(xxh3_64(&table));
        let whole = read == beginning && matches(sink, name, len_bytes, &parse(&table), counter).await?;
        Ok(whole.then(|| ModelFile { name: name.to_owned(), len_bytes, sums }))
    };
    let found: Result<Option<ModelFile>> = found.await;
    match found {
        // What cannot be read is as good as gone.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Truncated | ErrorKind::Io) => Ok(None),
        found => found,
    }
}

/// Whether every block of a file has its checksum.
async fn matches(
    sink: &dyn ModelSink,
    name: &str,
    len_bytes: u64,
    sums: &[u64],
    counter: &mut Counter<'_, '_>,
) -> Result<bool> {
    let before = counter.done;
    let mut buffer = Vec::new();
    let mut start = 0;
    for sums in sums.chunks((CHUNK_BYTES / CHECKSUM_BLOCK) as usize) {
        buffer.resize(CHUNK_BYTES.min(len_bytes - start) as usize, 0);
        sink.read_at(name, start, &mut buffer).await?;
        if !buffer.chunks(CHECKSUM_BLOCK as usize).map(xxh3_64).eq(sums.iter().copied()) {
            counter.done = before;
            return Ok(false);
        }
        start += buffer.len() as u64;
        counter.add(buffer.len() as u64, name)?;
    }
    Ok(true)
}

/// Reads a file that was just written from the medium, and compares it with what was meant.
///
/// # Errors
/// [`ErrorKind::Checksum`] where the medium does not give back what it was given.
pub(super) async fn read_back(sink: &dyn ModelSink, file: &ModelFile) -> Result<()> {
    sink.forget_cached(&file.name).await;
    let sums = load_sums(sink, file).await?;
    let mut quiet = |_: super::super::Progress<'_>| std::ops::ControlFlow::Continue(());
    let mut counter = Counter { done: 0, total: file.len_bytes, tell: &mut quiet };
    if matches(sink, &file.name, file.len_bytes, &sums, &mut counter).await? {
        return Ok(());
    }
    let error = Error::new(ErrorKind::Checksum, "reads back other bytes than were written; the original was kept");
    Err(error.file(sink.describe(&file.name)).remedy("check the disk"))
}
