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
    /// Spaces are `▁` and other characters themselves, as in SentencePiece's BPE; else bytes are characters.
    pub(super) plain: bool,
}

const GPT2: PreTokenizer = PreTokenizer {
    splits: &[],
    digits: false,
    gpt2: true,
    ignore_merges: false,
    add_bos: false,
    nfc: false,
    plain: false,
};
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

/// GPT-2's own, where something cuts behind it.
const GPT2_REGEX: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Punctuation, GPT-2's, then digits in threes: tiiuae/falcon-7b.
const FALCON: &[&str] = &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2_REGEX, "[0-9][0-9][0-9]"];
/// deepseek-ai/deepseek-llm-7b-base: words are of letters that have a case.
const DEEPSEEK_LLM: &[&str] = &[
    r"[\r\n]",
    r"\s?[\p{Lu}\p{Ll}\p{Lt}]+",
    r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+",
    r"\s+$",
    r"[\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+",
    r"\p{N}+",
];
/// deepseek-ai/deepseek-coder-6.7b-base.
const DEEPSEEK_CODER: &[&str] =
    &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+", r"\p{N}"];
/// DeepSeek 3's, with each end of a line and each digit apart.
const SPARK: &[&str] = &[
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"##,
    r"\p{N}",
];
/// Digits in threes from the right, then Asian scripts, then as DeepSeek 3: arcee-ai/Trinity-Mini.
const AFMOE: &[&str] = &[
    r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
    r"[一-鿿㐀-䶿\x{F900}-\x{FAFF}぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+",
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
];
/// Asian scripts, then o200k's with single digits: tencent/Youtu-LLM-2B.
const YOUTU: &[&str] = &[
    r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];
/// Digits in threes from the right, then o200k's: CohereLabs/tiny-aya.
const TINY_AYA: &[&str] = &[r"\d{1,3}(?=(?:\d{3})*\b)", O200K];
/// cl100k's with runs of spaces in powers of two: inceptionai/Jais-2-8B-Chat.
const JAIS2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}";
/// Marks belong to their letters: Qwen/Qwen3.5.
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// bigscience/bloom, TurkuNLP's and LumiOpen's models.
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
/// facebook/chameleon-7b.
const CHAMELEON: &[&str] = &[
    "<sentinel:[0-9]+>",
    "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
    r"([\t\n]|    |  )",
    r"\p{N}",
    r"[\p{P}!-/:-@\[-`{-~]",
    GPT2_REGEX,
];
/// inclusionAI/Ling-lite.
const BAILING: &str =
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
/// ByteDance-Seed/Seed-Coder-8B-Base.
const SEED_CODER: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
/// QWEN2 without English contractions.
const UFAKZEKA: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words may hold single spaces: LGAI-EXAONE/K-EXAONE-236B-A23B.
const EXAONE_MOE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";
/// openbmb/MiniCPM5-1B.
const MINICPM5: &[&str] = &[
    r"\p{N}{1,3}",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];
const LINES: &str = r"[^\n]+|[\n]+";

const TABLE: &[(&[&str], PreTokenizer)] = &[
    // Files from before the field existed hold GPT-2's kin more often than anything else.
    (&["", "default", "gpt-2", "phi-2", "mpt", "olmo", "jais", "gigachat", "trillion", "granite-docling"], GPT2),
    (&["jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "jina-v1-en", "jina-v2-code", "roberta-bpe"], GPT2),
    (&["a.x-4.0", "mellum", "modern-bert", "exaone4"], GPT2),
    (&["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"], DIGITS),
    (
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
        PreTokenizer { ignore_merges: true, add_bos: true, ..TIKTOKEN },
    ),
    (&["dbrx", "smaug-bpe", "glm4", "glm5", "chatglm-bpe"], TIKTOKEN),
    (
        &["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez"],
        PreTokenizer { splits: &[QWEN2], nfc: true, ..TIKTOKEN },
    ),
    (&["qwen35"], PreTokenizer { splits: &[QWEN35], nfc: true, ..TIKTOKEN }),
    (&["stablelm2", "hunyuan", "solar-open", "grok-2"], PreTokenizer { splits: &[QWEN2], ..TIKTOKEN }),
    (&["laguna"], PreTokenizer { splits: &[LINES, QWEN2], ..TIKTOKEN }),
    (&["tekken"], PreTokenizer { splits: &[TEKKEN], ignore_merges: true, add_bos: true, ..TIKTOKEN }),
    (&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], PreTokenizer { splits: &[O200K], ..TIKTOKEN }),
    (&["granite-embed-multi-97m"], PreTokenizer { splits: &[O200K], ignore_merges: true, ..TIKTOKEN }),
    (&["tiny_aya", "cohere2moe"], PreTokenizer { splits: TINY_AYA, ..TIKTOKEN }),
    (&["kimi-k2"], PreTokenizer { splits: &[KIMI], ..TIKTOKEN }),
    (&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], PreTokenizer { splits: DEEPSEEK3, ..TIKTOKEN }),
    (&["deepseek-llm"], PreTokenizer { splits: DEEPSEEK_LLM, ..TIKTOKEN }),
    (&["deepseek-coder"], PreTokenizer { splits: DEEPSEEK_CODER, ..TIKTOKEN }),
    (&["spark2_5"], PreTokenizer { splits: SPARK, ..TIKTOKEN }),
    (&["afmoe"], PreTokenizer { splits: AFMOE, ..TIKTOKEN }),
    (&["youtu"], PreTokenizer { splits: YOUTU, ignore_merges: true, ..TIKTOKEN }),
    (&["falcon"], PreTokenizer { splits: FALCON, ..TIKTOKEN }),
    (&["jais-2"], PreTokenizer { splits: &[JAIS2], ..TIKTOKEN }),
    (&["poro-chat", "bloom", "gpt3-finnish"], PreTokenizer { splits: &[BLOOM], ..TIKTOKEN }),
    (&["viking"], PreTokenizer { splits: &[BLOOM, r"\p{N}"], ..TIKTOKEN }),
    (&["chameleon"], PreTokenizer { splits: CHAMELEON, add_bos: true, ..TIKTOKEN }),
    (&["superbpe"], PreTokenizer { splits: &[r"\p{N}+", r"(?=(\d{3})+(?!\d))"], ..TIKTOKEN }),
    (&["bailingmoe", "bailingmoe2", "llada-moe"], PreTokenizer { splits: &[BAILING], ..TIKTOKEN }),
    (&["seed-coder"], PreTokenizer { splits: &[SEED_CODER], ..TIKTOKEN }),
    (&["ufakzeka"], PreTokenizer { splits: &[UFAKZEKA], ..TIKTOKEN }),
    (&["exaone-moe"], PreTokenizer { splits: &[EXAONE_MOE], ..TIKTOKEN }),
    (&["minicpm5"], PreTokenizer { splits: MINICPM5, ignore_merges: true, ..TIKTOKEN }),
    (&["gemma4", "granite-embed-multi-311m", "sarvam-moe"], PreTokenizer { splits: &[LINES], plain: true, ..TIKTOKEN }),
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
        if !self.plain {
            parts.push(byte_level(self.gpt2));
        }
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
