//! The heads of attention: their numbers in a config, and what each layer has of them.

use serde_json::Value;

use super::shape::{MOST_HEAD_DIM, MOST_WIDTH, Reader, Shape};
use crate::{Error, ErrorKind, Result};

/// Heads of keys, and values of each head, of the layers without a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FullHeads {
    pub kv_heads: u32,
    pub head_dim: u32,
}

/// The heads of a layer's attention, and values of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerHeads {
    pub heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    pub value_dim: u32,
}

impl LayerHeads {
    /// Values of all queries of a row.
    pub(super) fn queries(self) -> u32 {
        self.heads * self.head_dim
    }

    /// Values of all keys of a row.
    pub(super) fn keys(self) -> u32 {
        self.kv_heads * self.head_dim
    }

    /// Values of all values of a row.
    pub(super) fn values(self) -> u32 {
        self.kv_heads * self.value_dim
    }

    /// Values of what attention gives for a row.
    pub(super) fn attended(self) -> u32 {
        self.heads * self.value_dim
    }
}

impl Shape {
    /// Values of all queries of a row, where layers have no heads of their own.
    pub(super) fn q_width(&self) -> u32 {
        self.heads * self.head_dim
    }

    /// The heads of a layer.
    pub(super) fn heads_of(&self, layer: usize) -> LayerHeads {
        let Self { heads, kv_heads, head_dim, value_dim, .. } = *self;
        match (self.windows[layer], self.full_heads) {
            (None, Some(FullHeads { kv_heads, head_dim })) => {
                LayerHeads { heads, kv_heads, head_dim, value_dim: head_dim }
            }
            (window, _) => {
                let kv_heads = kv_heads * window.map_or(1, |_| self.family.kv_heads_in_windows);
                LayerHeads { heads, kv_heads, head_dim, value_dim }
            }
        }
    }

    /// Values between the matrices of a layer's feed-forward block.
    pub(super) fn intermediate_of(&self, layer: usize) -> u32 {
        let doubled = self.double_wide && self.key_sources[layer].is_some();
        self.intermediate * if doubled { 2 } else { 1 }
    }

    /// The widest of what each layer has.
    pub(super) fn widest(&self, width: impl Fn(usize) -> u32) -> u32 {
        (0..self.layers as usize).map(width).max().unwrap_or(0)
    }

    /// Values of the keys of a row, as the cache of a layer holds them.
    pub(super) fn key_width(&self, layer: usize) -> u32 {
        self.latent.map_or_else(|| self.heads_of(layer).keys(), |latent| latent.key_value + self.rotary_dim)
    }

    /// Values of the values of a row, as the cache of a layer holds them beside the keys.
    pub(super) fn value_width(&self, layer: usize) -> u32 {
        if self.latent.is_some() { 0 } else { self.heads_of(layer).values() }
    }
}

/// Field with how many of the last layers read the keys and values of others.
const SHARED: &str = "num_kv_shared_layers";
/// How transformers 5 writes what layers have of their own, by their numbers.
const LISTED: &str = "per_layer_config";

