//! What minijinja reads otherwise than Jinja does, put into words that both read alike.

use minijinja::Error;

use super::builtins::{KEPT, PERCENT};
use super::sandbox::refused;

/// Published templates are ten times shorter.
const LONGEST_BYTES: usize = 256 << 10;
/// Tokens between `{{` and `}}`. The parser and the compiler need stack for each operator of an expression.
const MOST_TOKENS: usize = 1000;
/// `elif` nests in the parser.
const MOST_ELIFS: usize = 100;

/// The template as minijinja takes it:
/// - `generation` blocks, which transformers adds to Jinja, only mark text for training. They become `with` blocks, whose
///   variables end with them too;
/// - `'%s' % values` becomes a filter, where the format stands there;
/// - `{% set x = value %}` shows the value to a function, which bounds what is kept;
/// - a line end is `\n`, and the one behind `{% raw %}` stays.
///
/// # Errors
/// Where it is longer or more involved than the parser can take: an operator or an `elif` needs stack.
pub(super) fn translated(source: &str) -> Result<String, Error> {
    if source.len() > LONGEST_BYTES {
        return Err(refused(format!("the template has {} bytes", source.len())));
    }
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut result = String::with_capacity(source.len());
    let mut rest = source.as_str();
    let mut elifs = 0;
    while let Some(at) = next_tag(rest) {
        let (before, tag) = rest.split_at(at);
        result.push_str(before);
        let behind = match &tag[..2] {
            "{#" => tag.find("#}").map_or("", |end| &tag[end + 2..]),
            "{{" => behind_tag(tag, "}}"),
            _ => behind_tag(tag, "%}"),
        };
        let name = if tag.starts_with("{%") { name(tag) } else { 0..0 };
        elifs += usize::from(&tag[name.clone()] == "elif");
        let line = || source[..source.len() - tag.len()].matches('\n').count() + 1;
        if elifs > MOST_ELIFS || tokens(&tag[..tag.len() - behind.len()]) > MOST_TOKENS {
            return Err(refused(format!("the template is too involved near line {}", line())));
        }
        // The compiler panics at some imports, and there is nothing to import.
        if ["import", "from", "include", "extends"].contains(&&tag[name.clone()]) {
            return Err(refused(format!("there are no other templates, as line {} wants", line())));
        }
        match &tag[name.clone()] {
            "raw" => {
                result.push_str(&tag[..tag.len() - behind.len()]);
                if behind.starts_with('\n') && !result.ends_with("-%}") {
                    result.push('\n');
                }
                rest = behind_raw(behind);
                result.push_str(&behind[..behind.len() - rest.len()]);
                continue;
            }
            "set" if behind.len() < tag.len() => {
                push_kept(&mut result, &tag[..tag.len() - behind.len()]);
                rest = behind;
                continue;
            }
            "generation" | "endgeneration" => {
                let end = if tag[name.clone()].starts_with("end") { "endwith" } else { "with" };
                result.extend([&tag[..name.start], end]);
                rest = &tag[name.end..];
                continue;
            }
            _ => {}
        }
        let tag = &tag[..tag.len() - behind.len()];
        match tag.starts_with("{#") {
            true => result.push_str(tag),
            false => push_with_percent(&mut result, tag),
        }
        rest = behind;
    }
    result.push_str(rest);
    Ok(result)
}

/// Where the next tag begins.
fn next_tag(text: &str) -> Option<usize> {
    text.match_indices('{').map(|(at, _)| at).find(|at| matches!(text.as_bytes().get(at + 1), Some(b'%' | b'{' | b'#')))
}

/// About how many tokens a tag has: its words, texts and signs. A comment has none.
fn tokens(tag: &str) -> usize {
    let (mut count, mut at, mut in_word) = (0, 2, false);
    while let Some(c) = tag.get(at..).and_then(|rest| rest.chars().next()).filter(|_| !tag.starts_with("{#")) {
        let is_word = c.is_alphanumeric() || c == '_';
        count += usize::from(!(c.is_whitespace() || is_word && in_word));
        at += if matches!(c, '\'' | '"') { text_len(&tag[at..]) } else { c.len_utf8() };
        in_word = is_word;
    }
    count
}

