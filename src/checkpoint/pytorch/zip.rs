//! The directory of a zip file whose members are stored as they are, so that each is a range of the file's bytes.
//!
//! Format: APPNOTE.TXT, <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>. Only what `torch.save` writes is
//! taken: no comment at the end, no compression, no encryption, no second disk. Members may lie beyond 4 GiB (zip64).

use std::collections::BTreeMap;

use super::bytes::Bytes;
use super::shown;
use crate::checkpoint::read::read_range;
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

/// Every zip file with members starts with these bytes.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";
/// Cap on the directory: a member takes about 80 bytes there.
const DIRECTORY_CAP: u64 = 64 << 20;

const LOCAL: u32 = u32::from_le_bytes(*b"PK\x03\x04");
const CENTRAL: u32 = u32::from_le_bytes(*b"PK\x01\x02");
const END: u32 = u32::from_le_bytes(*b"PK\x05\x06");
const END64: u32 = u32::from_le_bytes(*b"PK\x06\x06");
const LOCATOR64: u32 = u32::from_le_bytes(*b"PK\x06\x07");

const LOCAL_BYTES: u64 = 30;
const CENTRAL_BYTES: u64 = 46;
const END_BYTES: u64 = 22;
const END64_BYTES: u64 = 56;
const LOCATOR64_BYTES: u64 = 20;

/// Flags that mark a member, its header or the directory as encrypted.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
/// The extra field with the numbers that do not fit 32 bits.
const EXTRA64: u16 = 1;

/// A member, as the directory has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Where its local header starts; its bytes follow that.
    pub header_bytes: u64,
    pub len_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Archive {
    pub members: BTreeMap<String, Member>,
    /// Members end before this.
    directory_bytes: u64,
}

/// Where the directory lies, and what it should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Directory {
    count: u64,
    len_bytes: u64,
    offset_bytes: u64,
}

impl Archive {
    /// Reads the directory of an object of `file_len` bytes.
    pub(super) async fn open(store: &dyn Store, name: &str, file_len: u64) -> Result<Self> {
        let directory = find(store, name, file_len).await?;
        if directory.len_bytes > DIRECTORY_CAP {
            let message = format!("a zip directory of {} bytes is more than {DIRECTORY_CAP}", directory.len_bytes);
            return Err(malformed(message));
        }
        let bytes = read_range(store, name, directory.offset_bytes, directory.len_bytes).await?;
        Ok(Self { members: members(&bytes, directory)?, directory_bytes: directory.offset_bytes })
    }

    /// Where the bytes of the member called `key` start in the file. They end before the directory.
    pub(super) async fn offset_bytes(&self, store: &dyn Store, name: &str, key: &str, member: Member) -> Result<u64> {
        let header = LOCAL_BYTES + key.len() as u64;
        let broken = |what: &str| malformed(format!("the zip member '{}' {what}", shown(key)));
        let past = || broken("reaches into the zip's directory");
        if self.directory_bytes.checked_sub(member.header_bytes).is_none_or(|room| room < header) {
            return Err(past());
        }
        let bytes = read_range(store, name, member.header_bytes, header).await?;
        let mut fields = Bytes::new(&bytes, "a zip header");
        if fields.u32()? != LOCAL {
            return Err(broken("has no header where the directory has it"));
        }
        fields.skip(2)?;
        let (flags, method) = (fields.u16()?, fields.u16()?);
        check_stored(key, flags, method)?;
        // Its sizes may stand behind its bytes instead; the directory's count.
        fields.skip(16)?;
        let (name_len, extra_len) = (fields.u16()?, fields.u16()?);
        if usize::from(name_len) != key.len() || fields.take(u64::from(name_len))? != key.as_bytes() {
            return Err(broken("has another name in its header"));
        }
        // The header ends before the directory, so the sum is small.
        let start = member.header_bytes + header + u64::from(extra_len);
        match start.checked_add(member.len_bytes) {
            Some(end) if end <= self.directory_bytes => Ok(start),
            _ => Err(past()),
        }
    }
}

/// Finds the directory from the records at the end of the file.
async fn find(store: &dyn Store, name: &str, file_len: u64) -> Result<Directory> {
    let cut = || {
        let message = "no zip directory at its end";
        Error::new(ErrorKind::Truncated, message).remedy("the file was cut off; get it again")
    };
    let end_bytes = file_len.checked_sub(END_BYTES).ok_or_else(cut)?;
    let tail_bytes = end_bytes.saturating_sub(LOCATOR64_BYTES);
    let tail = read_range(store, name, tail_bytes, file_len - tail_bytes).await?;
    let mut tail = Bytes::new(&tail, "the end of the zip");
    let locator = tail.take(end_bytes - tail_bytes)?;
    if tail.u32()? != END {
        return Err(cut());
    }
    let disks = u32::from(tail.u16()?) | u32::from(tail.u16()?);
    let (count_here, count) = (tail.u16()?, tail.u16()?);
    let (len, offset, comment) = (tail.u32()?, tail.u32()?, tail.u16()?);
    if (disks != 0 && disks != u32::from(u16::MAX)) || count_here != count || comment != 0 {
        return Err(malformed("a zip of several disks, or with a comment, which torch.save does not write"));
    }
    let mut locator = Bytes::new(locator, "the end of the zip");
    let (directory, directory_end) = if !locator.is_empty() && locator.u32()? == LOCATOR64 {
        locator.skip(4)?;
        let record_bytes = locator.u64()?;
        let directory = find64(store, name, record_bytes, tail_bytes).await?;
        // A reader that does not know zip64 must not see another directory.
        let same = |small: u64, most: u64, large: u64| small == most || small == large;
        let agrees = same(count.into(), u16::MAX.into(), directory.count)
            && same(len.into(), u32::MAX.into(), directory.len_bytes)
            && same(offset.into(), u32::MAX.into(), directory.offset_bytes);
        if !agrees {
            return Err(malformed("the two end records of the zip contradict each other"));
        }
        (directory, record_bytes)
    } else {
        (Directory { count: count.into(), len_bytes: len.into(), offset_bytes: offset.into() }, end_bytes)
    };
    if directory.offset_bytes.checked_add(directory.len_bytes) != Some(directory_end) {
        return Err(malformed("the zip's directory does not lie before its end record"));
    }
    Ok(directory)
}

