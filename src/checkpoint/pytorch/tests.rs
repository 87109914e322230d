use super::testing::{Zip, archive, dict, storage as stored, tensor, text};
use super::*;
use crate::checkpoint::testing::Memory;
use safetensors::Dtype;

fn read(file: Vec<u8>) -> Result<Vec<Entry>> {
    let store = Memory::new([("w.bin", file)]);
    let len = store.objects["w.bin"].len() as u64;
    pollster::block_on(read_entries(&store, "w.bin", len))
}

/// One f32 tensor of shape [2, 3].
fn matrix() -> Vec<u8> {
    dict(&[("w", tensor(&stored("FloatStorage", "0", 6), 0, &[2, 3], &[3, 1]))])
}

const SIX: &[u8] = &[7; 24];

fn refuse(name: &str, file: Vec<u8>, kind: ErrorKind, says: &str) {
    let error = read(file).expect_err(name);
    assert_eq!(error.kind(), kind, "{name}: {error}");
    assert!(error.to_string().contains(says) && error.file_name() == Some("memory/w.bin"), "{name}: {error}");
}

#[test]
fn tensors_are_ranges_of_the_file() -> Result<()> {
    let shared = stored("BFloat16Storage", "0", 8);
    let value = dict(&[
        ("late", tensor(&shared, 2, &[3, 1, 2], &[2, 9, 1])),
        ("tied", tensor(&shared, 0, &[8], &[1])),
        ("also", tensor(&shared, 0, &[8], &[1])),
        ("f32", tensor(&stored("FloatStorage", "1", 1), 0, &[], &[])),
        ("scalar", text("ignored")),
    ]);
    let storages: [&[u8]; 2] = [b"0123456789abcdef", b"WXYZ"];
    for large in [false, true] {
        let file = Zip { large, ..archive(&value, &storages) }.write();
        let entries = read(file.clone())?;
        let bytes = |name: &str| {
            let entry = entries.iter().find(|entry| entry.name == name).expect(name);
            (entry.dtype, &file[entry.offset_bytes as usize..][..entry.len_bytes as usize])
        };
        assert_eq!(entries.len(), 4);
        assert_eq!(bytes("late"), (Dtype::BF16, &b"456789abcdef"[..]));
        assert_eq!(bytes("tied"), (Dtype::BF16, storages[0]));
        assert_eq!(bytes("also"), bytes("tied"));
        assert_eq!(bytes("f32"), (Dtype::F32, storages[1]));
        assert_eq!(entries[0].shape, [3, 1, 2]);
    }
    Ok(())
}

#[test]
fn only_headers_are_read() -> Result<()> {
    let value = dict(&[("w", tensor(&stored("ByteStorage", "0", 1 << 20), 0, &[1 << 20], &[1]))]);
    let store = Memory::new([("w.bin", archive(&value, &[&vec![1; 1 << 20]]).write())]);
    let len = store.objects["w.bin"].len() as u64;
    pollster::block_on(read_entries(&store, "w.bin", len))?;
    let read = store.bytes_read.into_inner();
    assert!(read < 2048, "{read} bytes read");
    Ok(())
}

#[test]
fn other_formats_are_named() {
    let legacy = [LEGACY, &[0x2e; 80]].concat();
    let tar = [&[0; 257][..], b"ustar\x0000", &[0; 300]].concat();
    refuse("legacy", legacy, ErrorKind::Unsupported, "PyTorch before 1.6");
    refuse("tar", tar, ErrorKind::Unsupported, "tar archive");
    refuse("empty", Vec::new(), ErrorKind::Malformed, "does not start like");
    refuse("ggml", b"lmgg----------------".to_vec(), ErrorKind::Malformed, "does not start like");
    let script = archive(&matrix(), &[SIX]).part("a/constants.pkl", b"");
    refuse("TorchScript", script.write(), ErrorKind::Unsupported, "TorchScript");
    refuse("no pickle", Zip::default().part("a/b", b"c").write(), ErrorKind::Malformed, "without one data.pkl");
    refuse("no folder", Zip::default().part("data.pkl", b"c").write(), ErrorKind::Malformed, "without one data.pkl");
    let two = archive(&matrix(), &[SIX]).part("b/data.pkl", b"N.");
    refuse("two pickles", two.write(), ErrorKind::Malformed, "without one data.pkl");
}

#[test]
fn the_byte_order_is_checked() -> Result<()> {
    let zip = archive(&matrix(), &[SIX]);
    refuse(
        "big-endian",
        zip.clone().with(1, |part| part.bytes = b"big".to_vec()).write(),
        ErrorKind::Unsupported,
        "'big'",
    );
    refuse("long", zip.clone().with(1, |part| part.bytes = vec![b'l'; 17]).write(), ErrorKind::Malformed, "byteorder");
    // Before PyTorch 2.1 there was none.
    assert_eq!(read(zip.with(1, |part| part.name = b"a/other".to_vec()).write())?.len(), 1);
    Ok(())
}

#[test]
fn a_storage_must_be_there_and_long_enough() {
    refuse("missing", archive(&matrix(), &[]).write(), ErrorKind::Missing, "tensor 'w': its storage 'a/data/0'");
    refuse("short", archive(&matrix(), &[&SIX[1..]]).write(), ErrorKind::Truncated, "tensor 'w'");
    let elsewhere = dict(&[("w", tensor(&stored("FloatStorage", "../../x", 1), 0, &[1], &[1]))]);
    refuse("elsewhere", archive(&elsewhere, &[SIX]).write(), ErrorKind::Missing, "tensor 'w'");
    let compressed = archive(&matrix(), &[SIX]).with(2, |part| part.method = 8);
    refuse("compressed", compressed.write(), ErrorKind::Unsupported, "'a/data/0' is compressed");
    let far = archive(&matrix(), &[SIX]).with(2, |part| part.claims.1 = Some(1 << 20));
    refuse("into the directory", far.write(), ErrorKind::Malformed, "tensor 'w'");
}

#[test]
fn every_cut_is_an_error() {
    let file = archive(&matrix(), &[SIX]).write();
    assert!(read(file.clone()).is_ok());
    for len in 0..file.len() {
        let error = read(file[..len].to_vec()).expect_err("cut");
        assert!(matches!(error.kind(), ErrorKind::Truncated | ErrorKind::Malformed), "{len}: {error}");
    }
    // In a pickle every cut is one, too.
    let pickle = testing::pickle(&matrix());
    for len in 0..pickle.len() {
        assert_eq!(parse_pickle(&pickle[..len]).expect_err("cut").kind(), ErrorKind::Truncated, "{len}");
    }
}

#[test]
fn every_changed_byte_is_an_error_or_a_table_within_the_file() {
    let file = Zip { large: true, ..archive(&matrix(), &[SIX]) }.write();
    for at in 0..file.len() {
        for change in [1, 0x80, 0xff] {
            let mut changed = file.clone();
            changed[at] ^= change;
            for entry in read(changed).unwrap_or_default() {
                assert!(entry.offset_bytes + entry.len_bytes <= file.len() as u64, "byte {at}");
            }
        }
    }
}
