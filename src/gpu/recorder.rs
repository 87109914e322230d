//! Collects dispatches and submits them: parameters travel in one mapped buffer a submit, bind groups are made once.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use super::device::{Gpu, Mapping};
use super::kernels::{Kernel, KernelId};
use super::memory::CountedBuffer;
use crate::{Error, ErrorKind, Result};

/// Bytes between two parameter blocks: the largest alignment that an adapter may ask of a dynamic offset.
const PARAMS_STRIDE: u64 = 256;
/// Dispatches in one submit at most.
const PARAMS_SLOTS: u64 = 256;
/// Submits whose parameters can be under way at once; the next one waits. Bounds how far the GPU lags behind.
const SUBMITS_AHEAD: usize = 3;

/// GPU bytes that a recorder takes.
pub const RECORDER_BYTES: u64 = PARAMS_STRIDE * PARAMS_SLOTS * (SUBMITS_AHEAD as u64 + 1);

/// A storage buffer, or a range of it, as a kernel sees it.
#[derive(Clone, Copy, Debug)]
pub struct Bind<'a> {
    buffer: &'a CountedBuffer,
    offset_bytes: u64,
    /// To the end where none.
    len_bytes: Option<u64>,
}

impl<'a> Bind<'a> {
    /// A range of a buffer; the offset is a multiple of 256.
    pub fn range(buffer: &'a CountedBuffer, offset_bytes: u64, len_bytes: u64) -> Self {
        Self { buffer, offset_bytes, len_bytes: Some(len_bytes) }
    }
}

impl<'a> From<&'a CountedBuffer> for Bind<'a> {
    fn from(buffer: &'a CountedBuffer) -> Self {
        Self { buffer, offset_bytes: 0, len_bytes: None }
    }
}

#[derive(PartialEq, Eq, Hash)]
struct GroupKey {
    kernel: KernelId,
    /// Identity, offset and length of each buffer.
    buffers: Vec<(u64, u64, u64)>,
}

struct Dispatch {
    kernel: Arc<Kernel>,
    group: wgpu::BindGroup,
    grid: [u32; 3],
}

enum Slot {
    Mapped,
    Mapping(Mapping),
}

/// Records dispatches and copies, and submits them.
pub struct Recorder {
    gpu: Gpu,
    params: CountedBuffer,
    staging: VecDeque<(CountedBuffer, Slot)>,
    bytes: Vec<u8>,
    dispatches: Vec<Dispatch>,
    copies: Option<wgpu::CommandEncoder>,
    groups: HashMap<GroupKey, wgpu::BindGroup>,
}

impl Recorder {
    /// A recorder with its parameter buffers.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] or [`ErrorKind::Gpu`] where they do not fit.
    pub async fn new(gpu: &Gpu) -> Result<Self> {
        use wgpu::BufferUsages as Usage;
        let size = PARAMS_STRIDE * PARAMS_SLOTS;
        let params = gpu.buffer("params", size, Usage::UNIFORM | Usage::COPY_DST).await?;
        let mut staging = VecDeque::new();
        for _ in 0..SUBMITS_AHEAD {
            let buffer = gpu.mapped_buffer("params staging", size, Usage::MAP_WRITE | Usage::COPY_SRC).await?;
            staging.push_back((buffer, Slot::Mapped));
        }
        let (bytes, dispatches, groups) = (Vec::new(), Vec::new(), HashMap::new());
        Ok(Self { gpu: gpu.clone(), params, staging, bytes, dispatches, copies: None, groups })
    }

    /// Whether the next dispatch needs a [`Recorder::submit`] before it.
    pub fn is_full(&self) -> bool {
        !self.has_room(1)
    }

    /// Whether so many dispatches more need no [`Recorder::submit`].
    pub fn has_room(&self, dispatches: usize) -> bool {
        self.dispatches.len() + dispatches <= PARAMS_SLOTS as usize
    }

    /// Whether there is nothing to submit.
    pub fn is_empty(&self) -> bool {
        self.dispatches.is_empty() && self.copies.is_none()
    }

    /// Whether dispatches wait for a submit: copies recorded now would run before them.
    pub fn has_dispatches(&self) -> bool {
        !self.dispatches.is_empty()
    }

