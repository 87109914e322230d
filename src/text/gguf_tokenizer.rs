//! The tokenizer of a GGUF file as a `tokenizer.json`.

use serde_json::{Value, json};

use super::Tokenizer;
use crate::checkpoint::GgufTokenizer;
use crate::{Error, ErrorKind, Result};

/// How a byte-level BPE cuts a text before merging, by GGUF's `tokenizer.ggml.pre`.
///
/// The expressions are those of the published tokenizers: GPT-2 (built into the crate), Llama 3, Qwen 2.
const LLAMA3_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2_SPLIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

fn pre_tokenizer(pre: &str) -> Result<Value> {
    let byte_level = |use_regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": use_regex });
    let sequence =
        |first: Value, use_regex| json!({ "type": "Sequence", "pretokenizers": [first, byte_level(use_regex)] });
    let split = |regex: &str| json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false });
    match pre {
        "gpt-2" | "default" | "" => Ok(byte_level(true)),
        "smollm" | "starcoder" | "refact" | "command-r" => {
            Ok(sequence(json!({ "type": "Digits", "individual_digits": true }), true))
        }
        "llama-bpe" | "llama3" | "llama-v3" => Ok(sequence(split(LLAMA3_SPLIT), false)),
        "qwen2" => Ok(sequence(split(QWEN2_SPLIT), false)),
        other => Err(Error::new(ErrorKind::Unsupported, format!("pre-tokenizer '{other}' is not known"))
            .remedy("use the original checkpoint, which has a tokenizer.json")),
    }
}

/// GGUF's token types.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// `tokenizer.json` for the tokenizer of a GGUF file.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a kind that is not known; [`ErrorKind::Text`] where what comes out is no tokenizer.
pub fn tokenizer_json(fields: &GgufTokenizer) -> Result<Vec<u8>> {
    let value = match fields.model.as_str() {
        "gpt2" => byte_level(fields)?,
        "llama" => sentencepiece(fields),
        other => {
            return Err(Error::new(ErrorKind::Unsupported, format!("tokenizer kind '{other}' is not known"))
                .remedy("use the original checkpoint, which has a tokenizer.json"));
        }
    };
    let bytes = serde_json::to_vec(&value).map_err(|error| Error::new(ErrorKind::Text, error.to_string()))?;
    Tokenizer::from_bytes(&bytes)?;
    Ok(bytes)
}

fn vocab(fields: &GgufTokenizer) -> Value {
    let entries = fields.tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id)));
    Value::Object(entries.collect())
}

fn added_tokens(fields: &GgufTokenizer) -> Vec<Value> {
    let special = fields.token_types.iter().enumerate().filter(|(_, kind)| matches!(**kind, CONTROL | USER_DEFINED));
    let entry = |(id, kind): (usize, &i32)| {
        let content = fields.tokens.get(id)?;
        Some(json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": *kind == CONTROL,
        }))
    };
    special.filter_map(entry).collect()
}

/// Puts the beginning-of-text token (and the end's) where the file asks for it.
fn post_processor(fields: &GgufTokenizer, add_bos_by_default: bool) -> Value {
    let token = |id: Option<u32>| id.and_then(|id| Some((id, fields.tokens.get(id as usize)?)));
    let mut single = vec![json!({ "Sequence": { "id": "A", "type_id": 0 } })];
    let mut specials = serde_json::Map::new();
    let mut add = |token: Option<(u32, &String)>, at_start: bool| {
        let Some((id, text)) = token else { return };
        let piece = json!({ "SpecialToken": { "id": text, "type_id": 0 } });
        single.insert(if at_start { 0 } else { single.len() }, piece);
        specials.insert(text.clone(), json!({ "id": text, "ids": [id], "tokens": [text] }));
    };
    if fields.add_bos.unwrap_or(add_bos_by_default) {
        add(token(fields.bos), true);
    }
    if fields.add_eos.unwrap_or(false) {
        add(token(fields.eos), false);
    }
    if specials.is_empty() {
        return Value::Null;
    }
    json!({ "type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": specials })
}

fn byte_level(fields: &GgufTokenizer) -> Result<Value> {
    let merges: Vec<Value> =
        fields.merges.iter().filter_map(|merge| merge.split_once(' ')).map(|(a, b)| json!([a, b])).collect();
    if merges.len() != fields.merges.len() {
        return Err(Error::new(ErrorKind::Text, "a merge of the tokenizer is not two tokens"));
    }
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens(fields),
        "normalizer": null, "pre_tokenizer": pre_tokenizer(fields.pre.as_deref().unwrap_or_default())?,
        "post_processor": post_processor(fields, false),
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab(fields), "merges": merges,
        },
    }))
}

/// SentencePiece's BPE: merges are not listed, but follow from the scores of the tokens.
fn sentencepiece(fields: &GgufTokenizer) -> Value {
    let ids: std::collections::HashMap<&str, usize> =
        fields.tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    let mut merges = Vec::new();
    for (id, token) in fields.tokens.iter().enumerate() {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(left_id), Some(right_id)) = (ids.get(left), ids.get(right)) {
                let score = fields.scores.get(id).copied().unwrap_or(0.0);
                merges.push((score, *left_id, *right_id, json!([left, right])));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let merges: Vec<Value> = merges.into_iter().map(|merge| merge.3).collect();
    let prefix = fields.add_space_prefix.unwrap_or(true);
    let mut normalizers = Vec::new();
    if prefix {
        normalizers.push(json!({ "type": "Prepend", "prepend": "▁" }));
    }
    normalizers.push(json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" }));
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if prefix {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    let unknown = fields.unk.and_then(|id| fields.tokens.get(id as usize));
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens(fields),
        "normalizer": { "type": "Sequence", "normalizers": normalizers }, "pre_tokenizer": null,
        "post_processor": post_processor(fields, true),
        "decoder": { "type": "Sequence", "decoders": decoders },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab(fields), "merges": merges,
        },
    })
}
