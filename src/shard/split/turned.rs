//! Rows of a matrix whose file holds each run of rows, a head's, as its transpose, in plain values or in GGUF's blocks.
//!
//! Blocks run along the other axis there, so their values become `f32`, which changes none that the blocks have.

use std::ops::Range;

use super::convert::{malformed, to_floats};
use super::transpose::{Panel, turn};
use crate::checkpoint::{Source, Tensor};
use crate::encoding::plain::value_len;
use crate::encoding::{Encoding, gguf};
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

/// Largest run, as it lies in memory.
const MAX_RUN_BYTES: u64 = 16 << 20;

/// How rows come out of [`read_rows`].
pub(super) fn row_encoding(encoding: Encoding) -> Encoding {
    if gguf::block(encoding).is_some() { Encoding::F32 } else { encoding }
}

/// Bytes of a line: what the file has of `rows` rows for one column.
fn line_bytes(encoding: Encoding, rows: u64) -> Result<u64> {
    match gguf::block(encoding) {
        Some(_) => gguf::row_len(encoding, rows),
        None => Ok(rows.saturating_mul(value_len(encoding)?)),
    }
}

/// Checks that a tensor of `columns` has the bytes of its shape, and runs that fit in memory.
pub(super) fn check(tensor: &Tensor, encoding: Encoding, run: u64, columns: u64) -> Result<()> {
    let runs = tensor.source_rows.checked_div(run).filter(|runs| runs.checked_mul(run) == Some(tensor.source_rows));
    let lines = runs.and_then(|runs| runs.checked_mul(columns));
    let len_bytes = lines.and_then(|lines| line_bytes(encoding, run).ok()?.checked_mul(lines));
    if len_bytes != Some(tensor.len_bytes) || tensor.shape != [tensor.source_rows, columns] {
        let message = format!("{} bytes are not those of shape {:?}", tensor.len_bytes, tensor.shape);
        return Err(Error::new(ErrorKind::Malformed, message));
    }
    if run.saturating_mul(columns).saturating_mul(4) > MAX_RUN_BYTES {
        return Err(malformed("has heads that are too large"));
    }
    Ok(())
}

