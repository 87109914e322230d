//! What a plan wants and what a checkpoint has.

use std::collections::HashMap;
use std::fmt;

use super::convert::TensorPlan;
use super::{TensorSpec, Weights};
use crate::checkpoint::{Checkpoint, Source, Tensor};
use crate::encoding::{Encoding, gguf};
use crate::plan::{EMBEDDINGS, HEAD, ModelSpec, PER_LAYER_EMBEDDINGS, layer_tensor};
use crate::words::Term;
use crate::{Error, ErrorKind, Result};

/// A group of tensors that share a file (or a few, where a size limit cuts it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::internals::shard) enum Stem {
    Layer(usize),
    Head,
    Embeddings,
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(layer) => write!(f, "layer-{layer:05}"),
            Self::Head => f.write_str("head"),
            Self::Embeddings => f.write_str("embeddings"),
        }
    }
}

/// Tensors of one stem, each as a name and a shape or as a spec.
pub(in crate::internals::shard) type Group<T> = (Stem, Vec<T>);

/// Names and shapes of all tensors of a model, in sweep order: layers, the norm and the head, the embeddings.
pub(in crate::internals::shard) fn wanted(spec: &ModelSpec) -> Vec<Group<(String, Vec<u64>)>> {
    let mut groups = Vec::new();
    for (index, layer) in spec.layers.iter().enumerate() {
        let vectors = layer.vectors.iter().map(|vector| (&vector.name, vec![u64::from(vector.len)]));
        let matrices = layer.matrices.iter().map(|m| (&m.name, vec![u64::from(m.rows), u64::from(m.columns)]));
        let tensors = vectors.chain(matrices).map(|(name, shape)| (layer_tensor(index, name), shape));
        let mut tensors: Vec<_> = tensors.collect();
        if let Some(experts) = &layer.experts {
            let vectors = (0..experts.count).flat_map(|expert| experts.vectors(expert));
            tensors.extend(vectors.map(|v| (layer_tensor(index, &v.name), vec![u64::from(v.len)])));
            let matrices = (0..experts.count).flat_map(|expert| experts.matrices(expert));
            tensors.extend(
                matrices.map(|m| (layer_tensor(index, &m.name), vec![u64::from(m.rows), u64::from(m.columns)])),
            );
        }
        groups.push((Stem::Layer(index), tensors));
    }
    let table = vec![u64::from(spec.vocab), u64::from(spec.hidden)];
    let vectors = spec.head.vectors.iter();
    let mut head: Vec<_> = vectors.map(|vector| (vector.name.clone(), vec![u64::from(vector.len)])).collect();
    if !spec.head.tied {
        head.push((HEAD.to_owned(), table.clone()));
    }
    groups.push((Stem::Head, head));
    let mut embeddings = vec![(EMBEDDINGS.to_owned(), table)];
    let per_layer = spec.per_layer.map(|table| vec![u64::from(table.rows), u64::from(table.width)]);
    embeddings.extend(per_layer.map(|table| (PER_LAYER_EMBEDDINGS.to_owned(), table)));
    groups.push((Stem::Embeddings, embeddings));
    groups
}

/// Finds each wanted tensor in the checkpoint and decides how it is stored.
pub(super) fn matched(
    checkpoint: &Checkpoint,
    spec: &ModelSpec,
    weights: Weights,
) -> Result<(Vec<Group<TensorSpec>>, Vec<TensorPlan>)> {
    if weights != Weights::Original && checkpoint.quantized {
        return Err(quantized_already(weights));
    }
    let mut left: HashMap<&str, &Tensor> = checkpoint.tensors.iter().map(|tensor| (&*tensor.name, tensor)).collect();
    let mut missing = Vec::new();
    let mut groups = Vec::new();
    let mut plans = Vec::new();
    for (stem, tensors) in wanted(spec) {
        let mut specs = Vec::new();
        for (name, shape) in tensors {
            let Some(tensor) = left.remove(&*name) else {
                missing.push((name, shape));
                continue;
            };
            let encoding = stored_as(tensor, &shape, weights).map_err(|error| blame(error, checkpoint, tensor))?;
            let spec = TensorSpec { name, encoding, shape };
            plans.push(TensorPlan::new(tensor, &spec).map_err(|error| blame(error, checkpoint, tensor))?);
            specs.push(spec);
        }
        groups.push((stem, specs));
    }
    if let Some((name, shape)) = missing.first() {
        let more =
            if missing.len() > 1 { format!(" (and {} more are missing)", missing.len() - 1) } else { String::new() };
        let message = format!("the checkpoint has no such tensor; its config asks for one of shape {shape:?}{more}");
        return Err(Error::new(ErrorKind::Missing, message).tensor(name).remedy("get the whole checkpoint"));
    }
    let mut extra: Vec<&str> = left.into_keys().filter(|name| !is_harmless(name, spec)).collect();
    extra.retain(|name| !looks_ahead(name, spec, &checkpoint.config));
    extra.sort_unstable();
    refuse_extra(&extra)?;
    Ok((groups, plans))
}

