use super::super::testing::{Record, Zip, end};
use super::*;
use crate::checkpoint::testing::Memory;

fn open(file: Vec<u8>) -> Result<Archive> {
    let store = Memory::new([("f", file)]);
    let len = store.objects["f"].len() as u64;
    pollster::block_on(async {
        let archive = Archive::open(&store, "f", len).await?;
        for (key, member) in &archive.members {
            archive.offset_bytes(&store, "f", key, *member).await?;
        }
        Ok(archive)
    })
}

fn two() -> Zip {
    Zip::default().part("a/one", b"1").part("a/two", b"22")
}

/// The file with the record at its end replaced.
fn ending(record: &[u8]) -> Vec<u8> {
    let file = two().write();
    [&file[..file.len() - 22], record].concat()
}

#[test]
fn members_are_found_with_and_without_zip64() -> Result<()> {
    for large in [false, true] {
        let file = Zip { large, ..two() }.write();
        let store = Memory::new([("f", file.clone())]);
        let archive = pollster::block_on(Archive::open(&store, "f", file.len() as u64))?;
        let bytes = |key: &str| {
            let member = archive.members[key];
            let start = pollster::block_on(archive.offset_bytes(&store, "f", key, member)).expect(key) as usize;
            &file[start..start + member.len_bytes as usize]
        };
        assert_eq!((archive.members.len(), bytes("a/one"), bytes("a/two")), (2, &b"1"[..], &b"22"[..]));
    }
    Ok(())
}

/// A store that is all zeros but for a few places, and larger than any disk here.
struct Sparse {
    len: u64,
    places: Vec<(u64, Vec<u8>)>,
}

impl Store for Sparse {
    fn len<'a>(&'a self, _name: &'a str) -> crate::platform::BoxFuture<'a, Result<u64>> {
        Box::pin(async { Ok(self.len) })
    }

    fn read_at<'a>(
        &'a self,
        _name: &'a str,
        offset_bytes: u64,
        buffer: &'a mut [u8],
    ) -> crate::platform::BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            for (i, byte) in buffer.iter_mut().enumerate() {
                let at = offset_bytes + i as u64;
                let place =
                    self.places.iter().find(|(start, bytes)| (*start..*start + bytes.len() as u64).contains(&at));
                *byte = place.map_or(0, |(start, bytes)| bytes[(at - start) as usize]);
            }
            Ok(())
        })
    }

    fn list(&self) -> crate::platform::BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async { Ok(vec!["f".to_owned()]) })
    }

    fn describe(&self, name: &str) -> String {
        name.to_owned()
    }
}

#[test]
fn members_may_lie_beyond_4_gib() -> Result<()> {
    const FIRST: u64 = 5 << 30;
    let first = FIRST - 43;
    let zip = Zip { large: true, ..Zip::default() };
    let zip = zip.part("first", b"").with(0, |part| part.claims = (Some(0), Some(first)));
    let zip = zip.part("second", b"").with(1, |part| part.claims = (Some(FIRST), Some(4)));
    let file = zip.write();
    let directory = file.windows(4).position(|four| four == b"PK\x01\x02").expect("a directory");
    let locator = file.windows(4).position(|four| four == b"PK\x06\x06").expect("an end");
    let header = &file[..directory / 2];
    let second = file[header.len() - 1..directory].windows(4).position(|four| four == b"PK\x03\x04").expect("a header");
    let second = &file[header.len() - 1 + second..directory];
    let start = FIRST + 100;
    let records = [&file[directory..locator], &end(2, (locator - directory) as u64, start, true)].concat();
    let store = Sparse {
        len: start + records.len() as u64,
        places: vec![(0, header.to_vec()), (FIRST, second.to_vec()), (start, records)],
    };
    pollster::block_on(async {
        let archive = Archive::open(&store, "f", store.len).await?;
        let (one, two) = (archive.members["first"], archive.members["second"]);
        assert_eq!((one.len_bytes, two.header_bytes), (first, FIRST));
        assert_eq!(archive.offset_bytes(&store, "f", "first", one).await?, 42);
        assert_eq!(archive.offset_bytes(&store, "f", "second", two).await?, FIRST + 43);
        Ok(())
    })
}

