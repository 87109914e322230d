//! The tokenizer a GGUF file carries, as plain fields.

use super::gguf::Metadata;
use crate::{Error, ErrorKind, Result};

/// `tokenizer.ggml.*` of a GGUF file, checked: the optional lists are empty or as long as `tokens` (except merges), ids
/// are below `tokens.len()`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GgufTokenizer {
    /// `tokenizer.ggml.model`: `llama` (SentencePiece BPE), `gpt2` (byte-level BPE)…
    pub model: String,
    /// `tokenizer.ggml.pre`: how text is cut before BPE: `default`, `llama-bpe`, `smollm`, `qwen2`…
    pub pre: Option<String>,
    /// Token texts by id; in a `gpt2` vocabulary in its byte-to-character alphabet.
    pub tokens: Vec<String>,
    /// By id; empty where the file has none.
    pub scores: Vec<f32>,
    /// By id: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; empty where the file has none.
    pub token_types: Vec<i32>,
    /// `left right` pairs in order of rank; empty where the file has none.
    pub merges: Vec<String>,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    /// End of turn, where the file tells it apart from `eos`.
    pub eot: Option<u32>,
    /// End of message (a tool call follows), where the file has one.
    pub eom: Option<u32>,
    pub unk: Option<u32>,
    pub pad: Option<u32>,
    pub add_bos: Option<bool>,
    pub add_eos: Option<bool>,
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.chat_template`, a Jinja template.
    pub chat_template: Option<String>,
}

impl GgufTokenizer {
    /// Extracts and checks `tokenizer.*`; `None` for a file without a vocabulary.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for values of the wrong type, lists that do not agree in length, and ids that are not in
    /// the vocabulary.
    pub fn from_metadata(metadata: &Metadata) -> Result<Option<Self>> {
        let Some(tokens) = metadata.strings("tokenizer.ggml.tokens")? else { return Ok(None) };
        let model = metadata.string("tokenizer.ggml.model")?;
        let model =
            model.ok_or_else(|| Error::new(ErrorKind::Missing, "the metadata has no 'tokenizer.ggml.model'"))?;
        let id = |name: &str| token_id(metadata, name, tokens.len());
        let flag = |name: &str| metadata.bool(&format!("tokenizer.ggml.{name}"));
        let scores = metadata.f32s("tokenizer.ggml.scores")?.unwrap_or_default();
        let token_types = metadata.i32s("tokenizer.ggml.token_type")?.unwrap_or_default();
        same_len("tokenizer.ggml.scores", scores.len(), tokens.len())?;
        same_len("tokenizer.ggml.token_type", token_types.len(), tokens.len())?;
        Ok(Some(Self {
            model: model.to_owned(),
            pre: metadata.string("tokenizer.ggml.pre")?.map(str::to_owned),
            tokens: tokens.to_vec(),
            scores,
            token_types,
            merges: metadata.strings("tokenizer.ggml.merges")?.unwrap_or_default().to_vec(),
            bos: id("bos")?,
            eos: id("eos")?,
            eot: id("eot")?,
            eom: id("eom")?,
            unk: id("unknown")?,
            pad: id("padding")?,
            add_bos: flag("add_bos_token")?,
            add_eos: flag("add_eos_token")?,
            add_space_prefix: flag("add_space_prefix")?,
            chat_template: metadata.string("tokenizer.chat_template")?.map(str::to_owned),
        }))
    }
}

/// The id of a special token. Older files write 2^32 - 1, or -1, for one that is not set; and some name a padding token that
/// the vocabulary lost, which nothing needs.
fn token_id(metadata: &Metadata, name: &str, tokens: usize) -> Result<Option<u32>> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    if metadata.f64(&key).is_ok_and(|id| id.is_some_and(|id| id < 0.0)) {
        return Ok(None);
    }
    match metadata.u32(&key)?.filter(|id| *id != u32::MAX) {
        Some(id) if id as usize >= tokens && name == "padding" => Ok(None),
        Some(id) if id as usize >= tokens => {
            Err(Error::new(ErrorKind::Malformed, format!("'{key}' is {id} in a vocabulary of {tokens}")))
        }
        id => Ok(id),
    }
}

fn same_len(key: &str, len: usize, tokens: usize) -> Result<()> {
    if len == 0 || len == tokens {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Malformed, format!("'{key}' has {len} entries for {tokens} tokens")))
}
