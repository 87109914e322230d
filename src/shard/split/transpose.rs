//! Rows of a matrix whose file holds its transpose: a row of ours is a column there.
//!
//! Many rows are gathered at once, so that the file is gone through a few times for a whole matrix and not once a row.

use std::ops::Range;

use crate::checkpoint::{Source, Tensor};
use crate::encoding::plain::value_len;
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

/// Bytes of rows that are gathered at once.
const PANEL_BYTES: u64 = 32 << 20;
/// Rows at most: each has an offset in memory.
const MOST_ROWS: u64 = 1 << 16;
/// Bytes of lines that are read at once; a longer line is read by itself.
const READ_BYTES: u64 = 4 << 20;
/// Lines that are turned at once, so that what is written lies together.
const BLOCK_LINES: usize = 32;

/// How many rows of `row_bytes` are gathered at once.
pub(super) fn rows_at_once(row_bytes: u64) -> u64 {
    (PANEL_BYTES / row_bytes.max(1)).clamp(1, MOST_ROWS)
}

/// Fills `panel` with some of the tensor's rows, `[rows, columns]` values as the file has them.
///
/// The tensor is `[rows, columns]`; its file has a line of `source_rows` values for each column, and its length has been
/// checked against that.
pub(super) async fn read_rows(
    store: &dyn Store,
    file: &str,
    tensor: &Tensor,
    rows: Range<u64>,
    panel: &mut Vec<u8>,
) -> Result<()> {
    let (Source::Plain(encoding), &[_, columns]) = (tensor.source, &tensor.shape[..]) else {
        return Err(Error::new(ErrorKind::Malformed, "is transposed, and no matrix of plain values"));
    };
    let value = value_len(encoding)?;
    let sources: Vec<u64> = rows.map(|row| tensor.rows.source(row)).collect();
    let (Some(first), Some(last)) = (sources.iter().min(), sources.iter().max()) else { return Ok(()) };
    let line_bytes = tensor.source_rows * value;
    let span = (first * value, (last + 1 - first) * value);
    let offsets: Vec<usize> = sources.iter().map(|source| ((source - first) * value) as usize).collect();
    panel.resize(offsets.len() * (columns * value) as usize, 0);
    // A part of each line costs a disk little, and a host elsewhere a request.
    let alone = line_bytes > READ_BYTES || (store.is_local() && span.1 * 2 <= line_bytes);
    let lines_at_once = if alone { 1 } else { READ_BYTES / line_bytes };
    let start = tensor.offset_bytes + span.0;
    if !alone {
        store.announce(file, start..start + (columns - 1) * line_bytes + span.1);
    }
    let mut lines = Vec::new();
    for first_line in (0..columns).step_by(lines_at_once as usize) {
        let count = lines_at_once.min(columns - first_line);
        lines.resize(((count - 1) * line_bytes + span.1) as usize, 0);
        store.read_at(file, start + first_line * line_bytes, &mut lines).await?;
        let to = Panel { bytes: panel, row_bytes: (columns * value) as usize, at: (first_line * value) as usize };
        match value {
            2 => turn::<2>(&lines, line_bytes as usize, count as usize, &offsets, to),
            _ => turn::<4>(&lines, line_bytes as usize, count as usize, &offsets, to),
        }
    }
    Ok(())
}

/// Where lines go: to column offset `at` of each row.
struct Panel<'a> {
    bytes: &'a mut [u8],
    row_bytes: usize,
    at: usize,
}

/// Writes value `offsets[r]` of each of `count` lines into row r, values of N bytes.
fn turn<const N: usize>(lines: &[u8], line_bytes: usize, count: usize, offsets: &[usize], to: Panel<'_>) {
    for block in (0..count).step_by(BLOCK_LINES) {
        let in_block = BLOCK_LINES.min(count - block);
        for (row, offset) in to.bytes.chunks_exact_mut(to.row_bytes).zip(offsets) {
            let out = &mut row[to.at + block * N..][..in_block * N];
            let mut from = block * line_bytes + offset;
            for value in out.as_chunks_mut::<N>().0 {
                value.copy_from_slice(&lines[from..from + N]);
                from += line_bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pollster::block_on;

    use super::*;
    use crate::encoding::Encoding;
    use crate::plan::RowMap;
    use crate::store::MemoryStore;

    /// A tensor of `rows` of `columns` two-byte values at byte 10 of its file, where value [line, i] is 100 line + i.
    fn tensor(source_rows: u64, columns: u64, rows: RowMap, row_count: u64) -> (MemoryStore, Tensor) {
        let values = (0..columns).flat_map(|line| (0..source_rows).map(move |i| (100 * line + i) as u16));
        let bytes: Vec<u8> = [0_u8; 10].into_iter().chain(values.flat_map(u16::to_le_bytes)).collect();
        let tensor = Tensor {
            name: "w".into(),
            source_name: "w".into(),
            shape: vec![row_count, columns],
            source: Source::Plain(Encoding::BF16),
            file: 0,
            offset_bytes: 10,
            len_bytes: bytes.len() as u64 - 10,
            source_rows,
            rows,
            plus: 0.0,
            inverse_lengths: None,
            transposed: true,
            companions: Vec::new(),
        };
        ([("f".to_owned(), bytes)].into_iter().collect(), tensor)
    }

    #[test]
    fn rows_are_columns_of_the_file_whatever_the_map_and_the_cut() {
        let alternate = |first| RowMap { first, run: 1, stride: 2, rotary: None };
        for (source_rows, columns, map, count) in [
            (7, 3, RowMap::ALL, 7),
            (12, 70, alternate(0), 6),
            (12, 70, alternate(1), 6),
            (8, 33, RowMap::from_row(4), 4),
            (8, 5, RowMap::ALL.in_halves(4, 4), 8),
        ] {
            let (store, tensor) = tensor(source_rows, columns, map, count);
            for step in [1, 2, count] {
                for first in (0..count).step_by(step as usize) {
                    let rows = first..count.min(first + step);
                    let mut panel = vec![7; 3];
                    block_on(read_rows(&store, "f", &tensor, rows.clone(), &mut panel)).expect("reads");
                    let expected = rows.flat_map(|row| (0..columns).map(move |c| (100 * c + map.source(row)) as u16));
                    let expected: Vec<u8> = expected.flat_map(u16::to_le_bytes).collect();
                    assert_eq!(panel, expected, "{map:?}, {step} rows from {first}");
                }
            }
        }
    }

    #[test]
    fn a_panel_is_bounded() {
        assert_eq!(rows_at_once(5760), PANEL_BYTES / 5760);
        assert_eq!(rows_at_once(u64::MAX), 1);
        assert_eq!(rows_at_once(2), MOST_ROWS);
    }
}
