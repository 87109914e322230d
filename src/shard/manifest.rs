//! Reading, checking and writing `manifest.json`. Nothing in it is trusted before [`Manifest::parse`] has checked it.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use xxhash_rust::xxh3::xxh3_64;

use super::checksum::{hex, sums_name};
use super::{Extent, FORMATS, MANIFEST, Manifest, StoredTensor};
use crate::encoding::Encoding;
use crate::store::{Store, check_name};
use crate::{Error, ErrorKind, Result};

/// Largest manifest that is read: one of 100,000 tensors has about 20 MiB.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;
/// Most files of a model.
const MAX_FILES: usize = 1 << 16;
/// Largest file: several times the largest layer that was published, in f32. Its table of checksums has 32 MiB.
const MAX_FILE_BYTES: u64 = 1 << 38;
/// Largest model: several times the largest that was published, in f32. A bit for each block takes 16 MiB.
const MAX_MODEL_BYTES: u64 = 1 << 43;
/// What files without tensors may have together: a tokenizer.
const MAX_OTHER_BYTES: u64 = 256 << 20;
/// What a file may have beside its tensors: its header, and for each part its entry there (without the name) with padding.
const SLACK_BYTES: u64 = 64 << 10;
const SLACK_PER_PART_BYTES: u64 = 2 << 10;
/// The most that a byte of a name takes in a header.
const ESCAPED_BYTES: u64 = 6;
/// Largest rows or columns of a tensor.
const MAX_DIMENSION: u64 = u32::MAX as u64;
/// Every tensor starts at a multiple of this.
pub(crate) const ALIGNMENT: u64 = 16;

impl Manifest {
    /// Reads and checks the manifest of a store.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none: then the store holds no (complete) model. Else see
    /// [`Manifest::parse`].
    pub async fn load(store: &dyn Store) -> Result<Self> {
        Self::parse_read(store, store.read_small(MANIFEST, MAX_MANIFEST_BYTES).await).map(|(manifest, _)| manifest)
    }

    /// The manifest of a store that lies elsewhere, and its bytes as they stand. Where the host cannot be reached, `known`
    /// serves, which was kept of an earlier time.
    pub(crate) async fn load_remote(store: &dyn Store, known: Option<&[u8]>) -> Result<(Self, Vec<u8>)> {
        let read = match known {
            Some(_) => store.read_small_soon(MANIFEST, MAX_MANIFEST_BYTES).await,
            None => store.read_small(MANIFEST, MAX_MANIFEST_BYTES).await,
        };
        match (read, known) {
            // A host that answers is believed, even that the model is gone.
            (Err(error), Some(known)) if error.kind() == ErrorKind::Network => {
                let parsed = Self::parse(known).map_err(|damage| {
                    let message =
                        format!("the copy that is kept here is damaged ({damage}), and there is no other: {error}");
                    let remedy = "start again when the host can be reached: it is fetched then";
                    Error::new(ErrorKind::Network, message).file(store.describe(MANIFEST)).remedy(remedy)
                })?;
                Ok((parsed, known.to_vec()))
            }
            (read, _) => Self::parse_read(store, read),
        }
    }

