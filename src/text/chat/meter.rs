//! What a template has used up, and the values it may keep.
//!
//! minijinja counts instructions ("fuel"), but a single instruction can be arbitrarily dear: thirty doublings of a string
//! fill the memory, a list of itself twice in itself compares for years, and a list nested a hundred thousand times
//! overflows the stack when it is dropped. So every operation that makes or walks values pays for it here, and what is
//! kept is lists, dicts and scalars only, not nested deeply.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::values::{Dict, Namespace};

/// How deeply lists and dicts may be nested.
const DEEPEST: usize = 32;
/// What a place in a list or dict costs, in bytes.
const PLACE: u64 = 32;

/// Bytes that may still be written, copied or compared.
#[derive(Debug)]
pub(super) struct Meter {
    left: AtomicU64,
}

/// Whether a namespace may be part of a value: one inside another could hold itself.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Namespaces {
    Allowed,
    Forbidden,
}

pub(super) fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

impl Meter {
    pub(super) fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(bytes) })
    }

    /// Pays for `bytes`.
    pub(super) fn charge(&self, bytes: usize) -> Result<(), Error> {
        let take = |left: u64| left.checked_sub(bytes as u64);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(refused("the template does too much work")),
        }
    }

    /// Pays for `count` places of a list.
    pub(super) fn charge_places(&self, count: usize) -> Result<(), Error> {
        self.charge(count.saturating_mul(PLACE as usize))
    }

    /// Pays for reading the text, or the places of the list or dict, that `value` is.
    pub(super) fn charge_reading(&self, value: &Value) -> Result<(), Error> {
        match value.kind() {
            ValueKind::String | ValueKind::Bytes => self.charge(value.as_bytes().map_or(0, <[u8]>::len)),
            ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => self.charge_places(value.len().unwrap_or(1)),
            _ => Ok(()),
        }
    }

    /// Pays for reading everything in `value`, as comparing it does.
    pub(super) fn charge_comparing(&self, value: &Value) -> Result<(), Error> {
        self.walk(value, 0, true, Namespaces::Allowed)
    }

    /// Refuses what cannot be kept in a list, dict or namespace.
    pub(super) fn check_kept(&self, value: &Value, namespaces: Namespaces) -> Result<(), Error> {
        // The container itself is a level.
        self.walk(value, 1, false, namespaces)
    }

    fn walk(&self, value: &Value, depth: usize, texts: bool, namespaces: Namespaces) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(refused("a value is nested too deeply"));
        }
        let Some(object) = value.as_object() else {
            return self.charge(if texts { value.as_bytes().map_or(1, |bytes| bytes.len() + 1) } else { 1 });
        };
        let walk = |value: &Value| self.walk(value, depth + 1, texts, namespaces);
        if let Some(list) = object.downcast_ref::<Vec<Value>>() {
            self.charge(PLACE as usize)?;
            list.iter().try_for_each(walk)
        } else if let Some(dict) = object.downcast_ref::<Dict>() {
            self.charge(PLACE as usize)?;
            // Keys are scalars.
            dict.pairs().try_for_each(|(_, value)| walk(value))
        } else if let Some(namespace) = object.downcast_ref::<Namespace>().filter(|_| namespaces == Namespaces::Allowed)
        {
            namespace.values().iter().try_for_each(walk)
        } else {
            Err(refused(format!("a {} cannot be kept or compared", value.kind())))
        }
    }

    /// The value with every lazy list made a list and every map a [`Dict`], paid for.
    pub(super) fn plain(&self, value: Value) -> Result<Value, Error> {
        self.plain_at(value, 0)
    }

    fn plain_at(&self, value: Value, depth: usize) -> Result<Value, Error> {
        if depth > DEEPEST {
            return Err(refused("a value is nested too deeply"));
        }
        match value.kind() {
            ValueKind::String | ValueKind::Bytes => {
                // Whoever made the text has paid for it, unless it is the result of a filter of the crate's.
                self.charge(value.as_bytes().map_or(0, <[u8]>::len))?;
                Ok(value)
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let mut list = Vec::new();
                for item in value.try_iter()? {
                    self.charge_places(1)?;
                    list.push(self.plain_item(item, depth)?);
                }
                Ok(Value::from_object(list))
            }
            ValueKind::Map if value.downcast_object_ref::<Dict>().is_none() && !is_namespace(&value) => {
                let mut dict = Dict::default();
                for key in value.try_iter()? {
                    self.charge_places(2)?;
                    let item = value.get_item(&key)?;
                    dict.insert(key, self.plain_item(item, depth)?)?;
                }
                Ok(Value::from_object(dict))
            }
            _ => Ok(value),
        }
    }

    /// What already is plain is shared, not copied.
    fn plain_item(&self, item: Value, depth: usize) -> Result<Value, Error> {
        let Some(object) = item.as_object() else { return Ok(item) };
        if object.downcast_ref::<Dict>().is_some() || is_namespace(&item) {
            return Ok(item);
        }
        if object.downcast_ref::<Vec<Value>>().is_some() {
            self.check_kept(&item, Namespaces::Allowed)?;
            return Ok(item);
        }
        self.plain_at(item, depth + 1)
    }
}

fn is_namespace(value: &Value) -> bool {
    value.downcast_object_ref::<Namespace>().is_some()
}
