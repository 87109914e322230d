//! Brings results of a sweep back: the best ids, or whole rows of logits.

use super::engine::{Output, Want};
use crate::gpu::{CountedBuffer, Gpu};
use crate::{Error, ErrorKind, Result};

/// Bytes of one argmax result: id, value, count of non-finite logits, unused.
const BEST_BYTES: u64 = 16;

/// The buffers that the GPU copies results to.
pub struct Readback {
    best: CountedBuffer,
    /// Argmax results, then logits.
    mapped: CountedBuffer,
    head_rows: u64,
    vocab: u64,
}

impl Readback {
    /// Buffers for `head_rows` rows of `vocab` logits.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] or [`ErrorKind::GpuMemory`] where they do not fit.
    pub async fn new(gpu: &Gpu, head_rows: u64, vocab: u64) -> Result<Self> {
        use wgpu::BufferUsages as Usage;
        let best = gpu.buffer("best ids", head_rows * BEST_BYTES, Usage::STORAGE | Usage::COPY_SRC).await?;
        let bytes = head_rows * (BEST_BYTES + vocab * 4);
        let mapped = gpu.buffer("readback", bytes, Usage::MAP_READ | Usage::COPY_DST).await?;
        Ok(Self { best, mapped, head_rows, vocab })
    }

    /// Where argmax writes to.
    pub fn best(&self) -> &CountedBuffer {
        &self.best
    }

    /// The copies to record at the end of the sweep's last submit.
    pub fn copies<'a>(
        &'a self,
        logits: &'a CountedBuffer,
        heads: u32,
        with_logits: bool,
    ) -> impl FnOnce(&mut wgpu::CommandEncoder) + use<> {
        let (best, mapped, logits) =
            (wgpu::Buffer::clone(&self.best), wgpu::Buffer::clone(&self.mapped), wgpu::Buffer::clone(logits));
        let (start, len) = (self.head_rows * BEST_BYTES, u64::from(heads) * self.vocab * 4);
        move |encoder| {
            encoder.copy_buffer_to_buffer(&best, 0, &mapped, 0, u64::from(heads) * BEST_BYTES);
            if with_logits {
                encoder.copy_buffer_to_buffer(&logits, 0, &mapped, start, len);
            }
        }
    }

    /// Waits for the copies and gives the results.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceLost`], and [`ErrorKind::NotFinite`] where a logit is not a number: the weights or a kernel are
    /// broken, and any token would be a guess.
    pub async fn finish(&self, gpu: &Gpu, after: wgpu::SubmissionIndex, heads: u32, want: Want) -> Result<Output> {
        gpu.map(&self.mapped, wgpu::MapMode::Read, after).ready().await?;
        let result = self.read(heads, want);
        self.mapped.unmap();
        result
    }

    fn read(&self, heads: u32, want: Want) -> Result<Output> {
        let unmapped = |error| Error::new(ErrorKind::Internal, "results are not mapped").source(error);
        let view = self.mapped.get_mapped_range(..).map_err(unmapped)?;
        let best: &[[u32; 4]] = bytemuck::cast_slice(&view[..heads as usize * BEST_BYTES as usize]);
        if let Some([id, _, broken, _]) = best.iter().find(|best| best[2] != 0) {
            return Err(Error::new(
                ErrorKind::NotFinite,
                format!("{broken} logits are not finite numbers (the best of the others is token {id})"),
            )
            .remedy("run `tilestream verify` on the model; if it is sound, try another adapter"));
        }
        if want == Want::Best {
            return Ok(Output::Best(best.iter().map(|best| best[0]).collect()));
        }
        let start = (self.head_rows * BEST_BYTES) as usize;
        let row_bytes = self.vocab as usize * 4;
        let logits = &view[start..start + heads as usize * row_bytes];
        Ok(Output::Logits(logits.chunks_exact(row_bytes).map(|row| bytemuck::cast_slice(row).to_vec()).collect()))
    }
}
