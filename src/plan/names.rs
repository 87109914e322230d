//! From the names that a family's checkpoints have to ours: fused matrices are cut, heads are put in halves, and norms
//! that are stored around 0 are brought around 1.

use std::borrow::Cow;

use serde_json::Value;

use super::families::{Cut, EXPERT_SLABS, OTHER_PARTS, Part, Rope, TEXT_PREFIXES};
use super::family::is_of_body;
use super::shape::{Latent, Shape};
use super::{RotaryRows, RowMap};
use crate::{Error, ErrorKind, Result};

/// The norm of a delta rule's output: around 1, also where the others are around 0.
pub(super) const DELTA_NORM: &str = "linear_attn.norm";

/// What layers that read the keys and values of others may have all the same, and never use.
const KEYS_AND_VALUES: &[&str] = &["self_attn.k_proj.", "self_attn.v_proj.", "self_attn.k_norm.", "self_attn.v_norm."];

/// A tensor of a model, and where in a checkpoint's tensor it lies.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSource {
    pub name: String,
    /// Rows of the model's tensor; for a vector its values.
    pub row_count: u64,
    pub rows: RowMap,
    /// Added to each value.
    pub plus: f32,
    /// The tensor is a vector: one over the length of each row of the checkpoint's.
    pub inverse_lengths: bool,
    /// The tensor is one of so many slabs of the checkpoint's (its index, how many), cut along the first axis.
    pub slab: Option<(u64, u64)>,
    /// The tensor, or slab, is the transpose of ours where its values are plain.
    pub transposed: bool,
    /// The checkpoint's tensor is only this part of ours, which has several; they follow each other.
    pub part: Option<u64>,
}

/// The names of one checkpoint.
#[derive(Clone, Debug)]
pub struct TensorNames {
    shape: Shape,
}

/// The name that a tensor of the text part has in a model of text alone.
fn text_name(name: &str) -> Cow<'_, str> {
    let renamed = |(theirs, ours): &(&str, &str)| name.strip_prefix(theirs).map(|rest| format!("{ours}{rest}"));
    TEXT_PREFIXES.iter().find_map(renamed).map_or(Cow::Borrowed(name), Cow::Owned)
}

impl TensorNames {
    /// The names that go with a `config.json`.
    ///
    /// # Errors
    /// As [`super::model_spec`].
    pub fn new(config: &Value) -> Result<Self> {
        Ok(Self { shape: Shape::read(config)? })
    }

