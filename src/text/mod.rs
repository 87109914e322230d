//! Text in and out: tokenizer, chat template, sampling, stopping. Ids, strings and probabilities; never a GPU.
//!
//! ```text
//! messages ─ ChatTemplate ─▶ prompt ─ Tokenizer::encode ─▶ ids ─▶ (model) ─▶ logits
//! logits ─ Sampler ─▶ id ─ TextStream (TextDecoder, StopTexts, stop ids) ─▶ pieces of text
//! ```

mod sampler;
mod stop;

pub use sampler::{Sampler, SamplerOptions};
pub use stop::{Found, StopReason, StopTexts, stop_token_ids};
