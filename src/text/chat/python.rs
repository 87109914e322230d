//! Python's methods of texts, lists and dicts, beyond those that minijinja-contrib has or where they differ.

use minijinja::value::{Kwargs, Rest, Tuple, Value, ValueKind, from_args};
use minijinja::{Error, State};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::bytes;
use super::filters::replaced;
use super::formats::{WIDEST, formatted};
use super::items::{Items, Shape};
use super::sandbox::{Bounds, refused};

/// `value.name(*args)`.
pub(super) fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
    bounds: Bounds,
) -> Result<Value, Error> {
    if let Some(bytes) = Items::bytes(value) {
        return bytes::method(state, bytes, name, args);
    }
    let own = match (value.as_str(), value.kind()) {
        (Some(text), _) => text_method(state, text, name, args)?,
        (None, ValueKind::Seq) => list_method(state, value, name, args, bounds)?,
        (None, ValueKind::Number) if name == "is_integer" => {
            Some(Value::from(f64::try_from(value.clone())?.fract() == 0.0))
        }
        (None, ValueKind::Number) if name == "bit_length" && value.is_integer() => {
            Some(Value::from(128 - i128::try_from(value.clone())?.unsigned_abs().leading_zeros()))
        }
        (None, ValueKind::Map) => dict_method(state, value, name, args)?,
        _ => None,
    };
    own.map_or_else(|| unknown_method_callback(state, value, name, args), Ok)
}

fn text_method(state: &State<'_, '_>, text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match name {
        "split" | "rsplit" => split(state, text, args, name == "rsplit")?,
        "partition" | "rpartition" => partition(text, args, name == "rpartition")?,
        "join" => join(state, text, args)?,
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "replace" => {
            let (old, new, count): (&str, &str, Option<i64>) = from_args(args)?;
            Value::from(replaced(state, text, old, new, count)?)
        }
        "startswith" | "endswith" | "count" | "find" | "rfind" | "index" | "rindex" => search(text, name, args)?,
        "ljust" | "rjust" | "center" | "zfill" => pad(text, name, args)?,
        "title" => Value::from(title(text)),
        "swapcase" => Value::from(text.chars().map(swapped).collect::<String>()),
        "casefold" => Value::from(text.to_lowercase().replace('ß', "ss")),
        "isdecimal" => Value::from(!text.is_empty() && text.chars().all(char::is_numeric)),
        "istitle" => Value::from(text.chars().any(char::is_alphabetic) && title(text) == text),
        "isidentifier" => Value::from(is_identifier(text)),
        "expandtabs" => expand_tabs(text, args)?,
        "format_map" => {
            let (dict,): (&Value,) = from_args(args)?;
            let names = dict.try_iter()?.map(|name| Ok((name.to_string(), dict.get_item(&name)?)));
            formatted(state, text, &[names.collect::<Result<Kwargs, Error>>()?.into()])?
        }
        "format" => formatted(state, text, args)?,
        "encode" => bytes::encoded(state, text, args)?,
        _ => return Ok(None),
    }))
}

fn list_method(
    state: &State<'_, '_>,
    list: &Value,
    name: &str,
    args: &[Value],
    bounds: Bounds,
) -> Result<Option<Value>, Error> {
    if name == "copy" {
        return Ok(Some(list.clone()));
    }
    if !matches!(name, "index" | "count") {
        return Ok(None);
    }
    let (what,): (&Value,) = from_args(args)?;
    let len = list.len().unwrap_or(0);
    state.consume_fuel(len as u64)?;
    if what.as_object().is_some() {
        bounds.check(state, what, len)?;
    }
    let mut found = list.try_iter()?.enumerate().filter(|(_, item)| item == what).map(|(at, _)| at);
    match name {
        "count" => Ok(Some(Value::from(found.count()))),
        _ => found.next().map(|at| Some(Value::from(at))).ok_or_else(|| refused("the value is not in the list")),
    }
}

fn dict_method(state: &mut State<'_, '_>, dict: &Value, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let shape = match name {
        "copy" => return Ok(Some(dict.clone())),
        "items" => "dict_items",
        "keys" => "dict_keys",
        "values" => "dict_values",
        _ => return Ok(None),
    };
    let view = unknown_method_callback(state, dict, name, args)?;
    state.consume_fuel(dict.len().unwrap_or(0) as u64 / 16)?;
    Ok(Some(Items::value(Shape::View(shape), view.try_iter()?.collect())))
}

/// `str.split` and `str.rsplit`: at white space, or at a text.
fn split(state: &State<'_, '_>, text: &str, args: &[Value], from_end: bool) -> Result<Value, Error> {
    let (by, most, named): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let by = by.map_or_else(|| named.get::<Option<Value>>("sep"), |by| Ok(Some(by)))?;
    let most = most.map_or_else(|| named.get::<Option<i64>>("maxsplit"), |most| Ok(Some(most)))?;
    named.assert_all_used()?;
    let limit = most.and_then(|most| usize::try_from(most).ok()).map_or(usize::MAX, |most| most.saturating_add(1));
    // A part takes more than the byte that it may have.
    state.consume_fuel(text.len() as u64 / 2)?;
    let mut parts: Vec<&str> = match by.as_ref().filter(|by| !by.is_none()) {
        None if from_end => words(text, limit, true),
        None => words(text, limit, false),
        Some(by) => match by.as_str() {
            Some("") => return Err(refused("a text cannot be split at nothing")),
            Some(by) if from_end => text.rsplitn(limit, by).collect(),
            Some(by) => text.splitn(limit, by).collect(),
            None => return Err(refused("a text is split at a text")),
        },
    };
    if from_end {
        parts.reverse();
    }
    Ok(parts.into_iter().map(Value::from).collect())
}

