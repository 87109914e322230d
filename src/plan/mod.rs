//! From a config to a list of ops: `config.json` + tensor names -> [`ModelSpec`] -> [`Op`]s over named buffers.
//!
//! An architecture is data. The engine walks ops; it knows no model family.

mod architectures;
mod fields;
mod rope;
#[cfg(test)]
mod tests;

pub use architectures::model_spec;

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
    pub name: &'static str,
    pub rows: u32,
    pub columns: u32,
}

/// A vector of a layer (norm weights, biases), always f32 in a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorSpec {
    /// The tensor's name in a model, without the layer prefix: `input_layernorm.weight`.
    pub name: &'static str,
    pub len: u32,
}

/// The nonlinearity of a gated feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
}

/// One step of a layer. Every op works on all rows of the sweep.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// `output = input / sqrt(mean(input²) + epsilon) * weight`.
    RmsNorm { input: BufferId, output: BufferId, weight: VectorId, epsilon: f32 },
    /// `output = weight · input (+ bias)`, added to what `output` holds where `accumulate`.
    MatMul { input: BufferId, output: BufferId, weight: MatrixId, bias: Option<VectorId>, accumulate: bool },
    /// Rotates the first `2 * pairs` values of each head in place; value i pairs with i + pairs ("rotate half").
    Rope { target: BufferId, heads: u32, head_dim: u32, pairs: u32 },
    /// Appends the rows' keys and values to the KV cache of this layer.
    KvWrite { key: BufferId, value: BufferId },
    /// Causal grouped attention of `query` over this layer's KV cache; `window` counts the query's own position.
    Attention {
        query: BufferId,
        output: BufferId,
        heads: u32,
        kv_heads: u32,
        head_dim: u32,
        scale: f32,
        window: Option<u32>,
    },
    /// `output = activation(gate) * up`.
    Gate { gate: BufferId, up: BufferId, output: BufferId, activation: Activation },
}

/// One layer: its tensors in sweep order, and its ops.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    pub vectors: Vec<VectorSpec>,
    pub matrices: Vec<MatrixSpec>,
    pub ops: Vec<Op>,
    /// Values in a row of the layer's key (and of its value): `kv_heads * head_dim`.
    pub kv_width: u32,
}

/// How positions turn into angles: everything scaling does is in these numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeSpec {
    /// `[pairs]`: radians a position.
    pub inverse_frequencies: Vec<f32>,
    /// Factor on cos and sin (YaRN's attention factor; 1 elsewhere).
    pub attention_factor: f32,
}

impl RopeSpec {
    /// `[cos; pairs]` then `[sin; pairs]` of a position, scaled by the attention factor. The angle is an f32 product, as
    /// the reference implementation has it.
    pub fn angles(&self, position: u32) -> impl Iterator<Item = f32> + '_ {
        let angle = move |frequency: &f32| f64::from(position as f32 * frequency);
        let cos = self.inverse_frequencies.iter().map(move |f| angle(f).cos() as f32 * self.attention_factor);
        let sin = self.inverse_frequencies.iter().map(move |f| angle(f).sin() as f32 * self.attention_factor);
        cos.chain(sin)
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
    pub buffers: Vec<BufferSpec>,
    /// The buffer that holds the embedding before the first layer and the residual after the last.
    pub residual: BufferId,
    pub layers: Vec<LayerSpec>,
    pub rope: RopeSpec,
    /// Epsilon of the norm before the head (its weight is `model.norm.weight`).
    pub final_norm_epsilon: f32,
    /// The head multiplies with the embedding matrix.
    pub tied_head: bool,
}

/// Names of the tensors outside the layers, in a model and in a Hugging Face checkpoint.
pub const EMBEDDINGS: &str = "model.embed_tokens.weight";
/// The norm before the head.
pub const FINAL_NORM: &str = "model.norm.weight";
/// The head; absent where it is tied to the embeddings.
pub const HEAD: &str = "lm_head.weight";

/// The full name of a layer's tensor: `model.layers.3.` + `self_attn.q_proj.weight`.
pub fn layer_tensor(layer: usize, name: &str) -> String {
    format!("model.layers.{layer}.{name}")
}
