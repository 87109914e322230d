//! Walks the plan over tiles: budget, KV cache, sweeps, sequences.

pub mod batch;
pub mod budget;
mod cancel;
pub mod engine;
mod experts;
pub mod kv;
pub mod layout;
mod ops;
mod readback;
mod run_expert;
mod sections;
pub mod step;

pub use cancel::CancelToken;
pub use engine::Engine;
