//! From a config to a list of ops: `config.json` + tensor names -> [`ModelSpec`] -> [`Op`]s over named buffers.
//!
//! An architecture is data. The engine walks ops; it knows no model family.

mod block;
mod buffers;
mod delta;
mod experts;
mod families;
mod family;
mod feed_forward;
mod fields;
mod harmless;
mod heads;
mod latent;
mod listed;
mod mixture;
mod names;
mod per_layer;
mod per_layer_embeddings;
mod rope;
#[cfg(test)]
mod row_tests;
mod rows;
mod shape;
mod streams;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod whole_tests;

pub use block::model_spec;
pub(crate) use delta::DeltaPart;
pub use experts::{ExpertsSpec, Routing};
pub(crate) use family::{is_of_body, settle_class, settle_head, unknown_family};
pub use listed::{ListedClass, listed_classes};
pub use names::{TensorNames, TensorSource};
pub use rows::{RotaryRows, RowMap};

/// What kernels read of an activation row at once: a row, and a group of one that a product reads, is padded with zeros to
/// a multiple of it.
pub const CHUNK_COLUMNS: u32 = 32;

/// Where the up half begins in a row whose gate half has `width` values: a product reads the gate half, and whole chunks of
/// it.
pub fn up_first(width: u32) -> u32 {
    width.next_multiple_of(CHUNK_COLUMNS)
}

/// Index of an activation buffer in [`ModelSpec::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(pub u16);

/// Index of a matrix in [`LayerSpec::matrices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MatrixId(pub u16);

/// Index of a vector in [`LayerSpec::vectors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VectorId(pub u16);

/// An activation buffer: `[rows, width]` f32, one row for each (sequence, position) of the sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferSpec {
    /// A short name for messages and traces: `x`, `normed`, `q`, `gate`…
    pub name: &'static str,
    /// Values in a row.
    pub width: u32,
}

/// A matrix `[rows, columns]` that multiplies an activation row: `out[row] = sum_c weight[row, c] * in[c]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatrixSpec {
    /// The tensor's name in a model, without the layer prefix: `self_attn.q_proj.weight`.
    pub name: String,
    pub rows: u32,
    pub columns: u32,
}

/// A vector of a layer (norm weights, biases), always f32 in a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorSpec {
    /// The tensor's name in a model, without the layer prefix: `input_layernorm.weight`.
    pub name: String,
    pub len: u32,
}

/// The nonlinearity of a feed-forward block or of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * Φ(x)`, Φ being the normal distribution.
    Gelu,
    /// The same by a tanh: `gelu_new`, `gelu_pytorch_tanh`.
    GeluTanh,
    /// `max(x, 0)^2`.
    SquaredRelu,
    /// `sigmoid(x)`, times up.
    Sigmoid,
    /// `x * sigmoid(up)`.
    SigmoidFactor,
    /// gpt-oss: `g * sigmoid(1.702 g) * (up + 1)`, both sides held within a limit.
    ClampedSwiglu,
}

/// How a row is brought to a common size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormKind {
    /// Divided by the root of its mean square.
    Rms,
    /// The mean taken off first.
    Layer,
}

/// A norm without what it works on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormSpec {
    pub kind: NormKind,
    pub epsilon: f32,
    pub weight: Option<VectorId>,
    pub bias: Option<VectorId>,
}

/// The groups of a row that are normalized: `count` of them of `width` values, from value `first` of the input on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormGroups {
    pub first: u32,
    /// Where they begin in the output.
    pub to: u32,
    pub count: u32,
    pub width: u32,
    /// Weights are `[count, width]`, not `[width]` for all groups.
    pub own_weights: bool,
    /// Groups from this one on have this weight in place of [`NormSpec::weight`].
    pub later: Option<(u32, VectorId)>,
}

impl NormGroups {
    /// Groups with the same weights, which begin at the same value of input and output.
    pub fn alike(first: u32, count: u32, width: u32) -> Self {
        Self { first, to: first, count, width, own_weights: false, later: None }
    }
}

/// What attention does besides the softmax of scaled products.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionSpec {
    pub heads: u32,
    pub kv_heads: u32,
    /// Values of a query and of a key.
    pub head_dim: u32,
    /// Values of a value.
    pub value_dim: u32,
    /// A value is the front of its key, and is not stored.
    pub values_in_keys: bool,
    /// Values of the output between the heads' beginnings.
    pub output_group: u32,
    pub scale: f32,
    /// Positions that a query sees, its own included; all of them where none.
    pub window: Option<u32>,
    /// Positions are cut in chunks as long as the window, and none sees beyond its own.
    pub chunked: bool,
    /// Scores are bent into ± this.
    pub softcap: Option<f32>,
    /// `[heads]`: one more term of each softmax, which takes part of the weight.
    pub sinks: Option<VectorId>,
    /// Scores fall with distance, each head at its own slope.
    pub alibi: bool,
}

