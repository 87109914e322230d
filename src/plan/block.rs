//! The ops of a layer: what a family's row and a config's numbers come to.

use super::families::{HeadNorm, Rope};
use super::shape::{ExpertsShape, Shape};
use super::*;
use crate::Result;

/// The plan of a `config.json`.
///
/// # Errors
/// [`ErrorKind::Unsupported`](crate::ErrorKind) for an unknown architecture or field,
/// [`ErrorKind::Missing`](crate::ErrorKind) and [`ErrorKind::Malformed`](crate::ErrorKind) naming the field.
pub fn model_spec(config: &serde_json::Value) -> Result<ModelSpec> {
    let shape = Shape::read(config)?;
    Ok(ModelSpec {
        family: shape.family.name,
        hidden: shape.hidden,
        vocab: shape.vocab,
        max_positions: shape.max_positions,
        buffers: buffers(&shape),
        residual: X,
        layers: (0..shape.layers as usize).map(|index| layer(&shape, index)).collect(),
        ropes: shape.ropes.clone(),
        embedding_scale: shape.embedding_scale,
        head: head(&shape),
    })
}

const X: BufferId = BufferId(0);
const NORMED: BufferId = BufferId(1);
const Q: BufferId = BufferId(2);
const K: BufferId = BufferId(3);
const V: BufferId = BufferId(4);
const ATTENDED: BufferId = BufferId(5);
const UP: BufferId = BufferId(6);
const GATE: BufferId = BufferId(7);
/// What a block adds to the residual, where a norm comes between.
const BRANCH: BufferId = BufferId(8);
/// A score for each expert.
const SCORES: BufferId = BufferId(9);
/// The gate of the shared expert: one value a row.
const SHARED_GATE: BufferId = BufferId(10);
/// Rows of one expert: input, gate, up, output.
const EXPERT: [BufferId; 4] = [BufferId(11), BufferId(12), BufferId(13), BufferId(14)];

fn buffers(shape: &Shape) -> Vec<BufferSpec> {
    let mut widths = vec![
        ("x", shape.hidden),
        ("normed", shape.hidden),
        ("q", shape.q_width()),
        ("k", shape.kv_width()),
        ("v", shape.kv_width()),
        ("attended", shape.q_width()),
        ("up", shape.intermediate),
        ("gate", if shape.family.gated { shape.intermediate } else { 1 }),
    ];
    let norms = shape.family.norms;
    let branches = norms.after_attention.is_some() || norms.after_mlp.is_some();
    if branches || shape.experts.is_some() {
        widths.push(("branch", if branches { shape.hidden } else { 1 }));
    }
    if let Some(experts) = &shape.experts {
        let shared = experts.shared_width.unwrap_or(1);
        widths[usize::from(UP.0)].1 = shape.intermediate.max(shared);
        widths[usize::from(GATE.0)].1 = shape.intermediate.max(shared);
        widths.extend([("scores", experts.count), ("shared gate", 1), ("expert input", shape.hidden)]);
        widths.extend([("expert gate", experts.width), ("expert up", experts.width), ("expert output", shape.hidden)]);
    }
    widths.into_iter().map(|(name, width)| BufferSpec { name, width }).collect()
}

fn head(shape: &Shape) -> HeadSpec {
    let mut vectors = vec![VectorSpec { name: FINAL_NORM.into(), len: shape.hidden }];
    if shape.norm_bias {
        vectors.push(VectorSpec { name: FINAL_NORM_BIAS.into(), len: shape.hidden });
    }
    if shape.head_bias {
        vectors.push(VectorSpec { name: HEAD_BIAS.into(), len: shape.vocab });
    }
    if shape.family.normalized_head {
        vectors.push(VectorSpec { name: HEAD_SCALE.into(), len: shape.vocab });
    }
    HeadSpec {
        norm: shape.family.norm,
        epsilon: shape.epsilon,
        vectors,
        tied: shape.tied_head,
        logit_scale: shape.logit_scale,
        softcap: shape.logit_softcap,
    }
}

