//! Filters, within bounds, as Jinja has them.
//!
//! minijinja walks over what it compares or writes without counting: a list that holds the same list in many places is walked
//! over as often. So such values are measured before, and texts are made by [`super::values`].

use std::borrow::Cow;

use minijinja::value::{Kwargs, StringInput, Tuple, Value, ValueKind};
use minijinja::{Error, State, filters};
use minijinja_contrib::filters::filesizeformat;

use super::args::{Args, Call};
use super::chars::is_word;
use super::formats::{WIDEST, percent};
use super::items::{Items, Shape};
use super::json::to_json;
use super::links::urlize;
use super::markup::striptags;
use super::operators::{add, order};
use super::sandbox::{Bounds, afford, refused};
use super::sorting;
use super::values::{Paper, escaped, repr_of, string, type_name};
use super::wrapping::wordwrap;

pub(super) const FILTERS: &[(&str, Call)] = &[
    ("abs", |_, _, args| filters::abs(args.value()?)),
    ("attr", attr),
    ("batch", |state, bounds, args| {
        let (items, count) = (walked(state, bounds, args)?, args.int("linecount")?);
        let (count, fill) = (usize::try_from(count.unwrap_or(0)).unwrap_or(0), args.get("fill_with")?);
        generator(state, filters::batch(state, items, count, fill.filter(|fill| !fill.is_none()))?)
    }),
    ("capitalize", |state, _, args| {
        let text = text(state, args)?;
        Ok(filters::capitalize(StringInput::new(state, &text)?))
    }),
    ("center", center),
    ("count", length),
    ("d", default),
    ("default", default),
    ("dictsort", sorting::dictsort),
    ("e", |state, _, args| escape(state, args, false)),
    ("escape", |state, _, args| escape(state, args, false)),
    ("filesizeformat", |_, _, args| {
        let (size, binary) = (args.value()?, args.get("binary")?.map(|binary| binary.is_true()));
        Ok(Value::from(filesizeformat(f64::try_from(size)?, binary)))
    }),
    ("first", |_, _, args| filters::first(&args.value()?)),
    ("float", |_, _, args| {
        let (value, default) = (args.value()?, args.get("default")?);
        check_no_bytes(&value)?;
        let parsed = value.as_str().map_or_else(|| f64::try_from(value.clone()).ok(), |text| text.trim().parse().ok());
        Ok(parsed.map_or_else(|| default.unwrap_or_else(|| Value::from(0.0)), Value::from))
    }),
    ("forceescape", |state, _, args| escape(state, args, true)),
    ("format", |state, _, args| {
        let text = args.text("value")?.unwrap_or_default();
        let values = args.rest();
        let named = values.first().filter(|value| value.is_kwargs()).cloned();
        percent(state, &text, &named.unwrap_or_else(|| Value::from(Tuple::from(values))), false)
    }),
    ("groupby", groupby),
    ("indent", indent),
    ("int", int),
    ("items", |state, _, args| generator(state, filters::items(&args.value()?)?)),
    ("join", join),
    ("last", |_, _, args| filters::last(args.value()?)),
    ("length", length),
    ("list", |state, _, args| {
        let value = args.value()?;
        state.consume_fuel(value.len().unwrap_or(0) as u64 / 16)?;
        Ok(iterable(&value)?.try_iter()?.collect())
    }),
    ("lower", |state, _, args| changed(state, args, |text| text.to_lowercase())),
    ("map", map),
    ("max", sorting::max),
    ("min", sorting::min),
    ("pprint", pprint),
    ("random", random),
    ("reject", |state, _, args| select(state, args, false, false)),
    ("rejectattr", |state, _, args| select(state, args, true, false)),
    ("replace", replace),
    ("reverse", |state, bounds, args| {
        let value = walked(state, bounds, args)?;
        let reversed = filters::reverse(&value)?;
        if reversed.as_str().is_some() { Ok(reversed) } else { generator(state, reversed) }
    }),
    ("round", |_, _, args| {
        let (value, precision, method) = (args.value()?, args.int("precision")?, args.text("method")?);
        let precision = precision.unwrap_or(0).clamp(-400, 400) as i32;
        filters::round(value, Some(precision), method.as_deref(), Kwargs::from_iter(NOTHING))
    }),
    ("safe", |state, _, args| Ok(Value::from_safe_string(text(state, args)?.to_string()))),
    ("select", |state, _, args| select(state, args, false, true)),
    ("selectattr", |state, _, args| select(state, args, true, true)),
    ("slice", |state, bounds, args| {
        let (items, count) = (walked(state, bounds, args)?, args.int("slices")?);
        let (count, fill) = (usize::try_from(count.unwrap_or(0)).unwrap_or(0), args.get("fill_with")?);
        generator(state, filters::slice(state, items, count, fill.filter(|fill| !fill.is_none()))?)
    }),
    ("sort", sorting::sort),
    ("string", |state, _, args| string(state, &args.value()?).map(Value::from)),
    ("striptags", striptags),
    ("sum", sum),
    ("title", |state, _, args| changed(state, args, |text| filters::title(Cow::Borrowed(text)))),
    ("tojson", |state, _, args| {
        let value = args.value()?;
        to_json(state, &value, &args.rest()).map(Value::from)
    }),
    ("trim", |state, _, args| {
        let (text, chars) = (text(state, args)?, args.text("chars")?);
        let trimmed = text.as_str().unwrap_or_default();
        Ok(like(
            &text,
            match chars {
                Some(chars) => trimmed.trim_matches(|c| chars.contains(c)),
                None => trimmed.trim(),
            },
        ))
    }),
    ("truncate", truncate),
    ("unique", |state, bounds, args| {
        let items = walked(state, bounds, args)?;
        let mut named = Vec::new();
        for name in ["case_sensitive", "attribute"] {
            named.extend(args.get(name)?.map(|value| (name, value)));
        }
        generator(state, filters::unique(state, items, Kwargs::from_iter(named))?)
    }),
    ("upper", |state, _, args| changed(state, args, |text| text.to_uppercase())),
    ("urlencode", urlencode),
    ("urlize", urlize),
    ("wordcount", |state, _, args| {
        let text = text(state, args)?;
        let words = text.as_str().unwrap_or_default().split(|c| !is_word(c));
        Ok(Value::from(words.filter(|word| !word.is_empty()).count()))
    }),
    ("wordwrap", wordwrap),
    ("xmlattr", xmlattr),
];

