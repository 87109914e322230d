//! What each token adds to a text, as bytes: the decoder of a `tokenizer.json`, applied one token at a time.
//!
//! A decoder of the `tokenizers` crate maps a whole list of tokens to a text. All decoders of language models can be
//! read as "each token gives bytes, and perhaps the very first spaces are dropped", which streams without decoding anything
//! twice and makes the text independent of how the ids are cut. Bytes that are no UTF-8 become U+FFFD as in
//! `String::from_utf8_lossy`. The crate agrees on byte-level tokenizers; for SentencePiece's `<0xE2>` tokens it replaces
//! every byte of a run in which any is wrong.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::tokenizer_check::each;
use crate::{Error, ErrorKind, Result};

/// Published decoders have two or three steps, and make no token longer.
const MOST_STEPS: usize = 16;
const MOST_GROWTH: usize = 64;

/// One step from a token's text to its bytes.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Replace {
        pattern: String,
        content: String,
    },
    /// GPT-2's alphabet of 256 visible characters, one for each byte.
    ByteLevel,
    /// `<0xE2>` is a byte.
    ByteFallback,
    /// SentencePiece's `▁` is a space; in the first token it is nothing where `drop_first`.
    Metaspace {
        replacement: char,
        drop_first: bool,
    },
}

/// The decoder of a tokenizer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PieceDecoder {
    steps: Vec<Step>,
    /// Characters dropped at the beginning of a text: at most this many of this one.
    strip: Option<(char, usize)>,
    /// Tokens are words: a space goes between them. So where there is no decoder at all.
    spaced: bool,
}

impl PieceDecoder {
    /// Reads the `decoder` of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] with the name of a decoder that is not known, or that stands where it would act on more
    /// than one token.
    pub(super) fn new(decoder: &Value) -> Result<Self> {
        let mut result = Self { spaced: decoder.is_null(), ..Self::default() };
        let mut fused = false;
        each(Some(decoder), "decoders", "decoder", &mut |kind, fields| {
            match kind {
                "Fuse" => fused = true,
                "Strip" if fused && result.strip.is_none() => result.strip = Some(strip(fields)?),
                _ if fused => return Err(unsupported(kind)),
                "Replace" if result.steps.contains(&Step::ByteFallback) => return Err(unsupported(kind)),
                "Replace" => result.steps.push(replace(fields)?),
                "ByteFallback" => result.steps.push(Step::ByteFallback),
                "Metaspace" => result.steps.push(metaspace(fields)?),
                "ByteLevel" => {
                    result.steps.push(Step::ByteLevel);
                    fused = true;
                }
                _ => return Err(unsupported(kind)),
            }
            Ok(())
        })?;
        if result.steps.len() > MOST_STEPS || result.growth() > MOST_GROWTH {
            return Err(Error::new(ErrorKind::Text, "the decoder makes texts too long").remedy("get the file again"));
        }
        Ok(result)
    }

    /// How many times as long as a token its text may be.
    fn growth(&self) -> usize {
        let of = |step: &Step| match step {
            Step::Replace { pattern, content } => content.len().div_ceil(pattern.len()).max(1),
            _ => 1,
        };
        self.steps.iter().map(of).fold(1, usize::saturating_mul)
    }

    /// The bytes of one token; `first` where it is the first of its text.
    pub(super) fn bytes(&self, token: &str, first: bool) -> Vec<u8> {
        let mut text = token.to_owned();
        for step in &self.steps {
            match step {
                Step::Replace { pattern, content } => text = text.replace(pattern.as_str(), content),
                Step::Metaspace { replacement, drop_first } => {
                    text = text.replace(*replacement, if first && *drop_first { "" } else { " " });
                }
                Step::ByteFallback => {
                    if let Some(byte) = fallback_byte(&text) {
                        return vec![byte];
                    }
                }
                Step::ByteLevel => {
                    let bytes: Option<Vec<u8>> = text.chars().map(|c| BYTE_OF_CHAR.get(&c).copied()).collect();
                    return bytes.unwrap_or_else(|| text.into_bytes());
                }
            }
        }
        if self.spaced && !first {
            text.insert(0, ' ');
        }
        text.into_bytes()
    }
}

