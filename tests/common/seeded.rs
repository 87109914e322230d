//! Checkpoints whose weights a name and a place decide: see tools/golden/seeded.py, the twin.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

/// Shape, mean and how far values reach from it.
type Recipe = (Vec<usize>, f64, f64);

/// FNV-1a of a name, in 64 bits.
fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// A number in [-1, 1): the finalizer of SplitMix64, its top 24 bits.
fn unit(seed: u64, index: u64) -> f64 {
    let mut bits = seed.wrapping_add((index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^= bits >> 31;
    (bits >> 40) as f64 / f64::from(1 << 23) - 1.0
}

/// Rounds to bf16, of two equally near ones to the even one.
fn bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) as u16
}

fn values(name: &str, (shape, mean, reach): &Recipe) -> Vec<u8> {
    let (seed, count) = (seed_of(name), shape.iter().product::<usize>() as u64);
    let value = |index| bf16((mean + reach * unit(seed, index)) as f32);
    (0..count).flat_map(|index| value(index).to_le_bytes()).collect()
}

/// Writes the checkpoint that `tensors.json` lists as a safetensors file.
pub fn write(list: &Path, to: &Path) {
    let text = std::fs::read(list).expect("a list of tensors");
    let recipes: BTreeMap<String, Recipe> = serde_json::from_slice(&text).expect("JSON");
    let bytes: BTreeMap<&String, Vec<u8>> = recipes.iter().map(|(name, recipe)| (name, values(name, recipe))).collect();
    let view = |(name, (shape, ..)): (&String, &Recipe)| {
        (name.clone(), TensorView::new(Dtype::BF16, shape.clone(), &bytes[name]).expect("a view"))
    };
    let views: BTreeMap<String, TensorView<'_>> = recipes.iter().map(view).collect();
    safetensors::serialize_to_file(views, None, to).expect("writes");
}