const NOTHING: [(&str, Value); 0] = [];

/// The first argument as a text.
fn text(state: &State<'_, '_>, args: &mut Args) -> Result<Value, Error> {
    let value = args.value()?;
    match value.as_str() {
        Some(_) => Ok(value),
        None => string(state, &value).map(Value::from),
    }
}

/// A text that is safe if the other is.
fn like(other: &Value, text: &str) -> Value {
    if other.is_safe() { Value::from_safe_string(text.to_owned()) } else { Value::from(text) }
}

fn changed(state: &State<'_, '_>, args: &mut Args, change: fn(&str) -> String) -> Result<Value, Error> {
    let text = text(state, args)?;
    Ok(like(&text, &change(text.as_str().unwrap_or_default())))
}

/// The value, where Python walks over it.
pub(super) fn iterable(value: &Value) -> Result<&Value, Error> {
    if value.is_none() { Err(refused("none is not iterable")) } else { Ok(value) }
}

fn check_no_bytes(value: &Value) -> Result<(), Error> {
    if Items::bytes(value).is_some() { Err(refused("bytes are no text: decode them")) } else { Ok(()) }
}

/// The first argument, measured.
fn walked(state: &State<'_, '_>, bounds: Bounds, args: &mut Args) -> Result<Value, Error> {
    let value = args.value()?;
    bounds.kept(state, iterable(&value)?.clone())
}

fn generator(state: &State<'_, '_>, items: Value) -> Result<Value, Error> {
    let values: Vec<Value> = items.try_iter()?.collect();
    state.consume_fuel(values.len() as u64 / 16)?;
    Ok(Items::value(Shape::Generator, values))
}

/// The value at `a.b.0`, or a default where that is given and nothing is there.
pub(super) fn attribute(value: &Value, path: &str, default: &Value) -> Result<Value, Error> {
    let mut found = value.clone();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let key = part.parse::<usize>().map_or_else(|_| Value::from(part), Value::from);
        found = found.get_item(&key)?;
        if found.is_undefined() && !default.is_none() {
            found = default.clone();
        }
    }
    Ok(found)
}

fn length(_: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    filters::length(&args.value()?).map(Value::from)
}

