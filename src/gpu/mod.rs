//! Device, memory accountant, shaders. Knows buffers and pipelines; no tensor names, no paths.

pub mod compose;
pub mod device;
pub mod kernels;
pub mod memory;
mod params;
pub mod recorder;

pub use device::{AdapterReport, Gpu, adapters};
pub use memory::{Accountant, CountedBuffer};