#[test]
fn broken_ends_are_refused() {
    let file = two().write();
    let directory = file.windows(4).position(|four| four == b"PK\x01\x02").expect("a directory") as u64;
    let len = file.len() as u64 - 22 - directory;
    let count_of_one_disk = |record: &mut Vec<u8>| record[8] = 1;
    let mut disks = end(2, len, directory, false);
    count_of_one_disk(&mut disks);
    let mut comment = end(2, len, directory, false);
    comment[20] = 1;
    for (name, file, kind) in [
        ("no end", file[..file.len() - 22].to_vec(), ErrorKind::Truncated),
        ("too short", b"PK\x03\x04".to_vec(), ErrorKind::Truncated),
        ("bytes behind", [&file[..], b"\0"].concat(), ErrorKind::Truncated),
        ("disks", ending(&disks), ErrorKind::Malformed),
        ("a comment", ending(&comment), ErrorKind::Malformed),
        ("fewer members", ending(&end(1, len, directory, false)), ErrorKind::Malformed),
        ("more members", ending(&end(3, len, directory, false)), ErrorKind::Malformed),
        ("many members", ending(&end(60_000, len, directory, false)), ErrorKind::Malformed),
        ("a gap", ending(&end(2, len - 1, directory, false)), ErrorKind::Malformed),
        ("behind the end", ending(&end(2, len, u64::from(u32::MAX) - 1, false)), ErrorKind::Malformed),
        ("zip64 without its record", ending(&end(2, u64::from(u32::MAX), 0, false)), ErrorKind::Malformed),
        ("a directory of gigabytes", ending(&end(2, u64::MAX, 0, true)), ErrorKind::Malformed),
        ("zip64 at another place", ending(&end(2, len, directory - 1, true)), ErrorKind::Malformed),
    ] {
        let error = open(file).expect_err(name);
        assert_eq!(error.kind(), kind, "{name}: {error}");
    }
    assert!(
        open(ending(&end(2, len, directory, false))).is_ok() && open(ending(&end(2, len, directory, true))).is_ok()
    );
}

#[test]
fn two_end_records_must_agree() {
    let file = Zip { large: true, ..two() }.write();
    // The number of members in the old record, which reads "see the other".
    let count = file.len() - 12;
    for (bytes, good) in [([2, 0], true), ([1, 0], false)] {
        let mut changed = file.clone();
        changed[count..count + 2].copy_from_slice(&bytes);
        changed[count - 2..count].copy_from_slice(&bytes);
        assert_eq!(open(changed).is_ok(), good, "{bytes:?}");
    }
}

#[test]
fn broken_members_are_refused() {
    type Change = fn(&mut Record);
    let cases: [(&str, Change, ErrorKind, &str); 9] = [
        ("compressed", |part| part.method = 8, ErrorKind::Unsupported, "'a/two' is compressed"),
        ("encrypted", |part| part.flags |= 1, ErrorKind::Unsupported, "'a/two' is encrypted"),
        ("twice", |part| part.name = b"a/one".to_vec(), ErrorKind::Malformed, "'a/one' comes twice"),
        ("not UTF-8", |part| part.name = vec![0xff], ErrorKind::Malformed, "UTF-8"),
        ("another name", |part| part.local_name = Some(b"a/twe".to_vec()), ErrorKind::Malformed, "another name"),
        ("too long", |part| part.claims.1 = Some(1 << 40), ErrorKind::Malformed, "into the zip's directory"),
        ("no header there", |part| part.claims.0 = Some(3), ErrorKind::Malformed, "no header"),
        ("behind the directory", |part| part.claims.0 = Some(1 << 40), ErrorKind::Malformed, "behind the directory"),
        ("a sum too large", |part| part.claims.1 = Some(u64::MAX), ErrorKind::Malformed, "into the zip's directory"),
    ];
    for (name, change, kind, says) in cases {
        let error = open(Zip { large: true, ..two() }.with(1, change).write()).expect_err(name);
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(error.to_string().contains(says), "{name}: {error}");
    }
}
