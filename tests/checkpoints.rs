//! The small checkpoints of `tests/data`: every one opens, and the rows that the reference implementation dequantized
//! come out the same, to the bit.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use tilestream::checkpoint::{Checkpoint, Source, Tensor, open};
use tilestream::encoding::{Encoding, decode_row, gguf, plain};
use tilestream::store::{FileStore, Store};

fn data(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder)
}

fn store(folder: &Path) -> FileStore {
    FileStore::open(folder).expect("the folder")
}

fn opened(folder: &Path, name: Option<&str>) -> Checkpoint {
    let checkpoint = pollster::block_on(open(&store(folder), name));
    checkpoint.unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// Row `row` of the file, through the planar layout.
fn file_row(folder: &Path, checkpoint: &Checkpoint, tensor: &Tensor, row: u64) -> Vec<f32> {
    let columns = tensor.shape[1];
    let encoding = match tensor.source {
        Source::Plain(encoding) | Source::GgufBlocks(encoding) => encoding,
        other => panic!("{other:?}"),
    };
    let mut bytes = vec![0; (tensor.len_bytes / tensor.shape[0]) as usize];
    let offset_bytes = tensor.offset_bytes + row * bytes.len() as u64;
    let name = &checkpoint.files[tensor.file].0;
    pollster::block_on(store(folder).read_at(name, offset_bytes, &mut bytes)).expect("the row");
    let mut planar = vec![0; encoding.row_stride(columns) as usize];
    match tensor.source {
        Source::GgufBlocks(_) => gguf::repack_row(encoding, &bytes, columns, &mut planar).expect("blocks"),
        _ => plain::copy_row(encoding, &bytes, columns, &mut planar).expect("values"),
    }
    let mut decoded = vec![f32::NAN; columns as usize];
    decode_row(encoding, &planar, columns, &mut decoded).expect("a row");
    decoded
}

fn golden(path: &Path, name: &str) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("the golden file");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let mut values = vec![0.0; file.tensor(name).expect(name).data().len() / 4];
    plain::widen(Encoding::F32, file.tensor(name).expect(name).data(), &mut values).expect("f32");
    values
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn gguf_rows_are_those_of_the_reference() {
    let folder = data("small-gguf");
    let mut encodings = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(&folder).expect("tests/data/small-gguf") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        let Some(stem) = name.strip_suffix(".gguf") else { continue };
        let checkpoint = opened(&folder, Some(&name));
        for (key, tensor, row) in [
            ("embed_row0", "token_embd.weight", 0),
            ("down_row1", "blk.0.ffn_down.weight", 1),
            ("query_row1", "blk.0.attn_q.weight", 1),
        ] {
            let tensor = checkpoint.tensors.iter().find(|found| found.source_name == tensor).expect(tensor);
            let expected = golden(&folder.join(format!("{stem}.golden.safetensors")), key);
            let found = file_row(&folder, &checkpoint, tensor, row);
            assert_eq!(bits(&found), bits(&expected), "{name}: {key}");
            // The next row is another: the comparison can fail.
            assert_ne!(bits(&file_row(&folder, &checkpoint, tensor, row + 1)), bits(&expected), "{name}: {key}");
            if let Source::Plain(encoding) | Source::GgufBlocks(encoding) = tensor.source {
                encodings.insert(encoding);
            }
        }
        let tokenizer = checkpoint.gguf_tokenizer.expect("a tokenizer");
        assert_eq!(tokenizer.tokens.len() as u64, checkpoint.config["vocab_size"].as_u64().expect("a number"));
    }
    assert_eq!(encodings.len(), tilestream::encoding::ENCODINGS.len(), "{encodings:?}");
}

#[test]
fn safetensors_folders_open() {
    let mut folders = 0;
    for entry in std::fs::read_dir(data("small")).expect("tests/data/small") {
        let folder = entry.expect("an entry").path();
        let checkpoint = opened(&folder, None);
        let embeddings = checkpoint.tensors.iter().find(|tensor| tensor.name == tilestream::plan::EMBEDDINGS);
        let vocab = embeddings.expect("embeddings").shape[0];
        assert_eq!(checkpoint.config["vocab_size"], vocab, "{}", folder.display());
        let sharded = folder.ends_with("sharded");
        assert_eq!(checkpoint.files.len() > 1, sharded, "{}", folder.display());
        folders += 1;
    }
    assert!(folders >= 10, "{folders} folders");
}
