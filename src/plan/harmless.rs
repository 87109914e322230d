//! Fields of a `config.json` that never change a logit, in no family.
//!
//! A field is harmless if the reference does not read it. None of these names occurs in the modeling code of a family's row,
//! nor in what they share (transformers 5.24: `modeling_utils.py`, `masking_utils.py`, `modeling_rope_utils.py`,
//! `cache_utils.py`, `integrations/*attention*.py`, `models/*/modeling_*.py`), but for training, for choosing a kernel of the
//! same numbers, and for how results are handed over.

/// What a config says of itself, of its tokenizer, of training, and of how it is to be run.
pub(super) const BOOKKEEPING: &[&str] = &[
    "architectures",
    "attention_dropout",
    "attn_implementation",
    "auto_map",
    "bos_token",
    "bos_token_id",
    "cache_config",
    "cache_implementation",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "dtype",
    "embd_pdrop",
    "embedding_dropout",
    "eos_token",
    "eos_token_id",
    "finetuned",
    "finetuning_task",
    "flash_attention",
    "gradient_checkpointing",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_llama_config",
    "label2id",
    "loss_type",
    "low_cpu_mem_usage",
    "max_sequence_length",
    "model_type",
    "name_or_path",
    "neftune_noise_alpha",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_router_logits",
    "output_scores",
    "pad_token",
    "pad_token_id",
    "padding_side",
    "prefix",
    // How training cut the matrices: the products are the same.
    "pretraining_tp",
    "problem_type",
    // How the weights are stored: their reader knows.
    "quantization_config",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "router_aux_loss_coef",
    "sep_token_id",
    "task_specific_params",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "tokenizer_model_max_length",
    "tokenizer_name",
    "tokenizer_padding_side",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_optimized",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_flash_attention",
    "use_flash_attention_2",
    "use_flash_attn",
    "use_flash_attn_2",
];

/// How tokens are chosen: the fields of `GenerationConfig`, which older files kept in `config.json`.
pub(super) const GENERATION: &[&str] = &[
    "assistant_confidence_threshold",
    "assistant_early_exit",
    "assistant_ensemble_weight",
    "assistant_lookbehind",
    "bad_words_ids",
    "begin_suppress_tokens",
    "compile_config",
    "constraints",
    "continuous_batching_config",
    "decoder_start_token_id",
    "disable_compile",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "epsilon_cutoff",
    "eta_cutoff",
    "exponential_decay_length_penalty",
    "force_words_ids",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "guidance_scale",
    "is_assistant",
    "length_penalty",
    "low_memory",
    "max_length",
    "max_matching_ngram_size",
    "max_new_tokens",
    "max_time",
    "min_length",
    "min_new_tokens",
    "min_p",
    "no_repeat_ngram_size",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "penalty_alpha",
    "prefill_chunk_size",
    "prompt_lookup_num_tokens",
    "remove_invalid_values",
    "renormalize_logits",
    "repetition_penalty",
    "sequence_bias",
    "speculation_type",
    "stop_strings",
    "suppress_tokens",
    "target_lookbehind",
    "temperature",
    "token_healing",
    "top_h",
    "top_k",
    "top_p",
    "typical_p",
    "use_mtp",
    "watermarking_config",
];

/// What an object about rotary positions may say besides what its kind reads.
pub(super) const ROPE: &[&str] = &[
    "finetuned",
    // The config names these positions itself.
    "max_position_embeddings",
    // Text has the same position in each of the sections.
    "mrope_interleaved",
    "mrope_section",
    "partial_rotary_factor",
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::model_spec;

    fn llama() -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2,
            "num_attention_heads": 4, "vocab_size": 100, "rms_norm_eps": 1e-5, "max_position_embeddings": 512,
            "rope_theta": 10_000.0, "rope_scaling": { "type": "linear", "factor": 2.0 },
        })
    }

    fn plan(config: &Value) -> String {
        format!("{:?}", model_spec(config).expect("a plan"))
    }

    #[test]
    fn a_harmless_field_changes_no_plan() {
        let plain = plan(&llama());
        for name in [BOOKKEEPING, GENERATION].concat().into_iter().filter(|name| *name != "architectures") {
            for value in [json!(3), json!("text"), json!({ "inner": [1] })] {
                let mut config = llama();
                config[name] = value;
                assert_eq!(plan(&config), plain, "{name}");
            }
        }
        for name in ROPE {
            let mut config = llama();
            config["rope_scaling"][*name] = json!(1);
            assert_eq!(plan(&config), plain, "{name}");
        }
    }

    #[test]
    fn all_unknown_fields_are_named_at_once_by_their_paths() {
        let mut text = llama();
        text["architectures"] = Value::Null;
        text["wobble"] = json!(1);
        text["rope_scaling"]["attn_factor"] = json!(1.5);
        let whole = json!({ "architectures": ["Llama4ForConditionalGeneration"], "text_config": text, "a b": [] });
        for (config, paths) in [
            (&text_of(&whole), &["wobble", "rope_scaling.attn_factor"][..]),
            (&with_llama4(&whole), &["a b", "text_config.wobble", "text_config.rope_scaling.attn_factor"]),
        ] {
            let error = model_spec(config).expect_err("refused").to_string();
            let (_, fields) = error.split_once("`SourceOptions::ignored_fields` '").expect("the option");
            let (fields, _) = fields.split_once("' (when").expect("its end");
            let (mut found, mut expected) = (fields.split("', '").collect::<Vec<_>>(), paths.to_vec());
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{error}");
        }
    }

    fn text_of(whole: &Value) -> Value {
        let mut text = whole["text_config"].clone();
        text["architectures"] = json!(["LlamaForCausalLM"]);
        text
    }

    /// What only Llama 4 needs.
    fn with_llama4(whole: &Value) -> Value {
        let mut whole = whole.clone();
        let fields = json!({
            "intermediate_size_mlp": 160, "num_local_experts": 4, "num_experts_per_tok": 1, "head_dim": 16,
            "hidden_act": "silu", "interleave_moe_layer_step": 2, "use_qk_norm": true, "num_key_value_heads": 4,
            "no_rope_layers": [1, 1], "attention_chunk_size": 8192, "attn_temperature_tuning": true,
        });
        for (name, value) in fields.as_object().expect("an object") {
            whole["text_config"][name] = value.clone();
        }
        whole
    }

    #[test]
    fn hundreds_of_unknown_fields_make_a_short_error() {
        let mut config = llama();
        for index in 0..500 {
            config[format!("unknown_{index}")] = json!("x".repeat(10_000));
        }
        let error = model_spec(&config).expect_err("refused").to_string();
        assert!(error.contains("and 460 more") && error.len() < 8_000, "{}", error.len());
    }
}
