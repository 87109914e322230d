//! The normalizers of a `tokenizer.json`: those of the `tokenizers` crate, and SentencePiece's map of characters.
//!
//! The crate has such a map too (`Precompiled`), but asks it for one grapheme at a time and takes the shortest entry that
//! fits; the `sentencepiece` library takes the longest one, wherever it begins. They differ on marks and on Hangul that
//! stand apart from their base.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::Value;
use tokenizers::tokenizer::normalizer::Range;
use tokenizers::utils::SysRegex;
use tokenizers::{NormalizedString, NormalizerWrapper};

/// What normalizing may make of a text: one character of Arabic becomes eleven times as long, and nothing more.
const MOST_GROWTH: usize = 16;
/// And this much beside, for short texts.
const MOST_ADDED_BYTES: usize = 4096;

/// A normalizer, or several in order.
#[derive(Clone, Debug)]
pub(super) enum Normalizer {
    Each(Vec<Normalizer>),
    Charsmap(Charsmap),
    Replace(Replace),
    Other(Box<NormalizerWrapper>),
}

impl tokenizers::Normalizer for Normalizer {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        self.apply(text, text.get().len().saturating_mul(MOST_GROWTH).saturating_add(MOST_ADDED_BYTES))
    }
}

impl Normalizer {
    /// Normalizes a text that no step may make longer than `most` bytes.
    fn apply(&self, text: &mut NormalizedString, most: usize) -> tokenizers::Result<()> {
        match self {
            Self::Each(parts) => return parts.iter().try_for_each(|part| part.apply(text, most)),
            Self::Charsmap(map) => map.normalize(text, most)?,
            Self::Replace(replace) => replace.normalize(text, most)?,
            Self::Other(other) => tokenizers::Normalizer::normalize(other.as_ref(), text)?,
        }
        if text.get().len() > most { Err(too_long()) } else { Ok(()) }
    }
}

fn too_long() -> tokenizers::Error {
    "the tokenizer's normalizer makes the text too long".into()
}

impl<'de> Deserialize<'de> for Normalizer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let kind = value.get("type").and_then(Value::as_str);
        if kind == Some("Precompiled") {
            let map = value.get("precompiled_charsmap").and_then(Value::as_str);
            let map = map.and_then(|text| STANDARD.decode(text).ok()).and_then(|bytes| Charsmap::parse(&bytes));
            return map.map(Self::Charsmap).ok_or_else(|| D::Error::custom("the precompiled_charsmap is broken"));
        }
        if kind == Some("Replace") {
            return Replace::parse(&value).map(Self::Replace).map_err(D::Error::custom);
        }
        match (kind, value.get("normalizers")) {
            (Some("Sequence"), Some(parts)) => {
                Vec::deserialize(parts).map(Self::Each).map_err(|error| D::Error::custom(error.to_string()))
            }
            _ => serde_json::from_value(value).map(|part| Self::Other(Box::new(part))).map_err(D::Error::custom),
        }
    }
}

/// Which text becomes which: a trie of bytes, and the texts that its entries lead to.
///
/// In the file: the trie's length in bytes, its units as little-endian `u32`, then texts, each ended by a zero byte. The
/// trie is a double array (<https://github.com/s-yata/darts-clone>): a unit holds the label of the byte that leads to it,
/// an offset to its children, and whether the text up to it is an entry; that entry's value is the place of its text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Charsmap {
    units: Vec<u32>,
    texts: String,
}

