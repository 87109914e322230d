//! GGUF architectures as rows: how tensors and metadata map to Hugging Face's names.
//!
//! Names and keys are those that `convert_hf_to_gguf.py` of llama.cpp writes. A new architecture is a row of the table.

use super::architectures::ARCHITECTURES;
use super::late::LATE;
use super::mixtures::MIXTURES;
use super::recent::RECENT;
use crate::plan::DeltaPart;
use crate::{Error, ErrorKind, Result};

/// One `general.architecture`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Architecture {
    /// `general.architecture`, and the prefix of its keys.
    pub name: &'static str,
    /// The first whose condition holds is the config's class.
    pub classes: &'static [Class],
    pub activation: &'static str,
    /// The key of the norms' epsilon.
    pub epsilon: &'static str,
    /// Fields of the config besides those of every architecture.
    pub fields: &'static [&'static [(&'static str, Field)]],
    /// Tensors outside the layers: GGUF's name, ours.
    pub tensors: &'static [&'static [(&'static str, &'static str)]],
    /// Tensors of `blk.N.` and `model.layers.N.`. Each has a `.weight` and may have a `.bias`, but for those whose rule has the
    /// whole name.
    pub layer_tensors: &'static [&'static [Rule]],
    /// Slabs outside the layers, a matrix for each of the other streams of the residual: GGUF's name, ours with a `*` for the
    /// stream and `last` for the last layer.
    pub slabs: &'static [(&'static str, &'static str)],
    /// What the stems begin with of tensors in layers that text does without.
    pub unused: &'static [&'static str],
    /// Rotary pairs are neighbours (2 i, 2 i + 1) in the rows of queries and keys.
    pub interleaved: bool,
    /// Layers without a window have heads of another size; keys that end with `_swa` tell that of the others.
    pub full_heads: bool,
    /// `rope.dimension_count` may be less than a head.
    pub partial_rotation: bool,
    /// YaRN's ramp begins and ends at whole pairs.
    pub whole_ramp: bool,
    /// Keys and values of all heads come from one short row (multi-head latent attention).
    pub latent: bool,
    /// Some layers have a gated delta rule in place of attention.
    pub delta_rule: bool,
    /// Its value heads lie in turn, each behind that of the key head before: not those of a key head together.
    pub tiled_values: bool,
    /// Keys under `name.` that are read besides those of every architecture, of `epsilon` and of `fields`.
    pub keys: &'static [&'static str],
    /// Keys under `name.` that change no number, besides those of every architecture.
    pub harmless_keys: &'static [&'static str],
}

