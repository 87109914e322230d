//! Rows are the same however they are cut, and decoding agrees with repacking, on the checkpoints of `tests/data`.

use std::path::Path;

use pollster::block_on;

use super::*;
use crate::checkpoint;
use crate::encoding::decode_row;
use crate::plan::RowMap;
use crate::store::FileStore;

/// A checkpoint of `tests/data/families`.
fn opened(name: &str) -> (FileStore, checkpoint::Checkpoint) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/families").join(name);
    let layers = ["splitted_model.4bit", "splitted_model.8bit"].map(|layers| folder.join(layers));
    let store = match layers.iter().find(|layers| layers.is_dir()) {
        Some(layers) => FileStore::open(layers).expect("the folder").beside(folder),
        None => FileStore::open(&folder).expect("the folder"),
    };
    let checkpoint = block_on(checkpoint::open(&store, None)).expect("the checkpoint");
    (store, checkpoint)
}

#[test]
fn rows_do_not_depend_on_the_cut_and_repacked_rows_decode_to_the_decoded() {
    let mut repacked = std::collections::BTreeSet::new();
    for name in [
        "llama-fp8",
        "llama-int8",
        "llama-nf4",
        "llama-airllm-4bit",
        "llama-airllm-8bit",
        "llama-gptq",
        "llama-gptq-8bit",
        "llama-awq",
    ] {
        let (store, checkpoint) = opened(name);
        let reader = Reader { store: &store, files: &checkpoint.files };
        for tensor in &checkpoint.tensors {
            let (Source::Quantized(quantized), [_, _]) = (tensor.source, &tensor.shape[..]) else { continue };
            // Rows of the second half, every other one.
            let (half, columns) = (tensor.shape[0] / 2, tensor.shape[1]);
            let rows = RowMap { first: half, run: 1, stride: 2, rotary: None };
            let (tensor, count) = (Tensor { rows, ..tensor.clone() }, half / 2);
            let read = |target, step| {
                let mut out = Vec::new();
                for first in (0..count).step_by(step) {
                    let rows = first..count.min(first + step as u64);
                    block_on(append_rows(reader, &tensor, (columns, target), rows, &mut out)).expect("reads");
                }
                out
            };
            let own = quantized.encoding(columns);
            let packed = read(own, count as usize);
            assert_eq!(packed, read(own, 1), "{name}: {}", tensor.name);
            assert_eq!(packed, read(own, 3), "{name}: {}", tensor.name);
            let floats: Vec<f32> =
                read(Encoding::F32, 5).as_chunks().0.iter().map(|v| f32::from_le_bytes(*v)).collect();
            let mut decoded = vec![0.0; columns as usize];
            let stride = Encoding::F32.row_stride(columns) as usize / 4;
            for (row, expected) in packed.chunks(own.row_stride(columns) as usize).zip(floats.chunks(stride)) {
                decode_row(own, row, columns, &mut decoded).expect("decodes");
                assert_eq!(decoded, expected[..columns as usize], "{name}: {}", tensor.name);
            }
            repacked.insert(own.name());
        }
    }
    assert!(repacked.iter().eq(&["f32", "f8_e4m3", "i8", "nf4", "q4_z", "q4_z128", "q8_0"]), "{repacked:?}");
}
