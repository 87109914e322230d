//! The model's tensors that a tensor of the file holds: which rows, of which slab, in which order.

use super::TensorInfo;
use super::architecture::{OTHER_STREAMS, Part};
use super::delta::delta_rows;
use super::model::ModelShape;
use crate::checkpoint::{Source, Tensor};
use crate::encoding;
use crate::plan::{RotaryRows, RowMap};
use crate::{Error, ErrorKind, Result};

impl ModelShape {
    /// The model's tensors that a tensor of the file holds.
    pub(super) fn tensors(&self, info: &TensorInfo) -> Result<Vec<Tensor>> {
        let unknown = || {
            let message = format!("has no place in the architecture '{}'", self.architecture.name);
            Error::new(ErrorKind::Unsupported, message).tensor(&info.name)
        };
        if self.looks_ahead(&info.name) {
            return Ok(Vec::new());
        }
        let parts = self.architecture.parts(&info.name, self.layers).ok_or_else(unknown)?;
        let mut tensors = Vec::with_capacity(parts.len());
        for (name, part) in parts {
            let wrong = |what: String| {
                let message = format!("shape {:?} does not hold {what}", info.shape);
                Error::new(ErrorKind::Malformed, message).tensor(&info.name)
            };
            let name = match part {
                Part::Bare => name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem).to_owned(),
                _ => name,
            };
            if part == Part::Nth {
                tensors.push(self.nth(info, name, tensors.len()).map_err(wrong)?);
                continue;
            }
            let of_expert = matches!(part, Part::Expert | Part::ExpertFirst | Part::ExpertSecond);
            if !of_expert {
                tensors.push(self.tensor(info, &info.shape, name, part).map_err(wrong)?);
                continue;
            }
            let [experts, of_one @ ..] = &info.shape[..] else { return Err(unknown()) };
            if *experts != self.experts || of_one.is_empty() {
                return Err(wrong(format!("a slab for each of {} experts", self.experts)));
            }
            for expert in 0..*experts {
                let name = name.replacen('*', &expert.to_string(), 1);
                let whole = self.tensor(info, of_one, name, part).map_err(wrong)?;
                let len_bytes = whole.len_bytes / experts;
                tensors.push(Tensor { offset_bytes: whole.offset_bytes + expert * len_bytes, len_bytes, ..whole });
            }
        }
        Ok(tensors)
    }

    /// The matrix `index` of a slab for each of the other streams.
    fn nth(&self, info: &TensorInfo, name: String, index: usize) -> Result<Tensor, String> {
        let [slabs, of_one @ ..] = &info.shape[..] else { return Err("slabs".to_owned()) };
        if *slabs != OTHER_STREAMS as u64 || of_one.len() != 2 {
            return Err(format!("a matrix for each of {OTHER_STREAMS} streams"));
        }
        let whole = self.tensor(info, of_one, name, Part::Nth)?;
        let len_bytes = whole.len_bytes / slabs;
        Ok(Tensor { offset_bytes: whole.offset_bytes + index as u64 * len_bytes, len_bytes, ..whole })
    }

    /// Whether a tensor is of a layer that the model does without.
    fn looks_ahead(&self, name: &str) -> bool {
        let layer = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next());
        let behind = layer.and_then(|layer| layer.parse::<u64>().ok()?.checked_sub(self.layers));
        behind.is_some_and(|behind| behind < self.layers_ahead)
    }

    /// A part of a tensor of the file, or of a slab of it of this shape; or what the tensor ought to hold.
    fn tensor(&self, info: &TensorInfo, shape: &[u64], name: String, part: Part) -> Result<Tensor, String> {
        // Norms of heads may come as a table, a row for each head; here they are one vector.
        let shape = match (shape, part) {
            ([heads, values], _) if info.name.ends_with("norm.weight") => vec![heads.saturating_mul(*values)],
            ([columns], Part::OneRow) => vec![1, *columns],
            ([rows, columns], Part::Flat) => vec![rows.saturating_mul(*columns)],
            ([1, values], Part::All) if info.name.ends_with(".bias") => vec![*values],
            // Rows of heads that come apart.
            ([heads, rows, columns], Part::All) => vec![heads.saturating_mul(*rows), *columns],
            ([heads, lines, rows], Part::TurnedHeads) => vec![heads.saturating_mul(*rows), *lines],
            _ => shape.to_vec(),
        };
        let source_rows = shape.first().copied().unwrap_or(1);
        let source = match (encoding::gguf::block(info.encoding), part) {
            (None, Part::NegatedExp) => Source::NegatedExp(info.encoding),
            (Some(_), Part::NegatedExp) => Err("plain values")?,
            (_, Part::TurnedHeads) => Source::Turned { encoding: info.encoding, rows: source_rows / self.heads },
            (Some(_), _) => Source::GgufBlocks(info.encoding),
            (None, _) => Source::Plain(info.encoding),
        };
        let (row_count, rows) = self.rows(part, source_rows)?;
        Ok(Tensor {
            rows: self.in_halves(&name, rows, row_count)?,
            name,
            source_name: info.name.clone(),
            shape: [&[row_count][..], shape.get(1..).unwrap_or_default()].concat(),
            source,
            file: info.file,
            offset_bytes: info.offset_bytes,
            len_bytes: info.len_bytes,
            source_rows,
            plus: 0.0,
            inverse_lengths: None,
            transposed: false,
            companions: Vec::new(),
        })
    }

    /// How many rows a part has, and which; or what the tensor ought to hold.
    fn rows(&self, part: Part, all: u64) -> Result<(u64, RowMap), String> {
        let (q, k, v) = self.widths();
        let fused = || match q.saturating_add(k).saturating_add(v) == all {
            true => Ok(()),
            false => Err(format!("queries of {q}, keys of {k} and values of {v}")),
        };
        let queries = self.heads.saturating_mul(self.head_dim);
        let gated = |first| match queries.checked_mul(2) == Some(all) {
            true => Ok(RowMap { first, run: self.head_dim, stride: 2 * self.head_dim, rotary: None }),
            false => Err(format!("{} heads of {} queries and as many gates", self.heads, self.head_dim)),
        };
        let plain = self.head_dim.saturating_sub(self.rotated);
        let latent = || match self.latent.checked_add(self.rotated) == Some(all) {
            true => Ok(()),
            false => Err(format!("a latent row of {} and {} values that rotate", self.latent, self.rotated)),
        };
        let (keys, values) = (self.heads.saturating_mul(plain), self.heads.saturating_mul(self.value_dim));
        let of_heads = |first, run| match keys.checked_add(values) == Some(all) {
            true => Ok(RowMap { first, run, stride: plain + self.value_dim, rotary: None }),
            false => Err(format!("{} heads of {plain} key and {} other values", self.heads, self.value_dim)),
        };
        let halves = || if all.is_multiple_of(2) { Ok(()) } else { Err("two halves".to_owned()) };
        Ok(match part {
            Part::All
            | Part::OneRow
            | Part::Bare
            | Part::Flat
            | Part::NegatedExp
            | Part::Expert
            | Part::Nth
            | Part::Whole => (all, RowMap::ALL),
            Part::Latent => latent().map(|()| (self.latent, RowMap::ALL))?,
            Part::LatentRotary => latent()
                .map(|()| (self.rotated, RowMap::from_row(self.latent).in_halves(self.rotated, self.rotated)))?,
            Part::LatentKey => (keys, of_heads(0, plain)?),
            Part::LatentValue => (values, of_heads(plain, self.value_dim)?),
            Part::TurnedHeads if keys == all => (all, RowMap::ALL),
            Part::TurnedHeads => Err(format!("{} heads of {plain} values", self.heads))?,
            Part::Query => fused().map(|()| (q, RowMap::from_row(0)))?,
            Part::Key => fused().map(|()| (k, RowMap::from_row(q)))?,
            Part::Value => fused().map(|()| (v, RowMap::from_row(q + k)))?,
            Part::GatedQuery => (queries, gated(0)?),
            Part::QueryGate => (queries, gated(self.head_dim)?),
            Part::Delta(part) => delta_rows(self.delta, part, all)?,
            Part::First | Part::ExpertFirst => halves().map(|()| (all / 2, RowMap::from_row(0)))?,
            Part::Second | Part::ExpertSecond => halves().map(|()| (all / 2, RowMap::from_row(all / 2)))?,
        })
    }

    /// Rows of the queries, keys and values that lie in one tensor.
    fn widths(&self) -> (u64, u64, u64) {
        match self.delta {
            Some(delta) => (delta.key_width().into(), delta.key_width().into(), delta.value_width().into()),
            None => {
                let [q, kv] = [self.heads, self.kv_heads].map(|heads| heads.saturating_mul(self.head_dim));
                (q, kv, kv)
            }
        }
    }

    /// Queries, keys and their norms with neighbouring pairs put in halves; or what the tensor ought to hold.
    fn in_halves(&self, name: &str, rows: RowMap, row_count: u64) -> Result<RowMap, String> {
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let heads = match stem.rsplit('.').next() {
            // The part that rotates is the last of a head, and becomes the first.
            Some("q_proj" | "q_b_proj") if self.architecture.latent => {
                if self.heads.checked_mul(self.head_dim) != Some(row_count) {
                    return Err(format!("{} heads of {}", self.heads, self.head_dim));
                }
                let (head, count) = (self.head_dim, self.rotated);
                return Ok(RowMap { rotary: Some(RotaryRows { head, first: head - count, count }), ..rows });
            }
            Some("q_proj" | "q_norm") => self.heads,
            Some("k_proj" | "k_norm") => self.kv_heads,
            _ => return Ok(rows),
        };
        if !self.interleaved {
            return Ok(rows);
        }
        if heads.checked_mul(self.head_dim) != Some(row_count) || !self.rotated.is_multiple_of(2) {
            return Err(format!("{heads} heads of {}", self.head_dim));
        }
        Ok(rows.in_halves(self.head_dim, self.rotated))
    }
}
