//! The operators of expressions, as Python has them and with bounds: see [`super::expression`].

use std::cmp::Ordering;

use minijinja::value::{Tuple, Value, ValueKind};
use minijinja::{Error, State};

use super::args::{Args, Call};
use super::formats::percent;
use super::items::{Items, Shape};
use super::macros::variadic;
use super::sandbox::{Bounds, afford, refused};
use super::values::{Paper, escaped, type_name};

/// Lists in lists that are compared.
const DEEPEST: usize = 64;

pub(super) const FILTERS: &[(&str, Call)] = &[
    ("_kept", |state, bounds, args| bounds.kept(state, args.value()?)),
    ("_each", |state, bounds, args| each(state, args.value()?, bounds)),
    ("_pass", |state, bounds, args| match args.value()? {
        value if value.is_undefined() => Ok(Items::value(Shape::Absent, Vec::new())),
        value => bounds.kept(state, value),
    }),
    ("_take", |_, _, args| Ok(Items::taken(args.value()?))),
    ("_variadic", variadic),
    ("_add", |state, _, args| add(state, &args.value()?, &args.value()?)),
    ("_mul", |state, bounds, args| multiply(state, &args.value()?, &args.value()?, bounds)),
    ("_mod", |state, _, args| modulo(state, &args.value()?, &args.value()?)),
    ("_cat", |state, _, args| joined(state, &args.rest(), false)),
    ("_neg", |_, _, args| {
        let value = args.value()?;
        match number(&value) {
            Some(Number::Int(value)) => value.checked_neg().map(Value::from).ok_or_else(too_large),
            Some(Number::Float(value)) => Ok(Value::from(-value)),
            None => Err(unsupported("-", &value, &value)),
        }
    }),
    ("_pos", |_, _, args| {
        let value = args.value()?;
        number(&value).map(Number::value).ok_or_else(|| unsupported("+", &value, &value))
    }),
    ("_slice", |state, _, args| slice(state, args, false)),
    ("_const_slice", |state, _, args| slice(state, args, true)),
    ("_item", |_, _, args| {
        let (value, key) = (args.value()?, args.value()?);
        match (number(&key), value.kind()) {
            (Some(Number::Float(_)), ValueKind::Seq | ValueKind::String) => Ok(Value::UNDEFINED),
            _ => value.get_item(&key),
        }
    }),
    ("_key", |state, bounds, args| {
        let value = args.value()?;
        key(&value)?;
        bounds.kept(state, value)
    }),
    ("_arguments", |_, _, args| {
        let value = args.value()?;
        let found = value.get_attr("arguments")?;
        match type_name(&value) {
            "Macro" => Ok(Value::from(Tuple::from(found.try_iter()?.collect::<Vec<_>>()))),
            _ => Ok(found),
        }
    }),
    ("_chain", |state, bounds, args| {
        let mut left = args.value()?;
        let rest = args.rest();
        for pair in rest.chunks_exact(2) {
            let compare = COMPARISONS.iter().find(|(name, _)| Some(*name) == pair[0].as_str());
            let compare = compare.ok_or_else(|| refused("a comparison is not known"))?.1;
            let both = &mut Args::new(vec![left, pair[1].clone()]);
            if !compare(state, bounds, both)?.is_true() {
                return Ok(Value::from(false));
            }
            left = pair[1].clone();
        }
        Ok(Value::from(true))
    }),
];

/// Operators, each also under the names of the tests that it is.
pub(super) const COMPARISONS: &[(&str, Call)] = &[
    ("_eq", |state, bounds, args| compared(state, args, bounds, equal)),
    ("_ne", |state, bounds, args| {
        compared(state, args, bounds, |state, a, b, bounds| Ok(!equal(state, a, b, bounds)?))
    }),
    ("_lt", |state, bounds, args| {
        compared(state, args, bounds, |state, a, b, _| Ok(order(state, a, b, 0)?.is_some_and(Ordering::is_lt)))
    }),
    ("_le", |state, bounds, args| {
        compared(state, args, bounds, |state, a, b, _| Ok(order(state, a, b, 0)?.is_some_and(Ordering::is_le)))
    }),
    ("_gt", |state, bounds, args| {
        compared(state, args, bounds, |state, a, b, _| Ok(order(state, b, a, 0)?.is_some_and(Ordering::is_lt)))
    }),
    ("_ge", |state, bounds, args| {
        compared(state, args, bounds, |state, a, b, _| Ok(order(state, b, a, 0)?.is_some_and(Ordering::is_le)))
    }),
    ("_in", |state, bounds, args| compared(state, args, bounds, contains)),
    ("_not_in", |state, bounds, args| {
        compared(state, args, bounds, |state, a, b, bounds| Ok(!contains(state, a, b, bounds)?))
    }),
];

