//! The ops of a layer: what a family's row and a config's numbers come to.

use super::buffers::*;
use super::families::{HeadNorm, Rope};
use super::heads::LayerHeads;
use super::names::DELTA_NORM;
use super::per_layer_embeddings::PerLayer;
use super::shape::Shape;
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
        limited_by: shape.limited_by,
        buffers: buffers(&shape),
        residual: X,
        layers: (0..shape.layers as usize).map(|index| layer(&shape, index)).collect(),
        ropes: shape.ropes.clone(),
        embedding_scale: shape.embedding_scale,
        per_layer: shape.per_layer.map(PerLayer::spec),
        head: head(&shape),
    })
}

fn head(shape: &Shape) -> HeadSpec {
    let mut vectors = vec![VectorSpec { name: FINAL_NORM.into(), len: shape.hidden }];
    if !shape.family.norm_weights {
        vectors.clear();
    }
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
pub(super) struct Block<'a> {
    pub shape: &'a Shape,
    pub layer: LayerSpec,
    /// A factor on the last product of a block.
    pub block_scale: f32,
}

impl Block<'_> {
    pub(super) fn vector(&mut self, name: String, len: u32) -> VectorId {
        self.layer.vectors.push(VectorSpec { name, len });
        VectorId(self.layer.vectors.len() as u16 - 1)
    }

    pub(super) fn norm_spec(&mut self, name: &str, len: u32, bias: bool) -> NormSpec {
        NormSpec {
            kind: self.shape.family.norm,
            epsilon: self.shape.epsilon,
            weight: Some(self.vector(format!("{name}.weight"), len)),
            bias: bias.then(|| self.vector(format!("{name}.bias"), len)),
        }
    }

    /// A norm of whole rows, from the residual or (`to` being the residual) added to it.
    fn norm(&mut self, name: &str, input: BufferId, output: BufferId) {
        self.norm_times(name, input, output, None);
    }

    /// The same, and what is then in `output` multiplied with `factor`.
    fn norm_times(&mut self, name: &str, input: BufferId, output: BufferId, factor: Option<VectorId>) {
        let width = self.shape.hidden;
        let weighted = self.shape.family.norm_weights;
        // What adds to the residual comes after a block.
        let epsilon = if output == X { self.shape.after_epsilon } else { self.shape.epsilon };
        let norm = match weighted {
            true => NormSpec { epsilon, ..self.norm_spec(name, width, self.shape.norm_bias) },
            false => NormSpec { kind: self.shape.family.norm, epsilon, weight: None, bias: None },
        };
        let (accumulate, scale) = self.added(output);
        let groups = NormGroups::alike(0, 1, width);
        self.layer.ops.push(Op::Norm { input, output, norm, groups, accumulate, scale, factor });
    }

    /// What goes to the residual is added to it, scaled.
    pub(super) fn added(&self, output: BufferId) -> (bool, f32) {
        let (accumulate, scale) = if output == X { (true, self.shape.residual_scale) } else { (false, 1.0) };
        (accumulate, scale * self.block_scale)
    }

    /// Norms the heads of queries and keys, or the whole of each.
    fn head_norms(&mut self, layer: LayerHeads) {
        let LayerHeads { heads, kv_heads, head_dim, .. } = layer;
        let (names, first) = (["self_attn.q_norm", "self_attn.k_norm"], [0, layer.queries()]);
        let own_weights = match self.shape.head_norm {
            HeadNorm::None | HeadNorm::AfterRope(_) => return,
            HeadNorm::Shared | HeadNorm::SharedIf(_) | HeadNorm::SharedAfterRope => false,
            HeadNorm::EachIf(_) => true,
            HeadNorm::Weightless => {
                let norm = NormSpec { kind: NormKind::Rms, epsilon: self.shape.epsilon, weight: None, bias: None };
                return self.norm_in_place(QKV, NormGroups::alike(0, heads + kv_heads, head_dim), norm, 1.0);
            }
            HeadNorm::Whole => {
                for ((name, first), heads) in names.into_iter().zip(first).zip([heads, kv_heads]) {
                    let norm = self.norm_spec(name, heads * head_dim, false);
                    self.norm_in_place(QKV, NormGroups::alike(first, 1, heads * head_dim), norm, 1.0);
                }
                return;
            }
        };
        let len = |heads| if own_weights { heads * head_dim } else { head_dim };
        let norm = self.norm_spec(names[0], len(heads), false);
        let later = Some((heads, self.vector(format!("{}.weight", names[1]), len(kv_heads))));
        let groups = NormGroups { own_weights, later, ..NormGroups::alike(0, heads + kv_heads, head_dim) };
        self.norm_in_place(QKV, groups, norm, 1.0);
    }

    pub(super) fn norm_in_place(&mut self, target: BufferId, groups: NormGroups, norm: NormSpec, scale: f32) {
        let (input, output, accumulate, factor) = (target, target, false, None);
        self.layer.ops.push(Op::Norm { input, output, norm, groups, accumulate, scale, factor });
    }

    pub(super) fn matrix(&mut self, name: &str, (rows, columns): (u32, u32)) -> MatrixId {
        self.layer.matrices.push(MatrixSpec { name: format!("{name}.weight"), rows, columns });
        MatrixId(self.layer.matrices.len() as u16 - 1)
    }

    pub(super) fn matmul(
        &mut self,
        name: &str,
        bias: bool,
        (rows, columns): (u32, u32),
        input: BufferId,
        output: BufferId,
    ) {
        self.matmuls(&[(name, rows, 0)], bias, columns, input, output);
    }

    /// Products of one input, each by name, rows and where in the output it goes.
    pub(super) fn matmuls(
        &mut self,
        parts: &[(&str, u32, u32)],
        bias: bool,
        columns: u32,
        input: BufferId,
        output: BufferId,
    ) {
        let part = |(name, rows, first): &(&str, u32, u32)| {
            let weight = self.matrix(name, (*rows, columns));
            let bias = bias.then(|| self.vector(format!("{name}.bias"), *rows));
            StackedMatrix { weight, bias, first: *first }
        };
        let parts = parts.iter().map(part).collect();
        let (accumulate, scale) = self.added(output);
        self.layer.ops.push(Op::MatMul { input, output, parts, accumulate, scale, groups: 1 });
    }

    pub(super) fn rope(
        &mut self,
        (target, first): (BufferId, u32),
        (heads, head_dim): (u32, u32),
        table: Option<usize>,
    ) {
        if let Some(table) = table {
            let pairs = self.shape.ropes[table].pairs() as u32;
            self.layer.ops.push(Op::Rope { target, first, heads, head_dim, pairs, table });
        }
    }

    pub(super) fn gate(&mut self, target: BufferId, up: Up, width: u32, activation: Activation) {
        self.layer.ops.push(Op::Gate { target, up, width, activation, one_factor: false });
    }

    pub(super) fn attention(&mut self, index: usize, input: BufferId, output: BufferId) {
        let shape = self.shape;
        if let Some(delta) = shape.delta.as_ref().filter(|delta| delta.layers[index]) {
            return self.delta_rule(delta.state, input, output);
        }
        let layer = shape.heads_of(index);
        self.layer.reads_keys_of = shape.key_sources[index];
        if self.layer.reads_keys_of.is_none() {
            (self.layer.key_width, self.layer.value_width) = (shape.key_width(index), shape.value_width(index));
        }
        let sinks = shape.family.sinks || shape.family.sinks_in_windows && shape.windows[index].is_some();
        let plain = AttentionSpec {
            heads: layer.heads,
            kv_heads: layer.kv_heads,
            head_dim: layer.head_dim,
            value_dim: layer.value_dim,
            values_in_keys: false,
            output_group: layer.value_dim,
            scale: shape.attention_scale,
            window: shape.windows[index],
            chunked: shape.family.chunked,
            softcap: shape.attention_softcap,
            sinks: sinks.then(|| self.vector("self_attn.sinks".to_owned(), shape.heads)),
            alibi: matches!(shape.family.rope, Rope::Alibi),
        };
        match shape.latent {
            Some(latent) => self.latent(latent, index, input, plain),
            None if self.layer.reads_keys_of.is_some() => {
                self.queries(index, input);
                self.layer.ops.push(Op::Attention { query: QKV, output: ATTENDED, attention: plain });
            }
            None => {
                let rotation = self.queries_keys_values(index, input);
                let (key, value) = (layer.queries(), Some(layer.queries() + layer.keys()));
                self.layer.ops.push(Op::KvWrite { rows: QKV, key, value, rotation });
                self.layer.ops.push(Op::Attention { query: QKV, output: ATTENDED, attention: plain });
            }
        }
        let attended = layer.attended();
        let mut gated = ATTENDED;
        if shape.family.output_gate {
            self.gate(OUTPUT_GATE, Up::In(ATTENDED, 0), attended, Activation::Sigmoid);
            gated = OUTPUT_GATE;
        }
        // A factor on values is one on what attention gives.
        self.block_scale = shape.value_scale;
        self.matmul("self_attn.o_proj", shape.output_bias, (shape.hidden, attended), gated, output);
        self.block_scale = 1.0;
    }

    /// The gated delta rule (Yang, Kautz and Hatamizadeh, 2024) as Qwen3-Next has it: queries, keys and values go through a
    /// short convolution, and what the rule gives is normed by heads and gated.
    fn delta_rule(&mut self, state: RecurrentSpec, input: BufferId, output: BufferId) {
        let hidden = self.shape.hidden;
        let (keys, values) = (state.key_width(), state.value_width());
        self.matmul("linear_attn.q_proj", false, (keys, hidden), input, Q);
        self.matmul("linear_attn.k_proj", false, (keys, hidden), input, K);
        self.matmul("linear_attn.v_proj", false, (values, hidden), input, V);
        self.matmul("linear_attn.gate_proj", false, (values, hidden), input, OUTPUT_GATE);
        self.matmul("linear_attn.beta_proj", false, (state.heads, hidden), input, BETA);
        self.matmul("linear_attn.decay_proj", false, (state.heads, hidden), input, DECAY);
        let weight = self.vector("linear_attn.conv1d.weight".to_owned(), state.channels() * RecurrentSpec::TAPS);
        for (target, first, width) in [(Q, 0, keys), (K, keys, keys), (V, 2 * keys, values)] {
            self.layer.ops.push(Op::Conv { target, weight, first, width });
        }
        // Queries are scaled as those of attention are.
        self.unit_length(Q, state, 1.0 / f64::from(state.key_dim).sqrt());
        self.unit_length(K, state, 1.0);
        let rate = self.vector("linear_attn.A_log".to_owned(), state.heads);
        let bias = self.vector("linear_attn.dt_bias".to_owned(), state.heads);
        let (query, key, value, decay, beta) = (Q, K, V, DECAY, BETA);
        self.layer.ops.push(Op::DeltaRule { query, key, value, decay, beta, rate, bias });
        let norm = self.norm_spec(DELTA_NORM, state.value_dim, false);
        self.norm_in_place(V, NormGroups::alike(0, state.heads, state.value_dim), norm, 1.0);
        self.gate(OUTPUT_GATE, Up::In(V, 0), values, Activation::Silu);
        self.matmul("linear_attn.out_proj", false, (hidden, values), OUTPUT_GATE, output);
        self.layer.recurrent = Some(state);
    }

    /// Brings each key head to a length: `x / sqrt(sum(x^2) + 1e-6)`, as a norm that divides by the mean square.
    fn unit_length(&mut self, target: BufferId, state: RecurrentSpec, length: f64) {
        let dim = f64::from(state.key_dim);
        let epsilon = (1e-6 / dim) as f32;
        let norm = NormSpec { kind: NormKind::Rms, epsilon, weight: None, bias: None };
        self.norm_in_place(
            target,
            NormGroups::alike(0, state.key_heads, state.key_dim),
            norm,
            (length / dim.sqrt()) as f32,
        );
    }

    /// Rows of queries alone, for keys that another layer has.
    fn queries(&mut self, index: usize, input: BufferId) {
        let shape = self.shape;
        let layer = shape.heads_of(index);
        self.matmul("self_attn.q_proj", shape.qkv_bias, (layer.queries(), shape.hidden), input, QKV);
        if matches!(shape.head_norm, HeadNorm::Shared) {
            let norm = self.norm_spec("self_attn.q_norm", layer.head_dim, false);
            self.norm_in_place(QKV, NormGroups::alike(0, layer.heads, layer.head_dim), norm, 1.0);
        }
        self.rope((QKV, 0), (layer.heads, layer.head_dim), shape.rope_tables[index]);
    }

    /// Rows of queries, keys and values, and the rotation that they lack.
    fn queries_keys_values(&mut self, index: usize, input: BufferId) -> Option<Rotation> {
        let shape = self.shape;
        let (hidden, bias, table) = (shape.hidden, shape.qkv_bias, shape.rope_tables[index]);
        let layer = shape.heads_of(index);
        let (queries, keys, values) = (layer.queries(), layer.keys(), layer.values());
        let parts = [
            ("self_attn.q_proj", queries, 0),
            ("self_attn.k_proj", keys, queries),
            ("self_attn.v_proj", values, queries + keys),
        ];
        let keys_as_values = shape.keys_as_values && shape.windows[index].is_none();
        self.matmuls(if keys_as_values { &parts[..2] } else { &parts }, bias, hidden, input, QKV);
        if shape.family.value_norm {
            self.value_norm(layer, keys_as_values);
        }
        if shape.family.output_gate {
            self.matmul("self_attn.gate_proj", bias, (queries, hidden), input, OUTPUT_GATE);
        }
        let LayerHeads { heads, kv_heads, head_dim, .. } = layer;
        if matches!(shape.head_norm, HeadNorm::SharedAfterRope) {
            self.rope((QKV, 0), (heads + kv_heads, head_dim), table);
            self.head_norms(layer);
            return None;
        }
        self.head_norms(layer);
        if table.is_some() && matches!(shape.head_norm, HeadNorm::AfterRope(_)) {
            // Heads of keys follow those of queries.
            let all = heads + kv_heads;
            self.rope((QKV, 0), (all, head_dim), table);
            let norm = NormSpec { kind: NormKind::Rms, epsilon: shape.epsilon, weight: None, bias: None };
            self.norm_in_place(QKV, NormGroups::alike(0, all, head_dim), norm, 1.0);
            return None;
        }
        self.temper(QKV, table.is_some());
        table.map(|table| Rotation { heads, head_dim, pairs: shape.ropes[table].pairs() as u32, table })
    }

    /// Norms the heads of values, or makes them of what keys are before their own norm.
    fn value_norm(&mut self, layer: LayerHeads, keys_as_values: bool) {
        let to = layer.queries() + layer.keys();
        let first = if keys_as_values { layer.queries() } else { to };
        let groups = NormGroups { to, ..NormGroups::alike(first, layer.kv_heads, layer.value_dim) };
        let norm = NormSpec { kind: NormKind::Rms, epsilon: self.shape.epsilon, weight: None, bias: None };
        self.norm_in_place(QKV, groups, norm, 1.0);
    }

    /// Multiplies queries with a factor that grows with the position, where this layer has one.
    pub(super) fn temper(&mut self, target: BufferId, rotates: bool) {
        let Shape { heads, head_dim, temperature, .. } = *self.shape;
        if let Some((table, _)) = temperature.filter(|(_, rotating)| *rotating == rotates) {
            self.layer.ops.push(Op::Rope { target, first: 0, heads, head_dim, pairs: head_dim / 2, table });
        }
    }
}