    fn parse_read(store: &dyn Store, read: Result<Vec<u8>>) -> Result<(Self, Vec<u8>)> {
        let name = || store.describe(MANIFEST);
        let bytes = read.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::new(ErrorKind::NotFound, "not here, so this is no complete model")
                .file(name())
                .remedy("split a checkpoint into this folder, or finish the split that was stopped"),
            _ => error,
        })?;
        let manifest = Self::parse(&bytes).map_err(|error| error.file(name()))?;
        Ok((manifest, bytes))
    }

    /// Parses and checks a manifest: version, checksum, names, and that every tensor lies where its shape and encoding
    /// fit in, with no overlap.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] or [`ErrorKind::Unsupported`] naming the field; [`ErrorKind::Checksum`] where the text
    /// is not the one that was written.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        check_format(bytes)?;
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        manifest.check_checksum(bytes)?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// The text of the manifest, with its checksum.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where the manifest would not pass [`Manifest::parse`].
    pub fn to_json(&self) -> Result<Vec<u8>> {
        self.validate()?;
        let mut blank = self.clone();
        blank.checksum.clear();
        let write = |manifest: &Self| serde_json::to_vec_pretty(manifest).map_err(|error| malformed(error.to_string()));
        blank.checksum = hex(xxh3_64(&write(&blank)?));
        let bytes = write(&blank)?;
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(malformed(format!("{} bytes, more than {MAX_MANIFEST_BYTES}", bytes.len())));
        }
        Ok(bytes)
    }

    /// The checksum is over the text, not over a re-serialization: numbers of the config need not print as they stood.
    fn check_checksum(&self, bytes: &[u8]) -> Result<()> {
        let quoted = format!("\"{}\"", self.checksum);
        let is_hash = self.checksum.len() == 16 && self.checksum.bytes().all(|byte| byte.is_ascii_hexdigit());
        let at = bytes.windows(quoted.len()).rposition(|window| is_hash && window == quoted.as_bytes());
        let matches = at.is_some_and(|at| {
            let blank = [&bytes[..at], b"\"\"", &bytes[at + quoted.len()..]].concat();
            hex(xxh3_64(&blank)) == self.checksum
        });
        if matches {
            return Ok(());
        }
        let error = Error::new(ErrorKind::Checksum, "its text does not match its checksum: it was damaged or edited");
        Err(error.remedy("split the model again"))
    }

    /// Checks everything that parsing types does not.
    fn validate(&self) -> Result<()> {
        known_format(u64::from(self.format))?;
        self.validate_files()?;
        // Where each part lies, to find overlaps: (file, start, end, tensor).
        let mut places = Vec::new();
        for (name, tensor) in &self.tensors {
            self.validate_tensor(name, tensor, &mut places).map_err(|error| error.tensor(name))?;
        }
        self.validate_lens(&places)?;
        places.sort_unstable();
        for pair in places.windows(2) {
            let [(file, _, end, first), (next_file, start, _, second)] = pair else { continue };
            if file == next_file && start < end {
                return Err(malformed(format!("tensors '{first}' and '{second}' overlap")).tensor(*second));
            }
        }
        Ok(())
    }

    fn validate_files(&self) -> Result<()> {
        if self.files.len() > MAX_FILES {
            return Err(implausible(format!("{} files; a model has at most {MAX_FILES}", self.files.len())));
        }
        let mut seen = HashSet::from([MANIFEST.to_owned()]);
        for file in &self.files {
            check_name(&file.name).map_err(|error| malformed(error.to_string()))?;
            if !seen.insert(file.name.clone()) || !seen.insert(sums_name(&file.name)) {
                return Err(malformed(format!("file {:?} is listed twice", file.name)));
            }
            if file.len_bytes > MAX_FILE_BYTES {
                let message = format!("{} bytes; a file has at most {MAX_FILE_BYTES}", file.len_bytes);
                return Err(implausible(message).file(&file.name));
            }
            if file.sums.len() != 16 || !file.sums.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(malformed(format!("file {:?}: 'sums' is not a hash of 16 hex digits", file.name)));
            }
        }
        Ok(())
    }

    /// Checks that tensors explain how long the files are, so that nobody takes memory for what is not there. `places` are
    /// the parts of all tensors, each with file, start, end and name.
    fn validate_lens(&self, places: &[(u32, u64, u64, &str)]) -> Result<()> {
        let total: u64 = self.files.iter().map(|file| file.len_bytes).sum();
        if total > MAX_MODEL_BYTES {
            return Err(implausible(format!("its files have {total} bytes; a model has at most {MAX_MODEL_BYTES}")));
        }
        let mut explained = vec![0_u64; self.files.len()];
        for (file, start, end, name) in places {
            let slack = SLACK_PER_PART_BYTES + ESCAPED_BYTES * name.len() as u64;
            // No sum overflows: a part lies within its file.
            explained[*file as usize] = explained[*file as usize].saturating_add(end - start + slack);
        }
        let mut others = 0;
        for (file, tensors) in self.files.iter().zip(explained) {
            if tensors == 0 {
                others += file.len_bytes;
            } else if file.len_bytes > tensors.saturating_add(SLACK_BYTES) {
                let message = format!("{} bytes, of which its tensors explain {tensors}", file.len_bytes);
                return Err(implausible(message).file(&file.name));
            }
        }
        if others > MAX_OTHER_BYTES {
            let message =
                format!("files without tensors have {others} bytes, more than the {MAX_OTHER_BYTES} of a tokenizer");
            return Err(implausible(message));
        }
        Ok(())
    }

    fn validate_tensor<'a>(
        &self,
        name: &'a str,
        tensor: &StoredTensor,
        places: &mut Vec<(u32, u64, u64, &'a str)>,
    ) -> Result<()> {
        let row_bytes = tensor.row_bytes()?;
        let rows = if let [rows, _] = tensor.shape[..] { rows } else { 1 };
        let mut left = rows;
        for part in &tensor.parts {
            left = left
                .checked_sub(part.rows)
                .filter(|_| part.rows > 0)
                .ok_or_else(|| malformed(format!("its parts have other rows than its shape {:?}", tensor.shape)))?;
            let end = self.check_part(part, row_bytes)?;
            places.push((part.file, part.offset_bytes, end, name));
        }
        if left > 0 {
            return Err(malformed(format!("its parts lack {left} of {rows} rows")));
        }
        Ok(())
    }

    /// Checks that a part lies in its file; returns where it ends.
    fn check_part(&self, part: &Extent, row_bytes: u64) -> Result<u64> {
        let file = self.files.get(part.file as usize);
        let file = file.ok_or_else(|| malformed(format!("file {} of {}", part.file, self.files.len())))?;
        if !part.offset_bytes.is_multiple_of(ALIGNMENT) {
            return Err(malformed(format!("starts at byte {}, not at a multiple of {ALIGNMENT}", part.offset_bytes)));
        }
        let end = part.rows.checked_mul(row_bytes).and_then(|len| len.checked_add(part.offset_bytes));
        end.filter(|end| *end <= file.len_bytes).ok_or_else(|| {
            let message = format!(
                "{} rows of {row_bytes} bytes at byte {} leave the file's {} bytes",
                part.rows, part.offset_bytes, file.len_bytes
            );
            malformed(message).file(&file.name)
        })
    }
}

