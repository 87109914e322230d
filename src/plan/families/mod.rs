//! The table of families: each row is data, under the address of the config it was read from.
//!
//! Fields have the names of Llama's config; a row says where its family spells one otherwise, and what the family's
//! configuration class in the reference implementation takes where a file says nothing.

use super::NormKind;
use super::delta::DeltaPart;

mod classic;
mod fused;
mod gemma4;
mod late;
mod latent;
mod mixtures;
mod plain;
mod recent;
mod slabs;
mod wholes;

pub(super) use wholes::{OTHER_PARTS, TEXT_PREFIXES, Whole, classes, text_class, whole};

/// A family of decoders.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// The class in `architectures` of `config.json`.
    pub class: &'static str,
    /// What must hold of fields for this row to be the one: some families share a class.
    pub when: &'static [(&'static str, When)],
    pub name: &'static str,
    /// (the common name of a field, this family's).
    pub renamed: &'static [(&'static str, &'static str)],
    /// The reference's defaults, as a JSON object of common names.
    pub defaults: &'static str,
    /// Fields that change the numbers of this family, besides those of every family.
    pub reads: &'static [&'static str],
    /// Fields that a file must have: without them the reference takes what depends on the layers.
    pub needs: &'static [&'static str],
    /// Fields that never do, besides those of every family.
    pub harmless: &'static [&'static str],
    /// Fields that may only have one of the values for which the plan is right.
    pub only: &'static [(&'static str, &'static [&'static str])],
    pub norm: NormKind,
    pub norm_bias: Flag,
    /// Whether the norms of whole rows have weights.
    pub norm_weights: bool,
    /// Norm weights are stored around 0 and meant around 1.
    pub unit_offset: bool,
    /// But for those of the norm before the head.
    pub plain_final_norm: bool,
    /// Embeddings are normed before the first layer; whether with weights (`embedding_norm`). `None`: they are not.
    pub embedding_norm: Option<bool>,
    pub norms: Norms,
    /// Attention and feed-forward read the residual as it was before both, and both add to it.
    pub parallel: Flag,
    /// The feed-forward block of a parallel layer has a norm of its own; else it reads that of attention.
    pub parallel_norms: bool,
    pub qkv_bias: Flag,
    pub output_bias: Flag,
    pub mlp_bias: Flag,
    pub head_bias: Flag,
    pub head_norm: HeadNorm,
    /// Values are normed, each head alone and without a weight.
    pub value_norm: bool,
    /// Layers without a window have heads of another size, and keys of another number.
    pub full_heads: bool,
    /// Values of layers without a window are their keys, as they are before these are normed and rotated.
    pub keys_as_values: Flag,
    /// Whether the feed-forward blocks of layers that read the keys of others are twice as wide.
    pub double_wide: Flag,
    /// Scores of attention are not scaled.
    pub unscaled: bool,
    /// The residual has four streams, of which layers work on the first (Gemma 3n).
    pub streams: bool,
    /// What a layer leaves in the residual is multiplied with a number (`layer_scalar`).
    pub layer_factor: bool,
    /// Keys and values come from one latent row (multi-head latent attention).
    pub latent: bool,
    /// What attention gives is multiplied with the sigmoid of a gate (`self_attn.gate_proj`).
    pub output_gate: bool,
    /// Some layers have a gated delta rule in place of attention.
    pub delta_rule: bool,
    pub rope: Rope,
    /// Pairs rotate the other way round.
    pub rope_backwards: bool,
    /// Whether the feed-forward block has a gate.
    pub gated: bool,
    /// The feed-forward block has no gate, and bends by a curve that each layer learned (xIELU).
    pub learned_curve: bool,
    /// Where no field says how wide the feed-forward block is, it is so many times `hidden_size`.
    pub intermediate_times: Option<u32>,
    /// `intermediate_size` counts gate and up together.
    pub intermediate_is_both: bool,
    /// Embeddings are multiplied with the root of `hidden_size`.
    pub embeddings_grow: Flag,
    /// Rows of the head are brought to length 1.
    pub normalized_head: bool,
    pub experts: Option<Experts>,
    /// Experts add to what a feed-forward block for all tokens gives; each of the two has norms of its own.
    pub experts_beside: bool,
    /// Whether the choice of experts has a bias of its own (`mlp.gate.bias`). `None`: where scores are sigmoids.
    pub choice_bias: Option<bool>,
    /// Slabs of experts are transposed, where their shape does not tell.
    pub slabs_transposed: bool,
    /// Whether the router and each expert's matrices have biases.
    pub expert_bias: bool,
    /// Field with the bound of the experts' clamped SwiGLU, where they have that.
    pub swiglu_limit: Option<&'static str>,
    /// The router's factors go on the experts' input.
    pub factor_on_input: bool,
    /// Each softmax of attention has a term that no value belongs to.
    pub sinks: bool,
    /// That of layers with a window has.
    pub sinks_in_windows: bool,
    /// Heads of keys that a layer with a window has for each one of the others.
    pub kv_heads_in_windows: u32,
    /// What other families have as a window is a chunk: none sees beyond its own.
    pub chunked: bool,
    /// Field with a list of layers that text passes by: they attend to what other parts give.
    pub passed_by: Option<&'static str>,
    /// What may stand before every name, or not: some files have it, some do not.
    pub prefix: &'static str,
    /// What stands before the number of a layer in the names of its tensors.
    pub layers: &'static str,
    pub tensors: &'static [Rule],
    /// What the names of tensors begin with that the plan does without, those of layers without what stands before.
    pub unused: &'static [&'static str],
    /// Field with the positions up to which attention sees all of them, where more are not known. `None`: it always does.
    pub most_positions: Option<&'static str>,
}

