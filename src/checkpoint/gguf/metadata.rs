//! The typed map at the head of a GGUF file.

use std::collections::BTreeMap;

use crate::{Error, ErrorKind, Result};

/// Type of a number, by GGUF's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    U64,
    I64,
    F64,
}

impl Kind {
    /// Bytes of one number.
    pub fn len_bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The value of one number's little-endian bytes; `None` for a bool that is neither 0 nor 1.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<Value> {
        let mut all = [0; 8];
        all[..self.len_bytes()].copy_from_slice(bytes.get(..self.len_bytes())?);
        let bits = u64::from_le_bytes(all);
        Some(match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => Value::Unsigned(bits),
            Self::I8 => Value::Signed(i64::from(bits as i8)),
            Self::I16 => Value::Signed(i64::from(bits as i16)),
            Self::I32 => Value::Signed(i64::from(bits as i32)),
            Self::I64 => Value::Signed(bits as i64),
            Self::F32 => Value::Float(f64::from(f32::from_bits(bits as u32))),
            Self::F64 => Value::Float(f64::from_bits(bits)),
            Self::Bool if bits <= 1 => Value::Bool(bits == 1),
            Self::Bool => return None,
        })
    }
}

/// A value of the map. Arrays of numbers stay as the file's bytes: they need no more memory than the file.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(String),
    /// Little-endian, one after the other.
    Numbers {
        kind: Kind,
        bytes: Vec<u8>,
    },
    Strings(Vec<String>),
    Arrays(Vec<Value>),
}

impl Value {
    fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(value) => Some(*value),
            Self::Signed(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Unsigned(value) => Some(*value as f64),
            Self::Signed(value) => Some(*value as f64),
            _ => None,
        }
    }
}

/// The map. Getters give `None` for a key that is absent and an error for a value of another type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(pub(super) BTreeMap<String, Value>);

impl Metadata {
    /// All keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The value as stored.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// An integer that is not negative. An array of equal ones counts as one: some files repeat a number by layer.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for another type, [`ErrorKind::Unsupported`] for numbers that differ by layer.
    pub fn u64(&self, key: &str) -> Result<Option<u64>> {
        let Some(Value::Numbers { kind, bytes }) = self.get(key) else {
            return self.typed(key, "a whole number", Value::as_u64);
        };
        let mut numbers = bytes.chunks_exact(kind.len_bytes()).map(|bytes| kind.decode(bytes)?.as_u64());
        let Some(Some(first)) = numbers.next() else { return Err(wrong_type(key, "a whole number")) };
        if numbers.any(|number| number != Some(first)) {
            return Err(Error::new(ErrorKind::Unsupported, format!("'{key}' differs from layer to layer")));
        }
        Ok(Some(first))
    }

    /// Integers that are not negative: one for each layer, or a single one for all.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for another type.
    pub fn u64s(&self, key: &str) -> Result<Option<Vec<u64>>> {
        let numbers = self.numbers(key, "whole numbers", Value::as_u64)?;
        Ok(numbers.filter(|numbers| !numbers.is_empty()))
    }

    /// Numbers, which may be infinite.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for another type.
    pub fn f64s(&self, key: &str) -> Result<Option<Vec<f64>>> {
        self.numbers(key, "numbers", Value::as_f64)
    }

    fn numbers<T>(&self, key: &str, what: &str, cast: impl Fn(&Value) -> Option<T>) -> Result<Option<Vec<T>>> {
        self.typed(key, what, |value| match value {
            Value::Numbers { kind, bytes } => {
                let decoded = bytes.chunks_exact(kind.len_bytes()).map(|bytes| cast(&kind.decode(bytes)?));
                decoded.collect::<Option<Vec<T>>>()
            }
            one => Some(vec![cast(one)?]),
        })
    }

    /// An integer that fits `u32`, such as a token id.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for another type or a larger number.
    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.typed(key, "a whole number below 2^32", |value| u32::try_from(value.as_u64()?).ok())
    }

    /// A finite number.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for another type, NaN or infinity.
    pub fn f64(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a finite number", |value| value.as_f64().filter(|value| value.is_finite()))
    }

    /// A bool.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for another type.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a bool", |value| if let Value::Bool(value) = value { Some(*value) } else { None })
    }

    /// A string.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for another type.
    pub fn string(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a string", |value| if let Value::String(value) = value { Some(value.as_str()) } else { None })
    }

    /// An array of strings.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for another type.
    pub fn strings(&self, key: &str) -> Result<Option<&[String]>> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Strings(strings) => Some(strings.as_slice()),
            Value::Numbers { bytes, .. } if bytes.is_empty() => Some(&[]),
            _ => None,
        })
    }

    /// An array of f32.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for another type.
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>> {
        let bytes = self.words(key, &[Kind::F32], "an array of f32")?;
        Ok(bytes.map(|words| words.iter().map(|word| f32::from_le_bytes(*word)).collect()))
    }

    /// An array of i32 (or u32 of the same bits).
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for another type.
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>> {
        let bytes = self.words(key, &[Kind::I32, Kind::U32], "an array of i32")?;
        Ok(bytes.map(|words| words.iter().map(|word| i32::from_le_bytes(*word)).collect()))
    }

    fn words(&self, key: &str, kinds: &[Kind], what: &str) -> Result<Option<&[[u8; 4]]>> {
        self.typed(key, what, |value| match value {
            Value::Numbers { kind, bytes } if kinds.contains(kind) => Some(bytes.as_chunks().0),
            _ => None,
        })
    }

    fn typed<'a, T>(&'a self, key: &str, what: &str, cast: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        cast(value).map(Some).ok_or_else(|| wrong_type(key, what))
    }
}

fn wrong_type(key: &str, what: &str) -> Error {
    Error::new(ErrorKind::Malformed, format!("'{key}' is not {what}"))
}
