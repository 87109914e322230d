//! The tokenizer of a checkpoint without `tokenizer.json`: a vocabulary in the form of the library that it was trained
//! with, and the lists of special tokens beside it.

pub mod ranks;
pub mod sentencepiece;

use serde_json::Value;

use super::read::{TOKENIZER_CAP, json_if_there, read_if_there};
use crate::Result;
use crate::store::Store;
use ranks::{Merges, Ranks, Tekken};
use sentencepiece::SentencePiece;

/// Files that hold a whole vocabulary, in the order in which they are looked for. What is in them their bytes say.
const FILES: &[&str] = &["tokenizer.model", "spiece.model", "qwen.tiktoken", "tiktoken.model", "tekken.json"];
const VOCAB: &str = "vocab.json";
const MERGES: &str = "merges.txt";

/// What the files of a folder say of its tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizerFiles {
    /// The file with the vocabulary, for messages.
    pub name: String,
    pub vocabulary: Vocabulary,
    /// `added_tokens.json`: ids by token.
    pub added_tokens: Option<Value>,
    /// `special_tokens_map.json`: tokens by what they are for.
    pub special_tokens: Option<Value>,
}

/// A vocabulary as it is published.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Vocabulary {
    SentencePiece(SentencePiece),
    Tiktoken(Ranks),
    Tekken(Tekken),
    Merges(Merges),
}

/// Reads what is there; `None` where there is no vocabulary.
///
/// # Errors
/// Those of the parsers, with the file's name.
pub(super) async fn read(store: &dyn Store) -> Result<Option<TokenizerFiles>> {
    let Some((name, vocabulary)) = vocabulary(store).await? else { return Ok(None) };
    let added_tokens = json_if_there(store, "added_tokens.json").await?;
    let special_tokens = json_if_there(store, "special_tokens_map.json").await?;
    Ok(Some(TokenizerFiles { name: store.describe(name), vocabulary, added_tokens, special_tokens }))
}

async fn vocabulary(store: &dyn Store) -> Result<Option<(&'static str, Vocabulary)>> {
    for name in FILES {
        if let Some(bytes) = read_if_there(store, name, TOKENIZER_CAP).await? {
            let vocabulary = parse(&bytes).map_err(|error| error.file(store.describe(name)))?;
            return Ok(Some((name, vocabulary)));
        }
    }
    let Some(vocab) = read_if_there(store, VOCAB, TOKENIZER_CAP).await? else { return Ok(None) };
    let Some(merges) = read_if_there(store, MERGES, TOKENIZER_CAP).await? else { return Ok(None) };
    let merges = ranks::parse_merges(&vocab, &merges).map_err(|error| error.file(store.describe(VOCAB)))?;
    Ok(Some((VOCAB, Vocabulary::Merges(merges))))
}

/// Parses a file that holds a whole vocabulary, whatever it is called.
///
/// # Errors
/// Those of the parsers.
pub fn parse(bytes: &[u8]) -> Result<Vocabulary> {
    if ranks::is_tiktoken(bytes) {
        return ranks::parse_tiktoken(bytes).map(Vocabulary::Tiktoken);
    }
    if bytes.first() == Some(&b'{') {
        return ranks::parse_tekken(bytes).map(Vocabulary::Tekken);
    }
    sentencepiece::parse(bytes).map(Vocabulary::SentencePiece)
}
