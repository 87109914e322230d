//! Checksum tables: the xxh3-64 of each block of a file, as little-endian u64s in `<file>.sums`.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{CHECKSUM_BLOCK, ModelFile};
use crate::store::{Store, known_len};
use crate::{Error, ErrorKind, Result};

/// The object that holds the checksums of a file.
pub fn sums_name(file: &str) -> String {
    format!("{file}.sums")
}

/// A hash as manifests write it: 16 lower-case hex digits.
pub(crate) fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}

/// Blocks of a file of that length.
pub(crate) fn blocks(len_bytes: u64) -> u64 {
    len_bytes.div_ceil(CHECKSUM_BLOCK)
}

/// Makes a file's table while the file is written.
#[derive(Default)]
pub struct SumsWriter {
    block: Xxh3,
    /// Bytes in `block`.
    filled: u64,
    len_bytes: u64,
    table: Vec<u8>,
}

impl SumsWriter {
    /// A table of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.len_bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = (CHECKSUM_BLOCK - self.filled).min(bytes.len() as u64);
            let (now, later) = bytes.split_at(room as usize);
            self.block.update(now);
            self.filled += room;
            if self.filled == CHECKSUM_BLOCK {
                self.end_block();
            }
            bytes = later;
        }
    }

    fn end_block(&mut self) {
        self.table.extend_from_slice(&self.block.digest().to_le_bytes());
        self.block.reset();
        self.filled = 0;
    }

    /// The finished table, and the file's entry in a manifest.
    pub fn finish(mut self, name: &str) -> (Vec<u8>, ModelFile) {
        if self.filled > 0 {
            self.end_block();
        }
        let file = ModelFile { name: name.to_owned(), len_bytes: self.len_bytes, sums: hex(xxh3_64(&self.table)) };
        (self.table, file)
    }
}

/// Reads a file's table and compares it with the manifest's hash of it.
///
/// # Errors
/// [`ErrorKind::Checksum`] where it differs, [`ErrorKind::Truncated`] where its length is not that of the file's blocks.
pub(crate) async fn load_sums(store: &dyn Store, file: &ModelFile) -> Result<Vec<u64>> {
    let bytes = read_table(store, &file.name, file.len_bytes).await?;
    check_table(&bytes, file).map_err(|error| error.file(store.describe(&sums_name(&file.name))))?;
    Ok(parse(&bytes))
}

/// Compares a file's table with the manifest's hash of it.
pub(crate) fn check_table(table: &[u8], file: &ModelFile) -> Result<()> {
    if hex(xxh3_64(table)) == file.sums {
        return Ok(());
    }
    let error = Error::new(ErrorKind::Checksum, "the table of checksums does not match the manifest");
    Err(error.remedy("split the model again"))
}

/// Reads the bytes of the table of a file of that length. The table's own length is checked before memory is taken.
pub(crate) async fn read_table(store: &dyn Store, file: &str, len_bytes: u64) -> Result<Vec<u8>> {
    let name = sums_name(file);
    let expected = blocks(len_bytes).saturating_mul(8);
    let found = known_len(store, &name).await?.unwrap_or(expected);
    let size = usize::try_from(expected).ok().filter(|_| found == expected).ok_or_else(|| {
        let message = format!("{found} bytes, but {len_bytes} bytes have {expected} bytes of checksums");
        Error::new(ErrorKind::Truncated, message).file(store.describe(&name)).remedy("split the model again")
    })?;
    let mut bytes = vec![0; size];
    store.read_at(&name, 0, &mut bytes).await?;
    Ok(bytes)
}

/// The hashes of a table.
pub(crate) fn parse(table: &[u8]) -> Vec<u64> {
    table.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_does_not_depend_on_how_the_bytes_arrive() {
        let bytes: Vec<u8> = (0..CHECKSUM_BLOCK * 2 + 5).map(|i| ((i * i) >> 7) as u8).collect();
        let expected: Vec<u64> = bytes.chunks(CHECKSUM_BLOCK as usize).map(xxh3_64).collect();
        for step in [1_000, CHECKSUM_BLOCK as usize, bytes.len()] {
            let mut writer = SumsWriter::new();
            bytes.chunks(step).for_each(|chunk| writer.update(chunk));
            let (table, file) = writer.finish("f");
            assert_eq!(parse(&table), expected);
            assert_eq!(file.len_bytes, bytes.len() as u64);
            assert_eq!(file.sums, hex(xxh3_64(&table)));
        }
    }

    #[test]
    fn an_empty_file_has_an_empty_table() {
        assert_eq!(SumsWriter::new().finish("f").0, [0; 0]);
        assert_eq!((blocks(0), blocks(1), blocks(CHECKSUM_BLOCK), blocks(CHECKSUM_BLOCK + 1)), (0, 1, 1, 2));
    }
}