/// Names the source file of a tensor in an error about it.
fn blame(error: Error, checkpoint: &Checkpoint, tensor: &Tensor) -> Error {
    let file = checkpoint.files.get(tensor.file).map_or("the checkpoint", |(name, _)| name);
    error.tensor(&tensor.name).file(file)
}

/// The encoding of a tensor in the model, after checking its shape.
fn stored_as(tensor: &Tensor, shape: &[u64], weights: Weights) -> Result<Encoding> {
    if tensor.shape != shape {
        let message = format!("shape {:?}, but the config asks for {shape:?}", tensor.shape);
        return Err(Error::new(ErrorKind::Malformed, message));
    }
    match (shape.len(), weights, tensor.source) {
        (1, ..) => Ok(Encoding::F32),
        (_, Weights::Original, Source::Plain(encoding) | Source::GgufBlocks(encoding) | Source::Planes(encoding)) => {
            Ok(encoding)
        }
        // What is quantized along the other axis has no blocks here: its numbers are kept as they are.
        (_, Weights::Original, Source::Turned { encoding, .. }) => {
            Ok(if gguf::block(encoding).is_some() { Encoding::F32 } else { encoding })
        }
        (_, Weights::Q8, Source::Plain(_) | Source::Turned { .. }) => Ok(Encoding::Q8_0),
        (_, Weights::Q4, Source::Plain(_) | Source::Turned { .. }) => Ok(Encoding::Q4_1),
        (_, _, Source::Quantized(quantized)) => Ok(smaller(quantized.encoding(shape[1]), weights)),
        (_, _, Source::GgufBlocks(_) | Source::Planes(_)) => Err(quantized_already(weights)),
        (_, _, Source::NegatedExp(_)) => Err(Error::new(ErrorKind::Malformed, "is a vector, where a matrix is needed")),
    }
}

/// The encoding of a quantized matrix: its own, where that has no more bits than are asked for.
fn smaller(own: Encoding, weights: Weights) -> Encoding {
    let (most, other) = match weights {
        Weights::Original => return own,
        Weights::Q8 => (8, Encoding::Q8_0),
        Weights::Q4 => (4, Encoding::Q4_1),
    };
    if own.descriptor().planes[0].bits <= most { own } else { other }
}

/// What to tell whoever splits a checkpoint like this: that quantized matrices become larger than they are, and why.
pub fn notice(checkpoint: &Checkpoint, weights: Weights) -> Option<String> {
    let plain = |tensor: &&Tensor| match (tensor.source, &tensor.shape[..]) {
        (Source::Quantized(quantized), [_, columns]) => {
            smaller(quantized.encoding(*columns), weights).descriptor().plain.is_some()
        }
        _ => false,
    };
    let count = checkpoint.tensors.iter().filter(plain).count();
    (count > 0).then(|| {
        format!(
            "{count} quantized matrices are stored decoded, because their groups of columns are in no order (desc_act), \
             their blocks do not end with their rows, or their bytes stand for the numbers of a table"
        )
    })
}

fn quantized_already(weights: Weights) -> Error {
    let message = format!("its weights are quantized already; {} of them would lose twice", weights.name());
    Error::new(ErrorKind::Argument, message)
        .remedy("use " + Term::Weights("original") + ", or quantize the unquantized checkpoint")
}

/// Tensors that older checkpoints carry and that the plan computes itself, or has in another place.
fn is_harmless(name: &str, spec: &ModelSpec) -> bool {
    name.ends_with(".rotary_emb.inv_freq") || name == "rope_freqs.weight" || (spec.head.tied && name == HEAD)
}

/// Layers behind the last that guess the token after the next one: an answer needs none of them.
fn looks_ahead(name: &str, spec: &ModelSpec, config: &serde_json::Value) -> bool {
    let number = name.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next());
    let behind = number.and_then(|number| number.parse::<usize>().ok()?.checked_sub(spec.layers.len()));
    let count = config.get("num_nextn_predict_layers").and_then(serde_json::Value::as_u64).unwrap_or(0);
    behind.is_some_and(|behind| (behind as u64) < count)
}

fn refuse_extra(extra: &[&str]) -> Result<()> {
    let Some(first) = extra.first() else { return Ok(()) };
    let shown = extra.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    let more = if extra.len() > 5 { format!(" and {} more", extra.len() - 5) } else { String::new() };
    let message = format!("the architecture has no place for: {shown}{more}");
    let error = Error::new(ErrorKind::Unsupported, message).tensor(*first);
    Err(error.remedy("without them the model would answer wrongly; its architecture is not known here"))
}
