//! Byte-level BPE: tiktoken's ranks and GPT-2's merges. How a text is cut before that stands in the code of the
//! tokenizer's class, here in a table.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::super::pieces::visible_bytes;
use super::super::pre_tokenizers::{self, PreTokenizer};
use super::super::tokenizer_parts::{LONGEST_MERGED_BYTES, MergeCount, byte_level_bpe, byte_level_decoder, file};
use super::words::{Added, Words};
use super::{Source, unsupported};
use crate::Result;
use crate::checkpoint::tokenizer_files::ranks::{Merges, Ranks, Tekken};

/// A tokenizer whose code reads tiktoken's ranks.
struct Family {
    /// `tokenizer_class` of `tokenizer_config.json`.
    classes: &'static [&'static str],
    /// `model_type` of `config.json`, for configs without a class.
    model_types: &'static [&'static str],
    /// The row of `pre_tokenizers`.
    pre: &'static str,
    /// What the code adds behind the ranks, from this id on.
    specials: fn(u32) -> Vec<String>,
    /// What it puts before a text.
    before: &'static [&'static str],
}

const TIKTOKEN: &[Family] = &[
    // https://huggingface.co/Qwen/Qwen-7B/blob/main/tokenization_qwen.py
    Family { classes: &["QWenTokenizer"], model_types: &["qwen"], pre: "qwen2", specials: qwen, before: &[] },
    // https://huggingface.co/THUDM/glm-4-9b-chat/blob/main/tokenization_chatglm.py
    Family {
        classes: &["ChatGLM4Tokenizer", "ChatGLMTokenizer"],
        model_types: &["chatglm"],
        pre: "glm4",
        specials: glm4,
        before: &["[gMASK]", "<sop>"],
    },
    // https://huggingface.co/moonshotai/Moonlight-16B-A3B-Instruct/blob/main/tokenization_moonshot.py
    Family { classes: &["TikTokenTokenizer"], model_types: &["kimi_k2"], pre: "kimi-k2", specials: kimi, before: &[] },
    // https://github.com/meta-llama/llama-models/blob/main/models/llama3/tokenizer.py
    Family {
        classes: &["PreTrainedTokenizer", "LlamaTokenizer"],
        model_types: &["llama"],
        pre: "llama3",
        specials: llama3,
        before: &["<|begin_of_text|>"],
    },
];

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn qwen(_: u32) -> Vec<String> {
    let extras = (0..205).map(|i| format!("<|extra_{i}|>"));
    texts(&["<|endoftext|>", "<|im_start|>", "<|im_end|>"]).into_iter().chain(extras).collect()
}

/// Names for those that the config does not name.
fn kimi(first: u32) -> Vec<String> {
    (first..first + 258).map(|id| format!("<|reserved_token_{id}|>")).collect()
}

fn glm4(_: u32) -> Vec<String> {
    let roles = ["<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"];
    let media = ["<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"];
    let masks = ["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"];
    [texts(&masks), texts(&roles), texts(&media)].concat()
}

fn llama3(_: u32) -> Vec<String> {
    let reserved = |i| format!("<|reserved_special_token_{i}|>");
    let first = texts(&["<|begin_of_text|>", "<|end_of_text|>"]);
    let turns = texts(&["<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"]);
    let mut all =
        [first, vec![reserved(0), reserved(1)], texts(&["<|finetune_right_pad_id|>", "<|step_id|>"]), turns].concat();
    all.extend((2..).map(reserved).take(256 - all.len()));
    all
}

pub(super) fn from_tiktoken(source: &Source<'_>, ranks: &Ranks) -> Result<Value> {
    let (class, model_type) = (source.class(), source.model_type());
    let by_class = TIKTOKEN.iter().find(|family| family.classes.contains(&class));
    let by_type = || TIKTOKEN.iter().find(|family| class.is_empty() && family.model_types.contains(&model_type));
    let family = by_class.or_else(by_type).ok_or_else(|| unknown_class("tiktoken's ranks", source))?;
    let mut words = Words::new(ranks.tokens.iter().map(|(token, rank)| (visible_bytes(token), *rank)));
    let first = words.next_id();
    for (text, id) in (family.specials)(first).into_iter().zip(first..) {
        words.put(text, id);
        words.look_for(id, Added::SPECIAL);
    }
    words.add_listed(source.files, source.tokenizer_config)?;
    let pre = find(family.pre)?;
    let around = source.around(&words, family.before, None, None);
    Ok(tokenizer(&words, &pre, pre.to_json(), around, merges_from_ranks(ranks)?, true))
}

