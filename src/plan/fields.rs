//! Reads fields of a config with errors that name them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::{Map, Value};

use crate::words::{Term, Words};
use crate::{Error, ErrorKind, Result};

/// A JSON object whose fields are read once each, so that those which nobody read can be told.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// How messages call the object: `config.json` or `config.json: rope_scaling`.
    place: String,
    /// (the name that is asked for, the name in the object).
    renamed: &'static [(&'static str, &'static str)],
    /// Values of fields that are not there.
    defaults: Option<&'a Map<String, Value>>,
    read: RefCell<BTreeSet<&'a str>>,
    /// What stands before a field's name where it lies within others: `rope_scaling.`.
    path: String,
    /// Paths and values of fields that nobody knows, of the whole config.
    unknown: Rc<RefCell<Vec<(String, String)>>>,
}

/// Unknown fields that one error names, and characters of a value that it shows.
const MOST_SHOWN_FIELDS: usize = 40;
const MOST_SHOWN_CHARS: usize = 60;

impl<'a> Fields<'a> {
    /// The fields of `value`.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where it is not an object.
    pub(super) fn new(value: &'a Value, place: impl Into<String>) -> Result<Self> {
        Self::at(value, place.into(), String::new(), Rc::default())
    }

    fn at(value: &'a Value, place: String, path: String, unknown: Rc<RefCell<Vec<(String, String)>>>) -> Result<Self> {
        match value.as_object() {
            Some(object) => {
                Ok(Self { object, place, renamed: &[], defaults: None, read: RefCell::default(), path, unknown })
            }
            None => Err(Error::new(ErrorKind::Malformed, "is not a JSON object").file(place)),
        }
    }