fn escape(state: &State<'_, '_>, args: &mut Args, again: bool) -> Result<Value, Error> {
    let value = args.value()?;
    if value.is_safe() && !again {
        return Ok(value);
    }
    Ok(Value::from_safe_string(escaped(&string(state, &value)?)))
}

fn attr(_: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let (value, name) = (args.value()?, args.text("name")?.unwrap_or_default());
    match value.kind() {
        // The methods of a dict are no values here.
        ValueKind::Map if type_name(&value) != "Namespace" => Ok(Value::UNDEFINED),
        _ => value.get_attr(&name),
    }
}

/// `random(value)`: the first item. Jinja takes any; here a template gives the same text each time.
fn random(_: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let value = args.value()?;
    if filters::length(&value)? == 0 {
        return Ok(Value::UNDEFINED);
    }
    let item = value.get_item(&Value::from(0))?;
    // A dict has the item where 0 is a key, and a view of one has none.
    if item.is_undefined() { Err(refused(format!("a {} has no random item", value.kind()))) } else { Ok(item) }
}

fn center(state: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let (value, width) = (text(state, args)?, args.int("width")?.unwrap_or(80));
    let width = usize::try_from(width).unwrap_or(0);
    if width > WIDEST {
        return Err(refused("a text is padded too far"));
    }
    let text = value.as_str().unwrap_or_default();
    let missing = width.saturating_sub(text.chars().count());
    let before = missing / 2 + (missing & width & 1);
    Ok(Value::from([" ".repeat(before).as_str(), text, &" ".repeat(missing - before)].concat()))
}

fn pprint(state: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let text = repr_of(state, &args.value()?)?;
    // Python would break the line, or sort the keys of a dict.
    let is_plain = text.len() <= 80 && text.matches("': ").count() <= text.matches('{').count();
    if is_plain { Ok(Value::from(text)) } else { Err(refused("pprint writes short values only")) }
}

/// `xmlattr(dict, autospace=True)`.
fn xmlattr(state: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let (dict, space) = (args.value()?, args.get("autospace")?);
    if dict.kind() != ValueKind::Map {
        return Err(refused(format!("a {} has no attributes", dict.kind())));
    }
    let mut out = String::new();
    for key in dict.try_iter()? {
        let value = dict.get_item(&key)?;
        if !value.is_none() && !value.is_undefined() {
            let key = string(state, &key)?;
            if key.contains(|c: char| c.is_whitespace() || "/>=".contains(c)) {
                return Err(refused(format!("{key:?} is no name of an attribute")));
            }
            let value = escaped(&string(state, &value)?);
            out.extend([" ", &escaped(&key), "=\"", &value, "\""]);
        }
    }
    let has_space = space.is_none_or(|space| space.is_true());
    Ok(Value::from(if has_space { &out } else { out.trim_start() }))
}

/// `groupby(value, attribute, default=None, case_sensitive=False)`.
fn groupby(state: &mut State<'_, '_>, bounds: Bounds, args: &mut Args) -> Result<Value, Error> {
    let items = walked(state, bounds, args)?;
    let (by, default, case) = (args.get("attribute")?, args.get("default")?, args.get("case_sensitive")?);
    let by = by.map(|by| by.to_string()).unwrap_or_default();
    let items: Vec<Value> = items.try_iter()?.collect();
    let key = |item: &Value| attribute(item, &by, default.as_ref().unwrap_or(&Value::UNDEFINED));
    for pair in items.windows(2) {
        order(state, &key(&pair[0])?, &key(&pair[1])?, 0)?;
    }
    let named = [("default", default), ("case_sensitive", case)];
    let named = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
    filters::groupby(Value::from(items), Some(&by), Kwargs::from_iter(named))
}

