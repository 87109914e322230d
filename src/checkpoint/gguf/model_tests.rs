//! Names, configs and tokenizers made from a GGUF file.

use super::*;
use crate::checkpoint::testing::{GgufWriter, Memory, small_llama};
use crate::encoding::Encoding;
use crate::plan::RowMap;

pub(super) fn opened(writer: &GgufWriter) -> Result<Checkpoint> {
    let file = writer.write();
    let len = file.len() as u64;
    pollster::block_on(open(&Memory::new([("m.gguf", file)]), "m.gguf", len, &[]))
}

pub(super) fn fails(writer: &GgufWriter, kind: ErrorKind, says: &str) {
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
    pollster::block_on(open(&Memory::new([("m.gguf", file)]), "m.gguf", len as u64, &[]))
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
    fails(&small_llama(1).u32("llama.nextn_predict_layers", 1), Malformed, "no layer the next one");
    fails(&small_llama(1).f32("llama.logit_scale", 2.0), Unsupported, "'llama.logit_scale'");
    fails(&small_llama(1).u32("llama.rope.dimension_count", 2), Malformed, "2 heads of 2");
    let partial = small_llama(1).u32("llama.attention.key_length", 4).u32("llama.rope.dimension_count", 2);
    fails(&partial, Unsupported, "rotated");
    fails(&small_llama(1).u32("llama.attention.key_length", 8), Malformed, "heads of 8");
    fails(&small_llama(1).place("blk.0.ffn_norm_exps.weight", &[8], 0, 32), Unsupported, "blk.0.ffn_norm_exps.weight");
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

/// Nothing needs a padding token; -1 and 2^32 - 1 say that there is none of a kind.
#[test]
fn special_tokens_that_are_none_are_left_out() -> Result<()> {
    type Ids = (Option<u32>, Option<u32>, Option<u32>);
    let minus_one = |file: GgufWriter, name: &str| file.i32(&format!("tokenizer.ggml.{name}_token_id"), -1);
    let table: [(GgufWriter, Ids); 7] = [
        (with_tokens().u32("tokenizer.ggml.padding_token_id", 4), (None, None, Some(4))),
        (with_tokens().u32("tokenizer.ggml.padding_token_id", 5), (None, None, None)),
        (with_tokens().u32("tokenizer.ggml.padding_token_id", 1 << 30), (None, None, None)),
        (with_tokens().u32("tokenizer.ggml.eos_token_id", u32::MAX), (None, None, None)),
        (minus_one(with_tokens(), "padding"), (None, None, None)),
        (minus_one(with_tokens().u32("tokenizer.ggml.bos_token_id", 2), "eos"), (Some(2), None, None)),
        (minus_one(with_tokens(), "bos"), (None, None, None)),
    ];
    for (file, expected) in table {
        let tokenizer = opened(&file)?.gguf_tokenizer.expect("a tokenizer");
        assert_eq!((tokenizer.bos, tokenizer.eos, tokenizer.pad), expected);
    }
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

fn with_experts(experts: u32, slabs: u64) -> GgufWriter {
    let slab = [("ffn_gate_exps", [8, 4]), ("ffn_up_exps", [8, 4]), ("ffn_down_exps", [4, 8])];
    let mut writer = small_llama(1).u32("llama.expert_count", experts).u32("llama.expert_used_count", 2);
    for (stem, [columns, rows]) in slab {
        let len_bytes = (columns * rows * slabs * 4) as usize;
        writer = writer.place(&format!("blk.0.{stem}.weight"), &[columns, rows, slabs], 0, len_bytes);
    }
    writer.place("blk.0.ffn_gate_inp.weight", &[8, slabs], 0, (32 * slabs) as usize)
}

#[test]
fn slabs_become_experts() -> Result<()> {
    let checkpoint = opened(&with_experts(3, 3))?;
    let config = &checkpoint.config;
    assert_eq!(config["architectures"], json!(["MixtralForCausalLM"]));
    assert_eq!((&config["num_local_experts"], &config["num_experts_per_tok"]), (&json!(3), &json!(2)));
    let find = |name: &str| checkpoint.tensors.iter().find(|tensor| tensor.name == name).expect(name);
    let [first, last] = [0, 2].map(|e| find(&format!("model.layers.0.mlp.experts.{e}.down_proj.weight")));
    assert_eq!((&first.shape[..], first.len_bytes, first.source_rows), (&[8, 4][..], 128, 8));
    assert_eq!((last.len_bytes, last.offset_bytes), (128, first.offset_bytes + 256));
    assert_eq!(last.source_name, "blk.0.ffn_down_exps.weight");
    assert_eq!(find("model.layers.0.mlp.gate.weight").shape, [3, 8]);
    // Gate and up of an expert in one slab.
    let fused = small_llama(1).u32("llama.expert_count", 2).place("blk.0.ffn_gate_up_exps.weight", &[8, 6, 2], 0, 384);
    let checkpoint = opened(&fused)?;
    let up = checkpoint.tensors.iter().find(|tensor| tensor.name.ends_with("experts.1.up_proj.weight")).expect("there");
    assert_eq!((&up.shape[..], up.rows, up.source_rows), (&[3, 8][..], RowMap::from_row(3), 6));
    Ok(())
}

#[test]
fn experts_that_cannot_be_are_refused() {
    use ErrorKind::{Malformed, Unsupported};
    fails(&with_experts(4, 3), Malformed, "a slab for each of 4 experts");
    fails(&with_experts(0, 3), Malformed, "a slab for each of 0 experts");
    fails(&with_experts(u32::MAX, 3), Malformed, "too many to be a model");
    fails(&with_experts(3, 3).u32("llama.expert_gating_func", 4), Unsupported, "expert_gating_func");
    let flat = small_llama(1).u32("llama.expert_count", 8).place("blk.0.ffn_up_exps.weight", &[8], 0, 32);
    fails(&flat, Malformed, "a slab for each of 8 experts");
}

/// DeepSeek's: hidden 8, 2 heads of 6 + 2 keys and 5 values, a latent row of 3, no tensors of a layer but those given.
fn latent(tensors: &[(&str, &[u64])]) -> GgufWriter {
    let mut writer = GgufWriter::default().string("general.architecture", "deepseek2");
    for (key, value) in [
        ("context_length", 64),
        ("embedding_length", 8),
        ("block_count", 1),
        ("feed_forward_length", 12),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
        ("attention.kv_lora_rank", 3),
        ("attention.key_length", 5),
        ("attention.value_length", 3),
        ("attention.key_length_mla", 8),
        ("attention.value_length_mla", 5),
        ("rope.dimension_count", 2),
        ("expert_count", 4),
        ("expert_used_count", 2),
        ("expert_feed_forward_length", 6),
        ("expert_gating_func", 2),
    ] {
        writer = writer.u32(&format!("deepseek2.{key}"), value);
    }
    writer = writer
        .f32("deepseek2.attention.layer_norm_rms_epsilon", 1e-6)
        .string("deepseek2.rope.scaling.type", "yarn")
        .f32("deepseek2.rope.scaling.factor", 4.0)
        .f32("deepseek2.rope.scaling.yarn_log_multiplier", 0.0625)
        .place("token_embd.weight", &[8, 5], 0, 160);
    for (stem, dims) in tensors {
        let len: u64 = dims.iter().product::<u64>() * 4;
        writer = writer.place(&format!("blk.0.{stem}.weight"), dims, 0, len as usize);
    }
    writer
}

#[test]
fn latent_rows_and_what_is_made_of_them_are_found() -> Result<()> {
    let checkpoint = opened(&latent(&[
        ("attn_q", &[8, 16]),
        ("attn_kv_a_mqa", &[8, 5]),
        ("attn_k_b", &[6, 3, 2]),
        ("attn_v_b", &[3, 5, 2]),
    ]))?;
    let find = |stem: &str| {
        let name = format!("model.layers.0.self_attn.{stem}.weight");
        checkpoint.tensors.iter().find(|tensor| tensor.name == name).expect("a tensor")
    };
    let rotary = |head, first, count| Some(crate::plan::RotaryRows { head, first, count });
    assert_eq!(find("q_proj").rows.rotary, rotary(8, 6, 2));
    assert_eq!((&find("kv_a_proj").shape[..], find("kv_a_proj").rows), (&[3, 8][..], RowMap::ALL));
    assert_eq!(find("k_rope_proj").rows, RowMap { rotary: rotary(2, 0, 2), ..RowMap::from_row(3) });
    let keys = find("k_b_proj");
    assert_eq!((&keys.shape[..], keys.source), (&[12, 3][..], Source::Turned { encoding: Encoding::F32, rows: 6 }));
    assert_eq!((&find("v_b_proj").shape[..], find("v_b_proj").rows), (&[10, 3][..], RowMap::ALL));
    let config = &checkpoint.config;
    assert_eq!(config["architectures"], json!(["DeepseekV3ForCausalLM"]));
    for (field, value) in [("qk_nope_head_dim", 6), ("qk_rope_head_dim", 2), ("v_head_dim", 5), ("n_group", 1)] {
        assert_eq!(config[field], json!(value), "{field}");
    }
    let scaling = &config["rope_scaling"];
    assert_eq!((&scaling["mscale"], &scaling["mscale_all_dim"]), (&json!(0.625), &json!(0.625)));
    assert!(config.get("partial_rotary_factor").is_none() && config.get("q_lora_rank").is_none());
    // As older files have it: keys and values of a head together.
    let checkpoint = opened(&latent(&[("attn_kv_b", &[3, 22])]))?;
    let values = checkpoint.tensors.iter().find(|tensor| tensor.name.ends_with("v_b_proj.weight")).expect("values");
    assert_eq!((&values.shape[..], values.rows.first, values.rows.run), (&[10, 3][..], 6, 5));
    assert_eq!((values.rows.stride, values.source_rows), (11, 22));
    Ok(())
}

#[test]
fn latent_rows_that_do_not_fit_are_refused() {
    use ErrorKind::{Malformed, Missing, Unsupported};
    fails(&latent(&[("attn_q", &[8, 15])]), Malformed, "2 heads of 8");
    fails(&latent(&[("attn_kv_a_mqa", &[8, 6])]), Malformed, "a latent row of 3");
    fails(&latent(&[("attn_kv_b", &[3, 21])]), Malformed, "6 key and 5 other values");
    fails(&latent(&[("attn_k_b", &[5, 3, 2])]), Malformed, "2 heads of 6 values");
    fails(&latent(&[("attn_k_b", &[6, 3, 4])]), Malformed, "2 heads of 6 values");
    let without = |key: &str| {
        let mut writer = latent(&[]);
        writer.entries.retain(|entry| !String::from_utf8_lossy(entry).contains(key));
        writer
    };
    for key in ["kv_lora_rank", "rope.dimension_count", "expert_feed_forward_length", "expert_used_count"] {
        fails(&without(key), Missing, key);
    }
    fails(&without("dimension_count").u32("deepseek2.rope.dimension_count", 8), Malformed, "8 of them rotated");
    fails(&latent(&[]).f32("deepseek2.rope.scaling.attn_factor", 2.0), Unsupported, "attention factor");
}

#[test]
fn slopes_of_alibi_are_those_of_the_largest_bias_that_is_known() {
    assert_eq!([None, Some(0.0), Some(8.0)].map(|bias| alibi(bias).ok()), [Some(false), Some(false), Some(true)]);
    assert_eq!(alibi(Some(4.0)).map_err(|error| error.kind()), Err(ErrorKind::Unsupported));
}
