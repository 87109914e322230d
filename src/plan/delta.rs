//! Layers with a gated delta rule in place of attention: their numbers in a config.

use serde_json::Value;

use super::fields::Fields;
use super::shape::{MOST_HEAD_DIM, MOST_LAYERS, MOST_WIDTH};
use super::{RecurrentSpec, RowMap};
use crate::Result;

/// Field that says that value heads use key heads in turn.
pub(crate) const TILED_VALUES: &str = "linear_value_heads_tiled";

/// Which rows of a delta rule's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeltaPart {
    /// Of key heads, each its query, its key, and the values and output gates of its value heads.
    Query,
    Key,
    Value,
    Gate,
    /// Of key heads, each the strengths and the decays of its value heads.
    Beta,
    Decay,
    /// Of all queries, all keys and all values, one after the other.
    Queries,
    Keys,
    Values,
}

/// The numbers of a model's delta rule, and which layers have it.
#[derive(Clone, Debug)]
pub(super) struct Delta {
    pub state: RecurrentSpec,
    pub layers: Vec<bool>,
}

impl Delta {
    /// Reads them by the names of Qwen3-Next.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`](crate::ErrorKind) and [`ErrorKind::Malformed`](crate::ErrorKind) naming the field.
    pub(super) fn read(fields: &Fields<'_>, layers: u32) -> Result<Self> {
        let key_heads = fields.needed_count("linear_num_key_heads", MOST_WIDTH)?;
        let heads = fields.needed_count("linear_num_value_heads", MOST_WIDTH)?;
        let key_dim = fields.needed_count("linear_key_head_dim", MOST_HEAD_DIM)?;
        let value_dim = fields.needed_count("linear_value_head_dim", MOST_HEAD_DIM)?;
        if !heads.is_multiple_of(key_heads) {
            let message = format_args!("is {key_heads}, which does not divide {heads} value heads");
            return Err(fields.wrong("linear_num_key_heads", message));
        }
        let widest = u64::from(heads) * u64::from(key_dim.max(value_dim));
        if widest > u64::from(MOST_WIDTH) {
            let message =
                format_args!("is {heads}, which makes rows of {widest} values; at most {MOST_WIDTH} are known");
            return Err(fields.wrong("linear_num_value_heads", message));
        }
        // A field of our own: see `checkpoint::gguf`.
        let tiled = fields.truth(TILED_VALUES)?.unwrap_or(false);
        let state = RecurrentSpec { key_heads, heads, key_dim, value_dim, tiled };
        Ok(Self { state, layers: kinds(fields, layers)? })
    }
}

impl RecurrentSpec {
    /// How many rows a part has, and which of the fused tensor's they are.
    pub(crate) fn rows(&self, part: DeltaPart) -> (u64, RowMap) {
        let Self { key_heads, heads, key_dim, value_dim, .. } = *self;
        let (key_heads, each) = (u64::from(key_heads), u64::from(heads / key_heads));
        let (key, values) = (u64::from(key_dim), each * u64::from(value_dim));
        let (all, few) = (2 * (key + values), 2 * each);
        let (keys, all_values) = (u64::from(self.key_width()), u64::from(self.value_width()));
        let (first, run, stride) = match part {
            DeltaPart::Queries => return (keys, RowMap::from_row(0)),
            DeltaPart::Keys => return (keys, RowMap::from_row(keys)),
            DeltaPart::Values => return (all_values, RowMap::from_row(2 * keys)),
            DeltaPart::Query => (0, key, all),
            DeltaPart::Key => (key, key, all),
            DeltaPart::Value => (2 * key, values, all),
            DeltaPart::Gate => (2 * key + values, values, all),
            DeltaPart::Beta => (0, each, few),
            DeltaPart::Decay => (each, each, few),
        };
        (key_heads * run, RowMap { first, run, stride, rotary: None })
    }
}

/// Which layers have no attention: by a list, or all but every so many.
fn kinds(fields: &Fields<'_>, layers: u32) -> Result<Vec<bool>> {
    let interval = fields.needed_count("full_attention_interval", MOST_LAYERS)?;
    let Some(list) = fields.layer_list("layer_types", layers)? else {
        return Ok((1..=layers).map(|layer| !layer.is_multiple_of(interval)).collect());
    };
    let kind = |kind: &Value| match kind.as_str() {
        Some("linear_attention") => Ok(true),
        Some("full_attention") => Ok(false),
        _ => Err(fields.wrong("layer_types", format_args!("holds {kind}"))),
    };
    list.iter().map(kind).collect()
}
