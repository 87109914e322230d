//! `tilestream devices`: what adapters there are.

use tilestream::gpu::adapters;
use tilestream::{Error, ErrorKind, Result};
use wgpu_facts::{has, yes};

use crate::run::show;

mod wgpu_facts {
    //! Names of features as people know them.

    use tilestream::gpu::AdapterReport;

    /// The features that change what Tilestream does.
    pub fn has(report: &AdapterReport) -> [(&'static str, bool); 3] {
        let features = &report.features;
        [
            ("subgroups", features.contains(tilestream::gpu::SUBGROUP)),
            ("shader-f16", features.contains(tilestream::gpu::SHADER_F16)),
            ("maps its own buffers (no copy on upload)", report.maps_primary_buffers()),
        ]
    }

    /// For people.
    pub fn yes(value: bool) -> &'static str {
        if value { "yes" } else { "no" }
    }
}

/// Runs the command.
pub fn devices() -> Result<()> {
    let found = pollster::block_on(adapters());
    if found.is_empty() {
        return Err(Error::new(ErrorKind::Gpu, "no adapter was found")
            .remedy("install a Vulkan driver (in software: mesa-vulkan-drivers)"));
    }
    let mut text = String::new();
    for report in &found {
        let (info, limits) = (&report.info, &report.limits);
        text += &format!("{} ({:?}, {})\n", info.name, info.device_type, info.backend);
        if !info.driver.is_empty() {
            text += &format!("  driver                {} {}\n", info.driver, info.driver_info);
        }
        for (name, value) in has(report) {
            text += &format!("  {name:<21} {}\n", yes(value));
        }
        text += &format!("  subgroup size         {} to {}\n", info.subgroup_min_size, info.subgroup_max_size);
        text += &format!("  largest binding       {} MiB\n", limits.max_storage_buffer_binding_size >> 20);
        text += &format!("  largest buffer        {} MiB\n", limits.max_buffer_size >> 20);
        text += &format!("  workgroup memory      {} KiB\n", limits.max_compute_workgroup_storage_size >> 10);
        text += &format!("  workgroup invocations {}\n", limits.max_compute_invocations_per_workgroup);
    }
    show(&text)
}
