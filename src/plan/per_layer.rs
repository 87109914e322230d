//! What each layer's attention sees, and how positions enter it.

use serde_json::Value;

use super::families::Rope;
use super::rope::scaling_temperature;
use super::shape::Reader;
use super::{RopeSpec, Temperature};
use crate::{Error, ErrorKind, Result};

impl Reader<'_> {
    /// The window (or chunk) of each layer: from a list of kinds, a pattern, or the layer where windows begin.
    pub(super) fn windows(&self, layers: u32) -> Result<Vec<Option<u32>>> {
        let fields = self.fields;
        let used = !self.reads("use_sliding_window") || fields.truth("use_sliding_window")?.unwrap_or(false);
        // A window that is not used may hold anything.
        let window = match self.reads("sliding_window") && fields.get("sliding_window").is_some() && used {
            // MiMo's other field counts the positions before a query.
            true => match self.count("sliding_window_size")? {
                Some(before) => Some(before.saturating_add(1)),
                None => fields.count("sliding_window", u32::MAX)?,
            },
            false => None,
        };
        let kinds = if self.reads("layer_types") { fields.layer_list("layer_types", layers)? } else { None };
        let listed = match self.reads("hybrid_layer_pattern") {
            // Without either the reference takes a pattern that no other field says.
            true if kinds.is_none() => {
                Some(fields.layer_list("hybrid_layer_pattern", layers)?.ok_or_else(|| fields.missing("layer_types"))?)
            }
            _ => None,
        };
        let first = if self.reads("max_window_layers") { fields.number("max_window_layers")? } else { None };
        let pattern = self.count("sliding_window_pattern")?;
        let rotating = self.rotating(layers)?;
        let narrow = if self.family.chunked { "chunked_attention" } else { "sliding_attention" };
        // Cohere's dense layers, which come first, have a pattern of their own.
        let own_pattern = self.count("prefix_dense_sliding_window_pattern")?;
        let prefix = own_pattern.map_or(Ok(None), |_| fields.number("first_k_dense_replace"))?.unwrap_or(0.0) as u32;
        let windowed = |layer: usize| -> Result<bool> {
            if let (None, Some(listed)) = (kinds, listed) {
                return Ok(listed[layer] == 1);
            }
            match (kinds, pattern, first) {
                (Some(kinds), ..) => match kinds[layer].as_str() {
                    Some(kind) if kind == narrow => Ok(true),
                    Some("full_attention") => Ok(false),
                    _ => Err(fields.wrong("layer_types", format_args!("holds {}", kinds[layer]))),
                },
                (None, Some(pattern), _) => {
                    let layer = layer as u32;
                    let own = own_pattern.filter(|_| layer < prefix);
                    let at = if own.is_some() { layer } else { layer - prefix };
                    Ok(!(at + 1).is_multiple_of(own.unwrap_or(pattern)))
                }
                (None, None, Some(first)) => Ok(layer as f64 >= first),
                _ => Ok(!self.family.chunked || rotating[layer]),
            }
        };
        (0..layers as usize).map(|layer| Ok(if windowed(layer)? { window } else { None })).collect()
    }

    /// The table of each layer.
    pub(super) fn rope_tables(&self, windows: &[Option<u32>], tables: usize) -> Result<Vec<Option<usize>>> {
        let layers = windows.len();
        if tables == 0 {
            return Ok(vec![None; layers]);
        }
        let rotating = self.rotating(layers as u32)?;
        let in_windows = match self.family.rope {
            Rope::InterleavedInWindows => true,
            Rope::HalvesInWindows => self.fields.get("sliding_window").is_some(),
            _ => false,
        };
        // A pattern of one leaves Cohere's dense layers without windows, but not without positions.
        let forced = match self.count("prefix_dense_sliding_window_pattern")? {
            Some(1) => self.sparse_layers(layers as u32)?.into_iter().map(|sparse| !sparse).collect(),
            _ => vec![false; layers],
        };
        let table = |(layer, window): (usize, &Option<u32>)| match window {
            None if in_windows && !forced[layer] => None,
            _ if !rotating[layer] => None,
            Some(_) if tables > 1 => Some(1),
            _ => Some(0),
        };
        Ok(windows.iter().enumerate().map(table).collect())
    }

    /// Which layers rotate, as far as fields say: an empty list says nothing.
    fn rotating(&self, layers: u32) -> Result<Vec<bool>> {
        let interval = self.count("no_rope_layer_interval")?;
        let empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
        let list = match self.reads("no_rope_layers") && !self.fields.get("no_rope_layers").is_some_and(empty) {
            true => self.fields.layer_list("no_rope_layers", layers)?,
            false => None,
        };
        let bases = if self.reads("layer_rope_theta") { self.layer_bases(layers)? } else { None };
        let rotates = |layer: u32| match (list.or(bases), interval) {
            (Some(list), _) => list[layer as usize].as_f64() != Some(0.0),
            (None, Some(interval)) => !(layer + 1).is_multiple_of(interval),
            _ => true,
        };
        Ok((0..layers).map(rotates).collect())
    }

    /// The base of each layer's angles, 0 where it has none: those that are not 0 must be the model's.
    fn layer_bases(&self, layers: u32) -> Result<Option<&[Value]>> {
        const FIELD: &str = "layer_rope_theta";
        let inside = self.fields.get("rope_parameters").and_then(|rope| rope.get("rope_theta"));
        let base = inside.or_else(|| self.fields.get("rope_theta")).and_then(Value::as_f64).unwrap_or(10_000.0);
        let list = self.fields.layer_list(FIELD, layers)?;
        let known = |value: &&Value| value.as_f64().is_some_and(|theta| theta == 0.0 || theta == base);
        match list.and_then(|list| list.iter().find(|value| !known(value))) {
            None => Ok(list),
            Some(other) => {
                let message =
                    format!("field '{FIELD}' holds {other}; only 0 and the model's own base, {base}, are known");
                Err(Error::new(ErrorKind::Unsupported, message).file("config.json"))
            }
        }
    }

    /// A table that rotates nothing, and multiplies with a factor that grows with the position; and whether it is for the
    /// layers that rotate, or for the others.
    pub(super) fn temperature(&self, head_dim: u32) -> Result<Option<(RopeSpec, bool)>> {
        let table = |temperature| RopeSpec {
            inverse_frequencies: vec![0.0; head_dim as usize / 2],
            long: None,
            attention_factor: 1.0,
            temperature: Some(temperature),
        };
        if let Some(temperature) = scaling_temperature(self.fields)? {
            return Ok(Some((table(temperature), true)));
        }
        // Files say true, or a number that counts as that.
        let tuned = match self.reads("attn_temperature_tuning").then(|| self.fields.get("attn_temperature_tuning")) {
            Some(Some(Value::Number(number))) => number.as_f64() != Some(0.0),
            Some(_) => self.fields.truth("attn_temperature_tuning")?.unwrap_or(false),
            None => false,
        };
        let (positions, strength) = (self.count("floor_scale")?, self.number("attn_scale")?);
        let own = positions.zip(strength).filter(|_| tuned);
        Ok(own.map(|(positions, strength)| {
            (table(Temperature { positions, strength: strength as f32, ahead: 1 }), false)
        }))
    }
}