/// The comparisons as tests.
pub(super) const TESTS: &[(&str, Call)] = &[
    ("eq", COMPARISONS[0].1),
    ("equalto", COMPARISONS[0].1),
    ("==", COMPARISONS[0].1),
    ("ne", COMPARISONS[1].1),
    ("!=", COMPARISONS[1].1),
    ("lt", COMPARISONS[2].1),
    ("lessthan", COMPARISONS[2].1),
    ("<", COMPARISONS[2].1),
    ("le", COMPARISONS[3].1),
    ("<=", COMPARISONS[3].1),
    ("gt", COMPARISONS[4].1),
    ("greaterthan", COMPARISONS[4].1),
    (">", COMPARISONS[4].1),
    ("ge", COMPARISONS[5].1),
    (">=", COMPARISONS[5].1),
    ("in", COMPARISONS[6].1),
];

/// How two values are compared.
type Compare = fn(&State<'_, '_>, &Value, &Value, Bounds) -> Result<bool, Error>;

fn compared(state: &State<'_, '_>, args: &mut Args, bounds: Bounds, compare: Compare) -> Result<Value, Error> {
    let (a, b) = (args.value()?, args.value()?);
    compare(state, &a, &b, bounds).map(Value::from)
}

/// Whether a dict may have this key.
fn key(value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Map => Err(refused("a dict is no key")),
        ValueKind::Seq if !value.is_tuple() => Err(refused("a list is no key")),
        _ => Ok(()),
    }
}

#[derive(Clone, Copy)]
pub(super) enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    fn value(self) -> Value {
        match self {
            Self::Int(value) => i64::try_from(value).map_or_else(|_| Value::from(value), Value::from),
            Self::Float(value) => Value::from(value),
        }
    }

    pub(super) fn float(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

/// A truth value counts as a number.
pub(super) fn number(value: &Value) -> Option<Number> {
    match value.kind() {
        ValueKind::Bool => Some(Number::Int(value.is_true().into())),
        ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).ok().map(Number::Int),
        ValueKind::Number => f64::try_from(value.clone()).ok().map(Number::Float),
        _ => None,
    }
}

fn too_large() -> Error {
    refused("a number is too large")
}

fn unsupported(operator: &str, a: &Value, b: &Value) -> Error {
    refused(format!("{operator} does not take {} and {}", a.kind(), b.kind()))
}

/// Whole numbers, or floats if one is.
fn calculated(
    (a, b): (Number, Number),
    int: fn(i128, i128) -> Option<i128>,
    float: fn(f64, f64) -> f64,
) -> Result<Value, Error> {
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => int(a, b).map(|value| Number::Int(value).value()).ok_or_else(too_large),
        _ => Ok(Value::from(float(a.float(), b.float()))),
    }
}

/// Whether this is a list, and no range, view or generator.
fn is_list(value: &Value) -> bool {
    value.kind() == ValueKind::Seq
        && !value.is_tuple()
        && Items::of(value).is_none_or(|items| matches!(items.shape, Shape::List))
}

/// A list or a tuple, paid for by its length.
fn row(state: &State<'_, '_>, is_tuple: bool, len: usize, values: impl Iterator<Item = Value>) -> Result<Value, Error> {
    state.consume_fuel(1 + len as u64 / 16)?;
    let values: Vec<Value> = values.collect();
    Ok(if is_tuple { Value::from(Tuple::from(values)) } else { Items::value(Shape::List, values) })
}

/// `a + b`.
pub(super) fn add(state: &State<'_, '_>, a: &Value, b: &Value) -> Result<Value, Error> {
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return calculated((a, b), i128::checked_add, |a, b| a + b);
    }
    if a.as_str().is_some() && b.as_str().is_some() {
        return joined(state, &[a.clone(), b.clone()], a.is_safe() || b.is_safe());
    }
    let is_tuple = a.is_tuple() && b.is_tuple();
    if is_tuple || is_list(a) && is_list(b) {
        let len = a.len().unwrap_or(0) + b.len().unwrap_or(0);
        return row(state, is_tuple, len, a.try_iter()?.chain(b.try_iter()?));
    }
    Err(unsupported("+", a, b))
}

