//! What walks a program: the device, the buffers, the recorder and the stream of a sweep under way.

use std::collections::HashMap;
use std::sync::Arc;

use super::cancel::CancelToken;
use super::inputs::Inputs;
use super::kv::KvCache;
use super::page_io::PageIo;
use super::page_runs::PageRun;
use super::program::{BufferIndex, BufferUse, Dispatch, Program, Slot};
use super::routing::{Choice, RouterLists};
use crate::gpu::device::Mapping;
use crate::gpu::kernels::{Kernel, KernelId, Tuning};
use crate::gpu::recorder::{Bind, Recorder};
use crate::gpu::{CountedBuffer, Gpu};
use crate::platform::yield_now;
use crate::stream::{Profile, Stage, TileStream};
use crate::{Error, ErrorKind, Result};

/// Multiply-adds in one submit, about: a slow GPU does them in well under the two seconds after which drivers reset.
pub(super) const WORK_PER_SUBMIT: u64 = 2_000_000_000;

/// Where the vectors of the layer under way lie: in pinned memory or in a buffer of their own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Vectors {
    /// The tile, where it is pinned.
    pinned: Option<usize>,
    /// Offset of the first one in floats.
    pub(super) base: u32,
}

/// The dispatches that a group of states takes in the sweep under way.
#[derive(Debug, Default)]
pub(super) struct GroupRuns {
    /// Segments to which keys and values are written.
    pub(super) written: Vec<usize>,
    /// Runs of pages that attention reads, in order of position.
    pub(super) read: Vec<PageRun>,
}

/// A router's choice on its way.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) mapping: Option<Mapping>,
    /// What each expert has in a layer's choice; read when first needed.
    pub(super) lists: HashMap<usize, RouterLists>,
    /// The choice of the layer under way.
    pub(super) choice: Choice,
}

/// Executes steps.
pub(super) struct Executor {
    pub(super) gpu: Gpu,
    pub(super) tuning: Tuning,
    pub(super) kernels: HashMap<KernelId, Arc<Kernel>>,
    pub(super) recorder: Recorder,
    pub(super) stream: TileStream,
    pub(super) profile: Profile,
    /// In the order of [`Program::buffers`].
    pub(super) buffers: Vec<CountedBuffer>,
    pub(super) vectors: BufferIndex,
    pub(super) staging: BufferIndex,
    pub(super) inputs: Inputs,
    pub(super) kv: KvCache,
    pub(super) chosen: Chosen,
    pub(super) uniform_inputs: bool,
    pub(super) cancel: CancelToken,
    /// Of the sweep under way, by group of states.
    pub(super) runs: Vec<GroupRuns>,
    /// Multiply-adds recorded since the last submit.
    pub(super) work: u64,
    /// Whether the inputs' copies still wait for a submit.
    pub(super) inputs_wait: bool,
    /// Where pages of the KV cache travel to the host.
    pub(super) page_io: Option<PageIo>,
}

/// Makes the buffers of a program for sweeps of so many rows and outputs.
///
/// # Errors
/// [`ErrorKind::Budget`] or [`ErrorKind::GpuMemory`] where they do not fit.
pub(super) async fn make_buffers(
    gpu: &Gpu,
    program: &Program,
    (rows, outputs): (u32, u32),
    uniform_inputs: bool,
) -> Result<Vec<CountedBuffer>> {
    use wgpu::BufferUsages as Usage;
    let bytes = |index: usize| program.buffers[index].bytes(u64::from(rows), u64::from(outputs), uniform_inputs);
    let mut order: Vec<usize> = (0..program.buffers.len()).collect();
    // The allocator cuts small buffers out of blocks: the largest first leave the fewest holes.
    order.sort_by_key(|index| std::cmp::Reverse(bytes(*index)));
    let mut buffers = Vec::with_capacity(order.len());
    for index in order {
        let (plan, bytes) = (&program.buffers[index], bytes(index));
        let buffer = match plan.reached {
            BufferUse::Storage => {
                let uniform = if plan.product_input && uniform_inputs { Usage::UNIFORM } else { Usage::empty() };
                let usage = Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC | uniform;
                gpu.buffer(plan.name, bytes, usage).await?
            }
            BufferUse::Staging => gpu.mapped_buffer(plan.name, bytes, Usage::MAP_WRITE | Usage::COPY_SRC).await?,
            BufferUse::Readback => gpu.buffer(plan.name, bytes, Usage::MAP_READ | Usage::COPY_DST).await?,
        };
        buffers.push((index, buffer));
    }
    buffers.sort_by_key(|(index, _)| *index);
    Ok(buffers.into_iter().map(|(_, buffer)| buffer).collect())
}

impl Executor {
    pub(super) fn buffer(&self, index: BufferIndex) -> &CountedBuffer {
        &self.buffers[usize::from(index.0)]
    }

    /// A kernel of the program.
    pub(super) fn kernel(&self, id: KernelId) -> Result<Arc<Kernel>> {
        let kernel = self.kernels.get(&id).cloned();
        kernel.ok_or_else(|| Error::new(ErrorKind::Internal, format!("kernel {id:?} was not prepared")))
    }

    /// Submits what is recorded.
    pub(super) async fn submit(&mut self) -> Result<wgpu::SubmissionIndex> {
        self.submit_with(|_| ()).await
    }