impl Reader<'_> {
    /// Heads of queries and of keys, and values of a query (and key) and of a value.
    pub(super) fn heads(&self, hidden: u32) -> Result<(u32, u32, u32, u32)> {
        let fields = self.fields;
        let heads = fields.needed_count("num_attention_heads", MOST_WIDTH)?;
        let kv_heads = fields.count("num_key_value_heads", MOST_WIDTH)?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            let message = format_args!("is {kv_heads}, which does not divide {heads} heads");
            return Err(fields.wrong("num_key_value_heads", message));
        }
        let head_dim = match fields.count("head_dim", MOST_HEAD_DIM)? {
            Some(head_dim) => head_dim,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                let message = format_args!("is {heads}, which does not divide {hidden}");
                return Err(fields.wrong("num_attention_heads", message));
            }
        };
        if !head_dim.is_multiple_of(2) || head_dim > MOST_HEAD_DIM || heads.saturating_mul(head_dim) > MOST_WIDTH {
            let message = format_args!("comes to {head_dim}; an even number up to {MOST_HEAD_DIM} is needed");
            return Err(fields.wrong("head_dim", message));
        }
        let value_dim = match self.count("v_head_dim")? {
            Some(value_dim) if value_dim > MOST_HEAD_DIM => {
                return Err(
                    fields.wrong("v_head_dim", format_args!("is {value_dim}; at most {MOST_HEAD_DIM} are known"))
                );
            }
            Some(value_dim) => value_dim,
            None => head_dim,
        };
        let all = kv_heads.saturating_mul(self.family.kv_heads_in_windows);
        if !heads.is_multiple_of(all) {
            return Err(fields.wrong("num_key_value_heads", format_args!("makes {all} in layers with a window")));
        }
        Ok((heads, kv_heads, head_dim, value_dim))
    }

    /// What layers without a window have; `heads` of queries, and what the other layers have. `None`: the family has only one kind of head.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`], [`ErrorKind::Malformed`] and [`ErrorKind::Unsupported`] naming the field.
    pub(super) fn full_heads(
        &self,
        heads: u32,
        others: FullHeads,
        windows: &[Option<u32>],
    ) -> Result<Option<FullHeads>> {
        if !self.family.full_heads {
            return Ok(None);
        }
        let fields = self.fields;
        if windows.last().is_some_and(Option::is_some) {
            let message = "must end with full_attention: the reference takes its last layer for that";
            return Err(fields.wrong("layer_types", message));
        }
        let (own, field) = match fields.get(LISTED) {
            Some(listed) => (self.listed_heads(listed, others, windows)?, LISTED),
            None => {
                let head_dim = fields.needed_count("global_head_dim", MOST_HEAD_DIM)?;
                // The reference reads their number only of layers whose keys are their values.
                let number = match self.flag(self.family.keys_as_values)? {
                    true => fields.count("num_global_key_value_heads", MOST_WIDTH)?,
                    false => None,
                };
                (FullHeads { kv_heads: number.unwrap_or(others.kv_heads), head_dim }, "global_head_dim")
            }
        };
        let FullHeads { kv_heads, head_dim } = own;
        if !heads.is_multiple_of(kv_heads) {
            let message = format_args!("makes {kv_heads} heads of keys, which do not divide {heads} heads");
            return Err(fields.wrong(field, message));
        }
        if !head_dim.is_multiple_of(2) || head_dim > MOST_HEAD_DIM || heads.saturating_mul(head_dim) > MOST_WIDTH {
            let message = format_args!("comes to {head_dim}; an even number up to {MOST_HEAD_DIM} is needed");
            return Err(fields.wrong(field, message));
        }
        Ok(Some(own))
    }

    /// For each layer the one whose keys and values it reads, where those are not its own: the last layer of its kind that has
    /// some.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] naming the field.
    pub(super) fn key_sources(&self, windows: &[Option<u32>]) -> Result<Vec<Option<usize>>> {
        let shared = if self.reads(SHARED) { self.fields.number(SHARED)?.unwrap_or(0.0) } else { 0.0 };
        if shared.fract() != 0.0 || !(0.0..=windows.len() as f64).contains(&shared) {
            return Err(self.fields.wrong(SHARED, format_args!("is {shared} of {} layers", windows.len())));
        }
        let own = windows.len() - shared as usize;
        let source = |layer: usize| windows[..own].iter().rposition(|other| *other == windows[layer]);
        let lonely = |layer| self.fields.wrong(SHARED, format_args!("leaves layer {layer} no keys to read"));
        let of_layer = |layer| match layer < own {
            true => Ok(None),
            false => source(layer).map(Some).ok_or_else(|| lonely(layer)),
        };
        (0..windows.len()).map(of_layer).collect()
    }

    /// What a list by layers says, where it says the same of all layers without a window and nothing of the others.
    fn listed_heads(&self, listed: &Value, others: FullHeads, windows: &[Option<u32>]) -> Result<FullHeads> {
        let list = listed.as_object().ok_or_else(|| self.fields.wrong(LISTED, "is not a JSON object"))?;
        let mut own = vec![others; windows.len()];
        for (layer, entries) in list {
            let number = layer.parse().ok().filter(|number: &usize| *number < windows.len());
            let number = number.ok_or_else(|| self.fields.wrong(LISTED, format_args!("has no layer '{layer}'")))?;
            let entries = self.fields.inside(entries, LISTED)?;
            let FullHeads { kv_heads, head_dim } = others;
            own[number] = FullHeads {
                kv_heads: entries.count("num_key_value_heads", MOST_WIDTH)?.unwrap_or(kv_heads),
                head_dim: entries.count("head_dim", MOST_HEAD_DIM)?.unwrap_or(head_dim),
            };
            entries.note_others(&[]);
        }
        let of_kind = |full: bool| own.iter().zip(windows).filter(move |(_, window)| window.is_none() == full);
        let full = of_kind(true).next().map_or(others, |(heads, _)| *heads);
        if of_kind(true).any(|(heads, _)| *heads != full) || of_kind(false).any(|(heads, _)| *heads != others) {
            let message = format!("field '{LISTED}' tells layers of one kind apart, which is not known");
            return Err(Error::new(ErrorKind::Unsupported, message).file("config.json"));
        }
        Ok(full)
    }
}
