//! Published shapes, as configs.

use serde_json::{Value, json};

use crate::{Error, ErrorKind, Result};

/// A published shape.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    pub name: &'static str,
    hidden: u32,
    intermediate: u32,
    layers: u32,
    heads: u32,
    kv_heads: u32,
}

/// Shapes of <https://huggingface.co/meta-llama/Llama-3.1-8B> and its larger siblings.
pub const PRESETS: [Preset; 3] = [
    Preset { name: "llama-3.1-8b", hidden: 4096, intermediate: 14336, layers: 32, heads: 32, kv_heads: 8 },
    Preset { name: "llama-3.1-70b", hidden: 8192, intermediate: 28672, layers: 80, heads: 64, kv_heads: 8 },
    Preset { name: "llama-3.1-405b", hidden: 16384, intermediate: 53248, layers: 126, heads: 128, kv_heads: 8 },
];

/// Most layers that a synthetic model may have.
const MAX_LAYERS: u32 = 10_000;

/// The config of a published shape, with another number of layers if one is given.
///
/// # Errors
/// [`ErrorKind::Argument`] for an unknown name or a number of layers that makes no sense.
pub fn preset(name: &str, layers: Option<u32>) -> Result<Value> {
    let preset = PRESETS.iter().find(|preset| preset.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names = PRESETS.map(|preset| preset.name).join(", ");
        Error::new(ErrorKind::Argument, format!("no shape is called '{name}'")).remedy(format!("known are {names}"))
    })?;
    let layers = layers.unwrap_or(preset.layers);
    if !(1..=MAX_LAYERS).contains(&layers) {
        return Err(Error::new(ErrorKind::Argument, format!("{layers} layers; 1 to {MAX_LAYERS} make sense")));
    }
    Ok(json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": false,
        "bos_token_id": 128_000,
        "eos_token_id": 128_001,
        "hidden_act": "silu",
        "hidden_size": preset.hidden,
        "intermediate_size": preset.intermediate,
        "max_position_embeddings": 131_072,
        "mlp_bias": false,
        "num_attention_heads": preset.heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": preset.kv_heads,
        "rms_norm_eps": 1e-5,
        "rope_scaling": {
            "factor": 8.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500_000.0,
        "tie_word_embeddings": false,
        "torch_dtype": "bfloat16",
        "vocab_size": 128_256,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_can_be_chosen_and_names_are_checked() {
        let config = preset("Llama-3.1-405B", Some(1)).expect("known");
        assert_eq!((&config["hidden_size"], &config["num_hidden_layers"]), (&json!(16384), &json!(1)));
        assert_eq!(preset("llama-3.1-70b", None).expect("known")["num_hidden_layers"], json!(80));
        let error = preset("gpt-5", None).expect_err("unknown");
        assert!(error.to_string().contains("llama-3.1-8b"), "{error}");
        assert!(preset("llama-3.1-8b", Some(0)).is_err());
    }
}
