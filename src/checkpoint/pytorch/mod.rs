//! PyTorch checkpoints: a zip file with a pickle that describes the tensors, and one member with the bytes of each
//! storage, as `torch.save` writes them since PyTorch 1.6.
//!
//! Source: `torch/serialization.py`. A pickle is a program, and this one is never run: it is read as data (see
//! `pickle`), and whatever asks for more than tensors is refused. Tensor bytes lie in the file as they are, so a tensor
//! is a range of the file, as in a safetensors file.

mod bytes;
mod pickle;
mod state;
#[cfg(test)]
pub(super) mod testing;
mod value;
mod zip;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

pub use state::{View, parse_pickle};

use self::zip::Archive;
use super::read::read_range;
use super::safetensors::Entry;
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

/// Cap on the pickle: a tensor takes about 250 bytes there.
const PICKLE_CAP: u64 = 64 << 20;
const PICKLE: &str = "data.pkl";
const BYTE_ORDER: &str = "byteorder";
/// What a file of PyTorch before 1.6 starts with: a pickle of its own, which holds 0x1950a86a20f9469cfc6c.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
/// Where a tar archive says that it is one. PyTorch before 0.1.10 wrote them.
const TAR: (usize, &[u8]) = (257, b"ustar");
const FIRST_BYTES: u64 = 262;

/// Whether a file that starts like this can be a PyTorch checkpoint.
pub(super) fn is_pytorch(first: &[u8]) -> bool {
    first.starts_with(zip::MAGIC)
}

/// Reads which tensors an object of `file_len` bytes holds, and where. Nothing of it is executed.
///
/// Tensors may share bytes (tied weights).
///
/// # Errors
/// - [`ErrorKind::Truncated`] where the file, its pickle or a storage ends early.
/// - [`ErrorKind::Malformed`] where zip or pickle contradict themselves, and for tensors that do not lie in their storage.
/// - [`ErrorKind::Unsupported`] for formats before PyTorch 1.6, compressed or big-endian files, pickles that ask for
///   anything but tensors, and tensors whose values do not lie in row order.
pub async fn read_entries(store: &dyn Store, name: &str, file_len: u64) -> Result<Vec<Entry>> {
    entries(store, name, file_len).await.map_err(|error| error.file(store.describe(name)))
}

async fn entries(store: &dyn Store, name: &str, file_len: u64) -> Result<Vec<Entry>> {
    let first = read_range(store, name, 0, file_len.min(FIRST_BYTES)).await?;
    check_format(&first)?;
    let archive = Archive::open(store, name, file_len).await?;
    let prefix = prefix(&archive)?;
    if let Some(order) = read_member(&archive, store, name, &format!("{prefix}{BYTE_ORDER}"), 16).await?
        && order != b"little"
    {
        let order = String::from_utf8_lossy(&order).into_owned();
        return Err(refused(format!("its values are in the byte order '{order}', not 'little'")));
    }
    let pickle = read_member(&archive, store, name, &format!("{prefix}{PICKLE}"), PICKLE_CAP).await?;
    let pickle = pickle.unwrap_or_default();
    let views = parse_pickle(&pickle)?;
    let mut found = BTreeMap::new();
    let mut entries = Vec::with_capacity(views.len());
    for view in views {
        // Tied tensors share a storage: its header is read once.
        let (start, len_bytes) = match found.entry(view.key) {
            Slot::Occupied(slot) => *slot.get(),
            Slot::Vacant(slot) => {
                let place = storage(&archive, store, name, &format!("{prefix}data/{}", view.key)).await;
                *slot.insert(place.map_err(|error| error.tensor(shown(view.name)))?)
            }
        };
        entries.push(placed(view, start, len_bytes)?);
    }
    Ok(entries)
}

/// The bytes of a storage: where they start in the file, and how many there are.
async fn storage(archive: &Archive, store: &dyn Store, name: &str, key: &str) -> Result<(u64, u64)> {
    let Some(member) = archive.members.get(key).copied() else {
        let message = format!("its storage '{}' is not in the file", shown(key));
        return Err(Error::new(ErrorKind::Missing, message).remedy("get the file again"));
    };
    Ok((archive.offset_bytes(store, name, key, member).await?, member.len_bytes))
}

/// A tensor as a range of the file.
fn placed(view: View<'_>, start: u64, storage_bytes: u64) -> Result<Entry> {
    let View { name, key: _, dtype, shape, offset_bytes, len_bytes } = view;
    if offset_bytes.checked_add(len_bytes).is_none_or(|end| end > storage_bytes) {
        let message = format!("its {len_bytes} bytes at {offset_bytes} do not lie in its storage of {storage_bytes}");
        return Err(Error::new(ErrorKind::Truncated, message).tensor(shown(name)).remedy("get the file again"));
    }
    // The storage lies in the file, so the sum is small.
    Ok(Entry { name: name.to_owned(), dtype, shape, offset_bytes: start + offset_bytes, len_bytes })
}

fn check_format(first: &[u8]) -> Result<()> {
    if first.starts_with(zip::MAGIC) {
        return Ok(());
    }
    if first.starts_with(LEGACY) {
        return Err(refused("it is in the format of PyTorch before 1.6"));
    }
    if first.get(TAR.0..).is_some_and(|rest| rest.starts_with(TAR.1)) {
        return Err(refused("it is a tar archive, which PyTorch before 0.1.10 wrote"));
    }
    let message = "it does not start like a PyTorch checkpoint";
    Err(Error::new(ErrorKind::Malformed, message).remedy("get the file again, or name the file of the weights"))
}

/// The folder in the zip that holds everything, with its `/`. It is called after the file that was first written.
fn prefix(archive: &Archive) -> Result<String> {
    let mut prefixes = archive.members.keys().filter_map(|key| {
        let prefix = key.strip_suffix(PICKLE)?;
        (prefix.find('/') == Some(prefix.len().checked_sub(1)?)).then_some(prefix)
    });
    let (Some(prefix), None) = (prefixes.next(), prefixes.next()) else {
        let message = format!("a zip file without one {PICKLE}, so not written by torch.save");
        return Err(Error::new(ErrorKind::Malformed, message).remedy("name the file of the weights"));
    };
    if archive.members.contains_key(&format!("{prefix}constants.pkl")) {
        return Err(refused("it is a TorchScript program, not a state dict"));
    }
    Ok(prefix.to_owned())
}

/// A whole small member, or `None` where there is none.
async fn read_member(
    archive: &Archive,
    store: &dyn Store,
    name: &str,
    key: &str,
    cap_bytes: u64,
) -> Result<Option<Vec<u8>>> {
    let Some(member) = archive.members.get(key).copied() else { return Ok(None) };
    if member.len_bytes > cap_bytes {
        let message = format!("'{}' of {} bytes, where {cap_bytes} are the most", shown(key), member.len_bytes);
        return Err(Error::new(ErrorKind::Malformed, message));
    }
    let offset_bytes = archive.offset_bytes(store, name, key, member).await?;
    read_range(store, name, offset_bytes, member.len_bytes).await.map(Some)
}

/// An error that loading and saving the checkpoint with PyTorch mends.
fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, message).remedy(
        "if you trust its source, load it with PyTorch and write its state dict as safetensors \
         (safetensors.torch.save_file)",
    )
}

/// Names come from the file and can have any length.
fn shown(name: &str) -> String {
    const MOST: usize = 200;
    match name.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
