//! From the entries of a checkpoint's files to its tensors: plain ones as they are, quantized ones put together of the
//! entries that hold their numbers.

use std::collections::BTreeMap;

use safetensors::Dtype;
use serde_json::Value;

use super::read::json_if_there;
use super::safetensors::Entry;
use super::{Companion, Source, Tensor};
use crate::encoding::Encoding;
use crate::plan::RowMap;
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

mod codes;
mod compressed;
mod form;
mod scaled;
mod words;

use compressed::Compressed;
pub(crate) use form::check;
pub use form::{Fp4Scales, Nested, Quantized, WordOrder};
use words::Words;

/// How the weights of a checkpoint are quantized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Method {
    None,
    /// `NAME_blocks` `[.., rows, groups, 16]` and `NAME_scales` `[.., rows, groups]`, bytes both: 32 columns a group.
    /// <https://huggingface.co/openai/gpt-oss-20b>
    Mxfp4,
    /// Bytes with scales; for how many rows and columns, where one is for a block.
    Scaled {
        block: Option<(u64, u64)>,
    },
    Bitsandbytes,
    Words(Words),
    /// compressed-tensors, and ModelOpt: a matrix says by its parts how it is packed.
    Compressed(Compressed),
}

/// Entries by name.
type Entries = BTreeMap<String, Found>;

/// An entry, and the index of its file.
pub(super) struct Found {
    pub entry: Entry,
    pub file: usize,
}

impl Method {
    /// The method that a `config.json` names.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for one that is not known.
    pub(super) fn read(config: &Value) -> Result<Self> {
        // Where a model has several parts its text part may say it.
        let own = |config: &'_ Value| config.get("quantization_config").filter(|value| !value.is_null()).cloned();
        let quantization = own(config).or_else(|| own(config.get("text_config")?));
        let Some(quantization) = &quantization else { return Ok(Self::None) };
        match quantization.get("quant_method").and_then(Value::as_str).unwrap_or("unnamed") {
            "mxfp4" => Ok(Self::Mxfp4),
            "fp8" | "fbgemm_fp8" => Ok(Self::Scaled { block: block(quantization)? }),
            "compressed-tensors" => Ok(Self::Compressed(Compressed::read(quantization)?)),
            "modelopt" | "modelopt_fp4" | "modelopt_mixed" => {
                Ok(Self::Compressed(Compressed::model_opt(quantization)?))
            }
            "bitsandbytes" => Ok(Self::Bitsandbytes),
            "gptq" => Ok(Self::Words(Words::gptq(quantization)?)),
            "awq" => Ok(Self::Words(Words::awq(quantization)?)),
            other => Err(unsupported(format!("weights quantized with '{other}' are not supported"))),
        }
    }
}

/// `weight_block_size`: rows and columns that share a scale.
fn block(value: &Value) -> Result<Option<(u64, u64)>> {
    only(value, "fmt", &["e4m3"])?;
    value.get("weight_block_size").filter(|value| !value.is_null()).map(sizes).transpose()
}

/// Rows and columns of a block.
fn sizes(block: &Value) -> Result<(u64, u64)> {
    let sizes: Option<Vec<u64>> = block.as_array().map(|sizes| sizes.iter().filter_map(Value::as_u64).collect());
    match sizes.as_deref() {
        Some([rows, columns]) if *rows > 0 && *columns > 0 => Ok((*rows, *columns)),
        _ => Err(Error::new(ErrorKind::Malformed, format!("quantization_config has blocks of {block}"))),
    }
}

/// Refuses a text field that is there with another value than those.
fn only(value: &Value, field: &str, known: &[&str]) -> Result<()> {
    match value.get(field).filter(|value| !value.is_null()) {
        Some(found) if !found.as_str().is_some_and(|text| known.contains(&text.to_ascii_lowercase().as_str())) => {
            Err(unsupported(format!("quantization_config has {field} {found}; known is {}", known.join(", "))))
        }
        _ => Ok(()),
    }
}

fn unsupported(message: String) -> Error {
    Error::new(ErrorKind::Unsupported, message).remedy("use the original checkpoint or a GGUF file")
}

