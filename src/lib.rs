//! Tilestream runs language models that are far larger than the GPU's memory, by streaming their weights through
//! it in small pieces ("tiles"). One engine and one set of WGSL shaders serve native hosts (Vulkan, Metal, DX12) and
//! the browser (WebGPU).

pub mod auto_model;
pub mod checkpoint;
pub mod encoding;
pub mod error;
pub mod generate;
pub mod gpu;
pub mod handle;
pub mod model;
pub mod model_files;
pub mod monitor;
pub mod plan;
pub mod platform;
pub mod reads;
pub mod reference;
pub mod scheduler;
pub mod shard;
pub mod source;
pub mod store;
pub mod stream;
pub mod text;
pub mod trace;
mod web_api;
pub mod words;

pub use auto_model::{AutoModel, ExpertsReport, LoadOptions, ProfileReport};
pub use error::{Error, ErrorKind, Result};
pub use generate::Generation;
pub use handle::{Answer, ModelHandle};
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
