//! `tilestream bench`: how fast a model is here, and how fast it could be.

mod disk;
mod limit;
mod machine;
mod measure;
mod plot;
mod report;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tilestream::internals::gpu::kernels::InputType;
use tilestream::internals::gpu::{AdapterReport, Gpu, Upload, measure as gpu_measure};
use tilestream::internals::platform::available_memory_bytes;
use tilestream::{Error, ErrorKind, LoadOptions, ModelFiles, Result};
use tilestream_split::size::show_size;
use tilestream_split::stoppable;

use self::disk::{Disk, Reader};
use self::limit::Machine;
use self::measure::{Measured, Side, Task, Timeline};
use self::report::{AdapterFacts, Cost, HostFacts, ModelFacts, Options, Report, SideReport};
use crate::args::{BenchArgs, Kv};
use crate::inspect::encodings;
use crate::model::{self, write_whole};
use crate::run::show;

/// GPU memory to measure copies with, beside the windows.
const COPY_BYTES: u64 = 32 << 20;

/// Runs the command.
pub fn bench(args: &BenchArgs, stop: &Arc<AtomicBool>) -> Result<()> {
    if let Some(address) = model::web_address(&args.model) {
        let message = "lies on another machine, and what the network allows is not measured";
        let error = Error::new(ErrorKind::Argument, message).file(address);
        return Err(error.remedy("copy the model here and name its folder"));
    }
    for path in [&args.out, &args.plot].into_iter().flatten() {
        check_folder(path)?;
    }
    // Files are written by nobody who could be stopped on the way.
    let (report, timeline) = pollster::block_on(stoppable(stop, measured(args, stop)))?;
    let json = serde_json::to_string(&report).map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
    if let Some(path) = &args.out {
        write_whole(path, |out| writeln!(out, "{json}"))?;
    }
    if let Some(path) = &args.plot {
        write_whole(path, |out| out.write_all(plot::svg(&report, &timeline).as_bytes()))?;
    }
    show(&if args.json { json + "\n" } else { report.table() })
}

/// Tells before the work, not after it.
fn check_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.is_dir() && !path.is_dir() {
        return Ok(());
    }
    let message = if path.is_dir() { "is a folder" } else { "its folder does not exist" };
    Err(Error::new(ErrorKind::Argument, message).file(path.display().to_string()))
}

async fn measured(args: &BenchArgs, stop: &Arc<AtomicBool>) -> Result<(Report, Timeline)> {
    let files = model::open(&args.model, stop).await?;
    let options = options(args, &files)?;
    // A measurement of the disk awaits nothing, so it has to look itself.
    model::watch_stop(stop, options.cancel.clone())?;
    let task = Task { prompt_tokens: args.prompt_tokens, tokens: args.tokens, seed: args.seed };
    eprintln!("opening {}, and one pass that does not count", files.model().manifest().name);
    let mut streamed = Side::open(&files, &options, task).await?;
    let ranges = streamed.ranges();
    let in_flight = streamed.model().engine().memory().readers;
    let reader = Reader::new(&files, &ranges, in_flight, stop);
    let share_in_page_cache = reader.share_in_page_cache();
    let gpu = streamed.model().engine().gpu().clone();
    let adapter = Arc::clone(&gpu.adapter);
    let (direct, window_bytes) = (gpu.uploads_directly(), streamed.model().engine().memory().window_bytes);
    drop(gpu);
    let (streamed, resident, interleaved) = passes(args, &files, &options, streamed).await?;

    eprintln!("reading plainly");
    let disk = Disk { share_in_page_cache, ..reader.measure(args.repeats, streamed.work().uses_disk())? };
    let upload_bytes_per_s = if direct { None } else { Some(upload_rate(args, window_bytes).await?) };
    let machine = Machine {
        cpu_adapter: adapter.is_cpu(),
        cores: machine::cores(),
        disk_bytes_per_s: disk.cold_bytes_per_s,
        upload_bytes_per_s,
    };
    let side = |measured: &Measured| SideReport::new(measured, &machine, args.prompt_tokens);
    let (streamed_report, resident) = (side(&streamed), resident.as_ref().map(side));
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        model: model_facts(&files, streamed.profile.model_bytes)?,
        adapter: adapter_facts(&adapter, direct),
        host: HostFacts { os: std::env::consts::OS, arch: std::env::consts::ARCH, cores: machine.cores },
        options: asked(args, &options, interleaved),
        disk,
        upload_bytes_per_s,
        cost_of_streaming: resident.as_ref().map(|resident| Cost::of(&streamed_report, resident)),
        streamed: streamed_report,
        resident,
    };
    Ok((report, streamed.timeline))
}

fn options(args: &BenchArgs, files: &ModelFiles) -> Result<LoadOptions> {
    let asked = u64::from(args.prompt_tokens) + u64::from(args.tokens) + 1;
    let options = model::load_options(&args.model, u32::try_from(asked).ok());
    let most = options.positions(files.spec());
    if asked > u64::from(most) {
        let message = format!("{asked} positions (--prompt-tokens, --tokens and one) pass the {most} that there are");
        return Err(Error::new(ErrorKind::Argument, message).remedy("ask for fewer tokens"));
    }
    let mut options = options.upload(if args.copy { Upload::Copy } else { Upload::Auto });
    options.most_pinned_bytes = args.pin;
    Ok(options)
}

