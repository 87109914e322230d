//! Cuts a tag of a template into Jinja's tokens.

use std::borrow::Cow;

use minijinja::Error;

use super::sandbox::refused;
use crate::platform;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    Number,
    Text,
    Sign,
    /// The end of the tag, such as `-%}`.
    End,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// White space stands before it, with so many line ends.
    pub(super) lines: usize,
}

/// Longer ones first.
const SIGNS: [&str; 27] = [
    "**", "//", "==", "!=", ">=", "<=", "~", "+", "-", "*", "/", "%", "(", ")", "[", "]", "{", "}", "|", ".", ",", ":",
    "<", ">", "=", ";", "!",
];

/// The tokens of the tag that `source` begins with, up to its end, and the length of the tag.
///
/// # Errors
/// Where the tag does not end, or holds what is no token.
pub(super) fn tokens(source: &str, most: usize) -> Result<(Vec<Token<'_>>, usize), Error> {
    let ends: &[&str] = if source.starts_with("{{") { &["-}}", "}}"] } else { &["-%}", "+%}", "%}"] };
    let mut found: Vec<Token<'_>> = Vec::new();
    let mut depth = 0_usize;
    // Behind the sign of the tag.
    let mut at = 2 + usize::from(source[2..].starts_with(['-', '+']));
    loop {
        let rest = source[at..].trim_start();
        let lines = source[at..source.len() - rest.len()].matches('\n').count();
        at = source.len() - rest.len();
        if let Some(end) = ends.iter().find(|end| depth == 0 && rest.starts_with(**end)) {
            found.push(Token { kind: Kind::End, text: end, lines });
            return Ok((found, at + end.len()));
        }
        let Some(first) = rest.chars().next() else { return Err(refused("a tag does not end")) };
        let behind_dot = found.last().is_some_and(|last| last.text == ".");
        let (kind, len) = match first {
            '\'' | '"' => (Kind::Text, text_len(rest)?),
            c if c.is_ascii_digit() => (Kind::Number, number_len(rest, behind_dot)),
            c if is_word(c) => (Kind::Name, rest.find(|c| !is_word(c)).unwrap_or(rest.len())),
            c => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                (Kind::Sign, sign.ok_or_else(|| refused(format!("the sign {c:?} is not Jinja's")))?.len())
            }
        };
        let text = &rest[..len];
        depth += usize::from(matches!(text, "(" | "[" | "{"));
        depth -= usize::from(matches!(text, ")" | "]" | "}") && depth > 0);
        found.push(Token { kind, text, lines });
        if found.len() > most {
            return Err(refused("the template is too involved"));
        }
        at += len;
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the text in quotes that `source` begins with.
fn text_len(source: &str) -> Result<usize, Error> {
    let quote = source.as_bytes()[0] as char;
    let mut escaped = false;
    for (at, c) in source.char_indices().skip(1) {
        match c {
            'N' if escaped => {
                named_character(&source[at + 1..])?;
                escaped = false;
            }
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Ok(at + 1),
            _ => {}
        }
    }
    Err(refused("a text does not end"))
}

/// Bytes of a name in Unicode at most; the longest has 88.
const LONGEST_NAME: usize = 100;

/// The character that `{NAME}` at the beginning of a source stands for, and the length of that.
fn named_character(source: &str) -> Result<(char, usize), Error> {
    let name = source.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(name, _)| name);
    let name = if name.len() <= LONGEST_NAME { name } else { "" };
    match platform::character_named(name) {
        Some(character) => Ok((character, name.len() + 2)),
        None => Err(refused(format!("no character '{name}' is known here (\\N{{…}}): write its number (\\uXXXX)"))),
    }
}

/// A token's text, with characters in place of their names.
pub(super) fn with_characters<'a>(token: Token<'a>) -> Cow<'a, str> {
    if token.kind != Kind::Text || !token.text.contains("\\N") {
        return token.text.into();
    }
    let (mut text, mut rest) = (String::new(), token.text);
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        text += before;
        let named = escape.strip_prefix("\\N").and_then(|name| named_character(name).ok());
        let Some((character, len)) = named else {
            // The escaped character may be a backslash itself.
            let len = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
            text += &escape[..len];
            rest = &escape[len..];
            continue;
        };
        if matches!(character, '\'' | '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
        rest = &escape[2 + len..];
    }
    (text + rest).into()
}

/// The length of the number that `source` begins with. Behind a dot it is an index.
fn number_len(source: &str, behind_dot: bool) -> usize {
    let digits = |from: usize| {
        source[from..].find(|c: char| !c.is_ascii_digit() && c != '_').map_or(source.len(), |len| from + len)
    };
    let is_digit = |at: usize| source.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    if source.len() > 1 && source.starts_with('0') && source[1..].starts_with(['x', 'X', 'o', 'O', 'b', 'B']) {
        return source.find(|c: char| !is_word(c)).unwrap_or(source.len());
    }
    let mut end = digits(0);
    if behind_dot {
        return end;
    }
    if source[end..].starts_with('.') && is_digit(end + 1) {
        end = digits(end + 1);
    }
    if source[end..].starts_with(['e', 'E']) {
        let sign = usize::from(source[end + 1..].starts_with(['+', '-']));
        if is_digit(end + 1 + sign) {
            end = digits(end + 1 + sign);
        }
    }
    end
}

/// Filters that look at the variables of the template.
const OF_VARIABLES: [&str; 6] = ["map", "random", "reject", "rejectattr", "select", "selectattr"];

/// Whether an expression holds constants only: no variables and no calls. Jinja calculates it before it runs the template.
pub(super) fn is_constant(tokens: &[Token<'_>]) -> bool {
    // What a name or a bracket means follows from what stands before it.
    let (mut before, mut is_value) = ("", false);
    for (index, token) in tokens.iter().enumerate() {
        let is_test = before == "is" || before == "not" && index > 1 && tokens[index - 2].text == "is";
        let is_argument = tokens.get(index + 1).is_some_and(|next| next.text == "=");
        is_value = match (token.kind, token.text) {
            (Kind::Name, _) if before == "." => true,
            (Kind::Name, name) if before == "|" && OF_VARIABLES.contains(&name) => return false,
            (Kind::Name, _) if before == "|" || is_test || is_argument => false,
            (Kind::Name, "none" | "None" | "true" | "True" | "false" | "False") => true,
            (Kind::Name, "and" | "or" | "not" | "if" | "else" | "in" | "is") => false,
            (Kind::Name, _) => return false,
            (Kind::Sign, "(") if is_value => return false,
            (Kind::Sign, ")" | "]" | "}") | (Kind::Text | Kind::Number, _) => true,
            _ => false,
        };
        before = token.text;
    }
    true
}
