//! What a `tokenizer.json` must look like before it is given to the `tokenizers` crate.
//!
//! The crate trusts its input: it panics on a decoder that is not JSON, on a `Precompiled` map that leads out of its trie, on
//! a merge shorter than the prefix it is said to have, on a template that names an unknown token or a second sequence, and
//! it expands `x{999999999}` in a regular expression. So only parts that are known to be safe get through, and only
//! those that language models use. Truncation and padding are for training and dropped. The decoder is not the crate's at
//! all, nor is the map: see `pieces` and `normalizers`.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::{Error, ErrorKind, Result};

/// Ids stay below this, so that nothing sized by the vocabulary is unbounded.
pub(super) const MOST_IDS: u64 = 1 << 24;
/// Published expressions have a few hundred bytes; one that lists the symbols of a SentencePiece model has some thousand.
const LONGEST_REGEX_BYTES: usize = 1 << 16;
/// Elements of one expression, its counted repetitions written out. The largest that is published has a thousand.
const MOST_ELEMENTS: u64 = 1 << 16;
/// Added tokens are looked for all at once, by an automaton with a state for each of their bytes. Models that speak have
/// some ten thousand.
const MOST_ADDED: usize = 1 << 17;
const MOST_ADDED_BYTES: usize = 2 << 20;
const LONGEST_ADDED_BYTES: usize = 1024;
/// Published files have a handful of normalizers and pre-tokenizers, and of patterns in them.
const MOST_PARTS: usize = 64;
const MOST_PATTERNS: usize = 32;
/// Each makes a byte two.
const MOST_BYTE_LEVELS: usize = 2;
/// What a part puts in or puts before a text.
const LONGEST_CONTENT_BYTES: usize = 256;
/// A word of the vocabulary.
const LONGEST_TOKEN_BYTES: usize = 4096;
/// Tokens that are put around a text.
const MOST_TEMPLATE_PIECES: usize = 64;

fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Text, message).remedy("get the file again")
}

fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}

/// Checks the whole file and leaves only what the crate is to see. The decoder is taken out and returned.
///
/// # Errors
/// [`ErrorKind::Text`] where it contradicts itself, [`ErrorKind::Unsupported`] with the name of a part that is not known.
pub(super) fn check(file: &mut Value) -> Result<Value> {
    let Some(file) = file.as_object_mut() else { return Err(malformed("is not a JSON object")) };
    file.insert("truncation".into(), Value::Null);
    file.insert("padding".into(), Value::Null);
    check_model(file.get_mut("model").ok_or_else(|| malformed("has no model"))?)?;
    let mut parts = Tally::default();
    each(file.get("normalizer"), "normalizers", "normalizer", &mut |kind, fields| {
        check_normalizer(kind, fields).and_then(|()| parts.count(kind, fields))
    })?;
    each(file.get("pre_tokenizer"), "pretokenizers", "pre-tokenizer", &mut |kind, fields| {
        check_pre_tokenizer(kind, fields).and_then(|()| parts.count(kind, fields))
    })?;
    if let Some(processor) = file.get_mut("post_processor") {
        *processor = check_post_processor(processor.take())?;
    }
    check_added_tokens(file.get("added_tokens"))?;
    Ok(file.insert("decoder".into(), Value::Null).unwrap_or(Value::Null))
}

/// Looks at one part: its `type`, and its fields.
type Check<'a> = dyn FnMut(&str, &Map<String, Value>) -> Result<()> + 'a;

/// Calls `check` for a part, or for each part of a `Sequence` of them.
pub(super) fn each(part: Option<&Value>, list: &str, what: &str, check: &mut Check<'_>) -> Result<()> {
    let Some(part) = part.filter(|part| !part.is_null()) else { return Ok(()) };
    let fields = part.as_object().ok_or_else(|| malformed(format!("the {what} is not an object")))?;
    let kind = fields.get("type").and_then(Value::as_str).ok_or_else(|| malformed(format!("a {what} has no type")))?;
    if kind != "Sequence" {
        return check(kind, fields);
    }
    let parts = fields.get(list).and_then(Value::as_array);
    let parts = parts.ok_or_else(|| malformed(format!("a sequence has no '{list}'")))?;
    parts.iter().try_for_each(|part| each(Some(part), list, what, check))
}