/// Text under construction: takes tokens, gives whole characters.
#[derive(Clone, Debug)]
pub(super) struct Assembler {
    first: bool,
    /// How many characters may still be dropped at the beginning.
    strip: usize,
    /// The beginning of a character, at most three bytes.
    pending: Vec<u8>,
}

impl Assembler {
    pub(super) fn new(decoder: &PieceDecoder) -> Self {
        Self { first: true, strip: decoder.strip.map_or(0, |(_, count)| count), pending: Vec::new() }
    }

    /// Takes a token's text; gives the characters that are complete now.
    pub(super) fn push(&mut self, decoder: &PieceDecoder, token: &str) -> String {
        self.pending.extend(decoder.bytes(token, self.first));
        self.first = false;
        let mut text = String::new();
        let rest = push_utf8(&mut text, &self.pending);
        self.pending.drain(..self.pending.len() - rest);
        self.strip(decoder, &mut text);
        text
    }

    /// The end of the text: an incomplete character is none.
    pub(super) fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }

    fn strip(&mut self, decoder: &PieceDecoder, text: &mut String) {
        let Some((content, _)) = decoder.strip else { return };
        let mut rest = text.as_str();
        while self.strip > 0 && !rest.is_empty() {
            match rest.strip_prefix(content) {
                Some(stripped) => (rest, self.strip) = (stripped, self.strip - 1),
                None => self.strip = 0,
            }
        }
        text.drain(..text.len() - rest.len());
    }
}

/// Appends the characters of `bytes` with U+FFFD for what is none; gives the length of an incomplete character at the end.
fn push_utf8(text: &mut String, mut bytes: &[u8]) -> usize {
    loop {
        match std::str::from_utf8(bytes) {
            Ok(valid) => {
                text.push_str(valid);
                return 0;
            }
            Err(error) => {
                let (valid, rest) = bytes.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                let Some(len) = error.error_len() else { return rest.len() };
                text.push(char::REPLACEMENT_CHARACTER);
                bytes = &rest[len..];
            }
        }
    }
}

fn unsupported(kind: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("decoder '{kind}' is not known, or not in its place"))
}

fn malformed(kind: &str) -> Error {
    Error::new(ErrorKind::Text, format!("the decoder '{kind}' lacks a field")).remedy("get the file again")
}

fn replace(fields: &Map<String, Value>) -> Result<Step> {
    if fields.get("pattern").is_some_and(|pattern| pattern.get("Regex").is_some()) {
        return Err(unsupported("Replace by a regular expression"));
    }
    let pattern = fields.get("pattern").and_then(|pattern| pattern.get("String")?.as_str());
    match (pattern, fields.get("content").and_then(Value::as_str)) {
        (Some(pattern), Some(content)) if !pattern.is_empty() => {
            Ok(Step::Replace { pattern: pattern.to_owned(), content: content.to_owned() })
        }
        _ => Err(malformed("Replace")),
    }
}

fn strip(fields: &Map<String, Value>) -> Result<(char, usize)> {
    let count = |name| fields.get(name).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
    match (one_char(fields.get("content")), count("start"), count("stop")) {
        (Some(content), Some(start), Some(0)) => Ok((content, start)),
        (Some(_), Some(_), Some(_)) => Err(unsupported("Strip at the end")),
        _ => Err(malformed("Strip")),
    }
}

fn metaspace(fields: &Map<String, Value>) -> Result<Step> {
    let replacement = one_char(fields.get("replacement")).ok_or_else(|| malformed("Metaspace"))?;
    let never = fields.get("prepend_scheme").is_some_and(|scheme| scheme == "never");
    let without = fields.get("add_prefix_space").is_some_and(|add| add == false);
    Ok(Step::Metaspace { replacement, drop_first: !never && !without })
}

fn one_char(value: Option<&Value>) -> Option<char> {
    let mut chars = value?.as_str()?.chars();
    chars.next().filter(|_| chars.next().is_none())
}

/// The byte of SentencePiece's `<0xE2>`.
fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 2)
}

/// GPT-2's alphabet (`bytes_to_unicode` of openai/gpt-2): visible Latin-1 characters stand for themselves, the other
/// bytes follow in order from U+0100.
static CHAR_OF_BYTE: LazyLock<[char; 256]> = LazyLock::new(|| {
    let visible = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut others = '\u{100}'..;
    std::array::from_fn(|byte| match byte as u8 {
        byte if visible(byte) => char::from(byte),
        _ => others.next().expect("there are more characters than bytes"),
    })
});

