//! Fields of the config that only some architectures have.

use serde_json::{Value, json};

use super::architecture::{Field, WINDOW_PATTERN};
use super::metadata::{Kind, Metadata, Value as Entry};
use super::model::{ModelShape, missing};
use crate::{Error, ErrorKind, Result};

/// Puts a field in the config, where the file says something of it. `rows_of` tells the rows of a tensor, if it is there.
///
/// # Errors
/// [`ErrorKind::Missing`] for a key that is needed; [`ErrorKind::Malformed`] for a value of another type.
pub(super) fn add(
    config: &mut Value,
    name: &str,
    field: Field,
    shape: &ModelShape,
    metadata: &Metadata,
    rows_of: &dyn Fn(&str) -> Option<u64>,
) -> Result<()> {
    let key = |key: &str| format!("{}.{key}", shape.architecture.name);
    let number =
        |short: &str| Ok::<_, Error>(number(metadata, &key(short))?.filter(|value| value.as_f64() != Some(0.0)));
    let of_layer = |layer: u64, tensor: &str| rows_of(&format!("model.layers.{layer}.{tensor}"));
    let first = |tensor: &str| of_layer(0, tensor).is_some();
    let any = |has: &dyn Fn(u64) -> bool| Some((0..shape.layers).any(has).into());
    let value = match field {
        Field::Needed(short) => Some(number(short)?.ok_or_else(|| missing(&key(short)))?),
        Field::Optional(short) => number(short)?,
        Field::Or(short, default) => Some(number(short)?.unwrap_or(default.into())),
        Field::CountOr(short, default) => {
            Some(metadata.u64(&key(short))?.filter(|count| *count != 0).unwrap_or(default).into())
        }
        Field::TruthOr(short, default) => Some(metadata.bool(&key(short))?.unwrap_or(default).into()),
        Field::PlainDim => Some((shape.head_dim - shape.rotated).into()),
        Field::ValueDim => Some(shape.value_dim.into()),
        Field::DeltaValueDim => shape.delta.map(|delta| delta.value_dim.into()),
        Field::OtherExpertsThan(count) => Some((shape.experts != count).into()),
        Field::RowsOf(tensor) => (0..shape.layers).find_map(|layer| of_layer(layer, tensor)).map(Value::from),
        Field::LayersWithout(tensor) => {
            Some((0..shape.layers).filter(|layer| of_layer(*layer, tensor).is_none()).collect())
        }
        Field::LinearWith(tensor) => {
            let kind = |layer| match of_layer(layer, tensor) {
                Some(_) => "linear_attention",
                None => "full_attention",
            };
            Some((0..shape.layers).map(kind).collect())
        }
        Field::Has(tensor) => Some(first(tensor).into()),
        Field::Given(tensor) => first(tensor).then_some(true.into()),
        Field::Lacks(tensor) => Some((!first(tensor)).into()),
        Field::QueryScalar { wide_layers } => Some(match number("attention.scale")?.and_then(|scale| scale.as_f64()) {
            Some(scale) => (1.0 / (scale * scale)).into(),
            None if shape.layers == wide_layers => (shape.hidden / shape.heads).into(),
            None => shape.head_dim.into(),
        }),
        Field::Is(json) => Some(serde_json::from_str(json).expect("the table holds JSON")),
        Field::RowsOfOuter(tensor) => rows_of(tensor).map(Value::from),
        Field::AnyHas(tensor) => any(&|layer| of_layer(layer, tensor).is_some()),
        Field::FirstAlone(tensor, other) => {
            any(&|layer| of_layer(layer, tensor).is_some() && of_layer(layer, other).is_none())
        }
        Field::Numbers(short) => metadata.f64s(&key(short))?.map(|numbers| {
            // JSON has no number for what is not finite.
            numbers.into_iter().map(|number| if number.is_finite() { number.into() } else { Value::Null }).collect()
        }),
        Field::KeyHeads { windowed } => {
            let heads = metadata.u64s(&key("attention.head_count_kv"))?.unwrap_or_default();
            let of_kind = shape.windowed.iter().position(|layer| *layer == windowed);
            of_kind.and_then(|layer| heads.get(layer).or(heads.first())).map(|heads| (*heads).into())
        }
        Field::QueryGrowth { unsaid } => {
            let growth = number("attention.temperature_scale")?.or(unsaid.map(Value::from));
            // It is counted in positions that were trained first, which only a scaling has.
            if let (Some(growth), Some(scaling)) = (growth, config.get_mut("rope_scaling")) {
                scaling[name] = growth;
            }
            None
        }
        Field::FullHeadDim => shape.full_head_dim.map(Value::from),
        Field::DoubleWide => {
            let widths = metadata.u64s(&key("feed_forward_length"))?.unwrap_or_default();
            Some(widths.iter().any(|width| *width == 2 * shape.intermediate).into())
        }
        Field::WindowThetas => {
            let theta = |windowed: &bool| if *windowed { shape.rope_theta } else { 0.0 };
            Some(shape.windowed.iter().map(theta).map(Value::from).collect())
        }
        Field::ThetasByKind => {
            let part = rotating_part(config.get("rope_scaling"));
            if let Some(config) = config.as_object_mut() {
                config.remove("rope_scaling");
            }
            let full = json!({
                "rope_type": "proportional", "partial_rotary_factor": part, "rope_theta": shape.rope_theta,
            });
            let windowed = number(super::architecture::WINDOW_THETA)?.unwrap_or(10_000.0.into());
            let windowed = json!({ "rope_type": "default", "rope_theta": windowed });
            Some(json!({ "full_attention": full, "sliding_attention": windowed }))
        }
        Field::WindowPattern => {
            let every = match metadata.get(&key(WINDOW_PATTERN)) {
                Some(Entry::Numbers { .. }) => None,
                _ => metadata.u64(&key(WINDOW_PATTERN))?,
            };
            if let Some(every) = every {
                config["sliding_window_pattern"] = every.into();
            }
            let kind = |windowed: &bool| if *windowed { "sliding_attention" } else { "full_attention" };
            (!shape.windowed.is_empty()).then(|| shape.windowed.iter().map(kind).collect())
        }
    };
    if let Some(value) = value {
        config[name] = value;
    }
    Ok(())
}

