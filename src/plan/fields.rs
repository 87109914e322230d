//! Reads fields of a config with errors that name them.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{Error, ErrorKind, Result};

/// A JSON object whose fields are read once each, so that those which nobody read can be told.
#[derive(Debug)]
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// How messages call the object: `config.json` or `config.json: rope_scaling`.
    place: String,
    read: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Fields<'a> {
    /// The fields of `value`.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where it is not an object.
    pub fn new(value: &'a Value, place: impl Into<String>) -> Result<Self> {
        let place = place.into();
        match value.as_object() {
            Some(object) => Ok(Self { object, place, read: RefCell::default() }),
            None => Err(Error::new(ErrorKind::Malformed, "is not a JSON object").file(place)),
        }
    }

    /// The field's value; `null` counts as absent, as it does in Python's configs.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        let (key, value) = self.object.get_key_value(name)?;
        self.read.borrow_mut().insert(key);
        Some(value).filter(|value| !value.is_null())
    }

    /// Whether the field stands there, `null` or not.
    pub fn has(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    /// An error about a field.
    pub fn wrong(&self, name: &str, message: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Malformed, format!("field '{name}' {message}")).file(&*self.place)
    }

    /// A whole number from 1 to `most`.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] naming the field.
    pub fn count(&self, name: &str, most: u32) -> Result<Option<u32>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_u64().filter(|number| (1..=u64::from(most)).contains(number));
        number
            .map(|number| Some(number as u32))
            .ok_or_else(|| self.wrong(name, format_args!("is {value}; a whole number from 1 to {most} is needed")))
    }

    /// As [`Fields::count`], for a field that has no default.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] too.
    pub fn needed_count(&self, name: &str, most: u32) -> Result<u32> {
        self.count(name, most)?.ok_or_else(|| {
            Error::new(ErrorKind::Missing, format!("field '{name}' is missing"))
                .file(&*self.place)
                .remedy("get the checkpoint's config again")
        })
    }

    /// A finite number above 0.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] naming the field.
    pub fn positive(&self, name: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_f64().filter(|number| number.is_finite() && *number > 0.0);
        number.map(Some).ok_or_else(|| self.wrong(name, format_args!("is {value}; a number above 0 is needed")))
    }

    /// A truth value.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] naming the field.
    pub fn truth(&self, name: &str) -> Result<Option<bool>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(name, format_args!("is {value}; true or false is needed")))
    }

    /// A text.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] naming the field.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(name, format_args!("is {value}; a text is needed")))
    }

    /// Refuses fields that nobody read and that are not `harmless`: they might change the numbers.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] naming the first such field.
    pub fn refuse_others(&self, harmless: &[&str]) -> Result<()> {
        let read = self.read.borrow();
        let known = |name: &str| name.starts_with('_') || read.contains(name) || harmless.contains(&name);
        match self.object.iter().find(|(name, value)| !known(name) && !value.is_null()) {
            None => Ok(()),
            Some((name, value)) => {
                let mut value = value.to_string();
                value.truncate(value.char_indices().nth(60).map_or(value.len(), |(at, _)| at));
                Err(Error::new(ErrorKind::Unsupported, format!("field '{name}' ({value}) is not known to this family"))
                    .file(&*self.place)
                    .remedy("remove it if it does not change the model's numbers"))
            }
        }
    }
}
