//! The device: opened once, shared by all that work on it.

use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::oneshot;

use super::adapter::{AdapterReport, pick_adapter};
use super::budget::Gpu;
use super::compile::{KernelPool, Kernels};
use super::memory::{ALLOCATOR_SLACK_BYTES, Accountant};
use super::tuning::Tuning;
use crate::platform::{Poller, Window};
use crate::{Error, ErrorKind, Result};

/// A GPU that is open: what the driver gives, the kernels that were compiled for it, and the memory that budgets are cut
/// out of. Clones share it. Several engines work on it at the same time, each in a budget of its own.
#[derive(Clone, Debug)]
pub struct Device {
    #[doc(hidden)]
    pub device: wgpu::Device,
    #[doc(hidden)]
    pub queue: wgpu::Queue,
    #[doc(hidden)]
    pub adapter: Arc<AdapterReport>,
    tuning: Arc<Tuning>,
    /// What budgets are cut out of.
    memory: Accountant,
    pub(super) kernels: Arc<KernelPool>,
    pub(super) pipelines: Option<wgpu::PipelineCache>,
    poller: Poller,
    fault: Fault,
    asked: Arc<Asked>,
}

/// How a device was opened, and the one that took its place.
#[derive(Debug)]
struct Asked {
    name: Option<String>,
    cap_bytes: Option<u64>,
    next: async_lock::Mutex<Option<Device>>,
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

impl Device {
    /// Opens the adapter whose name contains `name` (or the best one). Budgets may take `cap_bytes` of its memory together;
    /// `None`: as much as the driver has.
    ///
    /// # Errors
    /// [`ErrorKind::Adapter`] without a usable adapter; [`ErrorKind::Argument`] for a name that none has.
    pub async fn open(name: Option<&str>, cap_bytes: Option<u64>) -> Result<Self> {
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
            Error::new(ErrorKind::Adapter, format!("the adapter '{}' gave no device", report.info.name)).source(error)
        })?;
        let fault = Fault::watching(&device);
        let poller = Poller::new(device.clone()).map_err(|error| Error::io(error, "GPU poller thread"))?;
        let tuning = Tuning::for_adapter(&report.info, device.features() | unnamed_features(&device), &report.limits);
        let asked = Asked { name: name.map(str::to_owned), cap_bytes, next: async_lock::Mutex::new(None) };
        Ok(Self {
            kernels: Arc::new(KernelPool::new(&device, None)),
            device,
            queue,
            adapter: report.into(),
            tuning: tuning.into(),
            memory: Accountant::new(cap_bytes.unwrap_or(u64::MAX)),
            pipelines: None,
            poller,
            fault,
            asked: asked.into(),
        })
    }

    /// Cuts a budget of `bytes` out of the device's memory: for everything that one engine reserves. It comes back when the
    /// last handle of the budget and its last buffer are dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] with what is left, where it is less; those of a lost device.
    #[doc(hidden)]
    pub async fn budget(&self, bytes: u64) -> Result<Gpu> {
        self.check()?;
        let accountant = self.memory.cut(bytes, ALLOCATOR_SLACK_BYTES)?;
        // The driver has the buffers of budgets that were dropped until it is done with them.
        if self.asked.cap_bytes.is_some() && self.reserved_bytes().is_some_and(|held| held > self.buffer_bytes()) {
            self.idle().await;
        }
        Ok(Gpu::new(self.clone(), accountant, bytes))
    }

    /// Bytes that are in no budget. `None`: the device has no cap.
    pub fn free_bytes(&self) -> Option<u64> {
        self.asked.cap_bytes.map(|_| self.memory.free_bytes())
    }

    /// Bytes of the buffers of all budgets.
    #[doc(hidden)]
    pub fn buffer_bytes(&self) -> u64 {
        self.memory.buffer_bytes()
    }

    /// Bytes that wgpu's allocator holds of the driver now, for all budgets, where the backend can tell.
    pub fn reserved_bytes(&self) -> Option<u64> {
        self.device.generate_allocator_report().map(|report| report.total_reserved_bytes)
    }

    /// What the device can do.
    #[doc(hidden)]
    pub fn features(&self) -> wgpu::Features {
        self.device.features() | unnamed_features(&self.device)
    }

    /// The largest buffer that a shader can see whole, in bytes.
    #[doc(hidden)]
    pub fn largest_binding_bytes(&self) -> u64 {
        let limits = &self.adapter.limits;
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
    }

    /// The sizes that kernels of this class of adapters have.
    #[doc(hidden)]
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// The kernels of a tuning. Each is compiled once for the device, whoever prepares it.
    #[doc(hidden)]
    pub fn kernels(&self, tuning: Tuning) -> Kernels {
        Kernels::new(Arc::clone(&self.kernels), tuning)
    }

    /// Whether the device still works, for all that are on it.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceLost`] once it was lost, [`ErrorKind::GpuMemory`] once it ran out of memory where nobody looked,
    /// [`ErrorKind::Internal`] once it refused commands, and [`ErrorKind::Adapter`] once the driver failed in another way.
    #[doc(hidden)]
    pub fn check(&self) -> Result<()> {
        self.fault.check()
    }

    /// Destroys the device, for all that are on it, as a driver that restarts does: to try out how a program copes.
    #[doc(hidden)]
    pub fn lose(&self) {
        self.device.destroy();
        // wgpu tells of it when the queue is empty.
        self.fault.note(ErrorKind::DeviceLost, "the GPU device was destroyed".to_owned());
    }

    /// What an error came from: on a device that failed, buffers are found unmapped that no fault of ours unmapped.
    #[doc(hidden)]
    pub fn cause(&self, error: Error) -> Error {
        match (error.kind(), self.check()) {
            (ErrorKind::Internal, Err(fault)) => fault.source(error),
            _ => error,
        }
    }

    /// Why a callback of the GPU never came.
    pub(super) fn lost(&self) -> Error {
        self.fault.of_failure()
    }

    /// The device to go on with: this one while it works; else one that takes its place, opened as this one was, and the same
    /// for all that ask. Budgets are cut out of it anew.
    ///
    /// # Errors
    /// As [`Device::open`].
    #[doc(hidden)]
    pub async fn replacement(&self) -> Result<Self> {
        let mut device = self.clone();
        while device.check().is_err() {
            let asked = Arc::clone(&device.asked);
            let mut next = asked.next.lock().await;
            if let Some(next) = &*next {
                device = next.clone();
                continue;
            }
            let opened = Self::open(asked.name.as_deref(), asked.cap_bytes).await?;
            let opened = if device.pipelines.is_some() { opened.with_kept_pipelines() } else { opened };
            *next = Some(opened.clone());
            return Ok(opened);
        }
        Ok(device)
    }

    /// Submits commands; mappings asked for before the next submit fire when these are done.
    #[doc(hidden)]
    pub fn submit(&self, commands: wgpu::CommandBuffer) -> wgpu::SubmissionIndex {
        self.queue.submit([commands])
    }

    /// Maps a whole buffer once the GPU is done with it; `after` is the last submission that uses it.
    #[doc(hidden)]
    pub fn map(&self, buffer: &wgpu::Buffer, mode: wgpu::MapMode, after: wgpu::SubmissionIndex) -> Mapping {
        let (sender, receiver) = oneshot::channel();
        buffer.map_async(mode, .., move |result| {
            // The engine may have stopped waiting.
            let _ = sender.send(result);
        });
        self.poller.watch(after);
        Mapping { receiver, fault: self.fault.clone() }
    }

    /// Sees to it that callbacks fire which depend on `after` or earlier submissions.
    #[doc(hidden)]
    pub fn watch(&self, after: wgpu::SubmissionIndex) {
        self.poller.watch(after);
    }

    /// Calls `callback` once `after` (and all before it) is done on the GPU.
    #[doc(hidden)]
    pub fn on_done(&self, after: wgpu::SubmissionIndex, callback: impl FnOnce() + Send + 'static) {
        self.queue.on_submitted_work_done(callback);
        self.poller.watch(after);
    }

    /// Waits until the GPU has nothing to do, and what was dropped is given back to the driver.
    #[doc(hidden)]
    pub async fn idle(&self) {
        let (sender, done) = oneshot::channel();
        self.on_done(self.queue.submit([]), move || {
            // The one who waited may be gone.
            let _ = sender.send(());
        });
        // A lost device has nothing to do.
        let _ = done.await;
    }
}

