//! Text in and out: tokenizer, chat template, sampling, stopping. Ids, strings and probabilities; never a GPU.
//!
//! ```text
//! messages ─ ChatTemplate ─▶ prompt ─ Tokenizer::encode ─▶ ids ─▶ (model) ─▶ logits
//! logits ─ Sampler ─▶ id ─ TextStream (TextDecoder, Reasoning, StopTexts, stop ids) ─▶ pieces of text
//! ```

mod added_tokens;
mod calls;
mod chat;
mod content;
mod ends;
mod gguf_tokenizer;
mod grammar;
mod logprobs;
mod normalizers;
mod pieces;
mod pre_tokenizers;
mod reasoning;
mod sampler;
mod stop;
mod stream;
mod tokenizer;
mod tokenizer_check;
mod tokenizer_files;
mod tokenizer_parts;

pub use calls::{CallFormat, Functions, ToolCall};
pub use chat::{ChatTemplate, Date, Message, RenderOptions, TemplateArguments};
pub use content::{Content, ContentPart};
pub use ends::join_ends;
pub use gguf_tokenizer::tokenizer_json;

pub use grammar::{Allowed, Grammar, GrammarCompiler, GrammarSource, GrammarState};
pub use logprobs::TokenLogprobs;
pub use reasoning::{Reasoning, ReasoningFormat, SplitText};
pub use sampler::{Sampler, SamplerOptions};
pub use stop::{Found, StopReason, StopTexts, stop_token_ids};
pub use stream::{TextDecoder, TextStream};
pub use tokenizer::Tokenizer;
pub use tokenizer_files::tokenizer_json_from_files;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tokenizer_tests;