impl Charsmap {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (units, texts) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
        let (units, odd) = units.as_chunks::<4>();
        let units: Vec<u32> = units.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        let texts = String::from_utf8(texts.to_vec()).ok()?;
        (!units.is_empty() && odd.is_empty()).then_some(Self { units, texts })
    }

    /// The longest entry that `text` begins with: its length in bytes, and what it becomes.
    fn longest(&self, text: &str) -> Option<(usize, &str)> {
        let offset = |unit: u32| (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let at = |place: u32| self.units.get(place as usize).copied();
        let mut place = offset(at(0)?);
        let mut found = None;
        for (index, byte) in text.bytes().enumerate() {
            if byte == 0 {
                break;
            }
            place ^= u32::from(byte);
            let Some(unit) = at(place).filter(|unit| unit & ((1 << 31) | 0xff) == u32::from(byte)) else { break };
            place ^= offset(unit);
            if unit & (1 << 8) != 0 {
                found = at(place).map(|value| (index + 1, value & !(1 << 31)));
            }
        }
        let (len, value) = found.filter(|(len, _)| text.is_char_boundary(*len))?;
        let to = self.texts.get(value as usize..)?;
        Some((len, to.split('\0').next().unwrap_or(to)))
    }

    fn normalize(&self, text: &mut NormalizedString, most: usize) -> tokenizers::Result<()> {
        let (mut rest, mut changes) = (text.get(), Changes::new(most));
        while let Some(c) = rest.chars().next() {
            let len = match self.longest(rest) {
                None => changes.keep(c),
                Some((len, to)) => {
                    changes.replace(&rest[..len], to)?;
                    len
                }
            };
            rest = &rest[len..];
        }
        changes.apply(text);
        Ok(())
    }
}

/// A text, or what an expression matches, becomes another. The crate's own panics where nothing is matched (an empty match).
#[derive(Clone, Debug)]
pub(super) struct Replace {
    pattern: Pattern,
    content: String,
}

#[derive(Clone, Debug)]
enum Pattern {
    Text(String),
    Regex(Arc<SysRegex>),
}

impl Replace {
    fn parse(value: &Value) -> Result<Self, String> {
        let content = value.get("content").and_then(Value::as_str).ok_or("a Replace has no content")?.to_owned();
        let text = |kind: &str| value.get("pattern").and_then(|pattern| pattern.get(kind)?.as_str());
        let pattern = match (text("String"), text("Regex")) {
            (Some(text), _) => Pattern::Text(text.to_owned()),
            (_, Some(regex)) => Pattern::Regex(Arc::new(SysRegex::new(regex).map_err(|error| error.to_string())?)),
            _ => return Err("a Replace has no pattern".into()),
        };
        Ok(Self { pattern, content })
    }

    fn normalize(&self, text: &mut NormalizedString, most: usize) -> tokenizers::Result<()> {
        let old = text.get();
        let mut changes = Changes::new(most);
        let mut done = 0;
        let matches: Box<dyn Iterator<Item = (usize, usize)>> = match &self.pattern {
            _ if old.is_empty() => return Ok(()),
            Pattern::Text(pattern) => Box::new(old.match_indices(pattern.as_str()).map(|(at, s)| (at, at + s.len()))),
            Pattern::Regex(regex) => Box::new(regex.find_iter(old)),
        };
        for (start, end) in matches {
            for c in old[done..start].chars() {
                changes.keep(c);
            }
            changes.replace(&old[start..end], &self.content)?;
            done = end;
        }
        for c in old[done..].chars() {
            changes.keep(c);
        }
        changes.apply(text);
        Ok(())
    }
}

/// A new text under construction: each of its characters with 1 less the number of old ones that it stands for.
struct Changes {
    new: Vec<(char, isize)>,
    dropped_first: usize,
    changed: bool,
    bytes: usize,
    most: usize,
}

impl Changes {
    fn new(most: usize) -> Self {
        Self { new: Vec::new(), dropped_first: 0, changed: false, bytes: 0, most }
    }

    /// A character that stays; gives its length in bytes.
    fn keep(&mut self, c: char) -> usize {
        self.new.push((c, 0));
        self.bytes += c.len_utf8();
        c.len_utf8()
    }

    fn replace(&mut self, from: &str, to: &str) -> tokenizers::Result<()> {
        self.bytes += to.len();
        if self.bytes > self.most {
            return Err(too_long());
        }
        let mut old = from.chars().count() as isize;
        for c in to.chars() {
            let stands_for = old.min(1);
            self.new.push((c, 1 - stands_for));
            old -= stands_for;
        }
        match self.new.last_mut() {
            Some((_, change)) => *change -= old,
            None => self.dropped_first += old as usize,
        }
        self.changed |= !(from.is_empty() && to.is_empty());
        Ok(())
    }

    fn apply(self, text: &mut NormalizedString) {
        if self.changed {
            // Not `transform`: that leaves out what an earlier step put before the first character.
            text.transform_range(Range::Normalized(..), self.new, self.dropped_first);
        }
    }
}

#[cfg(test)]
#[path = "normalizers_tests.rs"]
mod tests;
