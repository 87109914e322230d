//! Whether shader-f16 may stand in for `unpack2x16float`.

use super::Gpu;
use super::kernels::{CompareHalvesParams, KernelId, grid};
use super::recorder::Recorder;
use crate::{Error, ErrorKind, Result};

/// Whether the adapter has shader-f16 and widens every number of f16 with it to the bits that `unpack2x16float` gives: a
/// driver may take the smallest ones for zero in one of them.
///
/// # Errors
/// [`ErrorKind::Budget`] where the budget has no room for a recorder; those of the GPU.
pub async fn halves_agree(gpu: &Gpu) -> Result<bool> {
    if !gpu.features().contains(super::SHADER_F16) {
        return Ok(false);
    }
    use wgpu::BufferUsages as Usage;
    let kernels = gpu.kernels(gpu.tuning().clone());
    kernels.prepare(&[KernelId::CompareHalves]).await?;
    let missing = || Error::new(ErrorKind::Internal, "a kernel was not prepared");
    let kernel = kernels.get(KernelId::CompareHalves).ok_or_else(missing)?;
    let numbers: Vec<u16> = (0..=u16::MAX).collect();
    let all = gpu.buffer("numbers of f16", 2 * numbers.len() as u64, Usage::STORAGE | Usage::COPY_DST).await?;
    gpu.queue.write_buffer(&all, 0, bytemuck::cast_slice(&numbers));
    let differing = gpu.buffer("differing", 4, Usage::STORAGE | Usage::COPY_SRC).await?;
    let mapped = gpu.buffer("differing, mapped", 4, Usage::MAP_READ | Usage::COPY_DST).await?;
    let mut recorder = Recorder::new(gpu).await?;
    let params = CompareHalvesParams { words: numbers.len() as u32 / 2 };
    let binds = [(&all).into(), (&all).into(), (&differing).into()];
    recorder.dispatch(&kernel, &binds, &params, grid::compare_halves(&params))?;
    let after = recorder.submit(|encoder| encoder.copy_buffer_to_buffer(&differing, 0, &mapped, 0, 4)).await?;
    gpu.map(&mapped, wgpu::MapMode::Read, after).ready().await?;
    let unmapped = |error| Error::new(ErrorKind::Internal, "a count is not mapped").source(error);
    let view = mapped.get_mapped_range(..).map_err(unmapped)?;
    Ok(view[..4] == [0; 4])
}
