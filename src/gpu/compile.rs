//! The compiled kernels of a device.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_lock::OnceCell;
use futures::channel::oneshot;

use super::kernels::{Access, GRIDS_BINDING, KernelId, KernelRow};
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
    /// Whether it reads the recorder's grids.
    pub reads_grids: bool,
}

/// A kernel that is compiled once, whoever asks first.
type Once = Arc<OnceCell<Arc<Kernel>>>;

/// The compiled kernels of a device, by id and by the text that a tuning makes of it: what two tunings have in common is
/// compiled once.
#[derive(Debug)]
pub(super) struct KernelPool {
    device: wgpu::Device,
    cache: Option<wgpu::PipelineCache>,
    compiled: Mutex<HashMap<(KernelId, String), Once>>,
}

impl KernelPool {
    /// An empty pool, whose kernels are compiled with the help of what a cache holds.
    pub(super) fn new(device: &wgpu::Device, cache: Option<wgpu::PipelineCache>) -> Self {
        Self { device: device.clone(), cache, compiled: Mutex::default() }
    }

    fn once(&self, id: KernelId, row: &KernelRow) -> Once {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(compiled.entry((id, row.composed.source.clone())).or_default())
    }

    /// The kernels of these ids, in their order: those that nobody compiled yet are compiled, several at once where there are
    /// cores; those that another engine compiles now are waited for.
    async fn kernels(&self, ids: &[KernelId], tuning: &Tuning) -> Result<Vec<Arc<Kernel>>> {
        let rows = ids.iter().map(|id| Ok((*id, id.row(tuning)?))).collect::<Result<Vec<_>>>()?;
        let cells: Vec<Once> = rows.iter().map(|(id, row)| self.once(*id, row)).collect();
        let missing: Vec<_> = rows.into_iter().zip(&cells).filter(|(_, cell)| !cell.is_initialized()).collect();
        if !missing.is_empty() {
            let threads = cores().min(MOST_AT_ONCE).min(missing.len());
            let spawner = Spawner::new("compile", threads).map_err(|error| Error::io(error, "threads that compile"))?;
            let mut waiting = Vec::new();
            for ((id, row), cell) in missing {
                let (device, cache, cell) = (self.device.clone(), self.cache.clone(), Once::clone(cell));
                let (sender, receiver) = oneshot::channel();
                spawner.spawn(async move {
                    let compile = || async { compile(&device, cache.as_ref(), id, row).await.map(Arc::new) };
                    // Nobody waits any more where another kernel failed.
                    let _ = sender.send(cell.get_or_try_init(compile).await.map(|_| ()));
                });
                waiting.push(receiver);
            }
            for receiver in waiting {
                receiver.await.map_err(|_| stopped())??;
            }
        }
        cells.iter().map(|cell| cell.get().cloned().ok_or_else(stopped)).collect()
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Internal, "a thread that compiles kernels stopped")
}

/// The kernels of a tuning that were prepared.
#[derive(Debug)]
pub struct Kernels {
    pool: Arc<KernelPool>,
    tuning: Tuning,
    prepared: Mutex<HashMap<KernelId, Arc<Kernel>>>,
}

impl Kernels {
    /// Those of a pool; none is prepared yet.
    pub(super) fn new(pool: Arc<KernelPool>, tuning: Tuning) -> Self {
        Self { pool, tuning, prepared: Mutex::default() }
    }

    /// The sizes that the kernels are compiled for.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// A kernel that was prepared.
    pub fn get(&self, id: KernelId) -> Option<Arc<Kernel>> {
        self.prepared.lock().ok()?.get(&id).cloned()
    }

    /// Sees to it that kernels are compiled.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] naming file and line of a shader that is wrong; [`ErrorKind::Adapter`] where the driver refuses a
    /// right one.
    pub async fn prepare(&self, ids: &[KernelId]) -> Result<()> {
        let mut missing: Vec<KernelId> = Vec::new();
        for id in ids {
            if self.get(*id).is_none() && !missing.contains(id) {
                missing.push(*id);
            }
        }
        let kernels = self.pool.kernels(&missing, &self.tuning).await?;
        if let Ok(mut prepared) = self.prepared.lock() {
            prepared.extend(kernels.into_iter().map(|kernel| (kernel.id, kernel)));
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
    let driver = device.push_error_scope(wgpu::ErrorFilter::Internal);
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
    let (error, refused) = (scope.pop(), driver.pop());
    let Some(error) = error.await else {
        let Some(refused) = refused.await else {
            let (takes_blocks, reads_grids) = (row.takes_blocks, row.grids.is_some());
            return Ok(Kernel { id, pipeline, layout, takes_blocks, reads_grids });
        };
        return Err(Error::new(ErrorKind::Adapter, format!("the driver refuses kernel {id:?}: {refused}"))
            .remedy("update the driver, or choose another adapter"));
    };
    let messages = module.get_compilation_info().await.messages;
    let place = messages.iter().find_map(|message| message.location.as_ref());
    let place = place.map_or_else(|| row.entry.to_owned(), |place| row.composed.place(place.line_number));
    Err(Error::new(ErrorKind::Internal, format!("kernel {id:?} does not compile: {error}")).file(place))
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
    let grids = row.grids.as_ref().map(|access| (GRIDS_BINDING, access));
    entries.extend((1..).zip(row.bindings.iter().chain(blocks)).chain(grids).map(|(index, access)| {
        let ty = match access {
            Access::Uniform => wgpu::BufferBindingType::Uniform,
            _ => wgpu::BufferBindingType::Storage { read_only: *access == Access::Read },
        };
        entry(index, ty, false, 0)
    }));
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(row.entry), entries: &entries })
}
