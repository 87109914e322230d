//! The filters, tests and methods of a template: those that chat templates use, each paying for what it reads and makes.

use std::sync::Arc;

use minijinja::value::{Kwargs, Rest, Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, filters, tests};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::json::to_json;
use super::meter::{Meter, refused};
use super::ops::{charge_pair, contains};
use super::values::{Dict, Paper};

/// Comparisons that each item takes part in when a list is sorted: the logarithm of the longest list there can be.
const SORTING: usize = 24;

/// Adds `$filter` under its name as a guard around itself, which `$guard` pays for. Both sides are found by name, so that
/// a filter keeps its own way of taking arguments.
macro_rules! guarded {
    ($env:ident, $meter:ident, $guard:ident: $($name:literal => $filter:path),* $(,)?) => {$(
        let meter = $meter.clone();
        $env.add_filter(concat!("=", $name), $filter);
        $env.add_filter($name, move |state: &State, mut args: Rest<Value>| {
            $guard(&meter, &mut args.0)?;
            meter.plain(state.apply_filter(concat!("=", $name), &args)?)
        });
    )*};
}

pub(super) fn add_to(env: &mut Environment<'_>, meter: &Arc<Meter>) {
    guarded!(env, meter, texts:
        "upper" => filters::upper, "lower" => filters::lower, "title" => filters::title,
        "capitalize" => filters::capitalize, "trim" => filters::trim, "indent" => filters::indent,
    );
    guarded!(env, meter, shallow:
        "length" => filters::length, "count" => filters::length, "first" => filters::first, "last" => filters::last,
        "list" => filters::list, "reverse" => filters::reverse, "items" => filters::items,
        "default" => filters::default, "d" => filters::default, "attr" => filters::attr, "map" => filters::map,
        "select" => filters::select, "reject" => filters::reject, "selectattr" => filters::selectattr,
        "rejectattr" => filters::rejectattr, "int" => filters::int, "float" => filters::float, "abs" => filters::abs,
        "round" => filters::round, "bool" => filters::bool,
    );
    guarded!(env, meter, sorting:
        "sort" => filters::sort, "unique" => filters::unique, "dictsort" => filters::dictsort, "min" => filters::min,
        "max" => filters::max,
    );
    let m = meter.clone();
    env.add_filter("replace", move |text: &Value, old: &str, new: &str| {
        replace(&m, &string(&m, text)?, old, new, None)
    });
    let m = meter.clone();
    env.add_filter("join", move |list: &Value, by: Option<&str>| join(&m, list, by.unwrap_or_default()));
    let m = meter.clone();
    env.add_filter("string", move |value: &Value| string(&m, value));
    // Nothing is escaped for HTML, so nothing is safe or unsafe.
    env.add_filter("safe", |value: Value| value);
    let m = meter.clone();
    env.add_filter("tojson", move |value: &Value, indent: Option<Value>, options: Kwargs| {
        to_json(&m, value, indent, &options)
    });
    add_tests(env, meter);
    let m = meter.clone();
    env.set_unknown_method_callback(move |state, value, name, args| {
        m.charge_reading(value)?;
        args.iter().try_for_each(|arg| m.charge_reading(arg))?;
        m.plain(method(&m, state, value, name, args)?)
    });
}

fn add_tests(env: &mut Environment<'_>, meter: &Arc<Meter>) {
    env.add_test("defined", tests::is_defined);
    env.add_test("undefined", tests::is_undefined);
    env.add_test("none", tests::is_none);
    env.add_test("boolean", tests::is_boolean);
    env.add_test("number", tests::is_number);
    env.add_test("integer", tests::is_integer);
    env.add_test("float", tests::is_float);
    env.add_test("string", tests::is_string);
    env.add_test("mapping", tests::is_mapping);
    // Python counts a text among the sequences.
    env.add_test("sequence", |value: &Value| tests::is_sequence(value) || tests::is_string(value));
    env.add_test("iterable", |value: &Value| tests::is_iterable(value) || tests::is_string(value));
    env.add_test("odd", tests::is_odd);
    env.add_test("even", tests::is_even);
    env.add_test("true", |value: &Value| value.kind() == ValueKind::Bool && value.is_true());
    env.add_test("false", |value: &Value| value.kind() == ValueKind::Bool && !value.is_true());
    env.add_test("divisibleby", |value: i64, by: i64| value.checked_rem(by) == Some(0));
    type Comparison = fn(&Value, &Value) -> bool;
    let comparisons: [(&[&str], Comparison); 6] = [
        (&["==", "eq", "equalto", "sameas"], |a, b| a == b),
        (&["!=", "ne"], |a, b| a != b),
        (&["<", "lt", "lessthan"], |a, b| a < b),
        (&["<=", "le"], |a, b| a <= b),
        (&[">", "gt", "greaterthan"], |a, b| a > b),
        (&[">=", "ge"], |a, b| a >= b),
    ];
    for (names, result) in comparisons {
        for name in names {
            let m = meter.clone();
            env.add_test(*name, move |a: &Value, b: &Value| charge_pair(&m, a, b).map(|()| result(a, b)));
        }
    }
    let m = meter.clone();
    env.add_test("in", move |state: &State, value: &Value, container: &Value| contains(&m, state, value, container));
}

