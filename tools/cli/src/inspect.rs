//! `tilestream inspect`: what a model is made of, and what to expect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde_json::json;
use tilestream::internals::shard::Manifest;
use tilestream::store::Window;
use tilestream::{ModelFiles, Result};
use tilestream_split::size::show_size;

use crate::args::InspectArgs;
use crate::model;
use crate::run::show;

/// Bytes read to measure the disk, at most.
const SAMPLE_BYTES: u64 = 256 << 20;
const READ_BYTES: u64 = 4 << 20;

/// Runs the command.
pub fn inspect(args: &InspectArgs, stop: &Arc<AtomicBool>) -> Result<()> {
    pollster::block_on(async {
        let files = model::open(&args.model, stop).await?;
        let mut options = model::load_options(&args.model, Some(args.model.context.unwrap_or(256)));
        options.context = options.context.map(|context| context.min(files.spec().max_positions));
        let smallest = files.smallest_budget(&options, false)?;
        let smallest_direct = files.smallest_budget(&options, true)?;
        let disk = measure_disk(&files).await?;
        let (spec, manifest) = (files.spec(), files.model().manifest());
        let encodings = encodings(manifest)?;
        let bytes: u64 = encodings.values().map(|(_, bytes)| bytes).sum();
        let seconds = bytes as f64 / disk;
        if args.json {
            let encodings: BTreeMap<_, _> = encodings
                .iter()
                .map(|(name, (count, bytes))| (name, json!({ "tensors": count, "bytes": bytes })))
                .collect();
            return show(&format!(
                "{}\n",
                json!({
                    "name": manifest.name, "family": spec.family, "weights": manifest.weights,
                    "layers": spec.layers.len(), "hidden": spec.hidden, "vocab": spec.vocab,
                    "max_positions": spec.max_positions, "bytes": bytes, "encodings": encodings,
                    "smallest_budget_bytes": smallest, "smallest_budget_bytes_direct": smallest_direct,
                    "disk_bytes_per_s": disk, "expected_s_per_token": seconds,
                })
            ));
        }
        let mut text = format!("{} ({}, weights: {})\n", manifest.name, spec.family, manifest.weights);
        text += &format!(
            "  {} layers, hidden size {}, vocabulary {}, {} positions{}\n",
            spec.layers.len(),
            spec.hidden,
            spec.vocab,
            spec.max_positions,
            if spec.head.tied { ", head tied to the embeddings" } else { "" }
        );
        for (name, (count, bytes)) in &encodings {
            text += &format!("  {name:<6} {count} tensors, {}\n", show_size(*bytes));
        }
        text += &format!("  weights         {}\n", show_size(bytes));
        text += &format!(
            "  smallest budget {} (with {} positions; {} where the adapter maps its own buffers)\n",
            show_size(smallest),
            options.context.unwrap_or(0),
            show_size(smallest_direct)
        );
        text += &format!(
            "  disk            {}/s measured now; a token takes {seconds:.2} s where nothing stays on the GPU\n",
            show_size(disk as u64)
        );
        show(&text)
    })
}

/// How many tensors each encoding has, and their bytes.
pub fn encodings(manifest: &Manifest) -> Result<BTreeMap<&str, (usize, u64)>> {
    let mut encodings: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for tensor in manifest.tensors.values() {
        let entry = encodings.entry(&tensor.encoding).or_default();
        entry.0 += 1;
        entry.1 += tensor.parts.iter().map(|part| part.rows).sum::<u64>() * tensor.row_bytes()?;
    }
    Ok(encodings)
}

/// Bytes a second of sequential verified reads. What the page cache holds already counts at its speed, as it will when
/// the model runs.
async fn measure_disk(files: &ModelFiles) -> Result<f64> {
    let manifest = files.model().manifest();
    let mut buffer = vec![0; READ_BYTES as usize];
    let (start, mut total) = (Instant::now(), 0);
    for (index, file) in manifest.files.iter().enumerate() {
        let mut offset = 0;
        while offset < file.len_bytes && total < SAMPLE_BYTES {
            let len = READ_BYTES.min(file.len_bytes - offset);
            let mut window = Window::from_slice(&mut buffer[..len as usize]);
            files.model().verified().read(index as u32, offset, &mut window).await?;
            offset += len;
            total += len;
        }
    }
    Ok(total as f64 / start.elapsed().as_secs_f64().max(1e-9))
}
