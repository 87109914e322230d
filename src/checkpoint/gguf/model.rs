//! A GGUF file as a checkpoint: Hugging Face's names, shapes and config from its header.

use serde_json::{Map, Value, json};

use super::architecture::{Architecture, Heads, ROPE_FACTORS, architecture};
use super::metadata::Metadata;
use super::{Header, TensorInfo, read_header, rope};
use crate::checkpoint::{Checkpoint, GgufTokenizer, Source, Tensor};
use crate::encoding;
use crate::plan::RowMap;
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

/// Opens the GGUF object `name` of `file_len` bytes.
///
/// # Errors
/// As [`super::parse_header`]; [`ErrorKind::Missing`] for metadata that the architecture needs;
/// [`ErrorKind::Unsupported`] for an architecture, key or tensor that Tilestream does not know.
pub(in crate::checkpoint) async fn open(store: &dyn Store, name: &str, file_len: u64) -> Result<Checkpoint> {
    let header = read_header(store, name, file_len).await?;
    let named = |error: Error| error.file(store.describe(name));
    let shape = ModelShape::read(&header.metadata).map_err(named)?;
    let factors = rope::read_factors(store, name, &header, shape.head_dim).await?;
    let mut checkpoint = assemble(&header, &shape, factors.as_deref()).map_err(named)?;
    checkpoint.files = vec![(name.to_owned(), file_len)];
    Ok(checkpoint)
}

/// The checkpoint of a header, without its files. Nothing is read.
fn assemble(header: &Header, shape: &ModelShape, factors: Option<&[f32]>) -> Result<Checkpoint> {
    refuse_unknown_keys(&header.metadata, shape.architecture)?;
    let tensors = header.tensors.iter().filter(|tensor| tensor.name != ROPE_FACTORS);
    let mut tensors = tensors.map(|tensor| shape.tensor(tensor)).collect::<Result<Vec<_>>>()?;
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let tokenizer = GgufTokenizer::from_metadata(&header.metadata)?;
    let config = shape.config(&header.metadata, &tensors, tokenizer.as_ref(), factors)?;
    Ok(Checkpoint {
        files: Vec::new(),
        quantized: tensors.iter().any(|tensor| matches!(tensor.source, Source::GgufBlocks(_))),
        tensors,
        config,
        generation_config: tokenizer.as_ref().map(generation_config),
        tokenizer: None,
        tokenizer_config: tokenizer.as_ref().map(tokenizer_config),
        gguf_tokenizer: tokenizer,
    })
}

/// The numbers that names, shapes and the config need.
struct ModelShape {
    architecture: &'static Architecture,
    layers: u64,
    hidden: u64,
    intermediate: u64,
    heads: u64,
    kv_heads: u64,
    head_dim: u64,
    context: u64,
    epsilon: f64,
    rope_theta: f64,
    window: Option<u64>,
}

impl ModelShape {
    fn read(metadata: &Metadata) -> Result<Self> {
        let architecture = architecture(metadata.string("general.architecture")?.ok_or_else(|| {
            Error::new(ErrorKind::Missing, "the file has no 'general.architecture'").remedy("convert the model again")
        })?)?;
        let key = |key: &str| format!("{}.{key}", architecture.name);
        let optional = |name: &str| metadata.u64(&key(name));
        let needed = |name: &str| match optional(name)? {
            Some(0) => Err(Error::new(ErrorKind::Malformed, format!("'{}' is 0", key(name)))),
            value => value.ok_or_else(|| missing(&key(name))),
        };
        let (hidden, heads) = (needed("embedding_length")?, needed("attention.head_count")?);
        let shape = Self {
            architecture,
            layers: needed("block_count")?,
            hidden,
            intermediate: needed("feed_forward_length")?,
            heads,
            kv_heads: optional("attention.head_count_kv")?.unwrap_or(heads),
            head_dim: head_dim(metadata, &key, hidden, heads)?,
            context: needed("context_length")?,
            epsilon: metadata
                .f64(&key("attention.layer_norm_rms_epsilon"))?
                .ok_or_else(|| missing(&key("attention.layer_norm_rms_epsilon")))?,
            rope_theta: metadata.f64(&key("rope.freq_base"))?.unwrap_or(10_000.0),
            window: optional("attention.sliding_window")?.filter(|window| *window > 0),
        };
        if shape.kv_heads == 0 || !heads.is_multiple_of(shape.kv_heads) {
            let message = format!("{heads} heads do not share {} key heads evenly", shape.kv_heads);
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        Ok(shape)
    }

    fn tensor(&self, info: &TensorInfo) -> Result<Tensor> {
        let unknown = || {
            let message = format!("has no place in the architecture '{}'", self.architecture.name);
            Error::new(ErrorKind::Unsupported, message).tensor(&info.name)
        };
        let (name, order) = self.architecture.tensor(&info.name, self.layers).ok_or_else(unknown)?;
        let heads = match order {
            Heads::Plain => None,
            Heads::Query => Some(self.heads),
            Heads::Key => Some(self.kv_heads),
        };
        if let Some(heads) = heads {
            let rows = heads.checked_mul(self.head_dim);
            if info.shape.first().copied() != rows || !self.head_dim.is_multiple_of(2) {
                let message = format!("shape {:?} does not hold {heads} heads of {}", info.shape, self.head_dim);
                return Err(Error::new(ErrorKind::Malformed, message).tensor(&info.name));
            }
        }
        let source = match encoding::gguf::block(info.encoding) {
            Some(_) => Source::GgufBlocks(info.encoding),
            None => Source::Plain(info.encoding),
        };
        Ok(Tensor {
            name,
            source_name: info.name.clone(),
            shape: info.shape.clone(),
            source,
            file: 0,
            offset_bytes: info.offset_bytes,
            len_bytes: info.len_bytes,
            source_rows: info.shape.first().copied().unwrap_or(1),
            rows: heads.map_or(RowMap::ALL, |_| RowMap::ALL.in_halves(self.head_dim, self.head_dim)),
            plus: 0.0,
            inverse_lengths: None,
        })
    }

    /// `config.json` with the fields that the architecture's own would have.
    fn config(
        &self,
        metadata: &Metadata,
        tensors: &[Tensor],
        tokenizer: Option<&GgufTokenizer>,
        factors: Option<&[f32]>,
    ) -> Result<Value> {
        let find = |name: &str| tensors.iter().find(|tensor| tensor.name == name);
        let has = |name: &str| find(name).is_some();
        let embeddings = find(crate::plan::EMBEDDINGS)
            .ok_or_else(|| Error::new(ErrorKind::Missing, "this tensor is missing").tensor("token_embd.weight"))?;
        let (class, model_type) = match self.window {
            Some(_) => self.architecture.windowed_config,
            None => self.architecture.config,
        };
        let mut config = json!({
            "architectures": [class],
            "model_type": model_type,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "max_position_embeddings": self.context,
            "rms_norm_eps": self.epsilon,
            "rope_theta": self.rope_theta,
            "vocab_size": embeddings.shape[0],
            "tie_word_embeddings": !has(crate::plan::HEAD),
            "attention_bias": has("model.layers.0.self_attn.q_proj.bias"),
            "mlp_bias": has("model.layers.0.mlp.gate_proj.bias"),
        });
        let optional = [
            ("sliding_window", self.window.map(Value::from)),
            ("rope_scaling", rope::scaling(metadata, self.architecture.name, factors)?),
            ("bos_token_id", tokenizer.and_then(|tokenizer| tokenizer.bos).map(Value::from)),
            ("eos_token_id", tokenizer.and_then(|tokenizer| tokenizer.eos).map(Value::from)),
            ("pad_token_id", tokenizer.and_then(|tokenizer| tokenizer.pad).map(Value::from)),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                config[key] = value;
            }
        }
        Ok(config)
    }
}

