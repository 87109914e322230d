//! Qwen3-Next's tensors and numbers, from a GGUF file.

use super::tests::{fails, opened};
use super::*;
use crate::checkpoint::testing::GgufWriter;
use crate::encoding::Encoding;

/// A file of hidden 8, 2 heads of 4, 2 key heads of 3 and 4 value heads of 5, and as many layers as are given, the last
/// `ahead` of which look further ahead.
fn delta_rule(layers: u32, ahead: u32, tensors: &[(&str, &[u64])]) -> GgufWriter {
    let mut writer = GgufWriter::default().string("general.architecture", "qwen3next");
    for (key, value) in [
        ("context_length", 64),
        ("embedding_length", 8),
        ("block_count", layers),
        ("nextn_predict_layers", ahead),
        ("feed_forward_length", 12),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
        ("attention.key_length", 4),
        ("attention.value_length", 4),
        ("rope.dimension_count", 2),
        ("expert_count", 4),
        ("expert_used_count", 2),
        ("expert_feed_forward_length", 6),
        ("full_attention_interval", 2),
        ("ssm.conv_kernel", 4),
        ("ssm.state_size", 3),
        ("ssm.group_count", 2),
        ("ssm.time_step_rank", 4),
        ("ssm.inner_size", 20),
    ] {
        writer = writer.u32(&format!("qwen3next.{key}"), value);
    }
    writer = writer
        .f32("qwen3next.attention.layer_norm_rms_epsilon", 1e-6)
        .numbers("qwen3next.attention.recurrent_layers", 7, 2, &[1, 0])
        .place("token_embd.weight", &[8, 5], 0, 160);
    for (name, dims) in tensors {
        let len: u64 = dims.iter().product::<u64>() * 4;
        writer = writer.place(&format!("blk.{name}"), dims, 0, len as usize);
    }
    writer
}

#[test]
fn rows_of_a_delta_rule_are_found_in_both_layouts() -> Result<()> {
    let common: [(&str, &[u64]); 5] = [
        ("0.ssm_a", &[4]),
        ("0.ssm_dt.bias", &[4]),
        ("0.ssm_conv1d.weight", &[4, 32]),
        ("0.ssm_out.weight", &[20, 8]),
        ("1.attn_q.weight", &[8, 16]),
    ];
    let rows = |tensors: &[(&str, &[u64])], stem: &str| -> Result<Vec<u64>> {
        let checkpoint = opened(&delta_rule(2, 0, &[&common, tensors].concat()))?;
        let name = format!("model.layers.{stem}.weight");
        let tensor = checkpoint.tensors.iter().find(|tensor| tensor.name == name).expect("a tensor");
        Ok((0..tensor.shape[0]).map(|row| tensor.rows.source(row)).collect())
    };
    let older: &[(&str, &[u64])] = &[("0.ssm_in.weight", &[8, 52]), ("0.ssm_ba.weight", &[8, 8])];
    let later: &[(&str, &[u64])] = &[("0.attn_qkv.weight", &[8, 32]), ("0.attn_gate.weight", &[8, 20])];
    // Of each key head: a query, a key, two values, two gates; then two strengths and two decays.
    assert_eq!(rows(older, "0.linear_attn.k_proj")?, [3, 4, 5, 29, 30, 31]);
    assert_eq!(rows(older, "0.linear_attn.v_proj")?, (6..16).chain(32..42).collect::<Vec<_>>());
    assert_eq!(rows(older, "0.linear_attn.gate_proj")?, (16..26).chain(42..52).collect::<Vec<_>>());
    assert_eq!(rows(older, "0.linear_attn.decay_proj")?, [2, 3, 6, 7]);
    assert_eq!(rows(later, "0.linear_attn.q_proj")?, [0, 1, 2, 3, 4, 5]);
    assert_eq!(rows(later, "0.linear_attn.k_proj")?, [6, 7, 8, 9, 10, 11]);
    assert_eq!(rows(later, "0.linear_attn.v_proj")?, (12..32).collect::<Vec<_>>());
    assert_eq!(rows(later, "0.linear_attn.gate_proj")?, (0..20).collect::<Vec<_>>());
    assert_eq!(rows(later, "1.self_attn.q_proj")?, [0, 1, 2, 3, 8, 9, 10, 11]);
    assert_eq!(rows(later, "1.self_attn.gate_proj")?, [4, 5, 6, 7, 12, 13, 14, 15]);
    let checkpoint = opened(&delta_rule(2, 0, &common))?;
    let find = |name: &str| {
        let name = format!("model.layers.0.linear_attn.{name}");
        let tensor = checkpoint.tensors.iter().find(|tensor| tensor.name == name).expect("a tensor");
        (&tensor.shape[..], tensor.source)
    };
    assert_eq!(find("A_log"), (&[4][..], Source::NegatedExp(Encoding::F32)));
    assert_eq!(find("dt_bias"), (&[4][..], Source::Plain(Encoding::F32)));
    assert_eq!(find("conv1d.weight"), (&[128][..], Source::Plain(Encoding::F32)));
    assert_eq!(checkpoint.config["layer_types"], json!(["linear_attention", "full_attention"]));
    for (field, value) in [("num_key_heads", 2), ("num_value_heads", 4), ("key_head_dim", 3), ("value_head_dim", 5)] {
        assert_eq!(checkpoint.config[format!("linear_{field}")], json!(value), "{field}");
    }
    Ok(())
}

