//! GGUF files as llama.cpp's converter writes them, made of a recipe and a family's weights: see
//! tools/golden/make_converted.py, the twin.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{data, seeded};

const ALIGNMENT: usize = 32;
const F32: u32 = 0;
const BF16: u32 = 30;

#[derive(Deserialize)]
struct Recipe {
    /// Key, type, value; of a list, the type of its entries.
    metadata: Vec<(String, String, Value)>,
    /// Shape, what was done to the values, and where they come from.
    tensors: BTreeMap<String, (Vec<u64>, Done, Value)>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Done {
    Same,
    PlusOne,
    NegatedExp,
    /// The values stand in the recipe.
    Literal,
}

/// A tensor of the checkpoint, the first place in it, and (count, stride) of each axis.
type Box = (String, i64, Vec<(i64, i64)>);

/// Writes the file of the family `name` that a recipe tells of.
pub fn write(name: &str, recipe: &Path, to: &Path) {
    let text = std::fs::read(recipe).expect("a recipe");
    let recipe: Recipe = serde_json::from_slice(&text).expect("JSON");
    let weights = weights(name);
    let mut file = Vec::new();
    file.extend(b"GGUF\x03\0\0\0");
    file.extend((recipe.tensors.len() as u64).to_le_bytes());
    file.extend((recipe.metadata.len() as u64).to_le_bytes());
    for (key, kind, value) in &recipe.metadata {
        put_text(&mut file, key);
        put_entry(&mut file, kind, value);
    }
    let mut contents: Vec<u8> = Vec::new();
    for (tensor, (shape, done, from)) in &recipe.tensors {
        let values = match done {
            Done::Literal => serde_json::from_value(from.clone()).expect("numbers"),
            _ => gathered(&weights, serde_json::from_value(from.clone()).expect("boxes"), *done),
        };
        assert_eq!(values.len() as u64, shape.iter().product::<u64>(), "{name}: {tensor}");
        // Matrices are bf16 in the checkpoint as well; the converter makes vectors f32.
        let narrow = shape.len() > 1 && values.iter().all(|value| value.to_bits() & 0xFFFF == 0);
        put_text(&mut file, tensor);
        file.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|size| file.extend(size.to_le_bytes()));
        file.extend(if narrow { BF16 } else { F32 }.to_le_bytes());
        file.extend((contents.len() as u64).to_le_bytes());
        for value in values {
            contents.extend(&value.to_le_bytes()[if narrow { 2 } else { 0 }..]);
        }
        contents.resize(contents.len().next_multiple_of(ALIGNMENT), 0);
    }
    file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
    file.extend(contents);
    std::fs::write(to, file).expect("writes");
}

/// The checkpoint's tensors in f32.
fn weights(name: &str) -> BTreeMap<String, Vec<f32>> {
    let folder = data("families").join(name);
    let (temporary, stored) = (tempfile::tempdir().expect("a folder"), folder.join("model.safetensors"));
    let list = folder.join("tensors.json");
    let path = if list.is_file() { temporary.path().join("model.safetensors") } else { stored };
    if list.is_file() {
        seeded::write(&list, &path);
    }
    let bytes = std::fs::read(path).expect("weights");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let widened = |view: &safetensors::tensor::TensorView<'_>| match view.dtype() {
        safetensors::Dtype::BF16 => {
            view.data().chunks_exact(2).map(|pair| f32::from_le_bytes([0, 0, pair[0], pair[1]])).collect()
        }
        safetensors::Dtype::F16 => {
            let half = |pair: &[u8]| half::f16::from_le_bytes([pair[0], pair[1]]).to_f32();
            view.data().chunks_exact(2).map(half).collect()
        }
        safetensors::Dtype::F32 => {
            view.data().chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
        }
        other => panic!("weights of {other:?}"),
    };
    tensors.tensors().iter().map(|(name, view)| (name.clone(), widened(view))).collect()
}

/// The values of boxes; those of tensors that only the converter knows of are no numbers.
fn gathered(weights: &BTreeMap<String, Vec<f32>>, boxes: Vec<Box>, done: Done) -> Vec<f32> {
    let mut values = Vec::new();
    for (name, first, axes) in boxes {
        let mut places = vec![first];
        for (count, stride) in axes {
            places = places.iter().flat_map(|place| (0..count).map(move |at| place + at * stride)).collect();
        }
        match weights.get(&name) {
            None if name.is_empty() => values.extend(places.iter().map(|_| 0.0)),
            Some(weights) => values.extend(places.iter().map(|place| weights[*place as usize])),
            None => values.extend(places.iter().map(|_| f32::NAN)),
        }
    }
    let change = |value: &mut f32| match done {
        Done::PlusOne => *value += 1.0,
        Done::NegatedExp => *value = -value.exp(),
        Done::Same | Done::Literal => {}
    };
    values.iter_mut().for_each(change);
    values
}

fn put_text(file: &mut Vec<u8>, text: &str) {
    file.extend((text.len() as u64).to_le_bytes());
    file.extend(text.as_bytes());
}

fn put_entry(file: &mut Vec<u8>, kind: &str, value: &Value) {
    let code: u32 = match kind {
        "uint32" => 4,
        "int32" => 5,
        "float32" => 6,
        "bool" => 7,
        "string" => 8,
        other => panic!("an entry of {other}"),
    };
    match value {
        Value::Array(values) => {
            file.extend(9_u32.to_le_bytes());
            file.extend(code.to_le_bytes());
            file.extend((values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| put_value(file, value, code));
        }
        value => {
            file.extend(code.to_le_bytes());
            put_value(file, value, code);
        }
    }
}

fn put_value(file: &mut Vec<u8>, value: &Value, code: u32) {
    match (value, code) {
        (Value::String(text), 8) => put_text(file, text),
        (Value::String(text), 6) => file.extend(text.parse::<f32>().expect("a number").to_le_bytes()),
        (Value::Bool(truth), 7) => file.push((*truth).into()),
        (Value::Number(number), 6) => file.extend((number.as_f64().expect("a number") as f32).to_le_bytes()),
        (Value::Number(number), 4 | 5) => file.extend((number.as_i64().expect("a whole number") as u32).to_le_bytes()),
        (value, code) => panic!("{value} as an entry of kind {code}"),
    }
}
