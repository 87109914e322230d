//! SentencePiece models: as the `sentencepiece` library encodes, with special tokens as transformers finds them.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::tokenizer_parts::{cuts, file, merges_from_scores, replace, sentencepiece_bpe};
use super::words::{Added, Words};
use super::{Source, unsupported};
use crate::Result;
use crate::checkpoint::tokenizer_files::sentencepiece::{Algorithm, PieceKind, SentencePiece};

/// What the code of ChatGLM 2 and 3 adds behind the pieces (`tokenization_chatglm.py` of THUDM/chatglm3-6b), and puts
/// before a text.
const CHATGLM: &[&str] =
    &["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"];
const CHATGLM_BEFORE: &[&str] = &["[gMASK]", "sop"];

/// Where the space goes that texts begin with.
#[derive(Clone, Copy, PartialEq)]
enum Prefix {
    Never,
    /// Before the text only (`legacy: false` of Llama's tokenizer). As with the fast tokenizers of transformers, a text
    /// that begins with a space gets no other.
    Text,
    /// Before the text and after each special token, since the library is given the parts between them.
    Sections,
}

pub(super) fn tokenizer(source: &Source<'_>, model: &SentencePiece) -> Result<Value> {
    let mut words = Words::new(model.pieces.iter().zip(0..).map(|(piece, id)| (piece.text.clone(), id)));
    for (piece, id) in model.pieces.iter().zip(0..) {
        match piece.kind {
            PieceKind::Control | PieceKind::Unknown => words.look_for(id, Added::SPECIAL),
            PieceKind::UserDefined => words.look_for(id, Added::NORMALIZED),
            PieceKind::Normal | PieceKind::Unused | PieceKind::Byte => {}
        }
    }
    let before = if source.class() == "ChatGLMTokenizer" { CHATGLM_BEFORE } else { &[] };
    if !before.is_empty() {
        for (text, id) in CHATGLM.iter().zip(words.next_id()..) {
            words.put((*text).to_owned(), id);
        }
    }
    words.add_listed(source.files, source.tokenizer_config)?;
    let prefix = match (model.add_dummy_prefix, source.flag("legacy"), source.flag("add_prefix_space")) {
        (false, ..) | (_, Some(false), Some(false)) => Prefix::Never,
        (true, Some(false), _) => Prefix::Text,
        (true, ..) => Prefix::Sections,
    };
    let pre_tokenizer = match prefix {
        Prefix::Text => json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false }),
        Prefix::Never | Prefix::Sections => Value::Null,
    };
    let around = source.around(&words, before, model.bos, model.eos);
    let algorithm = match model.algorithm {
        Algorithm::Bpe => bpe(model, &words)?,
        Algorithm::Unigram => unigram(model, &words)?,
    };
    let normalizer = normalizer(model, &words, prefix);
    Ok(file(words.added_json(), normalizer, pre_tokenizer, around, decoder(model, prefix), algorithm))
}

/// Characters are mapped, spaces dropped, the prefix added, and spaces made visible, in this order.
fn normalizer(model: &SentencePiece, words: &Words, prefix: Prefix) -> Value {
    let regex = |pattern: &str, content: &str| json!({ "type": "Replace", "pattern": { "Regex": pattern }, "content": content });
    let mut parts = Vec::new();
    if !model.charsmap.is_empty() {
        parts.push(json!({ "type": "Precompiled", "precompiled_charsmap": STANDARD.encode(&model.charsmap) }));
    }
    if model.remove_extra_whitespaces {
        parts.extend([regex("^ +| +$", ""), regex(" +", " ")]);
    }
    if prefix == Prefix::Sections {
        // User-defined symbols are found behind the normalizer, which is also asked what they look like there: alone.
        let symbols: Vec<String> = words.normalized().map(escaped).collect();
        parts.push(match symbols.is_empty() {
            true => json!({ "type": "Prepend", "prepend": "▁" }),
            false => regex(&format!(r"\A(?!(?:{})?\z)", symbols.join("|")), "▁"),
        });
    }
    parts.push(replace(" ", "▁"));
    json!({ "type": "Sequence", "normalizers": parts })
}

/// A text as a regular expression that matches it.
fn escaped(text: &str) -> String {
    let escape = |c: char| if r"\.+*?()|[]{}^$#&-~".contains(c) { vec!['\\', c] } else { vec![c] };
    text.chars().flat_map(escape).collect()
}

fn decoder(model: &SentencePiece, prefix: Prefix) -> Value {
    let mut parts = vec![replace("▁", " ")];
    if model.byte_fallback {
        parts.push(json!({ "type": "ByteFallback" }));
    }
    parts.push(json!({ "type": "Fuse" }));
    if prefix != Prefix::Never || model.remove_extra_whitespaces {
        parts.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    json!({ "type": "Sequence", "decoders": parts })
}

/// Only normal pieces merge. One that is not to be used, but could be merged, the library cuts again.
fn bpe(model: &SentencePiece, words: &Words) -> Result<Value> {
    let ours = |kind: PieceKind| {
        let kept = model.pieces.iter().zip(0..).filter(move |(piece, _)| piece.kind == kind);
        kept.filter(|(piece, id)| words.text(*id) == Some(piece.text.as_str())).map(|(piece, _)| piece)
    };
    let normal: Vec<(&str, f32)> = ours(PieceKind::Normal).map(|piece| (piece.text.as_str(), piece.score)).collect();
    let texts: HashSet<&str> = normal.iter().map(|(text, _)| *text).collect();
    let merges = |piece: &str| cuts(piece).any(|(left, right)| texts.contains(left) && texts.contains(right));
    if let Some(piece) = ours(PieceKind::Unused).find(|piece| merges(&piece.text)) {
        return Err(unsupported(format!("the unused piece {:?} of a BPE", piece.text)));
    }
    Ok(sentencepiece_bpe(words.to_json(), merges_from_scores(&normal)?, words.text(model.unk), model.byte_fallback))
}

/// A list by id. Scores of what never comes from text are as low as not to matter.
fn unigram(model: &SentencePiece, words: &Words) -> Result<Value> {
    if let Some(piece) = model.pieces.iter().find(|piece| piece.kind == PieceKind::Unused) {
        return Err(unsupported(format!("the unused piece {:?} of a unigram model", piece.text)));
    }
    let normal = model.pieces.iter().filter(|piece| piece.kind == PieceKind::Normal).map(|piece| piece.score);
    let least = normal.fold(0.0, f32::min);
    // `<0xE2>` in a text is six characters, and where all have a piece none is worth less than `least`.
    let never = f64::from(least) * 7.0 - 1.0;
    let mut vocab = Vec::with_capacity(model.pieces.len());
    for (place, (id, text)) in (0..).zip(words.iter()) {
        if place != id {
            return Err(unsupported(format!("a unigram model without a token for the id {place}")));
        }
        let score = match model.pieces.get(id as usize) {
            Some(piece) if piece.kind == PieceKind::Normal => f64::from(piece.score),
            Some(piece) if piece.kind == PieceKind::Byte => never,
            _ => 0.0,
        };
        vocab.push(json!([text, score]));
    }
    Ok(json!({ "type": "Unigram", "unk_id": model.unk, "vocab": vocab, "byte_fallback": model.byte_fallback }))
}