    /// What becomes of the checkpoint's tensor `name`, `shape` being at least `[rows]`, for slabs `[experts, values]` or
    /// `[experts, rows, columns]`; of `plain` values or of packed ones. One that no rule knows keeps its name; one that is
    /// no weight becomes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for slabs that are not those of the experts.
    pub fn places(&self, name: &str, shape: &[u64], plain: bool) -> Result<Vec<TensorSource>> {
        let row_count = shape.first().copied().unwrap_or(1);
        let family = self.shape.family;
        let in_text;
        let name = match self.shape.whole {
            None => name,
            Some(_) if OTHER_PARTS.iter().any(|start| name.starts_with(start)) => return Ok(Vec::new()),
            Some(_) => {
                in_text = text_name(name);
                &*in_text
            }
        };
        let name = name.strip_prefix(family.prefix).unwrap_or(name);
        let in_body = is_of_body(name).then(|| format!("model.{name}"));
        let name = in_body.as_deref().unwrap_or(name);
        let inside = name.strip_prefix(family.layers).and_then(|rest| rest.split_once('.'));
        let (layer, rest) = match inside.and_then(|(layer, rest)| Some((layer.parse::<u32>().ok()?, rest))) {
            Some((layer, rest)) => (Some(layer), rest),
            None => (None, name),
        };
        let passed_by = &self.shape.passed_by;
        if layer.is_some_and(|layer| passed_by.contains(&layer)) {
            return Ok(Vec::new());
        }
        let layer = layer.map(|layer| layer - passed_by.partition_point(|other| *other < layer) as u32);
        if family.unused.iter().any(|prefix| rest.starts_with(prefix)) {
            return Ok(Vec::new());
        }
        let reads_others =
            layer.is_some_and(|layer| self.shape.key_sources.get(layer as usize).is_some_and(Option::is_some));
        if reads_others && KEYS_AND_VALUES.iter().any(|prefix| rest.starts_with(prefix)) {
            return Ok(Vec::new());
        }
        let (stem, suffix) = match rest.rsplit_once('.') {
            Some((stem, suffix @ ("weight" | "bias"))) => (stem, suffix),
            _ => (rest, ""),
        };
        let full = |ours: &str| {
            let ours = if suffix.is_empty() { ours.to_owned() } else { format!("{ours}.{suffix}") };
            match layer {
                Some(layer) => format!("model.layers.{layer}.{ours}"),
                // What comes after the last layer is a part of it.
                None => ours.replacen(".last.", &format!(".{}.", self.shape.layers - 1), 1),
            }
        };
        let place = |(ours, part): (&str, Part)| {
            let (row_count, rows) = self.rows(part, row_count);
            // Rows past the vocabulary stand for what is no text.
            let past = !passed_by.is_empty() && ours == "model.embed_tokens";
            let row_count = if past { row_count.min(u64::from(self.shape.vocab)) } else { row_count };
            let rows = if layer.is_some() { self.in_halves(ours, rows, row_count) } else { rows };
            let plain = ours == DELTA_NORM || family.plain_final_norm && ours == "model.norm";
            let around_0 = family.unit_offset && suffix != "bias" && ours.ends_with("norm") && !plain;
            let plus = if around_0 { 1.0 } else { 0.0 };
            let name = full(ours);
            TensorSource {
                name,
                row_count,
                rows,
                plus,
                inverse_lengths: false,
                slab: None,
                transposed: false,
                part: None,
            }
        };
        if family.normalized_head && name == super::HEAD {
            let lengths =
                TensorSource { name: super::HEAD_SCALE.to_owned(), inverse_lengths: true, ..place(("", Part::All)) };
            return Ok(vec![place((stem, Part::All)), lengths]);
        }
        if let Some(ours) = self.expert(stem) {
            return Ok(vec![place((&ours, Part::All))]);
        }
        let mut places = Vec::new();
        let (numbered, number) = match stem.rsplit_once('.') {
            Some((start, number)) => (Some(start), number.parse().ok()),
            None => (None, None),
        };
        let is_numbered = |theirs: &str| number.is_some() && theirs.strip_suffix(".*") == numbered;
        let fused = if family.experts.is_some() { EXPERT_SLABS } else { &[] };
        let mut rules = family.tensors.iter().chain(fused);
        let rule = rules.find(|rule| rule.theirs == stem || is_numbered(rule.theirs));
        for (ours, part) in rule.map_or(&[(stem, Part::All)][..], |rule| rule.ours) {
            match part {
                Part::Slab(cut) => places.extend(self.slabs(&full(ours), *cut, shape, plain)?),
                Part::Numbered => places.push(TensorSource { part: number, ..place((ours, Part::All)) }),
                part => places.push(place((ours, *part))),
            }
        }
        Ok(places)
    }

    /// A tensor of each expert, in a tensor that has all of them.
    fn slabs(&self, ours: &str, cut: Cut, shape: &[u64], plain: bool) -> Result<impl Iterator<Item = TensorSource>> {
        let (count, width) = self.shape.experts.as_ref().map_or((0, 0), |experts| (experts.count, experts.width));
        let (count, width, hidden) = (u64::from(count), u64::from(width), u64::from(self.shape.hidden));
        let wide = if matches!(cut, Cut::All) { width } else { 2 * width };
        let own = if ours.contains(".down_proj") { (hidden, width) } else { (wide, hidden) };
        let (source_rows, transposed) = match *shape {
            [slabs, values] if slabs == count => (values, false),
            // A square may be either.
            [slabs, rows, columns] if slabs == count && plain && own == (columns, rows) => {
                (columns, self.shape.family.slabs_transposed || own != (rows, columns))
            }
            [slabs, rows, columns] if slabs == count && (!plain || own == (rows, columns)) => (rows, false),
            _ => {
                let message = format!("shape {shape:?} is not that of {count} experts");
                return Err(Error::new(ErrorKind::Malformed, message));
            }
        };
        let alternate = |first| (source_rows / 2, RowMap { first, run: 1, stride: 2, rotary: None });
        let (row_count, rows) = match cut {
            Cut::All => (source_rows, RowMap::ALL),
            Cut::Even => alternate(0),
            Cut::Odd => alternate(1),
            Cut::First => (source_rows / 2, RowMap::ALL),
            Cut::Second => (source_rows / 2, RowMap::from_row(source_rows / 2)),
        };
        let ours = ours.to_owned();
        let place = move |slab: u64| {
            let name = ours.replacen('*', &slab.to_string(), 1);
            let slab = Some((slab, count));
            TensorSource { name, row_count, rows, plus: 0.0, inverse_lengths: false, slab, transposed, part: None }
        };
        Ok((0..count).map(place))
    }

