//! A model in several GGUF files, as `llama-gguf-split` makes them: `NAME-00001-of-00003.gguf` and so on.
//!
//! The first has the metadata. Each says which it is and how many there are, and how many tensors all have together.

use std::collections::BTreeSet;

use super::{Header, read_header};
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

/// Digits of a number in a part's name.
const DIGITS: usize = 5;

/// A name of the form `NAME-00002-of-00003.gguf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartName<'a> {
    /// `NAME`.
    pub stem: &'a str,
    /// From 1 on.
    pub number: u32,
    pub count: u32,
}

impl<'a> PartName<'a> {
    /// `None` for another name.
    pub fn parse(name: &'a str) -> Option<Self> {
        let digits = |text: &str| {
            let all = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
            if all { text.parse::<u32>().ok() } else { None }
        };
        let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let (number, count) = (digits(number)?, digits(count)?);
        (1..=count).contains(&number).then_some(Self { stem, number, count })
    }

    /// The name of part `number`.
    pub fn of(&self, number: u32) -> String {
        format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.count)
    }

    /// Whether two are parts of the same model.
    pub fn goes_with(&self, other: &Self) -> bool {
        (self.stem, self.count) == (other.stem, other.count)
    }
}

/// Reads the header of a file, or of all parts where the file is one of several: their names and lengths, the metadata of
/// the first, and the tensors of all.
///
/// # Errors
/// As [`read_header`]; [`ErrorKind::NotFound`] where a part is missing, [`ErrorKind::Malformed`] for parts that do not go
/// together.
pub(super) async fn read_headers(store: &dyn Store, name: &str, len: u64) -> Result<(Vec<(String, u64)>, Header)> {
    let header = read_header(store, name, len).await?;
    let count = header.metadata.u64("split.count").map_err(|error| error.file(store.describe(name)))?;
    let Some(count @ 2..) = count else { return Ok((vec![(name.to_owned(), len)], header)) };
    let malformed = |name: &str, message: String| Error::new(ErrorKind::Malformed, message).file(store.describe(name));
    let named = PartName::parse(name).filter(|part| u64::from(part.count) == count).ok_or_else(|| {
        let remedy = "give it the name with which it was published, NAME-00001-of-0000N.gguf";
        malformed(name, format!("is one of {count} parts, and its name does not tell the others")).remedy(remedy)
    })?;
    let mut files = Vec::new();
    let mut all: Option<Header> = None;
    let mut names = BTreeSet::new();
    for number in 1..=named.count {
        let part = named.of(number);
        let len = store.len(&part).await.map_err(|error| missing(error, store, &part))?;
        let mut header = read_header(store, &part, len).await?;
        let tells = |key: &str| header.metadata.u64(key).map_err(|error| error.file(store.describe(&part)));
        if (tells("split.no")?, tells("split.count")?) != (Some(u64::from(number) - 1), Some(count)) {
            return Err(malformed(&part, format!("does not say that it is part {number} of {count}")));
        }
        for tensor in &mut header.tensors {
            tensor.file = files.len();
            if !names.insert(tensor.name.clone()) {
                return Err(malformed(&part, "is in another part too".to_owned()).tensor(&tensor.name));
            }
        }
        files.push((part, len));
        match &mut all {
            None => all = Some(header),
            Some(all) => all.tensors.extend(header.tensors),
        }
    }
    let all = all.ok_or_else(|| malformed(name, "has no parts".to_owned()))?;
    let expected = all.metadata.u64("split.tensors.count").map_err(|error| error.file(store.describe(&files[0].0)))?;
    if expected.is_some_and(|expected| expected != all.tensors.len() as u64) {
        let message = format!("the parts hold {} tensors of {}", all.tensors.len(), expected.unwrap_or_default());
        return Err(malformed(&files[0].0, message));
    }
    Ok((files, all))
}

