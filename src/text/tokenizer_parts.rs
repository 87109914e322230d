//! Parts of a `tokenizer.json`, for those who make one from other files.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::{Error, ErrorKind, Result};

/// No published token is longer, and trying all cuts of a token takes the square of its length.
pub(super) const LONGEST_MERGED_BYTES: usize = 1024;
/// Vocabularies of 256,000 tokens have 600,000 merges of 10 bytes.
const MOST_MERGES: usize = 8 << 20;
const MOST_MERGED_BYTES: usize = 128 << 20;

/// A whole file, of its parts.
pub(super) fn file(
    added_tokens: Vec<Value>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: Value,
) -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens, "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": decoder, "model": model,
    })
}

/// A normalizer or a decoder that replaces a text by another.
pub(super) fn replace(from: &str, to: &str) -> Value {
    json!({ "type": "Replace", "pattern": { "String": from }, "content": to })
}

/// The decoder of byte-level tokenizers.
pub(super) fn byte_level_decoder() -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true })
}

/// A byte-level BPE.
pub(super) fn byte_level_bpe(vocab: Value, merges: Vec<Value>, ignore_merges: bool) -> Value {
    json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": ignore_merges,
        "vocab": vocab, "merges": merges,
    })
}

/// SentencePiece's BPE.
pub(super) fn sentencepiece_bpe(vocab: Value, merges: Vec<Value>, unknown: Option<&str>, byte_fallback: bool) -> Value {
    json!({
        "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": byte_fallback, "ignore_merges": false,
        "vocab": vocab, "merges": merges,
    })
}

/// The post-processor that puts tokens before a text and behind it; none where there are none.
pub(super) fn template(before: &[(u32, &str)], after: &[(u32, &str)]) -> Value {
    if before.is_empty() && after.is_empty() {
        return Value::Null;
    }
    let piece = |(_, text): &(u32, &str)| json!({ "SpecialToken": { "id": text, "type_id": 0 } });
    let sequence = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    let single: Vec<Value> =
        before.iter().map(piece).chain([sequence.clone()]).chain(after.iter().map(piece)).collect();
    let special = |(id, text): &(u32, &str)| ((*text).to_owned(), json!({ "id": text, "ids": [id], "tokens": [text] }));
    let specials: Map<String, Value> = before.iter().chain(after).map(special).collect();
    let pair = [sequence, json!({ "Sequence": { "id": "B", "type_id": 1 } })];
    json!({ "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": specials })
}

/// SentencePiece does not list merges: any two pieces merge whose texts together are a piece, the best score first. The
/// order of equal scores is that of transformers' `generate_merges`: longer left parts first, then longer right ones.
///
/// `pieces` are texts and scores in the order of their ids; of equal texts the first counts.
///
/// # Errors
/// Those of [`MergeCount::add`].
pub(super) fn merges_from_scores(pieces: &[(&str, f32)]) -> Result<Vec<Value>> {
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(pieces.len());
    for (place, (text, _)) in pieces.iter().enumerate() {
        places.entry(text).or_insert(place);
    }
    let chars = |text: &str| Reverse(text.chars().count());
    let (mut merges, mut count) = (Vec::new(), MergeCount::default());
    for (place, (text, score)) in pieces.iter().enumerate() {
        if places.get(text) != Some(&place) {
            continue;
        }
        let first = merges.len();
        for (left, right) in cuts(text) {
            if let (Some(left_place), Some(right_place)) = (places.get(left), places.get(right)) {
                count.add(text.len())?;
                merges.push(((chars(left), chars(right)), (*left_place, *right_place), *score, left, right));
            }
        }
        merges[first..].sort_unstable_by_key(|merge| merge.1);
    }
    merges.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
    Ok(merges.into_iter().map(|(.., left, right)| json!([left, right])).collect())
}

/// How much there is of merges, which can be far more than the vocabulary that they are made from.
#[derive(Default)]
pub(super) struct MergeCount {
    merges: usize,
    bytes: usize,
}

impl MergeCount {
    /// Counts one that makes a token of so many bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] where there are more than any tokenizer has.
    pub(super) fn add(&mut self, len_bytes: usize) -> Result<()> {
        self.merges += 1;
        self.bytes += len_bytes;
        if self.merges <= MOST_MERGES && self.bytes <= MOST_MERGED_BYTES {
            return Ok(());
        }
        let message =
            format!("the vocabulary makes more than {MOST_MERGES} merges, or {MOST_MERGED_BYTES} bytes of them");
        Err(Error::new(ErrorKind::Text, message).remedy("get the file again"))
    }
}

/// Each way to cut a text in two; none of one that is too long to be a piece.
pub(super) fn cuts(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let ends = text.char_indices().skip(1).filter(|_| text.len() <= LONGEST_MERGED_BYTES);
    ends.map(|(at, _)| text.split_at(at))
}
