//! Walks the plan over tiles: budget, KV cache, sweeps, sequences.

pub mod batch;
pub mod budget;
pub mod engine;
pub mod kv;
pub mod layout;
mod readback;
pub mod step;

pub use engine::{CancelToken, Engine};