/// The end record of a zip that may be larger than 4 GiB.
async fn find64(store: &dyn Store, name: &str, record_bytes: u64, locator_bytes: u64) -> Result<Directory> {
    if record_bytes.checked_add(END64_BYTES).is_none_or(|end| end > locator_bytes) {
        return Err(malformed("the zip64 end record lies outside of the file"));
    }
    let record = read_range(store, name, record_bytes, END64_BYTES).await?;
    let mut record = Bytes::new(&record, "the end of the zip");
    if record.u32()? != END64 {
        return Err(malformed("there is no zip64 end record where its locator points"));
    }
    // Its own length and two versions, then two numbers of disks.
    record.skip(12)?;
    let disks = record.u64()?;
    let (count_here, count) = (record.u64()?, record.u64()?);
    if disks != 0 || count_here != count {
        return Err(malformed("a zip of several disks"));
    }
    Ok(Directory { count, len_bytes: record.u64()?, offset_bytes: record.u64()? })
}

/// The members that the directory's bytes list.
fn members(bytes: &[u8], directory: Directory) -> Result<BTreeMap<String, Member>> {
    if directory.count > directory.len_bytes / CENTRAL_BYTES {
        return Err(malformed("the zip's directory is too short for its members"));
    }
    let mut fields = Bytes::new(bytes, "the zip's directory");
    let mut members = BTreeMap::new();
    for _ in 0..directory.count {
        let (name, member) = member(&mut fields)?;
        if member.header_bytes >= directory.offset_bytes {
            return Err(malformed(format!("the zip member '{}' lies behind the directory", shown(&name))));
        }
        if members.contains_key(&name) {
            return Err(malformed(format!("the zip member '{}' comes twice", shown(&name))));
        }
        members.insert(name, member);
    }
    if !fields.is_empty() {
        return Err(malformed("the zip's directory holds more than its members"));
    }
    Ok(members)
}

/// The directory's next member.
fn member(fields: &mut Bytes<'_>) -> Result<(String, Member)> {
    if fields.u32()? != CENTRAL {
        return Err(malformed("the zip's directory is not a list of members"));
    }
    // The versions that wrote it and that can read it.
    fields.skip(4)?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    // Time, date and CRC-32: the sum is of all of a member, and most of it is not read here.
    fields.skip(8)?;
    let (packed, len) = (fields.u32()?, fields.u32()?);
    let (name_len, extra_len, comment_len) = (fields.u16()?, fields.u16()?, fields.u16()?);
    // Disk and attributes.
    fields.skip(8)?;
    let header = fields.u32()?;
    let name = fields.take(name_len.into())?;
    let name = std::str::from_utf8(name).map_err(|_| malformed("the name of a zip member is not UTF-8"))?;
    check_stored(name, flags, method)?;
    let mut extra = Extra64::find(fields.take(extra_len.into())?)?;
    fields.skip(comment_len.into())?;
    // In this order, and only those that do not fit their 32 bits.
    let len_bytes = extra.widen(len)?;
    let packed_bytes = extra.widen(packed)?;
    let header_bytes = extra.widen(header)?;
    if packed_bytes != len_bytes {
        return Err(malformed(format!("the stored zip member '{}' has two sizes", shown(name))));
    }
    Ok((name.to_owned(), Member { header_bytes, len_bytes }))
}

/// The numbers of a member that need 64 bits.
struct Extra64<'a>(Bytes<'a>);

impl<'a> Extra64<'a> {
    fn find(extra: &'a [u8]) -> Result<Self> {
        let mut fields = Bytes::new(extra, "an extra field of the zip's directory");
        while !fields.is_empty() {
            let (id, len) = (fields.u16()?, fields.u16()?);
            let field = fields.take(len.into())?;
            if id == EXTRA64 {
                return Ok(Self(Bytes::new(field, "the zip64 field of a member")));
            }
        }
        Ok(Self(Bytes::new(&[], "the zip64 field of a member")))
    }

    fn widen(&mut self, small: u32) -> Result<u64> {
        if small == u32::MAX { self.0.u64() } else { Ok(small.into()) }
    }
}

fn check_stored(name: &str, flags: u16, method: u16) -> Result<()> {
    let how = match (flags & ENCRYPTED, method) {
        (0, 0) => return Ok(()),
        (0, _) => "compressed",
        _ => "encrypted",
    };
    let message = format!("the zip member '{}' is {how}; torch.save stores members as they are", shown(name));
    Err(Error::new(ErrorKind::Unsupported, message).remedy("use the file as torch.save wrote it"))
}

fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, message)
}

#[cfg(test)]
#[path = "zip_tests.rs"]
mod tests;
