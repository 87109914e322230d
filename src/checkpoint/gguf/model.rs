//! A GGUF file as a checkpoint: Hugging Face's names, shapes and config from its header.

use serde_json::{Map, Value, json};

use super::architecture::{Architecture, Known, LONG_FACTORS, ROPE_FACTORS, SHORT_FACTORS, When, architecture};
use super::architectures::ALIBI;
use super::delta::{delta, layers_ahead};
use super::heads::{alibi, full_head_dim, head_dim, latent_head_dim, sigmoid};
use super::metadata::Metadata;
use super::parts::read_headers;
use super::rope::Factors;
use super::scales::Scales;
use super::{Header, fields, rope};
use crate::checkpoint::kinds::refuse_gguf;
use crate::checkpoint::{Checkpoint, GgufTokenizer, Source, Tensor};
use crate::plan::RecurrentSpec;
use crate::store::Store;
use crate::words::{Term, Words};
use crate::{Error, ErrorKind, Result};

/// Opens the GGUF object `name` of `file_len` bytes, with the other parts where it is one of several.
///
/// # Errors
/// As [`read_headers`]; [`ErrorKind::Missing`] for metadata that the architecture needs;
/// [`ErrorKind::Unsupported`] for an architecture, key or tensor that Tilestream does not know.
pub(in crate::internals::checkpoint) async fn open(
    store: &dyn Store,
    name: &str,
    file_len: u64,
    ignored: &[String],
) -> Result<Checkpoint> {
    let (files, header) = read_headers(store, name, file_len).await?;
    let named = |error: Error| error.file(store.describe(&files[0].0));
    refuse_gguf(&header.metadata).map_err(named)?;
    refuse_absent(&header.metadata, ignored).map_err(named)?;
    let shape = ModelShape::read(&header.metadata).map_err(named)?;
    let factors = rope::read_factors(store, &files, &header, shape.full_head_dim.unwrap_or(shape.rotated)).await?;
    let mut checkpoint = assemble(&header, &shape, &factors, ignored).map_err(named)?;
    checkpoint.files = files;
    Ok(checkpoint)
}

/// The checkpoint of a header, without its files. Nothing is read.
fn assemble(header: &Header, shape: &ModelShape, factors: &Factors, ignored: &[String]) -> Result<Checkpoint> {
    refuse_unknown_keys(&header.metadata, shape.architecture, ignored)?;
    let scales = Scales::new(&header.tensors);
    let mut tensors = Vec::with_capacity(header.tensors.len());
    for tensor in &header.tensors {
        let is_apart = [ROPE_FACTORS, LONG_FACTORS, SHORT_FACTORS].contains(&tensor.name.as_str());
        if !is_apart && !scales.holds(tensor) {
            let mut parts = shape.tensors(tensor)?;
            scales.attach(&mut parts, tensor)?;
            tensors.extend(parts);
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
        tokenizer_files: None,
    })
}

const WINDOW: &str = "attention.sliding_window";
/// Experts of all layers; as many as a plan takes.
const MOST_EXPERTS: u64 = 1 << 18;