fn check_model(model: &mut Value) -> Result<()> {
    let fields = model.as_object_mut().ok_or_else(|| malformed("the model is not an object"))?;
    // The oldest files leave the type out.
    let kind = fields.entry("type").or_insert_with(|| json!("BPE"));
    if kind == "Unigram" {
        return check_unigram(fields);
    }
    if kind != "BPE" {
        return Err(unsupported(format!("a tokenizer of type {kind} is not known, only BPE and Unigram")));
    }
    for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if fields.get(name).is_some_and(|value| !value.is_null() && value != "") {
            return Err(unsupported(format!("'{name}' is not known")));
        }
        fields.insert(name.into(), Value::Null);
    }
    if fields.get("dropout").is_some_and(|value| !value.is_null() && value.as_f64() != Some(0.0)) {
        return Err(unsupported("merges are to be dropped at random, which is for training"));
    }
    let vocab =
        fields.get("vocab").and_then(Value::as_object).ok_or_else(|| malformed("the model has no vocabulary"))?;
    let mut ids = HashSet::with_capacity(vocab.len());
    for (token, id) in vocab {
        check_token_len(token)?;
        let id = id.as_u64().filter(|id| *id < MOST_IDS);
        let id = id.ok_or_else(|| malformed(format!("token {token:?} has no id below {MOST_IDS}")))?;
        if !ids.insert(id) {
            return Err(malformed(format!("id {id} stands for token {token:?} and another")));
        }
    }
    Ok(())
}

/// A list of texts with scores, and the place of the unknown one.
fn check_unigram(fields: &Map<String, Value>) -> Result<()> {
    let vocab =
        fields.get("vocab").and_then(Value::as_array).ok_or_else(|| malformed("the model has no vocabulary"))?;
    let unknown = fields.get("unk_id").and_then(Value::as_u64);
    if unknown.is_none_or(|id| id >= vocab.len() as u64) {
        return Err(malformed("the model has no unknown token"));
    }
    let mut texts = HashSet::with_capacity(vocab.len());
    for entry in vocab {
        let text = entry.get(0).and_then(Value::as_str).filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| malformed(format!("{entry} is no token with a score")))?;
        check_token_len(text)?;
        if !texts.insert(text) {
            return Err(malformed(format!("the token {text:?} comes twice")));
        }
    }
    Ok(())
}

/// How many parts there are of what costs time and memory.
#[derive(Default)]
struct Tally {
    all: usize,
    patterns: usize,
    byte_levels: usize,
}

impl Tally {
    fn count(&mut self, kind: &str, fields: &Map<String, Value>) -> Result<()> {
        self.all += 1;
        self.patterns += usize::from(fields.contains_key("pattern"));
        self.byte_levels += usize::from(kind == "ByteLevel");
        if self.all > MOST_PARTS || self.patterns > MOST_PATTERNS || self.byte_levels > MOST_BYTE_LEVELS {
            return Err(malformed("has more normalizers and pre-tokenizers than any tokenizer"));
        }
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        match ["content", "prepend"].into_iter().find(|name| text(name).len() > LONGEST_CONTENT_BYTES) {
            Some(name) => Err(malformed(format!("the {name} of a '{kind}' has {} bytes", text(name).len()))),
            None => Ok(()),
        }
    }
}

fn check_token_len(token: &str) -> Result<()> {
    if token.len() > LONGEST_TOKEN_BYTES {
        return Err(malformed(format!("a token has {} bytes", token.len())));
    }
    Ok(())
}

fn check_normalizer(kind: &str, fields: &Map<String, Value>) -> Result<()> {
    match kind {
        // `Precompiled` is our own.
        "NFC" | "NFD" | "NFKC" | "NFKD" | "Lowercase" | "Prepend" | "Precompiled" => Ok(()),
        "Replace" => check_pattern(fields),
        _ => Err(unsupported(format!("normalizer '{kind}' is not known"))),
    }
}

