//! What kind of character Python's `str` and `re` take one for.

use unicode_categories::UnicodeCategories;

/// `\s`: what `str.split()` splits at.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `\w`: a letter, a number or `_`. Marks and letters in circles are no letters, though Unicode calls some alphabetic.
pub(super) fn is_word(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    let is_mark = || c.is_mark_nonspacing() || c.is_mark_spacing_combining();
    let is_symbol = matches!(c, '\u{24b6}'..='\u{24e9}' | '\u{1f130}'..='\u{1f189}');
    c.is_alphanumeric() && !is_symbol && !is_mark()
}

/// `\d`.
pub(super) fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || !c.is_ascii() && c.is_number_decimal_digit()
}

/// What `str.splitlines()` makes of a text.
pub(super) fn lines(text: &str) -> Vec<&str> {
    let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
    let (mut rest, mut found) = (text, Vec::new());
    while !rest.is_empty() {
        let (line, end) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
        found.push(line);
        let behind = end.strip_prefix("\r\n");
        rest = behind.unwrap_or_else(|| end.chars().next().map_or("", |c| &end[c.len_utf8()..]));
    }
    found
}
