//! The tile table: derived from shapes, never listed. 405B in bf16 is 193,000 tiles of 4 MiB.

use std::ops::Range;

/// A run of rows that lie together in one file: (a part of) a matrix, or the vectors of a layer as a single row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowRun {
    /// Index of the file in the model.
    pub file: u32,
    pub offset_bytes: u64,
    pub rows: u64,
    /// Bytes from one row to the next.
    pub stride_bytes: u64,
}

impl RowRun {
    /// Bytes of the whole piece.
    pub fn len_bytes(&self) -> u64 {
        self.rows * self.stride_bytes
    }
}

/// A row block of one piece: one contiguous byte range of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Index of the piece in the table.
    pub piece: usize,
    /// First row within the piece.
    pub first_row: u64,
    pub rows: u64,
    pub file: u32,
    pub offset_bytes: u64,
    pub len_bytes: u64,
}

/// Every tile of a sweep, in order, computed from the pieces.
#[derive(Clone, Debug)]
pub struct TileTable {
    pieces: Vec<RowRun>,
    /// Rows in each full tile of a piece.
    rows_per_tile: Vec<u64>,
    /// Index of the first tile of each piece, and the number of tiles at the end.
    first_tiles: Vec<usize>,
}

impl TileTable {
    /// Cuts `pieces` (in sweep order) into tiles of at most `tile_bytes`, or of one row where a row is larger. The tiles of a
    /// piece are about equal, so that a slot which holds any of them wastes little.
    pub fn new(pieces: Vec<RowRun>, tile_bytes: u64) -> Self {
        let rows_per_tile = |piece: &RowRun| {
            let most = (tile_bytes / piece.stride_bytes.max(1)).clamp(1, piece.rows.max(1));
            piece.rows.div_ceil(piece.rows.div_ceil(most).max(1)).max(1)
        };
        let rows_per_tile: Vec<u64> = pieces.iter().map(rows_per_tile).collect();
        let mut first_tiles = vec![0];
        let mut count = 0;
        for (piece, rows) in pieces.iter().zip(&rows_per_tile) {
            count += piece.rows.div_ceil(*rows) as usize;
            first_tiles.push(count);
        }
        Self { pieces, rows_per_tile, first_tiles }
    }

    /// The number of tiles.
    pub fn len(&self) -> usize {
        self.first_tiles.last().copied().unwrap_or(0)
    }

    /// Whether there is no tile at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces that the tiles were cut from.
    pub fn pieces(&self) -> &[RowRun] {
        &self.pieces
    }

    /// The tiles of a run of pieces.
    pub fn tiles_of(&self, pieces: Range<usize>) -> Range<usize> {
        self.first_tiles[pieces.start]..self.first_tiles[pieces.end]
    }

    /// Tile `index`, which is below [`TileTable::len`].
    pub fn tile(&self, index: usize) -> Tile {
        let piece_index = self.first_tiles.partition_point(|first| *first <= index) - 1;
        let piece = &self.pieces[piece_index];
        let per_tile = self.rows_per_tile[piece_index];
        let first_row = (index - self.first_tiles[piece_index]) as u64 * per_tile;
        let rows = per_tile.min(piece.rows - first_row);
        Tile {
            piece: piece_index,
            first_row,
            rows,
            file: piece.file,
            offset_bytes: piece.offset_bytes + first_row * piece.stride_bytes,
            len_bytes: rows * piece.stride_bytes,
        }
    }

    /// Bytes of all tiles.
    pub fn len_bytes(&self) -> u64 {
        self.pieces.iter().map(RowRun::len_bytes).sum()
    }
}

/// What one read brings: a run of tiles that lie together in a file and fit a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub first_tile: usize,
    pub tiles: usize,
    pub file: u32,
    pub offset_bytes: u64,
    pub len_bytes: u64,
}

/// Files may pad up to this much between tensors; a read goes over it rather than stopping.
const LARGEST_GAP_BYTES: u64 = 4096;

