//! The ops of multi-head latent attention.

use super::block::Block;
use super::buffers::*;
use super::shape::Latent;
use super::*;

impl Block<'_> {
    /// Multi-head latent attention (DeepSeek-V2, 2024, section 2.1): keys and values of all heads come from one short row,
    /// and a part of each key, which rotates, is the same for all heads. `q · (W c)` is `(Wᵀ q) · c`: so queries meet the
    /// latent rows themselves, values are made of what the heads gathered, and nothing else is cached.
    pub(super) fn latent(&mut self, latent: Latent, index: usize, input: BufferId, plain: AttentionSpec) {
        let shape = self.shape;
        let (hidden, heads, rotary) = (shape.hidden, shape.heads, shape.rotary_dim);
        let (rank, table) = (latent.key_value, shape.rope_tables[index]);
        match latent.query {
            Some(rank) => {
                self.matmul("self_attn.q_a_proj", false, (rank, hidden), input, Q_LATENT);
                self.latent_norm("self_attn.q_a_layernorm", Q_LATENT, rank);
                self.matmul("self_attn.q_b_proj", false, (shape.q_width(), rank), Q_LATENT, Q);
            }
            None => self.matmul("self_attn.q_proj", false, (shape.q_width(), hidden), input, Q),
        }
        let parts = [("self_attn.kv_a_proj", rank, 0), ("self_attn.k_rope_proj", rotary, rank)];
        self.matmuls(&parts, false, hidden, input, K);
        self.latent_norm("self_attn.kv_a_layernorm", K, rank);
        self.rope((Q, 0), (heads, shape.head_dim), table);
        self.rope((K, rank), (1, rotary), table);
        self.temper(Q, table.is_some());
        let weight = self.matrix("self_attn.k_b_proj", (heads * latent.plain_dim, rank));
        let absorb = Op::MatMulTransposed { input: Q, output: Q_ABSORBED, weight, groups: heads, first: rotary };
        let (input, output, groups, width, first) = (Q, Q_ABSORBED, heads, rotary, rank);
        let place = Op::Place { input, output, groups, width, first };
        let attention = AttentionSpec {
            kv_heads: 1,
            head_dim: shape.key_width(index),
            value_dim: rank,
            values_in_keys: true,
            output_group: latent.padded(),
            ..plain
        };
        self.layer.ops.extend([
            absorb,
            place,
            Op::KvWrite { rows: K, key: 0, value: None, rotation: None },
            Op::Attention { query: Q_ABSORBED, output: ATTENDED_LATENT, attention },
        ]);
        let weight = self.matrix("self_attn.v_b_proj", (heads * shape.value_dim, rank));
        let (input, output, parts) = (ATTENDED_LATENT, ATTENDED, vec![StackedMatrix { weight, bias: None, first: 0 }]);
        let values = Op::MatMul { input, output, parts, accumulate: false, scale: 1.0, groups: heads };
        self.layer.ops.push(values);
    }

    /// The reference norms latent rows with an epsilon of its own.
    fn latent_norm(&mut self, name: &str, target: BufferId, width: u32) {
        let norm = NormSpec { epsilon: 1e-6, ..self.norm_spec(name, width, false) };
        self.norm_in_place(target, NormGroups::alike(0, 1, width), norm, 1.0);
    }
}