/// A class in `architectures` of the config.
#[derive(Clone, Copy, Debug)]
pub(super) struct Class {
    pub when: When,
    pub class: &'static str,
    pub model_type: &'static str,
    /// (the common name of a field, this class's).
    pub renamed: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Always,
    /// The file has a sliding window.
    Windowed,
    /// The file has a key of the architecture, and it is not 0.
    Has(&'static str),
    /// The file has experts.
    Experts,
    /// It has, and each gets its score from a sigmoid.
    SigmoidExperts,
    /// Scores fall with distance: the file says so, or it has so many layers, which is all that most files say of it.
    Alibi {
        layers: u64,
    },
}

/// Where a field of the config comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    /// The number of a key that has to be there.
    Needed(&'static str),
    /// The number of a key; no field where it is absent or 0.
    Optional(&'static str),
    /// The number of a key, or this one where it is absent or 0.
    Or(&'static str, f64),
    /// The whole number of a key, or this one where it is absent or 0.
    CountOr(&'static str, u64),
    /// The truth value of a key, or this one where it is absent.
    TruthOr(&'static str, bool),
    /// Values of a head's key that do not rotate.
    PlainDim,
    /// Values of a head's value.
    ValueDim,
    /// The same of a delta rule.
    DeltaValueDim,
    /// Whether the experts are not so many.
    OtherExpertsThan(u64),
    /// This value, as JSON.
    Is(&'static str),
    /// Rows of a tensor, in the first layer that has it.
    RowsOf(&'static str),
    /// Rows of a tensor that belongs to no layer; no field where it is absent.
    RowsOfOuter(&'static str),
    /// Whether a layer has a tensor.
    AnyHas(&'static str),
    /// Whether a layer has the first of two tensors, and lacks the second.
    FirstAlone(&'static str, &'static str),
    /// The layers that lack a tensor, by their numbers.
    LayersWithout(&'static str),
    /// The kinds of layers, of which those with a tensor have no attention.
    LinearWith(&'static str),
    /// Whether layer 0 has a tensor.
    Has(&'static str),
    /// That layer 0 has a tensor; no field where it has not.
    Given(&'static str),
    /// Whether it has not.
    Lacks(&'static str),
    /// What queries are divided by the root of: of `attention.scale`, or the size of a head; with so many layers, of a
    /// head that were as wide as its part of the row.
    QueryScalar { wide_layers: u64 },
    /// Which layers have a window: a list of truth values, or that every n-th has none.
    WindowPattern,
    /// The base of each layer's rotation, which is 0 where there is no window.
    WindowThetas,
    /// How layers with and without a window rotate, where the latter have heads of another size.
    ThetasByKind,
    /// Heads of keys, of layers with a window or without one.
    KeyHeads { windowed: bool },
    /// Values of a head of layers without a window.
    FullHeadDim,
    /// Whether the feed-forward blocks of some layers are twice as wide.
    DoubleWide,
    /// How much queries grow with the position, a field of the rotation; where no key says it, this much.
    QueryGrowth { unsaid: Option<f64> },
    /// A list of numbers, `null` where they are not finite.
    Numbers(&'static str),
}

/// What becomes of a tensor, by its stem; or by all of its name behind the layer, where that ends otherwise than with `.weight`
/// or `.bias`.
pub(super) type Rule = (&'static str, &'static [(&'static str, Part)]);

/// Which rows of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    All,
    /// Of queries, keys and values one after the other: a delta rule's, where there is one.
    Query,
    Key,
    Value,
    /// Of two halves.
    First,
    Second,
    /// All rows of a vector that is a matrix of one row here.
    OneRow,
    /// All of a vector that is neither a weight nor a bias by name here.
    Bare,
    /// Of the latent row and the part of the keys that rotates.
    Latent,
    LatentRotary,
    /// Of heads, each the part of a key that does not rotate, and its value.
    LatentKey,
    LatentValue,
    /// All rows, those of each head lying as the head's transpose.
    TurnedHeads,
    /// Of heads, each a query and the gate of its output.
    GatedQuery,
    QueryGate,
    /// Of key heads.
    Delta(DeltaPart),
    /// All of a table, which is a vector here.
    Flat,
    /// The one matrix of a slab that our name's end numbers.
    Nth,
    /// All of a tensor whose name has no end; ours has one.
    Whole,
    /// All of a bare vector, each value the negated exponential of ours.
    NegatedExp,
    /// Of slabs, one for each expert, whose number takes the place of the `*` in our name: its rows, or half of them.
    Expert,
    ExpertFirst,
    ExpertSecond,
}

/// Streams of Gemma 3n's residual besides the one that layers work on.
pub(super) const OTHER_STREAMS: usize = 3;

/// The factors of Llama 3's RoPE; they become part of the config.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";
/// LongRoPE's, for contexts beyond the trained one and within it.
pub(super) const LONG_FACTORS: &str = "rope_factors_long.weight";
pub(super) const SHORT_FACTORS: &str = "rope_factors_short.weight";

/// Which layers have a window.
pub(super) const WINDOW_PATTERN: &str = "attention.sliding_window_pattern";
/// The base of the rotation in layers with a window.
pub(super) const WINDOW_THETA: &str = "rope.freq_base_swa";

/// Keys that every architecture reads.
const KEYS: &[&str] = &[
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    super::delta::LAYERS_AHEAD,
];

/// Text has the same position in each of the sections that a head is cut into.
const HARMLESS_KEYS: &[&str] =
    &["vocab_size", "rope.dimension_sections", "rope.scaling.finetuned", "tensor_data_layout"];

/// Keys that change no number while they are zero.
const ZERO_KEYS: &[&str] = &["expert_count", "expert_used_count", "rope.scaling.yarn_log_multiplier"];

/// All tables.
fn rows() -> impl Iterator<Item = &'static Architecture> {
    [ARCHITECTURES, MIXTURES, RECENT, LATE].into_iter().flatten()
}

/// The row of `general.architecture`.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a name that is not in the table.
pub(super) fn architecture(name: &str) -> Result<&'static Architecture> {
    rows().find(|row| row.name == name).ok_or_else(|| {
        let known: Vec<&str> = rows().map(|row| row.name).collect();
        Error::new(ErrorKind::Unsupported, format!("the GGUF architecture '{name}' is not supported"))
            .remedy(format!("supported from GGUF: {}; or use the safetensors checkpoint", known.join(", ")))
    })
}

impl Field {
    fn key(self) -> Option<&'static str> {
        match self {
            Self::Needed(key) | Self::Optional(key) | Self::Or(key, _) => Some(key),
            Self::CountOr(key, _) | Self::TruthOr(key, _) | Self::Numbers(key) => Some(key),
            Self::QueryScalar { .. } => Some("attention.scale"),
            Self::WindowPattern => Some(WINDOW_PATTERN),
            Self::ThetasByKind => Some(WINDOW_THETA),
            Self::PlainDim | Self::ValueDim | Self::RowsOf(_) | Self::LayersWithout(_) => None,
            Self::DeltaValueDim | Self::LinearWith(_) => None,
            Self::OtherExpertsThan(_) => None,
            Self::Has(_) | Self::Given(_) | Self::Lacks(_) | Self::AnyHas(_) | Self::FirstAlone(..) => None,
            Self::Is(_) | Self::RowsOfOuter(_) | Self::WindowThetas | Self::KeyHeads { .. } => None,
            Self::FullHeadDim | Self::DoubleWide => None,
            Self::QueryGrowth { .. } => Some("attention.temperature_scale"),
        }
    }
}

/// Whether a key may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Yes,
    /// Only with the value 0.
    Zero,
    No,
}

impl Architecture {
    /// Whether the key `name.key` is known.
    pub(super) fn knows(&self, key: &str) -> Known {
        let lists = [KEYS, HARMLESS_KEYS, self.keys, self.harmless_keys];
        let of_fields = self.fields.iter().copied().flatten().any(|(_, field)| field.key() == Some(key));
        if self.epsilon == key || of_fields || lists.iter().any(|list| list.contains(&key)) {
            return Known::Yes;
        }
        if ZERO_KEYS.contains(&key) { Known::Zero } else { Known::No }
    }

    /// Our names for the parts of a tensor; `None` for one that has no place in the model.
    pub(super) fn parts(&self, name: &str, layers: u64) -> Option<Vec<(String, Part)>> {
        if let Some((_, ours)) = self.tensors.concat().iter().find(|row| row.0 == name) {
            return Some(vec![((*ours).to_owned(), Part::All)]);
        }
        if let Some((_, ours)) = self.slabs.iter().find(|row| row.0 == name) {
            let of_slab = |index: usize| {
                let full = ours.replacen(".last.", &format!(".{}.", layers.saturating_sub(1)), 1);
                (full.replacen('*', &index.to_string(), 1), Part::Nth)
            };
            return Some((0..OTHER_STREAMS).map(of_slab).collect());
        }
        let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
        let index: u64 = layer.parse().ok()?;
        // `parse` takes "+1" and "01" as well, which would be a second name for the same tensor.
        if index >= layers || index.to_string() != layer {
            return None;
        }
        if self.unused.iter().any(|start| rest.starts_with(start)) {
            return Some(Vec::new());
        }
        let find = |name: &str| self.layer_tensors.iter().copied().flatten().find(|row| row.0 == name);
        let (stem, suffix) = rest.rsplit_once('.').unwrap_or((rest, ""));
        let endless = |rule: &Rule| rule.1.iter().any(|(_, part)| matches!(part, Part::NegatedExp | Part::Whole));
        let (ours, end) = match (find(rest).filter(|rule| rest.contains('.') || endless(rule)), suffix) {
            (Some((_, ours)), _) => (ours, String::new()),
            (None, "weight" | "bias") => (&find(stem).filter(|rule| !endless(rule))?.1, format!(".{suffix}")),
            _ => return None,
        };
        let full = |(ours, part): &(&str, Part)| (format!("model.layers.{index}.{ours}{end}"), *part);
        Some(ours.iter().map(full).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(name: &str) -> Option<Vec<(String, Part)>> {
        Some(vec![(name.to_owned(), Part::All)])
    }

    #[test]
    fn tensors_get_their_names() -> Result<()> {
        let llama = architecture("llama")?;
        for (theirs, ours) in [
            ("token_embd.weight", "model.embed_tokens.weight"),
            ("output.weight", "lm_head.weight"),
            ("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight"),
            ("blk.29.attn_k.bias", "model.layers.29.self_attn.k_proj.bias"),
            ("blk.3.ffn_down.weight", "model.layers.3.mlp.down_proj.weight"),
        ] {
            assert_eq!(llama.parts(theirs, 30), whole(ours));
        }
        for unknown in ["blk.30.attn_q.weight", "blk.01.attn_q.weight", "blk.+1.attn_q.weight", "blk.1.attn_q"] {
            assert_eq!(llama.parts(unknown, 30), None, "{unknown}");
        }
        for unknown in ["blk.1.attn_kqv.weight", "blk.1.attn_q.scale", "rope_factors_long.weight", "blk..weight", ""] {
            assert_eq!(llama.parts(unknown, 30), None, "{unknown}");
        }
        Ok(())
    }

    #[test]
    fn fused_tensors_are_cut_and_norms_keep_their_places() -> Result<()> {
        let phi3 = architecture("phi3")?.parts("blk.1.ffn_up.weight", 2).expect("a place");
        let gate = ("model.layers.1.mlp.gate_proj.weight".to_owned(), Part::First);
        assert_eq!(phi3, [gate, ("model.layers.1.mlp.up_proj.weight".to_owned(), Part::Second)]);
        let qkv = architecture("chatglm")?.parts("blk.0.attn_qkv.bias", 1).expect("a place");
        assert_eq!(qkv.iter().map(|part| part.1).collect::<Vec<_>>(), [Part::Query, Part::Key, Part::Value]);
        let gemma = architecture("gemma2")?.parts("blk.0.post_attention_norm.weight", 1);
        assert_eq!(gemma, whole("model.layers.0.post_attention_layernorm.weight"));
        let glm = architecture("glm4")?.parts("blk.0.post_attention_norm.weight", 1);
        assert_eq!(glm, whole("model.layers.0.post_self_attn_layernorm.weight"));
        assert_eq!(architecture("qwen2")?.parts("output_norm.bias", 1), None);
        Ok(())
    }

    #[test]
    fn names_stand_once() {
        for row in rows() {
            let of_layers = row.layer_tensors.concat();
            for (index, (stem, _)) in of_layers.iter().enumerate() {
                assert!(of_layers[..index].iter().all(|other| other.0 != *stem), "{}: {stem}", row.name);
            }
            assert_eq!(rows().filter(|other| other.name == row.name).count(), 1, "{}", row.name);
            assert!(row.classes.iter().any(|class| matches!(class.when, When::Always)), "{}", row.name);
        }
    }

    #[test]
    fn an_unknown_architecture_is_named() {
        let error = architecture("mamba").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("'mamba'") && error.to_string().contains("llama"));
    }
}
