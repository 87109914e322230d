//! The operators of a template, each paying for what it makes or reads. Instructions are rewritten to call these: see
//! `sandbox`.

use std::sync::Arc;

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, State, tests};

use super::meter::{Meter, Namespaces, refused};
use super::values::{Dict, Namespace, Paper};

pub(super) const ADD: &str = "+";
pub(super) const MUL: &str = "*";
pub(super) const CONCAT: &str = "~";
pub(super) const SLICE: &str = "[:]";
pub(super) const IN: &str = "in";
/// `==` and its kin, by the name of their operator.
pub(super) const EQ: &str = "==";
pub(super) const NE: &str = "!=";
pub(super) const LT: &str = "<";
pub(super) const LE: &str = "<=";
pub(super) const GT: &str = ">";
pub(super) const GE: &str = ">=";
pub(super) const LIST: &str = "[]";
pub(super) const DICT: &str = "{}";
/// `namespace.name = value`, called with value, namespace and name.
pub(super) const SET: &str = ".=";

/// Adds the operators, and `namespace` and `dict`, as functions. A template cannot name the operators: they are no
/// identifiers.
pub(super) fn add_to(env: &mut Environment<'_>, meter: &Arc<Meter>) {
    let binary = |f: fn(&Meter, &Value, &Value) -> Result<Value, Error>| {
        let meter = meter.clone();
        move |left: &Value, right: &Value| f(&meter, left, right)
    };
    env.add_function(ADD, binary(add));
    env.add_function(MUL, binary(mul));
    env.add_function(CONCAT, binary(concat));
    env.add_function(EQ, binary(|meter, a, b| compare(meter, a, b, |a, b| a == b)));
    env.add_function(NE, binary(|meter, a, b| compare(meter, a, b, |a, b| a != b)));
    env.add_function(LT, binary(|meter, a, b| compare(meter, a, b, |a, b| a < b)));
    env.add_function(LE, binary(|meter, a, b| compare(meter, a, b, |a, b| a <= b)));
    env.add_function(GT, binary(|meter, a, b| compare(meter, a, b, |a, b| a > b)));
    env.add_function(GE, binary(|meter, a, b| compare(meter, a, b, |a, b| a >= b)));
    let m = meter.clone();
    env.add_function(IN, move |state: &State, value: &Value, container: &Value| contains(&m, state, value, container));
    let m = meter.clone();
    env.add_function(SLICE, move |value: &Value, start: &Value, stop: &Value, step: &Value| {
        slice(&m, value, [start, stop, step])
    });
    let m = meter.clone();
    env.add_function(LIST, move |items: Rest<Value>| {
        m.charge_places(items.len())?;
        items.iter().try_for_each(|item| m.check_kept(item, Namespaces::Allowed))?;
        Ok(Value::from_object(items.0))
    });
    let m = meter.clone();
    env.add_function(DICT, move |items: Rest<Value>| {
        dict(&m, items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())), Dict::default())
    });
    let m = meter.clone();
    env.add_function("dict", move |items: Option<Value>, named: Kwargs| {
        let mut result = Dict::default();
        for (key, value) in items.iter().flat_map(|items| items.downcast_object::<Dict>()).flat_map(|d| pairs(&d)) {
            result.insert(key, value)?;
        }
        dict(&m, kwargs(&named)?.into_iter(), result)
    });
    let m = meter.clone();
    env.add_function("namespace", move |items: Option<Value>, named: Kwargs| {
        let namespace = Namespace::default();
        let given = items.iter().flat_map(|items| items.downcast_object::<Dict>()).flat_map(|d| pairs(&d));
        for (key, value) in given.chain(kwargs(&named)?) {
            m.charge_places(2)?;
            m.check_kept(&value, Namespaces::Forbidden)?;
            namespace.set(key.as_str().ok_or_else(|| refused("a name must be a text"))?, value);
        }
        Ok(Value::from_object(namespace))
    });
    let m = meter.clone();
    env.add_function(SET, move |value: Value, target: &Value, name: &str| {
        let only = || refused(format!("only attributes of a namespace can be set, not of a {}", target.kind()));
        let namespace = target.downcast_object_ref::<Namespace>().ok_or_else(only)?;
        m.charge_places(1)?;
        m.check_kept(&value, Namespaces::Forbidden)?;
        namespace.set(name, value);
        Ok(())
    });
}

