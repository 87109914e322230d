//! Tilestream runs language models that are far larger than the GPU's memory, by streaming their weights through
//! it in small pieces ("tiles"). One engine and one set of WGSL shaders serve native hosts (Vulkan, Metal, DX12) and
//! the browser (WebGPU).

#![warn(missing_docs, unreachable_pub)]

mod auto_model;
mod error;
mod generate;
mod handle;
mod model_files;
pub mod monitor;
mod scheduler;
pub mod store;
mod trace;
mod web_api;
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

pub use auto_model::{AutoModel, ExpertsReport, LoadOptions, ProfileReport};
pub use error::{Error, ErrorKind, Result};
pub use generate::Generation;
pub use gpu::Device;
pub use gpu::kernels::{InputType, KvType};
pub use handle::{Answer, ModelHandle};
pub use model::CancelToken;
pub use model_files::{ModelFiles, ModelText};
pub use monitor::TileMonitor;
pub use reads::ReadStrategy;
pub use scheduler::{Event, GenerateOptions, Request, RequestId, TextDelta};
pub use text::{Content, ContentPart, Message, SamplerOptions, StopReason};
pub use trace::Trace;

/// The examples of the first page are compiled with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
