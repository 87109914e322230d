//! The functions and tests of transformers' environment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Object, ObjectRepr, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, functions, tests};
use minijinja_contrib::globals::joiner;

use super::args::{Args, Call, add_filters, add_functions, add_tests};
use super::items::{Items, Shape};
use super::sandbox::{Bounds, refused};
use super::values::string;
use super::{filters, operators};

/// The longest range that Jinja's sandbox makes.
const LONGEST_RANGE: i64 = 100_000;

const FUNCTIONS: &[(&str, Call)] = &[
    ("raise_exception", |_, _, args| {
        let message = args.get("message")?.unwrap_or_default();
        // Long messages are no messages.
        Err(refused(message.as_str().unwrap_or("no reason given").chars().take(1000).collect::<String>()))
    }),
    ("joiner", |_, _, args| Ok(joiner(args.get("sep")?.or_else(|| Some(Value::from(", ")))))),
    ("cycler", |_, _, args| {
        let items = args.rest();
        if items.is_empty() {
            return Err(refused("a cycler takes values"));
        }
        Ok(Value::from_object(Cycler { items, at: AtomicUsize::new(0) }))
    }),
    // It is there, but only its blocks are.
    ("self", |_, _, _| Err(refused("self is not callable"))),
    ("lipsum", |_, _, _| Err(refused("lipsum is not supported: its text is random"))),
    ("range", range),
    ("dict", dict),
    ("namespace", |_, _, args| {
        let fields = args.rest().into_iter().next();
        if let Some(fields) = &fields
            && fields.try_iter()?.any(|name| name.as_str().is_some_and(|name| name.starts_with('_')))
        {
            return Err(refused("a field of a namespace does not begin with _"));
        }
        functions::namespace(fields.map(ValueOrKwargs::from))
    }),
];

const TESTS: &[(&str, Call)] = &[
    ("boolean", |_, _, args| Ok(Value::from(args.value()?.kind() == ValueKind::Bool))),
    // Undefined values are callable in Python, too.
    ("callable", |_, _, args| Ok(Value::from(matches!(args.value()?.kind(), ValueKind::Plain | ValueKind::Undefined)))),
    ("defined", |_, _, args| Ok(Value::from(!args.value()?.is_undefined()))),
    ("divisibleby", |_, _, args| {
        let value = whole(args)?;
        args.value().map(|by| Value::from(tests::is_divisibleby(&value, &by)))
    }),
    ("escaped", |_, _, args| Ok(Value::from(args.value()?.is_safe()))),
    ("even", |_, _, args| Ok(Value::from(tests::is_even(whole(args)?)))),
    ("false", |_, _, args| Ok(Value::from(tests::is_false(&args.value()?)))),
    ("filter", |state, _, args| Ok(Value::from(tests::is_filter(state, &args.text("name")?.unwrap_or_default())))),
    ("float", |_, _, args| Ok(Value::from(tests::is_float(&args.value()?)))),
    ("integer", |_, _, args| Ok(Value::from(tests::is_integer(&args.value()?)))),
    ("iterable", |_, _, args| {
        let value = args.value()?;
        Ok(Value::from(is_sequence(&value) || value.kind() == ValueKind::Iterable))
    }),
    ("lower", |state, _, args| Ok(Value::from(tests::is_lower(&Value::from(string(state, &args.value()?)?))))),
    ("mapping", |_, _, args| Ok(Value::from(tests::is_mapping(&args.value()?)))),
    ("none", |_, _, args| Ok(Value::from(args.value()?.is_none()))),
    ("number", |_, _, args| Ok(Value::from(tests::is_number(&args.value()?)))),
    ("odd", |_, _, args| Ok(Value::from(tests::is_odd(whole(args)?)))),
    ("sameas", |state, bounds, args| {
        let (a, b) = (args.value()?, args.value()?);
        bounds.check(state, &b, 1)?;
        Ok(Value::from(tests::is_sameas(&a, &b)))
    }),
    ("sequence", |_, _, args| Ok(Value::from(is_sequence(&args.value()?)))),
    ("string", |_, _, args| Ok(Value::from(args.value()?.as_str().is_some()))),
    ("test", |state, _, args| Ok(Value::from(tests::is_test(state, &args.text("name")?.unwrap_or_default())))),
    ("true", |_, _, args| Ok(Value::from(tests::is_true(&args.value()?)))),
    ("undefined", |_, _, args| Ok(Value::from(args.value()?.is_undefined()))),
    ("upper", |state, _, args| Ok(Value::from(tests::is_upper(&Value::from(string(state, &args.value()?)?))))),
];

pub(super) fn add_to(env: &mut Environment<'_>, bounds: Bounds) {
    add_functions(env, bounds, FUNCTIONS);
    for filters in [filters::FILTERS, operators::FILTERS, operators::COMPARISONS] {
        add_filters(env, bounds, filters);
    }
    for tests in [TESTS, operators::TESTS] {
        add_tests(env, bounds, tests);
    }
}

/// A number that is odd or even.
fn whole(args: &mut Args) -> Result<Value, Error> {
    let value = args.value()?;
    match value.kind() {
        ValueKind::Number | ValueKind::Bool => Ok(value),
        kind => Err(refused(format!("a {kind} is neither odd nor even"))),
    }
}

/// Python counts a text among the sequences, and what has items and a length.
fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Undefined)
        || tests::is_sequence(value)
}

/// `dict(value, **named)`: of a dict, or of pairs.
fn dict(_: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    for given in args.rest() {
        for item in given.try_iter()? {
            pairs.push(match given.kind() {
                ValueKind::Map => (item.clone(), given.get_item(&item)?),
                _ => (item.get_item(&Value::from(0))?, item.get_item(&Value::from(1))?),
            });
        }
    }
    Ok(Value::from_pairs(pairs))
}

/// `range(start, stop, step)`.
fn range(state: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let (first, second, step) = (args.value()?, args.int("stop")?, args.int("step")?);
    let first = i64::try_from(first)?;
    let (start, stop, step) = (second.map_or(0, |_| first), second.unwrap_or(first), step.unwrap_or(1));
    let distance = i128::from(stop) - i128::from(start);
    let len = match step {
        0 => return Err(refused("a range has a step of 0")),
        step => (distance + i128::from(step) - i128::from(step.signum())) / i128::from(step),
    };
    if len > i128::from(LONGEST_RANGE) {
        return Err(refused("a range is too long"));
    }
    state.consume_fuel(1 + len.max(0) as u64 / 16)?;
    let values = (0..len.max(0) as i64).map(|at| Value::from(start + at * step)).collect();
    let written = if step == 1 { format!("range({start}, {stop})") } else { format!("range({start}, {stop}, {step})") };
    Ok(Items::value(Shape::Range(written), values))
}

/// Gives its values in turn, for ever.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    at: AtomicUsize,
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        (key == "current").then(|| self.items[self.at.load(Ordering::Relaxed)].clone())
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, name: &str, _: &[Value]) -> Result<Value, Error> {
        let at = self.at.load(Ordering::Relaxed);
        match name {
            "next" => self.at.store((at + 1) % self.items.len(), Ordering::Relaxed),
            "reset" => self.at.store(0, Ordering::Relaxed),
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        }
        Ok(if name == "next" { self.items[at].clone() } else { Value::from(()) })
    }
}
