//! bitsandbytes: four bits with a codebook, and whole numbers of eight bits with a scale for each row. AirLLM has it
//! quantize each tensor of a layer, vectors too, and calls the parts in its own way: four bits as above, and eight bits with
//! a codebook.

use safetensors::Dtype;
use serde::Deserialize;

use super::form::{companion, matrix, needed, tensor};
use super::{Entries, Found, Nested, Quantized, unsupported};
use crate::checkpoint::read::{malformed_json, read_range};
use crate::checkpoint::{Companion, Tensor};
use crate::encoding::Encoding;
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

/// How the name of the tensor ends that describes another one, and the codebook that it tells of.
const STATES: &[(&str, Encoding)] =
    &[(".quant_state.bitsandbytes__nf4", Encoding::NF4), (".quant_state.bitsandbytes__fp4", Encoding::FP4)];
/// What AirLLM has between the name of a tensor and that of a part.
const AIRLLM_4BIT: &str = ".4bit";
const AIRLLM_8BIT: &str = ".8bit";
/// Values that share a scale of AirLLM's eight bits; its files do not tell.
const AIRLLM_8BIT_BLOCK: u64 = 2048;
/// Largest description that is read.
const STATE_CAP: u64 = 4096;

/// A matrix's description, JSON in a tensor of bytes.
#[derive(Deserialize)]
struct State {
    blocksize: u64,
    shape: Vec<u64>,
    nested_blocksize: Option<u64>,
    nested_offset: Option<f64>,
}

/// Whether these are the tensors of layers that AirLLM quantized; their config does not tell.
pub(super) fn is_airllm(entries: &Entries) -> bool {
    let is_part = |name: &String| {
        let stem = STATES.iter().find_map(|(ending, _)| name.strip_suffix(ending)?.strip_suffix(AIRLLM_4BIT));
        stem.or_else(|| name.strip_suffix(".absmax")?.strip_suffix(AIRLLM_8BIT)).is_some()
    };
    entries.keys().any(is_part)
}

/// Takes tensors of four and of eight bits.
pub(super) async fn take(store: &dyn Store, files: &[(String, u64)], entries: &mut Entries) -> Result<Vec<Tensor>> {
    let mut tensors = Vec::new();
    for (ending, codebook) in STATES {
        let stems = entries.keys().filter_map(|name| name.strip_suffix(ending).map(str::to_owned));
        for stem in stems.collect::<Vec<_>>() {
            let state = state(store, files, entries, &format!("{stem}{ending}")).await?;
            tensors.push(codes(entries, &stem, *codebook, &state)?);
        }
    }
    let stems = entries.keys().filter_map(|name| name.strip_suffix(".SCB").map(str::to_owned));
    for stem in stems.collect::<Vec<_>>() {
        tensors.push(bytes(entries, &stem)?);
    }
    let ending = format!("{AIRLLM_8BIT}.absmax");
    let names = entries.keys().filter_map(|name| name.strip_suffix(&ending).map(str::to_owned));
    for name in names.collect::<Vec<_>>() {
        tensors.push(coded_bytes(entries, &name)?);
    }
    Ok(tensors)
}

async fn state(store: &dyn Store, files: &[(String, u64)], entries: &mut Entries, name: &str) -> Result<State> {
    let Found { entry, file } = needed(entries, name)?;
    let file = &files[file].0;
    let parsed = match entry.len_bytes {
        0..=STATE_CAP => {
            let bytes = read_range(store, file, entry.offset_bytes, entry.len_bytes).await?;
            serde_json::from_slice(&bytes).map_err(malformed_json)
        }
        len => Err(Error::new(ErrorKind::Malformed, format!("{len} bytes are too many for a description"))),
    };
    parsed.map_err(|error| error.tensor(name).file(store.describe(file)))
}

/// Four bits; the names of what belongs to them start with `stem`.
fn codes(entries: &mut Entries, stem: &str, codebook: Encoding, state: &State) -> Result<Tensor> {
    let name = stem.strip_suffix(AIRLLM_4BIT).unwrap_or(stem);
    let own = needed(entries, name)?;
    let mut part = |name: &str, dtype: Dtype| part(entries, &format!("{stem}.{name}"), dtype);
    let nested = match (state.nested_blocksize, state.nested_offset) {
        (Some(block), Some(offset)) if block > 0 => Some(Nested { block, offset: offset as f32 }),
        (None, None) => None,
        _ => {
            return Err(Error::new(ErrorKind::Malformed, "half a description of nested scales").tensor(&own.entry.name));
        }
    };
    let scales = if nested.is_some() { Dtype::U8 } else { Dtype::F32 };
    let mut companions = vec![part("absmax", scales)?, part("quant_map", Dtype::F32)?];
    if nested.is_some() {
        companions.extend([part("nested_absmax", Dtype::F32)?, part("nested_quant_map", Dtype::F32)?]);
    }
    if state.blocksize == 0 {
        return Err(Error::new(ErrorKind::Malformed, "blocks of nothing").tensor(&own.entry.name));
    }
    let quantized = Quantized::Codes { codebook, block: state.blocksize, nested };
    tensor(own, name.to_owned(), &state.shape, quantized, companions)
}

/// A part of a tensor, after checking its type.
fn part(entries: &mut Entries, name: &str, dtype: Dtype) -> Result<Companion> {
    let found = needed(entries, name)?;
    match found.entry.dtype == dtype {
        true => Ok(companion(found, 1)),
        false => Err(unsupported(format!("dtype {}; {dtype} is known", found.entry.dtype)).tensor(found.entry.name)),
    }
}

/// AirLLM's eight bits: bytes that stand for 256 numbers.
fn coded_bytes(entries: &mut Entries, name: &str) -> Result<Tensor> {
    let own = needed(entries, name)?;
    if own.entry.dtype != Dtype::U8 {
        return Err(unsupported(format!("dtype {}; {} is known", own.entry.dtype, Dtype::U8)).tensor(name));
    }
    let mut part = |ending: &str| part(entries, &format!("{name}{AIRLLM_8BIT}.{ending}"), Dtype::F32);
    let companions = vec![part("absmax")?, part("code")?];
    let shape = own.entry.shape.clone();
    tensor(own, name.to_owned(), &shape, Quantized::Bytes { block: AIRLLM_8BIT_BLOCK }, companions)
}

/// LLM.int8: `q * SCB / 127`.
fn bytes(entries: &mut Entries, stem: &str) -> Result<Tensor> {
    let (own, scale) = (needed(entries, &format!("{stem}.weight"))?, needed(entries, &format!("{stem}.SCB"))?);
    // How the rows are arranged, which is looked at when they are read.
    let format = entries.remove(&format!("{stem}.weight_format"));
    let ([rows, columns], Dtype::I8, Dtype::F32) = (&own.entry.shape[..], own.entry.dtype, scale.entry.dtype) else {
        let message = format!("{} {:?} with scales of {}", own.entry.dtype, own.entry.shape, scale.entry.dtype);
        return Err(unsupported(format!("{message} is no matrix of 8 bits")).tensor(own.entry.name));
    };
    let (shape, scales) = ((*rows, *columns), Encoding::F32);
    let quantized = Quantized::Scaled { quants: Encoding::I8, scales, columns_each: *columns, divisor: 127.0 };
    let companions = [scale].into_iter().chain(format).map(|part| companion(part, 1)).collect();
    matrix(own, stem, shape, quantized, companions)
}