/// Takes the matrices whose scales lie in tensors of their own, and all that belongs to them, out of `found`.
///
/// # Errors
/// [`ErrorKind::Unsupported`], [`ErrorKind::Missing`] or [`ErrorKind::Malformed`] naming the tensor that is not known, not
/// there, or does not fit.
pub(super) async fn take(
    store: &dyn Store,
    files: &[(String, u64)],
    method: &Method,
    found: &mut Vec<Found>,
) -> Result<Vec<Tensor>> {
    let named = |found: Found| (found.entry.name.clone(), found);
    let mut entries: Entries = found.drain(..).map(named).collect();
    let tensors = match method {
        Method::None if entries.keys().any(|name| name.ends_with(".qweight")) => {
            // As GPTQ's tools wrote it before transformers knew them.
            const CONFIG: &str = "quantize_config.json";
            match json_if_there(store, CONFIG).await? {
                Some(value) => {
                    let words = Words::gptq(&value).map_err(|error| error.file(store.describe(CONFIG)))?;
                    words.take(files, &mut entries)?
                }
                None => Vec::new(),
            }
        }
        Method::None if compressed::is_model_opt(&entries) => {
            // Older tools say nothing in `config.json`.
            const CONFIG: &str = "hf_quant_config.json";
            let value = json_if_there(store, CONFIG).await?.unwrap_or_default();
            let compressed = Compressed::model_opt(value.get("quantization").unwrap_or(&Value::Null));
            compressed.map_err(|error| error.file(store.describe(CONFIG)))?.take(files, &mut entries)?
        }
        Method::None if codes::is_airllm(&entries) => codes::take(store, files, &mut entries).await?,
        Method::None | Method::Mxfp4 => Vec::new(),
        Method::Scaled { block } => scaled::take(files, *block, &mut entries)?,
        Method::Compressed(compressed) => compressed.take(files, &mut entries)?,
        Method::Bitsandbytes => codes::take(store, files, &mut entries).await?,
        Method::Words(words) => words.take(files, &mut entries)?,
    };
    found.extend(entries.into_values());
    Ok(tensors)
}

