//! The buffers of a sweep besides weights and caches.

use super::budget::{self, Shares, padded};
use super::layout::ModelLayout;
use super::products::InputChoice;
use crate::Result;
use crate::gpu::kernels::UNIFORM_BYTES;
use crate::gpu::{CountedBuffer, Gpu};
use crate::plan::{BufferId, ModelSpec};

/// Buffers whose size depends on rows and vocabulary.
pub(super) struct Buffers {
    /// By [`BufferId`].
    pub(super) activations: Vec<CountedBuffer>,
    /// The vectors of the layer under way, then those of the expert, where they are not pinned.
    pub(super) vectors: CountedBuffer,
    pub(super) attention_state: CountedBuffer,
    pub(super) head_input: CountedBuffer,
    pub(super) head_normed: CountedBuffer,
    pub(super) logits: CountedBuffer,
    /// What products may do with their inputs.
    pub(super) inputs: InputChoice,
    /// The rounded input of the product under way, where products take one.
    pub(super) i8_input: Option<CountedBuffer>,
}

impl Buffers {
    /// All of them, as the budget shares them out.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`](crate::ErrorKind) or [`ErrorKind::GpuMemory`](crate::ErrorKind) where they do not fit.
    pub(super) async fn new(
        gpu: &Gpu,
        spec: &ModelSpec,
        layout: &ModelLayout,
        shares: &Shares,
        inputs: InputChoice,
    ) -> Result<Self> {
        use wgpu::BufferUsages as Usage;
        let (rows, heads) = (u64::from(shares.rows), u64::from(shares.head_rows));
        let (behind, uniform) = match inputs.uniform {
            true => (UNIFORM_BYTES, Usage::UNIFORM),
            false => (0, Usage::empty()),
        };
        let usage = Usage::STORAGE | uniform;
        let mut activations = Vec::with_capacity(spec.buffers.len());
        let products_take = budget::product_inputs(spec);
        for (buffer, id) in spec.buffers.iter().zip((0..).map(BufferId)) {
            let bytes = rows * padded(buffer.width) * 4;
            let (behind, usage) = if products_take.contains(&id) { (behind, usage) } else { (0, Usage::STORAGE) };
            let usage = usage | Usage::COPY_DST | Usage::COPY_SRC;
            activations.push(gpu.buffer(buffer.name, bytes + behind, usage).await?);
        }
        let hidden = heads * padded(spec.hidden) * 4;
        let i8_input = match budget::i8_input_bytes(layout, inputs.most_rounded, rows, heads) {
            0 => None,
            bytes => Some(gpu.buffer("rounded input", bytes + behind, usage).await?),
        };
        Ok(Self {
            inputs,
            i8_input,
            activations,
            vectors: gpu.buffer("vectors", layout.largest_vectors_bytes(), Usage::STORAGE | Usage::COPY_DST).await?,
            attention_state: gpu.buffer("attention state", rows * budget::most_heads(spec) * 8, Usage::STORAGE).await?,
            head_input: gpu.buffer("head input", hidden, Usage::STORAGE).await?,
            head_normed: gpu.buffer("head normed", hidden + behind, usage).await?,
            logits: gpu.buffer("logits", heads * u64::from(spec.vocab) * 4, Usage::STORAGE | Usage::COPY_SRC).await?,
        })
    }
}
