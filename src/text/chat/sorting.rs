//! Filters that put values in order.

use minijinja::value::{Tuple, Value, ValueKind};
use minijinja::{Error, State};

use super::args::Args;
use super::filters::{attribute, iterable};
use super::operators::order;
use super::sandbox::{Bounds, refused};

/// What a value is ordered by: several parts where several attributes were named.
type Keyed = (Vec<Value>, Value);

/// A text in small letters, unless case matters.
fn folded(key: Value, case_sensitive: bool) -> Value {
    match key.as_str() {
        Some(text) if !case_sensitive => Value::from(text.to_lowercase()),
        _ => key,
    }
}

fn keyed(items: &Value, by: Option<Value>, case_sensitive: bool) -> Result<Vec<Keyed>, Error> {
    let paths = by.filter(|by| !by.is_none()).map_or_else(String::new, |by| by.to_string());
    let mut found = Vec::new();
    for item in iterable(items)?.try_iter()? {
        let mut keys = Vec::new();
        for path in paths.split(',') {
            keys.push(folded(attribute(&item, path, &Value::UNDEFINED)?, case_sensitive));
        }
        found.push((keys, item));
    }
    Ok(found)
}

/// Whether `a` comes before `b`. As in Python's lists, parts that are equal are not asked which comes first.
fn is_before(state: &State<'_, '_>, a: &Keyed, b: &Keyed) -> Result<bool, Error> {
    for (left, right) in a.0.iter().zip(&b.0) {
        if left != right {
            return Ok(order(state, left, right, 0)?.is_some_and(|order| order.is_lt()));
        }
    }
    Ok(false)
}

/// By merging: the library's may panic at an order that NaN makes inconsistent.
fn sorted(state: &State<'_, '_>, mut items: Vec<Keyed>, reverse: bool) -> Result<Vec<Keyed>, Error> {
    if items.len() < 2 {
        return Ok(items);
    }
    let right = items.split_off(items.len() / 2);
    let len = items.len() + right.len();
    let mut left = sorted(state, items, reverse)?.into_iter().peekable();
    let mut right = sorted(state, right, reverse)?.into_iter().peekable();
    let mut merged = Vec::with_capacity(len);
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let takes_right = if reverse { is_before(state, a, b)? } else { is_before(state, b, a)? };
        merged.extend(if takes_right { right.next() } else { left.next() });
    }
    merged.extend(left.chain(right));
    Ok(merged)
}

fn values(items: Vec<Keyed>) -> Value {
    items.into_iter().map(|(_, value)| value).collect()
}

/// `sort(value, reverse=False, case_sensitive=False, attribute=None)`.
pub(super) fn sort(state: &mut State<'_, '_>, bounds: Bounds, args: &mut Args) -> Result<Value, Error> {
    let items = args.value()?;
    bounds.check(state, &items, 1)?;
    let (reverse, case) = (args.flag("reverse")?, args.flag("case_sensitive")?);
    let items = keyed(&items, args.get("attribute")?, case)?;
    sorted(state, items, reverse).map(values)
}

/// `min(value, case_sensitive=False, attribute=None)`.
pub(super) fn min(state: &mut State<'_, '_>, bounds: Bounds, args: &mut Args) -> Result<Value, Error> {
    extreme(state, bounds, args, false)
}

/// As [`min`].
pub(super) fn max(state: &mut State<'_, '_>, bounds: Bounds, args: &mut Args) -> Result<Value, Error> {
    extreme(state, bounds, args, true)
}

fn extreme(state: &State<'_, '_>, bounds: Bounds, args: &mut Args, largest: bool) -> Result<Value, Error> {
    let items = args.value()?;
    bounds.check(state, &items, 1)?;
    let case = args.flag("case_sensitive")?;
    let mut items = keyed(&items, args.get("attribute")?, case)?.into_iter();
    let Some(mut best) = items.next() else { return Ok(Value::UNDEFINED) };
    for item in items {
        let (left, right) = if largest { (&best, &item) } else { (&item, &best) };
        if order(state, &left.0[0], &right.0[0], 0)?.is_some_and(|order| order.is_lt()) {
            best = item;
        }
    }
    Ok(best.1)
}

/// `dictsort(value, case_sensitive=False, by='key', reverse=False)`.
pub(super) fn dictsort(state: &mut State<'_, '_>, bounds: Bounds, args: &mut Args) -> Result<Value, Error> {
    let dict = args.value()?;
    bounds.check(state, &dict, 1)?;
    if dict.kind() != ValueKind::Map {
        return Err(refused(format!("a {} is no dict", dict.kind())));
    }
    let (case, by, reverse) = (args.flag("case_sensitive")?, args.text("by")?, args.flag("reverse")?);
    let by_value = match by.as_deref() {
        None | Some("key") => false,
        Some("value") => true,
        Some(by) => return Err(refused(format!("a dict is not sorted by {by:?}"))),
    };
    let mut pairs = Vec::new();
    for key in dict.try_iter()? {
        let value = dict.get_item(&key)?;
        let by = if by_value { value.clone() } else { key.clone() };
        pairs.push((vec![folded(by, case)], Value::from(Tuple::from([key, value]))));
    }
    sorted(state, pairs, reverse).map(values)
}
