//! Scales of NVFP4 matrices: whose they are, and which are refused.

use super::tests::{fails, opened};
use crate::checkpoint::testing::{GgufWriter, small_llama};
use crate::{ErrorKind, Result};

fn with_experts() -> GgufWriter {
    small_llama(1)
        .u32("llama.expert_count", 3)
        .u32("llama.expert_used_count", 2)
        .place("blk.0.ffn_gate_exps.weight", &[64, 4, 3], 40, 432)
        .place("blk.0.ffn_up_exps.weight", &[64, 4, 3], 40, 432)
        .place("blk.0.ffn_down_exps.weight", &[64, 8, 3], 40, 864)
        .place("blk.0.ffn_gate_inp.weight", &[8, 3], 0, 96)
}

#[test]
fn scales_belong_to_a_matrix_or_to_each_slab() -> Result<()> {
    let writer = with_experts()
        .place("blk.0.ffn_down_exps.scale", &[3], 0, 12)
        .place("blk.0.ffn_up_exps.scale", &[1], 0, 4)
        .place("blk.0.ffn_up_exps.input_scale", &[3], 0, 12);
    let checkpoint = opened(&writer)?;
    let companions = |stem: &str| -> Vec<_> {
        let name = |expert| format!("model.layers.0.mlp.experts.{expert}.{stem}_proj.weight");
        let find = |expert| checkpoint.tensors.iter().find(|tensor| tensor.name == name(expert)).expect(stem);
        let of = |tensor: &crate::checkpoint::Tensor| {
            tensor.companions.iter().map(|c| (c.offset_bytes, c.len_bytes, c.rows_each)).collect::<Vec<_>>()
        };
        [0, 1, 2].map(find).iter().map(|tensor| of(tensor)).collect()
    };
    let down = companions("down");
    let [(first, 4, 8)] = down[0][..] else { panic!("{down:?}") };
    assert_eq!(down[1..], [vec![(first + 4, 4, 8)], vec![(first + 8, 4, 8)]]);
    let up = companions("up");
    let [(first, 4, 4)] = up[0][..] else { panic!("{up:?}") };
    assert_eq!(up[1..], [vec![(first, 4, 4)], vec![(first, 4, 4)]]);
    assert_eq!(companions("gate"), [vec![], vec![], vec![]]);
    Ok(())
}

#[test]
fn other_scales_are_refused_by_name() {
    use ErrorKind::{Malformed, Unsupported};
    let down = "blk.0.ffn_down_exps.scale";
    fails(&with_experts().place(down, &[2], 0, 8), Malformed, down);
    fails(&with_experts().place(down, &[3], 1, 6), Malformed, "of f16 are not one f32");
    // Of a matrix without the type, and of nothing.
    fails(&small_llama(1).place("blk.0.attn_q.scale", &[1], 0, 4), Unsupported, "blk.0.attn_q.scale");
    fails(&with_experts().place("blk.7.ffn_up_exps.scale", &[1], 0, 4), Unsupported, "blk.7.ffn_up_exps.scale");
}
