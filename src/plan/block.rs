//! The ops of a layer: what a family's row and a config's numbers come to.

use super::families::{HeadNorm, Rope};
use super::shape::{ExpertsShape, Latent, Shape};
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
/// Latent rows of queries, and of keys and values; the parts of keys that rotate and that do not.
const Q_LATENT: BufferId = BufferId(15);
const LATENT: BufferId = BufferId(16);
const K_ROTARY: BufferId = BufferId(17);
const K_PLAIN: BufferId = BufferId(18);

/// What a plan may need; a width of 0 is none.
fn buffers(shape: &Shape) -> Vec<BufferSpec> {
    let norms = shape.family.norms;
    let branches = norms.after_attention.is_some() || norms.after_mlp.is_some();
    let shared = shape.experts.as_ref().and_then(|experts| experts.shared);
    let experts = shape.experts.as_ref().map_or((0, 0, 0), |experts| (experts.count, experts.width, shape.hidden));
    let wide = shape.intermediate.max(shared.map_or(0, |(width, _)| width));
    let latent = |width: fn(&Latent) -> u32| shape.latent.as_ref().map_or(0, width);
    let widths = [
        ("x", shape.hidden),
        ("normed", shape.hidden),
        ("q", shape.q_width()),
        ("k", shape.key_width()),
        ("v", shape.value_width()),
        ("attended", shape.heads * shape.value_dim),
        ("up", wide),
        ("gate", if shape.family.gated { wide } else { 0 }),
        ("branch", if branches { shape.hidden } else { 0 }),
        ("scores", experts.0),
        ("shared gate", u32::from(shared.is_some_and(|(_, gated)| gated))),
        ("expert input", experts.2),
        ("expert gate", experts.1),
        ("expert up", experts.1),
        ("expert output", experts.2),
        ("q latent", latent(|latent| latent.query.unwrap_or(0))),
        ("latent", latent(|latent| latent.key_value)),
        ("k rotary", if shape.latent.is_some() { shape.rotary_dim } else { 0 }),
        ("k plain", shape.heads * latent(|latent| latent.plain_dim)),
    ];
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
            HeadNorm::AfterRope(_) => return,
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

    fn rope(&mut self, target: BufferId, (heads, head_dim): (u32, u32), table: Option<usize>) {
        if let Some(table) = table {
            let pairs = self.shape.rotary_dim / 2;
            self.layer.ops.push(Op::Rope { target, heads, head_dim, pairs, table });
        }
    }

    fn attention(&mut self, index: usize, input: BufferId, output: BufferId) {
        let shape = self.shape;
        match shape.latent {
            Some(latent) => self.latent(latent, index, input),
            None => self.queries_keys_values(index, input),
        }
        self.layer.ops.push(Op::KvWrite { key: K, value: V });
        let attention = AttentionSpec {
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            value_dim: shape.value_dim,
            scale: shape.attention_scale,
            window: shape.windows[index],
            chunked: shape.family.chunked,
            softcap: shape.attention_softcap,
            sinks: shape.family.sinks.then(|| self.vector("self_attn.sinks".to_owned(), shape.heads)),
            alibi: matches!(shape.family.rope, Rope::Alibi),
        };
        self.layer.ops.push(Op::Attention { query: Q, output: ATTENDED, attention });
        let attended = shape.heads * shape.value_dim;
        self.matmul("self_attn.o_proj", shape.output_bias, (shape.hidden, attended), ATTENDED, output);
    }

    fn queries_keys_values(&mut self, index: usize, input: BufferId) {
        let shape = self.shape;
        let (hidden, bias, table) = (shape.hidden, shape.qkv_bias, shape.rope_tables[index]);
        self.matmul("self_attn.q_proj", bias, (shape.q_width(), hidden), input, Q);
        self.matmul("self_attn.k_proj", bias, (shape.key_width(), hidden), input, K);
        self.matmul("self_attn.v_proj", bias, (shape.value_width(), hidden), input, V);
        self.head_norm("self_attn.q_norm", Q, shape.heads);
        self.head_norm("self_attn.k_norm", K, shape.kv_heads);
        self.rope(Q, (shape.heads, shape.head_dim), table);
        self.rope(K, (shape.kv_heads, shape.head_dim), table);
        if table.is_some() && matches!(shape.head_norm, HeadNorm::AfterRope(_)) {
            self.unit_norm(Q, shape.heads);
            self.unit_norm(K, shape.kv_heads);
        }
        if let (None, Some(table)) = (table, shape.temperature) {
            let (heads, head_dim, pairs) = (shape.heads, shape.head_dim, shape.head_dim / 2);
            self.layer.ops.push(Op::Rope { target: Q, heads, head_dim, pairs, table });
        }
    }

    /// Norms each head without a weight.
    fn unit_norm(&mut self, target: BufferId, groups: u32) {
        let (width, input, output) = (self.shape.head_dim, target, target);
        let norm = NormSpec { kind: NormKind::Rms, epsilon: self.shape.epsilon, weight: None, bias: None };
        let op = Op::Norm { input, output, norm, groups, width, per_group: false, accumulate: false, scale: 1.0 };
        self.layer.ops.push(op);
    }

    /// Multi-head latent attention (DeepSeek-V2, 2024): keys and values of all heads come from one short row, and a part
    /// of each key, which rotates, is the same for all heads.
    fn latent(&mut self, latent: Latent, index: usize, input: BufferId) {
        let shape = self.shape;
        let (hidden, heads, rotary) = (shape.hidden, shape.heads, shape.rotary_dim);
        let (rank, plain, table) = (latent.key_value, latent.plain_dim, shape.rope_tables[index]);
        match latent.query {
            Some(rank) => {
                self.matmul("self_attn.q_a_proj", false, (rank, hidden), input, Q_LATENT);
                self.latent_norm("self_attn.q_a_layernorm", Q_LATENT, rank);
                self.matmul("self_attn.q_b_proj", false, (shape.q_width(), rank), Q_LATENT, Q);
            }
            None => self.matmul("self_attn.q_proj", false, (shape.q_width(), hidden), input, Q),
        }
        self.matmul("self_attn.kv_a_proj", false, (rank, hidden), input, LATENT);
        self.matmul("self_attn.k_rope_proj", false, (rotary, hidden), input, K_ROTARY);
        self.latent_norm("self_attn.kv_a_layernorm", LATENT, rank);
        self.matmul("self_attn.k_b_proj", false, (heads * plain, rank), LATENT, K_PLAIN);
        self.matmul("self_attn.v_b_proj", false, (shape.value_width(), rank), LATENT, V);
        self.rope(Q, (heads, shape.head_dim), table);
        self.rope(K_ROTARY, (1, rotary), table);
        let place = |input, width, first, shared| Op::Place { input, output: K, groups: heads, width, first, shared };
        self.layer.ops.push(place(K_ROTARY, rotary, 0, true));
        self.layer.ops.push(place(K_PLAIN, plain, rotary, false));
    }

    /// The reference norms latent rows with an epsilon of its own.
    fn latent_norm(&mut self, name: &str, target: BufferId, width: u32) {
        let norm = NormSpec { epsilon: 1e-6, ..self.norm_spec(name, width, false) };
        let (input, output) = (target, target);
        let op = Op::Norm { input, output, norm, groups: 1, width, per_group: false, accumulate: false, scale: 1.0 };
        self.layer.ops.push(op);
    }

    /// The experts that a router chooses, and the one that every token uses.
    fn experts(&mut self, experts: &ExpertsShape, input: BufferId, output: BufferId) {
        let (hidden, activation) = (self.shape.hidden, self.shape.activation);
        self.matmul("mlp.gate", self.shape.family.expert_bias, (experts.count, hidden), input, SCORES);
        // The chosen ones are on their way while the shared one is computed.
        self.layer.ops.push(Op::Route { scores: SCORES });
        if let Some((width, gated)) = experts.shared {
            let name = if gated { "mlp.shared_expert" } else { "mlp.shared_experts" };
            if gated {
                self.matmul("mlp.shared_expert_gate", false, (1, hidden), input, SHARED_GATE);
            }
            self.matmul(&format!("{name}.gate_proj"), false, (width, hidden), input, GATE);
            self.matmul(&format!("{name}.up_proj"), false, (width, hidden), input, UP);
            self.gate(GATE, Some(UP), width, activation);
            if gated {
                // What a factor does to a product's input it does to the product.
                let (up, activation) = (Some(SHARED_GATE), Activation::SigmoidFactor);
                self.layer.ops.push(Op::Gate { target: GATE, up, width, activation, one_factor: true });
            }
            self.matmul(&format!("{name}.down_proj"), false, (hidden, width), GATE, output);
        }
        let (_, scale) = self.added(output);
        self.layer.ops.push(Op::Experts { input, output, scale });
        let (count, width) = (experts.count, experts.width);
        let bias = experts.bias.then(|| self.vector("mlp.gate.bias".to_owned(), count));
        let routing = Routing { bias, ..experts.routing };
        self.layer.experts = Some(ExpertsSpec {
            count,
            width,
            hidden,
            activation: experts.limit.map_or(activation, |_| Activation::ClampedSwiglu),
            limit: experts.limit.unwrap_or(0.0),
            bias: self.shape.family.expert_bias,
            factor_on_input: self.shape.family.factor_on_input,
            routing,
            buffers: EXPERT,
        });
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
    let (key_width, value_width) = (shape.key_width(), shape.value_width());
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
