//! GGUF architectures as rows: how tensors and metadata map to Hugging Face's names.
//!
//! Names and keys are those that `convert_hf_to_gguf.py` of llama.cpp writes. A new architecture is a row here.

use crate::{Error, ErrorKind, Result};

/// What a tensor's rows need undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heads {
    /// Nothing.
    Plain,
    /// The two halves of each query head are interleaved.
    Query,
    /// The two halves of each key head are interleaved.
    Key,
}

/// One `general.architecture`.
#[derive(Debug)]
pub(super) struct Architecture {
    /// `general.architecture`, and the prefix of its keys.
    pub name: &'static str,
    /// `architectures[0]` and `model_type` of the config.
    pub config: (&'static str, &'static str),
    /// The same where the file has a sliding window.
    pub windowed_config: (&'static str, &'static str),
    /// Tensors outside the layers: GGUF's name, Hugging Face's.
    pub tensors: &'static [(&'static str, &'static str)],
    /// Tensors of `blk.N.` and `model.layers.N.`: GGUF's stem, Hugging Face's, and the order of their rows. Each has a
    /// `.weight` and may have a `.bias`.
    pub layer_tensors: &'static [(&'static str, &'static str, Heads)],
    /// Keys under `name.` that are read.
    pub keys: &'static [&'static str],
    /// Keys under `name.` that change no number.
    pub harmless_keys: &'static [&'static str],
    /// Keys under `name.` that change no number while they are zero.
    pub zero_keys: &'static [&'static str],
}

/// The factors of Llama 3's RoPE; they become part of the config.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

pub(super) const ARCHITECTURES: &[Architecture] = &[Architecture {
    name: "llama",
    config: ("LlamaForCausalLM", "llama"),
    windowed_config: ("MistralForCausalLM", "mistral"),
    tensors: &[
        ("token_embd.weight", crate::plan::EMBEDDINGS),
        ("output_norm.weight", crate::plan::FINAL_NORM),
        ("output.weight", crate::plan::HEAD),
    ],
    layer_tensors: &[
        ("attn_norm", "input_layernorm", Heads::Plain),
        ("attn_q", "self_attn.q_proj", Heads::Query),
        ("attn_k", "self_attn.k_proj", Heads::Key),
        ("attn_v", "self_attn.v_proj", Heads::Plain),
        ("attn_output", "self_attn.o_proj", Heads::Plain),
        ("ffn_norm", "post_attention_layernorm", Heads::Plain),
        ("ffn_gate", "mlp.gate_proj", Heads::Plain),
        ("ffn_up", "mlp.up_proj", Heads::Plain),
        ("ffn_down", "mlp.down_proj", Heads::Plain),
    ],
    keys: &[
        "context_length",
        "embedding_length",
        "block_count",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "attention.layer_norm_rms_epsilon",
        "attention.sliding_window",
        "rope.dimension_count",
        "rope.freq_base",
        "rope.scale_linear",
        "rope.scaling.type",
        "rope.scaling.factor",
        "rope.scaling.original_context_length",
        "rope.scaling.attn_factor",
        "rope.scaling.yarn_ext_factor",
        "rope.scaling.yarn_attn_factor",
        "rope.scaling.yarn_beta_fast",
        "rope.scaling.yarn_beta_slow",
    ],
    harmless_keys: &["vocab_size", "rope.scaling.finetuned", "tensor_data_layout"],
    zero_keys: &["expert_count", "expert_used_count", "rope.scaling.yarn_log_multiplier"],
}];

/// The row of `general.architecture`.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a name that is not in the table.
pub(super) fn architecture(name: &str) -> Result<&'static Architecture> {
    ARCHITECTURES.iter().find(|row| row.name == name).ok_or_else(|| {
        let known: Vec<&str> = ARCHITECTURES.iter().map(|row| row.name).collect();
        Error::new(ErrorKind::Unsupported, format!("the GGUF architecture '{name}' is not supported"))
            .remedy(format!("supported from GGUF: {}; or use the safetensors checkpoint", known.join(", ")))
    })
}

impl Architecture {
    /// Hugging Face's name of a tensor, and what its rows need undone; `None` for one that has no place in the model.
    pub fn tensor(&self, name: &str, layers: u64) -> Option<(String, Heads)> {
        if let Some((_, theirs)) = self.tensors.iter().find(|row| row.0 == name) {
            return Some(((*theirs).to_owned(), Heads::Plain));
        }
        let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
        let (stem, suffix) = rest.rsplit_once('.')?;
        let index: u64 = layer.parse().ok()?;
        // `parse` takes "+1" and "01" as well, which would be a second name for the same tensor.
        if index >= layers || index.to_string() != layer || !matches!(suffix, "weight" | "bias") {
            return None;
        }
        let (_, theirs, heads) = self.layer_tensors.iter().find(|row| row.0 == stem)?;
        Some((format!("model.layers.{index}.{theirs}.{suffix}"), *heads))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_get_their_names() -> Result<()> {
        let llama = architecture("llama")?;
        for (ours, theirs, heads) in [
            ("token_embd.weight", "model.embed_tokens.weight", Heads::Plain),
            ("output.weight", "lm_head.weight", Heads::Plain),
            ("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight", Heads::Query),
            ("blk.29.attn_k.bias", "model.layers.29.self_attn.k_proj.bias", Heads::Key),
            ("blk.3.ffn_down.weight", "model.layers.3.mlp.down_proj.weight", Heads::Plain),
        ] {
            assert_eq!(llama.tensor(ours, 30), Some((theirs.to_owned(), heads)));
        }
        for unknown in ["blk.30.attn_q.weight", "blk.01.attn_q.weight", "blk.+1.attn_q.weight", "blk.1.attn_q"] {
            assert_eq!(llama.tensor(unknown, 30), None, "{unknown}");
        }
        for unknown in ["blk.1.attn_qkv.weight", "blk.1.attn_q.scale", "rope_factors_long.weight", "blk..weight", ""] {
            assert_eq!(llama.tensor(unknown, 30), None, "{unknown}");
        }
        Ok(())
    }

    #[test]
    fn an_unknown_architecture_is_named() {
        let error = architecture("mamba").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("'mamba'") && error.to_string().contains("llama"));
    }
}