/// Groups the wanted tiles of `range` into loads of at most `window_bytes`.
pub fn group_loads(
    table: &TileTable,
    range: Range<usize>,
    window_bytes: u64,
    wanted: impl Fn(usize) -> bool,
) -> Vec<Load> {
    let mut loads: Vec<Load> = Vec::new();
    for index in range.filter(|index| wanted(*index)) {
        let tile = table.tile(index);
        if let Some(last) = loads.last_mut() {
            let end = last.offset_bytes + last.len_bytes;
            let follows = last.file == tile.file
                && last.first_tile + last.tiles == index
                && tile.offset_bytes >= end
                && tile.offset_bytes - end <= LARGEST_GAP_BYTES;
            let len = (tile.offset_bytes + tile.len_bytes).saturating_sub(last.offset_bytes);
            if follows && len <= window_bytes {
                last.tiles += 1;
                last.len_bytes = len;
                continue;
            }
        }
        loads.push(Load {
            first_tile: index,
            tiles: 1,
            file: tile.file,
            offset_bytes: tile.offset_bytes,
            len_bytes: tile.len_bytes,
        });
    }
    loads
}

/// Chooses a fixed set of the tiles that are `meant`, which fit `pinned_bytes` together, spread evenly over the sweep, so
/// that reading and computing keep their proportion all along it. (An LRU would never hit: a sweep is cyclic.)
///
/// Tile `i` is taken when the pinned bytes so far lag behind the share of the sweep that has passed.
pub fn pin_evenly(table: &TileTable, pinned_bytes: u64, meant: impl Fn(usize) -> bool) -> Vec<bool> {
    let total: u64 = (0..table.len()).filter(|index| meant(*index)).map(|index| table.tile(index).len_bytes).sum();
    if pinned_bytes >= total {
        return (0..table.len()).map(meant).collect();
    }
    let (mut passed, mut pinned) = (0_u64, 0_u64);
    (0..table.len())
        .map(|index| {
            if !meant(index) {
                return false;
            }
            let len = table.tile(index).len_bytes;
            passed += len;
            let due = (u128::from(pinned_bytes) * u128::from(passed) / u128::from(total.max(1))) as u64;
            let take = pinned + len <= due;
            pinned += if take { len } else { 0 };
            take
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn piece(file: u32, offset_bytes: u64, rows: u64, stride_bytes: u64) -> RowRun {
        RowRun { file, offset_bytes, rows, stride_bytes }
    }

    #[test]
    fn tiles_cover_the_pieces_and_loads_go_over_padding_but_not_over_files() {
        let table = TileTable::new(vec![piece(0, 256, 10, 16), piece(0, 512, 3, 64), piece(1, 0, 1, 4096)], 64);
        assert_eq!(table.len(), 3 + 3 + 1);
        assert_eq!(table.tile(2), Tile { piece: 0, first_row: 8, rows: 2, file: 0, offset_bytes: 384, len_bytes: 32 });
        assert_eq!(table.tile(6).len_bytes, 4096, "a row larger than a tile is a tile");
        let loads = group_loads(&table, 0..7, 8192, |_| true);
        assert_eq!(loads.len(), 2);
        assert_eq!((loads[0].offset_bytes, loads[0].len_bytes), (256, 512 + 192 - 256));
        let gaps = group_loads(&table, 0..7, 8192, |index| index != 1);
        assert_eq!(gaps.len(), 3, "a pinned tile ends a load");
    }

    /// The fewest tiles that any policy reads in `accesses` of equal tiles, with `slots` slots, knowing the future: after
    /// each read it may keep the tile, in place of any other, or pass it on.
    fn fewest_reads(accesses: &[usize], tiles: usize, slots: u32) -> u32 {
        let sets = 1_usize << tiles;
        // By what is in the slots: the reads so far.
        let mut reads = vec![u32::MAX; sets];
        reads[0] = 0;
        for tile in accesses {
            let mut next = vec![u32::MAX; sets];
            let mut reach = |held: usize, reads: u32| next[held] = next[held].min(reads);
            for (held, reads) in reads.iter().copied().enumerate().filter(|(_, reads)| *reads < u32::MAX) {
                if held & (1 << tile) != 0 {
                    reach(held, reads);
                    continue;
                }
                reach(held, reads + 1);
                if held.count_ones() < slots {
                    reach(held | 1 << tile, reads + 1);
                }
                for victim in (0..tiles).filter(|victim| slots > 0 && held & (1 << victim) != 0) {
                    reach(held & !(1 << victim) | 1 << tile, reads + 1);
                }
            }
            reads = next;
        }
        reads.into_iter().min().expect("there are sets")
    }

    #[test]
    fn no_policy_reads_less_in_a_cyclic_sweep_than_tiles_that_stay() {
        for tiles in 1..=6_usize {
            let table = TileTable::new(vec![piece(0, 0, tiles as u64, 64)], 64);
            for slots in 0..=tiles as u32 {
                let pins = pin_evenly(&table, u64::from(slots) * 64, |_| true);
                let streamed = pins.iter().filter(|pinned| !**pinned).count() as u32;
                for sweeps in 1..=4 {
                    let accesses: Vec<usize> = (0..sweeps).flat_map(|_| 0..tiles).collect();
                    // The first sweep reads everything, and those that stay are kept as they come by.
                    let ours = tiles as u32 + (sweeps - 1) * streamed;
                    assert_eq!(
                        ours,
                        fewest_reads(&accesses, tiles, slots),
                        "{tiles} tiles, {slots} slots, {sweeps} sweeps"
                    );
                }
            }
        }
    }

    proptest! {
        #[test]
        fn pinning_stays_under_the_cap_and_is_even(
            rows in prop::collection::vec((1_u64..200, 1_u64..40), 1..20),
            tile_bytes in 64_u64..4096,
            share in 0.0_f64..1.2,
        ) {
            let pieces: Vec<_> = rows.iter().map(|(rows, units)| piece(0, 0, *rows, units * 16)).collect();
            let table = TileTable::new(pieces, tile_bytes);
            let total = table.len_bytes();
            let cap = (total as f64 * share) as u64;
            let pins = pin_evenly(&table, cap, |_| true);
            let largest = (0..table.len()).map(|index| table.tile(index).len_bytes).max().unwrap_or(0);
            let (mut passed, mut pinned) = (0, 0);
            for (index, pin) in pins.iter().enumerate() {
                let len = table.tile(index).len_bytes;
                passed += len;
                pinned += if *pin { len } else { 0 };
                let due = cap.min(total) as f64 * passed as f64 / total as f64;
                prop_assert!((pinned as f64 - due).abs() <= 2.0 * largest as f64, "at tile {index}");
            }
            prop_assert!(pinned <= cap);
            prop_assert!(pinned + 2 * largest >= cap.min(total));
        }

        #[test]
        fn tiles_partition_every_piece(
            rows in prop::collection::vec((1_u64..200, 1_u64..40), 1..20), tile_bytes in 16_u64..4096,
        ) {
            let pieces: Vec<_> = rows.iter().map(|(rows, units)| piece(0, 0, *rows, units * 16)).collect();
            let table = TileTable::new(pieces.clone(), tile_bytes);
            for (index, piece) in pieces.iter().enumerate() {
                let mut next = 0;
                for tile in table.tiles_of(index..index + 1).map(|tile| table.tile(tile)) {
                    prop_assert_eq!((tile.piece, tile.first_row), (index, next));
                    prop_assert!(tile.len_bytes <= tile_bytes.max(piece.stride_bytes));
                    next += tile.rows;
                }
                prop_assert_eq!(next, piece.rows);
            }
        }
    }
}
