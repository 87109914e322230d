//! Which of a pickle's values are the tensors of a model.

use std::collections::HashSet;

use safetensors::Dtype;

use super::pickle::{self, Values};
use super::value::{Id, Tensor, Value};
use super::{refused, shown};
use crate::{Error, ErrorKind, Result};

/// Cap on a tensor's axes. The dimensions of a view may be shared by many, and are copied for each.
const AXES_CAP: usize = 8;
/// What training scripts call the state dict of the model among other things that they save.
const WRAPPERS: &[&str] = &["model", "state_dict", "model_state_dict", "module"];

/// A tensor as a pickle describes it: a range of a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'a> {
    pub name: &'a str,
    /// The storage's; it is in the zip as `data/KEY`.
    pub key: &'a str,
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    /// From the start of the storage.
    pub offset_bytes: u64,
    pub len_bytes: u64,
}

/// Reads `data.pkl`: a dict of tensors by name, or one that holds such a dict as `model` or `state_dict`. The pickle is
/// not run. Numbers and texts beside tensors are passed over.
///
/// # Errors
/// [`ErrorKind::Truncated`], [`ErrorKind::Malformed`] and [`ErrorKind::Unsupported`] as for a whole file.
pub fn parse_pickle(bytes: &[u8]) -> Result<Vec<View<'_>>> {
    let values = pickle::read(bytes)?;
    let items = state_dict(&values)?;
    let mut names = HashSet::with_capacity(items.len());
    let mut views = Vec::new();
    for (key, value) in items {
        let is_tensor = matches!(values.get(*value), Value::Tensor(_));
        let Value::Text(name) = values.get(*key) else {
            if is_tensor {
                let message = format!("a tensor is named by {}", values.get(*key).describe());
                return Err(malformed(message));
            }
            continue;
        };
        if !names.insert(*name) {
            return Err(malformed("comes twice").tensor(shown(name)));
        }
        match values.get(*value) {
            Value::Tensor(tensor) => {
                views.push(view(&values, name, tensor).map_err(|error| error.tensor(shown(name)))?);
            }
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Text(_) | Value::Other(_) => {}
            other => return Err(refused(format!("is {} among tensors", other.describe())).tensor(shown(name))),
        }
    }
    Ok(views)
}

/// The dict that holds the model's tensors.
fn state_dict<'v>(values: &'v Values<'_>) -> Result<&'v [(Id, Id)]> {
    let Value::Dict(top) = values.get(values.top) else {
        let message = format!("it holds {}, not a dict of tensors", values.get(values.top).describe());
        return Err(refused(message));
    };
    let has_tensors =
        |items: &[(Id, Id)]| items.iter().any(|(_, value)| matches!(values.get(*value), Value::Tensor(_)));
    if has_tensors(top) {
        return Ok(top);
    }
    let mut wrapped = top.iter().filter_map(|(key, value)| match (values.get(*key), values.get(*value)) {
        (Value::Text(name), Value::Dict(items)) if WRAPPERS.contains(name) => Some(items),
        _ => None,
    });
    match (wrapped.next(), wrapped.next()) {
        (Some(items), None) if has_tensors(items) => Ok(items),
        _ => Err(refused("it holds no dict of tensors by name, nor one such dict as 'model' or 'state_dict'")),
    }
}

/// A tensor with everything that its pickle says of it, checked.
fn view<'a>(values: &Values<'a>, name: &'a str, tensor: &Tensor) -> Result<View<'a>> {
    let Value::Storage(storage) = values.get(tensor.storage) else { return Err(malformed("is no view of a storage")) };
    let shape = dimensions(values, tensor.shape)?;
    let strides = dimensions(values, tensor.strides)?;
    let offset = values.int(tensor.offset).ok_or_else(|| malformed("has no offset"))?;
    if strides.len() != shape.len() {
        return Err(malformed(format!("has the shape {shape:?} and the strides {strides:?}")));
    }
    let dtype = tensor.dtype.unwrap_or(storage.dtype);
    let bytes = |dtype: Dtype, count: u64| count.checked_mul(dtype.bitsize() as u64 / 8);
    let len_bytes = shape.iter().try_fold(bytes(dtype, 1).unwrap_or(0), |len, dim| len.checked_mul(*dim));
    let ranges = (len_bytes, bytes(dtype, offset), bytes(storage.dtype, storage.count));
    let (Some(len_bytes), Some(offset_bytes), Some(storage_bytes)) = ranges else {
        return Err(malformed(format!("the shape {shape:?} at {offset} is too large")));
    };
    if offset_bytes.checked_add(len_bytes).is_none_or(|end| end > storage_bytes) {
        let message = format!("its {len_bytes} bytes at {offset_bytes} do not lie in its storage of {storage_bytes}");
        return Err(malformed(message));
    }
    if len_bytes > 0 && !is_row_major(&shape, &strides) {
        let message = format!("its values do not lie in row order: shape {shape:?}, strides {strides:?}");
        return Err(Error::new(ErrorKind::Unsupported, message)
            .remedy("load the checkpoint with PyTorch, call .contiguous() on this tensor, and save it again"));
    }
    Ok(View { name, key: storage.key, dtype, shape, offset_bytes, len_bytes })
}

/// A tuple of numbers that are not negative.
fn dimensions(values: &Values<'_>, id: Id) -> Result<Vec<u64>> {
    let tuple = values.tuple(id).filter(|tuple| tuple.len() <= AXES_CAP);
    let numbers = tuple.and_then(|tuple| tuple.iter().map(|item| values.int(*item)).collect());
    numbers.ok_or_else(|| malformed(format!("its shape or strides are not up to {AXES_CAP} numbers")))
}

/// Whether the last axis is contiguous, and each axis before it steps over all of those behind. An axis of one step has
/// no stride that matters. The product of the shape has been checked.
fn is_row_major(shape: &[u64], strides: &[u64]) -> bool {
    let mut step = 1;
    shape.iter().zip(strides).rev().all(|(dim, stride)| {
        let expected = step;
        step *= dim;
        *dim == 1 || *stride == expected
    })
}

fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, message).remedy("get the file again")
}