    /// The fields of an object that is the value of field `name`.
    ///
    /// # Errors
    /// As [`Fields::new`].
    pub(super) fn inside<'b>(&self, value: &'b Value, name: &str) -> Result<Fields<'b>> {
        let (place, path) = (format!("{}: {name}", self.place), format!("{}{name}.", self.path));
        Fields::at(value, place, path, Rc::clone(&self.unknown))
    }

    /// The fields of another object, which stands for this one.
    ///
    /// # Errors
    /// As [`Fields::new`].
    pub(super) fn instead<'b>(&self, value: &'b Value) -> Result<Fields<'b>> {
        Fields::at(value, self.place.clone(), self.path.clone(), Rc::clone(&self.unknown))
    }

    /// The fields under other names, with defaults for those that are not there.
    pub(super) fn with_names(
        self,
        renamed: &'static [(&'static str, &'static str)],
        defaults: &'a Map<String, Value>,
    ) -> Self {
        Self { renamed, defaults: Some(defaults), ..self }
    }

    /// How messages call the object.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// How the object spells a field.
    pub(super) fn spelled<'n>(&self, name: &'n str) -> &'n str {
        self.renamed.iter().find(|(asked, _)| *asked == name).map_or(name, |(_, theirs)| theirs)
    }

    /// The field's value, or its default. `null` means none, as it does in Python's configs.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        let value = match self.object.get_key_value(self.spelled(name)) {
            Some((key, value)) => {
                self.read.borrow_mut().insert(key);
                value
            }
            None => self.defaults?.get(name)?,
        };
        Some(value).filter(|value| !value.is_null())
    }

    /// Every field of the object as it stands there.
    pub(super) fn entries(&self) -> impl Iterator<Item = (String, Value)> + '_ {
        self.object.iter().map(|(name, value)| (name.clone(), value.clone()))
    }

    /// The default of a field.
    pub(super) fn default(&self, name: &str) -> Option<&'a Value> {
        self.defaults?.get(name)
    }

    /// A number of any size and sign.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] naming the field.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_f64().filter(|number| (*number as f32).is_finite());
        number.map(Some).ok_or_else(|| self.wrong(name, format_args!("is {value}; a number is needed, as an f32")))
    }

    /// An error about a field.
    pub(super) fn wrong(&self, name: &str, message: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Malformed, format!("field '{}' {message}", self.spelled(name))).file(&*self.place)
    }

    /// A whole number from 1 to `most`; a list that says the same one for each layer counts as it.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] naming the field.
    pub(super) fn count(&self, name: &str, most: u32) -> Result<Option<u32>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let alike = |list: &&'a Vec<Value>| list.iter().all(|entry| entry == &list[0]);
        let value = value.as_array().filter(alike).and_then(|list| list.first()).unwrap_or(value);
        let number = value.as_u64().filter(|number| (1..=u64::from(most)).contains(number));
        number
            .map(|number| Some(number as u32))
            .ok_or_else(|| self.wrong(name, format_args!("is {value}; a whole number from 1 to {most} is needed")))
    }

    /// As [`Fields::count`], for a field that has no default.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] too.
    pub(super) fn needed_count(&self, name: &str, most: u32) -> Result<u32> {
        self.count(name, most)?.ok_or_else(|| self.missing(name))
    }

    /// An error about a field that is not there.
    pub(super) fn missing(&self, name: &str) -> Error {
        Error::new(ErrorKind::Missing, format!("field '{}' is missing", self.spelled(name)))
            .file(&*self.place)
            .remedy("get the checkpoint's config again")
    }

    /// As [`Fields::positive`], for a field that has no default.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] too.
    pub(super) fn needed_positive(&self, name: &str) -> Result<f64> {
        self.positive(name)?.ok_or_else(|| self.missing(name))
    }

    /// A number above 0 that an f32 holds.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] naming the field.
    pub(super) fn positive(&self, name: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_f64().filter(|number| (*number as f32).is_normal() && *number > 0.0);
        number
            .map(Some)
            .ok_or_else(|| self.wrong(name, format_args!("is {value}; a number above 0 is needed, as an f32")))
    }

    /// A truth value.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] naming the field.
    pub(super) fn truth(&self, name: &str) -> Result<Option<bool>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(name, format_args!("is {value}; true or false is needed")))
    }

    /// A list with an entry for each layer.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] naming the field.
    pub(super) fn layer_list(&self, name: &str, layers: u32) -> Result<Option<&'a [Value]>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let list = value.as_array().filter(|list| list.len() == layers as usize);
        let message = format_args!("must be a list of {layers}, one for each layer");
        list.map(|list| Some(&list[..])).ok_or_else(|| self.wrong(name, message))
    }

    /// A text.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] naming the field.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(name, format_args!("is {value}; a text is needed")))
    }

    /// Notes fields that nobody read and that no list calls harmless: they might change the numbers.
    pub(super) fn note_others(&self, harmless: &[&[&str]]) {
        let read = self.read.borrow();
        let known = |name: &str| {
            name.starts_with('_') || read.contains(name) || harmless.iter().any(|names| names.contains(&name))
        };
        let others = self.object.iter().filter(|(name, value)| !known(name) && !value.is_null());
        self.unknown.borrow_mut().extend(others.map(|(name, value)| {
            let mut value = value.to_string();
            value.truncate(value.char_indices().nth(MOST_SHOWN_CHARS).map_or(value.len(), |(at, _)| at));
            (format!("{}{name}", self.path), value)
        }));
    }

    /// The paths of what was noted, in this object and in those inside it.
    pub(super) fn noted(&self) -> Vec<String> {
        self.unknown.borrow().iter().map(|(path, _)| path.clone()).collect()
    }

    /// Refuses what was noted, in this object and in those inside it.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] naming each field by its path.
    pub(super) fn refuse_noted(&self) -> Result<()> {
        let unknown = self.unknown.borrow();
        if unknown.is_empty() {
            return Ok(());
        }
        let shown = || unknown.iter().take(MOST_SHOWN_FIELDS);
        let mut list: Vec<_> = shown().map(|(path, value)| format!("'{path}' ({value})")).collect();
        let fields = Term::IgnoredFields(shown().map(|(path, _)| path.clone()).collect());
        if let Some(more) = unknown.len().checked_sub(MOST_SHOWN_FIELDS).filter(|more| *more > 0) {
            list.push(format!("and {more} more"));
        }
        let list = list.join(", ");
        let (message, [it_does, it]) = if unknown.len() == 1 {
            (format!("field {list} is not known to this family"), ["it does", "it"])
        } else {
            (format!("fields {list} are not known to this family"), ["they do", "them"])
        };
        let remedy = Words::from(format!("if {it_does} not change the model's numbers, "))
            + fields
            + format!(" (when it is split) goes on without {it}");
        Err(Error::new(ErrorKind::Unsupported, message).file(&*self.place).remedy(remedy))
    }
}