/// `map(value, filter, *args)`, or `map(value, attribute=…, default=None)`.
fn map(state: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let items = args.value()?;
    let path = args.named("attribute")?;
    let default = args.named("default")?.unwrap_or(Value::UNDEFINED);
    let rest = if path.is_some() { Vec::new() } else { args.rest() };
    let filter = rest.first().and_then(Value::as_str);
    let mut found = Vec::new();
    for (index, item) in iterable(&items)?.try_iter()?.enumerate() {
        // Looking up is half the work of calling.
        state.consume_fuel(if path.is_some() { index as u64 % 2 } else { 1 })?;
        found.push(match (&path, filter) {
            (Some(path), _) => attribute(&item, &path.to_string(), &default)?,
            (None, Some(filter)) => {
                let given: Vec<Value> = std::iter::once(item).chain(rest[1..].iter().cloned()).collect();
                let made = state.apply_filter(filter, &given)?;
                state.consume_fuel(made.as_str().map_or(0, str::len) as u64 / 64)?;
                made
            }
            _ => return Err(refused("map takes a filter or an attribute")),
        });
    }
    Ok(Items::value(Shape::Generator, found))
}

/// `select(value, test=None, *args)` and its kind, of an attribute or not.
fn select(state: &mut State<'_, '_>, args: &mut Args, of_attribute: bool, keeps: bool) -> Result<Value, Error> {
    let items = args.value()?;
    let path = if of_attribute { args.value()?.to_string() } else { String::new() };
    let rest = args.rest();
    let mut found = Vec::new();
    for item in iterable(&items)?.try_iter()? {
        state.consume_fuel(1)?;
        let value = attribute(&item, &path, &Value::UNDEFINED)?;
        let passes = match rest.first().map(|test| test.as_str()) {
            None => value.is_true(),
            Some(Some(test)) => {
                let given: Vec<Value> = std::iter::once(value).chain(rest[1..].iter().cloned()).collect();
                state.perform_test(test, &given)?
            }
            Some(None) => return Err(refused("a test has a name")),
        };
        if passes == keeps {
            found.push(item);
        }
    }
    Ok(Items::value(Shape::Generator, found))
}

/// `replace(value, old, new, count=None)`.
fn replace(state: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let (value, old, new) = (text(state, args)?, args.value()?, args.value()?);
    let (old, new, count) = (string(state, &old)?, string(state, &new)?, args.int("count")?);
    replaced(state, value.as_str().unwrap_or_default(), &old, &new, count).map(Value::from)
}

/// `str.replace`, where there is fuel for what comes of it.
pub(super) fn replaced(
    state: &State<'_, '_>,
    text: &str,
    old: &str,
    new: &str,
    count: Option<i64>,
) -> Result<String, Error> {
    let most = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    let places = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() };
    afford(state, text.len().saturating_add(places.min(most).saturating_mul(new.len())))?;
    Ok(text.replacen(old, new, most))
}

/// `join(value, d='', attribute=None)`.
fn join(state: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let (items, by) = (args.value()?, args.get("d")?.unwrap_or_default());
    let path = args.get("attribute")?.map(|path| path.to_string()).unwrap_or_default();
    let by = string(state, &by)?;
    let mut paper = Paper::new(state);
    for (index, item) in iterable(&items)?.try_iter()?.enumerate() {
        let item = attribute(&item, &path, &Value::UNDEFINED)?;
        let bytes = by.len() + item.as_str().map_or(0, str::len);
        afford(state, paper.text.len() + bytes)?;
        state.consume_fuel(1 + bytes as u64 / 64)?;
        paper.text.push_str(if index > 0 { &by } else { "" });
        match item.as_str() {
            Some(text) => paper.text.push_str(text),
            None => paper.push_str(&item)?,
        }
    }
    Ok(Value::from(paper.text))
}

/// `sum(value, attribute=None, start=0)`.
fn sum(state: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let (items, path, start) = (args.value()?, args.get("attribute")?, args.get("start")?);
    let path = path.filter(|path| !path.is_none()).map(|path| path.to_string()).unwrap_or_default();
    let mut total = start.unwrap_or_else(|| Value::from(0));
    if total.as_str().is_some() {
        return Err(refused("texts have no sum"));
    }
    for item in iterable(&items)?.try_iter()? {
        total = add(state, &total, &attribute(&item, &path, &Value::UNDEFINED)?)?;
    }
    Ok(total)
}