/// The passes that count, of one side or of two; of two whether they took turns.
async fn passes(
    args: &BenchArgs,
    files: &ModelFiles,
    options: &LoadOptions,
    mut streamed: Side,
) -> Result<(Measured, Option<Measured>, Option<bool>)> {
    let task = streamed.task();
    let all = if args.resident { Some(resident_options(files, options, &mut streamed)?) } else { None };
    let mut beside = match &all {
        Some(all) if has_room(&mut streamed, all.budget_bytes) => {
            eprintln!("opening it with everything resident");
            match open_resident(files, all, task).await {
                Ok(side) => Some(side),
                // There may be room once the other is closed.
                Err(error) if error.kind() == ErrorKind::GpuMemory => None,
                Err(error) => return Err(error),
            }
        }
        _ => None,
    };
    for repeat in 1..=args.repeats {
        eprintln!("pass {repeat} of {}", args.repeats);
        streamed.pass().await?;
        if let Some(resident) = &mut beside {
            resident.pass().await?;
        }
    }
    let streamed = streamed.finish();
    let Some(all) = all else { return Ok((streamed, None, None)) };
    if let Some(resident) = beside {
        return Ok((streamed, Some(resident.finish()), Some(true)));
    }
    eprintln!("opening it with everything resident, now that there is room");
    let mut resident = open_resident(files, &all, task).await?;
    for repeat in 1..=args.repeats {
        eprintln!("resident pass {repeat} of {}", args.repeats);
        resident.pass().await?;
    }
    Ok((streamed, Some(resident.finish()), Some(false)))
}

/// Options with a budget that holds everything.
fn resident_options(files: &ModelFiles, options: &LoadOptions, streamed: &mut Side) -> Result<LoadOptions> {
    let model_bytes = streamed.model().profile().model_bytes;
    let smallest = files.smallest_budget(options, streamed.model().engine().gpu().uploads_directly())?;
    // A quarter more for rows of a sweep, windows and what slots waste.
    let budget_bytes = (smallest + model_bytes + model_bytes / 4 + (64 << 20)).max(options.budget_bytes);
    let shared = streamed.model().engine().gpu().adapter.shares_memory();
    if let Some(free) = available_memory_bytes().filter(|_| shared)
        && free.saturating_add(streamed.model().profile().peak_gpu_bytes) < budget_bytes
    {
        let (wanted, free) = (show_size(budget_bytes), show_size(free));
        let message = format!("everything resident takes {wanted} of memory, and {free} are free");
        return Err(Error::new(ErrorKind::Budget, message).remedy("measure without --resident"));
    }
    // Both sides share the files: the resident one must not have them read in another way.
    let mut options = options.clone().budget_bytes(budget_bytes).ram_bytes(0).io(streamed.model().reads().plan.mode);
    options.most_pinned_bytes = None;
    Ok(options)
}

/// Whether so much more fits beside what is open. A GPU's own memory says so itself.
fn has_room(streamed: &mut Side, budget_bytes: u64) -> bool {
    let shared = streamed.model().engine().gpu().adapter.shares_memory();
    !shared || available_memory_bytes().is_none_or(|free| free > budget_bytes)
}

async fn open_resident(files: &ModelFiles, options: &LoadOptions, task: Task) -> Result<Side> {
    let mut side = Side::open(files, options, task).await?;
    let profile = side.model().profile();
    // The driver may have given less than was asked for.
    if side.model().engine().memory().pinned_bytes < profile.model_bytes {
        let message = format!("the GPU has no {} for everything resident", show_size(options.budget_bytes));
        return Err(Error::new(ErrorKind::GpuMemory, message).remedy("measure without --resident"));
    }
    Ok(side)
}

/// Bytes a second of plain copies to the GPU, on a device of its own.
async fn upload_rate(args: &BenchArgs, window_bytes: u64) -> Result<f64> {
    let gpu = Gpu::open(args.model.adapter.as_deref(), COPY_BYTES + 2 * window_bytes).await?;
    gpu_measure::upload(&gpu, window_bytes).await
}

fn model_facts(files: &ModelFiles, bytes: u64) -> Result<ModelFacts> {
    let (spec, manifest) = (files.spec(), files.model().manifest());
    Ok(ModelFacts {
        name: manifest.name.clone(),
        family: spec.family.to_string(),
        weights: manifest.weights.clone(),
        layers: spec.layers.len(),
        hidden: spec.hidden,
        vocab: spec.vocab,
        bytes,
        encodings: encodings(manifest)?.into_iter().map(|(name, (_, bytes))| (name.to_owned(), bytes)).collect(),
    })
}

fn adapter_facts(adapter: &AdapterReport, reads_windows: bool) -> AdapterFacts {
    let info = &adapter.info;
    AdapterFacts {
        name: info.name.clone(),
        kind: format!("{:?}", info.device_type),
        backend: info.backend.to_string(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        is_cpu: adapter.is_cpu(),
        reads_windows,
    }
}

fn asked(args: &BenchArgs, options: &LoadOptions, interleaved: Option<bool>) -> Options {
    Options {
        prompt_tokens: args.prompt_tokens,
        tokens: args.tokens,
        repeats: args.repeats,
        seed: args.seed,
        context: options.context.unwrap_or(0),
        kv: if args.model.kv == Kv::F16 { "f16" } else { "f32" },
        budget_bytes: options.budget_bytes,
        ram_bytes: options.ram_bytes,
        activations: if options.inputs == InputType::I8 { "i8" } else { "f32" },
        most_pinned_bytes: options.most_pinned_bytes,
        interleaved,
    }
}