/// Fills `panel` with some of the tensor's rows, `[rows, columns]` values of [`row_encoding`].
pub(super) async fn read_rows(
    store: &dyn Store,
    file: &str,
    tensor: &Tensor,
    rows: Range<u64>,
    panel: &mut Vec<u8>,
) -> Result<()> {
    let (Source::Turned { encoding, rows: run }, &[_, columns]) = (tensor.source, &tensor.shape[..]) else {
        return Err(malformed("is no matrix of turned heads"));
    };
    let value = value_len(row_encoding(encoding))?;
    let line = line_bytes(encoding, run)?;
    let row_bytes = (columns * value) as usize;
    panel.resize((rows.end - rows.start) as usize * row_bytes, 0);
    let (mut raw, mut lines, mut floats) = (vec![0; (line * columns) as usize], Vec::new(), Vec::new());
    let mut row = rows.start;
    while row < rows.end {
        let index = row / run;
        let end = rows.end.min((index + 1) * run);
        store.read_at(file, tensor.offset_bytes + index * columns * line, &mut raw).await?;
        let from = if gguf::block(encoding).is_some() {
            lines.clear();
            for raw in raw.chunks_exact(line as usize) {
                to_floats(Source::GgufBlocks(encoding), raw, run, &mut floats)?;
                lines.extend(floats.iter().flat_map(|value| value.to_le_bytes()));
            }
            &lines
        } else {
            &raw
        };
        let offsets: Vec<usize> = (row % run..row % run + (end - row)).map(|row| (row * value) as usize).collect();
        let bytes = &mut panel[(row - rows.start) as usize * row_bytes..];
        let (to, line_bytes) = (Panel { bytes, row_bytes, at: 0 }, (run * value) as usize);
        match value {
            2 => turn::<2>(from, line_bytes, columns as usize, &offsets, to),
            _ => turn::<4>(from, line_bytes, columns as usize, &offsets, to),
        }
        row = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use pollster::block_on;

    use super::*;
    use crate::plan::RowMap;
    use crate::store::MemoryStore;

    /// `heads` runs of `run` rows of `columns` values at byte 6 of a file.
    fn tensor(encoding: Encoding, bytes: &[u8], (heads, run, columns): (u64, u64, u64)) -> (MemoryStore, Tensor) {
        let file = [&[0; 6][..], bytes].concat();
        let tensor = Tensor {
            name: "w".into(),
            source_name: "w".into(),
            shape: vec![heads * run, columns],
            source: Source::Turned { encoding, rows: run },
            file: 0,
            offset_bytes: 6,
            len_bytes: bytes.len() as u64,
            source_rows: heads * run,
            rows: RowMap::ALL,
            plus: 0.0,
            inverse_lengths: None,
            transposed: false,
            companions: Vec::new(),
        };
        ([("f".to_owned(), file)].into_iter().collect(), tensor)
    }

    #[test]
    fn plain_heads_are_turned_whatever_the_cut() -> Result<()> {
        let (heads, run, columns) = (3, 4, 5);
        // Value [head, column, row] of the file is its index.
        let bytes: Vec<u8> = (0..(heads * run * columns) as u16).flat_map(u16::to_le_bytes).collect();
        let (store, tensor) = tensor(Encoding::BF16, &bytes, (heads, run, columns));
        check(&tensor, Encoding::BF16, run, columns)?;
        for rows in [0..12, 0..1, 3..5, 7..12, 11..12] {
            let mut panel = vec![9; 3];
            block_on(read_rows(&store, "f", &tensor, rows.clone(), &mut panel))?;
            let value = |row: u64, column: u64| ((row / run * columns + column) * run + row % run) as u16;
            let expected = rows.clone().flat_map(|row| (0..columns).map(move |column| value(row, column)));
            assert_eq!(panel, expected.flat_map(u16::to_le_bytes).collect::<Vec<u8>>(), "{rows:?}");
        }
        Ok(())
    }

    #[test]
    fn blocks_become_their_values() -> Result<()> {
        // Q8_0: a line is one block, f16 d and 32 quants.
        let (heads, run, columns) = (2, 32, 3);
        let block = |line: u64| {
            let d = half::f16::from_f32(0.5 + line as f32).to_le_bytes();
            d.into_iter().chain((0..32u8).map(move |row| row.wrapping_mul(7).wrapping_add(line as u8)))
        };
        let bytes: Vec<u8> = (0..heads * columns).flat_map(block).collect();
        let (store, tensor) = tensor(Encoding::Q8_0, &bytes, (heads, run, columns));
        check(&tensor, Encoding::Q8_0, run, columns)?;
        let mut panel = Vec::new();
        block_on(read_rows(&store, "f", &tensor, 30..40, &mut panel))?;
        let value = |row: u64, column: u64| {
            let line = row / run * columns + column;
            (0.5 + line as f32) * f32::from((row % run * 7 + line) as u8 as i8)
        };
        let expected = (30..40).flat_map(|row| (0..columns).map(move |column| value(row, column)));
        assert_eq!(panel, expected.flat_map(f32::to_le_bytes).collect::<Vec<u8>>());
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (_, good) = tensor(Encoding::Q8_0, &[0; 2 * 3 * 34], (2, 32, 3));
        assert!(check(&good, Encoding::Q8_0, 32, 3).is_ok());
        for (run, columns, change) in [
            (0, 3, (|_| ()) as fn(&mut Tensor)),
            (31, 3, |_| ()),
            (16, 3, |_| ()),
            (32, 4, |_| ()),
            (32, 3, |tensor| tensor.len_bytes -= 1),
            (32, 3, |tensor| tensor.shape = vec![64]),
            (32, 3, |tensor| tensor.source_rows = u64::MAX),
        ] {
            let mut tensor = good.clone();
            change(&mut tensor);
            assert_eq!(
                check(&tensor, Encoding::Q8_0, run, columns).map_err(|error| error.kind()),
                Err(ErrorKind::Malformed)
            );
        }
        let (_, mut large) = tensor(Encoding::F32, &[], (1, 4096, 4096));
        large.len_bytes = 4096 * 4096 * 4;
        assert!(check(&large, Encoding::F32, 4096, 4096).is_err());
    }
}