/// Collects a layer's tensors while its ops are written down.
struct Block<'a> {
    shape: &'a Shape,
    layer: LayerSpec,
}

impl Block<'_> {
    fn vector(&mut self, name: String, len: u32) -> VectorId {
        self.layer.vectors.push(VectorSpec { name, len });
        VectorId(self.layer.vectors.len() as u16 - 1)
    }

    fn norm_spec(&mut self, name: &str, len: u32, bias: bool) -> NormSpec {
        NormSpec {
            kind: self.shape.family.norm,
            epsilon: self.shape.epsilon,
            weight: Some(self.vector(format!("{name}.weight"), len)),
            bias: bias.then(|| self.vector(format!("{name}.bias"), len)),
        }
    }

    /// A norm of whole rows, from the residual or (`to` being the residual) added to it.
    fn norm(&mut self, name: &str, input: BufferId, output: BufferId) {
        let width = self.shape.hidden;
        let norm = self.norm_spec(name, width, self.shape.norm_bias);
        let (accumulate, scale) = self.added(output);
        let op = Op::Norm { input, output, norm, groups: 1, width, per_group: false, accumulate, scale };
        self.layer.ops.push(op);
    }

    /// What goes to the residual is added to it, scaled.
    fn added(&self, output: BufferId) -> (bool, f32) {
        if output == X { (true, self.shape.residual_scale) } else { (false, 1.0) }
    }

    /// Norms each head of queries or keys.
    fn head_norm(&mut self, name: &str, target: BufferId, heads: u32) {
        let head_dim = self.shape.head_dim;
        let (groups, width, per_group) = match self.shape.head_norm {
            HeadNorm::None => return,
            HeadNorm::Shared => (heads, head_dim, false),
            HeadNorm::EachIf(_) => (heads, head_dim, true),
            HeadNorm::Whole => (1, heads * head_dim, false),
        };
        let norm = self.norm_spec(name, if per_group { groups * width } else { width }, false);
        let (input, output) = (target, target);
        self.layer.ops.push(Op::Norm { input, output, norm, groups, width, per_group, accumulate: false, scale: 1.0 });
    }

    fn matmul(&mut self, name: &str, bias: bool, (rows, columns): (u32, u32), input: BufferId, output: BufferId) {
        self.layer.matrices.push(MatrixSpec { name: format!("{name}.weight"), rows, columns });
        let weight = MatrixId(self.layer.matrices.len() as u16 - 1);
        let bias = bias.then(|| self.vector(format!("{name}.bias"), rows));
        let (accumulate, scale) = self.added(output);
        self.layer.ops.push(Op::MatMul { input, output, weight, bias, accumulate, scale });
    }

    fn rope(&mut self, target: BufferId, heads: u32, table: Option<usize>) {
        if let Some(table) = table {
            let (head_dim, pairs) = (self.shape.head_dim, self.shape.rotary_dim / 2);
            self.layer.ops.push(Op::Rope { target, heads, head_dim, pairs, table });
        }
    }

    fn attention(&mut self, index: usize, input: BufferId, output: BufferId) {
        let shape = self.shape;
        let (q, kv, hidden, bias) = (shape.q_width(), shape.kv_width(), shape.hidden, shape.qkv_bias);
        self.matmul("self_attn.q_proj", bias, (q, hidden), input, Q);
        self.matmul("self_attn.k_proj", bias, (kv, hidden), input, K);
        self.matmul("self_attn.v_proj", bias, (kv, hidden), input, V);
        self.head_norm("self_attn.q_norm", Q, shape.heads);
        self.head_norm("self_attn.k_norm", K, shape.kv_heads);
        self.rope(Q, shape.heads, shape.rope_tables[index]);
        self.rope(K, shape.kv_heads, shape.rope_tables[index]);
        self.layer.ops.push(Op::KvWrite { key: K, value: V });
        let attention = AttentionSpec {
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            value_dim: shape.head_dim,
            scale: shape.attention_scale,
            window: shape.windows[index],
            softcap: shape.attention_softcap,
            sinks: None,
            alibi: matches!(shape.family.rope, Rope::Alibi),
        };
        self.layer.ops.push(Op::Attention { query: Q, output: ATTENDED, attention });
        self.matmul("self_attn.o_proj", shape.output_bias, (hidden, q), ATTENDED, output);
    }

    /// The experts that a router chooses, and the one that every token uses.
    fn experts(&mut self, experts: &ExpertsShape, input: BufferId, output: BufferId) {
        let (hidden, activation) = (self.shape.hidden, self.shape.activation);
        self.matmul("mlp.gate", false, (experts.count, hidden), input, SCORES);
        // The chosen ones are on their way while the shared one is computed.
        self.layer.ops.push(Op::Route { scores: SCORES });
        if let Some(width) = experts.shared_width {
            self.matmul("mlp.shared_expert_gate", false, (1, hidden), input, SHARED_GATE);
            self.matmul("mlp.shared_expert.gate_proj", false, (width, hidden), input, GATE);
            self.matmul("mlp.shared_expert.up_proj", false, (width, hidden), input, UP);
            self.gate(GATE, Some(UP), width, activation);
            // What a factor does to a product's input it does to the product.
            let up = Some(SHARED_GATE);
            let activation = Activation::SigmoidFactor;
            self.layer.ops.push(Op::Gate { target: GATE, up, width, activation, one_factor: true });
            self.matmul("mlp.shared_expert.down_proj", false, (hidden, width), GATE, output);
        }
        let (_, scale) = self.added(output);
        self.layer.ops.push(Op::Experts { input, output, scale });
        let (count, width, routing) = (experts.count, experts.width, experts.routing);
        self.layer.experts = Some(ExpertsSpec { count, width, hidden, activation, routing, buffers: EXPERT });
    }

    fn gate(&mut self, target: BufferId, up: Option<BufferId>, width: u32, activation: Activation) {
        self.layer.ops.push(Op::Gate { target, up, width, activation, one_factor: false });
    }

    fn feed_forward(&mut self, index: usize, input: BufferId, output: BufferId) {
        if let Some(experts) = self.shape.experts.as_ref().filter(|experts| experts.layers[index]) {
            return self.experts(experts, input, output);
        }
        let (width, hidden, bias) = (self.shape.intermediate, self.shape.hidden, self.shape.mlp_bias);
        let activation = self.shape.activation;
        let inner = if self.shape.family.gated {
            self.matmul("mlp.gate_proj", bias, (width, hidden), input, GATE);
            self.matmul("mlp.up_proj", bias, (width, hidden), input, UP);
            self.gate(GATE, Some(UP), width, activation);
            GATE
        } else {
            self.matmul("mlp.up_proj", bias, (width, hidden), input, UP);
            self.gate(UP, None, width, activation);
            UP
        };
        self.matmul("mlp.down_proj", bias, (hidden, width), inner, output);
    }
}

fn layer(shape: &Shape, index: usize) -> LayerSpec {
    let (key_width, value_width) = (shape.kv_width(), shape.kv_width());
    let layer =
        LayerSpec { vectors: Vec::new(), matrices: Vec::new(), ops: Vec::new(), experts: None, key_width, value_width };
    let mut block = Block { shape, layer };
    let norms = shape.family.norms;
    let mut normed = X;
    if let Some(name) = norms.before_attention {
        block.norm(name, X, NORMED);
        normed = NORMED;
    }
    match norms.after_attention {
        Some(name) => {
            block.attention(index, normed, BRANCH);
            block.norm(name, BRANCH, X);
        }
        None => block.attention(index, normed, X),
    }
    // A parallel block reads the norm that attention read.
    match norms.before_mlp.filter(|_| !shape.parallel) {
        Some(name) => {
            block.norm(name, X, NORMED);
            normed = NORMED;
        }
        None if shape.parallel => {}
        None => normed = X,
    }
    match norms.after_mlp {
        Some(name) => {
            block.feed_forward(index, normed, BRANCH);
            block.norm(name, BRANCH, X);
        }
        None => block.feed_forward(index, normed, X),
    }
    block.layer
}