fn check_pre_tokenizer(kind: &str, fields: &Map<String, Value>) -> Result<()> {
    match kind {
        "ByteLevel" | "Digits" | "Metaspace" | "Punctuation" | "Whitespace" | "WhitespaceSplit" => Ok(()),
        "Split" => check_pattern(fields),
        _ => Err(unsupported(format!("pre-tokenizer '{kind}' is not known"))),
    }
}

fn check_pattern(fields: &Map<String, Value>) -> Result<()> {
    let pattern = fields.get("pattern").ok_or_else(|| malformed("a part has no pattern"))?;
    let text = pattern.get("String").or(pattern.get("Regex")).and_then(Value::as_str);
    let text = text.filter(|text| !text.is_empty()).ok_or_else(|| malformed("a pattern is no text"))?;
    if text.len() > LONGEST_REGEX_BYTES {
        return Err(malformed(format!("a pattern has {} bytes", text.len())));
    }
    if pattern.get("Regex").is_some() && expanded(text) > MOST_ELEMENTS {
        return Err(malformed(format!("the pattern {text:?} repeats too often")));
    }
    Ok(())
}

/// How many elements a regular expression has when its counted repetitions are written out, which is what compiling it
/// does: within each other they multiply, beside each other they add up.
fn expanded(regex: &str) -> u64 {
    let mut chars = regex.chars().peekable();
    // Of each open group: the elements so far, and those of the last one, which a count repeats.
    let mut groups = vec![(0u64, 0u64)];
    while let Some(c) = chars.next() {
        let element = match c {
            '(' => {
                groups.push((0, 0));
                continue;
            }
            ')' if groups.len() > 1 => groups.pop().map_or(0, |(sum, _)| sum.max(1)),
            '{' => {
                let inside: String = std::iter::from_fn(|| chars.next_if(|c| *c != '}')).collect();
                let (sum, last) = groups.last_mut().expect("the outermost stays");
                let more = last.saturating_mul(greatest(&inside).max(1) - 1);
                (*sum, *last) = (sum.saturating_add(more), last.saturating_add(more));
                continue;
            }
            '*' | '+' | '?' | '|' | '}' => continue,
            '\\' => {
                let kind = chars.next();
                if matches!(kind, Some('x' | 'p' | 'P' | 'u')) && chars.next_if_eq(&'{').is_some() {
                    chars.by_ref().find(|c| *c == '}');
                }
                1
            }
            '[' => {
                skip_class(&mut chars);
                1
            }
            _ => 1,
        };
        let (sum, last) = groups.last_mut().expect("the outermost stays");
        (*sum, *last) = (sum.saturating_add(element), element);
    }
    groups.into_iter().fold(0, |all, (sum, _)| all.saturating_add(sum))
}

/// Goes behind the end of a class whose `[` was read; classes may lie in it.
fn skip_class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let mut depth = 1;
    chars.next_if_eq(&'^');
    chars.next_if_eq(&']');
    while depth > 0 {
        match chars.next() {
            Some('\\') => drop(chars.next()),
            Some('[') => depth += 1,
            Some(']') => depth -= 1,
            Some(_) => {}
            None => return,
        }
    }
}

/// The greatest number of a count: `3`, `3,`, `1,3`.
fn greatest(count: &str) -> u64 {
    let numbers = count.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    numbers.map(|digits| digits.parse().unwrap_or(u64::MAX)).max().unwrap_or(1)
}

/// Post-processors without those that only move offsets, which nobody here reads.
fn check_post_processor(processor: Value) -> Result<Value> {
    let mut templates = Vec::new();
    each(Some(&processor), "processors", "post-processor", &mut |kind, fields| match kind {
        "ByteLevel" => Ok(()),
        "TemplateProcessing" => {
            templates.push(check_template(fields)?);
            Ok(())
        }
        _ => Err(unsupported(format!("post-processor '{kind}' is not known"))),
    })?;
    Ok(match templates.len() {
        0 => Value::Null,
        1 => templates.swap_remove(0),
        _ => json!({ "type": "Sequence", "processors": templates }),
    })
}