/// Texts between white space; the last of `limit` keeps what is left. From the end they come last first.
fn words(text: &str, limit: usize, from_end: bool) -> Vec<&str> {
    let trim = |text| if from_end { str::trim_end(text) } else { str::trim_start(text) };
    let (mut rest, mut found) = (trim(text), Vec::new());
    while !rest.is_empty() {
        let cut = match from_end {
            _ if found.len() + 1 >= limit => None,
            true => rest.char_indices().rev().find(|(_, c)| c.is_whitespace()).map(|(at, c)| at + c.len_utf8()),
            false => rest.find(char::is_whitespace),
        };
        let Some(cut) = cut else {
            found.push(rest);
            break;
        };
        let (left, right) = rest.split_at(cut);
        let (word, others) = if from_end { (right, left) } else { (left, right) };
        found.push(word);
        rest = trim(others);
    }
    found
}

fn partition(text: &str, args: &[Value], from_end: bool) -> Result<Value, Error> {
    let (by,): (&str,) = from_args(args)?;
    if by.is_empty() {
        return Err(refused("a text cannot be split at nothing"));
    }
    let found = if from_end { text.rsplit_once(by) } else { text.split_once(by) };
    let parts = match found {
        Some((before, behind)) => [before, by, behind],
        None if from_end => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

/// `by.join(list)`. Like Python's it takes texts only.
fn join(state: &State<'_, '_>, by: &str, args: &[Value]) -> Result<Value, Error> {
    let (list,): (&Value,) = from_args(args)?;
    let mut joined = String::new();
    for (index, item) in list.try_iter()?.enumerate() {
        let text = item.as_str().ok_or_else(|| refused(format!("a text joins texts, not a {}", item.kind())))?;
        state.consume_fuel(1 + (by.len() + text.len()) as u64 / 64)?;
        joined.push_str(if index > 0 { by } else { "" });
        joined.push_str(text);
    }
    Ok(Value::from(joined))
}

/// Methods that look for a text, between places if they are given.
fn search(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (what, start, end): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
    let chars = if start.is_some() || end.is_some() { text.chars().count() as i64 } else { 0 };
    let place = |at: i64| (if at < 0 { at + chars } else { at }).clamp(0, chars) as usize;
    let byte_at = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    let first = start.map_or(0, place);
    let from = if first > 0 { byte_at(first) } else { 0 };
    let to = end.map_or(text.len(), |end| byte_at(place(end)));
    let part = text.get(from..to).unwrap_or_default();
    if matches!(name, "startswith" | "endswith") {
        let options: Vec<Value> = match (what.as_str(), what.is_tuple()) {
            (Some(_), _) => vec![what.clone()],
            (None, true) => what.try_iter()?.collect(),
            (None, false) => return Err(refused(format!("{name} takes a text or a tuple of texts"))),
        };
        let ends = |option: &str| if name == "startswith" { part.starts_with(option) } else { part.ends_with(option) };
        return Ok(Value::from(options.iter().filter_map(Value::as_str).any(ends)));
    }
    let what = what.as_str().ok_or_else(|| refused(format!("{name} takes a text")))?;
    if name == "count" {
        // Python finds nothing between all characters too.
        let count = if what.is_empty() { part.chars().count() + 1 } else { part.matches(what).count() };
        return Ok(Value::from(count));
    }
    let found = if matches!(name, "find" | "index") { part.find(what) } else { part.rfind(what) };
    match found {
        Some(at) => Ok(Value::from(first + part[..at].chars().count())),
        None if matches!(name, "find" | "rfind") => Ok(Value::from(-1)),
        None => Err(refused("the text is not found")),
    }
}

fn pad(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (width, fill): (i64, Option<&str>) = from_args(args)?;
    let width = usize::try_from(width).unwrap_or(0);
    if width > WIDEST {
        return Err(refused("a text is padded too far"));
    }
    let missing = width.saturating_sub(text.chars().count());
    let fill = fill.unwrap_or(if name == "zfill" { "0" } else { " " });
    if fill.chars().count() != 1 {
        return Err(refused("a text is padded with one character"));
    }
    let before = match name {
        "ljust" => 0,
        // Where the sides differ Python gives the left one more in an odd width.
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    let (sign, digits) = match text.chars().next() {
        Some('+' | '-') if name == "zfill" => text.split_at(1),
        _ => ("", text),
    };
    Ok(Value::from([sign, &fill.repeat(before), digits, &fill.repeat(missing - before)].concat()))
}

/// `str.title`: what follows no letter is large.
fn title(text: &str) -> String {
    let mut after_letter = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if after_letter {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        after_letter = c.is_alphabetic();
    }
    out
}

fn swapped(c: char) -> char {
    let swap = if c.is_uppercase() { c.to_lowercase().next() } else { c.to_uppercase().next() };
    swap.unwrap_or(c)
}

fn is_identifier(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_') && chars.all(|c| c.is_alphanumeric() || c == '_')
}

fn expand_tabs(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (size, _rest): (Option<usize>, Rest<Value>) = from_args(args)?;
    let size = size.unwrap_or(8);
    if size > 64 {
        return Err(refused("a tab is too wide"));
    }
    let (mut out, mut column) = (String::new(), 0);
    for c in text.chars() {
        match c {
            '\t' => {
                let spaces = if size == 0 { 0 } else { size - column % size };
                out.push_str(&" ".repeat(spaces));
                column += spaces;
            }
            c => {
                out.push(c);
                column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    Ok(Value::from(out))
}
