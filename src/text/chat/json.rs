//! `tojson` as Hugging Face defines it: Python's `json.dumps`, without escaping for HTML.

use std::fmt::Write;

use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{Error, State};

use super::items::{Items, Shape};
use super::sandbox::refused;
use super::values::{Paper, float};

/// More than anybody indents by.
const WIDEST_INDENT: usize = 16;
const DEEPEST: usize = 64;

struct Style {
    ensure_ascii: bool,
    /// What a level is indented by. None: all in one line.
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

/// `json.dumps(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn to_json(state: &State<'_, '_>, value: &Value, args: &[Value]) -> Result<String, Error> {
    let (ascii, indent, separators, sort, options): (
        Option<Value>,
        Option<Value>,
        Option<Value>,
        Option<Value>,
        Kwargs,
    ) = from_args(args)?;
    let named = |given: Option<Value>, name| match given {
        Some(given) => Ok(Some(given)),
        None => options.get::<Option<Value>>(name),
    };
    let is_set = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let indent = named(indent, "indent")?.filter(|indent| !indent.is_none()).map(indentation).transpose()?;
    let separators = named(separators, "separators")?.filter(|separators| !separators.is_none());
    let separators: Option<Vec<String>> =
        separators.map(|list| Ok::<_, Error>(list.try_iter()?.map(|item| item.to_string()).collect())).transpose()?;
    let (item_separator, key_separator) = match separators.as_deref() {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(refused("tojson takes two separators")),
    };
    let style = Style {
        ensure_ascii: is_set(named(ascii, "ensure_ascii")?),
        indent,
        item_separator,
        key_separator,
        sort_keys: is_set(named(sort, "sort_keys")?),
    };
    options.assert_all_used()?;
    let mut paper = Paper::new(state);
    write(&mut paper, &style, value, 0)?;
    Ok(paper.text)
}

/// A number of spaces, or the text itself.
fn indentation(indent: Value) -> Result<String, Error> {
    let text = match (indent.as_str(), i64::try_from(indent.clone())) {
        (Some(text), _) => text.to_owned(),
        (None, Ok(spaces)) => " ".repeat(spaces.clamp(0, 1 + WIDEST_INDENT as i64) as usize),
        (None, Err(_)) => return Err(refused("tojson indents by a number or a text")),
    };
    if text.len() > WIDEST_INDENT {
        return Err(refused(format!("tojson indents by at most {WIDEST_INDENT}")));
    }
    Ok(text)
}

fn write(paper: &mut Paper<'_, '_, '_>, style: &Style, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > DEEPEST {
        return Err(refused("a value is nested too deeply"));
    }
    if Items::of(value).is_some_and(|items| !matches!(items.shape, Shape::List)) {
        return Err(refused("bytes, a range, a generator or a view of a dict have no JSON: make a list with |list"));
    }
    match value.kind() {
        ValueKind::Undefined => Err(refused("an undefined value has no JSON")),
        ValueKind::None => paper.push("null"),
        ValueKind::Bool => paper.push(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => paper.push(&number(value)?),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            paper.pay(text.len())?;
            paper.push(&quote(text, style))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let mut items = value.try_iter()?.peekable();
            if items.peek().is_none() {
                return paper.push("[]");
            }
            paper.push("[")?;
            for (index, item) in items.enumerate() {
                separate(paper, style, index, depth + 1)?;
                write(paper, style, &item, depth + 1)?;
            }
            close(paper, style, depth, "]")
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sort_keys {
                keys.sort();
            }
            if keys.is_empty() {
                return paper.push("{}");
            }
            paper.push("{")?;
            for (index, key) in keys.iter().enumerate() {
                separate(paper, style, index, depth + 1)?;
                paper.push(&quote(&key_text(key)?, style))?;
                paper.push(&style.key_separator)?;
                write(paper, style, &value.get_item(key)?, depth + 1)?;
            }
            close(paper, style, depth, "}")
        }
        kind => Err(refused(format!("a {kind} has no JSON"))),
    }
}

fn separate(paper: &mut Paper<'_, '_, '_>, style: &Style, index: usize, depth: usize) -> Result<(), Error> {
    if index > 0 {
        paper.push(&style.item_separator)?;
    }
    new_line(paper, style, depth)
}

fn close(paper: &mut Paper<'_, '_, '_>, style: &Style, depth: usize, bracket: &str) -> Result<(), Error> {
    new_line(paper, style, depth)?;
    paper.push(bracket)
}

fn new_line(paper: &mut Paper<'_, '_, '_>, style: &Style, depth: usize) -> Result<(), Error> {
    match &style.indent {
        None => Ok(()),
        Some(indent) => paper.push(&format!("\n{}", indent.repeat(depth))),
    }
}

fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(key.is_true().to_string()),
        ValueKind::Number => number(key),
        ValueKind::String => Ok(key.to_string()),
        kind => Err(refused(format!("a {kind} is no key of JSON"))),
    }
}

fn number(value: &Value) -> Result<String, Error> {
    if value.is_integer() {
        return Ok(value.to_string());
    }
    Ok(match float(f64::try_from(value.clone())?).as_str() {
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        "nan" => "NaN".to_owned(),
        number => number.to_owned(),
    })
}

fn quote(text: &str, style: &Style) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (style.ensure_ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
