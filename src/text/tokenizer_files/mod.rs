//! A `tokenizer.json` for checkpoints that have none, from the files that they have in its place.

mod byte_level;
mod sentencepiece;
mod words;

use serde_json::{Map, Value};

use super::Tokenizer;
use super::stop::token_text;
use super::tokenizer_parts::template;
use crate::checkpoint::TokenizerFiles;
use crate::checkpoint::tokenizer_files::Vocabulary;
use crate::{Error, ErrorKind, Result};
use words::Words;

/// `tokenizer.json` for a checkpoint's other tokenizer files. `tokenizer_config` and `config` are those of the checkpoint:
/// the class of the tokenizer, its special tokens and, where neither file says it, the type of the model.
///
/// The ids are those of the library that the vocabulary was made for (`sentencepiece`, `tiktoken`), special tokens in the
/// text being recognized as transformers does. The result has been loaded once.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a class or a setting that is not known, naming it; [`ErrorKind::Malformed`] and
/// [`ErrorKind::Text`] for files that contradict themselves. All name the vocabulary's file.
pub fn tokenizer_json_from_files(
    files: &TokenizerFiles,
    tokenizer_config: Option<&Value>,
    config: &Value,
) -> Result<Vec<u8>> {
    let nothing = Value::Object(Map::new());
    let source = Source { files, tokenizer_config: tokenizer_config.unwrap_or(&nothing), config };
    let made = match &files.vocabulary {
        Vocabulary::SentencePiece(model) => sentencepiece::tokenizer(&source, model),
        Vocabulary::Tiktoken(ranks) => byte_level::from_tiktoken(&source, ranks),
        Vocabulary::Tekken(tekken) => byte_level::from_tekken(&source, tekken),
        Vocabulary::Merges(merges) => byte_level::from_merges(&source, merges),
    };
    let checked = made.and_then(|value| {
        let bytes = serde_json::to_vec(&value).map_err(|error| Error::new(ErrorKind::Text, error.to_string()))?;
        Tokenizer::from_json(value)?;
        Ok(bytes)
    });
    checked.map_err(|error| error.file(&files.name))
}

/// What there is to make a tokenizer from.
struct Source<'a> {
    files: &'a TokenizerFiles,
    tokenizer_config: &'a Value,
    config: &'a Value,
}

impl Source<'_> {
    /// The class of the tokenizer, of the slow one where there are two; empty where it is not said.
    fn class(&self) -> &str {
        let class = self.tokenizer_config.get("tokenizer_class").and_then(Value::as_str).unwrap_or_default();
        class.strip_suffix("Fast").unwrap_or(class)
    }

    fn model_type(&self) -> &str {
        self.config.get("model_type").and_then(Value::as_str).unwrap_or_default()
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.tokenizer_config.get(name).and_then(Value::as_bool)
    }

    /// The post-processor: `before` the text, unless the beginning of text is what the config asks for, and the end.
    fn around(&self, words: &Words, before: &[&str], bos: Option<u32>, eos: Option<u32>) -> Value {
        let named = |name: &str| {
            let text = self.tokenizer_config.get(name).and_then(token_text);
            text.and_then(|text| words.id(text))
        };
        let with_text = |id: Option<u32>| id.and_then(|id| Some((id, words.text(id)?)));
        let bos = with_text(named("bos_token").or(bos).filter(|_| self.flag("add_bos_token").unwrap_or(bos.is_some())));
        let eos = with_text(named("eos_token").or(eos).filter(|_| self.flag("add_eos_token").unwrap_or(false)));
        let fixed = before.iter().filter_map(|text| Some((words.id(text)?, *text)));
        let before: Vec<(u32, &str)> = if before.is_empty() { bos.into_iter().collect() } else { fixed.collect() };
        template(&before, eos.as_slice())
    }
}

fn unsupported(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what} is not known")).remedy("put a tokenizer.json beside it")
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
