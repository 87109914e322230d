//! `tojson` as Hugging Face defines it: Python's `json.dumps`, without escaping for HTML.

use std::fmt::Write;

use minijinja::Error;
use minijinja::value::{Kwargs, Value, ValueKind};

use super::meter::{Meter, refused};
use super::values::Paper;

/// More spaces than anybody indents by.
const WIDEST_INDENT: usize = 16;
const DEEPEST: usize = 64;

struct Style {
    ensure_ascii: bool,
    indent: Option<usize>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

/// `json.dumps(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn to_json(meter: &Meter, value: &Value, indent: Option<Value>, options: &Kwargs) -> Result<String, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get("indent")?,
    };
    let indent = match indent.filter(|indent| !indent.is_none()) {
        None => None,
        Some(indent) => {
            let indent = indent.as_usize().filter(|indent| *indent <= WIDEST_INDENT);
            Some(indent.ok_or_else(|| refused(format!("tojson indents by 0 to {WIDEST_INDENT}")))?)
        }
    };
    let separators: Option<Vec<String>> = options.get("separators")?;
    let (item_separator, key_separator) = match separators.as_deref() {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(refused("tojson takes two separators")),
    };
    let flag = |name| -> Result<bool, Error> { Ok(options.get::<Option<bool>>(name)?.unwrap_or(false)) };
    let style = Style {
        ensure_ascii: flag("ensure_ascii")?,
        indent,
        item_separator,
        key_separator,
        sort_keys: flag("sort_keys")?,
    };
    options.assert_all_used()?;
    let mut paper = Paper::new(meter);
    write(&mut paper, &style, value, 0)?;
    Ok(paper.text)
}

fn write(paper: &mut Paper<'_>, style: &Style, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > DEEPEST {
        return Err(refused("a value is nested too deeply"));
    }
    match value.kind() {
        ValueKind::Undefined => Err(refused("an undefined value has no JSON")),
        ValueKind::None => paper.push("null"),
        ValueKind::Bool => paper.push(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => match value.to_string().as_str() {
            "inf" => paper.push("Infinity"),
            "-inf" => paper.push("-Infinity"),
            number => paper.push(number),
        },
        ValueKind::String => paper.push(&quote(value.as_str().unwrap_or_default(), style)),
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
                paper.push(&quote(&key_text(key), style))?;
                paper.push(&style.key_separator)?;
                write(paper, style, &value.get_item(key)?, depth + 1)?;
            }
            close(paper, style, depth, "}")
        }
        kind => Err(refused(format!("a {kind} has no JSON"))),
    }
}

fn separate(paper: &mut Paper<'_>, style: &Style, index: usize, depth: usize) -> Result<(), Error> {
    if index > 0 {
        paper.push(&style.item_separator)?;
    }
    new_line(paper, style, depth)
}

fn close(paper: &mut Paper<'_>, style: &Style, depth: usize, bracket: &str) -> Result<(), Error> {
    new_line(paper, style, depth)?;
    paper.push(bracket)
}

fn new_line(paper: &mut Paper<'_>, style: &Style, depth: usize) -> Result<(), Error> {
    match style.indent {
        None => Ok(()),
        Some(indent) => paper.push(&format!("\n{}", " ".repeat(indent * depth))),
    }
}

fn key_text(key: &Value) -> String {
    match key.kind() {
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => key.is_true().to_string(),
        _ => key.to_string(),
    }
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
