//! The gated delta rule: what files say of it, under keys that other architectures have for their state spaces.

use super::architecture::Architecture;
use super::metadata::Metadata;
use super::model::missing;
use crate::plan::{DeltaPart, RecurrentSpec, RowMap};
use crate::{Error, ErrorKind, Result};

pub(super) const KEY_HEADS: &str = "ssm.group_count";
pub(super) const VALUE_HEADS: &str = "ssm.time_step_rank";
pub(super) const KEY_LENGTH: &str = "ssm.state_size";
/// Values of all value heads.
pub(super) const INNER_SIZE: &str = "ssm.inner_size";
/// Layers behind the others, which guess the token after the next one.
pub(super) const LAYERS_AHEAD: &str = "nextn_predict_layers";

/// Widest row of all heads that a plan takes.
const MOST_WIDTH: u64 = 1 << 20;

/// The numbers of an architecture's delta rule.
///
/// # Errors
/// [`ErrorKind::Missing`] naming a key; [`ErrorKind::Malformed`] for numbers that do not go together.
pub(super) fn delta(metadata: &Metadata, architecture: &Architecture) -> Result<RecurrentSpec> {
    let key = |key: &str| format!("{}.{key}", architecture.name);
    let needed = |name: &str| metadata.u64(&key(name))?.ok_or_else(|| missing(&key(name)));
    let (key_heads, heads) = (needed(KEY_HEADS)?, needed(VALUE_HEADS)?);
    let (key_dim, inner) = (needed(KEY_LENGTH)?, needed(INNER_SIZE)?);
    let widest = heads.checked_mul(key_dim).map_or(u64::MAX, |keys| keys.max(inner));
    let divides = |whole: u64, part: u64| part > 0 && whole > 0 && whole.is_multiple_of(part);
    if !divides(heads, key_heads) || !divides(inner, heads) || key_dim == 0 || widest > MOST_WIDTH {
        let message = format!("{key_heads} key heads of {key_dim} and {heads} value heads with {inner} values in all");
        return Err(Error::new(ErrorKind::Malformed, message));
    }
    // All are at most MOST_WIDTH.
    let [key_heads, heads, key_dim, value_dim] = [key_heads, heads, key_dim, inner / heads].map(|count| count as u32);
    Ok(RecurrentSpec { key_heads, heads, key_dim, value_dim, tiled: architecture.tiled_values })
}

/// Rows of a part that lies by key heads, in a tensor of so many rows; or what the tensor ought to hold.
pub(super) fn delta_rows(delta: Option<RecurrentSpec>, part: DeltaPart, all: u64) -> Result<(u64, RowMap), String> {
    let delta = delta.ok_or("rows of a delta rule")?;
    let (rows, map) = delta.rows(part);
    match u64::from(delta.key_heads) * map.stride == all {
        true => Ok((rows, map)),
        false => Err(format!("{} rows for each of {} key heads", map.stride, delta.key_heads)),
    }
}

/// How many layers of a file there are besides those that an answer needs.
///
/// # Errors
/// [`ErrorKind::Malformed`] where all are.
pub(super) fn layers_ahead(metadata: &Metadata, architecture: &Architecture, layers: u64) -> Result<u64> {
    let ahead = metadata.u64(&format!("{}.{LAYERS_AHEAD}", architecture.name))?.unwrap_or(0);
    if ahead >= layers {
        let message =
            format!("{ahead} layers of {layers} guess the token after the next one, and no layer the next one");
        return Err(Error::new(ErrorKind::Malformed, message));
    }
    Ok(ahead)
}
