//! A GGUF file as a checkpoint: Hugging Face's names, shapes and config from its header.

use serde_json::{Map, Value, json};

use super::architecture::{Architecture, Known, LONG_FACTORS, Part, ROPE_FACTORS, SHORT_FACTORS, When, architecture};
use super::metadata::Metadata;
use super::rope::Factors;
use super::{Header, TensorInfo, fields, read_header, rope};
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
    let factors = rope::read_factors(store, name, &header, shape.rotated).await?;
    let mut checkpoint = assemble(&header, &shape, &factors).map_err(named)?;
    checkpoint.files = vec![(name.to_owned(), file_len)];
    Ok(checkpoint)
}

/// The checkpoint of a header, without its files. Nothing is read.
fn assemble(header: &Header, shape: &ModelShape, factors: &Factors) -> Result<Checkpoint> {
    refuse_unknown_keys(&header.metadata, shape.architecture)?;
    let mut tensors = Vec::with_capacity(header.tensors.len());
    for tensor in &header.tensors {
        if ![ROPE_FACTORS, LONG_FACTORS, SHORT_FACTORS].contains(&tensor.name.as_str()) {
            tensors.extend(shape.tensors(tensor)?);
        }
    }
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

const WINDOW: &str = "attention.sliding_window";

/// The numbers that names, shapes and the config need.
pub(super) struct ModelShape {
    pub architecture: &'static Architecture,
    pub layers: u64,
    pub hidden: u64,
    intermediate: u64,
    pub heads: u64,
    kv_heads: u64,
    pub head_dim: u64,
    /// Values of a head that rotate.
    rotated: u64,
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
        let (head_dim, rotated) = head_dim(metadata, architecture, hidden, heads)?;
        let shape = Self {
            architecture,
            layers: needed("block_count")?,
            hidden,
            intermediate: needed("feed_forward_length")?,
            heads,
            kv_heads: optional("attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            rotated,
            context: needed("context_length")?,
            epsilon: metadata.f64(&key(architecture.epsilon))?.ok_or_else(|| missing(&key(architecture.epsilon)))?,
            rope_theta: metadata.f64(&key("rope.freq_base"))?.unwrap_or(10_000.0),
            window: optional(WINDOW)?.filter(|window| *window > 0),
        };
        if shape.kv_heads == 0 || !heads.is_multiple_of(shape.kv_heads) {
            let message = format!("{heads} heads do not share {} key heads evenly", shape.kv_heads);
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        Ok(shape)
    }

    /// The model's tensors that a tensor of the file holds.
    fn tensors(&self, info: &TensorInfo) -> Result<Vec<Tensor>> {
        let unknown = || {
            let message = format!("has no place in the architecture '{}'", self.architecture.name);
            Error::new(ErrorKind::Unsupported, message).tensor(&info.name)
        };
        let parts = self.architecture.parts(&info.name, self.layers).ok_or_else(unknown)?;
        let mut shape = info.shape.clone();
        // Norms of heads may come as a table, a row for each head; here they are one vector.
        if shape.len() == 2 && info.name.ends_with("norm.weight") {
            shape = vec![shape[0].saturating_mul(shape[1])];
        }
        let source_rows = shape.first().copied().unwrap_or(1);
        let source = match encoding::gguf::block(info.encoding) {
            Some(_) => Source::GgufBlocks(info.encoding),
            None => Source::Plain(info.encoding),
        };
        let tensor = |(name, part): (String, Part)| {
            let wrong = |what: String| {
                let message = format!("shape {:?} does not hold {what}", info.shape);
                Error::new(ErrorKind::Malformed, message).tensor(&info.name)
            };
            let (row_count, rows) = self.rows(part, source_rows).map_err(wrong)?;
            Ok(Tensor {
                rows: self.in_halves(&name, rows, row_count).map_err(wrong)?,
                name,
                source_name: info.name.clone(),
                shape: [&[row_count][..], shape.get(1..).unwrap_or_default()].concat(),
                source,
                file: 0,
                offset_bytes: info.offset_bytes,
                len_bytes: info.len_bytes,
                source_rows,
                plus: 0.0,
                inverse_lengths: None,
                transposed: false,
                companions: Vec::new(),
            })
        };
        parts.into_iter().map(tensor).collect()
    }

    /// How many rows a part has, and which; or what the tensor ought to hold.
    fn rows(&self, part: Part, all: u64) -> Result<(u64, RowMap), String> {
        let q = self.heads.saturating_mul(self.head_dim);
        let kv = self.kv_heads.saturating_mul(self.head_dim);
        let fused = || match q.saturating_add(kv.saturating_mul(2)) == all {
            true => Ok(()),
            false => Err(format!("{} query and 2 x {} key heads of {}", self.heads, self.kv_heads, self.head_dim)),
        };
        let halves = || if all.is_multiple_of(2) { Ok(()) } else { Err("two halves".to_owned()) };
        Ok(match part {
            Part::All => (all, RowMap::ALL),
            Part::Query => fused().map(|()| (q, RowMap::from_row(0)))?,
            Part::Key => fused().map(|()| (kv, RowMap::from_row(q)))?,
            Part::Value => fused().map(|()| (kv, RowMap::from_row(q + kv)))?,
            Part::First => halves().map(|()| (all / 2, RowMap::from_row(0)))?,
            Part::Second => halves().map(|()| (all / 2, RowMap::from_row(all / 2)))?,
        })
    }

    /// Queries, keys and their norms with neighbouring pairs put in halves; or what the tensor ought to hold.
    fn in_halves(&self, name: &str, rows: RowMap, row_count: u64) -> Result<RowMap, String> {
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let heads = match stem.rsplit('.').next() {
            Some("q_proj" | "q_norm") => self.heads,
            Some("k_proj" | "k_norm") => self.kv_heads,
            _ => return Ok(rows),
        };
        if !self.architecture.interleaved {
            return Ok(rows);
        }
        if heads.checked_mul(self.head_dim) != Some(row_count) || !self.rotated.is_multiple_of(2) {
            return Err(format!("{heads} heads of {}", self.head_dim));
        }
        Ok(rows.in_halves(self.head_dim, self.rotated))
    }

    /// `config.json` with the fields that the architecture's own would have.
    fn config(
        &self,
        metadata: &Metadata,
        tensors: &[Tensor],
        tokenizer: Option<&GgufTokenizer>,
        factors: &Factors,
    ) -> Result<Value> {
        let find = |name: &str| tensors.iter().find(|tensor| tensor.name == name);
        let embeddings = find(crate::plan::EMBEDDINGS)
            .ok_or_else(|| Error::new(ErrorKind::Missing, "this tensor is missing").tensor("token_embd.weight"))?;
        let fits = |when: When| match when {
            When::Always => true,
            When::Windowed => self.window.is_some(),
            When::Layers(layers) => self.layers == layers,
        };
        let class = self.architecture.classes.iter().find(|class| fits(class.when));
        let class = class.ok_or_else(|| Error::new(ErrorKind::Unsupported, "no class of the architecture fits"))?;
        let mut config = json!({
            "architectures": [class.class],
            "model_type": class.model_type,
            "hidden_act": self.architecture.activation,
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
            "tie_word_embeddings": find(crate::plan::HEAD).is_none(),
        });
        let partial = (self.rotated != self.head_dim).then(|| fields::share(self.rotated, self.head_dim));
        let optional = [
            ("partial_rotary_factor", partial.map(Value::from)),
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
        if self.architecture.keys.contains(&WINDOW) {
            match self.window {
                Some(window) => config["sliding_window"] = window.into(),
                // A family may take a window where the config is silent.
                None if !self.architecture.classes.iter().any(|class| matches!(class.when, When::Windowed)) => {
                    config["sliding_window"] = Value::Null;
                }
                None => {}
            }
        }
        for (name, field) in self.architecture.fields {
            fields::add(&mut config, name, *field, self, metadata, &|name| find(name).is_some())?;
        }
        for (common, theirs) in class.renamed {
            if let Some(value) = config.as_object_mut().and_then(|config| config.remove(*common)) {
                config[*theirs] = value;
            }
        }
        Ok(config)
    }
}

/// Values in a head, and how many of them rotate. Values narrower than keys have no place in the config made here.
fn head_dim(metadata: &Metadata, architecture: &Architecture, hidden: u64, heads: u64) -> Result<(u64, u64)> {
    let key = |key: &str| format!("{}.{key}", architecture.name);
    let rotated = metadata.u64(&key("rope.dimension_count"))?;
    let given = metadata.u64(&key("attention.key_length"))?;
    let head_dim = match given.or(if architecture.partial_rotation { None } else { rotated }) {
        Some(head_dim) => head_dim,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => return Err(missing(&key("attention.key_length"))),
    };
    let value_len = metadata.u64(&key("attention.value_length"))?.unwrap_or(head_dim);
    if head_dim == 0 {
        return Err(Error::new(ErrorKind::Malformed, "heads of 0 values"));
    }
    let rotates = rotated.unwrap_or(head_dim);
    let fits = rotates == head_dim || (architecture.partial_rotation && (2..head_dim).contains(&rotates));
    if !fits || value_len != head_dim {
        let message = format!("heads of {head_dim} keys, {value_len} values, {rotated:?} of them rotated");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok((head_dim, rotates))
}

pub(super) fn missing(key: &str) -> Error {
    Error::new(ErrorKind::Missing, format!("the metadata has no '{key}'")).remedy("convert the model again")
}

/// A key under the architecture's name that is not in its row may change numbers: better refused than wrong.
fn refuse_unknown_keys(metadata: &Metadata, architecture: &Architecture) -> Result<()> {
    for key in metadata.keys() {
        let Some(short) = key.strip_prefix(architecture.name).and_then(|rest| rest.strip_prefix('.')) else { continue };
        match architecture.knows(short) {
            Known::Yes => continue,
            Known::Zero if metadata.f64(key)? == Some(0.0) => continue,
            _ => {}
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
