//! Collects dispatches and submits them: parameters travel in one mapped buffer a submit, bind groups are made once.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::Gpu;
use super::device::Mapping;
use super::kernels::{GRIDS_BINDING, InputWindow, Kernel, KernelId};
use super::memory::CountedBuffer;
use super::timeline::{Origin, Timeline, Timer, Told, timer_bytes};
use crate::encoding::grids;
use crate::platform::now_s;
use crate::{Error, ErrorKind, Result};

/// Bytes between two parameter blocks: the largest alignment that an adapter may ask of a dynamic offset.
const PARAMS_STRIDE: u64 = 256;
/// Dispatches in one submit at most.
const PARAMS_SLOTS: u64 = 256;
/// Submits whose parameters can be under way at once; the next one waits. Bounds how far the GPU lags behind.
const SUBMITS_AHEAD: usize = 3;

/// GPU bytes that a recorder takes, those included that it takes only while dispatches are timed.
pub const RECORDER_BYTES: u64 = PARAMS_STRIDE * PARAMS_SLOTS * (SUBMITS_AHEAD as u64 + 1) + TIMER_BYTES + BLOCKS_BYTES;
/// Those of them that it takes only while dispatches are timed.
pub const TIMER_BYTES: u64 = timer_bytes(PARAMS_SLOTS);
/// Bytes of the counter of blocks.
const BLOCKS_BYTES: u64 = 16;
/// GPU bytes that a recorder takes besides where kernels read grids: see [`Recorder::prepare`].
pub const GRIDS_BYTES: u64 = 2 * grids::ENTRIES as u64;

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

    /// What a dispatch takes of a product's input.
    pub fn window(buffer: &'a CountedBuffer, window: InputWindow) -> Self {
        Self { buffer, offset_bytes: window.offset_bytes, len_bytes: window.len_bytes }
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
    place: Origin,
}

impl Dispatch {
    /// As the dispatch with number `index` of a submit.
    fn encode(&self, pass: &mut wgpu::ComputePass<'_>, index: u32) {
        pass.set_pipeline(&self.kernel.pipeline);
        pass.set_bind_group(0, &self.group, &[index * PARAMS_STRIDE as u32]);
        let [x, y, z] = self.grid;
        pass.dispatch_workgroups(x, y, z);
    }
}

enum Slot {
    Mapped,
    Mapping(Mapping),
}

/// Records dispatches and copies, and submits them.
pub struct Recorder {
    gpu: Gpu,
    params: CountedBuffer,
    /// What kernels count the blocks in that they have taken: zeros between dispatches.
    blocks: CountedBuffer,
    /// The grids of i-quants, once a kernel that reads them was prepared.
    grids: Option<CountedBuffer>,
    staging: VecDeque<(CountedBuffer, Slot)>,
    bytes: Vec<u8>,
    dispatches: Vec<Dispatch>,
    copies: Option<wgpu::CommandEncoder>,
    groups: HashMap<GroupKey, wgpu::BindGroup>,
    /// What the next dispatch is part of.
    place: Origin,
    timeline: Timeline,
    timer: Option<Timer>,
}

impl Recorder {
    /// A recorder with its parameter buffers.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] or [`ErrorKind::GpuMemory`] where they do not fit.
    pub async fn new(gpu: &Gpu) -> Result<Self> {
        use wgpu::BufferUsages as Usage;
        let size = PARAMS_STRIDE * PARAMS_SLOTS;
        let params = gpu.buffer("params", size, Usage::UNIFORM | Usage::COPY_DST).await?;
        let mut staging = VecDeque::new();
        for _ in 0..SUBMITS_AHEAD {
            let buffer = gpu.mapped_buffer("params staging", size, Usage::MAP_WRITE | Usage::COPY_SRC).await?;
            staging.push_back((buffer, Slot::Mapped));
        }
        Ok(Self {
            gpu: gpu.clone(),
            params,
            blocks: gpu.buffer("blocks taken", BLOCKS_BYTES, Usage::STORAGE).await?,
            grids: None,
            staging,
            bytes: Vec::new(),
            dispatches: Vec::new(),
            copies: None,
            groups: HashMap::new(),
            place: Origin::default(),
            timeline: Timeline::default(),
            timer: None,
        })
    }