/// The texts of all parts; where `safe`, those that are not safe are escaped.
/// `a ~ b` is this too.
pub(super) fn joined(state: &State<'_, '_>, parts: &[Value], safe: bool) -> Result<Value, Error> {
    afford(state, parts.iter().map(|part| part.as_str().map_or(0, str::len)).sum())?;
    let mut paper = Paper::new(state);
    for part in parts {
        match part.as_str() {
            Some(text) if safe && !part.is_safe() => paper.text.push_str(&escaped(text)),
            Some(text) => paper.text.push_str(text),
            None => paper.push_str(part)?,
        }
    }
    Ok(if safe { Value::from_safe_string(paper.text) } else { Value::from(paper.text) })
}

/// `a * b`.
fn multiply(state: &State<'_, '_>, a: &Value, b: &Value, bounds: Bounds) -> Result<Value, Error> {
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return calculated((a, b), i128::checked_mul, |a, b| a * b);
    }
    let (times, row_of) = match (number(a), number(b)) {
        (_, Some(Number::Int(times))) => (times, a),
        (Some(Number::Int(times)), _) => (times, b),
        _ => return Err(unsupported("*", a, b)),
    };
    let times = usize::try_from(times.max(0)).map_err(|_| too_large())?;
    if let Some(text) = row_of.as_str() {
        afford(state, text.len().saturating_mul(times))?;
        let text = text.repeat(times);
        return Ok(if row_of.is_safe() { Value::from_safe_string(text) } else { Value::from(text) });
    }
    if !is_list(row_of) && !row_of.is_tuple() {
        return Err(unsupported("*", a, b));
    }
    bounds.check(state, row_of, times)?;
    let values: Vec<Value> = row_of.try_iter()?.collect();
    let len = values.len() * times;
    row(state, row_of.is_tuple(), len, std::iter::repeat_n(values, times).flatten())
}

/// `a % b`: of numbers, or a text with values for its places.
fn modulo(state: &State<'_, '_>, a: &Value, b: &Value) -> Result<Value, Error> {
    if let Some(text) = a.as_str() {
        return percent(state, text, b, a.is_safe());
    }
    let (Some(a), Some(b)) = (number(a), number(b)) else { return Err(unsupported("%", a, b)) };
    if b.float() == 0.0 {
        return Err(refused("a number is divided by 0"));
    }
    let float = |a: f64, b: f64| {
        let rest = a % b;
        let rest = if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest };
        if rest == 0.0 { 0.0_f64.copysign(b) } else { rest }
    };
    let int = |a: i128, b: i128| {
        let rest = a.checked_rem(b).unwrap_or(0);
        Some(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
    };
    calculated((a, b), int, float)
}

/// What a loop walks over.
fn each(state: &State<'_, '_>, value: Value, bounds: Bounds) -> Result<Value, Error> {
    if value.is_none() {
        return Err(refused("none is not iterable"));
    }
    // Each run of the loop then costs the same, and a generator is walked over once.
    let value = if Items::is_generator(&value) { value.try_iter()?.collect() } else { value };
    bounds.kept(state, value)
}

/// `value[start:stop:step]`. In an expression of constants Jinja takes what has no slices for nothing.
fn slice(state: &mut State<'_, '_>, args: &mut Args, is_constant: bool) -> Result<Value, Error> {
    let (value, start, stop, step) = (args.value()?, args.value()?, args.value()?, args.get("step")?);
    let nothing = |error: String| if is_constant { Ok(Value::UNDEFINED) } else { Err(refused(error)) };
    let text = value.as_str();
    match value.kind() {
        ValueKind::Seq | ValueKind::String => {}
        ValueKind::Undefined => return Err(refused("what is undefined has no slices")),
        kind => return nothing(format!("a {kind} has no slices")),
    }
    let step = step.unwrap_or_else(|| Value::from(()));
    if matches!(number(&step), Some(Number::Int(0))) {
        return Err(refused("a slice has a step of 0"));
    }
    let mut bounds = [None; 3];
    for (bound, given) in bounds.iter_mut().zip([&start, &stop, &step]) {
        *bound = match number(given) {
            _ if given.is_none() => None,
            Some(Number::Int(place)) => Some(place),
            _ => return nothing(format!("a slice does not begin or end at a {}", given.kind())),
        };
    }
    let ([start, stop, step], is_bytes) = (bounds, Items::bytes(&value).is_some());
    let step = step.unwrap_or(1);
    let len = text.map_or_else(|| value.len().unwrap_or(0), |text| text.chars().count());
    let places = places(len as i128, start, stop, step);
    state.consume_fuel(len as u64 / 64)?;
    if let Some(text) = text {
        if step == 1 {
            let (first, count) = (places.first().copied().unwrap_or(0), places.len());
            return Ok(Value::from(text.chars().skip(first).take(count).collect::<String>()));
        }
        let chars: Vec<char> = text.chars().collect();
        return Ok(Value::from(places.into_iter().map(|at| chars[at]).collect::<String>()));
    }
    let values: Vec<Value> = value.try_iter()?.collect();
    let part = places.into_iter().map(|at| values[at].clone());
    if is_bytes {
        Ok(Items::value(Shape::Bytes, part.collect()))
    } else {
        row(state, value.is_tuple(), part.len(), part)
    }
}

