//! A model on a GPU: the plan lowered to a program, the memory that it takes, the states of sequences, and sweeps.

mod attention;
pub mod batch;
mod cancel;
pub mod engine;
mod executor;
mod experts;
pub mod inputs;
pub mod kv;
pub mod layout;
pub mod lower;
pub mod memory;
mod page_io;
mod page_runs;
mod pages;
mod products;
pub mod program;
pub mod readback;
pub mod recurrent;
mod routing;
mod sections;
pub mod states;
mod walk;

pub use cancel::CancelToken;
pub use engine::Engine;