/// Values in a head. RoPE over a part of the head, and values narrower than keys, have no place in the config made here.
fn head_dim(metadata: &Metadata, key: &dyn Fn(&str) -> String, hidden: u64, heads: u64) -> Result<u64> {
    let rotated = metadata.u64(&key("rope.dimension_count"))?;
    let head_dim = match metadata.u64(&key("attention.key_length"))?.or(rotated) {
        Some(head_dim) => head_dim,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => return Err(missing(&key("attention.key_length"))),
    };
    let value_len = metadata.u64(&key("attention.value_length"))?.unwrap_or(head_dim);
    if head_dim == 0 {
        return Err(Error::new(ErrorKind::Malformed, "heads of 0 values"));
    }
    if rotated.is_some_and(|rotated| rotated != head_dim) || value_len != head_dim {
        let message = format!("heads of {head_dim} keys, {value_len} values, {rotated:?} of them rotated");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(head_dim)
}

fn missing(key: &str) -> Error {
    Error::new(ErrorKind::Missing, format!("the metadata has no '{key}'")).remedy("convert the model again")
}

/// A key under the architecture's name that is not in its row may change numbers: better refused than wrong.
fn refuse_unknown_keys(metadata: &Metadata, architecture: &Architecture) -> Result<()> {
    for key in metadata.keys() {
        let Some(short) = key.strip_prefix(architecture.name).and_then(|rest| rest.strip_prefix('.')) else { continue };
        if architecture.keys.contains(&short) || architecture.harmless_keys.contains(&short) {
            continue;
        }
        if architecture.zero_keys.contains(&short) && metadata.f64(key)? == Some(0.0) {
            continue;
        }
        return Err(Error::new(ErrorKind::Unsupported, format!("the metadata key '{key}' is not supported")));
    }
    Ok(())
}

/// The fields that `tokenizer_config.json` would have.
fn tokenizer_config(tokenizer: &GgufTokenizer) -> Value {
    let text = |id: Option<u32>| id.and_then(|id| tokenizer.tokens.get(id as usize)).map(|text| text.as_str().into());
    let fields: [(&str, Option<Value>); 7] = [
        ("bos_token", text(tokenizer.bos)),
        ("eos_token", text(tokenizer.eos)),
        ("unk_token", text(tokenizer.unk)),
        ("pad_token", text(tokenizer.pad)),
        ("add_bos_token", tokenizer.add_bos.map(Value::from)),
        ("add_eos_token", tokenizer.add_eos.map(Value::from)),
        ("chat_template", tokenizer.chat_template.as_deref().map(Value::from)),
    ];
    present(fields)
}

/// The fields that `generation_config.json` would have: generation ends at any of the ends.
fn generation_config(tokenizer: &GgufTokenizer) -> Value {
    let mut ends: Vec<u32> = Vec::new();
    for end in [tokenizer.eos, tokenizer.eot, tokenizer.eom].into_iter().flatten() {
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
    let ends = (!ends.is_empty()).then(|| json!(ends));
    present([("bos_token_id", tokenizer.bos.map(Value::from)), ("eos_token_id", ends)])
}

fn present<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let fields = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(fields.collect::<Map<_, _>>())
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
