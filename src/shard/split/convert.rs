//! Rows of a checkpoint -> rows of a model.

use std::ops::Range;

use crate::checkpoint::{Source, Tensor};
use crate::encoding::plain::{copy_row, value_len, widen};
use crate::encoding::quantize::{quantize_row_q4, quantize_row_q8};
use crate::encoding::{Encoding, decode_row, gguf};
use crate::platform::BoxFuture;
use crate::shard::layout::TensorSpec;
use crate::shard::write::Rows;
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

/// Bytes that go through at once, of the source or of the model, whichever is more.
const CHUNK_BYTES: u64 = 4 << 20;
/// Largest head whose interleaved rows are read at once; rows of larger ones are read one by one.
const MAX_HEAD_BYTES: u64 = 16 << 20;

/// How one tensor is read and converted.
pub(super) struct TensorPlan {
    tensor: Tensor,
    target: Encoding,
    /// Values of a source row.
    columns: u64,
    source_row_bytes: u64,
    row_bytes: u64,
}

impl TensorPlan {
    /// Plans a tensor, whose shape is that of `spec`.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where its bytes are not those of its shape.
    pub(super) fn new(tensor: &Tensor, spec: &TensorSpec) -> Result<Self> {
        let columns = match (&spec.shape[..], tensor.inverse_lengths) {
            ([_, columns], None) => *columns,
            (_, Some(columns)) => columns,
            // A vector is one row, of which a part may be wanted.
            _ => tensor.source_rows,
        };
        let source_row_bytes = match tensor.source {
            Source::Plain(encoding) => columns.saturating_mul(value_len(encoding)?),
            Source::GgufBlocks(encoding) => gguf::row_len(encoding, columns)?,
        };
        let is_row = spec.shape.len() == 1 && tensor.inverse_lengths.is_none();
        let source_rows = if is_row { 1 } else { tensor.source_rows };
        if source_rows.checked_mul(source_row_bytes) != Some(tensor.len_bytes) {
            let message = format!("{} bytes are not those of shape {:?}", tensor.len_bytes, tensor.shape);
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        let rows = tensor.shape[0];
        if !tensor.rows.fits(rows) || tensor.rows.end(rows) > tensor.source_rows {
            let message = format!("{} rows do not hold the {rows} that are wanted", tensor.source_rows);
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        let tensor = tensor.clone();
        Ok(Self { tensor, target: spec.encoding, columns, source_row_bytes, row_bytes: spec.row_bytes()? })
    }

    fn is_vector(&self) -> bool {
        self.tensor.shape.len() == 1
    }

    /// Rows of a head that is put in halves.
    fn head_rows(&self) -> Option<u64> {
        self.tensor.rows.rotary.map(|rotary| rotary.head)
    }

    /// The next positioned read for some rows: where the rows end that it serves, and which source rows it reads.
    fn next_read(&self, rows: Range<u64>) -> (u64, Range<u64>) {
        if self.is_vector() {
            return (rows.end, 0..1);
        }
        let map = &self.tensor.rows;
        let run_end = (rows.start / map.run).saturating_add(1).saturating_mul(map.run);
        match self.head_rows() {
            None => {
                let end = rows.end.min(run_end);
                (end, map.start_of(rows.start)..map.start_of(end - 1) + 1)
            }
            Some(head) if head.saturating_mul(self.source_row_bytes) <= MAX_HEAD_BYTES => {
                let first = rows.start / head * head;
                (rows.end.min(first + head), map.start_of(first)..map.start_of(first) + head)
            }
            Some(_) => {
                let source = map.source(rows.start);
                (rows.start + 1, source..source + 1)
            }
        }
    }

    /// The bytes of the file from a row to the end of the tensor, where they are read in order and without gaps.
    fn run_from(&self, row: u64) -> Option<Range<u64>> {
        let map = &self.tensor.rows;
        let whole = |head: u64| head.saturating_mul(self.source_row_bytes) <= MAX_HEAD_BYTES;
        if self.is_vector() || map.run != u64::MAX || !self.head_rows().is_none_or(whole) {
            return None;
        }
        let first = self.head_rows().map_or(row, |head| row / head * head);
        let at = |row: u64| self.tensor.offset_bytes + row * self.source_row_bytes;
        Some(at(map.start_of(first))..at(map.end(self.tensor.shape[0])))
    }

    /// Index in the checkpoint's files.
    pub(super) fn file(&self) -> usize {
        self.tensor.file
    }
}

/// The rows of a checkpoint, read by position and converted.
pub(super) struct CheckpointRows<'a> {
    source: &'a dyn Store,
    files: &'a [(String, u64)],
    plans: Vec<TensorPlan>,
    raw: Vec<u8>,
    floats: Vec<f32>,
}

impl<'a> CheckpointRows<'a> {
    pub(super) fn new(source: &'a dyn Store, files: &'a [(String, u64)], plans: Vec<TensorPlan>) -> Self {
        Self { source, files, plans, raw: Vec::new(), floats: Vec::new() }
    }

