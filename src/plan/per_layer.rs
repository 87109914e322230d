//! What each layer's attention sees, and how positions enter it.

use serde_json::Value;

use super::families::Rope;
use super::rope::scaling_temperature;
use super::shape::Reader;
use super::{RopeSpec, Temperature};
use crate::Result;

impl Reader<'_> {
    /// The window (or chunk) of each layer: from a list of kinds, a pattern, or the layer where windows begin.
    pub(super) fn windows(&self, layers: u32) -> Result<Vec<Option<u32>>> {
        let fields = self.fields;
        let used = !self.reads("use_sliding_window") || fields.truth("use_sliding_window")?.unwrap_or(false);
        // A window that is not used may hold anything.
        let window = match self.reads("sliding_window") && fields.get("sliding_window").is_some() && used {
            true => fields.count("sliding_window", u32::MAX)?,
            false => None,
        };
        let first = if self.reads("max_window_layers") { fields.number("max_window_layers")? } else { None };
        let pattern = self.count("sliding_window_pattern")?;
        let kinds = if self.reads("layer_types") { fields.layer_list("layer_types", layers)? } else { None };
        let rotating = self.rotating(layers)?;
        let narrow = if self.family.chunked { "chunked_attention" } else { "sliding_attention" };
        let windowed = |layer: usize| -> Result<bool> {
            match (kinds, pattern, first) {
                (Some(kinds), ..) => match kinds[layer].as_str() {
                    Some(kind) if kind == narrow => Ok(true),
                    Some("full_attention") => Ok(false),
                    _ => Err(fields.wrong("layer_types", format_args!("holds {}", kinds[layer]))),
                },
                (None, Some(pattern), _) => Ok(!(layer as u32 + 1).is_multiple_of(pattern)),
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
        let table = |(layer, window): (usize, &Option<u32>)| match window {
            None if in_windows => None,
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
        let rotates = |layer: u32| match (list, interval) {
            (Some(list), _) => list[layer as usize].as_u64() != Some(0),
            (None, Some(interval)) => !(layer + 1).is_multiple_of(interval),
            _ => true,
        };
        Ok((0..layers).map(rotates).collect())
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
