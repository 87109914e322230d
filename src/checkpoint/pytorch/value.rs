//! What a pickle of tensors is made of.
//!
//! Sources: `torch/_utils.py` for the functions that rebuild tensors and their arguments, `torch/serialization.py` for
//! the description of a storage (`persistent_id`).

use safetensors::Dtype;

use super::pickle::Values;
use crate::{Error, ErrorKind, Result};

/// Cap on the key of a storage, which many tensors may share. It is a number in what `torch.save` writes.
const KEY_CAP: usize = 256;

/// The place of a value in [`Values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(pub u32);

#[derive(Debug, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Text(&'a str),
    Tuple(Box<[Id]>),
    /// No tensor is made of a list, so what it holds is not kept.
    List,
    /// Keys and values in the order of the file.
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage<'a>),
    Tensor(Tensor),
    /// What no tensor is made of, in words.
    Other(&'static str),
}

/// Everything that a pickle may name, as a description: none of it is a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildTensorV2,
    RebuildTensorV3,
    RebuildParameter,
    /// The class of a storage, which says what its values are.
    StorageOf(Dtype),
    /// `torch.float16` and the like.
    Dtype(Dtype),
}

/// One run of bytes of the file; tensors are views of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Storage<'a> {
    pub dtype: Dtype,
    /// Its member is called `data/KEY`.
    pub key: &'a str,
    /// Values of `dtype`.
    pub count: u64,
}

/// A view of a storage. Its parts stay where they are until its name is known, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    pub storage: Id,
    /// The storage's own, or the one that the tensor gives to bytes.
    pub dtype: Option<Dtype>,
    /// In values, as the next two.
    pub offset: Id,
    pub shape: Id,
    pub strides: Id,
}

impl Global {
    pub(super) fn named(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensorV2,
            ("torch._utils", "_rebuild_tensor_v3") => Self::RebuildTensorV3,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            // A storage without a type holds bytes, and so does its tensor unless it says otherwise.
            ("torch" | "torch.storage", "UntypedStorage") => Self::StorageOf(Dtype::U8),
            ("torch", _) => match name.strip_suffix("Storage") {
                Some(kind) => Self::StorageOf(storage_dtype(kind)?),
                None => Self::Dtype(dtype(name)?),
            },
            _ => return None,
        })
    }
}

fn storage_dtype(kind: &str) -> Option<Dtype> {
    Some(match kind {
        "Float" => Dtype::F32,
        "Half" => Dtype::F16,
        "BFloat16" => Dtype::BF16,
        "Double" => Dtype::F64,
        "Long" => Dtype::I64,
        "Int" => Dtype::I32,
        "Short" => Dtype::I16,
        "Char" => Dtype::I8,
        "Byte" => Dtype::U8,
        "Bool" => Dtype::BOOL,
        "ComplexFloat" => Dtype::C64,
        _ => return None,
    })
}

fn dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "float32" => Dtype::F32,
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::BF16,
        "float64" => Dtype::F64,
        "float8_e4m3fn" => Dtype::F8_E4M3,
        "float8_e5m2" => Dtype::F8_E5M2,
        "float8_e4m3fnuz" => Dtype::F8_E4M3FNUZ,
        "float8_e5m2fnuz" => Dtype::F8_E5M2FNUZ,
        "float8_e8m0fnu" => Dtype::F8_E8M0,
        "int64" => Dtype::I64,
        "int32" => Dtype::I32,
        "int16" => Dtype::I16,
        "int8" => Dtype::I8,
        "uint64" => Dtype::U64,
        "uint32" => Dtype::U32,
        "uint16" => Dtype::U16,
        "uint8" => Dtype::U8,
        "bool" => Dtype::BOOL,
        "complex64" => Dtype::C64,
        _ => return None,
    })
}

impl<'a> Value<'a> {
    /// The storage that a persistent id describes: `("storage", class, key, device, count)`.
    pub(super) fn storage(values: &Values<'a>, id: Id) -> Result<Self> {
        let odd = || malformed("its pickle refers to something that is no storage");
        let [tag, class, key, _device, count] = values.tuple(id).ok_or_else(odd)? else { return Err(odd()) };
        let parts = (values.get(*tag), values.get(*class), values.get(*key), values.int(*count));
        match parts {
            (Value::Text("storage"), Value::Global(Global::StorageOf(dtype)), Value::Text(key), Some(count))
                if key.len() <= KEY_CAP =>
            {
                Ok(Self::Storage(Storage { dtype: *dtype, key, count }))
            }
            _ => Err(odd()),
        }
    }

    /// What a call would make.
    pub(super) fn call(values: &Values<'a>, callable: Id, arguments: Id) -> Result<Self> {
        let Value::Global(global) = values.get(callable) else {
            return Err(malformed("its pickle calls what is no function"));
        };
        let odd = || malformed(format!("its pickle calls {global:?} with arguments that are not its own"));
        let arguments = values.tuple(arguments).ok_or_else(odd)?;
        let view = |storage: &Id, offset: &Id, shape: &Id, strides: &Id, dtype| {
            let tensor = Tensor { storage: *storage, dtype, offset: *offset, shape: *shape, strides: *strides };
            Self::Tensor(tensor)
        };
        Ok(match (global, arguments) {
            (Global::OrderedDict, []) => Self::Dict(Vec::new()),
            (Global::RebuildTensor, [storage, offset, shape, strides]) => view(storage, offset, shape, strides, None),
            (Global::RebuildTensorV2, [storage, offset, shape, strides, _requires_grad, _hooks, metadata @ ..]) => {
                values.plain_view(metadata)?;
                view(storage, offset, shape, strides, None)
            }
            (
                Global::RebuildTensorV3,
                [storage, offset, shape, strides, _requires_grad, _hooks, dtype, metadata @ ..],
            ) => {
                values.plain_view(metadata)?;
                let Value::Global(Global::Dtype(dtype)) = values.get(*dtype) else { return Err(odd()) };
                view(storage, offset, shape, strides, Some(*dtype))
            }
            (Global::RebuildParameter, [data, _requires_grad, _hooks]) => match values.get(*data) {
                Self::Tensor(tensor) => Self::Tensor(*tensor),
                _ => return Err(odd()),
            },
            _ => return Err(odd()),
        })
    }

    /// In words, for messages.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "a number",
            Self::Text(_) => "a text",
            Self::Tuple(_) => "a tuple",
            Self::List => "a list",
            Self::Dict(_) => "a dict",
            Self::Global(_) => "a class",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::Other(what) => what,
        }
    }
}

impl Values<'_> {
    pub(super) fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// A number that is not negative.
    pub(super) fn int(&self, id: Id) -> Option<u64> {
        match self.get(id) {
            Value::Int(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// The last argument says whether values are to be negated or conjugated when they are read.
    fn plain_view(&self, metadata: &[Id]) -> Result<()> {
        let plain = match metadata {
            [] => true,
            [only] => match self.get(*only) {
                Value::None => true,
                Value::Dict(items) => items.is_empty(),
                _ => false,
            },
            _ => false,
        };
        if plain { Ok(()) } else { Err(malformed("its pickle holds a tensor that is a negated view")) }
    }
}

fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, message)
}