impl AttentionSpec {
    /// The first position that a query at `position` sees.
    pub fn first_position(&self, position: u32) -> u32 {
        match self.window {
            None => 0,
            Some(window) if self.chunked => position - position % window.max(1),
            Some(window) => (position + 1).saturating_sub(window),
        }
    }
}

/// A matrix of a product, and where its output begins in a row of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackedMatrix {
    pub weight: MatrixId,
    pub bias: Option<VectorId>,
    pub first: u32,
}

/// What a gate is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Up {
    Nothing,
    /// The values of another buffer, from this one on.
    In(BufferId, u32),
    /// The values of the same rows, from this one on.
    From(u32),
}

/// The rotation of queries, which begin the rows, and of keys: see [`Op::Rope`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Heads of queries.
    pub heads: u32,
    pub head_dim: u32,
    pub pairs: u32,
    pub table: usize,
}

/// One step of a layer. Every op works on all rows of the sweep.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// `output = scale * norm(input)`, added to what `output` holds where `accumulate`, and multiplied with `factor`, a
    /// vector of one value; each group of a row is normalized alone.
    Norm {
        input: BufferId,
        output: BufferId,
        norm: NormSpec,
        groups: NormGroups,
        accumulate: bool,
        scale: f32,
        factor: Option<VectorId>,
    },
    /// `output = scale * (weight · input (+ bias))`, added to what `output` holds where `accumulate`, for each of the `parts`:
    /// matrices that follow each other, and that the engine multiplies as one where they are stored alike. The rows of
    /// `weight` come in `groups` runs; each multiplies a group of `input` of its own, which begins on a multiple of
    /// [`CHUNK_COLUMNS`] and is padded with zeros.
    MatMul { input: BufferId, output: BufferId, parts: Vec<StackedMatrix>, accumulate: bool, scale: f32, groups: u32 },
    /// The rows of `weight` come in `groups` runs: to the front of each group of `output` goes the run's transpose times
    /// the values of the group of `input`, from `first` on.
    MatMulTransposed { input: BufferId, output: BufferId, weight: MatrixId, groups: u32, first: u32 },
    /// Rotates the first `2 * pairs` values of each head in place; value i pairs with i + pairs ("rotate half"). The heads
    /// begin at value `first` of a row; `table` is an index in [`ModelSpec::ropes`].
    Rope { target: BufferId, first: u32, heads: u32, head_dim: u32, pairs: u32, table: usize },
    /// Copies the first `width` values of each of the `groups` groups of `input` to where `first` values of a group of
    /// `output` end.
    Place { input: BufferId, output: BufferId, groups: u32, width: u32, first: u32 },
    /// `target = silu(conv(target))`: a causal convolution of [`RecurrentSpec::TAPS`] taps along each sequence, over `width`
    /// channels, which are those from `first` on of the weight `[channels, taps]` and of the state.
    Conv { target: BufferId, weight: VectorId, first: u32, width: u32 },
    /// The gated delta rule over this layer's recurrent state. `value` becomes the output; `rate` (the logarithm of how fast
    /// a head forgets) and `bias` (added to `decay`) are `[heads]`.
    DeltaRule {
        query: BufferId,
        key: BufferId,
        value: BufferId,
        decay: BufferId,
        beta: BufferId,
        rate: VectorId,
        bias: VectorId,
    },
    /// Appends the rows' keys and values to the KV cache of this layer. They begin at the values `key` and `value` of a row
    /// of `rows`; without `value`, keys hold the values. With `turn`, keys are rotated on their way, and queries where they
    /// are.
    KvWrite { rows: BufferId, key: u32, value: Option<u32>, rotation: Option<Rotation> },
    /// Causal grouped attention of `query` over this layer's KV cache.
    Attention { query: BufferId, output: BufferId, attention: AttentionSpec },
    /// `target = activation(target) * up`, over `width` values of a row; without `up`, `activation(target)`. With
    /// `one_factor` the first value of `up` serves the whole row.
    Gate { target: BufferId, up: Up, width: u32, activation: Activation, one_factor: bool },
    /// `target = a x^2 + b x` for x above 0, and `c (exp(x) - 1 - x) + b x` below: xIELU (Huang and Schlag, 2024), over
    /// `width` values of a row. `a` is softplus(`positive`) and `c` is `b` + softplus(`negative`); all three are of length 1.
    Xielu { target: BufferId, width: u32, positive: VectorId, negative: VectorId, slope: VectorId },
    /// `target = bent(scale * target)`, over `width` values of a row: each multiplied with its factor, and then held within
    /// ± `cap` by a tanh.
    Bend { target: BufferId, width: u32, scale: f32, cap: Option<f32>, factors: Option<VectorId> },
    /// Takes the mean of a row and so many standard deviations off each of its `width` values, and keeps what is above 0.
    Cutoff { target: BufferId, width: u32, deviations: f32 },
    /// Adds to each of four streams `[rows, hidden]` a sum of all of them, each times one of 16 `coefs`; or what `activated`
    /// differs in from the first, times one of four and 1.
    MixStreams { streams: [BufferId; 4], coefs: BufferId, activated: Option<BufferId> },
    /// `output = input`, brought to the size of `model`: the root of the mean square of `width` values; added to what
    /// `output` holds where `accumulate`.
    MatchSize { input: BufferId, model: BufferId, output: BufferId, width: u32, accumulate: bool },
    /// Chooses the experts of each row by the `scores` `[rows, experts]`, and has their weights fetched.
    Route { scores: BufferId },
    /// `output += scale * sum over the chosen experts e of factor[e] * down_e(activation(gate_e(input)) * up_e(input))`, each
    /// product with its bias; the factor on the input instead where [`ExpertsSpec::factor_on_input`].
    Experts { input: BufferId, output: BufferId, scale: f32 },
}

