//! Which tiles a sweep takes together.

use std::ops::Range;

use super::layout::{LayerLayout, ModelLayout};
use crate::stream::{SectionSpec, TileTable};

/// The sections of the stream: what every sweep needs, the head, and each expert by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Sections {
    pub list: Vec<SectionSpec>,
    /// Sections that every sweep needs, in order.
    dense: Vec<usize>,
    pub head: usize,
    /// The section of each layer's first expert; the others follow.
    pub experts: Vec<usize>,
    /// The first piece of each layer, and of the head.
    pub first_pieces: Vec<usize>,
}

impl Sections {
    pub(super) fn new(layout: &ModelLayout, table: &TileTable) -> Self {
        let first = |layer: &LayerLayout| {
            let matrix = layer.matrices.first().map(|matrix| matrix.first_piece);
            layer.vectors.piece.into_iter().chain(matrix).min().unwrap_or(0)
        };
        let first_pieces = layout.layers.iter().chain([&layout.head]).map(first).collect();
        let mut sections = Self { first_pieces, ..Self::default() };
        let mut start = 0;
        for layer in &layout.layers {
            let mut experts = ModelLayout::expert_pieces(layer).map(|pieces| table.tiles_of(pieces)).peekable();
            if let Some(first) = experts.peek() {
                sections.push_dense(start..first.start);
            }
            sections.experts.push(sections.list.len());
            for tiles in experts {
                start = tiles.end;
                sections.list.push(SectionSpec { tiles, lfu: true });
            }
        }
        let end = table.tiles_of(layout.layer_pieces.clone()).end;
        sections.push_dense(start..end);
        sections.head = sections.list.len();
        sections.list.push(SectionSpec { tiles: end..table.len(), lfu: false });
        sections
    }

    fn push_dense(&mut self, tiles: Range<usize>) {
        if !tiles.is_empty() {
            self.dense.push(self.list.len());
            self.list.push(SectionSpec { tiles, lfu: false });
        }
    }

    /// What a sweep needs of them for certain that goes over the head so many times.
    pub(super) fn of_sweep(&self, heads: usize) -> Vec<usize> {
        self.dense.iter().copied().chain(std::iter::repeat_n(self.head, heads)).collect()
    }
}
