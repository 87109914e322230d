//! Device, memory accountant, shaders. Knows buffers and pipelines; no tensor names, no paths.

mod adapter;
mod budget;
mod compile;
pub mod compose;
mod decoders;
pub mod device;
mod halves;
mod inputs;
pub mod kernels;
pub mod measure;
pub mod memory;
mod params;
mod pipelines;
pub mod recorder;
pub mod search;
pub mod timeline;
pub mod tuning;

pub use adapter::{AdapterReport, adapters};
pub use budget::{Gpu, Upload};
pub use device::Device;
pub use halves::halves_agree;
pub use memory::{Accountant, CountedBuffer};

/// Whether invocations of a subgroup can exchange values.
pub const SUBGROUP: wgpu::Features = wgpu::Features::SUBGROUP;
/// Whether shaders can compute in f16.
pub const SHADER_F16: wgpu::Features = wgpu::Features::SHADER_F16;
/// Whether shaders can load and compute whole numbers of 64 bits.
pub const SHADER_INT64: wgpu::Features = wgpu::Features::SHADER_INT64;
/// Whether the adapter can tell when a dispatch began and ended.
pub const TIMESTAMPS: wgpu::Features = wgpu::Features::TIMESTAMP_QUERY;