/// `indent(value, width=4, first=False, blank=False)`. The width may be a text.
fn indent(state: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let value = args.value()?;
    let (width, first, blank) = (args.get("width")?, args.flag("first")?, args.flag("blank")?);
    let text = value.as_str().ok_or_else(|| refused(format!("a {} has no lines", value.kind())))?;
    let text = text.replace("\r\n", "\n").replace(['\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'], "\n");
    let lines = text.matches('\n').count() + 1;
    let width = width.unwrap_or_else(|| Value::from(4));
    let indent = match width.as_str() {
        Some(indent) => indent.to_owned(),
        None => {
            let spaces = usize::try_from(i64::try_from(width)?.max(0)).unwrap_or(usize::MAX);
            afford(state, spaces.saturating_mul(lines))?;
            " ".repeat(spaces)
        }
    };
    afford(state, text.len() + indent.len().saturating_mul(lines))?;
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.split('\n').enumerate() {
        out.push_str(if index > 0 { "\n" } else { "" });
        let is_indented = if index == 0 { first } else { blank || !line.is_empty() };
        out.extend([if is_indented { &indent } else { "" }, line]);
    }
    Ok(like(&value, &out))
}

/// `truncate(value, length=255, killwords=False, end='...', leeway=5)`.
fn truncate(_: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let (value, length, kill) = (args.value()?, args.int("length")?, args.flag("killwords")?);
    let (end, leeway) = (args.text("end")?.unwrap_or_else(|| "...".to_owned()), args.int("leeway")?.unwrap_or(5));
    let (text, length) = (value.as_str().unwrap_or_default(), length.unwrap_or(255));
    let left = usize::try_from(length - end.chars().count() as i64);
    let left = left.map_err(|_| refused("a text is cut shorter than its end"))?;
    let len = if value.as_str().is_some() { text.chars().count() } else { filters::length(&value)? };
    if len as i64 <= length.saturating_add(leeway) {
        return Ok(value);
    }
    if value.as_str().is_none() {
        return Err(refused(format!("a {} is not cut", value.kind())));
    }
    let cut: String = text.chars().take(left).collect();
    let words = if kill { &cut } else { cut.rsplit_once(' ').map_or(cut.as_str(), |(words, _)| words) };
    Ok(like(&value, &[words, &end].concat()))
}

/// `default(value, default_value='', boolean=False)`.
fn default(_: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let (value, instead, boolean) = (args.value()?, args.get("default_value")?, args.flag("boolean")?);
    let missing = value.is_undefined() || (boolean && !value.is_true());
    Ok(if missing { instead.unwrap_or_else(|| Value::from("")) } else { value })
}

/// `urlencode`: of a text, or of the pairs of a dict or list, whose spaces become `+`.
fn urlencode(state: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let value = args.value()?;
    check_no_bytes(&value)?;
    let encoded = |value: &Value| filters::urlencode(&Value::from(string(state, value)?));
    if value.kind() != ValueKind::Map && value.kind() != ValueKind::Seq {
        return encoded(&value).map(Value::from);
    }
    let quoted = |value: &Value| Ok::<_, Error>(encoded(value)?.replace('/', "%2F").replace("%20", "+"));
    let mut pairs = Vec::new();
    for item in value.try_iter()? {
        let (key, value) = match value.kind() {
            ValueKind::Map => (item.clone(), value.get_item(&item)?),
            _ => (item.get_item(&Value::from(0))?, item.get_item(&Value::from(1))?),
        };
        pairs.push(format!("{}={}", quoted(&key)?, quoted(&value)?));
    }
    Ok(Value::from(pairs.join("&")))
}

/// `int(value, default=0, base=10)`.
fn int(_: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let (value, default, base) = (args.value()?, args.get("default")?, args.int("base")?);
    check_no_bytes(&value)?;
    let number = match value.as_str() {
        Some(text) => parsed_int(text.trim(), base.and_then(|base| u32::try_from(base).ok()).unwrap_or(10)),
        None if value.is_integer() => return Ok(value),
        None if value.kind() == ValueKind::Bool => Some(i64::from(value.is_true())),
        None => f64::try_from(value).ok().filter(|number| number.is_finite()).map(|number| number.trunc() as i64),
    };
    Ok(number.map(Value::from).or(default).unwrap_or_else(|| Value::from(0)))
}

fn parsed_int(text: &str, base: u32) -> Option<i64> {
    let prefix = match base {
        16 => ["0x", "0X"],
        8 => ["0o", "0O"],
        2 => ["0b", "0B"],
        _ => ["", ""],
    };
    let digits = prefix.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    let whole = (2..=36).contains(&base).then(|| i64::from_str_radix(digits, base).ok()).flatten();
    whole.or_else(|| text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number.trunc() as i64))
}
