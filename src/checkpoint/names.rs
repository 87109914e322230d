//! From a checkpoint's tensors to those of a model: cut where they are fused, joined where they lie in parts.

use std::collections::BTreeMap;

use super::{Companion, Source, Tensor};
use crate::plan::{RowMap, TensorNames, TensorSource};
use crate::{Error, ErrorKind, Result};

/// The tensors of a model that a checkpoint's tensors hold, in the order of their names. An error comes with the index of
/// the file.
pub(super) fn in_our_names(theirs: &[Tensor], names: &TensorNames) -> Result<Vec<Tensor>, (usize, Error)> {
    let mut tensors = Vec::with_capacity(theirs.len());
    let mut parts: BTreeMap<String, BTreeMap<u64, Tensor>> = BTreeMap::new();
    for tensor in theirs {
        let mut shape = tensor.shape.clone();
        // Norms of heads may come as a table, a row for each head, and a router's bias as one row; here they are one vector.
        let is_table = ["norm.weight", "e_score_correction_bias"].iter().any(|end| tensor.name.ends_with(end));
        if shape.len() == 2 && is_table {
            shape = vec![shape[0].saturating_mul(shape[1])];
        }
        // So may the taps of a convolution along the text: `[channels, 1, taps]`.
        if shape.len() == 3 && tensor.name.ends_with(".conv1d.weight") {
            shape = vec![shape.iter().fold(1, |product: u64, axis| product.saturating_mul(*axis))];
        }
        if shape.is_empty() {
            shape.push(1);
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
fn placed(tensor: &Tensor, shape: &[u64], place: TensorSource) -> Tensor {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::encoding::Encoding;

    fn names(class: &str, more: serde_json::Value) -> TensorNames {
        let mut config = json!({
            "architectures": [class], "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "head_dim": 16,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 9, "rope_theta": 150,
        });
        config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        TensorNames::new(&config).expect("a family")
    }

    fn gpt_oss() -> TensorNames {
        names("GptOssForCausalLM", json!({ "num_local_experts": 3, "num_experts_per_tok": 1 }))
    }

    fn tensor(name: &str, shape: &[u64], source: Source) -> Tensor {
        let companion = |len_bytes| Companion {
            source_name: format!("{name}_scales"),
            file: 1,
            offset_bytes: 7000,
            len_bytes,
            rows_each: 1,
        };
        let count: u64 = shape.iter().product();
        let (len_bytes, companions) = match source {
            Source::Planes(_) => (count / 2, vec![companion(count / 32)]),
            _ => (count * 2, Vec::new()),
        };
        Tensor {
            name: format!("model.layers.0.{name}"),
            source_name: name.to_owned(),
            shape: shape.to_vec(),
            source,
            file: 0,
            offset_bytes: 1000,
            len_bytes,
            source_rows: shape.first().copied().unwrap_or(1),
            rows: RowMap::ALL,
            plus: 0.0,
            inverse_lengths: None,
            transposed: false,
            companions,
        }
    }

    const PLAIN: Source = Source::Plain(Encoding::BF16);

    fn split(tensor: Tensor, names: &TensorNames) -> Vec<Tensor> {
        in_our_names(&[tensor], names).map_err(|(_, error)| error).expect("tensors")
    }

    #[test]
    fn each_expert_has_its_slab() {
        let plain = split(tensor("mlp.experts.gate_up_proj", &[3, 64, 192], PLAIN), &gpt_oss());
        assert_eq!(plain.len(), 6);
        let up =
            plain.iter().find(|tensor| tensor.name == "model.layers.0.mlp.experts.2.up_proj.weight").expect("there");
        assert_eq!((&up.shape[..], up.source_rows, up.transposed), (&[96, 64][..], 192, true));
        assert_eq!((up.offset_bytes, up.len_bytes), (1000 + 2 * 64 * 192 * 2, 64 * 192 * 2));
        assert_eq!((up.rows.source(0), up.rows.source(95)), (1, 191));
        let packed = tensor("mlp.experts.gate_up_proj", &[3, 192, 64], Source::Planes(Encoding::MXFP4));
        let packed = split(packed, &gpt_oss());
        let gate = packed.iter().find(|t| t.name == "model.layers.0.mlp.experts.1.gate_proj.weight").expect("there");
        assert_eq!((&gate.shape[..], gate.source_rows, gate.transposed), (&[96, 64][..], 192, false));
        assert_eq!((gate.offset_bytes, gate.len_bytes), (1000 + 192 * 32, 192 * 32));
        let [scales] = &gate.companions[..] else { panic!("{gate:?}") };
        assert_eq!((scales.offset_bytes, scales.len_bytes), (7000 + 192 * 2, 192 * 2));
        let biases = split(tensor("mlp.experts.gate_up_proj_bias", &[3, 192], PLAIN), &gpt_oss());
        let gate = biases.iter().find(|t| t.name == "model.layers.0.mlp.experts.1.gate_proj.bias").expect("there");
        assert_eq!((&gate.shape[..], gate.source_rows, gate.offset_bytes), (&[96][..], 192, 1000 + 192 * 2));
    }

    #[test]
    fn slabs_that_are_not_the_experts_are_refused() {
        for shape in [&[][..], &[3], &[4, 64, 192], &[2, 64, 192], &[3, 64, 192, 1]] {
            let error = in_our_names(&[tensor("mlp.experts.gate_up_proj", shape, PLAIN)], &gpt_oss());
            let (file, error) = error.expect_err("refused");
            assert_eq!((file, error.kind()), (0, ErrorKind::Malformed), "{shape:?}: {error}");
            assert_eq!(error.tensor_name(), Some("mlp.experts.gate_up_proj"));
        }
    }

    #[test]
    fn numbered_parts_are_joined_in_their_order() {
        let names = names("StableLmForCausalLM", json!({ "qk_layernorm": true }));
        let part =
            |number: &str, shape: &[u64]| tensor(&format!("self_attn.q_layernorm.norms.{number}.weight"), shape, PLAIN);
        // By name the eleventh comes before the third.
        let parts: Vec<_> = (0..12).map(|number| part(&number.to_string(), &[16])).collect();
        let whole = in_our_names(&parts, &names).map_err(|(_, error)| error).expect("a vector");
        let [whole] = &whole[..] else { panic!("{whole:?}") };
        assert_eq!((&*whole.name, &whole.shape[..]), ("model.layers.0.self_attn.q_norm.weight", &[192][..]));
        let order: Vec<_> = whole.companions.iter().map(|companion| companion.source_name.clone()).collect();
        assert_eq!(order[9], "self_attn.q_layernorm.norms.10.weight");
        for parts in [
            vec![part("0", &[16]), part("2", &[16])],
            vec![part("1", &[16])],
            vec![part("0", &[16]), part("1", &[4, 4])],
            vec![part("0", &[16]), Tensor { source: Source::Plain(Encoding::F16), ..part("1", &[16]) }],
            vec![part("0", &[16]), part("1", &[u64::MAX / 2]), part("2", &[u64::MAX / 2]), part("3", &[16])],
        ] {
            let (_, error) = in_our_names(&parts, &names).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
            assert!(error.tensor_name().is_some_and(|name| name.contains("norms")), "{error}");
        }
    }
}
