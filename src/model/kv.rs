//! The KV cache: pages of 32 positions for all layers, in a few large segments.

use super::recurrent::RecurrentStates;
use crate::gpu::kernels::{KvType, PAGE_TOKENS};
use crate::gpu::recorder::Bind;
use crate::gpu::{CountedBuffer, Gpu};
use crate::plan::{LayerSpec, ModelSpec};
use crate::{Error, ErrorKind, Result};

/// Sizes of the cache.
#[derive(Clone, Debug)]
pub struct KvGeometry {
    pub kind: KvType,
    /// Bytes of one page of each layer: keys and values of [`PAGE_TOKENS`] positions.
    page_bytes: Vec<u64>,
}

impl KvGeometry {
    /// The geometry of `spec`'s cache.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where a layer's width does not pack into `kind`.
    pub fn new(spec: &ModelSpec, kind: KvType) -> Result<Self> {
        let odd = |layer: &LayerSpec| !layer.key_width.is_multiple_of(2) || !layer.value_width.is_multiple_of(2);
        if kind == KvType::F16 && spec.layers.iter().any(odd) {
            return Err(Error::new(ErrorKind::Unsupported, "f16 needs an even width of keys and values")
                .remedy("choose --kv f32"));
        }
        let width = |layer: &LayerSpec| u64::from(layer.key_width) + u64::from(layer.value_width);
        let page_bytes = spec.layers.iter().map(|layer| u64::from(PAGE_TOKENS) * width(layer) * kind.bytes()).collect();
        Ok(Self { kind, page_bytes })
    }

    /// Pages that hold `positions`.
    pub fn pages_for(positions: u64) -> u64 {
        positions.div_ceil(u64::from(PAGE_TOKENS))
    }

    /// Bytes of `pages` pages over all layers, alignment included.
    pub fn bytes(&self, pages: u64) -> u64 {
        self.page_bytes.iter().map(|bytes| (bytes * pages).next_multiple_of(256)).sum()
    }
}

#[derive(Debug)]
struct Segment {
    buffer: CountedBuffer,
    first_page: u32,
    pages: u32,
}

/// Pages of one sequence, in order of position, how many positions are filled, and how long the text was for which that
/// was done: LongRoPE turns the keys of long texts otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SequencePages {
    pub pages: Vec<u32>,
    pub len: u32,
    pub text_len: u32,
    /// The slot of its recurrent states, in a model that has them.
    pub slot: Option<u32>,
}

/// All pages, and which are free.
#[derive(Debug)]
pub struct KvCache {
    geometry: KvGeometry,
    segments: Vec<Segment>,
    /// Highest number first, so that pages are handed out in order.
    free: Vec<u32>,
    total_pages: u32,
    recurrent: Option<RecurrentStates>,
}

/// A segment as the kernels of one layer see it.
#[derive(Clone, Copy, Debug)]
pub struct SegmentView<'a> {
    pub bind: Bind<'a>,
    pub first_page: u32,
    pub pages: u32,
}

impl KvCache {
    /// An empty cache.
    pub fn new(geometry: KvGeometry) -> Self {
        Self { geometry, segments: Vec::new(), free: Vec::new(), total_pages: 0, recurrent: None }
    }

    /// The same with the states of layers that have no pages.
    pub fn with_recurrent(mut self, recurrent: Option<RecurrentStates>) -> Self {
        self.recurrent = recurrent;
        self
    }

    /// The states of layers that have no pages, where the model has such.
    pub fn recurrent(&self) -> Option<&RecurrentStates> {
        self.recurrent.as_ref()
    }

    /// The same, to change.
    pub fn recurrent_mut(&mut self) -> Option<&mut RecurrentStates> {
        self.recurrent.as_mut()
    }

    /// How keys and values are stored.
    pub fn geometry(&self) -> &KvGeometry {
        &self.geometry
    }

