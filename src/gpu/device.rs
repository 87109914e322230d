//! Adapters and the device: what is asked for, and buffers that are counted.

use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::oneshot;

use super::memory::{ALLOCATOR_SLACK_BYTES, Accountant, CountedBuffer};
use super::tuning::Tuning;
use crate::platform::{Poller, Window};
use crate::{Error, ErrorKind, Result};

/// An adapter with what matters to Tilestream.
#[derive(Clone, Debug)]
pub struct AdapterReport {
    pub info: wgpu::AdapterInfo,
    pub features: wgpu::Features,
    pub limits: wgpu::Limits,
}

impl AdapterReport {
    fn of(adapter: &wgpu::Adapter) -> Self {
        Self { info: adapter.get_info(), features: adapter.features(), limits: adapter.limits() }
    }

    /// Whether shaders run on the processor.
    pub fn is_cpu(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::Cpu
    }

    /// Whether the adapter's memory is the host's.
    pub fn shares_memory(&self) -> bool {
        matches!(self.info.device_type, wgpu::DeviceType::Cpu | wgpu::DeviceType::IntegratedGpu)
    }

    /// Whether uploads write straight into memory that shaders read: the adapter maps its own buffers, and they share
    /// the host's memory. (Across PCIe mapped memory is slow to read from the shader.)
    pub fn maps_primary_buffers(&self) -> bool {
        self.shares_memory() && self.features.contains(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS)
    }
}

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    wgpu::Instance::new(descriptor)
}

/// Every adapter of this host, real GPUs first.
pub async fn adapters() -> Vec<AdapterReport> {
    let mut found: Vec<_> =
        instance().enumerate_adapters(wgpu::Backends::PRIMARY).await.iter().map(AdapterReport::of).collect();
    found.sort_by_key(|report| device_rank(report.info.device_type));
    found
}