static BYTE_OF_CHAR: LazyLock<HashMap<char, u8>> =
    LazyLock::new(|| CHAR_OF_BYTE.iter().copied().zip(0..=u8::MAX).collect());

/// Bytes in that alphabet, as vocabularies write them.
pub(super) fn visible_bytes(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| CHAR_OF_BYTE[usize::from(*byte)]).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(decoder: Value, tokens: &[&str]) -> (Vec<String>, String) {
        let decoder = PieceDecoder::new(&decoder).unwrap();
        let mut assembler = Assembler::new(&decoder);
        let mut pieces: Vec<String> = tokens.iter().map(|token| assembler.push(&decoder, token)).collect();
        pieces.push(assembler.finish());
        let whole = pieces.concat();
        (pieces, whole)
    }

    fn llama() -> Value {
        json!({ "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
            { "type": "ByteFallback" }, { "type": "Fuse" },
            { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
        ]})
    }

    #[test]
    fn decodes_each_kind() {
        let byte_level = json!({ "type": "ByteLevel" });
        let metaspace = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always" });
        let table: &[(Value, &[&str], &str)] = &[
            (byte_level.clone(), &["Hello", "Ġworld", "ðŁ", "ĺĬ"], "Hello world😊"),
            (byte_level.clone(), &["a", "ðŁ", "b"], "a\u{fffd}b"),
            (byte_level.clone(), &["a", "ðŁ"], "a\u{fffd}"),
            (byte_level, &["a", "<|日本|>"], "a<|日本|>"),
            (llama(), &["▁Hello", "▁wor", "ld", "<0xE2>", "<0x82>", "<0xAC>"], "Hello world€"),
            (llama(), &["▁", "▁x"], " x"),
            (llama(), &["x", "▁", "▁y"], "x  y"),
            (llama(), &["<0x20>", "▁x"], " x"),
            (llama(), &["<0xE2>", "a", "<0xZZ>", "<0xé>"], "\u{fffd}a<0xZZ><0xé>"),
            (metaspace, &["▁a", "▁b", "c"], "a bc"),
            (json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "never" }), &["▁a", "▁b"], " a b"),
            (json!({ "type": "Metaspace", "replacement": "▁", "add_prefix_space": false }), &["▁a", "▁b"], " a b"),
            (Value::Null, &["two", "words"], "two words"),
        ];
        for (decoder, tokens, expected) in table {
            assert_eq!(text(decoder.clone(), tokens).1, *expected, "{tokens:?} with {decoder}");
        }
    }

    #[test]
    fn gives_a_character_when_its_last_byte_is_there() {
        let (pieces, _) = text(json!({ "type": "ByteLevel" }), &["ð", "Ł", "ĺ", "Ĭ", "a"]);
        assert_eq!(pieces, ["", "", "", "😊", "a", ""]);
        let (pieces, _) = text(llama(), &["▁", "▁", "a"]);
        assert_eq!(pieces, ["", " ", "a", ""]);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let replace = json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " });
        let table = [
            (json!({ "type": "CTC" }), ErrorKind::Unsupported),
            (json!({ "type": "BPEDecoder", "suffix": "</w>" }), ErrorKind::Unsupported),
            (json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }), ErrorKind::Unsupported),
            (json!({ "type": "Sequence", "decoders": [{ "type": "Fuse" }, replace.clone()] }), ErrorKind::Unsupported),
            (json!({ "type": "Sequence", "decoders": [{ "type": "ByteFallback" }, replace] }), ErrorKind::Unsupported),
            (json!({ "type": "Replace", "pattern": { "Regex": "a" }, "content": "" }), ErrorKind::Unsupported),
            (json!({ "type": "Replace", "pattern": { "String": "" }, "content": "" }), ErrorKind::Text),
            (json!({ "type": "Metaspace", "replacement": "ab" }), ErrorKind::Text),
            (json!({ "type": "Sequence" }), ErrorKind::Text),
            (json!({}), ErrorKind::Text),
            (json!(3), ErrorKind::Text),
        ];
        for (decoder, kind) in table {
            assert_eq!(PieceDecoder::new(&decoder).unwrap_err().kind(), kind, "{decoder}");
        }
    }
}