/// What a layer with a gated delta rule keeps of each sequence, instead of keys and values: it does not grow with the
/// text, and it can be carried on but not cut back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecurrentSpec {
    pub key_heads: u32,
    /// Heads of values, each with a state of its own.
    pub heads: u32,
    pub key_dim: u32,
    pub value_dim: u32,
    /// Value head `h` uses key head `h % key_heads`, as GGUF files have them; else `h / (heads / key_heads)`.
    pub tiled: bool,
}

impl RecurrentSpec {
    /// Taps of the convolution before the rule.
    pub const TAPS: u32 = 4;

    /// Values of all keys (or queries) of a row.
    pub fn key_width(&self) -> u32 {
        self.key_heads * self.key_dim
    }

    /// Values of all values of a row.
    pub fn value_width(&self) -> u32 {
        self.heads * self.value_dim
    }

    /// Channels of the convolution: queries, keys, values.
    pub fn channels(&self) -> u32 {
        2 * self.key_width() + self.value_width()
    }

    /// Floats of the last rows before the convolution, `[taps - 1, channels]`, which come first in a state.
    pub fn conv_floats(&self) -> u32 {
        (Self::TAPS - 1) * self.channels()
    }

    /// Floats of a state: those, then `[heads, key_dim, value_dim]`.
    pub fn floats(&self) -> u32 {
        self.conv_floats() + self.key_dim * self.value_width()
    }
}

/// One layer: its tensors in sweep order, and its ops.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    pub vectors: Vec<VectorSpec>,
    pub matrices: Vec<MatrixSpec>,
    pub ops: Vec<Op>,
    pub experts: Option<ExpertsSpec>,
    /// Values in a row of the layer's keys; 0 where it keeps none.
    pub key_width: u32,
    /// Values in a row of the layer's values; 0 where it keeps none, or where keys hold them.
    pub value_width: u32,
    /// The layer whose keys and values attention reads. `None`: its own.
    pub reads_keys_of: Option<usize>,
    /// The state it keeps instead.
    pub recurrent: Option<RecurrentSpec>,
}

/// A factor that grows with the position: `strength * ln(1 + floor((position + ahead) / positions)) + 1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temperature {
    pub positions: u32,
    pub strength: f32,
    pub ahead: u32,
}

/// How positions turn into angles: everything scaling does is in these numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeSpec {
    /// `[pairs]`: radians a position.
    pub inverse_frequencies: Vec<f32>,
    /// LongRoPE: the frequencies for texts of more positions than the number.
    pub long: Option<(u32, Vec<f32>)>,
    /// Factor on cos and sin (YaRN's attention factor; 1 elsewhere).
    pub attention_factor: f32,
    /// A factor that grows with the position.
    pub temperature: Option<Temperature>,
}