fn device_rank(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

async fn pick_adapter(name: Option<&str>) -> Result<wgpu::Adapter> {
    let instance = instance();
    let Some(name) = name else {
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        return instance.request_adapter(&options).await.map_err(|error| {
            Error::new(ErrorKind::Gpu, "no GPU adapter was found")
                .remedy("install a Vulkan driver (in software: mesa-vulkan-drivers), or see `tilestream devices`")
                .source(error)
        });
    };
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
    let wanted = name.to_lowercase();
    let position = adapters.iter().position(|adapter| adapter.get_info().name.to_lowercase().contains(&wanted));
    match position {
        Some(index) => Ok(adapters.swap_remove(index)),
        None => {
            let names: Vec<_> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
            Err(Error::new(ErrorKind::Argument, format!("no adapter is called '{name}'"))
                .remedy(format!("choose one of: {}", names.join(", "))))
        }
    }
}

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

/// A device whose memory is counted. Clones share device, queue and accountant.
#[derive(Clone, Debug)]
pub struct Gpu {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub adapter: Arc<AdapterReport>,
    accountant: Accountant,
    budget_bytes: u64,
    upload: Upload,
    tuning: Arc<Tuning>,
    pub(super) pipelines: Option<wgpu::PipelineCache>,
    searches: bool,
    poller: Poller,
    /// What went wrong where nobody was asked: a lost device, memory that ran out, a fault in the commands.
    fault: Fault,
}

/// Features of a device that wgpu does not tell of: in a browser it has no name for subgroups, which the worker asks for.
#[cfg(target_arch = "wasm32")]
fn unnamed_features(device: &wgpu::Device) -> wgpu::Features {
    let subgroups = || {
        let features = js_sys::Reflect::get(device.as_webgpu()?, &"features".into()).ok()?;
        let has: js_sys::Function = js_sys::Reflect::get(&features, &"has".into()).ok()?.into();
        has.call1(&features, &"subgroups".into()).ok()?.as_bool()
    };
    if subgroups() == Some(true) { wgpu::Features::SUBGROUP } else { wgpu::Features::empty() }
}

#[cfg(not(target_arch = "wasm32"))]
fn unnamed_features(_: &wgpu::Device) -> wgpu::Features {
    wgpu::Features::empty()
}

/// The first fault: its kind and what it says.
type Fault = Arc<Mutex<Option<(ErrorKind, String)>>>;

impl Gpu {
    /// Opens the adapter whose name contains `name` (or the best one), with `budget_bytes` for everything it reserves.
    ///
    /// # Errors
    /// [`ErrorKind::Gpu`] without a usable adapter; [`ErrorKind::Argument`] for a name that none has.
    pub async fn open(name: Option<&str>, budget_bytes: u64) -> Result<Self> {
        let adapter = pick_adapter(name).await?;
        let report = AdapterReport::of(&adapter);
        // Timestamps are for traces, and cost nothing until one is taken.
        let mut wanted =
            wgpu::Features::SUBGROUP | wgpu::Features::PIPELINE_CACHE | super::TIMESTAMPS | super::SHADER_F16;
        if report.maps_primary_buffers() {
            wanted |= wgpu::Features::MAPPABLE_PRIMARY_BUFFERS;
        }
        if report.is_cpu() {
            wanted |= super::SHADER_INT64;
        }
        // Small blocks, so that what the driver reserves stays near what the accountant counts.
        let block = ALLOCATOR_SLACK_BYTES / 2;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("tilestream"),
            required_features: report.features & wanted,
            required_limits: report.limits.clone(),
            memory_hints: wgpu::MemoryHints::Manual { suballocated_device_memory_block_size: block..block },
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| {
            Error::new(ErrorKind::Gpu, format!("the adapter '{}' gave no device", report.info.name)).source(error)
        })?;
        let fault = watch_for_faults(&device);
        let poller = Poller::new(device.clone()).map_err(|error| Error::io(error, "GPU poller thread"))?;
        let accountant = Accountant::new(budget_bytes.saturating_sub(ALLOCATOR_SLACK_BYTES));
        let tuning = Tuning::for_adapter(&report.info, device.features() | unnamed_features(&device), &report.limits);
        Ok(Self {
            device,
            queue,
            adapter: report.into(),
            accountant,
            budget_bytes,
            upload: Upload::Auto,
            tuning: tuning.into(),
            pipelines: None,
            searches: false,
            poller,
            fault,
        })
    }

    /// What the device can do.
    pub fn features(&self) -> wgpu::Features {
        self.device.features() | unnamed_features(&self.device)
    }

    /// Whether the device still works.
    ///
    /// # Errors
    /// [`ErrorKind::Gpu`] once it was lost or refused commands, [`ErrorKind::GpuMemory`] once it ran out of memory.
    pub fn check(&self) -> Result<()> {
        match &*self.fault.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some((kind, fault)) => Err(Error::new(*kind, fault.clone()).remedy("load the model again")),
        }
    }

    /// The same device, bringing weights to the shaders in this way.
    pub fn with_upload(mut self, upload: Upload) -> Self {
        self.upload = upload;
        self
    }

    /// The same device, whose kernels get the shapes that are known to be best, and on a GPU are searched for where they are
    /// not known yet: see [`super::search`].
    pub fn with_search(mut self) -> Self {
        self.searches = true;
        self
    }

    /// Whether [`Gpu::with_search`] was asked for.
    pub fn searches(&self) -> bool {
        self.searches
    }

    /// The sizes that kernels of this class of adapters have.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// Whether shaders read the upload windows themselves.
    pub fn uploads_directly(&self) -> bool {
        self.upload == Upload::Auto && self.adapter.maps_primary_buffers()
    }

    /// Counts the buffers of this device.
    pub fn accountant(&self) -> &Accountant {
        &self.accountant
    }

    /// The whole budget in bytes, the allocator's slack included.
    pub fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    /// Bytes that wgpu's allocator holds of the driver now, where the backend can tell.
    pub fn reserved_bytes(&self) -> Option<u64> {
        self.device.generate_allocator_report().map(|report| report.total_reserved_bytes)
    }

    /// The largest buffer that a shader can see whole, in bytes.
    pub fn largest_binding_bytes(&self) -> u64 {
        let limits = &self.adapter.limits;
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
    }

    /// A counted buffer of `size_bytes`, rounded up to 4, zeroed.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] past the cap, [`ErrorKind::GpuMemory`] where the driver has no memory.
    pub async fn buffer(&self, label: &str, size_bytes: u64, usage: wgpu::BufferUsages) -> Result<CountedBuffer> {
        let size = size_bytes.max(4).next_multiple_of(4);
        let limit = self.adapter.limits.max_buffer_size;
        if size > limit {
            return Err(Error::new(
                ErrorKind::Gpu,
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
            .remedy("lower the budget")
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

    /// Submits commands; mappings asked for before the next submit fire when these are done.
    pub fn submit(&self, commands: wgpu::CommandBuffer) -> wgpu::SubmissionIndex {
        self.queue.submit([commands])
    }

    /// Maps a whole buffer once the GPU is done with it; `after` is the last submission that uses it.
    pub fn map(&self, buffer: &wgpu::Buffer, mode: wgpu::MapMode, after: wgpu::SubmissionIndex) -> Mapping {
        let (sender, receiver) = oneshot::channel();
        buffer.map_async(mode, .., move |result| {
            // The engine may have stopped waiting.
            let _ = sender.send(result);
        });
        self.poller.watch(after);
        Mapping(receiver)
    }

    /// Sees to it that callbacks fire which depend on `after` or earlier submissions.
    pub fn watch(&self, after: wgpu::SubmissionIndex) {
        self.poller.watch(after);
    }

    /// Calls `callback` once `after` (and all before it) is done on the GPU.
    pub fn on_done(&self, after: wgpu::SubmissionIndex, callback: impl FnOnce() + Send + 'static) {
        self.queue.on_submitted_work_done(callback);
        self.poller.watch(after);
    }
}

/// Keeps the first fault that no error scope catches.
fn watch_for_faults(device: &wgpu::Device) -> Fault {
    let fault = Fault::default();
    let note = |fault: &Fault| {
        let fault = Arc::clone(fault);
        move |kind, text: String| {
            // The first one is the cause of the others.
            fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((kind, text));
        }
    };
    let (note_error, note_loss) = (note(&fault), note(&fault));
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
        let out_of_memory = matches!(error, wgpu::Error::OutOfMemory { .. });
        note_error(if out_of_memory { ErrorKind::GpuMemory } else { ErrorKind::Gpu }, error.to_string());
    }));
    device.set_device_lost_callback(move |reason, message| {
        note_loss(ErrorKind::Gpu, format!("the GPU device was lost ({reason:?}: {message})"));
    });
    fault
}

