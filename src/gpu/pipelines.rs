//! What the driver compiled, kept from one start to the next: an optimization that may be lost at any time.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::Device;
use super::compile::KernelPool;
use crate::platform::{recall_bytes, remember_bytes};

impl Device {
    /// The same device, just opened, compiling with the help of what earlier starts compiled, where the backend can.
    pub fn with_kept_pipelines(mut self) -> Self {
        let Some(name) = name(&self) else { return self };
        let kept = recall_bytes(&name);
        let descriptor = wgpu::PipelineCacheDescriptor {
            label: Some("kept"),
            data: kept.as_deref().and_then(checked),
            fallback: true,
        };
        // SAFETY: the bytes are those that `get_data` gave, as their checksum says; wgpu compares adapter and driver.
        self.pipelines = Some(unsafe { self.device.create_pipeline_cache(&descriptor) });
        self.kernels = Arc::new(KernelPool::new(&self.device, self.pipelines.clone()));
        self
    }

    /// Keeps what was compiled for the next start.
    pub fn keep_pipelines(&self) {
        let data = self.pipelines.as_ref().and_then(wgpu::PipelineCache::get_data);
        let (Some(data), Some(name)) = (data, name(self)) else { return };
        let file = sealed(data);
        // Most starts compile nothing new.
        if recall_bytes(&name).as_deref() != Some(&file[..]) {
            remember_bytes(&name, &file);
        }
    }
}

/// None where the backend keeps no pipelines.
fn name(device: &Device) -> Option<String> {
    let keeps = device.device.features().contains(wgpu::Features::PIPELINE_CACHE);
    wgpu::util::pipeline_cache_key(&device.adapter.info).filter(|_| keeps)
}

/// The data with its checksum behind it.
fn sealed(mut data: Vec<u8>) -> Vec<u8> {
    let checksum = xxh3_64(&data);
    data.extend(checksum.to_le_bytes());
    data
}

/// The data of a whole file.
fn checked(file: &[u8]) -> Option<&[u8]> {
    let (data, checksum) = file.split_last_chunk::<8>()?;
    (xxh3_64(data).to_le_bytes() == *checksum).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_cut_or_changed_is_not_taken() {
        let file = sealed(vec![1, 2, 3]);
        assert_eq!(checked(&file), Some(&[1, 2, 3][..]));
        assert_eq!(checked(&file[..10]), None);
        assert_eq!(checked(&file[..7]), None);
        let mut changed = file;
        changed[1] ^= 1;
        assert_eq!(checked(&changed), None);
    }
}
