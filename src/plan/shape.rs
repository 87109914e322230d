//! The numbers of a config that shape a model, read by the rules of its family.

use serde_json::Value;

use super::delta::Delta;
use super::families::{self, Family, Flag, HeadNorm, Rope};
use super::family::{class, family, text_family, text_of, text_part, with_nearest};
use super::fields::Fields;
use super::harmless::{BOOKKEEPING, GENERATION};
use super::heads::FullHeads;
use super::per_layer_embeddings::PerLayer;
use super::rope::{RopeContext, base_grows, rope_specs};
use super::streams::Streams;
use super::{Activation, CHUNK_COLUMNS, RopeSpec, Routing};
use crate::{Error, ErrorKind, Result};

/// Fields that may have only these values, in every family.
const ONLY: &[(&str, &[&str])] = &[
    ("add_cross_attention", &["false"]),
    ("is_decoder", &["true", "false"]),
    ("is_encoder_decoder", &["false"]),
    ("pruned_heads", &["{}"]),
    ("rope_interleaved", &["false"]),
];

/// Sizes beyond these are no language model, but a config that lies.
pub(super) const MOST_WIDTH: u32 = 1 << 20;
pub(super) const MOST_LAYERS: u32 = 10_000;
const MOST_VOCAB: u32 = 1 << 24;
/// What attention keeps of a head.
pub(super) const MOST_HEAD_DIM: u32 = 576;

/// Everything that the ops of a model depend on.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub family: &'static Family,
    /// What the family is the text part of.
    pub whole: Option<&'static families::Whole>,
    pub layers: u32,
    /// Layers of the checkpoint that text passes by, in order: they are not among `layers`.
    pub passed_by: Vec<u32>,
    pub vocab: u32,
    pub max_positions: u32,
    /// The field that makes them fewer than were trained.
    pub limited_by: Option<&'static str>,
    pub hidden: u32,
    pub intermediate: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    /// Values of a value's head.
    pub value_dim: u32,
    /// Of layers without a window, where they have heads of their own.
    pub full_heads: Option<FullHeads>,
    /// Values of layers without a window are their keys.
    pub keys_as_values: bool,
    /// For each layer the one whose keys and values it reads. `None`: its own.
    pub key_sources: Vec<Option<usize>>,
    /// Whether the feed-forward blocks of layers that read others' are twice as wide.
    pub double_wide: bool,
    /// Embeddings that layers have of their own.
    pub per_layer: Option<PerLayer>,
    /// Streams of the residual, where there is more than one.
    pub streams: Option<Streams>,
    /// A factor on what attention gives.
    pub value_scale: f32,
    pub latent: Option<Latent>,
    pub delta: Option<Delta>,
    /// Values of a head that rotate; 0 where positions enter otherwise.
    pub rotary_dim: u32,
    pub epsilon: f32,
    /// Of the norms after blocks.
    pub after_epsilon: f32,
    pub activation: Activation,
    pub qkv_bias: bool,
    pub output_bias: bool,
    pub mlp_bias: bool,
    pub head_bias: bool,
    pub norm_bias: bool,
    pub head_norm: HeadNorm,
    pub parallel: bool,
    pub tied_head: bool,
    /// Window of each layer; `None` sees everything.
    pub windows: Vec<Option<u32>>,
    /// Table of a factor on queries, and whether it is for layers that rotate or for the others.
    pub temperature: Option<(usize, bool)>,
    /// Which of `ropes` each layer uses; `None` rotates nothing.
    pub rope_tables: Vec<Option<usize>>,
    pub ropes: Vec<RopeSpec>,
    pub attention_scale: f32,
    pub attention_softcap: Option<f32>,
    pub residual_scale: f32,
    pub embedding_scale: f32,
    pub logit_scale: f32,
    pub logit_softcap: Option<f32>,
    pub experts: Option<ExpertsShape>,
}

/// The ranks of multi-head latent attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latent {
    /// Rank of the queries; whole where none.
    pub query: Option<u32>,
    /// Rank of keys and values.
    pub key_value: u32,
    /// Values of a head that do not rotate.
    pub plain_dim: u32,
}

impl Latent {
    /// Values of a latent row where a product reads it.
    pub(super) fn padded(&self) -> u32 {
        self.key_value.next_multiple_of(CHUNK_COLUMNS)
    }
}