    /// The same, with what runs after it.
    pub(super) async fn submit_with(
        &mut self,
        last: impl FnOnce(&mut wgpu::CommandEncoder),
    ) -> Result<wgpu::SubmissionIndex> {
        self.gpu.check()?;
        let (load, sweep) = self.stream.position();
        self.profile.mark(Stage::Compute, true, load, sweep);
        let profile = self.profile.clone();
        let done = move || profile.mark(Stage::Compute, false, load, sweep);
        let after = self.recorder.submit_then(last, done).await?;
        self.inputs_submitted(&after);
        self.work = 0;
        Ok(after)
    }

    fn inputs_submitted(&mut self, after: &wgpu::SubmissionIndex) {
        if self.inputs_wait {
            let staging = &self.buffers[usize::from(self.staging.0)];
            self.inputs.submitted(&self.gpu, staging, after.clone());
            self.inputs_wait = false;
        }
    }

    /// Drops what is recorded, and sees to it that the inputs' staging can be mapped again.
    pub(super) fn abandon(&mut self) {
        self.recorder.discard();
        if self.inputs_wait {
            let after = self.gpu.queue.submit([]);
            self.inputs_submitted(&after);
        }
        self.work = 0;
    }

    /// Submits where the recorder has no room for `dispatches` more, or enough work.
    pub(super) async fn make_room(&mut self, dispatches: usize) -> Result<()> {
        if !self.recorder.has_room(dispatches) || self.work > WORK_PER_SUBMIT {
            self.submit().await?;
        }
        Ok(())
    }

    /// Makes sure that a tile is on the GPU, submitting what used the load before it.
    pub(super) async fn bring(&mut self, tile: usize) -> Result<()> {
        if self.stream.locate(tile).is_some() {
            return Ok(());
        }
        self.cancel.check()?;
        let after = self.submit().await?;
        self.stream.advance(tile, after).await?;
        yield_now().await;
        Ok(())
    }

    /// Brings the vectors of a layer or of an expert; those that are not pinned are copied out of the ring, `at` bytes into
    /// their buffer, for they serve the whole of it.
    pub(super) async fn bring_vectors(&mut self, piece: Option<usize>, at: u64) -> Result<Vectors> {
        let Some(piece) = piece else { return Ok(Vectors::default()) };
        let tile = self.stream.table().tiles_of(piece..piece + 1).start;
        self.bring(tile).await?;
        if let Some(home) = self.stream.home(tile) {
            return Ok(Vectors { pinned: Some(tile), base: (home.offset_bytes / 4) as u32 });
        }
        if self.recorder.has_dispatches() {
            // Copies come before a submit's dispatches, and those of the layer before still need its vectors.
            self.submit().await?;
        }
        let place = self.stream.locate(tile).ok_or_else(lost_tile)?;
        let len = self.stream.table().tile(tile).len_bytes;
        self.recorder.copy(place.buffer, place.offset_bytes, &self.buffers[usize::from(self.vectors.0)], at, len);
        Ok(Vectors { pinned: None, base: (at / 4) as u32 })
    }

    /// Records a dispatch over `rows` rows, `first` being the first one of a list.
    pub(super) fn dispatch(&mut self, step: &Dispatch, rows: u32, first: u32, vectors: Vectors) -> Result<()> {
        let kernel = self.kernel(step.kernel)?;
        let params = step.params.at(rows, first, vectors.base);
        let sources = Sources { buffers: &self.buffers, stream: &self.stream, kv: &self.kv, vectors: self.vectors };
        let mut binds = Vec::with_capacity(step.slots.len());
        for slot in &step.slots {
            binds.push(sources.bind(*slot, vectors)?);
        }
        self.work += u64::from(rows) * step.work_per_row;
        self.recorder.dispatch_bytes(&kernel, &binds, params.bytes(), params.grid(rows))
    }
}

/// What can be bound.
pub(super) struct Sources<'a> {
    pub(super) buffers: &'a [CountedBuffer],
    pub(super) stream: &'a TileStream,
    pub(super) kv: &'a KvCache,
    pub(super) vectors: BufferIndex,
}

impl<'a> Sources<'a> {
    pub(super) fn buffer(&self, index: BufferIndex) -> Bind<'a> {
        (&self.buffers[usize::from(index.0)]).into()
    }

    pub(super) fn bind(&self, slot: Slot, vectors: Vectors) -> Result<Bind<'a>> {
        let gone = |what: String| Error::new(ErrorKind::Internal, what);
        match slot {
            Slot::Buffer(index) => Ok(self.buffer(index)),
            Slot::Vectors => match vectors.pinned {
                None => Ok(self.buffer(self.vectors)),
                Some(tile) => {
                    let home = self.stream.home(tile).ok_or_else(|| gone("pinned vectors left the GPU".into()))?;
                    Ok(home.buffer.into())
                }
            },
            Slot::States(layer) => {
                let state = self.kv.recurrent().and_then(|states| states.layer(layer));
                Ok(state.ok_or_else(|| gone(format!("layer {layer} has no recurrent states")))?.into())
            }
        }
    }
}

pub(super) fn lost_tile() -> Error {
    Error::new(ErrorKind::Internal, "a tile left the GPU while it was needed")
}