/// The part of all pairs that rotate: factors make others stand still, which they divide by what is far more than any position.
fn rotating_part(scaling: Option<&Value>) -> f64 {
    const STANDS_STILL: f64 = 1e20;
    let factors = scaling.and_then(|scaling| scaling.get("factors")).and_then(Value::as_array);
    let Some(factors) = factors.filter(|factors| !factors.is_empty()) else { return 1.0 };
    let rotating = factors.iter().filter(|factor| factor.as_f64().is_some_and(|factor| factor < STANDS_STILL)).count();
    share(rotating as u64, factors.len() as u64)
}

/// Which layers have a window, by a list of truth values; empty where there is no list.
///
/// # Errors
/// [`ErrorKind::Malformed`] for a list of another length.
pub(super) fn windowed(metadata: &Metadata, architecture: &str, layers: u64) -> Result<Vec<bool>> {
    let key = format!("{architecture}.{WINDOW_PATTERN}");
    let Some(Entry::Numbers { kind: Kind::Bool, bytes }) = metadata.get(&key) else { return Ok(Vec::new()) };
    // Layers that guess further tokens may be among them.
    match bytes.get(..layers as usize) {
        Some(bytes) => Ok(bytes.iter().map(|windowed| *windowed == 1).collect()),
        None => {
            let message = format!("'{key}' has {} entries for {layers} layers", bytes.len());
            Err(Error::new(ErrorKind::Malformed, message))
        }
    }
}

/// A number as JSON: whole where it is stored so.
fn number(metadata: &Metadata, key: &str) -> Result<Option<Value>> {
    match metadata.get(key) {
        None => Ok(None),
        Some(Entry::Float(_)) => Ok(metadata.f64(key)?.map(Value::from)),
        Some(_) => Ok(metadata.u64(key)?.map(Value::from)),
    }
}

/// `part / whole`, such that `whole` times it does not round below `part`.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    let share = part as f64 / whole as f64;
    if share * (whole as f64) < part as f64 { share.next_up() } else { share }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_share_of_a_head_is_found_again() {
        for whole in 1..=512u64 {
            for part in 1..=whole {
                assert_eq!((whole as f64 * super::share(part, whole)) as u64, part, "{part} of {whole}");
            }
        }
    }
}
