//! How Python writes values as text.

use std::fmt::Write;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, State};

use super::bytes;
use super::items::{Items, Shape};
use super::sandbox::refused;

/// Deeper than what any chat holds.
const DEEPEST: usize = 64;
/// What one fuel pays for.
const BYTES_OF_FUEL: usize = 16;

/// A text that is paid for as it grows.
pub(super) struct Paper<'s, 't, 'e> {
    pub(super) text: String,
    unpaid_bytes: usize,
    state: &'s State<'t, 'e>,
}

impl<'s, 't, 'e> Paper<'s, 't, 'e> {
    pub(super) fn new(state: &'s State<'t, 'e>) -> Self {
        Self { text: String::new(), unpaid_bytes: 0, state }
    }

    /// Pays for reading or writing so much.
    pub(super) fn pay(&mut self, bytes: usize) -> Result<(), Error> {
        // An item of a list has its price too, however short it is.
        self.unpaid_bytes += bytes + 1;
        self.state.consume_fuel((self.unpaid_bytes / BYTES_OF_FUEL) as u64)?;
        self.unpaid_bytes %= BYTES_OF_FUEL;
        Ok(())
    }

    pub(super) fn push(&mut self, text: &str) -> Result<(), Error> {
        self.pay(text.len())?;
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
        match value.as_str() {
            Some(text) => {
                self.pay(text.len())?;
                self.push(&repr(text))
            }
            None if value.is_undefined() => self.push("Undefined"),
            None => self.push_container(value, depth),
        }
    }

    fn push_container(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(refused("a value is nested too deeply"));
        }
        if let Some(items) = Items::of(value) {
            return match &items.shape {
                Shape::List => self.push_list(value, depth),
                Shape::Range(text) => self.push(text),
                Shape::Bytes => self.push(&bytes::repr(&items.values)),
                // It would be its place in memory.
                Shape::Absent => Ok(()),
                Shape::Generator => Err(refused("a generator has no text: make it a list with |list")),
                Shape::View(name) => {
                    self.push(name)?;
                    self.push("(")?;
                    self.push_list(value, depth)?;
                    self.push(")")
                }
            };
        }
        match (type_name(value), value) {
            ("Loop", shown) => {
                let text = format!("<LoopContext {}/{}>", shown.get_attr("index")?, shown.get_attr("length")?);
                return self.push(&text);
            }
            ("Macro", shown) => return self.push(&format!("<Macro {}>", repr(&shown.get_attr("name")?.to_string()))),
            _ => {}
        }
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable if value.is_tuple() => {
                self.push_items(value, depth, "(")?;
                self.push(if value.len() == Some(1) { ",)" } else { ")" })
            }
            ValueKind::Seq | ValueKind::Iterable => self.push_list(value, depth),
            ValueKind::Map => {
                let is_namespace = type_name(value) == "Namespace";
                self.push(if is_namespace { "<Namespace {" } else { "{" })?;
                for (index, key) in value.try_iter()?.enumerate() {
                    self.push(if index > 0 { ", " } else { "" })?;
                    self.push_repr(&key, depth + 1)?;
                    self.push(": ")?;
                    self.push_repr(&value.get_item(&key)?, depth + 1)?;
                }
                self.push(if is_namespace { "}>" } else { "}" })
            }
            // Its place in memory would be a part of it.
            ValueKind::Plain => Err(refused("a function has no text")),
            ValueKind::Number if !value.is_integer() => self.push(&float(f64::try_from(value.clone())?)),
            // Whole numbers, `True`, `None`, and nothing for what is undefined: as minijinja writes them.
            _ => self.push(&value.to_string()),
        }
    }

    fn push_list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.push_items(value, depth, "[")?;
        self.push("]")
    }

    fn push_items(&mut self, value: &Value, depth: usize, open: &str) -> Result<(), Error> {
        self.push(open)?;
        for (index, item) in value.try_iter()?.enumerate() {
            self.push(if index > 0 { ", " } else { "" })?;
            self.push_repr(&item, depth + 1)?;
        }
        Ok(())
    }
}

/// `str(value)`.
pub(super) fn string(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let mut paper = Paper::new(state);
    paper.push_str(value)?;
    Ok(paper.text)
}

/// `repr(value)`.
pub(super) fn repr_of(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let mut paper = Paper::new(state);
    paper.push_repr(value, 0)?;
    Ok(paper.text)
}

/// What kind of object a value is, beside those that `kind` tells apart.
pub(super) fn type_name(value: &Value) -> &'static str {
    let name = value.as_object().map_or("", |object| object.type_name());
    name.rsplit("::").next().unwrap_or_default()
}

/// A text as markupsafe escapes it.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out
}

/// `repr` of a text.
fn repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 || (0x7f..=0xa0).contains(&u32::from(c)) || c == '\u{ad}' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{3000}' | '\u{feff}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// `repr` of a float: the shortest digits that give it again, with an exponent where Python writes one.
pub(super) fn float(value: f64) -> String {
    let size = value.abs();
    if value.is_nan() {
        "nan".into()
    } else if value.is_infinite() {
        if value > 0.0 { "inf".into() } else { "-inf".into() }
    } else if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        format!("{digits}e{sign}{exponent:0>2}")
    } else {
        let text = value.to_string();
        if text.contains('.') { text } else { text + ".0" }
    }
}
