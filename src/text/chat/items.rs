//! What Python makes of values in a row, where minijinja knows lists and tuples only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use minijinja::value::{Enumerator, Object, ObjectRepr, Value};

/// How the values are held together.
#[derive(Debug)]
pub(super) enum Shape {
    List,
    /// Walked over once: what `map`, `select` and others give. It is true, and has no length.
    Generator,
    /// Of a dict, under this name.
    View(&'static str),
    /// As it is written.
    Range(String),
    /// Of Python's bytes: numbers.
    Bytes,
    /// An undefined value on its way to a macro.
    Absent,
}

#[derive(Debug)]
pub(super) struct Items {
    pub(super) shape: Shape,
    pub(super) values: Vec<Value>,
    is_spent: AtomicBool,
}

impl Items {
    pub(super) fn value(shape: Shape, values: Vec<Value>) -> Value {
        Value::from_object(Self { shape, values, is_spent: AtomicBool::new(false) })
    }

    /// The items behind a value, where it is of this kind.
    pub(super) fn of(value: &Value) -> Option<&Self> {
        value.downcast_object_ref()
    }

    /// The numbers of Python's bytes.
    pub(super) fn bytes(value: &Value) -> Option<&[Value]> {
        Self::of(value).filter(|items| matches!(items.shape, Shape::Bytes)).map(|items| items.values.as_slice())
    }

    /// An undefined value that is on its way to a macro, and any other as it is.
    pub(super) fn taken(value: Value) -> Value {
        let is_absent = Self::of(&value).is_some_and(|items| matches!(items.shape, Shape::Absent));
        if is_absent { Value::UNDEFINED } else { value }
    }

    pub(super) fn is_generator(value: &Value) -> bool {
        Self::of(value).is_some_and(|items| matches!(items.shape, Shape::Generator))
    }
}

impl Object for Items {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match self.shape {
            Shape::List | Shape::Range(_) | Shape::Bytes => ObjectRepr::Seq,
            Shape::Generator | Shape::View(_) | Shape::Absent => ObjectRepr::Iterable,
        }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match self.shape {
            Shape::List | Shape::Range(_) | Shape::Bytes => self.values.get(key.as_usize()?).cloned(),
            // Neither has an index.
            Shape::Generator | Shape::View(_) | Shape::Absent => Some(Value::UNDEFINED),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.shape {
            Shape::List | Shape::Range(_) | Shape::Bytes => Enumerator::Seq(self.values.len()),
            Shape::View(_) | Shape::Absent => Enumerator::Values(self.values.clone()),
            Shape::Generator if self.is_spent.swap(true, Ordering::Relaxed) => Enumerator::Empty,
            Shape::Generator => Enumerator::Iter(Box::new(self.values.clone().into_iter())),
        }
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        (!matches!(self.shape, Shape::Generator)).then_some(self.values.len())
    }

    fn is_true(self: &Arc<Self>) -> bool {
        matches!(self.shape, Shape::Generator) || !self.values.is_empty()
    }
}
