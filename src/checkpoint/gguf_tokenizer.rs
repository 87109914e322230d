//! The tokenizer a GGUF file carries, as plain fields.

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