    /// Sees to it that what these kernels read besides the buffers of their dispatches is there.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] or [`ErrorKind::GpuMemory`] where it does not fit, and [`ErrorKind::DeviceLost`].
    pub async fn prepare(&mut self, kernels: &[KernelId]) -> Result<()> {
        use wgpu::BufferUsages as Usage;
        if self.grids.is_some() || !kernels.iter().any(|kernel| kernel.reads_grids()) {
            return Ok(());
        }
        let buffer = self.gpu.buffer("grids", GRIDS_BYTES, Usage::STORAGE | Usage::UNIFORM | Usage::COPY_DST).await?;
        let staging = self.staged(&grids::bytes()).await?;
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&staging, 0, &buffer, 0, GRIDS_BYTES);
        let after = self.gpu.submit(encoder.finish());
        self.map_again(staging, after);
        self.grids = Some(buffer);
        Ok(())
    }

    /// A staging buffer that holds `bytes` and is no longer mapped.
    async fn staged(&mut self, bytes: &[u8]) -> Result<CountedBuffer> {
        let Some((staging, slot)) = self.staging.pop_front() else {
            return Err(Error::new(ErrorKind::Internal, "the recorder lost its staging buffers"));
        };
        if let Slot::Mapping(mapping) = slot {
            mapping.ready().await?;
        }
        match staging.get_mapped_range_mut(..bytes.len() as u64) {
            Ok(mut view) => view.copy_from_slice(bytes),
            Err(error) => return Err(Error::new(ErrorKind::Internal, "parameters are not mapped").source(error)),
        }
        staging.unmap();
        Ok(staging)
    }

    /// Has a staging buffer mapped once the GPU is done with `after`.
    fn map_again(&mut self, staging: CountedBuffer, after: wgpu::SubmissionIndex) {
        let mapping = self.gpu.map(&staging, wgpu::MapMode::Write, after);
        self.staging.push_back((staging, Slot::Mapping(mapping)));
    }

    /// The times of dispatches, for who wants them.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Whether dispatches are to be timed and are not yet.
    pub fn lacks_timer(&self) -> bool {
        self.timer.is_none() && self.timeline.is_wanted()
    }

    /// Times dispatches from the next submit on.
    ///
    /// # Errors
    /// As [`Timer::new`].
    pub async fn start_timer(&mut self) -> Result<()> {
        self.timer = Some(Timer::new(&self.gpu, self.timeline.clone(), PARAMS_SLOTS).await?);
        Ok(())
    }

    /// What the next dispatches are part of.
    pub fn set_place(&mut self, layer: usize, op: usize) {
        self.place = Origin { layer, op, ..Origin::default() };
    }

    /// The weights of the next dispatch.
    pub fn set_weights(&mut self, tiles: Range<usize>, bytes: u64) {
        self.place = Origin { first_tile: tiles.start, tiles: tiles.len(), weight_bytes: bytes, ..self.place };
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
    /// [`ErrorKind::Internal`] where the recorder is full or the parameters are too long: a fault of the caller.
    pub fn dispatch<P: bytemuck::Pod>(
        &mut self,
        kernel: &Arc<Kernel>,
        buffers: &[Bind<'_>],
        params: &P,
        grid: [u32; 3],
    ) -> Result<()> {
        self.dispatch_bytes(kernel, buffers, bytemuck::bytes_of(params), grid)
    }

    /// The same with parameters as bytes.
    ///
    /// # Errors
    /// As [`Recorder::dispatch`].
    pub fn dispatch_bytes(
        &mut self,
        kernel: &Arc<Kernel>,
        buffers: &[Bind<'_>],
        params: &[u8],
        grid: [u32; 3],
    ) -> Result<()> {
        if self.is_full() || params.len() as u64 > PARAMS_STRIDE {
            return Err(Error::new(ErrorKind::Internal, "too many dispatches for one submit"));
        }
        if kernel.reads_grids && self.grids.is_none() {
            return Err(Error::new(ErrorKind::Internal, "the recorder was not prepared for a kernel that reads grids"));
        }
        let group = self.group(kernel, buffers, (params.len() as u64).next_multiple_of(16));
        self.bytes.resize(self.dispatches.len() * PARAMS_STRIDE as usize, 0);
        self.bytes.extend_from_slice(params);
        self.dispatches.push(Dispatch { kernel: Arc::clone(kernel), group, grid, place: self.place });
        self.set_place(self.place.layer, self.place.op);
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
            let blocks = Bind::from(&self.blocks);
            let blocks = if kernel.takes_blocks { Some(&blocks) } else { None };
            let mut entries =
                vec![wgpu::BindGroupEntry { binding: 0, resource: binding(params, 0, Some(params_bytes)) }];
            entries.extend((1..).zip(buffers.iter().chain(blocks)).map(|(index, bind)| wgpu::BindGroupEntry {
                binding: index,
                resource: binding(bind.buffer, bind.offset_bytes, bind.len_bytes),
            }));
            let grids = self.grids.as_ref().filter(|_| kernel.reads_grids);
            entries.extend(
                grids.map(|grids| wgpu::BindGroupEntry { binding: GRIDS_BINDING, resource: binding(grids, 0, None) }),
            );
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
    /// [`ErrorKind::DeviceLost`].
    pub async fn submit(&mut self, last: impl FnOnce(&mut wgpu::CommandEncoder)) -> Result<wgpu::SubmissionIndex> {
        self.submit_then(last, now_s).await
    }

    /// The same; calls `done` when the GPU is done, which gives the time at which it was told so.
    ///
    /// # Errors
    /// As [`Recorder::submit`].
    pub async fn submit_then(
        &mut self,
        last: impl FnOnce(&mut wgpu::CommandEncoder),
        done: impl FnOnce() -> f64 + Send + 'static,
    ) -> Result<wgpu::SubmissionIndex> {
        if let Some(timer) = &mut self.timer {
            timer.ready().await?;
        }
        let device = &self.gpu.device;
        let mut encoder = self.copies.take().unwrap_or_else(|| device.create_command_encoder(&Default::default()));
        let (mut used, mut labels) = (None, Vec::new());
        if !self.dispatches.is_empty() {
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            let len = bytes.len() as u64;
            let staging = self.staged(&bytes).await?;
            self.bytes = bytes;
            encoder.copy_buffer_to_buffer(&staging, 0, &self.params, 0, len);
            if let Some(timer) = &self.timer {
                labels = self.dispatches.iter().map(|dispatch| (dispatch.kernel.id, dispatch.place)).collect();
                self.encode_timed(&mut encoder, timer);
            } else {
                self.encode(&mut encoder);
            }
            self.dispatches.clear();
            self.bytes.clear();
            used = Some(staging);
        }
        last(&mut encoder);
        let after = self.gpu.submit(encoder.finish());
        if let Some(staging) = used {
            self.map_again(staging, after.clone());
        }
        let told = Told::default();
        if let Some(timer) = self.timer.as_mut().filter(|_| !labels.is_empty()) {
            timer.submitted(&self.gpu, labels, after.clone(), told.clone());
        }
        self.gpu.on_done(after.clone(), move || {
            told.now(done);
        });
        Ok(after)
    }

    fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for (index, dispatch) in (0..).zip(&self.dispatches) {
            dispatch.encode(&mut pass, index);
        }
    }

    /// The same, with a pass and two timestamps a dispatch.
    fn encode_timed(&self, encoder: &mut wgpu::CommandEncoder, timer: &Timer) {
        for (index, dispatch) in (0..).zip(&self.dispatches) {
            let timestamp_writes = timer.writes(index);
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            dispatch.encode(&mut encoder.begin_compute_pass(&descriptor), index);
        }
        timer.resolve(encoder, self.dispatches.len() as u32);
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
