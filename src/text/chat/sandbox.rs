//! Runs a template that nobody vouches for.
//!
//! minijinja counts *fuel* for every instruction, every item and every 64 bytes that are made, and looks before it makes
//! something big: so fuel bounds time and memory, but for two things. A list that holds another twice costs no more than one,
//! and takes twice as long to compare or to write; and a list within a list within a list, a thousand times, takes much stack. So
//! what a template keeps in a variable is measured (see `source`). The text has a cap of its own, and a deadline ends what is
//! slow for another reason.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State};

use super::date::Date;
use super::items::Items;
use super::values::{Paper, escaped};
use super::{builtins, python};
use crate::platform::now_s;

/// The name of templates in errors.
pub(super) const NAME: &str = "chat_template";
/// Values in a value that is kept, beside those of the messages.
const MOST_KEPT: usize = 10_000;
/// Lists in lists.
const DEEPEST_KEPT: usize = 32;
/// How many values one fuel measures.
const MEASURED_BY_FUEL: usize = 16;
/// How many bytes of a text one fuel pays for.
const BYTES_BY_FUEL: u64 = 64;
/// Frames of loops, blocks and calls.
const DEEPEST_CALLS: usize = 100;
/// Fuel of a chat without messages: 64 bytes of memory each at most, so 32 MiB.
pub(super) const FUEL: u64 = 500_000;
/// Fuel for each byte of the messages: a template may read each some times.
const FUEL_PER_BYTE: u64 = 2;
/// What a template may write beside the messages.
const TEXT_BYTES: usize = 1 << 20;
/// A long chat takes a hundredth of it.
const SECONDS: f64 = 10.0;

/// An error of our own.
pub(super) fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// When a template must be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    end_s: f64,
}

impl Deadline {
    /// Begins now.
    pub(super) fn new() -> Self {
        Self { end_s: now_s() + SECONDS }
    }

    pub(super) fn check(self) -> Result<(), Error> {
        if now_s() < self.end_s {
            Ok(())
        } else {
            Err(refused(format!("the template takes more than {SECONDS} seconds")))
        }
    }
}

/// What a run may take.
pub(super) struct Limits {
    /// The length of what the messages hold.
    pub(super) messages_bytes: usize,
    pub(super) deadline: Deadline,
    /// Beside what the messages give.
    pub(super) fuel: u64,
}

/// A text with a cap.
struct Capped {
    text: Vec<u8>,
    most_bytes: usize,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.most_bytes {
            return Err(io::Error::other("the text is too long"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether the template compiles.
pub(super) fn check(source: &str) -> Result<(), Error> {
    check_cycles(source)?;
    plain_environment().template_from_named_str(NAME, source).map(|_| ())
}

/// Runs the template with `root` as its variables.
pub(super) fn render(source: &str, root: Value, date: Date, limits: Limits) -> Result<String, Error> {
    let Limits { messages_bytes, deadline, fuel } = limits;
    let mut env = plain_environment();
    env.set_fuel(Some(fuel.saturating_add(FUEL_PER_BYTE.saturating_mul(messages_bytes as u64))));
    env.set_formatter(move |out, state, value| {
        deadline.check()?;
        let mut paper = Paper::new(state);
        paper.push_str(value)?;
        let is_plain = value.is_safe() || matches!(state.auto_escape(), AutoEscape::None);
        out.write_str(&if is_plain { paper.text } else { escaped(&paper.text) }).map_err(Error::from)
    });
    let bounds = Bounds { most_values: messages_bytes.saturating_add(MOST_KEPT), deadline };
    env.set_unknown_method_callback(move |state, value, name, args| {
        deadline.check()?;
        python::method(state, value, name, args, bounds)
    });
    env.add_function("strftime_now", move |format: &str| {
        date.format(format).ok_or_else(|| refused(format!("the date format {format:?} is not known")))
    });
    builtins::add_to(&mut env, bounds);
    let most_bytes = messages_bytes.saturating_add(TEXT_BYTES);
    let mut text = Capped { text: Vec::new(), most_bytes };
    let template = env.template_from_named_str(NAME, source)?;
    template.render_captured_to(root, &mut text).map_err(|error| match error.kind() {
        ErrorKind::WriteFailure => refused(format!("the text has more than {most_bytes} bytes")),
        _ => error,
    })?;
    String::from_utf8(text.text).map_err(|_| refused("the text is no UTF-8"))
}

/// What a value may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    most_values: usize,
    deadline: Deadline,
}

impl Bounds {
    /// Measures a value that is kept or walked over.
    pub(super) fn kept(self, state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
        self.check(state, &value, 1)?;
        Ok(value)
    }

    /// Measures so many copies of a value.
    pub(super) fn check(self, state: &State<'_, '_>, value: &Value, copies: usize) -> Result<(), Error> {
        self.deadline.check()?;
        let mut left = self.most_values;
        measure(value, 0, &mut left)?;
        let values = self.most_values - left;
        if values.saturating_mul(copies) > self.most_values {
            return Err(refused("a value holds too much"));
        }
        state.consume_fuel((values / MEASURED_BY_FUEL) as u64)
    }
}

/// Whether there is fuel for a text of so many bytes. It is paid when it is there.
pub(super) fn afford(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    let left = state.fuel_levels().map_or(u64::MAX, |(_, left)| left);
    if bytes as u64 / BYTES_BY_FUEL > left { Err(Error::from(ErrorKind::OutOfFuel)) } else { Ok(()) }
}

/// Takes what a value holds from `left`.
fn measure(value: &Value, depth: usize, left: &mut usize) -> Result<(), Error> {
    if depth > DEEPEST_KEPT {
        return Err(refused("a value is nested too deeply"));
    }
    *left = left.checked_sub(1).ok_or_else(|| refused("a value holds too much"))?;
    // A long text in many places of a list is long as often.
    let bytes = value.as_str().map_or(0, str::len);
    *left =
        left.checked_sub(if depth > 0 { bytes / 16 } else { 0 }).ok_or_else(|| refused("a value holds too much"))?;
    if let Some(items) = Items::of(value) {
        // A generator must not be walked over.
        return items.values.iter().try_for_each(|item| measure(item, depth + 1, left));
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => value.try_iter()?.try_for_each(|item| measure(&item, depth + 1, left)),
        ValueKind::Map => value.try_iter()?.try_for_each(|key| {
            measure(&key, depth + 1, left)?;
            measure(&value.get_item(&key)?, depth + 1, left)
        }),
        _ => Ok(()),
    }
}

/// Sets minijinja up as transformers sets up Jinja, but for filters and functions.
fn plain_environment() -> Environment<'static> {
    // Without minijinja's filters: those that are used come one by one, and a page need not load the others.
    let mut env = Environment::empty();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    env.set_syntax(syntax.expect("the delimiters are the usual ones"));
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_recursion_limit(DEEPEST_CALLS);
    env
}

/// minijinja divides by the number of a cycle's values.
fn check_cycles(source: &str) -> Result<(), Error> {
    let compact: String = source.chars().filter(|c| !c.is_whitespace()).collect();
    if compact.contains("cycle()") || compact.contains("cycle(*") {
        return Err(refused("a cycle takes values"));
    }
    Ok(())
}
