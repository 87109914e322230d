//! `text % values` and `text.format(values)`.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{Error, State};

use super::operators::{Number, number};
use super::sandbox::{afford, refused};
use super::values::{escaped, repr_of, string};

/// Wider than any text is formatted.
pub(super) const WIDEST: usize = 10_000;

/// The text, with a value in each of its places: those of a tuple in turn, of a dict by name, or the one value.
pub(super) fn percent(state: &State<'_, '_>, text: &str, values: &Value, safe: bool) -> Result<Value, Error> {
    let mut queue: Vec<Value> = if values.is_tuple() { values.try_iter()?.collect() } else { vec![values.clone()] };
    queue.reverse();
    // Python lets what can be indexed have nothing said of it.
    let mut is_named = matches!(values.kind(), ValueKind::Map | ValueKind::Seq) && !values.is_tuple();
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut value = None;
        if let Some((name, behind)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            if values.kind() != ValueKind::Map {
                return Err(refused("a format names values, and gets none with names"));
            }
            let found = values.get_item(&Value::from(name))?;
            if found.is_undefined() {
                return Err(refused(format!("a format names {name:?}, which is not there")));
            }
            (value, is_named, rest) = (Some(found), true, behind);
        }
        let end = rest.find(|c: char| !"#0- +.123456789hlL".contains(c));
        let Some(kind) = end.and_then(|end| rest[end..].chars().next()) else {
            return Err(refused("a format ends within a place"));
        };
        let (flags, behind) = rest.split_at(end.unwrap_or(0));
        rest = &behind[kind.len_utf8()..];
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = value.or_else(|| queue.pop()).ok_or_else(|| refused("a format has more places than values"))?;
        let piece = placed(state, flags.trim_matches(['h', 'l', 'L']), kind, &value)?;
        afford(state, out.len() + piece.len())?;
        out.push_str(&if safe && !value.is_safe() { escaped(&piece) } else { piece });
    }
    if !queue.is_empty() && !is_named {
        return Err(refused("a format has fewer places than values"));
    }
    out.push_str(rest);
    Ok(if safe { Value::from_safe_string(out) } else { Value::from(out) })
}

/// The text of one place.
fn placed(state: &State<'_, '_>, flags: &str, kind: char, value: &Value) -> Result<String, Error> {
    check_widths(flags)?;
    let mut text = match kind {
        's' => string(state, value)?,
        'r' => repr_of(state, value)?,
        _ if kind != 'c' && number(value).is_none() => {
            return Err(refused(format!("%{kind} takes a number, not a {}", value.kind())));
        }
        _ => {
            let (kind, value) = match (kind, number(value)) {
                ('d' | 'i' | 'u', Some(Number::Float(value))) if value.is_finite() => {
                    ('d', Value::from(value.trunc() as i128))
                }
                ('i' | 'u', _) => ('d', value.clone()),
                _ => (kind, value.clone()),
            };
            return format(FormatStyle::Printf, &format!("%{flags}{kind}"), &[value]);
        }
    };
    let (width, precision) = flags.split_once('.').map_or((flags, None), |(width, precision)| (width, Some(precision)));
    if let Some(precision) = precision {
        text = text.chars().take(precision.parse().unwrap_or(0)).collect();
    }
    let is_left = width.contains('-');
    let width: usize = width.trim_start_matches(['#', '0', '-', ' ', '+']).parse().unwrap_or(0);
    let spaces = " ".repeat(width.saturating_sub(text.chars().count()));
    Ok(if is_left { text + &spaces } else { spaces + &text })
}

/// Numbers in a format are widths, which can be anything.
fn check_widths(format: &str) -> Result<(), Error> {
    let mut numbers = format.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    match numbers.all(|digits| digits.parse::<usize>().is_ok_and(|number| number <= WIDEST)) {
        true => Ok(()),
        false => Err(refused("a text is formatted too wide")),
    }
}

/// `text.format(*args, **named)`.
pub(super) fn formatted(state: &State<'_, '_>, text: &str, args: &[Value]) -> Result<Value, Error> {
    let (args, named): (&[Value], Kwargs) = from_args(args)?;
    let mut out = String::new();
    let (mut rest, mut next) = (text, 0);
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..at + 1];
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix(brace) {
            out.push_str(brace);
            rest = behind;
            continue;
        }
        let end = rest.find(['{', '}']).filter(|end| brace == "{" && rest[*end..].starts_with('}'));
        let Some(end) = end else { return Err(refused("a format has a brace of its own, or braces in braces")) };
        let (field, spec) = rest[..end].split_once(':').unwrap_or((&rest[..end], ""));
        let (path, conversion) = field.split_once('!').map_or((field, None), |(path, kind)| (path, Some(kind)));
        let name = &path[..path.find(['.', '[']).unwrap_or(path.len())];
        let value = match name.parse::<usize>() {
            Ok(index) => args.get(index).cloned(),
            Err(_) if name.is_empty() => {
                next += 1;
                args.get(next - 1).cloned()
            }
            Err(_) => named.peek::<Option<Value>>(name)?,
        };
        let value = value.ok_or_else(|| refused(format!("a format names {name:?}, which is not there")))?;
        let value = looked_up(value, &path[name.len()..])?;
        let piece = field_text(state, &value, conversion, spec)?;
        afford(state, out.len() + piece.len())?;
        out.push_str(&piece);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Ok(Value::from(out))
}

/// The value at `.a[b]`.
fn looked_up(value: Value, path: &str) -> Result<Value, Error> {
    let mut found = value;
    for part in path.split(['.', '[']).skip(1) {
        let part = part.trim_end_matches(']');
        let key = part.parse::<usize>().map_or_else(|_| Value::from(part), Value::from);
        found = found.get_item(&key)?;
    }
    Ok(found)
}

fn field_text(state: &State<'_, '_>, value: &Value, conversion: Option<&str>, spec: &str) -> Result<String, Error> {
    check_widths(spec)?;
    let value = match conversion {
        None => value.clone(),
        Some("s") => Value::from(string(state, value)?),
        Some("r") => Value::from(repr_of(state, value)?),
        Some(other) => return Err(refused(format!("the conversion !{other} is not supported"))),
    };
    if spec.is_empty() {
        return string(state, &value);
    }
    let format_as = |spec: &str, value: &Value| {
        format(FormatStyle::StrFormat, &format!("{{:{spec}}}"), std::slice::from_ref(value))
    };
    match (number(&value), spec.strip_suffix('%')) {
        (Some(number), Some(spec)) if spec.is_empty() || spec.starts_with('.') => {
            Ok(format_as(&format!("{spec}f"), &Value::from(number.float() * 100.0))? + "%")
        }
        (None, _) if value.as_str().is_none() => Err(refused(format!("a {} has no format", value.kind()))),
        _ => format_as(spec, &value),
    }
}
