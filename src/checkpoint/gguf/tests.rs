//! The container: what is read, and each way in which a header can lie.

use proptest::prelude::*;

use super::*;
use crate::checkpoint::testing::{GgufWriter, Memory, gguf_string, small_llama};

fn done(file: &[u8]) -> Result<Header> {
    match parse_header(file, file.len() as u64)? {
        Progress::Done(header) => Ok(header),
        Progress::NeedsMore { at_least_bytes } => panic!("{at_least_bytes} bytes of a file of {}", file.len()),
    }
}

fn fails(file: &[u8], kind: ErrorKind, says: &str) {
    let error = done(file).expect_err(says);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(says), "{error} should say {says}");
}

fn every_type() -> GgufWriter {
    GgufWriter::default()
        .raw("u8", 0, &[200])
        .raw("i8", 1, &[0xff])
        .raw("u16", 2, &[1, 2])
        .raw("i16", 3, &[0xfe, 0xff])
        .u32("u32", u32::MAX)
        .raw("i32", 5, &(-7i32).to_le_bytes())
        .f32("f32", 0.5)
        .bool("bool", true)
        .string("string", "é")
        .raw("u64", 10, &u64::MAX.to_le_bytes())
        .raw("i64", 11, &i64::MIN.to_le_bytes())
        .raw("f64", 12, &0.1f64.to_le_bytes())
        .strings("strings", &["a", "", "c d"])
        .numbers("i32s", 5, 2, &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])
        .numbers("f32s", 6, 1, &1.5f32.to_le_bytes())
        .numbers("u8s", 0, 3, &[7, 7, 7])
        .numbers("empty", 4, 0, &[])
        .numbers("arrays", 9, 1, &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

#[test]
fn every_value_type_is_read() -> Result<()> {
    let metadata = done(&every_type().write())?.metadata;
    assert_eq!(metadata.u64("u8")?, Some(200));
    assert_eq!(metadata.get("i8"), Some(&Value::Signed(-1)));
    assert_eq!(metadata.u64("u16")?, Some(0x201));
    assert_eq!(metadata.get("i16"), Some(&Value::Signed(-2)));
    assert_eq!(metadata.u32("u32")?, Some(u32::MAX));
    assert_eq!(metadata.f64("i32")?, Some(-7.0));
    assert_eq!(metadata.f64("f32")?, Some(0.5));
    assert_eq!(metadata.bool("bool")?, Some(true));
    assert_eq!(metadata.string("string")?, Some("é"));
    assert_eq!(metadata.u64("u64")?, Some(u64::MAX));
    assert_eq!(metadata.get("i64"), Some(&Value::Signed(i64::MIN)));
    assert_eq!(metadata.f64("f64")?, Some(0.1));
    assert_eq!(metadata.strings("strings")?, Some(&["a".to_owned(), String::new(), "c d".to_owned()][..]));
    assert_eq!(metadata.i32s("i32s")?, Some(vec![1, -1]));
    assert_eq!(metadata.f32s("f32s")?, Some(vec![1.5]));
    assert_eq!(metadata.u64("u8s")?, Some(7));
    assert_eq!(metadata.strings("empty")?, Some(&[][..]));
    assert!(matches!(metadata.get("arrays"), Some(Value::Arrays(arrays)) if arrays.len() == 1));
    assert_eq!(metadata.u64("absent")?, None);
    assert_eq!(metadata.keys().count(), 18);
    Ok(())
}

#[test]
fn values_of_another_type_are_refused() -> Result<()> {
    let metadata = done(&every_type().numbers("varied", 0, 2, &[1, 2]).f32("nan", f32::NAN).write())?.metadata;
    let kinds = [
        metadata.u64("string").unwrap_err().kind(),
        metadata.u64("i8").unwrap_err().kind(),
        metadata.u64("empty").unwrap_err().kind(),
        metadata.u32("u64").unwrap_err().kind(),
        metadata.f64("bool").unwrap_err().kind(),
        metadata.f64("nan").unwrap_err().kind(),
        metadata.bool("u8").unwrap_err().kind(),
        metadata.string("u8").unwrap_err().kind(),
        metadata.strings("u8s").unwrap_err().kind(),
        metadata.f32s("i32s").unwrap_err().kind(),
        metadata.i32s("f32s").unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Malformed; 11]);
    assert_eq!(metadata.u64("varied").unwrap_err().kind(), ErrorKind::Unsupported);
    Ok(())
}