/// The numbers that names, shapes and the config need.
pub(super) struct ModelShape {
    pub architecture: &'static Architecture,
    pub layers: u64,
    /// Layers behind them that the model does without.
    pub layers_ahead: u64,
    pub hidden: u64,
    pub intermediate: u64,
    pub heads: u64,
    pub kv_heads: u64,
    pub head_dim: u64,
    /// The same of layers without a window, where they have heads of their own.
    pub full_head_dim: Option<u64>,
    /// Values of a head that rotate.
    pub rotated: u64,
    /// Values of a value's head.
    pub value_dim: u64,
    /// Values of a latent row, where there is one.
    pub latent: u64,
    pub delta: Option<RecurrentSpec>,
    pub experts: u64,
    /// Experts get their scores from a sigmoid.
    sigmoid: bool,
    alibi: bool,
    /// Rotary pairs are neighbours in the rows of queries and keys.
    pub interleaved: bool,
    context: u64,
    epsilon: f64,
    pub rope_theta: f64,
    window: Option<u64>,
    /// Which layers have it, where the file lists them.
    pub windowed: Vec<bool>,
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
        let (head_dim, rotated, value_dim) = match architecture.latent {
            true => latent_head_dim(metadata, architecture)?,
            false => head_dim(metadata, architecture, hidden, heads)?,
        };
        let all_layers = needed("block_count")?;
        let layers_ahead = layers_ahead(metadata, architecture, all_layers)?;
        let layers = all_layers - layers_ahead;
        let experts = optional("expert_count")?.unwrap_or(0);
        // Where numbers differ from layer to layer the first is that of a layer like most.
        let first =
            |name: &str| Ok::<_, Error>(metadata.u64s(&key(name))?.and_then(|numbers| numbers.first().copied()));
        let intermediate = match first("feed_forward_length")? {
            Some(0) => needed("feed_forward_length")?,
            Some(width) => width,
            // Only experts have a width.
            None if experts > 0 => 1,
            None => needed("feed_forward_length")?,
        };
        let shape = Self {
            architecture,
            layers,
            layers_ahead,
            hidden,
            intermediate,
            heads,
            // Of a latent row all heads make keys of their own, whatever the file counts.
            kv_heads: first("attention.head_count_kv")?.filter(|_| !architecture.latent).unwrap_or(heads),
            head_dim,
            full_head_dim: full_head_dim(metadata, architecture)?,
            rotated,
            value_dim,
            latent: if architecture.latent { needed("attention.kv_lora_rank")? } else { 0 },
            delta: architecture.delta_rule.then(|| delta(metadata, architecture)).transpose()?,
            experts,
            sigmoid: sigmoid(optional("expert_gating_func")?)?,
            alibi: alibi(metadata.f64(&key(ALIBI))?)?,
            // Where positions have several sections pairs lie in halves, whatever the family.
            interleaved: architecture.interleaved && metadata.get(&key("rope.dimension_sections")).is_none(),
            context: needed("context_length")?,
            epsilon: metadata.f64(&key(architecture.epsilon))?.ok_or_else(|| missing(&key(architecture.epsilon)))?,
            rope_theta: metadata.f64(&key("rope.freq_base"))?.unwrap_or(10_000.0),
            window: optional(WINDOW)?.filter(|window| *window > 0),
            windowed: fields::windowed(metadata, architecture.name, layers)?,
        };
        if shape.kv_heads == 0 || !heads.is_multiple_of(shape.kv_heads) {
            let message = format!("{heads} heads do not share {} key heads evenly", shape.kv_heads);
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        // Each is a name and a place in memory.
        if shape.experts.max(1).saturating_mul(layers) > MOST_EXPERTS {
            let message = format!("{} experts in {layers} layers are too many to be a model", shape.experts);
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        Ok(shape)
    }

    /// `config.json` with the fields that the architecture's own would have.
    fn config(
        &self,
        metadata: &Metadata,
        tensors: &[Tensor],
        tokenizer: Option<&GgufTokenizer>,
        factors: &Factors,
    ) -> Result<Value> {
        let find = |name: &str| {
            let found = tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name));
            found.ok().map(|index| &tensors[index])
        };
        let embeddings = find(crate::plan::EMBEDDINGS)
            .ok_or_else(|| Error::new(ErrorKind::Missing, "this tensor is missing").tensor("token_embd.weight"))?;
        let fits = |when: When| match when {
            When::Always => true,
            When::Windowed => self.window.is_some(),
            When::Has(key) => {
                let key = format!("{}.{key}", self.architecture.name);
                metadata.f64(&key).ok().flatten().is_some_and(|value| value != 0.0)
            }
            When::Experts => self.experts > 0,
            // Some files do not say it, but only such scores have a bias for the choice.
            When::SigmoidExperts => {
                let has_bias = |layer| find(&format!("model.layers.{layer}.mlp.gate.bias")).is_some();
                self.experts > 0 && (self.sigmoid || (0..self.layers).any(has_bias))
            }
            When::Alibi { layers } => self.alibi || self.layers == layers,
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
        // A family where a part may rotate may take a part where nothing is said.
        let part_rotates = self.architecture.partial_rotation && !self.architecture.latent;
        let partial = part_rotates.then(|| fields::share(self.rotated, self.head_dim));
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
        if !self.architecture.whole_ramp && config["rope_scaling"]["rope_type"] == "yarn" {
            config["rope_scaling"]["truncate"] = false.into();
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
        for (name, field) in self.architecture.fields.iter().copied().flatten() {
            fields::add(&mut config, name, *field, self, metadata, &|name| find(name).map(|found| found.shape[0]))?;
        }
        for (common, theirs) in class.renamed {
            if let Some(value) = config.as_object_mut().and_then(|config| config.remove(*common)) {
                config[*theirs] = value;
            }
        }
        Ok(config)
    }
}

pub(super) fn missing(key: &str) -> Error {
    Error::new(ErrorKind::Missing, format!("the metadata has no '{key}'")).remedy("convert the model again")
}

/// A key under the architecture's name that is not in its row may change numbers: better refused than wrong.
fn refuse_absent(metadata: &Metadata, ignored: &[String]) -> Result<()> {
    match ignored.iter().find(|key| !metadata.keys().any(|known| known == *key)) {
        None => Ok(()),
        Some(key) => Err(Error::new(ErrorKind::Argument, format!("there is no metadata key '{key}' to ignore"))),
    }
}

fn refuse_unknown_keys(metadata: &Metadata, architecture: &Architecture, ignored: &[String]) -> Result<()> {
    let mut unknown = Vec::new();
    for key in metadata.keys().filter(|key| !ignored.iter().any(|ignored| ignored == key)) {
        let Some(short) = key.strip_prefix(architecture.name).and_then(|rest| rest.strip_prefix('.')) else { continue };
        match architecture.knows(short) {
            Known::Yes => continue,
            Known::Zero if metadata.f64(key)? == Some(0.0) => continue,
            _ => {}
        }
        unknown.push(key);
    }
    let fields = Term::IgnoredFields(unknown.iter().map(|key| (*key).to_owned()).collect());
    let (message, remedy) = match &unknown[..] {
        [] => return Ok(()),
        [key] => (format!("the metadata key '{key}' is not supported"), ("it does", "it")),
        keys => {
            let list = keys.iter().map(|key| format!("'{key}'")).collect::<Vec<_>>().join(", ");
            (format!("the metadata keys {list} are not supported"), ("they do", "them"))
        }
    };
    let (it_does, it) = remedy;
    let remedy = Words::from(format!("if {it_does} not change the model's numbers, "))
        + fields
        + format!(" (when it is split) goes on without {it}");
    Err(Error::new(ErrorKind::Unsupported, message).remedy(remedy))
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
#[path = "delta_tests.rs"]
mod delta_tests;
#[cfg(test)]
#[path = "scales_tests.rs"]
mod scales_tests;
#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
