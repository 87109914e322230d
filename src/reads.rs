//! How a model's files are read: chosen when it is loaded, from the memory that is free and what the disk was measured to
//! give. The figures are remembered for the file system.

use std::fmt;

use crate::auto_model::LoadOptions;
use crate::platform::{available_memory_bytes, recall, remember};
use crate::shard::Model;
use crate::store::{Disk, Figure, ReadMode, ReadPlan, choose, is_enough, is_steady};
use crate::words::Term;
use crate::{Error, ErrorKind, Result};

/// A sweep that reads less takes no time worth measuring for.
const SMALL_BYTES: u64 = 1 << 30;
/// Part of the name that figures are remembered under: raised where they come to mean something else.
const VERSION: u32 = 2;

/// How a model's files are read, and why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadStrategy {
    pub plan: ReadPlan,
    /// What the choice was made from; empty where it needed no figures.
    pub figures: Vec<Figure>,
    /// Whether the disk was measured just now.
    pub measured: bool,
}

/// What the choice depends on, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct SweepFootprint {
    /// What a sweep reads.
    pub streamed: u64,
    /// Memory for the system's cache; none where nobody knows.
    pub cache: Option<u64>,
}

impl SweepFootprint {
    /// Of a model with so many bytes of tiles; the GPU's memory may be the host's (`shared`).
    pub(crate) fn new(tile_bytes: u64, budget_bytes: u64, shared: bool, options: &LoadOptions) -> Self {
        let taken = options.ram_bytes.saturating_add(if shared { budget_bytes } else { 0 });
        let pinned = options.most_pinned_bytes.map_or(budget_bytes, |most| most.min(budget_bytes));
        let kept = pinned.saturating_add(options.ram_bytes);
        let cache = available_memory_bytes().map(|bytes| bytes.saturating_sub(taken));
        Self { streamed: tile_bytes.saturating_sub(kept), cache }
    }

    /// Whether the disk's rate decides: not for a model that the cache serves from the second sweep on, nor for a small one.
    fn pass_the_cache(self) -> bool {
        self.streamed >= SMALL_BYTES && self.cache.is_some_and(|cache| self.streamed > cache)
    }
}

impl ReadStrategy {
    /// Chooses, measuring where nothing is known, and has the model's store read so.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for reads past the cache of a model that lies elsewhere; [`ErrorKind::Cancelled`]; those of
    /// reads.
    pub fn choose(model: &Model, sizes: SweepFootprint, options: &LoadOptions) -> Result<Self> {
        let manifest = model.manifest();
        let largest = manifest.files.iter().max_by_key(|file| file.len_bytes).map(|file| file.name.as_str());
        let (Some(disk), Some(largest)) = (model.store().disk(), largest) else {
            return match options.io {
                Some(mode) if mode != ReadMode::Buffered => {
                    let message = format!("{mode} reads need a model in a folder of this machine");
                    Err(Error::new(ErrorKind::Argument, message)
                        .remedy("leave " + Term::Io + " out, or download the model"))
                }
                _ => Ok(Self::default()),
            };
        };
        let mut reads = Self::default();
        if let Some(mode) = options.io {
            reads.plan.mode = mode;
        } else if sizes.pass_the_cache() {
            let files: Vec<_> = manifest.files.iter().map(|file| (file.name.as_str(), file.len_bytes)).collect();
            (reads.figures, reads.measured) = figures(disk, &files, options)?;
            // Others may use the disk just now; but what takes the usual plan's place did as well at its slowest as the usual
            // one at its fastest, or nearly.
            if is_enough(&reads.figures) {
                reads.plan = choose(&reads.figures);
            }
        }
        reads.plan.mode = disk.set_mode(reads.plan.mode, largest)?;
        Ok(reads)
    }
}

/// What is known of the disk, and whether it was measured for that.
fn figures(disk: &dyn Disk, files: &[(&str, u64)], options: &LoadOptions) -> Result<(Vec<Figure>, bool)> {
    let name = disk.file_system().map(|file_system| format!("reads-{VERSION}-{file_system}"));
    if let Some(known) = name.as_deref().and_then(recall::<Vec<Figure>>).filter(|known| !known.is_empty()) {
        return Ok((known, false));
    }
    // The options may hold a device, which in a browser is of one thread.
    let cancel = &options.cancel;
    let figures = disk.measure(files, &|| cancel.is_cancelled())?;
    if let Some(name) = name.filter(|_| is_steady(&figures)) {
        remember(&name, &figures);
    }
    Ok((figures, true))
}

impl fmt::Display for ReadStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show =
            |plan: ReadPlan| format!("{}, {} MiB, {} in flight", plan.mode, plan.read_bytes >> 20, plan.in_flight);
        write!(f, "reads: {}", show(self.plan))?;
        let how = if self.measured { "measured now" } else { "remembered" };
        for (index, figure) in self.figures.iter().enumerate() {
            let before = if index == 0 { format!(" ({how}: ") } else { "; ".to_owned() };
            let (least, most) = (figure.least_bytes_per_s / 1e9, figure.most_bytes_per_s / 1e9);
            write!(f, "{before}{} {least:.2} to {most:.2} GB/s", show(figure.plan))?;
        }
        if self.figures.is_empty() { Ok(()) } else { write!(f, ")") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_stay_is_read() {
        // Bytes that stay at most, bytes in the host's memory, and what a sweep over 100 reads under a budget of 60.
        for (most_pinned_bytes, ram_bytes, streamed) in
            [(None, 0, 40), (None, 30, 10), (Some(0), 0, 100), (Some(0), 30, 70), (Some(50), 0, 50), (Some(70), 50, 0)]
        {
            let options = LoadOptions { most_pinned_bytes, ram_bytes, ..LoadOptions::default() };
            assert_eq!(
                SweepFootprint::new(100, 60, false, &options).streamed,
                streamed,
                "{most_pinned_bytes:?}, {ram_bytes}"
            );
        }
    }
}
