//! The filters, tests and functions of transformers' environment that minijinja has not, or that differ.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State, filters, tests};
use minijinja_contrib::filters::filesizeformat;
use minijinja_contrib::globals::{cycler, joiner};

use super::json::to_json;
use super::sandbox::refused;
use super::values::string;

/// What minijinja has beyond Jinja.
const NOT_IN_JINJA: [&str; 5] = ["split", "lines", "bool", "chain", "zip"];
/// Wider than any text is formatted.
const WIDEST: u64 = 10_000;
/// The filter that stands for `text % values`: see `operators`.
pub(super) const PERCENT: &str = "_percent";
/// The function that sees each value of a `set`.
pub(super) const KEPT: &str = "_kept";

pub(super) fn add_to(env: &mut Environment<'_>) {
    for name in NOT_IN_JINJA {
        env.remove_filter(name);
    }
    env.remove_global("debug");
    env.add_function("raise_exception", |message: Value| -> Result<(), Error> {
        // Long messages are no messages.
        Err(refused(message.as_str().unwrap_or("no reason given").chars().take(1000).collect::<String>()))
    });
    env.add_function("cycler", |items: Rest<Value>| cycler(items.0));
    env.add_function("joiner", joiner);
    add_filters(env);
    add_tests(env);
}

fn add_filters(env: &mut Environment<'_>) {
    env.add_filter("tojson", |state: &State, value: &Value, args: Rest<ValueOrKwargs>| {
        to_json(state, value, &args.into_values())
    });
    env.add_filter("string", |state: &State, value: &Value| string(state, value));
    for name in ["e", "escape", "forceescape"] {
        env.add_filter(name, move |state: &State, value: &Value| escape(state, value, name == "forceescape"));
    }
    env.add_filter("format", |format: &str, args: Rest<ValueOrKwargs>| {
        formatted(FormatStyle::Printf, format, &args.into_values())
    });
    env.add_filter(PERCENT, |format: &str, values: &Value| percent(format, values));
    env.add_filter("default", default);
    env.add_filter("d", default);
    env.add_filter("dictsort", |value: &Value, case_sensitive: Option<bool>, named: Kwargs| {
        let mut options: Vec<(&str, Value)> = Vec::new();
        for name in ["by", "reverse", "case_sensitive"].into_iter().filter(|name| named.has(name)) {
            options.push((name, named.get(name)?));
        }
        named.assert_all_used()?;
        options.extend(case_sensitive.map(|value| ("case_sensitive", Value::from(value))));
        filters::dictsort(value, Kwargs::from_iter(options))
    });
    env.add_filter("int", |value: &Value, default: Option<Value>, base: Option<u32>| int(value, default, base));
    env.add_filter("float", |value: &Value, default: Option<f64>| {
        let parsed = match value.as_str() {
            Some(text) => text.trim().parse().ok(),
            None => f64::try_from(value.clone()).ok(),
        };
        parsed.or(default).unwrap_or(0.0)
    });
    env.add_filter("wordcount", |text: &str| {
        text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).count()
    });
    env.add_filter("filesizeformat", filesizeformat);
    env.add_filter("center", |text: &str, width: Option<usize>| {
        let width = width.unwrap_or(80).min(WIDEST as usize);
        let missing = width.saturating_sub(text.chars().count());
        let before = missing / 2 + (missing & width & 1);
        [" ".repeat(before).as_str(), text, &" ".repeat(missing - before)].concat()
    });
}

/// `escape` of markupsafe.
fn escape(state: &State, value: &Value, again: bool) -> Result<Value, Error> {
    if value.is_safe() && !again {
        return Ok(value.clone());
    }
    let text = string(state, value)?;
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
    Ok(Value::from_safe_string(out))
}

/// `default(value, instead='', boolean=False)`.
fn default(value: &Value, instead: Option<Value>, boolean: Option<bool>, named: Kwargs) -> Result<Value, Error> {
    let instead = instead.map_or_else(|| named.get::<Option<Value>>("default_value"), |instead| Ok(Some(instead)))?;
    let boolean = boolean.map_or_else(|| named.get::<Option<bool>>("boolean"), |boolean| Ok(Some(boolean)))?;
    named.assert_all_used()?;
    let missing = value.is_undefined() || (boolean.unwrap_or(false) && !value.is_true());
    Ok(if missing { instead.unwrap_or_else(|| Value::from("")) } else { value.clone() })
}

/// `int(value, default=0, base=10)`.
fn int(value: &Value, default: Option<Value>, base: Option<u32>) -> Value {
    let number = match value.as_str() {
        Some(text) => parsed_int(text.trim(), base.unwrap_or(10)),
        None if value.is_integer() => return value.clone(),
        None if value.kind() == ValueKind::Bool => Some(i64::from(value.is_true())),
        None => {
            f64::try_from(value.clone()).ok().filter(|number| number.is_finite()).map(|number| number.trunc() as i64)
        }
    };
    number.map(Value::from).or(default).unwrap_or_else(|| Value::from(0))
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

/// `text % values`: a tuple has several, a dict names them.
fn percent(text: &str, values: &Value) -> Result<Value, Error> {
    if values.is_tuple() {
        let values: Vec<Value> = values.try_iter()?.collect();
        return formatted(FormatStyle::Printf, text, &values);
    }
    if values.kind() == ValueKind::Map {
        let mut named = Vec::new();
        for key in values.try_iter()? {
            named.push((key.to_string(), values.get_item(&key)?));
        }
        return formatted(FormatStyle::Printf, text, &[Kwargs::from_iter(named).into()]);
    }
    formatted(FormatStyle::Printf, text, std::slice::from_ref(values))
}

/// A formatted text. Numbers in the format are widths, which can be anything.
pub(super) fn formatted(style: FormatStyle, text: &str, args: &[Value]) -> Result<Value, Error> {
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    for digits in numbers {
        if digits.parse::<u64>().map_or(true, |number| number > WIDEST) {
            return Err(refused("a text is formatted too wide"));
        }
    }
    if text.contains('*') && style == FormatStyle::Printf {
        return Err(refused("a width that is a value is not supported"));
    }
    format(style, text, args).map(Value::from)
}

fn add_tests(env: &mut Environment<'_>) {
    // Python counts a text among the sequences, and what has items and a length.
    let sequence = |value: &Value| {
        let has_items =
            matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Undefined);
        has_items || tests::is_sequence(value)
    };
    env.add_test("sequence", sequence);
    env.add_test("iterable", move |value: &Value| sequence(value) || value.kind() == ValueKind::Iterable);
    env.add_test("callable", |value: &Value| matches!(value.kind(), ValueKind::Plain | ValueKind::Undefined));
}