impl StoredTensor {
    /// Bytes of one row as stored: the stride of a matrix, the length of a vector.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for an unknown encoding, [`ErrorKind::Malformed`] for a shape that it cannot store.
    pub fn row_bytes(&self) -> Result<u64> {
        row_bytes(self.encoding()?, &self.shape)
    }
}

/// Bytes of one row as stored: the stride of a matrix, the length of a vector.
pub(super) fn row_bytes(encoding: Encoding, shape: &[u64]) -> Result<u64> {
    let sane = shape.iter().all(|size| (1..=MAX_DIMENSION).contains(size));
    match *shape {
        [len] if sane && encoding == Encoding::F32 => Ok(len * 4),
        [_] if sane => Err(malformed(format!("a vector in {}, not in f32", encoding.name()))),
        [_, columns] if sane => {
            let descriptor = encoding.descriptor();
            // K-quants have no rows that end within a block of 256.
            if descriptor.block > 32 && !columns.is_multiple_of(descriptor.block) {
                let message =
                    format!("{columns} columns are no multiple of {}'s {}", encoding.name(), descriptor.block);
                return Err(malformed(message));
            }
            Ok(encoding.row_stride(columns))
        }
        _ => Err(malformed(format!("shape {shape:?} is no matrix and no vector"))),
    }
}

/// Looks at the version alone, because another version may have other fields.
fn check_format(bytes: &[u8]) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Format {
        format: u64,
    }
    let Format { format } = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    known_format(format)
}

fn known_format(format: u64) -> Result<()> {
    let (oldest, newest) = (u64::from(*FORMATS.start()), u64::from(*FORMATS.end()));
    let remedy = match format {
        _ if (oldest..=newest).contains(&format) => return Ok(()),
        _ if format > newest => "a newer Tilestream made this model: update this one, or split the model again with it",
        _ => "split the model again with this build",
    };
    let known = if oldest == newest { newest.to_string() } else { format!("{oldest} to {newest}") };
    Err(Error::new(ErrorKind::Unsupported, format!("format {format}; this build reads format {known}")).remedy(remedy))
}

fn implausible(message: String) -> Error {
    malformed(message).remedy("the manifest was made by something else, or to do harm: get the model from elsewhere")
}

fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, message)
}

/// Reads a map of tensors and refuses a name that stands in it twice, where serde would keep the last.
pub(super) fn unique_names<'de, D>(deserializer: D) -> Result<BTreeMap<String, StoredTensor>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    struct Unique;
    impl<'de> Visitor<'de> for Unique {
        type Value = BTreeMap<String, StoredTensor>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of tensors")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut tensors = BTreeMap::new();
            while let Some((name, tensor)) = entries.next_entry::<String, StoredTensor>()? {
                if tensors.contains_key(&name) {
                    return Err(A::Error::custom(format!("tensor '{name}' is listed twice")));
                }
                tensors.insert(name, tensor);
            }
            Ok(tensors)
        }
    }
    deserializer.deserialize_map(Unique)
}