fn check_template(fields: &Map<String, Value>) -> Result<Value> {
    let no_tokens = Map::new();
    let specials = fields.get("special_tokens").and_then(Value::as_object).unwrap_or(&no_tokens);
    let single =
        fields.get("single").and_then(Value::as_array).ok_or_else(|| malformed("a template has no 'single'"))?;
    if single.len() > MOST_TEMPLATE_PIECES {
        return Err(malformed("a template has too many pieces"));
    }
    let mut sequences = 0;
    for piece in single {
        let special = piece.pointer("/SpecialToken/id").and_then(Value::as_str);
        match special {
            Some(id) => check_special(id, specials.get(id))?,
            None if piece.pointer("/Sequence/id").is_some_and(|id| id == "A") => sequences += 1,
            None => return Err(malformed(format!("a template has the unknown piece {piece}"))),
        }
    }
    if sequences != 1 {
        return Err(malformed(format!("a template has the text {sequences} times")));
    }
    // Pairs of texts are for classifiers.
    let pair = json!([{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }]);
    Ok(json!({ "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": specials }))
}

fn check_special(name: &str, token: Option<&Value>) -> Result<()> {
    let list = |field| token.and_then(|token| token.get(field)?.as_array());
    let (Some(ids), Some(tokens)) = (list("ids"), list("tokens")) else {
        return Err(malformed(format!("a template names the unknown token {name:?}")));
    };
    let ids_fit = ids.iter().all(|id| id.as_u64().is_some_and(|id| id < MOST_IDS));
    if !ids_fit || ids.len() != tokens.len() || ids.len() > MOST_TEMPLATE_PIECES {
        return Err(malformed(format!("the template's token {name:?} has wrong ids")));
    }
    Ok(())
}

fn check_added_tokens(tokens: Option<&Value>) -> Result<()> {
    let Some(tokens) = tokens.filter(|tokens| !tokens.is_null()) else { return Ok(()) };
    let tokens = tokens.as_array().ok_or_else(|| malformed("'added_tokens' is not a list"))?;
    let bad = tokens.iter().find(|token| token["id"].as_u64().is_none_or(|id| id >= MOST_IDS));
    if let Some(token) = bad {
        return Err(malformed(format!("the added token {token} has no id below {MOST_IDS}")));
    }
    check_added_size(tokens.iter().filter_map(|token| token["content"].as_str()))
}

/// Added tokens are as many and as long as a tokenizer may have.
///
/// # Errors
/// [`ErrorKind::Text`] where they are more, or longer.
pub(super) fn check_added_size<'a>(texts: impl Iterator<Item = &'a str>) -> Result<()> {
    let (mut count, mut bytes) = (0, 0);
    for text in texts {
        count += 1;
        bytes += text.len();
        if text.len() > LONGEST_ADDED_BYTES {
            return Err(malformed(format!("an added token has {} bytes", text.len())));
        }
        if count > MOST_ADDED || bytes > MOST_ADDED_BYTES {
            return Err(malformed(format!("more than {MOST_ADDED} added tokens, or {MOST_ADDED_BYTES} bytes of them")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::expanded;

    #[test]
    fn counts_how_far_a_regex_expands() {
        let table = [
            (r"\p{N}{1,3}", 3),
            (r"(?:a{10}){20,}b{5}", 20 * 11 + 5),
            ("((a{99}){99}){99}", 99 * 99 * 99),
            ("x{999999999}", 999_999_999),
            ("x{99999999999999999999999}", u64::MAX),
            ("x{,7}", 7),
            (r"\x{0041}\p{Lu}", 2),
            (r"[\x{FF01}-\x{FF0F}\]{9}]{2}", 2),
            ("[[a-z]&&[^b]{9}]x{2}", 3),
            (r"a{256}|b{128}\{{3}", 256 + 128 + 3),
            ("(((((x{9}){9}", 81),
            ("{", 0),
            ("x{0}", 1),
            ("", 0),
        ];
        for (regex, expected) in table {
            assert_eq!(expanded(regex), expected, "{regex}");
        }
    }
}
