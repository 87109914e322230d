//! The compiled kernels of a device.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::channel::oneshot;

use super::kernels::{Access, KernelId, KernelRow};
use super::tuning::Tuning;
use crate::platform::{Spawner, cores};
use crate::{Error, ErrorKind, Result};

/// Kernels that are compiled at once, at most: each takes memory of the driver's.
const MOST_AT_ONCE: usize = 8;

/// A compiled kernel.
#[derive(Debug)]
pub struct Kernel {
    pub id: KernelId,
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
    /// Whether its last binding is the recorder's counter of blocks.
    pub takes_blocks: bool,
}

/// The compiled kernels of a device.
#[derive(Debug)]
pub struct Kernels {
    device: wgpu::Device,
    tuning: Tuning,
    cache: Option<wgpu::PipelineCache>,
    compiled: Mutex<HashMap<KernelId, Arc<Kernel>>>,
}

impl Kernels {
    /// An empty set.
    pub fn new(device: &wgpu::Device, tuning: Tuning) -> Self {
        Self { device: device.clone(), tuning, cache: None, compiled: Mutex::default() }
    }

    /// The same, compiled with the help of what a cache holds.
    pub fn with_cache(mut self, cache: Option<wgpu::PipelineCache>) -> Self {
        self.cache = cache;
        self
    }

    /// The sizes that the kernels are compiled for.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// A kernel that was prepared.
    pub fn get(&self, id: KernelId) -> Option<Arc<Kernel>> {
        self.compiled.lock().ok()?.get(&id).cloned()
    }

    /// Compiles kernels that are not there yet, several at once where there are cores.
    ///
    /// # Errors
    /// [`ErrorKind::Gpu`] naming file and line of the shader, with what the driver says.
    pub async fn prepare(&self, ids: &[KernelId]) -> Result<()> {
        let mut missing: Vec<KernelId> = Vec::new();
        for id in ids {
            if self.get(*id).is_none() && !missing.contains(id) {
                missing.push(*id);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let threads = cores().min(MOST_AT_ONCE).min(missing.len());
        let spawner = Spawner::new("compile", threads).map_err(|error| Error::io(error, "threads that compile"))?;
        let mut waiting = Vec::new();
        for id in missing {
            let row = id.row(&self.tuning)?;
            let (device, cache) = (self.device.clone(), self.cache.clone());
            let (sender, receiver) = oneshot::channel();
            spawner.spawn(async move {
                // Nobody waits any more where another kernel failed.
                let _ = sender.send(compile(&device, cache.as_ref(), id, row).await);
            });
            waiting.push(receiver);
        }
        for receiver in waiting {
            let stopped = || Error::new(ErrorKind::Gpu, "a thread that compiles kernels stopped");
            let kernel = Arc::new(receiver.await.map_err(|_| stopped())??);
            if let Ok(mut compiled) = self.compiled.lock() {
                compiled.insert(kernel.id, kernel);
            }
        }
        Ok(())
    }
}

/// Compiles one kernel. The error scope belongs to the thread natively and to the device in a browser: nothing is waited for
/// while it is open.
async fn compile(
    device: &wgpu::Device,
    cache: Option<&wgpu::PipelineCache>,
    id: KernelId,
    row: KernelRow,
) -> Result<Kernel> {
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(row.entry),
        source: wgpu::ShaderSource::Wgsl(row.composed.source.as_str().into()),
    });
    let layout = bind_group_layout(device, &row);
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(row.entry),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(row.entry),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some(row.entry),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache,
    });
    let error = scope.pop();
    let Some(error) = error.await else {
        return Ok(Kernel { id, pipeline, layout, takes_blocks: row.takes_blocks });
    };
    let messages = module.get_compilation_info().await.messages;
    let place = messages.iter().find_map(|message| message.location.as_ref());
    let place = place.map_or_else(|| row.entry.to_owned(), |place| row.composed.place(place.line_number));
    Err(Error::new(ErrorKind::Gpu, format!("kernel {id:?} does not compile: {error}")).file(place))
}

fn bind_group_layout(device: &wgpu::Device, row: &KernelRow) -> wgpu::BindGroupLayout {
    let entry = |binding, ty, has_dynamic_offset, bytes| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: wgpu::BufferSize::new(bytes) },
        count: None,
    };
    let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true, row.params_bytes)];
    let blocks = row.takes_blocks.then_some(&Access::Write);
    entries.extend((1..).zip(row.bindings.iter().chain(blocks)).map(|(index, access)| {
        let ty = match access {
            Access::Uniform => wgpu::BufferBindingType::Uniform,
            _ => wgpu::BufferBindingType::Storage { read_only: *access == Access::Read },
        };
        entry(index, ty, false, 0)
    }));
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(row.entry), entries: &entries })
}
