//! Macros that take more arguments than they name: those that read `varargs` or `kwargs`.
//!
//! minijinja's take what they name only. So such a macro names both, and one of our own calls it: see `source`.

use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, Tuple, Value, from_args};
use minijinja::{Error, ErrorKind, State};

use super::args::Args;
use super::items::Items;
use super::sandbox::{Bounds, refused};
use super::source::{MOST_TOKENS, behind_raw, next_tag};
use super::tokens::{Kind, Token, tokens};

const NAMES: [&str; 2] = ["varargs", "kwargs"];

/// What a macro takes beside the arguments that it names.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extra {
    pub(super) varargs: bool,
    pub(super) kwargs: bool,
}

impl Extra {
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().zip([self.varargs, self.kwargs]).filter(|(_, is_read)| *is_read).map(|(name, _)| name)
    }
}

/// A macro or a `call` block whose end is to come.
struct Open {
    at: usize,
    /// Whether it reads each of the names. None: it does not name it.
    reads: [Option<bool>; 2],
}

/// What the macros and the `call` blocks of a template take, with the places of their tags. Those that are not here take nothing.
pub(super) fn extras(source: &str) -> Vec<(usize, Extra)> {
    let (mut rest, mut open, mut found) = (source, Vec::<Open>::new(), Vec::new());
    if !NAMES.iter().any(|name| source.contains(name)) {
        return found;
    }
    while let Some(at) = next_tag(rest) {
        let tag = &rest[at..];
        if tag.starts_with("{#") {
            rest = tag.find("#}").map_or("", |end| &tag[end + 2..]);
            continue;
        }
        // What is wrong with it is found when it is translated.
        let Ok((tokens, len)) = tokens(tag, MOST_TOKENS) else { break };
        let block = if tag.starts_with("{%") { tokens[0].text } else { "" };
        rest = if block == "raw" { behind_raw(&tag[len..]) } else { &tag[len..] };
        let mut reads = [None; 2];
        for (index, token) in tokens.iter().enumerate().filter(|(_, token)| token.kind == Kind::Name) {
            let Some(which) = NAMES.iter().position(|name| *name == token.text) else { continue };
            let Some(is_read) = is_read(&tokens, index, block) else { continue };
            if !is_read {
                reads[which] = Some(false);
            }
            for outer in &mut open {
                outer.reads[which].get_or_insert(is_read);
            }
        }
        match block {
            "macro" | "call" => open.push(Open { at: source.len() - tag.len(), reads }),
            "endmacro" | "endcall" => found.extend(open.pop().map(|Open { at, reads: [varargs, kwargs] }| {
                (at, Extra { varargs: varargs == Some(true), kwargs: kwargs == Some(true) })
            })),
            _ => {}
        }
    }
    found
}

/// Whether a name is read, or is set. None: it is no variable.
fn is_read(tokens: &[Token<'_>], index: usize, block: &str) -> Option<bool> {
    let text = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map_or("", |token| token.text);
    let (before, behind) = (text(index.checked_sub(1)), text(Some(index + 1)));
    let is_test = before == "is" || before == "not" && text(index.checked_sub(2)) == "is";
    if is_test || matches!(before, "." | "|") {
        return None;
    }
    // How many brackets are open, and whether the first was closed.
    let (mut depth, mut closed) = (0_usize, false);
    for token in &tokens[..index] {
        depth += usize::from(matches!(token.text, "(" | "[" | "{"));
        closed |= token.text == ")" && depth == 1;
        depth -= usize::from(matches!(token.text, ")" | "]" | "}") && depth > 0);
    }
    let stands_before = |ends: &[&str]| tokens[..index].iter().all(|token| !ends.contains(&token.text));
    let is_set = match block {
        "set" => stands_before(&["=", "|"]),
        "for" => stands_before(&["in"]),
        "with" => depth == 0 && behind == "=",
        "macro" => depth == 1 && matches!(before, "(" | ","),
        "call" => text(Some(1)) == "(" && !closed && depth == 1 && matches!(before, "(" | ","),
        _ => false,
    };
    // Else a sign of equality is that of an argument.
    if is_set { Some(false) } else { (behind != "=").then_some(true) }
}

/// Sorts the arguments of a call for a macro that names `varargs` and `kwargs` last.
#[derive(Debug)]
struct Macro {
    inner: Value,
    names: Vec<String>,
    extra: Extra,
    bounds: Bounds,
}

/// `macro|_variadic(varargs, kwargs)`: the macro, which takes either or both.
pub(super) fn variadic(_: &mut State<'_, '_>, bounds: Bounds, args: &mut Args) -> Result<Value, Error> {
    let inner = args.value()?;
    let extra = Extra { varargs: args.value()?.is_true(), kwargs: args.value()?.is_true() };
    let mut names: Vec<String> = inner.get_attr("arguments")?.try_iter()?.map(|name| name.to_string()).collect();
    names.truncate(names.len().saturating_sub(extra.names().count()));
    Ok(Value::from_object(Macro { inner, names, extra, bounds }))
}

impl Object for Macro {
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["name", "arguments", "caller"])
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "arguments" => Some(self.names.iter().map(String::as_str).collect()),
            "catch_varargs" => Some(Value::from(self.extra.varargs)),
            "catch_kwargs" => Some(Value::from(self.extra.kwargs)),
            _ => self.inner.get_item(key).ok(),
        }
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let (values, named): (&[Value], Kwargs) = from_args(args)?;
        let (own, more) = values.split_at(values.len().min(self.names.len()));
        let missing = &self.names[own.len()..];
        let mut given = own.to_vec();
        for name in missing {
            given.push(if named.has(name) { named.get(name)? } else { Value::UNDEFINED });
        }
        let caller = self.inner.get_attr("caller")?.is_true().then_some("caller").filter(|name| named.has(name));
        let mut others = Vec::new();
        for name in named.args().filter(|name| missing.iter().all(|own| own != name) && Some(*name) != caller) {
            others.push((Value::from(name), Items::taken(named.get(name)?)));
        }
        if self.extra.varargs {
            let more: Vec<Value> = more.iter().cloned().map(Items::taken).collect();
            given.push(self.bounds.kept(state, Value::from(Tuple::from(more)))?);
        } else if !more.is_empty() {
            return Err(Error::from(ErrorKind::TooManyArguments));
        }
        if self.extra.kwargs {
            given.push(self.bounds.kept(state, Value::from_pairs(others))?);
        } else if let Some((name, _)) = others.first() {
            return Err(refused(format!("the macro has no argument {name}")));
        }
        if let Some(name) = caller {
            given.push(Kwargs::from_iter([(name, named.get::<Value>(name)?)]).into());
        }
        self.inner.call(state, &given)
    }
}
