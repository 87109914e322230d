//! Numbers of attention and of routers that files say in more than one way.

use super::architecture::Architecture;
use super::architectures::ALIBI;
use super::metadata::Metadata;
use super::model::missing;
use crate::{Error, ErrorKind, Result};

/// Values in a head, how many of them rotate, and values of a value, which here are as many.
pub(super) fn head_dim(
    metadata: &Metadata,
    architecture: &Architecture,
    hidden: u64,
    heads: u64,
) -> Result<(u64, u64, u64)> {
    let key = |key: &str| format!("{}.{key}", architecture.name);
    let own = |name: &str| metadata.u64(&key(&format!("{name}{}", if architecture.full_heads { "_swa" } else { "" })));
    let rotated = own("rope.dimension_count")?;
    let given = own("attention.key_length")?;
    let head_dim = match given.or(if architecture.partial_rotation { None } else { rotated }) {
        Some(head_dim) => head_dim,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => return Err(missing(&key("attention.key_length"))),
    };
    let value_len = own("attention.value_length")?.unwrap_or(head_dim);
    if head_dim == 0 {
        return Err(Error::new(ErrorKind::Malformed, "heads of 0 values"));
    }
    let rotates = rotated.unwrap_or(head_dim);
    let fits = rotates == head_dim || (architecture.partial_rotation && (2..head_dim).contains(&rotates));
    if !fits || value_len != head_dim {
        let message = format!("heads of {head_dim} keys, {value_len} values, {rotated:?} of them rotated");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok((head_dim, rotates, value_len))
}

/// Values of a head in layers without a window, where those have heads of their own: all of them rotate, or stand still.
pub(super) fn full_head_dim(metadata: &Metadata, architecture: &Architecture) -> Result<Option<u64>> {
    let key = |key: &str| format!("{}.{key}", architecture.name);
    if !architecture.full_heads {
        return Ok(None);
    }
    let head_dim = metadata.u64(&key("attention.key_length"))?.ok_or_else(|| missing(&key("attention.key_length")))?;
    for name in ["attention.value_length", "rope.dimension_count"] {
        if let Some(other) = metadata.u64(&key(name))?.filter(|other| *other != head_dim) {
            let message = format!("'{}' is {other}, and heads have {head_dim} values", key(name));
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    }
    Ok(Some(head_dim))
}

/// What [`head_dim`] tells, of latent attention. Where later files say it of heads, the plain keys are those of the latent row.
pub(super) fn latent_head_dim(metadata: &Metadata, architecture: &Architecture) -> Result<(u64, u64, u64)> {
    let key = |key: &str| format!("{}.{key}", architecture.name);
    let needed = |name: &str| metadata.u64(&key(name))?.ok_or_else(|| missing(&key(name)));
    let of_heads = |name: &str| match metadata.u64(&key(&format!("{name}_mla")))? {
        Some(len) if len > 0 => Ok(len),
        _ => needed(name),
    };
    let (head_dim, value_dim) = (of_heads("attention.key_length")?, of_heads("attention.value_length")?);
    let rotated = needed("rope.dimension_count")?;
    if !(2..head_dim).contains(&rotated) || !rotated.is_multiple_of(2) || value_dim == 0 {
        let message = format!("heads of {head_dim} keys, {value_dim} values, {rotated} of them rotated");
        return Err(Error::new(ErrorKind::Malformed, message));
    }
    Ok((head_dim, rotated, value_dim))
}

/// Whether there is ALiBi: slopes from the largest bias are known for 8.
pub(super) fn alibi(max_bias: Option<f64>) -> Result<bool> {
    match max_bias.unwrap_or(0.0) {
        0.0 => Ok(false),
        8.0 => Ok(true),
        other => Err(Error::new(ErrorKind::Unsupported, format!("{ALIBI} {other} is not supported"))),
    }
}

/// What makes scores of a router's products: 1 or nothing is a softmax, 2 a sigmoid.
pub(super) fn sigmoid(gating: Option<u64>) -> Result<bool> {
    match gating {
        None | Some(0 | 1) => Ok(false),
        Some(2) => Ok(true),
        Some(other) => Err(Error::new(ErrorKind::Unsupported, format!("expert_gating_func {other} is not supported"))),
    }
}
