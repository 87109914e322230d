//! Names, configs and tokenizers made from a GGUF file.

use super::*;
use crate::checkpoint::testing::{GgufWriter, Memory, small_llama};
use crate::encoding::Encoding;
use crate::plan::RowMap;

fn opened(writer: &GgufWriter) -> Result<Checkpoint> {
    let file = writer.write();
    let len = file.len() as u64;
    pollster::block_on(open(&Memory::new([("m.gguf", file)]), "m.gguf", len))
}

fn fails(writer: &GgufWriter, kind: ErrorKind, says: &str) {
    let error = opened(writer).expect_err(says);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(says), "{error} should say {says}");
    assert_eq!(error.file_name(), Some("memory/m.gguf"));
}

#[test]
fn a_llama_file_becomes_a_checkpoint() -> Result<()> {
    let checkpoint = opened(&small_llama(2))?;
    assert_eq!(checkpoint.tensors.len(), 20);
    assert!(checkpoint.tensors.is_sorted_by(|a, b| a.name < b.name));
    let find = |name: &str| checkpoint.tensors.iter().find(|tensor| tensor.name == name).expect(name);
    let query = find("model.layers.1.self_attn.q_proj.weight");
    assert_eq!((query.source_name.as_str(), query.rows), ("blk.1.attn_q.weight", RowMap::ALL.in_halves(4, 4)));
    assert_eq!(find("model.layers.0.self_attn.k_proj.weight").rows, RowMap::ALL.in_halves(4, 4));
    let down = find("model.layers.0.mlp.down_proj.weight");
    assert_eq!((&down.shape[..], down.rows, down.source), (&[8, 12][..], RowMap::ALL, Source::Plain(Encoding::F32)));
    assert!(!checkpoint.quantized && checkpoint.gguf_tokenizer.is_none() && checkpoint.tokenizer_config.is_none());
    let expected = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 8,
        "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 4, "max_position_embeddings": 64, "rms_norm_eps": f64::from(1e-5f32), "rope_theta": 10_000.0,
        "vocab_size": 5, "tie_word_embeddings": true, "attention_bias": false, "mlp_bias": false,
    });
    assert_eq!(checkpoint.config, expected);
    Ok(())
}

#[test]
fn heads_biases_and_the_head_are_found() -> Result<()> {
    let writer = small_llama(1)
        .u32("llama.rope.dimension_count", 4)
        .u32("llama.attention.key_length", 4)
        .u32("llama.attention.value_length", 4)
        .u32("llama.attention.sliding_window", 16)
        .u32("llama.expert_count", 0)
        .u32("llama.vocab_size", 5)
        .u32("other.key", 1)
        .place("output.weight", &[8, 5], 30, 80)
        .place("blk.0.attn_q.bias", &[8], 0, 32)
        .place("blk.0.ffn_gate.bias", &[12], 0, 48);
    let checkpoint = opened(&writer)?;
    let config = &checkpoint.config;
    assert_eq!(config["architectures"], json!(["MistralForCausalLM"]));
    assert_eq!((&config["sliding_window"], &config["tie_word_embeddings"]), (&json!(16), &json!(false)));
    assert_eq!((&config["attention_bias"], &config["mlp_bias"]), (&json!(true), &json!(true)));
    let bias = checkpoint.tensors.iter().find(|tensor| tensor.name.ends_with("q_proj.bias")).expect("the bias");
    assert_eq!((&bias.shape[..], bias.rows), (&[8][..], RowMap::ALL.in_halves(4, 4)));
    Ok(())
}

