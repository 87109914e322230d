//! The normalizers of a `tokenizer.json`: those of the `tokenizers` crate, and SentencePiece's map of characters.
//!
//! The crate has such a map too (`Precompiled`), but asks it for one grapheme at a time and takes the shortest entry that
//! fits; the `sentencepiece` library takes the longest one, wherever it begins. They differ on marks and on Hangul that
//! stand apart from their base.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::Value;
use tokenizers::{NormalizedString, NormalizerWrapper};

/// A normalizer, or several in order.
#[derive(Clone, Debug)]
pub(super) enum Normalizer {
    Each(Vec<Normalizer>),
    Charsmap(Charsmap),
    Other(Box<NormalizerWrapper>),
}

impl tokenizers::Normalizer for Normalizer {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        match self {
            Self::Each(parts) => parts.iter().try_for_each(|part| part.normalize(text)),
            Self::Charsmap(map) => {
                map.normalize(text);
                Ok(())
            }
            Self::Other(other) => other.normalize(text),
        }
    }
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

    /// Each character of the new text, with 1 less the number of old ones that it stands for.
    fn normalize(&self, text: &mut NormalizedString) {
        let (mut rest, mut changed) = (text.get(), false);
        let mut new: Vec<(char, isize)> = Vec::with_capacity(rest.len());
        let mut dropped_first = 0;
        while let Some(c) = rest.chars().next() {
            let Some((len, to)) = self.longest(rest) else {
                new.push((c, 0));
                rest = &rest[c.len_utf8()..];
                continue;
            };
            let mut old = rest[..len].chars().count() as isize;
            for c in to.chars() {
                let stands_for = old.min(1);
                new.push((c, 1 - stands_for));
                old -= stands_for;
            }
            match new.last_mut() {
                Some((_, change)) => *change -= old,
                None => dropped_first += old as usize,
            }
            (rest, changed) = (&rest[len..], true);
        }
        if changed {
            text.transform(new, dropped_first);
        }
    }
}

#[cfg(test)]
#[path = "normalizers_tests.rs"]
mod tests;