fn missing(error: Error, store: &dyn Store, part: &str) -> Error {
    let error = error.file(store.describe(part));
    if error.kind() == ErrorKind::NotFound { error.remedy("get all parts of the model") } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::testing::{GgufWriter, Memory, small_llama};
    use crate::checkpoint::{Checkpoint, open};

    const NAMES: [&str; 3] = ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"];

    /// The tensors of a small model in three parts, the first without any, as published ones often are.
    fn parts() -> [GgufWriter; 3] {
        let whole = small_llama(2);
        let part = |number: u16| {
            let numbered = GgufWriter::default().raw("split.no", 2, &number.to_le_bytes());
            numbered.raw("split.count", 2, &[3, 0]).raw("split.tensors.count", 5, &20_i32.to_le_bytes())
        };
        let [mut first, mut second, mut third] = [part(0), part(1), part(2)];
        first.entries.extend(whole.entries.clone());
        second.tensors = whole.tensors[..7].to_vec();
        third.tensors = whole.tensors[7..].to_vec();
        // Offsets are those of the whole: each part has room for all.
        [first, second.data(whole.data_len), third.data(whole.data_len)]
    }

    fn opened(parts: [GgufWriter; 3], name: Option<&str>) -> Result<Checkpoint> {
        let mut at = 0;
        let files = parts.map(|part| {
            at += 1;
            (NAMES[at - 1], part.write())
        });
        pollster::block_on(open(&Memory::new(files), name))
    }

    #[test]
    fn parts_are_one_checkpoint_whichever_is_named() -> Result<()> {
        let whole = pollster::block_on(open(&Memory::new([("m.gguf", small_llama(2).write())]), None))?;
        for name in [None, Some(NAMES[0]), Some(NAMES[2])] {
            let checkpoint = opened(parts(), name)?;
            assert_eq!(checkpoint.config, whole.config);
            assert_eq!(checkpoint.files.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), NAMES);
            assert_eq!(checkpoint.tensors.len(), whole.tensors.len());
            for (tensor, other) in checkpoint.tensors.iter().zip(&whole.tensors) {
                assert_eq!((&tensor.name, &tensor.shape), (&other.name, &other.shape));
            }
            let embeddings = checkpoint.tensors.iter().find(|tensor| tensor.source_name == "token_embd.weight");
            let up = checkpoint.tensors.iter().find(|tensor| tensor.source_name == "blk.1.ffn_up.weight");
            assert_eq!((embeddings.map(|tensor| tensor.file), up.map(|tensor| tensor.file)), (Some(1), Some(2)));
        }
        Ok(())
    }

    #[test]
    fn parts_that_do_not_go_together_are_refused() {
        use ErrorKind::{Malformed, NotFound};
        let fails = |change: fn(&mut [GgufWriter; 3]), says: &str| {
            let mut parts = parts();
            change(&mut parts);
            let error = opened(parts, None).expect_err(says);
            assert_eq!(error.kind(), Malformed, "{error}");
            assert!(error.to_string().contains(says), "{error} should say {says}");
        };
        fails(|parts| parts.swap(1, 2), "part 2 of 3");
        fails(|parts| drop(parts[2].entries.remove(0)), "part 3 of 3");
        fails(|parts| drop(parts[2].tensors.pop()), "19 tensors of 20");
        fails(|parts| parts[2].tensors[0] = parts[1].tensors[0].clone(), "is in another part too");
        let two = Memory::new([(NAMES[0], parts()[0].write()), (NAMES[1], parts()[1].write())]);
        let error = pollster::block_on(open(&two, None)).expect_err("a part is missing");
        assert_eq!((error.kind(), error.file_name()), (NotFound, Some(NAMES[2])));
        let renamed = Memory::new([("m.gguf", parts()[0].write())]);
        let error = pollster::block_on(open(&renamed, None)).expect_err("no name of a part");
        assert!(error.kind() == Malformed && error.to_string().contains("one of 3 parts"), "{error}");
    }

    #[test]
    fn names_of_parts_are_told_from_others() {
        let part = PartName::parse("a-b-00002-of-00010.gguf").expect("a part");
        assert_eq!(part, PartName { stem: "a-b", number: 2, count: 10 });
        assert_eq!(part.of(10), "a-b-00010-of-00010.gguf");
        for other in [
            "a.gguf",
            "a-00001-of-00002",
            "a-1-of-2.gguf",
            "a-00003-of-00002.gguf",
            "a-00000-of-00002.gguf",
            "a-+0001-of-00002.gguf",
            "00001-of-00002.gguf",
            "-of-.gguf",
        ] {
            assert_eq!(PartName::parse(other), None, "{other}");
        }
    }
}
