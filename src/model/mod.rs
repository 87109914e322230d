//! Walks the plan over tiles: budget, KV cache, sweeps, sequences.

mod attention;
pub mod batch;
pub mod budget;
mod buffers;
mod cancel;
mod delta;
pub mod engine;
mod experts;
pub mod kv;
pub mod layout;
mod needed;
mod ops;
mod products;
mod readback;
pub mod recurrent;
mod run_expert;
mod sections;
pub mod step;
mod timing;

pub use cancel::CancelToken;
pub use engine::Engine;