#[test]
fn tensors_lie_where_the_header_says() -> Result<()> {
    for (version, alignment) in [(2, 32), (3, 32), (3, 64), (3, 1)] {
        let mut writer = GgufWriter { version, alignment, ..Default::default() };
        writer = writer.u32("general.alignment", alignment as u32);
        writer = writer.place("b", &[32, 3], 2, 54).place("a", &[3], 0, 12).place("k", &[256, 2, 1], 14, 420);
        let file = writer.write();
        let header = done(&file)?;
        let start = (file.len() - writer.data_len) as u64;
        let found: Vec<_> = header.tensors.iter().map(|t| (t.name.as_str(), t.encoding, t.len_bytes)).collect();
        let expected = [("b", Encoding::Q4_0, 54), ("a", Encoding::F32, 12), ("k", Encoding::Q6_K, 420)];
        assert_eq!(found, expected);
        assert_eq!(header.tensors[0].offset_bytes, start);
        assert_eq!(header.tensors[1].offset_bytes, start + 54_u64.next_multiple_of(alignment as u64));
        assert_eq!(header.tensors[0].shape, [3, 32]);
        assert_eq!(header.tensors[2].shape, [1, 2, 256]);
    }
    Ok(())
}

#[test]
fn every_truncation_is_noticed() {
    let file = every_type().place("t", &[8], 0, 32).write();
    for len in 0..file.len() {
        let error = parse_header(&file[..len], len as u64).expect_err("a truncated file");
        assert_eq!(error.kind(), ErrorKind::Truncated, "{len}: {error}");
    }
    assert!(done(&file).is_ok());
}

#[test]
fn a_prefix_asks_for_more_and_never_too_much() {
    let file = every_type().place("t", &[8], 0, 32).write();
    let len = file.len() as u64;
    let mut needed = Vec::new();
    for have in 0..file.len() {
        match parse_header(&file[..have], len) {
            Ok(Progress::NeedsMore { at_least_bytes }) => {
                assert!(at_least_bytes > have as u64 && at_least_bytes <= len);
                needed.push(at_least_bytes);
            }
            Ok(Progress::Done(header)) => assert_eq!(header.tensors.len(), 1),
            Err(error) => panic!("{have}: {error}"),
        }
    }
    assert!(needed.len() > 100);
}

#[test]
fn wrong_magic_and_versions_are_refused() {
    fails(b"", ErrorKind::Truncated, "magic");
    fails(b"GGML\x03\0\0\0", ErrorKind::Malformed, "not a GGUF");
    fails(b"GGUF\x00\0\0\x03", ErrorKind::Unsupported, "big-endian");
    fails(b"GGUF\x01\0\0\0", ErrorKind::Unsupported, "version 1");
    fails(b"GGUF\x04\0\0\0", ErrorKind::Unsupported, "version 4");
    fails(b"GGUF\x00\0\0\0", ErrorKind::Unsupported, "version 0");
}

