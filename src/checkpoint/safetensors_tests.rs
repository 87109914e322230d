use proptest::prelude::*;

use super::*;
use crate::checkpoint::testing::{Memory, safetensors};

const TWO: &str = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"a":{"dtype":"BF16","shape":[5],"data_offsets":[24,34]}}"#;

fn parse(file: &[u8]) -> Result<Header> {
    parse_header(file, file.len() as u64)
}

fn read(file: Vec<u8>) -> Result<Header> {
    let len = file.len() as u64;
    pollster::block_on(read_header(&Memory::new([("m", file)]), "m", len))
}

#[test]
fn a_header_is_read() -> Result<()> {
    let file = safetensors(TWO, 34);
    let header = parse(&file)?;
    let data = 8 + TWO.len() as u64;
    assert_eq!(header.data_start, data);
    assert_eq!(header.metadata.get("format").map(String::as_str), Some("pt"));
    let found: Vec<_> = header.entries.iter().map(|e| (e.name.as_str(), e.offset_bytes, e.len_bytes)).collect();
    assert_eq!(found, [("b", data, 24), ("a", data + 24, 10)]);
    assert_eq!(header.entries[0].shape, [2, 3]);
    assert_eq!(header.entries[1].dtype, Dtype::BF16);
    // The header alone is enough, and all that is read.
    assert_eq!(parse_header(&file[..data as usize], file.len() as u64)?, header);
    let store = Memory::new([("m", file)]);
    assert_eq!(pollster::block_on(read_header(&store, "m", data + 34))?, header);
    assert_eq!(store.bytes_read.into_inner(), data + 8);
    Ok(())
}

#[test]
fn every_truncation_is_noticed() {
    let file = safetensors(TWO, 34);
    for len in 0..file.len() {
        let error = read(file[..len].to_vec()).expect_err("a truncated file");
        assert_eq!(error.kind(), ErrorKind::Truncated, "{len}: {error}");
        assert_eq!(error.file_name(), Some("memory/m"));
    }
    assert!(read(file).is_ok());
}

