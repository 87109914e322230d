//! What a model tells of itself.

use crate::stream::Uses;

/// Figures of a model since it was opened.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct ProfileReport {
    /// Name of the adapter, with its driver.
    pub adapter: String,
    /// GPU bytes that the model may take, all in all.
    pub budget_bytes: u64,
    /// The most that buffers of this model took at once, with what the device's allocator holds beyond all buffers now.
    pub peak_gpu_bytes: u64,
    /// Bytes of all weights.
    pub model_bytes: u64,
    /// Bytes of weights that stay on the GPU.
    pub pinned_bytes: u64,
    /// Bytes of weights in the host's memory.
    pub ram_bytes: u64,
    /// Bytes of weights that go through the ring in each sweep; of experts, at most.
    pub streamed_bytes_per_sweep: u64,
    /// Sweeps so far.
    pub sweeps: u64,
    /// Bytes of weights that the store gave.
    pub bytes_read: u64,
    /// Bytes of weights that the host's memory gave instead.
    pub bytes_from_ram: u64,
    /// What experts came to; none in a model without them.
    pub experts: Option<ExpertsReport>,
    /// Seconds in which at least one read was under way.
    pub read_busy_s: f64,
    /// Seconds in which bytes were brought to the GPU.
    pub upload_busy_s: f64,
    /// Seconds in which the GPU had something to compute.
    pub compute_busy_s: f64,
    /// Seconds in which the engine waited for reads.
    pub stall_s: f64,
    /// Seconds since the model was opened.
    pub wall_s: f64,
}

/// What the experts of a mixture came to since the model was opened.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct ExpertsReport {
    /// Bytes of the experts that routers chose, once for each sweep.
    pub used_bytes: u64,
    /// Bytes of those that were not on the GPU and had to be read.
    pub read_bytes: u64,
    /// Bytes of all experts that they could have chosen: what streaming whole layers takes.
    pub whole_layer_bytes: u64,
    /// Share of the used bytes that were on the GPU.
    pub hit_rate: f64,
}

impl ExpertsReport {
    pub(super) fn new(Uses { used_bytes, read_bytes, of_bytes }: Uses) -> Option<Self> {
        let hit_rate = 1.0 - read_bytes as f64 / used_bytes.max(1) as f64;
        (of_bytes > 0).then_some(Self { used_bytes, read_bytes, whole_layer_bytes: of_bytes, hit_rate })
    }
}