/// What went wrong where nobody was asked, the first time: a lost device, memory that ran out, a fault in the commands.
#[derive(Clone, Debug, Default)]
struct Fault(Arc<Mutex<Option<(ErrorKind, String)>>>);

impl Fault {
    /// Keeps the first fault that no error scope catches.
    fn watching(device: &wgpu::Device) -> Self {
        let fault = Self::default();
        let (errors, lost) = (fault.clone(), fault.clone());
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let kind = match error {
                wgpu::Error::OutOfMemory { .. } => ErrorKind::GpuMemory,
                wgpu::Error::Validation { .. } => ErrorKind::Internal,
                wgpu::Error::Internal { .. } => ErrorKind::Adapter,
            };
            errors.note(kind, error.to_string());
        }));
        device.set_device_lost_callback(move |reason, message| {
            lost.note(ErrorKind::DeviceLost, format!("the GPU device was lost ({reason:?}: {message})"));
        });
        fault
    }

    /// Keeps a fault, and gives the first one as an error: it is the cause of the others.
    fn note(&self, kind: ErrorKind, text: String) -> Error {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Self::error(first.get_or_insert((kind, text)))
    }

    fn check(&self) -> Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(Ok(()), |first| Err(Self::error(first)))
    }

    fn error((kind, text): &(ErrorKind, String)) -> Error {
        Error::new(*kind, text.clone()).remedy("load the model again")
    }

    /// Why something failed that fails only with the device, which may not have told of it yet.
    fn of_failure(&self) -> Error {
        self.note(ErrorKind::DeviceLost, "the GPU device was lost".to_owned())
    }
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
    /// [`ErrorKind::Internal`] where it is not mapped.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new(buffer: &wgpu::Buffer, len_bytes: u64) -> Result<Self> {
        let view = buffer.get_mapped_range_mut(..len_bytes.next_multiple_of(4));
        view.map(Self).map_err(|error| Error::new(ErrorKind::Internal, "a window is not mapped").source(error))
    }

    /// The first `len_bytes` of a mapped buffer.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] where it is not mapped.
    #[cfg(target_arch = "wasm32")]
    pub fn new(buffer: &wgpu::Buffer, len_bytes: u64) -> Result<Self> {
        let lost = || Error::new(ErrorKind::Internal, "a window is not mapped");
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
pub struct Mapping {
    receiver: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>,
    fault: Fault,
}

impl Mapping {
    /// Waits until the buffer is mapped.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceLost`], or what the device failed with before.
    pub async fn ready(self) -> Result<()> {
        match self.receiver.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.fault.of_failure().source(error)),
            Err(_) => Err(self.fault.of_failure()),
        }
    }
}
