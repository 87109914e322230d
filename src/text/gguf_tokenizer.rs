//! The tokenizer of a GGUF file as a `tokenizer.json`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{Tokenizer, pre_tokenizers};
use crate::checkpoint::GgufTokenizer;
use crate::{Error, ErrorKind, Result};

/// GGUF's token types (`llama_token_type` of llama.cpp).
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
/// No token of a SentencePiece vocabulary is longer, and trying all cuts of a token takes the square of its length.
const LONGEST_MERGED_BYTES: usize = 1024;

/// `tokenizer.json` for the tokenizer of a GGUF file: byte-level BPE (`gpt2`) or SentencePiece's BPE (`llama`).
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
        "gpt2" => byte_level(fields)?,
        "llama" => sentencepiece(fields),
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

fn byte_level(fields: &GgufTokenizer) -> Result<Value> {
    let name = fields.pre.as_deref().unwrap_or_default();
    let pre = pre_tokenizers::find(name).ok_or_else(|| unknown(format!("tokenizer.ggml.pre '{name}'")))?;
    let merge = |merge: &String| {
        let (left, right) = merge.split_once(' ').ok_or_else(|| {
            Error::new(ErrorKind::Text, format!("the merge {merge:?} is not two tokens")).remedy("get the file again")
        })?;
        Ok(json!([left, right]))
    };
    let merges = fields.merges.iter().map(merge).collect::<Result<Vec<_>>>()?;
    let normalizer = if pre.nfc { json!({ "type": "NFC" }) } else { Value::Null };
    let decoder = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": pre.ignore_merges,
        "vocab": vocab(fields), "merges": merges,
    });
    Ok(file(fields, normalizer, pre.to_json(), pre.add_bos, decoder, model))
}

/// As transformers converts SentencePiece models (`LlamaConverter`), so spaces are `▁` and unknown characters bytes.
fn sentencepiece(fields: &GgufTokenizer) -> Value {
    let prefix = fields.add_space_prefix.unwrap_or(true);
    let replace = |from: &str, to: &str| json!({ "type": "Replace", "pattern": { "String": from }, "content": to });
    let mut normalizers = vec![replace(" ", "▁")];
    let mut decoders = vec![replace("▁", " "), json!({ "type": "ByteFallback" }), json!({ "type": "Fuse" })];
    if prefix {
        normalizers.insert(0, json!({ "type": "Prepend", "prepend": "▁" }));
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    let normalizer = json!({ "type": "Sequence", "normalizers": normalizers });
    let decoder = json!({ "type": "Sequence", "decoders": decoders });
    let unknown = fields.unk.and_then(|id| fields.tokens.get(id as usize));
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
        "vocab": vocab(fields), "merges": merges_from_scores(fields),
    });
    file(fields, normalizer, Value::Null, true, decoder, model)
}

fn file(
    fields: &GgufTokenizer,
    normalizer: Value,
    pre_tokenizer: Value,
    add_bos: bool,
    decoder: Value,
    model: Value,
) -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens(fields),
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post_processor(fields, add_bos),
        "decoder": decoder, "model": model,
    })
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
        Some((id, fields.tokens.get(id as usize)?))
    };
    let bos = token(fields.add_bos.unwrap_or(add_bos_by_default), fields.bos);
    let eos = token(fields.add_eos.unwrap_or(false), fields.eos);
    if bos.is_none() && eos.is_none() {
        return Value::Null;
    }
    let piece = |(_, text): (u32, &String)| json!({ "SpecialToken": { "id": text, "type_id": 0 } });
    let sequence = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    let single: Vec<Value> = bos.map(piece).into_iter().chain([sequence.clone()]).chain(eos.map(piece)).collect();
    let special = |(id, text): (u32, &String)| (text.clone(), json!({ "id": text, "ids": [id], "tokens": [text] }));
    let specials: Map<String, Value> = bos.into_iter().chain(eos).map(special).collect();
    let pair = [sequence, json!({ "Sequence": { "id": "B", "type_id": 1 } })];
    json!({ "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": specials })
}

/// SentencePiece does not list merges: any two tokens merge whose texts together are a token, the best score first. The
/// order of equal scores is that of transformers' `generate_merges`: longer left parts first, then longer right ones.
fn merges_from_scores(fields: &GgufTokenizer) -> Vec<Value> {
    let mut ids: HashMap<&str, usize> = HashMap::with_capacity(fields.tokens.len());
    for (id, token) in fields.tokens.iter().enumerate() {
        ids.entry(token).or_insert(id);
    }
    let mut merges = Vec::new();
    for (id, token) in fields.tokens.iter().enumerate() {
        if token.len() > LONGEST_MERGED_BYTES || ids.get(token.as_str()) != Some(&id) {
            continue;
        }
        let score = fields.scores.get(id).copied().unwrap_or(0.0);
        let first = merges.len();
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(left_id), Some(right_id)) = (ids.get(left), ids.get(right)) {
                merges.push((score, left, right, *left_id, *right_id));
            }
        }
        merges[first..].sort_by_key(|merge| (merge.3, merge.4));
    }
    let chars = |text: &str| text.chars().count();
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(chars(b.1).cmp(&chars(a.1))).then(chars(b.2).cmp(&chars(a.2))));
    merges.into_iter().map(|(_, left, right, ..)| json!([left, right])).collect()
}

#[cfg(test)]
#[path = "gguf_tokenizer_tests.rs"]
mod tests;