/// Where the name of a `{%` tag stands.
fn name(tag: &str) -> std::ops::Range<usize> {
    let inner = tag[2..].trim_start_matches(['-', '+']).trim_start();
    let start = tag.len() - inner.len();
    let len = inner.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inner.len());
    start..start + len
}

/// What follows a tag. Its end may stand in a text of the tag.
fn behind_tag<'a>(tag: &'a str, end: &str) -> &'a str {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in tag.char_indices().skip(2) {
        match quote {
            _ if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if tag[at..].starts_with(end) => return &tag[at + end.len()..],
            None => {}
        }
    }
    ""
}

fn behind_raw(text: &str) -> &str {
    let mut rest = text;
    while let Some(at) = rest.find("{%") {
        let tag = &rest[at..];
        if &tag[name(tag)] == "endraw" {
            return behind_tag(tag, "%}");
        }
        rest = &tag[2..];
    }
    ""
}

/// Writes a `set` tag, with its value in a call.
fn push_kept(out: &mut String, tag: &str) {
    let inner = tag.trim_end_matches("%}").trim_end_matches(['-', '+']);
    let Some(equals) = inner.find('=').filter(|at| inner[..*at].bytes().all(|byte| !b"'\"|(".contains(&byte))) else {
        return push_with_percent(out, tag);
    };
    out.push_str(&tag[..=equals]);
    out.extend([" ", KEPT, "(("]);
    push_with_percent(out, inner[equals + 1..].trim());
    out.extend([")) ", &tag[inner.len()..]]);
}

/// Writes a tag, with `text % operand` as `text | PERCENT(operand)`, where a text stands there.
fn push_with_percent(out: &mut String, tag: &str) {
    let mut rest = tag;
    while let Some(at) = rest.find(['\'', '"']) {
        let text_end = at + text_len(&rest[at..]);
        out.push_str(&rest[..text_end]);
        rest = &rest[text_end..];
        let Some(operand) = rest.trim_start().strip_prefix('%').filter(|operand| !operand.starts_with('}')) else {
            continue;
        };
        let operand = operand.trim_start();
        let len = operand_len(operand);
        if len == 0 {
            continue;
        }
        out.extend(["|", PERCENT, "("]);
        push_with_percent(out, &operand[..len]);
        out.push(')');
        rest = &operand[len..];
    }
    out.push_str(rest);
}

/// The length of the text in quotes that `source` begins with.
fn text_len(source: &str) -> usize {
    let quote = source.chars().next();
    let mut escaped = false;
    for (at, c) in source.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if Some(c) == quote => return at + 1,
            _ => {}
        }
    }
    source.len()
}

/// The length of the operand that `source` begins with: a value with what is called, looked up and filtered of it.
fn operand_len(source: &str) -> usize {
    let word = |from: usize| {
        source[from..].find(|c: char| !c.is_alphanumeric() && c != '_').map_or(source.len(), |len| from + len)
    };
    let mut end = match source.chars().next() {
        Some('\'' | '"') => text_len(source),
        Some('(' | '[' | '{') => group_len(source),
        Some(c) if c.is_alphanumeric() || c == '_' => word(0),
        _ => return 0,
    };
    loop {
        let rest = source[end..].trim_start();
        let at = source.len() - rest.len();
        end = match rest.chars().next() {
            Some('(' | '[') => at + group_len(rest),
            Some('.' | '|') => {
                let name = rest[1..].trim_start();
                word(source.len() - name.len())
            }
            _ => return end,
        };
    }
}

/// The length of the group in brackets that `source` begins with.
fn group_len(source: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(c) = source[at..].chars().next() {
        match c {
            '\'' | '"' => at += text_len(&source[at..]),
            c => {
                depth += usize::from(matches!(c, '(' | '[' | '{'));
                depth -= usize::from(matches!(c, ')' | ']' | '}') && depth > 0);
                at += c.len_utf8();
            }
        }
        if depth == 0 {
            break;
        }
    }
    at
}