    /// Our name of an expert's matrix.
    fn expert(&self, stem: &str) -> Option<String> {
        let (prefix, names) = self.shape.family.experts?.names;
        let (expert, name) = stem.strip_prefix(prefix)?.split_once('.')?;
        let which = names.iter().position(|theirs| *theirs == name)?;
        Some(format!("mlp.experts.{expert}.{}_proj", ["gate", "up", "down"][which]))
    }

    fn rows(&self, part: Part, all: u64) -> (u64, RowMap) {
        let Shape { head_dim, heads, kv_heads, .. } = self.shape;
        let (head, q) = (u64::from(head_dim), u64::from(self.shape.q_width()));
        let kv = u64::from(kv_heads) * head;
        let latent = |number: fn(&Latent) -> u32| u64::from(self.shape.latent.as_ref().map_or(0, number));
        let (rank, plain) = (latent(|latent| latent.key_value), latent(|latent| latent.plain_dim));
        let (value, rotary) = (u64::from(self.shape.value_dim), u64::from(self.shape.rotary_dim));
        let of_heads = |first, run| RowMap { first, run, stride: plain + value, rotary: None };
        let queries = u64::from(heads / kv_heads) * head;
        let grouped = |first, run| RowMap { first, run, stride: queries + 2 * head, rotary: None };
        match part {
            Part::All | Part::Slab(_) | Part::Numbered => (all, RowMap::ALL),
            Part::Query => (q, RowMap::from_row(0)),
            Part::Key => (kv, RowMap::from_row(q)),
            Part::Value => (kv, RowMap::from_row(q + kv)),
            Part::GroupedQuery => (q, grouped(0, queries)),
            Part::GroupedKey => (kv, grouped(queries, head)),
            Part::GroupedValue => (kv, grouped(queries + head, head)),
            Part::First => (all / 2, RowMap::from_row(0)),
            Part::Second => (all / 2, RowMap::from_row(all / 2)),
            Part::Latent => (rank, RowMap::from_row(0)),
            Part::LatentRotary => (rotary, RowMap::from_row(rank).in_halves(rotary, rotary)),
            Part::LatentKey => (u64::from(heads) * plain, of_heads(0, plain)),
            Part::LatentValue => (u64::from(heads) * value, of_heads(plain, value)),
            Part::GatedQuery => (q, RowMap { first: 0, run: head, stride: 2 * head, rotary: None }),
            Part::QueryGate => (q, RowMap { first: head, run: head, stride: 2 * head, rotary: None }),
            Part::Delta(part) => self.shape.delta.as_ref().map_or((all, RowMap::ALL), |delta| delta.state.rows(part)),
        }
    }

    /// Queries, keys and their norms of a family whose pairs lie next to each other.
    fn in_halves(&self, ours: &str, rows: RowMap, row_count: u64) -> RowMap {
        if let Some(latent) = self.shape.latent {
            // Here the part that rotates is the last of a head; it becomes the first.
            let head = u64::from(self.shape.head_dim);
            let (first, count) = (u64::from(latent.plain_dim), u64::from(self.shape.rotary_dim));
            return match ours {
                "self_attn.q_proj" | "self_attn.q_b_proj" => {
                    RowMap { rotary: Some(RotaryRows { head, first, count }), ..rows }
                }
                _ => rows,
            };
        }
        let rotates = matches!(ours, "self_attn.q_proj" | "self_attn.k_proj" | "self_attn.q_norm" | "self_attn.k_norm");
        let head = u64::from(self.shape.head_dim);
        match self.shape.family.rope {
            Rope::Interleaved | Rope::InterleavedInWindows if rotates && row_count.is_multiple_of(head) => {
                rows.in_halves(head, u64::from(self.shape.rotary_dim))
            }
            _ => rows,
        }
    }
}
