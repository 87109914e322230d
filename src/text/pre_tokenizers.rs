//! How a byte-level BPE cuts a text before it merges, by the name that GGUF gives it (`tokenizer.ggml.pre`).
//!
//! The names are llama.cpp's (`llama_vocab::impl::load`, `src/llama-vocab.cpp`); the expressions are those of the
//! `tokenizer.json` of the models they were named for.

use serde_json::{Value, json};

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PreTokenizer {
    /// Expressions that cut one after the other, each match a piece of its own.
    splits: &'static [&'static str],
    /// Every digit is a piece of its own, before anything else.
    digits: bool,
    /// GPT-2's expression cuts last.
    gpt2: bool,
    /// A word that is a token is not built from merges.
    pub(super) ignore_merges: bool,
    /// Text begins with the beginning-of-text token where the file does not say.
    pub(super) add_bos: bool,
    /// Text is normalized to NFC first.
    pub(super) nfc: bool,
}

const GPT2: PreTokenizer =
    PreTokenizer { splits: &[], digits: false, gpt2: true, ignore_merges: false, add_bos: false, nfc: false };
const DIGITS: PreTokenizer = PreTokenizer { digits: true, ..GPT2 };
const TIKTOKEN: PreTokenizer = PreTokenizer { splits: &[CL100K], gpt2: false, ..GPT2 };

/// OpenAI's cl100k, digits in threes: meta-llama/Meta-Llama-3-8B, databricks/dbrx-base, THUDM/glm-4-9b.
const CL100K: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with single digits: Qwen/Qwen2-7B.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words end where lower case ends: mistralai/Mistral-Nemo-Base-2407.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// OpenAI's o200k: meta-llama/Llama-4-Scout-17B-16E, openai/gpt-oss-20b.
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Numbers, then Chinese and Japanese, then the rest: deepseek-ai/DeepSeek-V3.
const DEEPSEEK3: &[&str] = &[
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
];

/// Chinese apart from the rest: moonshotai/Kimi-K2-Instruct, moonshotai/Moonlight-16B-A3B.
const KIMI: &str = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const TABLE: &[(&[&str], PreTokenizer)] = &[
    // Files from before the field existed hold GPT-2's kin more often than anything else.
    (&["", "default", "gpt-2", "phi-2", "mpt", "olmo", "jais", "gigachat"], GPT2),
    (&["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"], DIGITS),
    (&["llama-bpe", "llama3", "llama-v3"], PreTokenizer { ignore_merges: true, add_bos: true, ..TIKTOKEN }),
    (&["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], TIKTOKEN),
    (&["qwen2", "deepseek-r1-qwen"], PreTokenizer { splits: &[QWEN2], nfc: true, ..TIKTOKEN }),
    (&["stablelm2"], PreTokenizer { splits: &[QWEN2], ..TIKTOKEN }),
    (&["tekken"], PreTokenizer { splits: &[TEKKEN], ignore_merges: true, add_bos: true, ..TIKTOKEN }),
    (&["gpt-4o", "llama4"], PreTokenizer { splits: &[O200K], ..TIKTOKEN }),
    (&["kimi-k2"], PreTokenizer { splits: &[KIMI], ..TIKTOKEN }),
    (&["deepseek-v3"], PreTokenizer { splits: DEEPSEEK3, ..TIKTOKEN }),
];

/// The row of a name; none where it is not known.
pub(super) fn find(name: &str) -> Option<PreTokenizer> {
    TABLE.iter().find(|(names, _)| names.contains(&name)).map(|(_, row)| *row)
}

/// Every name with its row.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = (&'static str, PreTokenizer)> {
    TABLE.iter().flat_map(|(names, row)| names.iter().map(|name| (*name, *row)))
}

impl PreTokenizer {
    /// The `pre_tokenizer` of a `tokenizer.json`.
    pub(super) fn to_json(self) -> Value {
        let mut parts: Vec<Value> = self.splits.iter().map(|regex| split(regex)).collect();
        if self.digits {
            parts.insert(0, json!({ "type": "Digits", "individual_digits": true }));
        }
        parts.push(byte_level(self.gpt2));
        json!({ "type": "Sequence", "pretokenizers": parts })
    }

    /// One that a file brings along.
    pub(super) fn of_regex(regex: &str) -> Value {
        json!({ "type": "Sequence", "pretokenizers": [split(regex), byte_level(false)] })
    }
}

fn split(regex: &str) -> Value {
    json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false })
}

fn byte_level(use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}
