//! `wordwrap`: a text in lines of at most so many characters, as Python's `textwrap` cuts them.

use std::ops::Range;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, State};

use super::args::Args;
use super::chars::{is_digit, is_space, is_word, lines};
use super::sandbox::{Bounds, afford, refused};
use super::values::{Paper, escaped};

/// How lines are cut.
struct Cuts {
    width: usize,
    /// Words that are longer than a line are cut.
    in_words: bool,
    /// A word ends behind a hyphen.
    behind_hyphens: bool,
    /// Words that are longer than a line are cut behind a hyphen where they have one.
    long_behind_hyphens: bool,
}

/// `wordwrap(value, width=79, break_long_words=True, wrapstring=None, break_on_hyphens=True)`.
pub(super) fn wordwrap(state: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let (value, width, in_words) = (args.value()?, args.get("width")?, args.get("break_long_words")?);
    let (by, hyphens) = (args.get("wrapstring")?, args.get("break_on_hyphens")?);
    let text = value.as_str().ok_or_else(|| refused(format!("a {} has no lines", value.kind())))?;
    let by = by.filter(|by| !by.is_none()).unwrap_or_else(|| Value::from("\n"));
    let end = by.as_str().ok_or_else(|| refused(format!("wrapstring is a text, not a {}", by.kind())))?;
    let width = width.map_or(Ok(79), i64::try_from)?;
    let lines = lines(text);
    if width <= 0 && !lines.is_empty() {
        return Err(refused("a line has no width"));
    }
    let is_set = |flag: &Option<Value>| flag.as_ref().is_none_or(Value::is_true);
    let cuts = Cuts {
        width: usize::try_from(width).unwrap_or(0),
        in_words: is_set(&in_words),
        // Python asks whether this is `True`, and of long words whether it is true.
        behind_hyphens: is_set(&hyphens) && hyphens.as_ref().is_none_or(|flag| flag.kind() == ValueKind::Bool),
        long_behind_hyphens: is_set(&hyphens),
    };
    let mut paper = Paper::new(state);
    for (index, line) in lines.into_iter().enumerate() {
        paper.push(if index > 0 { end } else { "" })?;
        afford(state, line.len() * size_of::<Range<usize>>())?;
        paper.pay(line.len())?;
        let chars: Vec<char> = line.chars().collect();
        for (index, part) in wrapped(&chars, &cuts).into_iter().enumerate() {
            paper.push(if index > 0 { end } else { "" })?;
            let part: String = chars[part].iter().collect();
            paper.push(&if by.is_safe() { escaped(&part) } else { part })?;
        }
    }
    Ok(if by.is_safe() { Value::from_safe_string(paper.text) } else { Value::from(paper.text) })
}

/// The lines that one line is cut into.
fn wrapped(line: &[char], cuts: &Cuts) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    let mut end = 0;
    while end < line.len() {
        let start = end;
        end = chunk_end(line, start, cuts.behind_hyphens);
        chunks.push(start..end);
    }
    let is_blank = |chunk: &Range<usize>| line[chunk.clone()].iter().all(|c| is_space(*c));
    let (mut found, mut next) = (Vec::new(), 0);
    while next < chunks.len() {
        if !found.is_empty() && is_blank(&chunks[next]) {
            next += 1;
        }
        let (mut parts, mut used) = (Vec::new(), 0);
        while next < chunks.len() && used + chunks[next].len() <= cuts.width {
            used += chunks[next].len();
            parts.push(chunks[next].clone());
            next += 1;
        }
        if next < chunks.len() && chunks[next].len() > cuts.width {
            if cuts.in_words {
                let start = chunks[next].start;
                let end = start + long_word_len(&line[chunks[next].clone()], cuts.width - used, cuts);
                parts.push(start..end);
                chunks[next].start = end;
            } else if parts.is_empty() {
                parts.push(chunks[next].clone());
                next += 1;
            }
        }
        // A part of no characters is blank too. Like Python's, this keeps a space before it.
        parts.pop_if(|last| is_blank(last));
        if let (Some(first), Some(last)) = (parts.first(), parts.last()) {
            found.push(first.start..last.end);
        }
    }
    found
}

/// How much of a long word stands in a line that has so much space.
fn long_word_len(word: &[char], space: usize, cuts: &Cuts) -> usize {
    let hyphen = word[..space].iter().rposition(|c| *c == '-').filter(|_| cuts.long_behind_hyphens);
    match hyphen {
        Some(at) if word[..at].iter().any(|c| *c != '-') => at + 1,
        _ => space,
    }
}

/// Where the word or the white space ends that starts there. It reads no further: a long word has many ends.
fn chunk_end(line: &[char], start: usize, behind_hyphens: bool) -> usize {
    let is_space = is_wrapped_at(line[start]);
    let dash = if behind_hyphens && !is_space { dash_end(line, start) } else { None };
    if let Some(behind) = dash {
        return behind;
    }
    for at in start + 1..line.len() {
        if is_wrapped_at(line[at]) != is_space {
            return at;
        }
        if behind_hyphens && is_hyphen(line, at) {
            return at + 1;
        }
        if behind_hyphens && dash_end(line, at).is_some() {
            return at;
        }
    }
    line.len()
}

/// White space other than this stays within a word.
fn is_wrapped_at(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// The end of a dash between two words: of several hyphens.
fn dash_end(line: &[char], at: usize) -> Option<usize> {
    let before = *line.get(at.checked_sub(1)?)?;
    if line[at] != '-' || !is_word(before) && !"!\"'&.,?".contains(before) {
        return None;
    }
    let len = line[at..].iter().take_while(|c| **c == '-').count();
    (len > 1 && line.get(at + len).is_some_and(|c| is_word(*c))).then_some(at + len)
}

/// Whether a hyphen is between two parts of a word, of at least two letters or of one and another hyphen.
fn is_hyphen(line: &[char], at: usize) -> bool {
    let is = |place: Option<usize>, hyphen: bool| {
        let c = place.and_then(|place| line.get(place).copied());
        c.is_some_and(|c| if hyphen { c == '-' } else { is_word(c) && !is_digit(c) })
    };
    let before = |distance: usize| at.checked_sub(distance);
    let behind = |distance: usize| Some(at + distance);
    let has_part_before = is(before(1), false) && (is(before(2), false) || is(before(2), true) && is(before(3), false));
    let has_part_behind = is(behind(1), false) && (is(behind(2), false) || is(behind(2), true) && is(behind(3), false));
    line[at] == '-' && has_part_before && has_part_behind
}