#[test]
fn lying_headers_are_refused() {
    use ErrorKind::{Malformed, Truncated, Unsupported};
    let one = |dtype: &str, shape: &str, start: &str, end: &str| {
        format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}}}"#)
    };
    let two = |a: (u64, u64), b: (u64, u64)| {
        let entry = |(start, end): (u64, u64)| {
            format!(r#"{{"dtype":"U8","shape":[{}],"data_offsets":[{start},{end}]}}"#, end - start)
        };
        format!(r#"{{"a":{},"b":{}}}"#, entry(a), entry(b))
    };
    let duplicate = TWO.replace("\"b\"", "\"a\"");
    let twice_metadata = r#"{"__metadata__":{},"__metadata__":{}}"#;
    for (json, data_len, kind, says) in [
        (one("F32", "[2]", "0", "8"), 9, Malformed, "tensors end at 8"),
        (one("F32", "[2]", "0", "8"), 7, Truncated, "end at 8"),
        (one("F32", "[3]", "0", "8"), 8, Malformed, "needs 12"),
        (one("F32", "[]", "0", "8"), 8, Malformed, "needs 4"),
        (one("F32", "[2]", "8", "0"), 8, Malformed, "before its start"),
        (one("F32", "[2]", "1", "9"), 9, Malformed, "hole"),
        (one("F32", "[0]", "0", "8"), 8, Malformed, "needs 0"),
        (one("F4", "[3]", "0", "1"), 1, Malformed, "whole bytes"),
        (one("F32", "[-1]", "0", "8"), 8, Malformed, "JSON"),
        (one("F32", "[1.5]", "0", "8"), 8, Malformed, "JSON"),
        (one("F32", "[4611686018427387904, 4]", "0", "8"), 8, Malformed, "too large"),
        (one("U8", "[18446744073709551615]", "0", "18446744073709551615"), 8, Malformed, "too large"),
        (one("U8", "[2305843009213693951]", "0", "2305843009213693951"), 8, Truncated, "end at"),
        (one("U8", "[18446744073709551615]", "1", "18446744073709551616"), 8, Malformed, "JSON"),
        (one("Q9", "[2]", "0", "8"), 8, Unsupported, "'Q9'"),
        (two((0, 4), (3, 8)), 8, Malformed, "overlaps"),
        (two((0, 4), (0, 4)), 4, Malformed, "overlaps"),
        (two((0, 4), (5, 8)), 8, Malformed, "hole"),
        (two((0, 4), (4, 9)), 8, Truncated, "'b'"),
        (duplicate, 34, Malformed, "comes twice"),
        (twice_metadata.to_owned(), 0, Malformed, "comes twice"),
        (r#"{"__metadata__":{"a":"1","a":"2"}}"#.to_owned(), 0, Malformed, "comes twice"),
        (r#"{"__metadata__":{"a":1}}"#.to_owned(), 0, Malformed, "JSON"),
        (r#"{"t":{"dtype":"F32","shape":[1]}}"#.to_owned(), 4, Malformed, "data_offsets"),
        ("[]".to_owned(), 0, Malformed, "JSON"),
        ("".to_owned(), 0, Malformed, "JSON"),
        ("{}x".to_owned(), 0, Malformed, "JSON"),
        ("[".repeat(100_000), 0, Malformed, "JSON"),
        (format!(r#"{{"t":{}1"#, r#"{"a":"#.repeat(100_000)), 0, Malformed, "JSON"),
    ] {
        let error = read(safetensors(&json, data_len)).expect_err(says);
        let shown: String = json.chars().take(120).collect();
        assert_eq!(error.kind(), kind, "{shown}: {error}");
        assert!(error.to_string().contains(says), "{shown}: {error}");
        assert_eq!(error.file_name(), Some("memory/m"));
    }
}

#[test]
fn names_that_are_not_utf8_are_refused() {
    let mut file = safetensors(TWO, 34);
    let at = file.windows(3).position(|three| three == br#""b""#).expect("the name");
    file[at + 1] = 0xff;
    assert_eq!(read(file).unwrap_err().kind(), ErrorKind::Malformed);
}

#[test]
fn a_huge_length_is_refused_before_anything_is_read_or_reserved() {
    for (len, kind) in [
        (HEADER_CAP + 1, ErrorKind::Malformed),
        (u64::MAX, ErrorKind::Malformed),
        (HEADER_CAP, ErrorKind::Truncated),
        (3, ErrorKind::Truncated),
    ] {
        let mut file = len.to_le_bytes().to_vec();
        file.extend(b"{}");
        let store = Memory::new([("m", file)]);
        let error = pollster::block_on(read_header(&store, "m", 10)).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(store.bytes_read.into_inner(), 8);
    }
}

#[test]
fn empty_files_and_empty_tensors() -> Result<()> {
    assert_eq!(read(Vec::new()).unwrap_err().kind(), ErrorKind::Truncated);
    assert!(parse(&safetensors("{}", 0))?.entries.is_empty());
    // Writers pad the JSON with spaces.
    assert!(parse(&safetensors("{}      ", 0))?.entries.is_empty());
    let json = r#"{"z":{"dtype":"F32","shape":[3,0],"data_offsets":[4,4]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"n":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#;
    let names: Vec<_> = parse(&safetensors(json, 4))?.entries.into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["n", "a", "z"]);
    Ok(())
}

#[test]
fn the_safetensors_crate_agrees() {
    let data: Vec<u8> = (0..96).collect();
    let view = |shape: Vec<usize>, dtype, range: std::ops::Range<usize>| {
        ::safetensors::tensor::TensorView::new(dtype, shape, &data[range]).expect("a view")
    };
    let tensors = [
        ("x", view(vec![4, 2], Dtype::F32, 0..32)),
        ("y.z", view(vec![8], Dtype::BF16, 32..48)),
        ("w", view(vec![2, 3, 4], Dtype::F16, 48..96)),
    ];
    let file = ::safetensors::serialize(tensors, None).expect("a file");
    let header = parse(&file).expect("a header");
    let theirs = ::safetensors::SafeTensors::deserialize(&file).expect("their header");
    assert_eq!(header.entries.len(), 3);
    for entry in &header.entries {
        let theirs = theirs.tensor(&entry.name).expect("the tensor");
        let ours = &file[entry.offset_bytes as usize..][..entry.len_bytes as usize];
        assert_eq!((ours, entry.dtype), (theirs.data(), theirs.dtype()));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), file_len: u64) {
        let _ = parse(&bytes);
        let _ = parse_header(&bytes, file_len);
    }

    #[test]
    fn what_is_accepted_lies_in_the_file(flips in prop::collection::vec((0usize..170, any::<u8>()), 1..4), extra in -3i64..3) {
        let mut file = safetensors(TWO, 34);
        for (at, byte) in flips {
            let at = at % file.len();
            file[at] = byte;
        }
        let len = file.len() as u64;
        let claimed = len.saturating_add_signed(extra);
        if let Ok(header) = parse_header(&file, claimed) {
            let mut end = header.data_start;
            for entry in &header.entries {
                prop_assert_eq!(entry.offset_bytes, end);
                end += entry.len_bytes;
            }
            prop_assert_eq!(end, claimed);
        }
    }
}