/// Text filters write any value as a text first; for lists and dicts that has its price.
fn texts(meter: &Meter, args: &mut [Value]) -> Result<(), Error> {
    for (index, arg) in args.iter_mut().enumerate() {
        if index == 0 && arg.as_object().is_some() {
            *arg = string(meter, arg)?;
        }
        meter.charge_reading(arg)?;
        // `indent` puts that many spaces before each line.
        let width = arg.get_attr("width").ok().and_then(|width| width.as_usize()).or(arg.as_usize()).unwrap_or(0);
        if width > 256 {
            return Err(refused("a text is indented too far"));
        }
        meter.charge(width)?;
    }
    Ok(())
}

fn shallow(meter: &Meter, args: &mut [Value]) -> Result<(), Error> {
    args.iter().try_for_each(|arg| meter.charge_reading(arg))
}

fn sorting(meter: &Meter, args: &mut [Value]) -> Result<(), Error> {
    let Some(list) = args.first() else { return Ok(()) };
    (0..SORTING).try_for_each(|_| meter.charge_comparing(list))
}

/// `str(value)`.
fn string(meter: &Meter, value: &Value) -> Result<Value, Error> {
    let mut paper = Paper::new(meter);
    paper.push_str(value)?;
    Ok(Value::from(paper.text))
}

fn replace(meter: &Meter, text: &Value, old: &str, new: &str, count: Option<usize>) -> Result<Value, Error> {
    let text = text.as_str().unwrap_or_default();
    let found = text.matches(old).count().min(count.unwrap_or(usize::MAX));
    meter.charge(found.saturating_mul(new.len()).saturating_add(text.len()))?;
    Ok(Value::from(text.replacen(old, new, found)))
}

fn join(meter: &Meter, list: &Value, by: &str) -> Result<Value, Error> {
    let mut paper = Paper::new(meter);
    for (index, item) in list.try_iter()?.enumerate() {
        paper.push(if index > 0 { by } else { "" })?;
        paper.push_str(&item)?;
    }
    Ok(Value::from(paper.text))
}

/// Python's methods of strings, dicts and lists.
fn method(meter: &Meter, state: &State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match (value.as_str(), name) {
        (Some(_), "replace") => {
            let (old, new, count): (&str, &str, Option<i64>) = from_args(args)?;
            replace(meter, value, old, new, count.and_then(|count| usize::try_from(count).ok()))
        }
        (Some(text), "join") => {
            let (list,): (&Value,) = from_args(args)?;
            join(meter, list, text)
        }
        (Some(text), "removeprefix") => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        (Some(text), "removesuffix") => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        (Some(text), "count") => {
            let (what,): (&str,) = from_args(args)?;
            // Python finds nothing between all characters too. pycompat does not return.
            Ok(Value::from(if what.is_empty() { text.chars().count() + 1 } else { text.matches(what).count() }))
        }
        (Some(text), "split") => {
            let (by, most): (Option<&str>, Option<i64>) = from_args(args)?;
            split(meter, text, by, most.and_then(|most| usize::try_from(most).ok()))
        }
        // Widths of a format can be anything, and chat templates have no use for them.
        (Some(_), "format") => Err(Error::from(ErrorKind::UnknownMethod)),
        (Some(_), "startswith" | "endswith") => {
            args.iter().try_for_each(|arg| meter.charge_comparing(arg))?;
            unknown_method_callback(state, value, name, args)
        }
        (Some(_), _) => unknown_method_callback(state, value, name, args),
        (None, "get" | "keys" | "values" | "items") if value.downcast_object_ref::<Dict>().is_some() => {
            unknown_method_callback(state, value, name, args)
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// `str.split`: at white space, or at a text.
fn split(meter: &Meter, text: &str, by: Option<&str>, most: Option<usize>) -> Result<Value, Error> {
    let limit = most.map_or(usize::MAX, |most| most.saturating_add(1));
    let mut parts = Vec::new();
    let mut add = |part: &str| {
        meter.charge_places(1)?;
        parts.push(Value::from(part));
        Ok::<_, Error>(())
    };
    match by {
        Some("") => return Err(refused("a text cannot be split at nothing")),
        Some(by) => text.splitn(limit, by).try_for_each(add)?,
        None => {
            let mut rest = text.trim_start();
            let mut left = limit;
            while !rest.is_empty() {
                left -= 1;
                let end = if left == 0 { None } else { rest.find(char::is_whitespace) };
                let (part, behind) = rest.split_at(end.unwrap_or(rest.len()));
                add(part)?;
                rest = behind.trim_start();
            }
        }
    }
    Ok(Value::from_object(parts))
}
