//! From a checkpoint's tensors to those of a model: cut where they are fused, joined where they lie in parts.

use std::collections::BTreeMap;

use super::{Companion, Source, Tensor};
use crate::plan::{Place, RowMap, TensorNames};
use crate::{Error, ErrorKind, Result};

/// The tensors of a model that a checkpoint's tensors hold, in the order of their names. An error comes with the index of
/// the file.
pub(super) fn in_our_names(theirs: &[Tensor], names: &TensorNames) -> Result<Vec<Tensor>, (usize, Error)> {
    let mut tensors = Vec::with_capacity(theirs.len());
    let mut parts: BTreeMap<String, BTreeMap<u64, Tensor>> = BTreeMap::new();
    for tensor in theirs {
        let mut shape = tensor.shape.clone();
        // Norms of heads may come as a table, a row for each head; here they are one vector.
        if shape.len() == 2 && tensor.name.ends_with("norm.weight") {
            shape = vec![shape[0].saturating_mul(shape[1])];
        }
        if shape.is_empty() {
            tensors.push(tensor.clone());
            continue;
        }
        let places = names.places(&tensor.name, &shape, matches!(tensor.source, Source::Plain(_)));
        for place in places.map_err(|error| (tensor.file, error.tensor(&tensor.source_name)))? {
            let part = place.part;
            let tensor = placed(tensor, &shape, place);
            match part {
                Some(part) => {
                    parts.entry(tensor.name.clone()).or_default().insert(part, tensor);
                }
                None => tensors.push(tensor),
            }
        }
    }
    tensors.extend(parts.into_values().map(joined).collect::<Result<Vec<_>, _>>()?);
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

/// What lies at a place of a tensor of this shape.
fn placed(tensor: &Tensor, shape: &[u64], place: Place) -> Tensor {
    // A slab is a tensor of its own, of one axis less.
    let (shape, (slab, slabs)) = match place.slab {
        Some(slab) => (&shape[1..], slab),
        None => (shape, (0, 1)),
    };
    let (rows, columns) = match (shape, place.transposed) {
        ([columns, rows], true) => (*rows, vec![*columns]),
        _ => (shape[0], shape[1..].to_vec()),
    };
    let cut = |len_bytes: u64| (len_bytes / slabs, len_bytes / slabs * slab);
    let (len_bytes, from) = cut(tensor.len_bytes);
    let companion = |whole: &Companion| {
        let (len_bytes, from) = cut(whole.len_bytes);
        Companion { len_bytes, offset_bytes: whole.offset_bytes + from, ..whole.clone() }
    };
    Tensor {
        name: place.name,
        inverse_lengths: place.inverse_lengths.then(|| columns.first().copied().unwrap_or(1)),
        shape: match place.inverse_lengths {
            true => vec![place.row_count],
            false => [vec![place.row_count], columns].concat(),
        },
        offset_bytes: tensor.offset_bytes + from,
        len_bytes,
        source_rows: rows,
        rows: place.rows,
        plus: place.plus,
        transposed: place.transposed,
        companions: tensor.companions.iter().map(companion).collect(),
        ..tensor.clone()
    }
}

/// A vector of its parts, which are numbered from 0 on.
fn joined(parts: BTreeMap<u64, Tensor>) -> Result<Tensor, (usize, Error)> {
    let mut whole: Option<Tensor> = None;
    for (index, (number, part)) in (0..).zip(parts) {
        let wrong = |message: String| (part.file, Error::new(ErrorKind::Malformed, message).tensor(&part.source_name));
        let alike = whole.as_ref().is_none_or(|whole| whole.source == part.source && part.plus == whole.plus);
        let plain = matches!(part.source, Source::Plain(_)) && part.rows == RowMap::ALL && part.companions.is_empty();
        if number != index || part.shape.len() != 1 || !alike || !plain {
            return Err(wrong(format!("is not part {index} of a vector, or not like the part before it")));
        }
        match &mut whole {
            None => whole = Some(part),
            Some(whole) => {
                let len = whole.source_rows.checked_add(part.source_rows);
                whole.source_rows = len.ok_or_else(|| wrong("makes its vector too long".to_owned()))?;
                whole.shape = vec![whole.source_rows];
                let Tensor { source_name, file, offset_bytes, len_bytes, .. } = part;
                whole.companions.push(Companion { source_name, file, offset_bytes, len_bytes, rows_each: 1 });
            }
        }
    }
    whole.ok_or_else(|| (0, Error::new(ErrorKind::Missing, "has no parts")))
}