    async fn convert(&mut self, tensor: usize, rows: Range<u64>, out: &mut Vec<u8>) -> Result<()> {
        if self.plans[tensor].tensor.inverse_lengths.is_some() {
            return self.inverse_lengths(tensor, out).await;
        }
        let plan = &self.plans[tensor];
        let (file, _) = self.files.get(plan.file()).ok_or_else(|| malformed("lies in no file"))?;
        let (stride, source_stride) = (plan.row_bytes as usize, plan.source_row_bytes as usize);
        if let Some(run) = plan.run_from(rows.start) {
            self.source.announce(file, run);
        }
        let mut row = rows.start;
        while row < rows.end {
            let (end, source_rows) = plan.next_read(row..rows.end);
            self.raw.resize((source_rows.end - source_rows.start) as usize * source_stride, 0);
            let offset = plan.tensor.offset_bytes + source_rows.start * plan.source_row_bytes;
            self.source.read_at(file, offset, &mut self.raw).await?;
            let filled = out.len();
            out.resize(filled + (end - row) as usize * stride, 0);
            for (row, out) in (row..end).zip(out[filled..].chunks_exact_mut(stride)) {
                let source = if plan.is_vector() { 0 } else { plan.tensor.rows.source(row) };
                let at = (source - source_rows.start) as usize * source_stride;
                convert_row(plan, &self.raw[at..at + source_stride], &mut self.floats, out)?;
            }
            row = end;
        }
        Ok(())
    }
}

impl CheckpointRows<'_> {
    /// One over the length of each row of a matrix, the matrix read in chunks.
    async fn inverse_lengths(&mut self, tensor: usize, out: &mut Vec<u8>) -> Result<()> {
        let plan = &self.plans[tensor];
        let (file, _) = self.files.get(plan.file()).ok_or_else(|| malformed("lies in no file"))?;
        let at_once = (CHUNK_BYTES / plan.source_row_bytes.max(1)).max(1);
        let mut row = 0;
        while row < plan.tensor.source_rows {
            let count = at_once.min(plan.tensor.source_rows - row);
            self.raw.resize((count * plan.source_row_bytes) as usize, 0);
            let offset = plan.tensor.offset_bytes + row * plan.source_row_bytes;
            self.source.read_at(file, offset, &mut self.raw).await?;
            for raw in self.raw.chunks_exact(plan.source_row_bytes as usize) {
                to_floats(plan.tensor.source, raw, plan.columns, &mut self.floats)?;
                let squares: f64 = self.floats.iter().map(|value| f64::from(*value).powi(2)).sum();
                out.extend(((1.0 / squares.sqrt().max(1e-12)) as f32).to_le_bytes());
            }
            row += count;
        }
        Ok(())
    }
}

impl Rows for CheckpointRows<'_> {
    fn rows_at_once(&self, tensor: usize) -> u64 {
        let plan = &self.plans[tensor];
        let rows = (CHUNK_BYTES / plan.row_bytes.max(plan.source_row_bytes)).max(1);
        // Whole heads, so that none is read twice.
        match plan.head_rows() {
            Some(head) if head <= rows => rows / head * head,
            _ => rows,
        }
    }

    fn rows<'a>(&'a mut self, tensor: usize, rows: Range<u64>, out: &'a mut Vec<u8>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let plan = &self.plans[tensor];
            let name = plan.tensor.name.clone();
            let file = self.files.get(plan.file()).map_or_else(String::new, |(file, _)| self.source.describe(file));
            self.convert(tensor, rows, out).await.map_err(|error| error.tensor(name).file(file))
        })
    }
}

/// Converts one row; `out` is as long as the model's row.
fn convert_row(plan: &TensorPlan, raw: &[u8], floats: &mut Vec<f32>, out: &mut [u8]) -> Result<()> {
    match (plan.tensor.source, plan.target) {
        (Source::Plain(source), target) if source == target && !plan.is_vector() => {
            copy_row(target, raw, plan.columns, out)
        }
        (Source::GgufBlocks(source), target) if source == target => gguf::repack_row(target, raw, plan.columns, out),
        (source, target) => {
            to_floats(source, raw, plan.columns, floats)?;
            match target {
                Encoding::Q8_0 => quantize_row_q8(floats, out),
                Encoding::Q4_1 => quantize_row_q4(floats, out),
                Encoding::F32 => {
                    let wanted = (0..plan.tensor.shape[0]).map(|i| floats[plan.tensor.rows.source(i) as usize]);
                    for (value, out) in wanted.zip(out.as_chunks_mut().0) {
                        *out = (value + plan.tensor.plus).to_le_bytes();
                    }
                    Ok(())
                }
                _ => Err(malformed("has no conversion")),
            }
        }
    }
}

fn to_floats(source: Source, raw: &[u8], columns: u64, floats: &mut Vec<f32>) -> Result<()> {
    floats.resize(columns as usize, 0.0);
    match source {
        Source::Plain(encoding) => widen(encoding, raw, floats),
        Source::GgufBlocks(encoding) => {
            let mut row = vec![0; encoding.row_stride(columns) as usize];
            gguf::repack_row(encoding, raw, columns, &mut row)?;
            decode_row(encoding, &row, columns, floats)
        }
    }
}

fn malformed(message: &str) -> Error {
    Error::new(ErrorKind::Malformed, message)
}