#[test]
fn interleaved_rows_are_found_again() -> Result<()> {
    let checkpoint = opened(&small_llama(1))?;
    let query =
        checkpoint.tensors.iter().find(|tensor| tensor.name.ends_with("q_proj.weight")).expect("a query matrix");
    // The permutation that the converter applies: [heads, 2, n] -> [heads, n, 2].
    let mut file_rows = Vec::new();
    for head in 0..2 {
        for i in 0..2 {
            file_rows.extend([head * 4 + i, head * 4 + 2 + i]);
        }
    }
    let restored: Vec<u64> = (0..8).map(|row| file_rows[query.rows.source(row) as usize]).collect();
    assert_eq!(restored, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_ne!(file_rows, restored);
    let plain = checkpoint.tensors.iter().find(|tensor| tensor.rows == RowMap::ALL).expect("another");
    assert_eq!(plain.rows.source(3), 3);
    Ok(())
}

#[test]
fn rope_scaling_is_read() -> Result<()> {
    let typed = |kind: &str| small_llama(1).string("llama.rope.scaling.type", kind);
    let scaling = |writer: &GgufWriter| Ok::<_, Error>(opened(writer)?.config["rope_scaling"].clone());
    let linear = json!({ "rope_type": "linear", "factor": 4.0 });
    assert_eq!(scaling(&small_llama(1))?, Value::Null);
    assert_eq!(scaling(&typed("none"))?, Value::Null);
    assert_eq!(scaling(&typed("linear").f32("llama.rope.scaling.factor", 4.0))?, linear);
    assert_eq!(scaling(&small_llama(1).f32("llama.rope.scale_linear", 4.0))?, linear);
    let yarn = typed("yarn").f32("llama.rope.scaling.factor", 2.0);
    let expected = json!({ "rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64 });
    assert_eq!(scaling(&yarn)?, expected);
    let full = yarn
        .clone()
        .u32("llama.rope.scaling.original_context_length", 32)
        .f32("llama.rope.scaling.yarn_ext_factor", 1.0)
        .f32("llama.rope.scaling.yarn_beta_fast", 32.0)
        .f32("llama.rope.scaling.yarn_beta_slow", 1.0)
        .f32("llama.rope.scaling.attn_factor", 0.5);
    let full = scaling(&full)?;
    assert_eq!(full["original_max_position_embeddings"], 32);
    assert_eq!((&full["beta_fast"], &full["beta_slow"]), (&json!(32.0), &json!(1.0)));
    let attention = full["attention_factor"].as_f64().expect("a number");
    assert!((attention - 0.5 * (0.1 * 2f64.ln() + 1.0)).abs() < 1e-12);
    fails(&typed("longrope"), ErrorKind::Unsupported, "'longrope'");
    fails(&yarn.f32("llama.rope.scaling.yarn_ext_factor", 0.5), ErrorKind::Unsupported, "yarn_ext_factor");
    fails(&typed("linear").f32("llama.rope.scaling.factor", -1.0), ErrorKind::Malformed, "negative");
    fails(&typed("linear").f32("llama.rope.scaling.factor", f32::INFINITY), ErrorKind::Malformed, "finite");
    Ok(())
}

/// The file with factors that are all 0x3c3c3c3c, as the writer fills its data, or as given.
fn with_factors(dims: &[u64], code: u32, bytes: Option<&[u8]>) -> Result<Checkpoint> {
    let writer = small_llama(1).place("rope_freqs.weight", dims, code, 32);
    let mut file = writer.write();
    let len = file.len();
    file[len - 32..len - 32 + bytes.map_or(0, <[u8]>::len)].copy_from_slice(bytes.unwrap_or_default());
    pollster::block_on(open(&Memory::new([("m.gguf", file)]), "m.gguf", len as u64))
}

#[test]
fn rope_factors_become_part_of_the_config() -> Result<()> {
    let factors = [1.0f32.to_le_bytes(), 8.0f32.to_le_bytes()].concat();
    let checkpoint = with_factors(&[2], 0, Some(&factors))?;
    assert_eq!(checkpoint.config["rope_scaling"], json!({ "rope_type": "factors", "factors": [1.0, 8.0] }));
    assert!(checkpoint.tensors.iter().all(|tensor| tensor.source_name != ROPE_FACTORS));
    for (dims, code, bytes) in [
        (&[3][..], 0, None),
        (&[2, 1], 0, None),
        (&[2], 1, None),
        (&[2], 0, Some([0.0f32.to_le_bytes(), 1.0f32.to_le_bytes()].concat())),
        (&[2], 0, Some([f32::NAN.to_le_bytes(), 1.0f32.to_le_bytes()].concat())),
    ] {
        let error = with_factors(dims, code, bytes.as_deref()).unwrap_err();
        assert_eq!((error.kind(), error.tensor_name()), (ErrorKind::Malformed, Some(ROPE_FACTORS)), "{error}");
    }
    Ok(())
}

#[test]
fn what_the_architecture_needs_is_named() {
    use ErrorKind::{Malformed, Missing, Unsupported};
    let without = |key: &str| {
        let mut writer = small_llama(1);
        writer.entries.retain(|entry| !String::from_utf8_lossy(entry).contains(key));
        writer
    };
    fails(&GgufWriter::default(), Missing, "general.architecture");
    fails(&GgufWriter::default().string("general.architecture", "rwkv6"), Unsupported, "'rwkv6'");
    fails(&GgufWriter::default().u32("general.architecture", 1), Malformed, "general.architecture");
    for key in ["context_length", "embedding_length", "block_count", "feed_forward_length", "rms_epsilon"] {
        fails(&without(key), Missing, key);
    }
    fails(&without("head_count"), Missing, "llama.attention.head_count");
    fails(&without("block_count").u32("llama.block_count", 0), Malformed, "'llama.block_count' is 0");
    fails(&without("head_count_kv").u32("llama.attention.head_count_kv", 0), Malformed, "key heads");
    fails(&without("head_count").u32("llama.attention.head_count", 3), Missing, "key_length");
    fails(
        &without("block_count").u32("llama.block_count", 1).u32("llama.expert_count", 8),
        Unsupported,
        "expert_count",
    );
    fails(&small_llama(1).f32("llama.logit_scale", 2.0), Unsupported, "'llama.logit_scale'");
    fails(&small_llama(1).u32("llama.rope.dimension_count", 2), Malformed, "2 heads of 2");
    let partial = small_llama(1).u32("llama.attention.key_length", 4).u32("llama.rope.dimension_count", 2);
    fails(&partial, Unsupported, "rotated");
    fails(&small_llama(1).u32("llama.attention.key_length", 8), Malformed, "heads of 8");
    fails(&small_llama(1).place("blk.0.ffn_gate_inp.weight", &[8], 0, 32), Unsupported, "blk.0.ffn_gate_inp.weight");
    fails(&small_llama(1).place("blk.1.ffn_up.weight", &[8], 0, 32), Unsupported, "blk.1.ffn_up.weight");
    let mut headless = small_llama(1);
    headless.tensors.remove(0);
    fails(&headless, Missing, "token_embd.weight");
}

fn with_tokens() -> GgufWriter {
    small_llama(1)
        .string("tokenizer.ggml.model", "gpt2")
        .strings("tokenizer.ggml.tokens", &["<s>", "</s>", "a", "b", "ab"])
}

#[test]
fn the_tokenizer_is_taken_along() -> Result<()> {
    let checkpoint = opened(
        &with_tokens()
            .string("tokenizer.ggml.pre", "smollm")
            .strings("tokenizer.ggml.merges", &["a b"])
            .numbers("tokenizer.ggml.token_type", 5, 5, &[3, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0])
            .u32("tokenizer.ggml.bos_token_id", 0)
            .u32("tokenizer.ggml.eos_token_id", 1)
            .u32("tokenizer.ggml.eot_token_id", 4)
            .u32("tokenizer.ggml.eom_token_id", 1)
            .u32("tokenizer.ggml.unknown_token_id", u32::MAX)
            .bool("tokenizer.ggml.add_bos_token", false)
            .string("tokenizer.chat_template", "{{ x }}"),
    )?;
    let tokenizer = checkpoint.gguf_tokenizer.expect("a tokenizer");
    assert_eq!((tokenizer.model.as_str(), tokenizer.pre.as_deref()), ("gpt2", Some("smollm")));
    assert_eq!((tokenizer.tokens.len(), &tokenizer.token_types[..2], tokenizer.scores.len()), (5, &[3, 3][..], 0));
    assert_eq!((tokenizer.bos, tokenizer.eos, tokenizer.eot, tokenizer.unk), (Some(0), Some(1), Some(4), None));
    assert_eq!((tokenizer.add_bos, tokenizer.add_eos), (Some(false), None));
    let config = json!({ "bos_token": "<s>", "eos_token": "</s>", "add_bos_token": false, "chat_template": "{{ x }}" });
    assert_eq!(checkpoint.tokenizer_config, Some(config));
    assert_eq!(checkpoint.generation_config, Some(json!({ "bos_token_id": 0, "eos_token_id": [1, 4] })));
    assert_eq!((&checkpoint.config["bos_token_id"], &checkpoint.config["eos_token_id"]), (&json!(0), &json!(1)));
    Ok(())
}

#[test]
fn a_tokenizer_that_contradicts_itself_is_refused() {
    use ErrorKind::{Malformed, Missing};
    let one = 1.0f32.to_le_bytes();
    fails(&with_tokens().numbers("tokenizer.ggml.scores", 6, 1, &one), Malformed, "1 entries for 5");
    fails(&with_tokens().numbers("tokenizer.ggml.token_type", 5, 1, &[0; 4]), Malformed, "1 entries for 5");
    fails(&with_tokens().u32("tokenizer.ggml.eos_token_id", 5), Malformed, "eos_token_id' is 5");
    fails(&with_tokens().u32("tokenizer.ggml.merges", 5), Malformed, "array of strings");
    fails(&small_llama(1).strings("tokenizer.ggml.tokens", &["a"]), Missing, "tokenizer.ggml.model");
}