/// The places of a slice.
fn places(len: i128, start: Option<i128>, stop: Option<i128>, step: i128) -> Vec<usize> {
    let (lowest, highest) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let clamp = |place: i128| if place < 0 { place.saturating_add(len) } else { place }.clamp(lowest, highest);
    let (first, last) = if step > 0 { (lowest, highest) } else { (highest, lowest) };
    let stop = stop.map_or(last, clamp);
    let mut at = start.map_or(first, clamp);
    let mut found = Vec::new();
    while (at - stop).signum() == -step.signum() {
        found.push(at as usize);
        at = at.saturating_add(step);
    }
    found
}

fn equal(state: &State<'_, '_>, a: &Value, b: &Value, bounds: Bounds) -> Result<bool, Error> {
    let is_bytes = |value| Items::bytes(value).is_some();
    if Items::is_generator(a) || Items::is_generator(b) || is_bytes(a) != is_bytes(b) {
        return Ok(false);
    }
    // One of them bounds what is compared.
    if a.as_object().is_some() && b.as_object().is_some() {
        bounds.check(state, a, 1)?;
    }
    Ok(a == b)
}

fn contains(state: &State<'_, '_>, value: &Value, container: &Value, bounds: Bounds) -> Result<bool, Error> {
    if let Some(text) = container.as_str() {
        state.consume_fuel(text.len() as u64 / 64)?;
        return value.as_str().map(|part| text.contains(part)).ok_or_else(|| unsupported("in", value, container));
    }
    let is_byte = matches!(number(value), Some(Number::Int(0..=255)));
    match container.kind() {
        _ if Items::bytes(container).is_some() && !is_byte => Err(unsupported("in", value, container)),
        ValueKind::Undefined => Ok(false),
        ValueKind::Map => key(value).map(|()| container.as_object().is_some_and(|map| map.get_value(value).is_some())),
        ValueKind::Seq | ValueKind::Iterable => {
            for item in container.try_iter()? {
                state.consume_fuel(1)?;
                if equal(state, &item, value, bounds)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Err(unsupported("in", value, container)),
    }
}

/// Which of two values comes first. None: neither, as with NaN.
///
/// # Errors
/// Where Python does not compare them.
pub(super) fn order(state: &State<'_, '_>, a: &Value, b: &Value, depth: usize) -> Result<Option<Ordering>, Error> {
    state.consume_fuel(1)?;
    match (number(a), number(b)) {
        (Some(Number::Int(a)), Some(Number::Int(b))) => return Ok(Some(a.cmp(&b))),
        (Some(a), Some(b)) => return Ok(a.float().partial_cmp(&b.float())),
        _ => {}
    }
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        return Ok(Some(a.cmp(b)));
    }
    if depth > DEEPEST || !(is_list(a) && is_list(b) || a.is_tuple() && b.is_tuple()) {
        return Err(unsupported("<", a, b));
    }
    for (left, right) in a.try_iter()?.zip(b.try_iter()?) {
        state.consume_fuel(1)?;
        let is_equal = match (is_list(&left), left.is_tuple()) {
            (false, false) => left == right,
            _ => order(state, &left, &right, depth + 1)? == Some(Ordering::Equal),
        };
        if !is_equal {
            return order(state, &left, &right, depth + 1);
        }
    }
    Ok(a.len().partial_cmp(&b.len()))
}