/// The numbers of a model's experts.
#[derive(Clone, Debug)]
pub(super) struct ExpertsShape {
    pub count: u32,
    pub width: u32,
    /// Width of the expert that every token uses, and whether it has a gate of its own.
    pub shared: Option<(u32, bool)>,
    /// Whether the choice has a bias.
    pub bias: bool,
    /// A factor on what the block gives.
    pub scale: f32,
    /// Of [`Activation::ClampedSwiglu`], where the experts have that.
    pub limit: Option<f32>,
    pub routing: Routing,
    /// Which layers have experts.
    pub layers: Vec<bool>,
}

impl Shape {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for an unknown architecture or field, [`ErrorKind::Missing`] and
    /// [`ErrorKind::Malformed`] naming the field.
    pub(super) fn read(config: &Value) -> Result<Self> {
        let (shape, fields) = Self::noting(config).map_err(|error| with_nearest(config, error))?;
        fields.refuse_noted()?;
        Ok(shape)
    }

    /// The same, and the fields, among which those are noted that are not known.
    ///
    /// # Errors
    /// As [`Shape::read`], but for fields that are not known.
    pub(super) fn noting(config: &Value) -> Result<(Self, Fields<'_>)> {
        // Tells what is no object.
        let all = Fields::new(config, "config.json")?;
        let whole = families::whole(class(config)?);
        let text = whole.map(|whole| text_part(whole, config, &all)).transpose()?;
        let (config, part) = match &text {
            None => (config, all.instead(config)?),
            Some((text, None)) => (text, all.instead(text)?),
            Some((text, Some(field))) => (text, all.inside(text, field)?),
        };
        let family = match whole {
            None => family(class(config)?, config)?,
            Some(whole) => text_family(whole, config)?,
        };
        let defaults = serde_json::from_str(family.defaults).expect("the table holds JSON");
        let fields = part.with_names(family.renamed, &defaults);
        let reader = Reader { fields: &fields, family };
        let shape = Self { whole, ..reader.shape()? };
        let common = ONLY.iter().filter(|(name, _)| !family.harmless.contains(name));
        for (name, values) in common.chain(family.only) {
            reader.only(name, values)?;
        }
        reader.note_nested()?;
        // Where the text part has no config of its own, the whole's fields are among its.
        let beside = whole.map_or(&[][..], families::Whole::harmless);
        fields.note_others(&[BOOKKEEPING, GENERATION, family.harmless, beside]);
        Ok((shape, all))
    }
}

pub(super) struct Reader<'a> {
    pub(super) fields: &'a Fields<'a>,
    pub(super) family: &'static Family,
}

