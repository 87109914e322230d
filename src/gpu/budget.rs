//! A budget of a device: buffers that are counted.

use super::device::Device;
use super::memory::{Accountant, CountedBuffer};
use crate::words::Term;
use crate::{Error, ErrorKind, Result};

/// How weights reach the shaders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upload {
    /// Shaders read the upload windows themselves where the adapter maps its own buffers and shares the host's memory;
    /// copies elsewhere.
    #[default]
    Auto,
    /// Windows are copied to the ring, as an adapter with memory of its own needs it.
    Copy,
}

/// A budget on a device, with the accountant of its buffers: what an engine works in. Clones share it.
#[derive(Clone, Debug)]
pub struct Gpu {
    on: Device,
    accountant: Accountant,
    budget_bytes: u64,
    upload: Upload,
    searches: bool,
}

/// What belongs to the device is the same for every budget of it.
impl std::ops::Deref for Gpu {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.on
    }
}

impl Gpu {
    pub(super) fn new(on: Device, accountant: Accountant, budget_bytes: u64) -> Self {
        Self { on, accountant, budget_bytes, upload: Upload::Auto, searches: false }
    }

    /// Opens a device of its own, all of whose cap is this budget: see [`Device::open`] and [`Device::budget`].
    ///
    /// # Errors
    /// Those of [`Device::open`].
    pub async fn open(name: Option<&str>, budget_bytes: u64) -> Result<Self> {
        Device::open(name, Some(budget_bytes)).await?.budget(budget_bytes).await
    }

    /// The device that the budget was cut out of.
    pub fn shared_device(&self) -> &Device {
        &self.on
    }

    /// The same budget, bringing weights to the shaders in this way.
    pub fn with_upload(mut self, upload: Upload) -> Self {
        self.upload = upload;
        self
    }

    /// The same budget, whose kernels get the shapes that are known to be best, and on a GPU are searched for where they are
    /// not known yet: see [`super::search`].
    pub fn with_search(mut self) -> Self {
        self.searches = true;
        self
    }

    /// Whether [`Gpu::with_search`] was asked for.
    pub fn searches(&self) -> bool {
        self.searches
    }

    /// Whether shaders read the upload windows themselves.
    pub fn uploads_directly(&self) -> bool {
        self.upload == Upload::Auto && self.adapter.maps_primary_buffers()
    }

    /// Counts the buffers of this budget.
    pub fn accountant(&self) -> &Accountant {
        &self.accountant
    }

    /// The whole budget in bytes, the allocator's slack included.
    pub fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    /// A counted buffer of `size_bytes`, rounded up to 4, zeroed.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] past the cap, [`ErrorKind::GpuMemory`] where the driver has no memory, [`ErrorKind::Adapter`] where
    /// the adapter takes no buffer of that size.
    pub async fn buffer(&self, label: &str, size_bytes: u64, usage: wgpu::BufferUsages) -> Result<CountedBuffer> {
        let size = size_bytes.max(4).next_multiple_of(4);
        let limit = self.adapter.limits.max_buffer_size;
        if size > limit {
            return Err(Error::new(
                ErrorKind::Adapter,
                format!("buffer '{label}' of {size} bytes passes the adapter's limit of {limit}"),
            ));
        }
        let lease = self.accountant.take(label, size)?;
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        if let Some(error) = memory.pop().await {
            return Err(Error::new(
                ErrorKind::GpuMemory,
                format!("the driver has no {size} bytes for buffer '{label}'"),
            )
            .remedy("lower " + Term::Budget)
            .source(error.to_string()));
        }
        Ok(CountedBuffer::new(buffer, lease))
    }

    /// A counted buffer that is mapped for writing from the start.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub async fn mapped_buffer(
        &self,
        label: &str,
        size_bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<CountedBuffer> {
        let buffer = self.buffer(label, size_bytes, usage).await?;
        // Not mapped at creation: in a browser that throws where memory is missing.
        let after = self.queue.submit([]);
        self.map(&buffer, wgpu::MapMode::Write, after).ready().await?;
        Ok(buffer)
    }
}
