//! Fields of the config that only some architectures have.

use serde_json::Value;

use super::architecture::Field;
use super::metadata::{Kind, Metadata, Value as Entry};
use super::model::{ModelShape, missing};
use crate::{Error, Result};

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
        Field::Lacks(tensor) => Some((!first(tensor)).into()),
        Field::QueryScalar { wide_layers } => Some(match number("attention.scale")?.and_then(|scale| scale.as_f64()) {
            Some(scale) => (1.0 / (scale * scale)).into(),
            None if shape.layers == wide_layers => (shape.hidden / shape.heads).into(),
            None => shape.head_dim.into(),
        }),
        Field::WindowPattern => {
            let key = key("attention.sliding_window_pattern");
            match metadata.get(&key) {
                Some(Entry::Numbers { kind: Kind::Bool, bytes }) => {
                    let kind = |windowed: &u8| if *windowed == 1 { "sliding_attention" } else { "full_attention" };
                    Some(bytes.iter().map(kind).collect())
                }
                _ => {
                    if let Some(every) = metadata.u64(&key)? {
                        config["sliding_window_pattern"] = every.into();
                    }
                    None
                }
            }
        }
    };
    if let Some(value) = value {
        config[name] = value;
    }
    Ok(())
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