impl Reader<'_> {
    fn shape(&self) -> Result<Shape> {
        let (fields, family) = (self.fields, self.family);
        if let Some(name) = family.needs.iter().find(|name| fields.get(name).is_none()) {
            return Err(fields.missing(name));
        }
        let hidden = fields.needed_count("hidden_size", MOST_WIDTH)?;
        let both = match (fields.count("intermediate_size", MOST_WIDTH)?, family.intermediate_times) {
            (Some(width), _) => width,
            (None, Some(times)) => hidden * times,
            (None, None) => return Err(fields.missing("intermediate_size")),
        };
        let latent = if family.latent { Some(self.latent()?) } else { None };
        let (heads, kv_heads, head_dim, value_dim) = match &latent {
            Some(latent) => self.latent_heads(latent)?,
            None => self.heads(hidden)?,
        };
        let all_layers = fields.needed_count("num_hidden_layers", MOST_LAYERS)?;
        let passed_by = self.passed_by(all_layers)?;
        let layers = all_layers - passed_by.len() as u32;
        let max_positions = fields.needed_count("max_position_embeddings", u32::MAX)?;
        let windows = self.windows(layers)?;
        let full_heads = self.full_heads(heads, FullHeads { kv_heads, head_dim }, &windows)?;
        let rotary_dim = match (&latent, full_heads) {
            (Some(latent), _) => head_dim - latent.plain_dim,
            (None, Some(_)) => head_dim,
            (None, None) => self.rotary_dim(head_dim)?,
        };
        let vocab = fields.needed_count("vocab_size", MOST_VOCAB)?;
        let per_layer = self.per_layer(layers, vocab)?;
        let mut ropes = self.ropes(rotary_dim, full_heads, max_positions)?;
        let rope_tables = self.rope_tables(&windows, ropes.len())?;
        let temperature = self.temperature(head_dim)?.map(|(rope, rotating)| {
            ropes.push(rope);
            (ropes.len() - 1, rotating)
        });
        let most = match family.most_positions {
            Some(field) => Some(fields.needed_count(field, u32::MAX)?),
            None => None,
        };
        let grow = if self.flag(family.embeddings_grow)? { f64::from(hidden).sqrt() } else { 1.0 };
        let epsilon = fields.needed_positive("rms_norm_eps")?;
        Ok(Shape {
            family,
            whole: None,
            layers,
            passed_by,
            vocab,
            // Command-R names its longest text beside the positions for which its reference once made a table.
            max_positions: match (most, self.count("model_max_length")?) {
                (Some(most), _) => most.min(max_positions),
                (None, Some(named)) if !base_grows(fields) => named.max(max_positions),
                _ => max_positions,
            },
            limited_by: family.most_positions.filter(|_| most.is_some_and(|most| most < max_positions)),
            hidden,
            intermediate: if family.intermediate_is_both { both / 2 } else { both },
            heads,
            kv_heads,
            head_dim,
            value_dim,
            full_heads,
            keys_as_values: self.flag(family.keys_as_values)?,
            key_sources: self.key_sources(&windows)?,
            double_wide: self.flag(family.double_wide)?,
            per_layer,
            streams: self.streams(layers, per_layer)?,
            value_scale: self.number("attention_value_scale")?.unwrap_or(1.0) as f32,
            latent,
            delta: if family.delta_rule { Some(Delta::read(fields, layers)?) } else { None },
            rotary_dim,
            epsilon: epsilon as f32,
            after_epsilon: self.number("post_norm_eps")?.unwrap_or(epsilon) as f32,
            activation: self.activation()?,
            qkv_bias: self.flag(family.qkv_bias)?,
            output_bias: self.flag(family.output_bias)?,
            mlp_bias: self.flag(family.mlp_bias)?,
            head_bias: self.flag(family.head_bias)?,
            norm_bias: self.flag(family.norm_bias)?,
            head_norm: match family.head_norm {
                HeadNorm::EachIf(field) | HeadNorm::AfterRope(field) | HeadNorm::SharedIf(field)
                    if !self.flag(Flag::Field(field))? =>
                {
                    HeadNorm::None
                }
                HeadNorm::SharedIf(_) => HeadNorm::Shared,
                head_norm => head_norm,
            },
            parallel: self.flag(family.parallel)?,
            tied_head: fields.truth("tie_word_embeddings")?.unwrap_or(false),
            rope_tables,
            temperature,
            windows,
            ropes,
            attention_scale: if family.unscaled { 1.0 } else { self.attention_scale(head_dim)? },
            attention_softcap: self.number("attn_logit_softcapping")?.map(|cap| cap as f32),
            residual_scale: self.number("residual_multiplier")?.unwrap_or(1.0) as f32,
            embedding_scale: self.number("embedding_multiplier")?.unwrap_or(grow) as f32,
            logit_scale: match (self.number("logit_scale")?, self.number("logits_scaling")?) {
                (Some(scale), _) => scale as f32,
                (None, Some(divisor)) => (1.0 / divisor) as f32,
                (None, None) => 1.0,
            },
            logit_softcap: self.number("final_logit_softcapping")?.map(|cap| cap as f32),
            experts: match family.experts {
                Some(experts) => Some(self.experts(experts, layers)?),
                None => None,
            },
        })
    }

    fn passed_by(&self, layers: u32) -> Result<Vec<u32>> {
        let Some(field) = self.family.passed_by else { return Ok(Vec::new()) };
        let wrong =
            || self.fields.wrong(field, format_args!("must list some of {layers} layers, each once and in order"));
        let list = self.fields.get(field).ok_or_else(|| self.fields.missing(field))?;
        let number =
            |value: &Value| value.as_u64().filter(|layer| *layer < u64::from(layers)).map(|layer| layer as u32);
        let list = list.as_array().and_then(|list| list.iter().map(number).collect::<Option<Vec<_>>>());
        list.filter(|list| list.is_sorted_by(|a, b| a < b) && list.len() < layers as usize).ok_or_else(wrong)
    }

    fn latent(&self) -> Result<Latent> {
        let fields = self.fields;
        let rotary = fields.needed_count("qk_rope_head_dim", MOST_HEAD_DIM)?;
        if !rotary.is_multiple_of(2) {
            return Err(fields.wrong("qk_rope_head_dim", format_args!("is {rotary}; an even number is needed")));
        }
        let latent = Latent {
            query: fields.count("q_lora_rank", MOST_WIDTH)?,
            key_value: fields.needed_count("kv_lora_rank", MOST_WIDTH)?,
            plain_dim: fields.needed_count("qk_nope_head_dim", MOST_HEAD_DIM)?,
        };
        let kept = latent.key_value + rotary;
        if kept > MOST_HEAD_DIM {
            let message = format_args!("makes {kept} values of a position; at most {MOST_HEAD_DIM} are known");
            return Err(fields.wrong("kv_lora_rank", message));
        }
        Ok(latent)
    }

    /// Every head has keys and values of its own, made of the latent row.
    fn latent_heads(&self, latent: &Latent) -> Result<(u32, u32, u32, u32)> {
        let fields = self.fields;
        let heads = fields.needed_count("num_attention_heads", MOST_WIDTH)?;
        let head_dim = latent.plain_dim + fields.needed_count("qk_rope_head_dim", MOST_HEAD_DIM)?;
        let value_dim = fields.needed_count("v_head_dim", MOST_HEAD_DIM)?;
        if heads.saturating_mul(MOST_HEAD_DIM.max(head_dim)) > MOST_WIDTH {
            let message = format_args!("is {heads}, which makes rows of more than {MOST_WIDTH} values");
            return Err(fields.wrong("num_attention_heads", message));
        }
        Ok((heads, heads, head_dim, value_dim))
    }

    /// A factor on the scores of attention.
    fn attention_scale(&self, head_dim: u32) -> Result<f32> {
        let scalar = self.number("query_pre_attn_scalar")?.unwrap_or(f64::from(head_dim));
        let scale = self.number("attention_multiplier")?.unwrap_or(1.0 / scalar.sqrt());
        Ok((scale * self.number("qk_scale_factor")?.unwrap_or(1.0) * self.attention_growth()) as f32)
    }

    /// YaRN as DeepSeek has it: scores grow with the factor by which positions do.
    fn attention_growth(&self) -> f64 {
        let scaling = self.fields.get("rope_parameters").or_else(|| self.fields.get("rope_scaling"));
        let number = |name: &str| scaling.and_then(|scaling| scaling.get(name)).and_then(Value::as_f64);
        match (self.family.latent, number("factor"), number("mscale_all_dim")) {
            (true, Some(factor), Some(mscale)) if factor > 1.0 => (0.1 * mscale * factor.ln() + 1.0).powi(2),
            _ => 1.0,
        }
    }

    fn rotary_dim(&self, head_dim: u32) -> Result<u32> {
        if matches!(self.family.rope, Rope::Alibi) {
            return Ok(0);
        }
        let nested = self.fields.get("rope_parameters").and_then(|value| {
            // Where kinds of layers have their own, all have the same.
            value.get("full_attention").unwrap_or(value).get("partial_rotary_factor")
        });
        let own = match self.count("rotary_dim")? {
            Some(rotary_dim) => Some(f64::from(rotary_dim) / f64::from(head_dim)),
            None => self.fields.positive("partial_rotary_factor")?,
        };
        let factor = nested.and_then(Value::as_f64).or(own).unwrap_or(1.0);
        let rotary_dim = (f64::from(head_dim) * factor) as u32;
        if !rotary_dim.is_multiple_of(2) || rotary_dim == 0 || rotary_dim > head_dim {
            let message = format_args!("rotates {rotary_dim} of {head_dim} values; an even part of them is needed");
            return Err(self.fields.wrong("partial_rotary_factor", message));
        }
        Ok(rotary_dim)
    }

    fn ropes(&self, rotary_dim: u32, full: Option<FullHeads>, max_positions: u32) -> Result<Vec<RopeSpec>> {
        let ratio = self.number("rope_ratio")?.unwrap_or(1.0);
        let theta = self.fields.positive("rope_theta")?.unwrap_or(10_000.0) * ratio;
        let local = self.number("rope_local_base_freq")?;
        let context = RopeContext {
            rotary_dim: full.map_or(rotary_dim, |full| full.head_dim),
            local_rotary_dim: rotary_dim,
            whole_heads: full.is_some(),
            max_positions,
            theta,
            local_theta: local,
        };
        if rotary_dim == 0 {
            return Ok(Vec::new());
        }
        let mut ropes = rope_specs(self.fields, context, self.reads_original())?;
        if full.is_some() && ropes.len() == 1 {
            let message = "must say how layers of each kind rotate: full_attention, sliding_attention";
            return Err(self.fields.wrong("rope_parameters", message));
        }
        if self.family.rope_backwards {
            ropes.iter_mut().flat_map(|rope| &mut rope.inverse_frequencies).for_each(|frequency| *frequency *= -1.0);
        }
        Ok(ropes)
    }

    /// Whether the family keeps the trained positions beside its rope scaling, not in it.
    fn reads_original(&self) -> bool {
        self.family.reads.contains(&"original_max_position_embeddings")
    }

    fn activation(&self) -> Result<Activation> {
        if self.family.learned_curve {
            self.only("hidden_act", &["xielu"])?;
            // No op has it: see `Op::Xielu`.
            return Ok(Activation::Silu);
        }
        // A null means the family's own here: the reference takes it for "not said".
        let own = self.fields.default("hidden_act").and_then(Value::as_str);
        let name = self.fields.text("hidden_act")?.or(own).unwrap_or("silu");
        match name {
            "silu" | "swish" => Ok(Activation::Silu),
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "relu2" => Ok(Activation::SquaredRelu),
            other => {
                let known = "silu, swish, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, relu2";
                let field = self.fields.spelled("hidden_act");
                Err(Error::new(ErrorKind::Unsupported, format!("field '{field}' is '{other}'; known are: {known}"))
                    .file("config.json"))
            }
        }
    }

    pub(super) fn reads(&self, name: &str) -> bool {
        self.family.reads.contains(&name)
    }

    /// A field that only some families have.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>> {
        if self.reads(name) { self.fields.positive(name) } else { Ok(None) }
    }

    pub(super) fn count(&self, name: &str) -> Result<Option<u32>> {
        if self.reads(name) { self.fields.count(name, u32::MAX) } else { Ok(None) }
    }

    pub(super) fn flag(&self, flag: Flag) -> Result<bool> {
        match flag {
            Flag::No => Ok(false),
            Flag::Yes => Ok(true),
            Flag::Field(name) => Ok(self.fields.truth(name)?.unwrap_or(false)),
        }
    }

    /// Notes the fields of objects within the config that the row does not name, as `object.field`.
    fn note_nested(&self) -> Result<()> {
        let named = || self.family.only.iter().map(|(name, _)| *name).chain(self.family.harmless.iter().copied());
        let mut objects: Vec<_> = named().filter_map(|name| Some(name.split_once('.')?.0)).collect();
        objects.dedup();
        for object in objects {
            let Some(value) = self.fields.get(object) else { continue };
            let inner = named().filter_map(|name| name.strip_prefix(object)?.strip_prefix('.'));
            self.fields.inside(value, object)?.note_others(&[BOOKKEEPING, GENERATION, &inner.collect::<Vec<_>>()]);
        }
        Ok(())
    }

    /// Refuses any value of a field but those that mean what the plan does. Of a list each entry may be one of them.
    fn only(&self, name: &str, values: &[&str]) -> Result<()> {
        let value = match name.split_once('.') {
            None => self.fields.get(name),
            Some((object, inner)) => self.fields.get(object).and_then(|object| object.get(inner)),
        };
        let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(()) };
        let known = |value: &Value| values.contains(&text_of(value).as_str());
        let other = match value.as_array() {
            Some(list) if !known(value) => list.iter().find(|entry| !known(entry)),
            _ => Some(value).filter(|value| !known(value)),
        };
        let Some(text) = other.map(text_of) else { return Ok(()) };
        let message = format!("field '{name}' is '{text}'; only {} is known", values.join(" or "));
        Err(Error::new(ErrorKind::Unsupported, message).file("config.json"))
    }
}
