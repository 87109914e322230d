//! The dicts and namespaces of a template, and how Python writes values as text.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::Error;
use minijinja::value::{Enumerator, Object, Value, ValueKind};

use super::meter::{Meter, refused};

/// A dict that keeps the order in which its keys came, as Python's does. Keys are scalars.
#[derive(Debug, Default)]
pub(super) struct Dict {
    keys: Vec<Value>,
    values: HashMap<Value, Value>,
}

fn is_scalar(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::String | ValueKind::Number | ValueKind::Bool | ValueKind::None)
}

impl Dict {
    pub(super) fn insert(&mut self, key: Value, value: Value) -> Result<(), Error> {
        if !is_scalar(&key) {
            return Err(refused(format!("a {} cannot be the key of a dict", key.kind())));
        }
        if self.values.insert(key.clone(), value).is_none() {
            self.keys.push(key);
        }
        Ok(())
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (&Value, &Value)> {
        self.keys.iter().filter_map(|key| Some((key, self.values.get(key)?)))
    }
}

impl Object for Dict {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        // Hashing a list walks all of it.
        if is_scalar(key) { self.values.get(key).cloned() } else { None }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.keys.clone())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.keys.len())
    }
}

/// What `namespace()` makes: the one thing whose attributes can be set.
#[derive(Debug, Default)]
pub(super) struct Namespace {
    values: Mutex<BTreeMap<String, Value>>,
}

impl Namespace {
    pub(super) fn set(&self, name: &str, value: Value) {
        self.lock().insert(name.to_owned(), value);
    }

    pub(super) fn values(&self) -> Vec<Value> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Value>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Object for Namespace {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.lock().get(key.as_str()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.lock().keys().map(|key| Value::from(key.as_str())).collect())
    }
}

/// A JSON value as a template sees it.
pub(super) fn from_json(value: &serde_json::Value) -> Result<Value, Error> {
    use serde_json::Value as Json;
    Ok(match value {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(list) => Value::from_object(list.iter().map(from_json).collect::<Result<Vec<_>, _>>()?),
        Json::Object(map) => {
            let mut dict = Dict::default();
            for (key, value) in map {
                dict.insert(Value::from(key.as_str()), from_json(value)?)?;
            }
            Value::from_object(dict)
        }
    })
}

/// A text that is paid for as it grows.
pub(super) struct Paper<'m> {
    pub(super) text: String,
    meter: &'m Meter,
}

impl<'m> Paper<'m> {
    pub(super) fn new(meter: &'m Meter) -> Self {
        Self { text: String::new(), meter }
    }

    pub(super) fn push(&mut self, text: &str) -> Result<(), Error> {
        self.meter.charge(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    /// `str(value)`.
    pub(super) fn push_str(&mut self, value: &Value) -> Result<(), Error> {
        match value.as_str() {
            Some(text) => self.push(text),
            None => self.push_container(value, 0),
        }
    }

    /// `repr(value)` of what stands in a list or dict.
    fn push_repr(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let Some(text) = value.as_str() else { return self.push_container(value, depth) };
        let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
        let mut repr = String::from(quote);
        for c in text.chars() {
            match c {
                '\\' => repr.push_str("\\\\"),
                '\n' => repr.push_str("\\n"),
                '\r' => repr.push_str("\\r"),
                '\t' => repr.push_str("\\t"),
                c if c == quote => repr.extend(['\\', c]),
                c if c.is_control() => {
                    let _ = write!(repr, "\\x{:02x}", u32::from(c));
                }
                c => repr.push(c),
            }
        }
        repr.push(quote);
        self.push(&repr)
    }

    fn push_container(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        // Deeper than anything that can be kept.
        if depth > 64 {
            return Err(refused("a value is nested too deeply"));
        }
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                self.push("[")?;
                for (index, item) in value.try_iter()?.enumerate() {
                    self.push(if index > 0 { ", " } else { "" })?;
                    self.push_repr(&item, depth + 1)?;
                }
                self.push("]")
            }
            ValueKind::Map => {
                self.push("{")?;
                for (index, key) in value.try_iter()?.enumerate() {
                    self.push(if index > 0 { ", " } else { "" })?;
                    self.push_repr(&key, depth + 1)?;
                    self.push(": ")?;
                    self.push_repr(&value.get_item(&key)?, depth + 1)?;
                }
                self.push("}")
            }
            ValueKind::Plain => self.push("<function>"),
            // Numbers, `True`, `None`, and nothing for what is undefined: as minijinja writes them.
            _ => self.push(&value.to_string()),
        }
    }
}