pub(super) fn from_tekken(source: &Source<'_>, tekken: &Tekken) -> Result<Value> {
    let count = tekken.specials.len() as u32;
    let mut words = Words::new(tekken.specials.iter().cloned().zip(0..));
    for id in 0..count {
        words.look_for(id, Added::SPECIAL);
    }
    for (token, rank) in &tekken.ranks.tokens {
        words.put(visible_bytes(token), rank + count);
    }
    words.add_listed(source.files, source.tokenizer_config)?;
    let pre = find("tekken")?;
    let around = source.around(&words, &[], words.id("<s>"), words.id("</s>"));
    let cut = PreTokenizer::of_regex(&tekken.pattern);
    Ok(tokenizer(&words, &pre, cut, around, merges_from_ranks(&tekken.ranks)?, true))
}

/// GPT-2's kin, by class; where there is none by the type of the model.
pub(super) fn from_merges(source: &Source<'_>, merges: &Merges) -> Result<Value> {
    let pre = match (source.class(), source.model_type()) {
        // Its published tokenizer.json cuts digits, which the class does not say.
        ("GPT2Tokenizer" | "", "starcoder2") => "starcoder",
        ("GPT2Tokenizer", _) | ("", "gpt2") => "gpt-2",
        ("CodeGenTokenizer", _) | ("", "phi") => "phi-2",
        ("Qwen2Tokenizer", _) | ("", "qwen2" | "qwen2_moe" | "qwen3" | "qwen3_moe") => "qwen2",
        _ => return Err(unknown_class("vocab.json with merges.txt", source)),
    };
    if source.flag("add_prefix_space") == Some(true) {
        return Err(unsupported("add_prefix_space of a byte-level tokenizer"));
    }
    let mut words = Words::new(merges.vocab.iter().map(|(text, id)| (text.clone(), *id)));
    words.add_listed(source.files, source.tokenizer_config)?;
    let pre = find(pre)?;
    let around = source.around(&words, &[], None, None);
    let list = merges.merges.iter().map(|(left, right)| json!([left, right])).collect();
    Ok(tokenizer(&words, &pre, pre.to_json(), around, list, false))
}

fn find(name: &str) -> Result<PreTokenizer> {
    pre_tokenizers::find(name).ok_or_else(|| unsupported(format!("the pre-tokenizer '{name}'")))
}

fn unknown_class(what: &str, source: &Source<'_>) -> crate::Error {
    unsupported(format!("how '{}' (model_type '{}') cuts a text for {what}", source.class(), source.model_type()))
}

fn tokenizer(
    words: &Words,
    pre: &PreTokenizer,
    pre_tokenizer: Value,
    around: Value,
    merges: Vec<Value>,
    ignore_merges: bool,
) -> Value {
    let normalizer = if pre.nfc { json!({ "type": "NFC" }) } else { Value::Null };
    let model = byte_level_bpe(words.to_json(), merges, ignore_merges);
    file(words.added_json(), normalizer, pre_tokenizer, around, byte_level_decoder(), model)
}

/// tiktoken lists no merges: any two tokens merge whose bytes together are a token, the lowest rank of the result first.
fn merges_from_ranks(ranks: &Ranks) -> Result<Vec<Value>> {
    let by_token: HashMap<&[u8], u32> = ranks.tokens.iter().map(|(token, rank)| (token.as_slice(), *rank)).collect();
    let (mut merges, mut count) = (Vec::new(), MergeCount::default());
    for (token, rank) in ranks.tokens.iter().filter(|(token, _)| token.len() <= LONGEST_MERGED_BYTES) {
        for at in 1..token.len() {
            let (left, right) = token.split_at(at);
            if let (Some(left_rank), Some(right_rank)) = (by_token.get(left), by_token.get(right)) {
                count.add(token.len())?;
                merges.push((*rank, *left_rank, *right_rank, left, right));
            }
        }
    }
    merges.sort_unstable_by_key(|merge| (merge.0, merge.1, merge.2));
    Ok(merges.into_iter().map(|(.., left, right)| json!([visible_bytes(left), visible_bytes(right)])).collect())
}