    /// Records a dispatch of `kernel` over `grid` workgroups, with its storage buffers in the order of its bindings.
    ///
    /// # Errors
    /// [`ErrorKind::Gpu`] where the recorder is full or the parameters are too long: a fault of the caller.
    pub fn dispatch<P: bytemuck::Pod>(
        &mut self,
        kernel: &Arc<Kernel>,
        buffers: &[Bind<'_>],
        params: &P,
        grid: [u32; 3],
    ) -> Result<()> {
        if self.is_full() || size_of::<P>() as u64 > PARAMS_STRIDE {
            return Err(Error::new(ErrorKind::Gpu, "too many dispatches for one submit"));
        }
        let group = self.group(kernel, buffers, (size_of::<P>() as u64).next_multiple_of(16));
        self.bytes.resize(self.dispatches.len() * PARAMS_STRIDE as usize, 0);
        self.bytes.extend_from_slice(bytemuck::bytes_of(params));
        self.dispatches.push(Dispatch { kernel: Arc::clone(kernel), group, grid });
        Ok(())
    }

    fn group(&mut self, kernel: &Arc<Kernel>, buffers: &[Bind<'_>], params_bytes: u64) -> wgpu::BindGroup {
        let id = |bind: &Bind<'_>| (bind.buffer.id(), bind.offset_bytes, bind.len_bytes.unwrap_or(0));
        let key = GroupKey { kernel: kernel.id, buffers: buffers.iter().map(id).collect() };
        let (device, params) = (&self.gpu.device, &self.params);
        let make = || {
            let binding = |buffer, offset, size: Option<u64>| {
                let size = size.and_then(wgpu::BufferSize::new);
                wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size })
            };
            let mut entries =
                vec![wgpu::BindGroupEntry { binding: 0, resource: binding(params, 0, Some(params_bytes)) }];
            entries.extend((1..).zip(buffers).map(|(index, bind)| wgpu::BindGroupEntry {
                binding: index,
                resource: binding(bind.buffer, bind.offset_bytes, bind.len_bytes),
            }));
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &kernel.layout,
                entries: &entries,
            })
        };
        self.groups.entry(key).or_insert_with(make).clone()
    }

    /// Copies bytes between buffers, before the dispatches of this submit.
    pub fn copy(&mut self, from: &wgpu::Buffer, from_bytes: u64, to: &wgpu::Buffer, to_bytes: u64, len_bytes: u64) {
        let device = &self.gpu.device;
        let encoder = self.copies.get_or_insert_with(|| device.create_command_encoder(&Default::default()));
        encoder.copy_buffer_to_buffer(from, from_bytes, to, to_bytes, len_bytes);
    }

    /// Submits what was recorded: copies, then dispatches, then `last` (copies for reading back).
    ///
    /// # Errors
    /// [`ErrorKind::Gpu`] when the device is lost.
    pub async fn submit(&mut self, last: impl FnOnce(&mut wgpu::CommandEncoder)) -> Result<wgpu::SubmissionIndex> {
        let device = &self.gpu.device;
        let mut encoder = self.copies.take().unwrap_or_else(|| device.create_command_encoder(&Default::default()));
        let mut used = None;
        if !self.dispatches.is_empty() {
            let Some((staging, slot)) = self.staging.pop_front() else {
                return Err(Error::new(ErrorKind::Gpu, "the recorder lost its staging buffers"));
            };
            if let Slot::Mapping(mapping) = slot {
                mapping.ready().await?;
            }
            self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
            let len = self.bytes.len() as u64;
            match staging.get_mapped_range_mut(..len) {
                Ok(mut view) => view.copy_from_slice(&self.bytes),
                Err(error) => return Err(Error::new(ErrorKind::Gpu, "parameters are not mapped").source(error)),
            }
            staging.unmap();
            encoder.copy_buffer_to_buffer(&staging, 0, &self.params, 0, len);
            self.encode(&mut encoder);
            used = Some(staging);
        }
        last(&mut encoder);
        let after = self.gpu.submit(encoder.finish());
        if let Some(staging) = used {
            let mapping = self.gpu.map(&staging, wgpu::MapMode::Write, after.clone());
            self.staging.push_back((staging, Slot::Mapping(mapping)));
        }
        Ok(after)
    }

    fn encode(&mut self, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for (index, dispatch) in self.dispatches.drain(..).enumerate() {
            pass.set_pipeline(&dispatch.kernel.pipeline);
            pass.set_bind_group(0, &dispatch.group, &[index as u32 * PARAMS_STRIDE as u32]);
            let [x, y, z] = dispatch.grid;
            pass.dispatch_workgroups(x, y, z);
        }
        self.bytes.clear();
    }

    /// Forgets bind groups, so that buffers which are about to go can go.
    pub fn forget_groups(&mut self) {
        self.groups.clear();
    }

    /// Drops what was recorded and not submitted.
    pub fn discard(&mut self) {
        self.dispatches.clear();
        self.bytes.clear();
        self.copies = None;
    }
}