fn pairs(dict: &Dict) -> Vec<(Value, Value)> {
    dict.pairs().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn kwargs(named: &Kwargs) -> Result<Vec<(Value, Value)>, Error> {
    named.args().map(|name| Ok((Value::from(name), named.get(name)?))).collect()
}

fn dict(meter: &Meter, items: impl Iterator<Item = (Value, Value)>, mut result: Dict) -> Result<Value, Error> {
    for (key, value) in items {
        meter.charge_places(2)?;
        meter.check_kept(&value, Namespaces::Allowed)?;
        result.insert(key, value)?;
    }
    Ok(Value::from_object(result))
}

fn mismatch(operator: &str, left: &Value, right: &Value) -> Error {
    refused(format!("{operator} does not take a {} and a {}", left.kind(), right.kind()))
}

/// A list's items; lazy lists are none, since all are made plain when they appear.
fn list(value: &Value) -> Option<&Vec<Value>> {
    value.downcast_object_ref()
}

fn add(meter: &Meter, left: &Value, right: &Value) -> Result<Value, Error> {
    if let (Some(a), Some(b)) = (left.as_str(), right.as_str()) {
        meter.charge(a.len().saturating_add(b.len()))?;
        return Ok(Value::from([a, b].concat()));
    }
    if let (Some(a), Some(b)) = (list(left), list(right)) {
        meter.charge_places(a.len().saturating_add(b.len()))?;
        return Ok(Value::from_object([a.as_slice(), b].concat()));
    }
    numbers(left, right, i128::checked_add, |a, b| a + b).ok_or_else(|| mismatch("+", left, right))
}

fn mul(meter: &Meter, left: &Value, right: &Value) -> Result<Value, Error> {
    let times = if right.is_integer() { (left, right) } else { (right, left) };
    // Python takes a negative count for 0.
    let count = || usize::try_from(times.1.as_i64()?.max(0)).ok();
    if let (Some(text), Some(count)) = (times.0.as_str(), count()) {
        meter.charge(text.len().saturating_mul(count))?;
        return Ok(Value::from(text.repeat(if text.is_empty() { 0 } else { count })));
    }
    if let (Some(items), Some(count)) = (list(times.0), count()) {
        meter.charge_places(items.len().saturating_mul(count))?;
        let count = if items.is_empty() { 0 } else { count };
        return Ok(Value::from_object(std::iter::repeat_n(items, count).flatten().cloned().collect::<Vec<_>>()));
    }
    numbers(left, right, i128::checked_mul, |a, b| a * b).ok_or_else(|| mismatch("*", left, right))
}

fn numbers(a: &Value, b: &Value, int: fn(i128, i128) -> Option<i128>, float: fn(f64, f64) -> f64) -> Option<Value> {
    if !a.is_number() || !b.is_number() {
        return None;
    }
    if a.is_integer() && b.is_integer() {
        let result = int(i128::try_from(a.clone()).ok()?, i128::try_from(b.clone()).ok()?)?;
        return Some(i64::try_from(result).map_or_else(|_| Value::from(result), Value::from));
    }
    Some(Value::from(float(f64::try_from(a.clone()).ok()?, f64::try_from(b.clone()).ok()?)))
}

fn concat(meter: &Meter, left: &Value, right: &Value) -> Result<Value, Error> {
    let mut paper = Paper::new(meter);
    paper.push_str(left)?;
    paper.push_str(right)?;
    Ok(Value::from(paper.text))
}

fn compare(meter: &Meter, a: &Value, b: &Value, result: fn(&Value, &Value) -> bool) -> Result<Value, Error> {
    charge_pair(meter, a, b)?;
    Ok(Value::from(result(a, b)))
}

/// Pays for comparing two values. Texts of unlike lengths and values of unlike kinds differ at a glance or soon.
pub(super) fn charge_pair(meter: &Meter, a: &Value, b: &Value) -> Result<(), Error> {
    match (a.as_str(), b.as_str()) {
        (Some(a), Some(b)) => meter.charge(a.len().min(b.len())),
        _ if a.kind() != b.kind() => meter.charge(1),
        _ => {
            meter.charge_comparing(a)?;
            meter.charge_comparing(b)
        }
    }
}

pub(super) fn contains(meter: &Meter, state: &State, value: &Value, container: &Value) -> Result<Value, Error> {
    match container.kind() {
        ValueKind::String if value.kind() != ValueKind::String => return Err(mismatch("in", value, container)),
        ValueKind::String => {
            meter.charge_reading(value)?;
            meter.charge_reading(container)?;
        }
        ValueKind::Seq | ValueKind::Iterable => {
            meter.charge_comparing(value)?;
            meter.charge_comparing(container)?;
        }
        _ => meter.charge(1)?,
    }
    tests::is_in(state, value, container).map(Value::from)
}

/// `value[start:stop:step]` as Python has it.
fn slice(meter: &Meter, value: &Value, bounds: [&Value; 3]) -> Result<Value, Error> {
    meter.charge_reading(value)?;
    if let Some(text) = value.as_str() {
        // A character takes four bytes on the way.
        meter.charge(text.len().saturating_mul(4))?;
        let chars: Vec<char> = text.chars().collect();
        return Ok(Value::from(indices(chars.len(), bounds)?.map(|at| chars[at]).collect::<String>()));
    }
    let items = list(value).ok_or_else(|| refused(format!("a {} cannot be sliced", value.kind())))?;
    Ok(Value::from_object(indices(items.len(), bounds)?.map(|at| items[at].clone()).collect::<Vec<_>>()))
}

/// The places that `[start:stop:step]` picks of `len` (`PySlice_AdjustIndices` of CPython).
fn indices(len: usize, bounds: [&Value; 3]) -> Result<impl Iterator<Item = usize>, Error> {
    let number = |value: &Value| match value.as_i64() {
        _ if value.is_none() => Ok(None),
        Some(number) => Ok(Some(i128::from(number))),
        None => Err(refused("a slice takes whole numbers")),
    };
    let [start, stop, step] = [number(bounds[0])?, number(bounds[1])?, number(bounds[2])?];
    let (len, step) = (len as i128, step.unwrap_or(1));
    if step == 0 {
        return Err(refused("a slice cannot have step 0"));
    }
    let (lowest, highest) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let place = |bound: i128| (if bound < 0 { bound + len } else { bound }).clamp(lowest, highest);
    let (first, end) = if step > 0 { (lowest, highest) } else { (highest, lowest) };
    let (start, stop) = (start.map_or(first, place), stop.map_or(end, place));
    let inside = move |at: &i128| if step > 0 { *at < stop } else { *at > stop };
    Ok(std::iter::successors(Some(start), move |at| Some(at + step)).take_while(inside).map(|at| at as usize))
}
