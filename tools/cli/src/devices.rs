//! `tilestream devices`: what adapters there are.

use tilestream::internals::encoding::{ENCODINGS, Encoding};
use tilestream::internals::gpu::kernels::InputType;
use tilestream::internals::gpu::measure::Product;
use tilestream::internals::gpu::search::{Search, Trial};
use tilestream::internals::gpu::tuning::plain_product;
use tilestream::internals::gpu::{Device, Gpu, adapters, measure};
use tilestream::{Error, ErrorKind, Result};
use wgpu_facts::{has, yes};

use crate::args::DevicesArgs;
use crate::run::show;

mod wgpu_facts {
    //! Names of features as people know them.

    use tilestream::internals::gpu::AdapterReport;

    /// The features that change what Tilestream does.
    pub fn has(report: &AdapterReport) -> [(&'static str, bool); 4] {
        let features = &report.features;
        [
            ("subgroups", features.contains(tilestream::internals::gpu::SUBGROUP)),
            ("shader-f16", features.contains(tilestream::internals::gpu::SHADER_F16)),
            ("times dispatches (for --trace)", features.contains(tilestream::internals::gpu::TIMESTAMPS)),
            ("maps its own buffers (no copy on upload)", report.maps_primary_buffers()),
        ]
    }

    /// For people.
    pub fn yes(value: bool) -> &'static str {
        if value { "yes" } else { "no" }
    }
}

/// Sizes of a matrix that a measurement multiplies with.
const MATRIX: (u32, u32) = (4096, 4096);
/// Rows of a prompt that it is multiplied with.
const PROMPT: u32 = 128;
/// GPU memory for a measurement.
const MEASURE_BYTES: u64 = 1 << 30;

/// Runs the command.
pub fn devices(args: &DevicesArgs) -> Result<()> {
    if args.measure {
        return pollster::block_on(measure(args.adapter.as_deref()));
    }
    if let Some(names) = &args.tune {
        return pollster::block_on(tune(args, names));
    }
    let found = pollster::block_on(adapters());
    if found.is_empty() {
        return Err(Error::new(ErrorKind::Adapter, "no adapter was found")
            .remedy("install a Vulkan driver (in software: mesa-vulkan-drivers)"));
    }
    let mut text = String::new();
    for report in &found {
        let (info, limits) = (&report.info, &report.limits);
        text += &format!("{} ({:?}, {})\n", info.name, info.device_type, info.backend);
        if !info.driver.is_empty() {
            text += &format!("  driver                {} {}\n", info.driver, info.driver_info);
        }
        for (name, value) in has(report) {
            text += &format!("  {name:<21} {}\n", yes(value));
        }
        text += &format!("  subgroup size         {} to {}\n", info.subgroup_min_size, info.subgroup_max_size);
        text += &format!("  largest binding       {} MiB\n", limits.max_storage_buffer_binding_size >> 20);
        text += &format!("  largest buffer        {} MiB\n", limits.max_buffer_size >> 20);
        text += &format!("  workgroup memory      {} KiB\n", limits.max_compute_workgroup_storage_size >> 10);
        text += &format!("  workgroup invocations {}\n", limits.max_compute_invocations_per_workgroup);
    }
    show(&text)
}

/// What memory gives, and what products make of it.
async fn measure(adapter: Option<&str>) -> Result<()> {
    let gpu = Gpu::open(adapter, MEASURE_BYTES).await?;
    let kernels = gpu.kernels(gpu.tuning().clone());
    let copy = measure::copy(&gpu, &kernels).await?;
    let (rows, columns) = MATRIX;
    show(&format!(
        "{} ({:?}, {})\na plain copy moves {:.2} GB/s; a matrix of {rows} x {columns} times\n",
        gpu.adapter.info.name,
        gpu.adapter.info.device_type,
        gpu.adapter.info.backend,
        copy / 1e9
    ))?;
    show(&format!("{:<10} {:>12} {:>10} {:>22}\n", "", "1 row", "of a copy", format!("{PROMPT} rows")))?;
    for row in ENCODINGS {
        let product = Product { encoding: row.encoding, rows, columns };
        for input in row.encoding.input_types().iter().copied() {
            let one = measure::product(&gpu, &kernels, product, input, 1).await?;
            let many = measure::product(&gpu, &kernels, product, input, PROMPT).await?;
            let (bytes, operations) =
                (product.bytes() as f64, 2.0 * f64::from(rows) * f64::from(columns) * f64::from(PROMPT));
            let name = if input == InputType::I8 { "  times i8" } else { row.name };
            show(&format!(
                "{name:<10} {:>7.2} GB/s {:>8.0} % {:>10.2} ms {:>5.1} GFLOP/s\n",
                bytes / one / 1e9,
                100.0 * bytes / one / copy,
                many * 1e3,
                operations / many / 1e9
            ))?;
        }
    }
    Ok(())
}

/// Searches for the best kernel shapes, and keeps them.
async fn tune(args: &DevicesArgs, names: &[String]) -> Result<()> {
    let mut encodings = names.iter().map(|name| Encoding::from_name(name)).collect::<Result<Vec<_>>>()?;
    if encodings.is_empty() {
        encodings.extend(ENCODINGS.iter().map(|row| row.encoding));
    }
    let device = Device::open(args.adapter.as_deref(), Some(MEASURE_BYTES)).await?.with_kept_pipelines();
    let gpu = device.budget(MEASURE_BYTES).await?;
    let info = &gpu.adapter.info;
    show(&format!("{} ({:?}, {})\n", info.name, info.device_type, info.backend))?;
    let mut search = Search::new(&gpu);
    if gpu.features().contains(tilestream::internals::gpu::SHADER_F16) && !search.may_use_f16().await? {
        show("shader-f16 is not tried: this driver widens some numbers to other bits with it\n")?;
    }
    for encoding in encodings {
        let product = Product { encoding, rows: MATRIX.0, columns: args.columns };
        let (mut trials, mut shown) = (Vec::new(), Ok(()));
        let visit = &mut |trial: Trial| {
            if shown.is_ok() {
                shown = show(&line(&trial));
            }
            trials.push(trial);
        };
        search.of_product(product, visit).await?;
        shown?;
        for id in [1, 2].map(|tokens| plain_product(encoding, tokens)) {
            let best = search.tuning().shape(id);
            let of = |shape| trials.iter().find(|trial| trial.id == id && trial.shape == shape);
            if let (Some(best), Some(usual)) = (of(best), of(gpu.tuning().shape(id))) {
                let gain = usual.seconds / best.seconds;
                show(&format!(
                    "kept: {} times {}: {}, {gain:.2} times as fast as usual\n",
                    encoding.name(),
                    best.tokens,
                    best.shape
                ))?;
            }
        }
        gpu.keep_pipelines();
    }
    Ok(())
}

/// A candidate's row of the table.
fn line(trial: &Trial) -> String {
    let (product, tokens) = (trial.product, trial.tokens);
    let rate = if tokens == 1 {
        format!("{:.2} GB/s", product.bytes() as f64 / trial.seconds / 1e9)
    } else {
        let operations = 2.0 * f64::from(product.rows) * f64::from(product.columns) * f64::from(tokens);
        format!("{:.1} GFLOP/s", operations / trial.seconds / 1e9)
    };
    let name = product.encoding.name();
    format!("{name:<10} times {tokens:<4} {:<42} {rate:>14}\n", trial.shape.to_string())
}