/// The tensors that entries hold, in the order of their names. An error comes with the index of the file.
pub(super) fn tensors(found: Vec<Found>, method: &Method) -> Result<Vec<Tensor>, (usize, Error)> {
    let mut entries: BTreeMap<String, Found> = BTreeMap::new();
    for found in found {
        entries.insert(found.entry.name.clone(), found);
    }
    let mut tensors = Vec::with_capacity(entries.len());
    while let Some((name, found)) = entries.pop_first() {
        let file = found.file;
        let tensor = match (method, name.strip_suffix("_blocks")) {
            (Method::Mxfp4, Some(stem)) => mxfp4(stem, found, entries.remove(&format!("{stem}_scales"))),
            _ => plain(found),
        };
        tensors.push(tensor.map_err(|error| (file, error.tensor(name)))?);
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

fn plain(Found { entry, file }: Found) -> Result<Tensor> {
    let encoding = match entry.dtype {
        Dtype::F32 => Encoding::F32,
        Dtype::F16 => Encoding::F16,
        Dtype::BF16 => Encoding::BF16,
        other => {
            let message = format!("dtype {other} is not supported");
            return Err(Error::new(ErrorKind::Unsupported, message).remedy("use a checkpoint in BF16, F16 or F32"));
        }
    };
    tensor(entry.name.clone(), entry.shape.clone(), Source::Plain(encoding), Found { entry, file }, Vec::new())
}

fn mxfp4(stem: &str, blocks: Found, scales: Option<Found>) -> Result<Tensor> {
    let missing = || Error::new(ErrorKind::Missing, format!("there is no '{stem}_scales' beside it"));
    let scales = scales.ok_or_else(missing)?;
    let bytes = [&blocks, &scales].iter().all(|found| found.entry.dtype == Dtype::U8);
    let shape = match &blocks.entry.shape[..] {
        [outer @ .., 16] if bytes && *outer == scales.entry.shape[..] => outer,
        shape => {
            let message = format!("shapes {shape:?} and {:?} are not those of MXFP4", scales.entry.shape);
            return Err(Error::new(ErrorKind::Malformed, message));
        }
    };
    let mut shape = shape.to_vec();
    if let Some(groups) = shape.last_mut() {
        *groups = groups.saturating_mul(32);
    }
    let companion = Companion {
        source_name: scales.entry.name,
        file: scales.file,
        offset_bytes: scales.entry.offset_bytes,
        len_bytes: scales.entry.len_bytes,
        rows_each: 1,
    };
    tensor(stem.to_owned(), shape, Source::Planes(Encoding::MXFP4), blocks, vec![companion])
}

fn tensor(
    name: String,
    shape: Vec<u64>,
    source: Source,
    Found { entry, file }: Found,
    companions: Vec<Companion>,
) -> Result<Tensor> {
    if entry.len_bytes == 0 {
        return Err(Error::new(ErrorKind::Malformed, format!("the shape {:?} holds nothing", entry.shape)));
    }
    Ok(Tensor {
        name,
        source_name: entry.name,
        source_rows: shape.first().copied().unwrap_or(1),
        shape,
        source,
        file,
        offset_bytes: entry.offset_bytes,
        len_bytes: entry.len_bytes,
        rows: RowMap::ALL,
        plus: 0.0,
        inverse_lengths: None,
        transposed: false,
        companions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, dtype: Dtype, shape: &[u64], file: usize) -> Found {
        let len_bytes = shape.iter().product::<u64>() * dtype.bitsize() as u64 / 8;
        let (name, shape) = (name.to_owned(), shape.to_vec());
        Found { entry: Entry { name, dtype, shape, offset_bytes: 100, len_bytes }, file }
    }

    #[test]
    fn blocks_find_their_scales_in_other_files() {
        let entries = vec![
            found("down_scales", Dtype::U8, &[3, 8, 2], 1),
            found("down_bias", Dtype::BF16, &[3, 8], 0),
            found("down_blocks", Dtype::U8, &[3, 8, 2, 16], 0),
        ];
        let tensors = tensors(entries, &Method::Mxfp4).map_err(|(_, error)| error).expect("tensors");
        let [down, bias] = &tensors[..] else { panic!("{tensors:?}") };
        assert_eq!((&*down.name, &*down.source_name, &*bias.name), ("down", "down_blocks", "down_bias"));
        assert_eq!((&down.shape[..], down.source), (&[3, 8, 64][..], Source::Planes(Encoding::MXFP4)));
        let [scales] = &down.companions[..] else { panic!("{down:?}") };
        assert_eq!((scales.file, scales.len_bytes, scales.rows_each), (1, 48, 1));
    }

    #[test]
    fn what_is_no_mxfp4_is_refused_by_tensor_and_file() {
        let scales = || found("w_scales", Dtype::U8, &[8, 2], 3);
        let blocks = |dtype, shape: &[u64]| found("w_blocks", dtype, shape, 2);
        for (what, entries) in [
            ("no scales", vec![blocks(Dtype::U8, &[8, 2, 16])]),
            ("no blocks", vec![scales()]),
            ("wide blocks", vec![scales(), blocks(Dtype::U8, &[8, 2, 32])]),
            ("more rows", vec![scales(), blocks(Dtype::U8, &[9, 2, 16])]),
            ("no shape", vec![scales(), blocks(Dtype::U8, &[])]),
            ("other numbers", vec![scales(), blocks(Dtype::F32, &[8, 2, 16])]),
            ("nothing", vec![found("w_scales", Dtype::U8, &[0, 2], 3), blocks(Dtype::U8, &[0, 2, 16])]),
        ] {
            let expected = entries.last().expect("one").file;
            let (file, error) = tensors(entries, &Method::Mxfp4).expect_err(what);
            assert_eq!(file, expected, "{what}");
            assert!(error.tensor_name().is_some_and(|name| name.starts_with("w_")), "{what}: {error}");
        }
        let (_, error) = tensors(vec![blocks(Dtype::U8, &[8, 2, 16])], &Method::None).expect_err("not quantized");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
