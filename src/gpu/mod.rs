//! Device, memory accountant, shaders. Knows buffers and pipelines; no tensor names, no paths.

pub mod device;
pub mod memory;

pub use device::{AdapterReport, Gpu, adapters};
pub use memory::{Accountant, CountedBuffer};