#[test]
fn lying_metadata_is_refused() {
    use ErrorKind::{Malformed, Truncated};
    let writer = GgufWriter::default;
    let huge = (u64::MAX / 2).to_le_bytes();
    let array = |code: u32, count: u64| [&code.to_le_bytes()[..], &count.to_le_bytes()].concat();
    fails(&writer().u32("a", 1).u32("a", 1).write(), Malformed, "'a' comes twice");
    fails(&writer().raw("a", 13, &[0; 8]).write(), Malformed, "type 13");
    fails(&writer().raw("a", 9, &array(13, 0)).write(), Malformed, "type 13");
    fails(&writer().raw("a", 7, &[2]).write(), Malformed, "bool");
    fails(&writer().raw("a", 8, &huge).write(), Truncated, "more bytes");
    fails(&writer().raw("a", 9, &array(8, u64::MAX)).write(), Truncated, "more bytes");
    fails(&writer().raw("a", 9, &array(10, u64::MAX / 8 + 2)).write(), Truncated, "more bytes");
    fails(&writer().raw("a", 9, &array(9, u64::MAX / 4)).write(), Truncated, "more bytes");
    fails(&writer().raw("a", 9, &array(9, 1).repeat(20)).write(), Malformed, "nested");
    fails(&writer().raw("a", 8, &gguf_string(b"\xff\xfe")).write(), Malformed, "UTF-8");
    fails(&writer().strings("a", &[&b"ok"[..], b"\xc3"]).write(), Malformed, "UTF-8");
    let mut keys = writer().u32("ab", 1).write();
    keys[32] = 0xff;
    fails(&keys, Malformed, "UTF-8");
    for alignment in [0, 3, 48] {
        fails(&writer().u32("general.alignment", alignment).write(), Malformed, "power of two");
    }
    fails(&writer().f32("general.alignment", 32.0).write(), Malformed, "general.alignment");
    for at in [8, 16] {
        let mut counts = writer().u32("a", 1).place("t", &[8], 0, 32).write();
        counts[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        fails(&counts, Truncated, "more bytes");
    }
}

#[test]
fn lying_tensors_are_refused() {
    use ErrorKind::{Malformed, Truncated, Unsupported};
    let one = |dims: &[u64], code: u32, offset: u64| GgufWriter::default().tensor("t", dims, code, offset).data(64);
    assert!(done(&one(&[8, 2], 0, 0).write()).is_ok());
    for (writer, kind, says) in [
        (one(&[8, 2], 0, 32), Truncated, "past the end"),
        (one(&[8, 2], 0, u64::MAX - 31), Truncated, "past the end"),
        (one(&[8, 2], 0, 8), Malformed, "multiple of 32"),
        (one(&[8, 0], 0, 0), Malformed, "holds nothing"),
        (one(&[0, 8], 0, 0), Malformed, "holds nothing"),
        (one(&[1 << 40, 1 << 40], 0, 0), Malformed, "too large"),
        (one(&[u64::MAX], 0, 0), Malformed, "too large"),
        (one(&[u64::MAX - 31], 8, 0), Malformed, "too long"),
        (one(&[1 << 40], 0, 0), Truncated, "past the end"),
        (one(&[], 0, 0), Malformed, "0 dimensions"),
        (one(&[1; 5], 0, 0), Malformed, "5 dimensions"),
        (one(&[33], 2, 0), Malformed, "multiple of the 32"),
        (one(&[128], 12, 0), Malformed, "multiple of the 256"),
        (one(&[255], 16, 0), Malformed, "multiple of the 256 of iq2_xxs"),
        (one(&[128], 17, 0), Malformed, "multiple of the 256 of iq2_xs"),
        (one(&[32], 18, 0), Malformed, "multiple of the 256 of iq3_xxs"),
        (one(&[300], 19, 0), Malformed, "multiple of the 256 of iq1_s"),
        (one(&[257], 21, 0), Malformed, "multiple of the 256 of iq3_s"),
        (one(&[64], 22, 0), Malformed, "multiple of the 256 of iq2_s"),
        (one(&[1], 29, 0), Malformed, "multiple of the 256 of iq1_m"),
        (one(&[256, 2], 16, 0), Truncated, "its 132 bytes reach past the end"),
        (one(&[64], 41, 0), Malformed, "multiple of the 128 of q1_0"),
        (one(&[32], 15, 0), Unsupported, "Q8_K"),
        (one(&[96], 40, 0), Malformed, "multiple of the 64 of nvfp4"),
        (one(&[32], 4, 0), Unsupported, "number 4"),
        (one(&[32], u32::MAX, 0), Unsupported, "number 4294967295"),
        (one(&[2], 0, 0).tensor("u", &[2], 0, 0), Malformed, "overlaps tensor 't'"),
        (one(&[9], 0, 0).tensor("u", &[2], 0, 32), Malformed, "overlaps tensor 't'"),
        (one(&[2], 0, 0).tensor("t", &[2], 0, 32), Malformed, "comes twice"),
    ] {
        let file = writer.write();
        fails(&file, kind, says);
        let error = done(&file).unwrap_err();
        assert!(matches!(error.tensor_name(), Some("t" | "u")), "{error}");
    }
}

fn read(store: &Memory, len: u64) -> Result<Header> {
    pollster::block_on(read_header(store, "m", len))
}

#[test]
fn only_the_header_is_read() -> Result<()> {
    let tokens: Vec<String> = (0..150_000).map(|i| format!("token number {i}")).collect();
    let file = GgufWriter::default().strings("tokens", &tokens).place("t", &[1 << 22], 0, 16 << 20).write();
    let (len, header_len) = (file.len() as u64, file.len() as u64 - (16 << 20));
    let store = Memory::new([("m", file)]);
    let header = read(&store, len)?;
    assert_eq!(header.metadata.strings("tokens")?.map(<[String]>::len), Some(150_000));
    let read_bytes = store.bytes_read.into_inner();
    assert!(header_len > 3 * FIRST_READ && read_bytes >= header_len && read_bytes <= 2 * header_len, "{read_bytes}");
    Ok(())
}

#[test]
fn a_header_past_the_cap_is_refused_without_reading_it() {
    struct Endless(Memory);
    impl Store for Endless {
        fn len<'a>(&'a self, name: &'a str) -> crate::platform::BoxFuture<'a, Result<u64>> {
            self.0.len(name)
        }
        fn read_at<'a>(&'a self, _: &'a str, at: u64, out: &'a mut [u8]) -> crate::platform::BoxFuture<'a, Result<()>> {
            Box::pin(async move {
                // A file of a terabyte, of which only the start is not zero.
                let start = &self.0.objects["m"];
                for (i, byte) in out.iter_mut().enumerate() {
                    *byte = start.get(at as usize + i).copied().unwrap_or(0);
                }
                self.0.bytes_read.fetch_add(out.len() as u64, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            })
        }
        fn list(&self) -> crate::platform::BoxFuture<'_, Result<Vec<String>>> {
            self.0.list()
        }
        fn describe(&self, name: &str) -> String {
            self.0.describe(name)
        }
    }
    let terabyte = 1 << 40;
    for value in [[&0u32.to_le_bytes()[..], &(terabyte / 2u64).to_le_bytes()].concat(), gguf_string(b"")] {
        let code = if value.len() == 12 { 9 } else { 8 };
        let mut file = GgufWriter::default().raw("a", code, &value).write();
        if code == 8 {
            let at = file.len() - file.len() % 32;
            file.truncate(at.min(24 + 9 + 4));
            file.extend((terabyte / 2).to_le_bytes());
        }
        let store = Endless(Memory::new([("m", file)]));
        let error = pollster::block_on(read_header(&store, "m", terabyte)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
        assert!(store.0.bytes_read.into_inner() <= FIRST_READ, "{error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), file_len: u64) {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(&bytes);
        for file in [&bytes, &file] {
            let _ = parse_header(file, file.len() as u64);
            if let Ok(Progress::NeedsMore { at_least_bytes }) = parse_header(file, file_len) {
                prop_assert!(at_least_bytes <= file_len);
            }
        }
    }

    #[test]
    fn what_is_accepted_lies_in_the_file(flips in prop::collection::vec((0usize..2000, any::<u8>()), 1..4)) {
        let mut file = small_llama(1).write();
        let header = 1200.min(file.len());
        for (at, byte) in flips {
            file[at % header] = byte;
        }
        if let Ok(Progress::Done(header)) = parse_header(&file, file.len() as u64) {
            for tensor in &header.tensors {
                prop_assert!(tensor.offset_bytes + tensor.len_bytes <= file.len() as u64);
            }
            for pair in header.tensors.windows(2) {
                prop_assert!(pair[0].offset_bytes + pair[0].len_bytes <= pair[1].offset_bytes);
            }
        }
    }
}