#[test]
fn layers_that_look_further_ahead_are_left_out() -> Result<()> {
    let tensors: [(&str, &[u64]); 3] =
        [("1.attn_k.weight", &[8, 4]), ("2.attn_k.weight", &[8, 4]), ("2.nextn.eh_proj.weight", &[16, 8])];
    let checkpoint = opened(&delta_rule(3, 1, &tensors))?;
    assert_eq!(checkpoint.config["num_hidden_layers"], 2);
    assert_eq!(checkpoint.config["layer_types"].as_array().map(Vec::len), Some(2));
    let names: Vec<_> = checkpoint.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["model.embed_tokens.weight", "model.layers.1.self_attn.k_proj.weight"]);
    fails(&delta_rule(3, 0, &tensors), ErrorKind::Unsupported, "blk.2.nextn.eh_proj.weight");
    fails(&delta_rule(3, 1, &[("3.attn_k.weight", &[8, 4])]), ErrorKind::Unsupported, "blk.3.attn_k.weight");
    fails(&delta_rule(1, 1, &[]), ErrorKind::Malformed, "1 layers of 1");
    Ok(())
}

#[test]
fn a_delta_rule_that_does_not_fit_is_refused() {
    use ErrorKind::{Malformed, Missing, Unsupported};
    for (name, dims, says) in [
        ("0.ssm_in.weight", &[8, 51][..], "26 rows for each of 2 key heads"),
        ("0.ssm_ba.weight", &[8, 7], "4 rows for each of 2 key heads"),
        ("0.attn_qkv.weight", &[8, 31], "queries of 6, keys of 6 and values of 20"),
        ("1.attn_q.weight", &[8, 8], "2 heads of 4 queries and as many gates"),
    ] {
        fails(&delta_rule(2, 0, &[(name, dims)]), Malformed, says);
    }
    for name in ["0.ssm_a.weight", "0.ssm_a.bias", "0.ssm_norm", "0.ssm_dt", "0.attn_q"] {
        fails(&delta_rule(2, 0, &[(name, &[4])]), Unsupported, name);
    }
    // Blocks of 32 values.
    fails(&delta_rule(2, 0, &[]).place("blk.0.ssm_a", &[32], 8, 34), Malformed, "plain values");
    let without = |key: &str| {
        let mut writer = delta_rule(2, 0, &[]);
        writer.entries.retain(|entry| !String::from_utf8_lossy(entry).contains(key));
        writer
    };
    for key in ["ssm.group_count", "ssm.time_step_rank", "ssm.state_size", "ssm.inner_size", "ssm.conv_kernel"] {
        fails(&without(key), Missing, key);
    }
    for (key, value) in [
        ("ssm.group_count", 0),
        ("ssm.group_count", 3),
        ("ssm.time_step_rank", 0),
        ("ssm.time_step_rank", u32::MAX),
        ("ssm.state_size", 0),
        ("ssm.state_size", u32::MAX),
        ("ssm.inner_size", 0),
        ("ssm.inner_size", 21),
        ("ssm.inner_size", u32::MAX - 3),
    ] {
        fails(&without(key).u32(&format!("qwen3next.{key}"), value), Malformed, "value heads with");
    }
    fails(&delta_rule(2, 0, &[]).u32("qwen3next.ssm.dt_b_c_rms", 1), Unsupported, "ssm.dt_b_c_rms");
}
