//! One way to give a filter, a test or a function its arguments. minijinja's own makes code for each list of types.

use minijinja::value::{Kwargs, Rest, Value, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State};

use super::sandbox::{Bounds, refused};

/// A filter, a test or a function.
pub(super) type Call = fn(&mut State<'_, '_>, Bounds, &mut Args) -> Result<Value, Error>;

/// Values in their order, and some by their names.
pub(super) struct Args {
    values: std::vec::IntoIter<Value>,
    named: Option<Kwargs>,
}

impl Args {
    pub(super) fn new(mut values: Vec<Value>) -> Self {
        let named = values.pop_if(|last| last.is_kwargs()).and_then(|last| Kwargs::try_from(last).ok());
        Self { values: values.into_iter(), named }
    }

    /// The next value.
    pub(super) fn value(&mut self) -> Result<Value, Error> {
        self.values.next().ok_or_else(|| Error::from(ErrorKind::MissingArgument))
    }

    /// The next value, or the one of this name.
    pub(super) fn get(&mut self, name: &str) -> Result<Option<Value>, Error> {
        match (self.values.next(), &self.named) {
            (Some(value), _) => Ok(Some(value)),
            (None, Some(named)) if named.has(name) => named.get(name).map(Some),
            _ => Ok(None),
        }
    }

    /// The value of this name.
    pub(super) fn named(&self, name: &str) -> Result<Option<Value>, Error> {
        self.named.as_ref().filter(|named| named.has(name)).map(|named| named.get(name)).transpose()
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Error> {
        Ok(self.get(name)?.is_some_and(|value| value.is_true()))
    }

    /// None: none, or nothing was given.
    pub(super) fn int(&mut self, name: &str) -> Result<Option<i64>, Error> {
        self.get(name)?.filter(|value| !value.is_none()).map(i64::try_from).transpose()
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        let text = |value: Value| match value.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(refused(format!("{name} is a text, not a {}", value.kind()))),
        };
        self.get(name)?.filter(|value| !value.is_none()).map(text).transpose()
    }

    /// All that is left, with what has names at the end.
    pub(super) fn rest(&mut self) -> Vec<Value> {
        self.values.by_ref().chain(self.named.take().map(Value::from)).collect()
    }

    /// # Errors
    /// Where something was given that nobody asked for.
    pub(super) fn end(mut self) -> Result<(), Error> {
        match (self.values.next(), self.named) {
            (Some(_), _) => Err(Error::from(ErrorKind::TooManyArguments)),
            (None, Some(named)) => named.assert_all_used(),
            _ => Ok(()),
        }
    }
}

fn called(call: Call, state: &mut State<'_, '_>, bounds: Bounds, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let mut args = Args::new(args.into_values());
    let value = call(state, bounds, &mut args)?;
    args.end()?;
    Ok(value)
}

pub(super) fn add_filters(env: &mut Environment<'_>, bounds: Bounds, filters: &'static [(&'static str, Call)]) {
    for &(name, call) in filters {
        env.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| called(call, state, bounds, args));
    }
}

pub(super) fn add_tests(env: &mut Environment<'_>, bounds: Bounds, tests: &'static [(&'static str, Call)]) {
    for &(name, call) in tests {
        env.add_test(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
            called(call, state, bounds, args).map(|value| value.is_true())
        });
    }
}

pub(super) fn add_functions(env: &mut Environment<'_>, bounds: Bounds, functions: &'static [(&'static str, Call)]) {
    for &(name, call) in functions {
        env.add_function(name, move |state: &mut State, args: Rest<ValueOrKwargs>| called(call, state, bounds, args));
    }
}
