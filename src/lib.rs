//! Tilestream runs language models that are far larger than the GPU's memory, by streaming their weights through it in
//! small pieces ("tiles"). One engine and one set of WGSL shaders serve native hosts (Vulkan, Metal, DX12) and the browser
//! (WebGPU).
//!
//! ```no_run
//! # fn main() -> tilestream::Result<()> {
//! use tilestream::{AutoModel, GenerateOptions, Message};
//!
//! pollster::block_on(async {
//!     let mut model = AutoModel::from_pretrained("ORG/NAME").budget(4 << 30).load().await?;
//!     let prompt = model.chat_prompt(&[Message::user("What is a tile?")])?;
//!     let mut answer = model.generate(prompt, GenerateOptions::default().max_tokens(100))?;
//!     while let Some(delta) = answer.next().await? {
//!         print!("{}", delta.text);
//!     }
//!     Ok(())
//! })
//! # }
//! ```
//!
//! # What a model may be
//! The folder of a split model, a Hugging Face folder, a GGUF file, `ORG/NAME` on the Hub, or a web address. A checkpoint is
//! split into a cache folder when it is first used, which takes one reading and one writing of its bytes.
//!
//! # The budget
//! [`LoadOptions::budget_bytes`] is a hard cap on all GPU memory of a model: weights, keys and values, activations, and the ring
//! through which the rest streams. What the budget leaves holds weights for good, so a model that fits is resident. What
//! cannot fit is refused before anything is loaded, with the smallest budget that would do. No text depends on the budget.
//!
//! # What the first run costs
//! Kernels are compiled when a model is first loaded on an adapter, and on a GPU shapes of them are tried for two seconds
//! ([`LoadOptions::tune`]). A disk is measured for up to 1.5 seconds where a sweep reads more than the system's cache holds.
//! All of it is remembered in the user's cache folder.
//!
//! # One caller, or many
//! [`AutoModel`] answers one caller. [`AutoModel::into_handle`] gives the model to a thread of its own; clones of the
//! [`ModelHandle`] ask it from anywhere, and all that ask share each sweep over the weights. A text depends on its prompt, its
//! options and its seed, and on nothing else.
//!
//! # Threads and executors
//! Any executor will do, such as `pollster::block_on`. Reading, and waiting for the GPU, happen on threads of the library.
//!
//! # In a browser
//! The crate compiles for `wasm32-unknown-unknown` and runs on the event loop of a worker. The npm package `tilestream` is made
//! of it; a page should take that.
//!
//! # Errors
//! An [`Error`] has a kind ([`Error::kind`]), names the file and the tensor, and says what to do. An error of one request ends
//! that request alone. A device that is lost is replaced, and every answer goes on.

#![warn(missing_docs, unreachable_pub)]
// A caller may go on on another thread.
#![warn(clippy::future_not_send)]

mod auto_model;
mod embeddings;
mod error;
mod generate;
mod handle;
mod model_files;
pub mod monitor;
mod options;
pub mod prefixes;
mod scheduler;
pub mod store;
mod trace;
#[doc(hidden)]
pub mod web_api;
pub mod words;

/// What the tests and the tools of this repository see. It changes without notice.
#[doc(hidden)]
#[path = ""]
pub mod internals {
    pub mod checkpoint;
    pub mod encoding;
    pub mod gpu;
    pub mod model;
    pub mod plan;
    pub mod platform;
    pub mod reads;
    pub mod reference;
    pub mod shard;
    pub mod source;
    pub mod stream;
    pub mod text;
}

use internals::{checkpoint, encoding, gpu, model, plan, platform, reads, shard, source, stream, text};

pub use auto_model::{AutoModel, ExpertsReport, LoadOptions, Loader, ProfileReport};
pub use error::{Error, ErrorKind, Result};
pub use generate::Generation;
pub use gpu::Device;
pub use gpu::kernels::{InputType, KvType};
pub use handle::{Answer, ModelHandle};
pub use model::CancelToken;
pub use model_files::{ModelFiles, ModelText};
pub use monitor::TileMonitor;
pub use reads::ReadStrategy;
pub use scheduler::{Event, GenerateOptions, Pooling, Question, Request, RequestId, TextDelta};
pub use source::{Secret, SourceOptions};
pub use text::{
    CallFormat, Content, ContentPart, Functions, Grammar, GrammarSource, Message, SamplerOptions, StopReason,
    TemplateArguments, TokenLogprobs, ToolCall,
};
pub use trace::Trace;

/// The examples of the first page are compiled with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