/// What holds of a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    There,
    Absent,
    AtLeast(u64),
    /// The text, or the JSON, of its value.
    Is(&'static str),
}

/// Whether something is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flag {
    No,
    Yes,
    /// As a truth value of the config says; not where it is silent.
    Field(&'static str),
}

/// Names of a layer's norms; `None` where there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norms {
    pub before_attention: Option<&'static str>,
    pub after_attention: Option<&'static str>,
    pub before_mlp: Option<&'static str>,
    pub after_mlp: Option<&'static str>,
}

/// Norms of queries and keys (`self_attn.q_norm`, `self_attn.k_norm`).
#[derive(Clone, Copy, Debug)]
pub(super) enum HeadNorm {
    None,
    /// One weight for all heads, each head normalized alone.
    Shared,
    /// The same, where the field is true.
    SharedIf(&'static str),
    /// The same, when heads have been rotated.
    SharedAfterRope,
    /// A weight for each head, where the field is true.
    EachIf(&'static str),
    /// All heads normalized as one row.
    Whole,
    /// Each head alone, without a weight.
    Weightless,
    /// Without a weight, where the field is true and heads have been rotated.
    AfterRope(&'static str),
}

/// How positions enter.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rope {
    /// Pairs (i, i + half).
    Halves,
    /// Pairs (i, i + half), and only where the window is; everywhere in a model without one.
    HalvesInWindows,
    /// Pairs (2 i, 2 i + 1).
    Interleaved,
    /// Pairs (2 i, 2 i + 1), and only where the window is.
    InterleavedInWindows,
    /// No rotation: scores fall with distance.
    Alibi,
}

/// Experts, of which each token uses a few.
#[derive(Clone, Copy, Debug)]
pub(super) struct Experts {
    /// Field with their number.
    pub count: &'static str,
    /// Field with the width between an expert's matrices.
    pub width: &'static str,
    /// Whether the factors of the chosen ones are divided by their sum.
    pub normalize: Flag,
    /// The expert that every token uses.
    pub shared: Shared,
    /// What stands before an expert's number, and its gate, up and down.
    pub names: (&'static str, [&'static str; 3]),
}

/// An expert that every token uses.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shared {
    None,
    /// As wide as the field says, and weighed by a gate of its own.
    Gated(&'static str),
    /// As wide as so many of the others, as the field says.
    Several(&'static str),
    /// As wide as the field says.
    Wide(&'static str),
    /// As wide as one of the others.
    One,
}

/// What becomes of a tensor of the checkpoint, by its name without prefix and without `.weight` or `.bias`; its last part may
/// be `*`, a number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub theirs: &'static str,
    pub ours: &'static [(&'static str, Part)],
}

/// Which rows of a tensor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    All,
    /// Of queries, keys and values one after the other.
    Query,
    Key,
    Value,
    /// Of groups, each the queries of a key head, its key and its value.
    GroupedQuery,
    GroupedKey,
    GroupedValue,
    /// Of two halves.
    First,
    Second,
    /// Of the latent row and the part of the keys that rotates.
    Latent,
    LatentRotary,
    /// Of heads, each the part of a key that does not rotate, and its value.
    LatentKey,
    LatentValue,
    /// Of heads, each a query and the gate of its output.
    GatedQuery,
    QueryGate,
    Delta(DeltaPart),
    /// Of a slab for each expert, whose number is the `*` in our name. Matrices of plain values may be transposed there.
    Slab(Cut),
    /// A part of a vector, whose place is the number that its name ends with.
    Numbered,
}

/// Which rows of a slab.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    All,
    Even,
    Odd,
    First,
    Second,
}

/// Queries, keys and values one after the other.
const FUSED_QKV: &[(&str, Part)] =
    &[("self_attn.q_proj", Part::Query), ("self_attn.k_proj", Part::Key), ("self_attn.v_proj", Part::Value)];

/// The gate, then what it gates.
const FUSED_GATE_UP: &[(&str, Part)] = &[("mlp.gate_proj", Part::First), ("mlp.up_proj", Part::Second)];

/// A slab for each expert, gate and up in one, as transformers 5 keeps them.
pub(super) const EXPERT_SLABS: &[Rule] = &[
    Rule {
        theirs: "mlp.experts.gate_up_proj",
        ours: &[
            ("mlp.experts.*.gate_proj.weight", Part::Slab(Cut::First)),
            ("mlp.experts.*.up_proj.weight", Part::Slab(Cut::Second)),
        ],
    },
    Rule { theirs: "mlp.experts.down_proj", ours: &[("mlp.experts.*.down_proj.weight", Part::Slab(Cut::All))] },
];

/// Every row.
pub(super) fn families() -> impl Iterator<Item = &'static Family> {
    let files = [
        plain::ROWS,
        fused::ROWS,
        slabs::ROWS,
        recent::ROWS,
        mixtures::ROWS,
        latent::ROWS,
        late::ROWS,
        classic::ROWS,
        gemma4::ROWS,
    ];
    files.into_iter().flatten()
}
