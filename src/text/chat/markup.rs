//! `striptags`: a text without the tags and comments of HTML, and with what its references stand for.

use minijinja::value::Value;
use minijinja::{Error, State};

use super::args::Args;
use super::chars::is_space;
use super::sandbox::{Bounds, refused};
use super::values::{Paper, string};
use crate::platform::html_text;

/// References that need no `;`: those of the characters from U+00A0 to U+00FF.
const LATIN: &str = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 \
    acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig \
    Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave \
    Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave \
    iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml";
/// The others that need none.
const SIGNS: [(&str, char); 10] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("AMP", '&'),
    ("LT", '<'),
    ("GT", '>'),
    ("QUOT", '"'),
    ("COPY", '©'),
    ("REG", '®'),
];
/// The longest of them, `Aacute`, and the longest of all.
const LONGEST_PLAIN: usize = 6;
const LONGEST: usize = 32;
/// What numbers from 128 stand for, where it is not the character of that number.
const WINDOWS: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ";
/// Looking a name up costs as much as so many bytes.
const LOOKUP_BYTES: usize = 128;

/// `striptags(value)`.
pub(super) fn striptags(state: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let text = string(state, &args.value()?)?;
    let mut paper = Paper::new(state);
    paper.pay(text.len())?;
    let plain = without_tags(&text);
    let words: Vec<&str> = plain.split(is_space).filter(|word| !word.is_empty()).collect();
    push_unescaped(&mut paper, &words.join(" "))?;
    Ok(Value::from(paper.text))
}

/// What stands outside of tags and comments. One that does not end is text.
fn without_tags(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find('<') {
        let (before, tag) = rest.split_at(start);
        let end = match tag.strip_prefix("<!--") {
            Some(comment) => comment.find("-->").map(|at| &comment[at + 3..]),
            None => tag.find('>').map(|at| &tag[at + 1..]),
        };
        let Some(behind) = end else { break };
        out.push_str(before);
        rest = behind;
    }
    out + rest
}

/// Writes the text with characters in place of references, as `html.unescape` does.
fn push_unescaped(paper: &mut Paper<'_, '_, '_>, text: &str) -> Result<(), Error> {
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        paper.push(&rest[..at])?;
        rest = &rest[at + 1..];
        let (name, is_number) = match rest.strip_prefix('#') {
            Some(number) => (&rest[..1 + number_len(number)], true),
            None => (name_of(rest), false),
        };
        let has_end = name.len() > usize::from(is_number) && rest[name.len()..].starts_with(';');
        let behind = &rest[name.len() + usize::from(has_end)..];
        if name.len() <= usize::from(is_number) {
            paper.push("&")?;
            continue;
        }
        if is_number {
            paper.push(&numbered(&name[1..]))?;
        } else {
            paper.pay(LOOKUP_BYTES)?;
            push_named(paper, name, has_end)?;
        }
        rest = behind;
    }
    paper.push(rest)
}

/// The length of the number that a text begins with, with its `x`.
fn number_len(text: &str) -> usize {
    let len = |text: &str, radix| text.find(|c: char| !c.is_digit(radix)).unwrap_or(text.len());
    match text.strip_prefix(['x', 'X']) {
        Some(digits) => match len(digits, 16) {
            0 => 0,
            digits => 1 + digits,
        },
        None => len(text, 10),
    }
}

/// The name that a text begins with.
fn name_of(text: &str) -> &str {
    let ends = |c: char| matches!(c, '\t' | '\n' | '\u{c}' | ' ' | '<' | '&' | '#' | ';');
    let end = text.char_indices().enumerate().find(|(count, (_, c))| *count == LONGEST || ends(*c));
    &text[..end.map_or(text.len(), |(_, (at, _))| at)]
}

/// The text of a number: what is no character, or none of HTML, is replaced or left out.
fn numbered(number: &str) -> String {
    let (digits, radix) = number.strip_prefix(['x', 'X']).map_or((number, 10), |digits| (digits, 16));
    // Zeros before it are many as well.
    let digits = digits.trim_start_matches('0');
    let number = if digits.is_empty() { 0 } else { u32::from_str_radix(digits, radix).unwrap_or(u32::MAX) };
    let c = match number {
        0 => None,
        0x80..=0x9f => WINDOWS.chars().nth(number as usize - 0x80),
        _ => char::from_u32(number),
    };
    let is_left_out =
        matches!(number, 0x1..=0x8 | 0xb | 0xe..=0x1f | 0x7f | 0xfdd0..=0xfdef) || number & 0xfffe == 0xfffe;
    match c {
        Some(_) if is_left_out => String::new(),
        c => c.unwrap_or(char::REPLACEMENT_CHARACTER).into(),
    }
}

/// Writes the text of a name, or of what it begins with.
fn push_named(paper: &mut Paper<'_, '_, '_>, name: &str, has_end: bool) -> Result<(), Error> {
    let end = if has_end { ";" } else { "" };
    let mut found = plain(name).map(|c| (String::from(c), ""));
    if found.is_none() && has_end && name.len() < LONGEST && name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        found = html_text(name).map_err(refused)?.map(|text| (text.to_owned(), ""));
    }
    if found.is_none() {
        let mut starts = (2..=LONGEST_PLAIN.min(name.len())).rev().filter_map(|len| name.split_at_checked(len));
        let start = starts.find_map(|(start, rest)| Some((plain(start)?, rest)));
        found = start.map(|(c, rest)| (String::from(c) + rest, end));
    }
    let (text, end) = found.unwrap_or_else(|| (format!("&{name}"), end));
    paper.push(&text)?;
    paper.push(end)
}

/// The character of a name that needs no `;`.
fn plain(name: &str) -> Option<char> {
    let sign = SIGNS.iter().find(|(sign, _)| *sign == name).map(|(_, c)| *c);
    sign.or_else(|| {
        let at = LATIN.split(' ').position(|latin| latin == name)?;
        char::from_u32(0xa0 + at as u32)
    })
}
