//! The tokenizer of a GGUF file as a `tokenizer.json`.

use serde_json::{Map, Value, json};

use super::tokenizer_parts::{
    byte_level_bpe, byte_level_decoder, file, merges_from_scores, replace, sentencepiece_bpe, template,
};
use super::{Tokenizer, pre_tokenizers};
use crate::checkpoint::GgufTokenizer;
use crate::{Error, ErrorKind, Result};

/// GGUF's token types (`llama_token_type` of llama.cpp).
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// `tokenizer.json` for the tokenizer of a GGUF file: byte-level BPE (`gpt2`), SentencePiece's BPE (`llama`), or
/// that with merges in the file (`gemma4`).
///
/// Of tokens with the same text the first keeps it. The result has been loaded once.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a kind or a pre-tokenizer that is not known, naming it; [`ErrorKind::Text`] where what
/// comes out is no tokenizer.
pub fn tokenizer_json(fields: &GgufTokenizer) -> Result<Vec<u8>> {
    if fields.tokens.is_empty() {
        return Err(Error::new(ErrorKind::Text, "the tokenizer has no tokens").remedy("get the file again"));
    }
    let value = match fields.model.as_str() {
        "gpt2" | "gemma4" => byte_pairs(fields)?,
        "llama" => sentencepiece(fields)?,
        other => return Err(unknown(format!("tokenizer.ggml.model '{other}'"))),
    };
    let bytes = serde_json::to_vec(&value).map_err(|error| Error::new(ErrorKind::Text, error.to_string()))?;
    Tokenizer::from_json(value)?;
    Ok(bytes)
}

fn unknown(what: String) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what} is not known"))
        .remedy("use the checkpoint that the file was made from, which has a tokenizer.json")
}

fn byte_pairs(fields: &GgufTokenizer) -> Result<Value> {
    let name = fields.pre.as_deref().filter(|_| fields.model != "gemma4").unwrap_or(&fields.model);
    let name = if name == "gpt2" { "" } else { name };
    let pre = pre_tokenizers::find(name).ok_or_else(|| unknown(format!("tokenizer.ggml.pre '{name}'")))?;
    let merge = |merge: &String| {
        let (left, right) = merge.split_once(' ').ok_or_else(|| {
            Error::new(ErrorKind::Text, format!("the merge {merge:?} is not two tokens")).remedy("get the file again")
        })?;
        Ok(json!([left, right]))
    };
    let merges = fields.merges.iter().map(merge).collect::<Result<Vec<_>>>()?;
    let (added, around) = (added_tokens(fields), post_processor(fields, pre.add_bos));
    if pre.plain {
        let decoders = [replace("▁", " "), json!({ "type": "ByteFallback" }), json!({ "type": "Fuse" })];
        let decoder = json!({ "type": "Sequence", "decoders": decoders });
        let model = sentencepiece_bpe(vocab(fields), merges, unknown_text(fields), true);
        return Ok(file(added, replace(" ", "▁"), pre.to_json(), around, decoder, model));
    }
    let normalizer = if pre.nfc { json!({ "type": "NFC" }) } else { Value::Null };
    let model = byte_level_bpe(vocab(fields), merges, pre.ignore_merges);
    Ok(file(added, normalizer, pre.to_json(), around, byte_level_decoder(), model))
}

/// As transformers converts SentencePiece models (`LlamaConverter`), so spaces are `▁` and unknown characters bytes.
fn sentencepiece(fields: &GgufTokenizer) -> Result<Value> {
    let prefix = fields.add_space_prefix.unwrap_or(true);
    let mut normalizers = vec![replace(" ", "▁")];
    let mut decoders = vec![replace("▁", " "), json!({ "type": "ByteFallback" }), json!({ "type": "Fuse" })];
    if prefix {
        normalizers.insert(0, json!({ "type": "Prepend", "prepend": "▁" }));
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    let normalizer = json!({ "type": "Sequence", "normalizers": normalizers });
    let decoder = json!({ "type": "Sequence", "decoders": decoders });
    let score = |id| fields.scores.get(id).copied().unwrap_or(0.0);
    let pieces: Vec<_> = fields.tokens.iter().enumerate().map(|(id, token)| (token.as_str(), score(id))).collect();
    let model = sentencepiece_bpe(vocab(fields), merges_from_scores(&pieces)?, unknown_text(fields), true);
    Ok(file(added_tokens(fields), normalizer, Value::Null, post_processor(fields, true), decoder, model))
}

fn unknown_text(fields: &GgufTokenizer) -> Option<&str> {
    fields.unk.and_then(|id| fields.tokens.get(id as usize)).map(String::as_str)
}

fn vocab(fields: &GgufTokenizer) -> Value {
    let mut vocab = Map::new();
    for (id, token) in fields.tokens.iter().enumerate() {
        vocab.entry(token.as_str()).or_insert_with(|| json!(id));
    }
    Value::Object(vocab)
}

/// Tokens that are looked for in a text before anything else.
fn added_tokens(fields: &GgufTokenizer) -> Vec<Value> {
    let kinds = fields.tokens.iter().zip(&fields.token_types).enumerate();
    let added = kinds.filter(|(_, (_, kind))| matches!(**kind, CONTROL | USER_DEFINED));
    let entry = |(id, (content, kind)): (usize, (&String, &i32))| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": *kind == CONTROL,
        })
    };
    added.map(entry).collect()
}

/// Puts the beginning-of-text token before a text, and the end's behind it, where the file asks for it.
fn post_processor(fields: &GgufTokenizer, add_bos_by_default: bool) -> Value {
    let token = |wanted: bool, id: Option<u32>| {
        let id = id.filter(|_| wanted)?;
        Some((id, fields.tokens.get(id as usize)?.as_str()))
    };
    let bos = token(fields.add_bos.unwrap_or(add_bos_by_default), fields.bos);
    let eos = token(fields.add_eos.unwrap_or(false), fields.eos);
    template(bos.as_slice(), eos.as_slice())
}

#[cfg(test)]
#[path = "gguf_tokenizer_tests.rs"]
mod tests;
