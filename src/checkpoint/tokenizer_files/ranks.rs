//! Vocabularies of bytes: tiktoken's lines of a token in base64 and its rank, Mistral's `tekken.json`, and GPT-2's pair of
//! `vocab.json` and `merges.txt`.

use std::collections::{BTreeMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::super::read::{UniqueMap, malformed_json};
use crate::{Error, ErrorKind, Result};

/// Ids stay below this, as everywhere.
const MOST_IDS: u32 = 1 << 24;
/// Published files have a thousand.
const MOST_SPECIALS: u32 = 1 << 16;

/// tiktoken's vocabulary. Tokens and ranks are unique, and each byte is a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranks {
    /// Tokens with their ranks. The lowest rank merges first.
    pub tokens: Vec<(Vec<u8>, u32)>,
}

/// `tekken.json`: ranks, with everything that tiktoken's own files leave to code.
#[derive(Clone, Debug, PartialEq)]
pub struct Tekken {
    pub ranks: Ranks,
    /// The expression that cuts a text.
    pub pattern: String,
    /// Special tokens, by id; ranks follow them.
    pub specials: Vec<String>,
}

/// `vocab.json` and `merges.txt`, in GPT-2's alphabet of visible characters.
#[derive(Clone, Debug, PartialEq)]
pub struct Merges {
    pub vocab: BTreeMap<String, u32>,
    /// In order of rank.
    pub merges: Vec<(String, String)>,
}

fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, message).remedy("get the file again")
}

/// Whether bytes begin with a line of tiktoken: base64, a space, a number.
pub fn is_tiktoken(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    rank_line(line.trim_ascii_end()).is_some()
}

fn rank_line(line: &[u8]) -> Option<(Vec<u8>, u32)> {
    let (token, rank) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let rank = rank.parse().ok().filter(|rank| *rank < MOST_IDS)?;
    Some((STANDARD.decode(token).ok().filter(|token| !token.is_empty())?, rank))
}

/// Parses a tiktoken file.
///
/// # Errors
/// [`ErrorKind::Malformed`] for a line that is not base64 and a rank below 2^24, naming it, and as for [`Ranks`].
pub fn parse_tiktoken(bytes: &[u8]) -> Result<Ranks> {
    let mut tokens = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii_end();
        if !line.is_empty() {
            let token = rank_line(line).filter(|_| tokens.len() < MOST_IDS as usize);
            tokens.push(token.ok_or_else(|| malformed(format!("line {} is no token with a rank", number + 1)))?);
        }
    }
    Ranks::new(tokens)
}

impl Ranks {
    fn new(tokens: Vec<(Vec<u8>, u32)>) -> Result<Self> {
        let (mut texts, mut ranks) = (HashSet::with_capacity(tokens.len()), HashSet::with_capacity(tokens.len()));
        for (token, rank) in &tokens {
            if !texts.insert(token.as_slice()) || !ranks.insert(*rank) {
                return Err(malformed(format!("rank {rank}, or its token, comes twice")));
            }
        }
        if let Some(byte) = (0..=u8::MAX).find(|byte| !texts.contains([*byte].as_slice())) {
            return Err(malformed(format!("there is no token for the byte {byte}")));
        }
        Ok(Self { tokens })
    }
}

/// Parses `tekken.json`, as the Python package `mistral-common` writes it.
///
/// # Errors
/// [`ErrorKind::Malformed`] for broken JSON, numbers that contradict each other, and as for [`Ranks`].
pub fn parse_tekken(bytes: &[u8]) -> Result<Tekken> {
    #[derive(Deserialize)]
    struct File {
        config: Config,
        vocab: Vec<Token>,
        #[serde(default)]
        special_tokens: Option<Vec<Special>>,
    }
    #[derive(Deserialize)]
    struct Config {
        pattern: String,
        default_vocab_size: u32,
        default_num_special_tokens: u32,
    }
    #[derive(Deserialize)]
    struct Token {
        rank: u32,
        token_bytes: String,
    }
    #[derive(Deserialize)]
    struct Special {
        rank: u32,
        token_str: String,
    }
    let file: File = serde_json::from_slice(bytes).map_err(malformed_json)?;
    let (size, count) = (file.config.default_vocab_size, file.config.default_num_special_tokens);
    if size >= MOST_IDS || count > size.min(MOST_SPECIALS) {
        return Err(malformed(format!("{count} special tokens of {size} are not possible")));
    }
    let decode = |token: Token| {
        let bytes = STANDARD.decode(&token.token_bytes).ok().filter(|bytes| !bytes.is_empty());
        bytes.map(|bytes| (bytes, token.rank)).ok_or_else(|| malformed(format!("rank {} is not base64", token.rank)))
    };
    // The file holds more tokens than the model uses.
    let used = file.vocab.into_iter().filter(|token| token.rank < size - count);
    let ranks = Ranks::new(used.map(decode).collect::<Result<_>>()?)?;
    // Older files leave the first ones to code, in this order.
    let usual =
        ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]"];
    let usual =
        usual.into_iter().chain(["[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]"]);
    let usual =
        usual.chain(["[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"]);
    let named = file.special_tokens.is_some();
    let mut specials: Vec<String> = (0..count).map(|id| format!("<SPECIAL_{id}>")).collect();
    let listed = file.special_tokens.into_iter().flatten().map(|token| (token.rank, token.token_str));
    let usual = usual.enumerate().filter(|_| !named).map(|(id, text)| (id as u32, text.to_owned()));
    for (id, text) in listed.chain(usual) {
        let Some(slot) = specials.get_mut(id as usize) else {
            return Err(malformed(format!("special token {text:?} has the rank {id} of {count}")));
        };
        *slot = text;
    }
    Ok(Tekken { ranks, pattern: file.config.pattern, specials })
}

/// Parses `vocab.json` and `merges.txt`.
///
/// # Errors
/// [`ErrorKind::Malformed`] for broken JSON, a token or an id that comes twice, and a line that is not two tokens.
pub fn parse_merges(vocab: &[u8], merges: &[u8]) -> Result<Merges> {
    let vocab: UniqueMap<u32> = serde_json::from_slice(vocab).map_err(malformed_json)?;
    let mut ids = HashSet::with_capacity(vocab.0.len());
    if let Some((token, id)) = vocab.0.iter().find(|(_, id)| **id >= MOST_IDS || !ids.insert(**id)) {
        return Err(malformed(format!("the id {id} of {token:?} comes twice, or is not below {MOST_IDS}")));
    }
    let text = std::str::from_utf8(merges).map_err(|error| malformed("merges.txt is not UTF-8").source(error))?;
    let mut merges = Vec::new();
    for (number, line) in text.split('\n').enumerate() {
        let line = line.trim_end_matches('\r');
        if line.is_empty() || (number == 0 && line.starts_with("#version")) {
            continue;
        }
        let pair = line.split_once(' ').filter(|(left, right)| !left.is_empty() && !right.is_empty());
        let (left, right) =
            pair.ok_or_else(|| malformed(format!("line {} of merges.txt is not two tokens", number + 1)))?;
        merges.push((left.to_owned(), right.to_owned()));
    }
    Ok(Merges { vocab: vocab.0, merges })
}

#[cfg(test)]
#[path = "ranks_tests.rs"]
mod tests;
