//! Adapters: what there is, and which one is taken.

use crate::words::Term;
use crate::{Error, ErrorKind, Result};

/// An adapter with what matters to Tilestream.
#[derive(Clone, Debug)]
pub struct AdapterReport {
    pub info: wgpu::AdapterInfo,
    pub features: wgpu::Features,
    pub limits: wgpu::Limits,
}

impl AdapterReport {
    pub(super) fn of(adapter: &wgpu::Adapter) -> Self {
        Self { info: adapter.get_info(), features: adapter.features(), limits: adapter.limits() }
    }

    /// Whether shaders run on the processor.
    pub fn is_cpu(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::Cpu
    }

    /// Whether the adapter's memory is the host's.
    pub fn shares_memory(&self) -> bool {
        matches!(self.info.device_type, wgpu::DeviceType::Cpu | wgpu::DeviceType::IntegratedGpu)
    }

    /// Whether uploads write straight into memory that shaders read: the adapter maps its own buffers, and they share
    /// the host's memory. (Across PCIe mapped memory is slow to read from the shader.)
    pub fn maps_primary_buffers(&self) -> bool {
        self.shares_memory() && self.features.contains(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS)
    }
}

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    // Such as WGPU_DEBUG and WGPU_VALIDATION.
    descriptor.flags = descriptor.flags.with_env();
    wgpu::Instance::new(descriptor)
}

/// Every adapter of this host, real GPUs first.
pub async fn adapters() -> Vec<AdapterReport> {
    let mut found: Vec<_> =
        instance().enumerate_adapters(wgpu::Backends::PRIMARY).await.iter().map(AdapterReport::of).collect();
    found.sort_by_key(|report| device_rank(report.info.device_type));
    found
}

fn device_rank(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

/// The adapter whose name contains `name`, or the best one.
pub(super) async fn pick_adapter(name: Option<&str>) -> Result<wgpu::Adapter> {
    let instance = instance();
    let Some(name) = name else {
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        return instance.request_adapter(&options).await.map_err(|error| {
            Error::new(ErrorKind::Adapter, "no GPU adapter was found")
                .remedy("install a Vulkan driver (in software: mesa-vulkan-drivers), or see " + Term::Adapters)
                .source(error)
        });
    };
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
    let wanted = name.to_lowercase();
    let position = adapters.iter().position(|adapter| adapter.get_info().name.to_lowercase().contains(&wanted));
    match position {
        Some(index) => Ok(adapters.swap_remove(index)),
        None => {
            // A name may have commas.
            let names: Vec<_> = adapters.iter().map(|adapter| format!("'{}'", adapter.get_info().name)).collect();
            Err(Error::new(ErrorKind::Argument, format!("no adapter is called '{name}'"))
                .remedy(format!("choose one of: {}", names.join(", "))))
        }
    }
}