fn layer(shape: &Shape, index: usize) -> LayerSpec {
    let layer = LayerSpec {
        vectors: Vec::new(),
        matrices: Vec::new(),
        ops: Vec::new(),
        experts: None,
        key_width: 0,
        value_width: 0,
        reads_keys_of: None,
        recurrent: None,
    };
    let mut block = Block { shape, layer, block_scale: 1.0 };
    if let Some(weighted) = shape.family.embedding_norm.filter(|_| index == 0) {
        let Shape { hidden, epsilon, norm_bias, .. } = *shape;
        let norm = match weighted {
            true => block.norm_spec("embedding_norm", hidden, norm_bias),
            false => NormSpec { kind: shape.family.norm, epsilon, weight: None, bias: None },
        };
        block.norm_in_place(X, NormGroups::alike(0, 1, hidden), norm, 1.0);
    }
    if let Some(per_layer) = shape.per_layer.filter(|_| index == 0) {
        block.mix_per_layer(per_layer);
    }
    if let Some((streams, per_layer)) = shape.streams.as_ref().zip(shape.per_layer) {
        block.stream_layer(index, streams, per_layer);
        return block.layer;
    }
    let norms = shape.family.norms;
    let mut normed = X;
    // What attention gives goes to the residual before the feed-forward block runs, which must not see it.
    let apart = norms.before_mlp.filter(|_| shape.parallel && shape.family.parallel_norms);
    if let Some(name) = apart {
        block.norm(name, X, BRANCH);
    }
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
    // A parallel block reads the norm that attention read, or its own.
    match norms.before_mlp.filter(|_| !shape.parallel) {
        Some(name) => {
            block.norm(name, X, NORMED);
            normed = NORMED;
        }
        None if apart.is_some() => normed = BRANCH,
        None if shape.parallel => {}
        None => normed = X,
    }
    match norms.after_mlp {
        Some(name) => {
            block.feed_forward(index, normed, BRANCH);
            // The last of the norms that add to the residual multiplies it.
            let factor = shape.family.layer_factor.then(|| block.vector("layer_scalar".to_owned(), 1));
            block.norm_times(name, BRANCH, X, factor.filter(|_| shape.per_layer.is_none()));
            if let Some(per_layer) = shape.per_layer {
                block.take_per_layer(index, per_layer, X);
                block.norm_times("post_per_layer_input_norm", BRANCH, X, factor);
            }
        }
        None => block.feed_forward(index, normed, X),
    }
    block.layer
}