    /// Pages that no sequence holds.
    pub fn free_pages(&self) -> u64 {
        self.free.len() as u64
    }

    /// Adds `pages` pages, in as few segments as the adapter's limits allow.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] or [`ErrorKind::GpuMemory`] where they do not fit; what was added before stays.
    pub async fn grow(&mut self, gpu: &Gpu, pages: u64) -> Result<()> {
        let layer = self.geometry.page_bytes.iter().copied().max().unwrap_or(1).max(1);
        let all = self.geometry.bytes(1).max(1);
        let limit = (gpu.largest_binding_bytes() / layer).min(gpu.adapter.limits.max_buffer_size / all).max(1);
        let mut left = pages;
        while left > 0 {
            let count = left.min(limit);
            let bytes = self.geometry.bytes(count);
            let buffer = gpu.buffer("kv cache", bytes, wgpu::BufferUsages::STORAGE).await?;
            let (first_page, pages) = (self.total_pages, count as u32);
            self.free.splice(0..0, (first_page..first_page + pages).rev());
            self.total_pages += pages;
            self.segments.push(Segment { buffer, first_page, pages });
            left -= count;
        }
        Ok(())
    }

    /// Gives `sequence` enough pages for `positions`, and a slot for its recurrent states where the model has them. Returns
    /// false, with nothing changed, where too few are free.
    pub fn reserve(&mut self, sequence: &mut SequencePages, positions: u32) -> bool {
        let wanted = Self::pages_needed(sequence, positions);
        if wanted > self.free.len() {
            return false;
        }
        if let (Some(states), None) = (&mut self.recurrent, sequence.slot) {
            sequence.slot = states.slots.take();
            if sequence.slot.is_none() {
                return false;
            }
        }
        sequence.pages.extend((0..wanted).filter_map(|_| self.free.pop()));
        true
    }

    /// Pages that `sequence` lacks to hold `positions`.
    pub fn pages_needed(sequence: &SequencePages, positions: u32) -> usize {
        (KvGeometry::pages_for(u64::from(positions)) as usize).saturating_sub(sequence.pages.len())
    }

    /// Forgets all positions from `len` on, and takes back the pages that held only those. Where the model has recurrent
    /// states, which cannot be cut back, it is all positions or none.
    pub fn truncate(&mut self, sequence: &mut SequencePages, len: u32) {
        let cut = len < sequence.len;
        sequence.len = if cut && self.recurrent.is_some() { 0 } else { sequence.len.min(len) };
        if let (Some(states), 0) = (&mut self.recurrent, sequence.len)
            && let Some(slot) = sequence.slot.take()
        {
            states.slots.give_back(slot);
        }
        let keep = KvGeometry::pages_for(u64::from(sequence.len)) as usize;
        self.free.extend(sequence.pages.drain(keep.min(sequence.pages.len())..));
        self.free.sort_unstable_by(|a, b| b.cmp(a));
    }

    /// Lets a sequence start anew whose recurrent states a failed sweep has spoilt; it keeps its pages.
    pub fn settle(&self, sequence: &mut SequencePages) {
        let spoilt =
            |states: &RecurrentStates| sequence.slot.is_none_or(|slot| !states.slots.holds(slot, sequence.len));
        if self.recurrent.as_ref().is_some_and(spoilt) {
            sequence.len = 0;
        }
    }

    /// Layer `layer` of every segment, in page order.
    pub fn layer(&self, layer: usize) -> impl ExactSizeIterator<Item = SegmentView<'_>> {
        self.segments.iter().map(move |segment| {
            let before = &self.geometry.page_bytes[..layer];
            let pages = u64::from(segment.pages);
            let offset = before.iter().map(|bytes| (bytes * pages).next_multiple_of(256)).sum();
            let bind = Bind::range(&segment.buffer, offset, self.geometry.page_bytes[layer] * pages);
            SegmentView { bind, first_page: segment.first_page, pages: segment.pages }
        })
    }
}
