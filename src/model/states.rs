//! The states that a plan asks for: which layers keep which positions, and what that takes.

use crate::gpu::kernels::{KvType, PAGE_TOKENS};
use crate::plan::{AttentionSpec, LayerSpec, ModelSpec, Op};
use crate::words::Term;
use crate::{Error, ErrorKind, Result};

/// Which positions the layers of a group keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    All,
    /// Those that a query sees, its own included.
    Window(u32),
    /// Those from the last multiple of the number on.
    Chunk(u32),
}

impl Keeps {
    fn of(attention: &AttentionSpec) -> Self {
        match attention.window {
            None => Self::All,
            Some(window) if attention.chunked => Self::Chunk(window),
            Some(window) => Self::Window(window),
        }
    }

    /// The first position that a query at `position` sees.
    pub fn first_position(self, position: u32) -> u32 {
        match self {
            Self::All => 0,
            Self::Window(window) => (position + 1).saturating_sub(window),
            Self::Chunk(chunk) => position - position % chunk.max(1),
        }
    }

    /// Pages that a sequence of `positions` holds at most at once, in sweeps of up to `rows` rows.
    pub fn pages_for(self, positions: u64, rows: u64) -> u64 {
        let all = pages_for(positions);
        match self {
            Self::All => all,
            // What the first row of a sweep sees, and the other rows: of the first page and the last, a position may count.
            Self::Window(seen) | Self::Chunk(seen) => {
                let span = u64::from(seen).max(1) - 1 + rows.max(1);
                all.min((span - 1).div_ceil(u64::from(PAGE_TOKENS)) + 1)
            }
        }
    }
}

/// Pages that hold `positions`.
pub fn pages_for(positions: u64) -> u64 {
    positions.div_ceil(u64::from(PAGE_TOKENS))
}

/// Layers that keep the same positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageGroup {
    pub keeps: Keeps,
    /// Bytes of one page of each layer: keys and values of [`PAGE_TOKENS`] positions.
    pub(super) page_bytes: Vec<u64>,
}

impl PageGroup {
    /// Bytes of `pages` pages over all layers of the group, alignment included.
    pub(super) fn bytes(&self, pages: u64) -> u64 {
        self.offset(self.page_bytes.len(), pages)
    }

    /// Where the pages of layer `index` of the group begin, in a buffer with `pages` pages of each.
    pub(super) fn offset(&self, index: usize, pages: u64) -> u64 {
        self.page_bytes[..index].iter().map(|bytes| (bytes * pages).next_multiple_of(256)).sum()
    }
}

/// The states that a plan asks for.
#[derive(Clone, Debug)]
pub struct StateLayout {
    pub kind: KvType,
    pub groups: Vec<PageGroup>,
    /// Group and index in it of each layer that has pages.
    pub(super) places: Vec<Option<(usize, usize)>>,
}

impl StateLayout {
    /// The states of `spec`'s layers.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where a layer's width does not pack into `kind`.
    pub fn new(spec: &ModelSpec, kind: KvType) -> Result<Self> {
        let odd = |layer: &LayerSpec| !layer.key_width.is_multiple_of(2) || !layer.value_width.is_multiple_of(2);
        if kind == KvType::F16 && spec.layers.iter().any(odd) {
            return Err(Error::new(ErrorKind::Unsupported, "f16 needs an even width of keys and values")
                .remedy("choose " + Term::Kv("f32")));
        }
        let (mut groups, mut places) = (Vec::<PageGroup>::new(), Vec::with_capacity(spec.layers.len()));
        for layer in &spec.layers {
            let attention = |op: &Op| if let Op::Attention { attention, .. } = op { Some(*attention) } else { None };
            let keeps = layer.ops.iter().find_map(attention).map(|attention| Keeps::of(&attention));
            let width = u64::from(layer.key_width) + u64::from(layer.value_width);
            let Some(keeps) = keeps.filter(|_| width > 0) else {
                places.push(None);
                continue;
            };
            let group = groups.iter().position(|group| group.keeps == keeps).unwrap_or_else(|| {
                groups.push(PageGroup { keeps, page_bytes: Vec::new() });
                groups.len() - 1
            });
            places.push(Some((group, groups[group].page_bytes.len())));
            groups[group].page_bytes.push(u64::from(PAGE_TOKENS) * width * kind.bytes());
        }
        Ok(Self { kind, groups, places })
    }

    /// The group of a layer that has pages.
    pub fn group_of(&self, layer: usize) -> Option<usize> {
        self.places[layer].map(|(group, _)| group)
    }

    /// Pages of each group where those that keep all positions have `pages`, for `sequences` and sweeps of `rows` rows, and
    /// for `snapshots` of them.
    pub fn pages(&self, pages: u64, sequences: u64, rows: u64, snapshots: u64) -> Vec<u64> {
        let positions = pages * u64::from(PAGE_TOKENS);
        let of_group = |group: &PageGroup| {
            let running = sequences.max(1) * group.keeps.pages_for(positions, rows);
            // What a snapshot sees, and the last page of a text that goes on from it.
            pages.min(running + snapshots * (group.keeps.pages_for(positions, 1) + 1))
        };
        self.groups.iter().map(of_group).collect()
    }

    /// Whether a text that goes on gives pages back.
    pub(super) fn forgets(&self) -> bool {
        self.groups.iter().any(|group| group.keeps != Keeps::All)
    }

    /// Bytes of the largest page of a layer.
    pub(super) fn largest_page_bytes(&self) -> u64 {
        self.groups.iter().flat_map(|group| &group.page_bytes).copied().max().unwrap_or(0)
    }

    /// Bytes of so many pages of each group.
    pub fn bytes(&self, pages: &[u64]) -> u64 {
        self.groups.iter().zip(pages).map(|(group, pages)| group.bytes(*pages)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_keeps_no_more_pages_than_any_sweep_sees() {
        for (window, rows) in [(1, 1), (2, 1), (31, 5), (32, 1), (33, 64), (512, 1), (512, 128)] {
            let keeps = Keeps::Window(window);
            let most = keeps.pages_for(u64::MAX / 2, u64::from(rows));
            let worst = (0..2000_u32).map(|len| {
                let first = keeps.first_position(len) / PAGE_TOKENS;
                u64::from((len + rows - 1) / PAGE_TOKENS - first + 1)
            });
            assert_eq!(worst.max(), Some(most), "a window of {window}, sweeps of {rows}");
        }
        assert_eq!(Keeps::Window(512).pages_for(40, 1), 2);
        assert_eq!(Keeps::All.pages_for(4096, 1), 128);
    }
}