/// The bytes of a buffer that is mapped for writing.
#[cfg(not(target_arch = "wasm32"))]
pub struct MappedBytes(wgpu::BufferViewMut);

/// The bytes of a buffer that is mapped for writing: the browser's own, outside of wasm's memory. Taken once for each
/// mapping.
#[cfg(target_arch = "wasm32")]
pub struct MappedBytes(js_sys::Uint8Array);

impl MappedBytes {
    /// The first `len_bytes` of a mapped buffer.
    ///
    /// # Errors
    /// [`ErrorKind::Gpu`] where it is not mapped.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new(buffer: &wgpu::Buffer, len_bytes: u64) -> Result<Self> {
        let view = buffer.get_mapped_range_mut(..len_bytes.next_multiple_of(4));
        view.map(Self).map_err(|error| Error::new(ErrorKind::Gpu, "a window is not mapped").source(error))
    }

    /// The first `len_bytes` of a mapped buffer.
    ///
    /// # Errors
    /// [`ErrorKind::Gpu`] where it is not mapped.
    #[cfg(target_arch = "wasm32")]
    pub fn new(buffer: &wgpu::Buffer, len_bytes: u64) -> Result<Self> {
        let lost = || Error::new(ErrorKind::Gpu, "a window is not mapped");
        let buffer = buffer.as_webgpu().ok_or_else(lost)?;
        let range = buffer.get_mapped_range().map_err(|error| lost().source(format!("{error:?}")))?;
        Ok(Self(js_sys::Uint8Array::new_with_byte_offset_and_length(&range, 0, len_bytes as u32)))
    }

    /// The first `len_bytes` as a window.
    ///
    /// # Panics
    /// Where there are not as many.
    pub fn window(&mut self, len_bytes: usize) -> Window<'_> {
        #[cfg(not(target_arch = "wasm32"))]
        {
            assert!(len_bytes <= self.0.len(), "a window lies within its buffer");
            let start = self.0.slice(..).as_raw_element_ptr();
            // SAFETY: the view maps at least `len_bytes` bytes, and stays borrowed for as long as the window lives.
            unsafe { Window::from_raw(start, len_bytes) }
        }
        #[cfg(target_arch = "wasm32")]
        Window::from_host(self.0.subarray(0, len_bytes as u32))
    }
}

/// A buffer that is being mapped.
#[derive(Debug)]
pub struct Mapping(oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>);

impl Mapping {
    /// Waits until the buffer is mapped.
    ///
    /// # Errors
    /// [`ErrorKind::Gpu`] when the device is lost.
    pub async fn ready(self) -> Result<()> {
        let lost = || Error::new(ErrorKind::Gpu, "the GPU device was lost").remedy("load the model again");
        match self.0.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(lost().source(error)),
            Err(_) => Err(lost()),
        }
    }
}
