//! Published shapes, as configs.

use serde_json::{Value, json};

use crate::{Error, ErrorKind, Result};

/// A published shape: its name, and its `config.json` as far as it shapes the model.
pub(super) type Preset = (&'static str, &'static str);

/// The shapes that have names.
pub const PRESETS: [Preset; 6] = [
    ("llama-3.1-8b", include_str!("shapes/llama-3.1-8b.json")),
    ("llama-3.1-70b", include_str!("shapes/llama-3.1-70b.json")),
    ("llama-3.1-405b", include_str!("shapes/llama-3.1-405b.json")),
    ("mixtral-8x7b", include_str!("shapes/mixtral-8x7b.json")),
    ("qwen3-235b-a22b", include_str!("shapes/qwen3-235b-a22b.json")),
    ("deepseek-v3", include_str!("shapes/deepseek-v3.json")),
];

/// Most layers that a synthetic model may have.
const MAX_LAYERS: u32 = 10_000;

/// The config of a published shape.
///
/// # Errors
/// [`ErrorKind::Argument`] for an unknown name.
pub fn preset(name: &str) -> Result<Value> {
    let (_, config) = PRESETS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names = PRESETS.map(|(name, _)| name).join(", ");
        Error::new(ErrorKind::Argument, format!("no shape is called '{name}'"))
            .remedy(format!("known are {names}; or name a config.json"))
    })?;
    Ok(serde_json::from_str(config).expect("the table holds JSON"))
}

/// A config with another number of layers.
///
/// # Errors
/// [`ErrorKind::Argument`] for a number that makes no sense, or a config that calls it otherwise.
pub fn with_layers(mut config: Value, layers: u32) -> Result<Value> {
    if !(1..=MAX_LAYERS).contains(&layers) {
        return Err(Error::new(ErrorKind::Argument, format!("{layers} layers; 1 to {MAX_LAYERS} make sense")));
    }
    let field = config.get_mut("num_hidden_layers").ok_or_else(|| {
        let message = "the config has no field 'num_hidden_layers' to change";
        Error::new(ErrorKind::Argument, message).remedy("set the number of layers in the config itself")
    })?;
    *field = json!(layers);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_has_a_plan() {
        for (name, _) in PRESETS {
            let config = preset(name).expect("known");
            let spec = crate::plan::model_spec(&config).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(json!(spec.layers.len()), config["num_hidden_layers"], "{name}");
        }
    }

    #[test]
    fn layers_can_be_chosen_and_names_are_checked() {
        let config = with_layers(preset("Llama-3.1-405B").expect("known"), 1).expect("one layer");
        assert_eq!((&config["hidden_size"], &config["num_hidden_layers"]), (&json!(16384), &json!(1)));
        let error = preset("gpt-5").expect_err("unknown");
        assert!(error.to_string().contains("llama-3.1-8b"), "{error}");
        assert!(with_layers(config, 0).is_err());
        assert!(with_layers(json!({}), 1).is_err());
    }
}