impl RopeSpec {
    /// `[cos; pairs]` then `[sin; pairs]` of a position, scaled by the attention factor. The angle is an f32 product, as
    /// the reference implementation has it. `text_len` is the number of positions of the whole text.
    pub fn angles(&self, position: u32, text_len: u32) -> impl Iterator<Item = f32> + '_ {
        let frequencies = match &self.long {
            Some((from, frequencies)) if text_len > *from => frequencies,
            _ => &self.inverse_frequencies,
        };
        let angle = move |frequency: &f32| f64::from(position as f32 * frequency);
        let factor = self.attention_factor * self.temperature(position);
        let cos = frequencies.iter().map(move |f| angle(f).cos() as f32 * factor);
        let sin = frequencies.iter().map(move |f| angle(f).sin() as f32 * factor);
        cos.chain(sin)
    }

    fn temperature(&self, position: u32) -> f32 {
        let Some(Temperature { positions, strength, ahead }) = self.temperature else { return 1.0 };
        ((position as f32 + ahead as f32) / positions as f32).floor().ln_1p() * strength + 1.0
    }

    /// Pairs of values that rotate.
    pub fn pairs(&self) -> usize {
        self.inverse_frequencies.len()
    }
}

/// A model as the engine sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// The row of the table of architectures: `llama`, `mistral`…
    pub family: &'static str,
    pub hidden: u32,
    pub vocab: u32,
    /// Positions the checkpoint was trained for.
    pub max_positions: u32,
    /// The config's field that keeps texts shorter than that. `None`: nothing does.
    pub limited_by: Option<&'static str>,
    pub buffers: Vec<BufferSpec>,
    /// The buffer that holds the embedding before the first layer and the residual after the last.
    pub residual: BufferId,
    pub layers: Vec<LayerSpec>,
    /// Tables of angles; ops name one by its index.
    pub ropes: Vec<RopeSpec>,
    /// Embeddings are multiplied with this.
    pub embedding_scale: f32,
    /// The embeddings of layers of their own. `None`: they have none.
    pub per_layer: Option<PerLayerSpec>,
    pub head: HeadSpec,
}

impl ModelSpec {
    /// Whether texts of so many positions turn their keys by the same angles.
    pub fn rotates_alike(&self, one: u32, other: u32) -> bool {
        let alike = |(from, _): &(u32, Vec<f32>)| (one > *from) == (other > *from);
        self.ropes.iter().all(|rope| rope.long.as_ref().is_none_or(alike))
    }
}

/// A second table of embeddings, `[rows, width]`: with its row of a token a sweep begins in `target`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerLayerSpec {
    pub rows: u32,
    pub width: u32,
    pub target: BufferId,
    /// Rows are multiplied with this.
    pub scale: f32,
}

/// The norm and the matrix after the last layer.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadSpec {
    pub norm: NormKind,
    pub epsilon: f32,
    /// The vectors of the head, in the order of [`FINAL_NORM`], [`FINAL_NORM_BIAS`], [`HEAD_BIAS`] and [`HEAD_SCALE`], as far as
    /// it has them.
    pub vectors: Vec<VectorSpec>,
    /// The head multiplies with the embedding matrix.
    pub tied: bool,
    /// Logits are multiplied with this.
    pub logit_scale: f32,
    /// Logits are bent into ± this.
    pub softcap: Option<f32>,
}

impl HeadSpec {
    /// The index of a vector by its name.
    pub fn vector(&self, name: &str) -> Option<VectorId> {
        self.vectors.iter().position(|vector| vector.name == name).map(|index| VectorId(index as u16))
    }
}

/// Names of the tensors outside the layers, in a model and in a Hugging Face checkpoint.
pub const EMBEDDINGS: &str = "model.embed_tokens.weight";
/// The table of the embeddings of layers of their own.
pub const PER_LAYER_EMBEDDINGS: &str = "model.embed_tokens_per_layer.weight";
/// The norm before the head.
pub const FINAL_NORM: &str = "model.norm.weight";
/// The bias of that norm, where it has one.
pub const FINAL_NORM_BIAS: &str = "model.norm.bias";
/// The bias of the head, where it has one.
pub const HEAD_BIAS: &str = "lm_head.bias";
/// One over the length of each row of the head, where logits are multiplied with it.
pub const HEAD_SCALE: &str = "lm_head.scale";
/// The head; absent where it is tied to the embeddings.
pub const HEAD: &str = "lm_head.weight";

/// The full name of a layer's tensor: `model.layers.3.` + `self_attn.q_proj.weight`.
pub fn layer_tensor(layer: usize, name: &str) -> String {
    format!("model.layers.{layer}.{name}")
}
