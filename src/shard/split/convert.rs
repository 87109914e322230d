//! Rows of a checkpoint -> rows of a model.

use std::collections::BTreeMap;
use std::ops::Range;

use super::quantized::{self, Reader};
use super::{transpose, turned};
use crate::checkpoint::quantized::check;
use crate::checkpoint::{Companion, Quantized, Source, Tensor};
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
    /// Bytes of a row of each plane that is a companion.
    plane_bytes: Vec<u64>,
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
            Source::Plain(encoding) | Source::NegatedExp(encoding) => columns.saturating_mul(value_len(encoding)?),
            Source::GgufBlocks(encoding) => gguf::row_len(encoding, columns)?,
            Source::Planes(encoding) => encoding.plane_bytes(columns, 0),
            Source::Turned { encoding, rows } => {
                turned::check(tensor, encoding, rows, columns)?;
                columns * value_len(turned::row_encoding(encoding))?
            }
            Source::Quantized(_) => return Self::quantized(tensor, spec),
        };
        let is_row = spec.shape.len() == 1 && tensor.inverse_lengths.is_none();
        let source_rows = if is_row { 1 } else { tensor.source_rows };
        // A vector goes on in its companions.
        let more = tensor.companions.iter().filter(|_| is_row).map(|companion| companion.len_bytes);
        let len_bytes = more.fold(tensor.len_bytes, u64::saturating_add);
        let is_turned = matches!(tensor.source, Source::Turned { .. });
        if source_rows.checked_mul(source_row_bytes) != Some(len_bytes) && !is_turned {
            let message = format!("{len_bytes} bytes are not those of shape {:?}", tensor.shape);
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        if tensor.transposed
            && (is_row || tensor.inverse_lengths.is_some() || !matches!(tensor.source, Source::Plain(_)))
        {
            return Err(malformed("is transposed, and no matrix of plain values"));
        }
        let plane_bytes = if is_row { Vec::new() } else { plane_bytes(tensor, columns)? };
        check_rows(tensor, tensor.shape[0])?;
        let tensor = tensor.clone();
        let (target, row_bytes) = (spec.encoding, spec.row_bytes()?);
        Ok(Self { tensor, target, columns, source_row_bytes, row_bytes, plane_bytes })
    }

    /// How rows lie in memory once they are read.
    fn row_source(&self) -> Source {
        match self.tensor.source {
            Source::Turned { encoding, .. } => Source::Plain(turned::row_encoding(encoding)),
            source => source,
        }
    }

    /// Plans a matrix or a vector that another tool quantized.
    fn quantized(tensor: &Tensor, spec: &TensorSpec) -> Result<Self> {
        let (rows, columns) = match (&spec.shape[..], tensor.inverse_lengths, tensor.plus, tensor.transposed) {
            (&[rows, columns], None, 0.0, false) => (rows, columns),
            (&[rows], None, _, false) => (rows, tensor.source_rows),
            _ => {
                let message = "is quantized where the model needs plain values";
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        };
        check(tensor, columns)?;
        check_rows(tensor, rows)?;
        let (tensor, target, row_bytes) = (tensor.clone(), spec.encoding, spec.row_bytes()?);
        let held_bytes = quantized::held_bytes(&tensor, columns);
        Ok(Self { tensor, target, columns, source_row_bytes: held_bytes, row_bytes, plane_bytes: Vec::new() })
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
            None if self.reads_gaps() => {
                let end = map.start_of(rows.end).min(self.tensor.source_rows);
                (rows.end, map.start_of(rows.start)..end)
            }
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

    /// Whether what lies between runs of rows is read with them: as much again costs less than a read for each run.
    fn reads_gaps(&self) -> bool {
        let map = &self.tensor.rows;
        map.run != u64::MAX && map.stride / 2 <= map.run && self.head_rows().is_none()
    }

    /// The bytes of the file from a row to the end of the tensor, where they are read in order and without gaps.
    fn run_from(&self, row: u64) -> Option<Range<u64>> {
        let map = &self.tensor.rows;
        let whole = |head: u64| head.saturating_mul(self.source_row_bytes) <= MAX_HEAD_BYTES;
        let in_runs = map.run != u64::MAX && !self.reads_gaps();
        if self.is_vector() || in_runs || !self.plane_bytes.is_empty() || !self.head_rows().is_none_or(whole) {
            return None;
        }
        let first = self.head_rows().map_or(row, |head| row / head * head);
        let at = |row: u64| self.tensor.offset_bytes + row * self.source_row_bytes;
        let rows = self.tensor.shape[0];
        let end = if self.reads_gaps() { map.start_of(rows).min(self.tensor.source_rows) } else { map.end(rows) };
        Some(at(map.start_of(first))..at(end))
    }

    /// Whether something of the tensor lies in a file of the checkpoint.
    pub(super) fn reads(&self, file: usize) -> bool {
        self.tensor.runs().any(|(index, ..)| index == file)
    }
}

/// Checks that the tensor's map finds so many rows in its source.
fn check_rows(tensor: &Tensor, rows: u64) -> Result<()> {
    if tensor.rows.fits(rows) && tensor.rows.end(rows) <= tensor.source_rows {
        return Ok(());
    }
    let message = format!("{} rows do not hold the {rows} that are wanted", tensor.source_rows);
    Err(Error::new(ErrorKind::Malformed, message))
}

/// Bytes of a row of each companion, where these are planes of the rows.
fn plane_bytes(tensor: &Tensor, columns: u64) -> Result<Vec<u64>> {
    let (encoding, first) = match tensor.source {
        Source::Planes(encoding) => (encoding, 1),
        // Of blocks only the scale of a row lies apart.
        Source::GgufBlocks(Encoding::NVFP4) if !tensor.companions.is_empty() => (Encoding::NVFP4, 2),
        _ if tensor.companions.is_empty() => return Ok(Vec::new()),
        _ => return Err(malformed("has companions that it does not need")),
    };
    let planes = encoding.descriptor().planes.len();
    if tensor.companions.len() + first != planes {
        return Err(malformed("does not have each plane of its encoding"));
    }
    let bytes = |(index, companion): (usize, &Companion)| {
        let row_bytes = encoding.plane_bytes(columns, index);
        let rows = tensor.source_rows.checked_next_multiple_of(companion.rows_each);
        let rows = rows.and_then(|rows| rows.checked_div(companion.rows_each));
        if rows.and_then(|rows| rows.checked_mul(row_bytes)) != Some(companion.len_bytes) {
            let message = format!("{} bytes are not those of {} rows", companion.len_bytes, tensor.source_rows);
            return Err(Error::new(ErrorKind::Malformed, format!("'{}': {message}", companion.source_name)));
        }
        Ok(row_bytes)
    };
    (first..planes).zip(&tensor.companions).map(bytes).collect()
}

/// The rows of a checkpoint, read by position and converted.
pub(super) struct CheckpointRows<'a> {
    source: &'a dyn Store,
    files: &'a [(String, u64)],
    plans: Vec<TensorPlan>,
    /// What the store knows each file by.
    stamps: BTreeMap<String, String>,
    raw: Vec<u8>,
    /// Rows of each companion.
    planes: Vec<Vec<u8>>,
    floats: Vec<f32>,
}

impl<'a> CheckpointRows<'a> {
    pub(super) fn new(
        source: &'a dyn Store,
        files: &'a [(String, u64)],
        plans: Vec<TensorPlan>,
        stamps: BTreeMap<String, String>,
    ) -> Self {
        Self { source, files, plans, stamps, raw: Vec::new(), planes: Vec::new(), floats: Vec::new() }
    }

    async fn convert(&mut self, tensor: usize, rows: Range<u64>, out: &mut Vec<u8>) -> Result<()> {
        let plan = &self.plans[tensor];
        if plan.tensor.inverse_lengths.is_some() {
            return self.inverse_lengths(tensor, out).await;
        }
        if let Source::Quantized(_) = plan.tensor.source {
            let reader = Reader { store: self.source, files: self.files };
            if plan.is_vector() {
                quantized::read_vector(reader, &plan.tensor, &mut self.floats).await?;
                let filled = out.len();
                out.resize(filled + plan.row_bytes as usize, 0);
                put_vector(plan, &self.floats, &mut out[filled..]);
                return Ok(());
            }
            return quantized::append_rows(reader, &plan.tensor, (plan.columns, plan.target), rows, out).await;
        }
        let stride = plan.row_bytes as usize;
        let filled = out.len();
        let is_turned = matches!(plan.tensor.source, Source::Turned { .. });
        if plan.tensor.transposed || is_turned {
            let mut panel = std::mem::take(&mut self.raw);
            let file = file_name(self.files, plan.tensor.file)?;
            match is_turned {
                true => turned::read_rows(self.source, file, &plan.tensor, rows, &mut panel).await?,
                false => transpose::read_rows(self.source, file, &plan.tensor, rows, &mut panel).await?,
            }
            out.resize(filled + panel.len() / plan.source_row_bytes as usize * stride, 0);
            let raw = panel.chunks_exact(plan.source_row_bytes as usize);
            for (raw, out) in raw.zip(out[filled..].chunks_exact_mut(stride)) {
                convert_row(plan, raw, &[], &mut self.floats, out)?;
            }
            self.raw = panel;
            return Ok(());
        }
        if let Some(run) = plan.run_from(rows.start) {
            self.source.announce(file_name(self.files, plan.tensor.file)?, run);
        }
        let mut row = rows.start;
        while row < rows.end {
            let (end, source_rows) = self.plans[tensor].next_read(row..rows.end);
            self.read(tensor, source_rows.clone()).await?;
            let plan = &self.plans[tensor];
            let filled = out.len();
            out.resize(filled + (end - row) as usize * stride, 0);
            for (row, out) in (row..end).zip(out[filled..].chunks_exact_mut(stride)) {
                let source = if plan.is_vector() { 0 } else { plan.tensor.rows.source(row) };
                let raw = run_of(&self.raw, plan.source_row_bytes, source - source_rows.start);
                let planes = plan.plane_bytes.iter().zip(&plan.tensor.companions).zip(&self.planes);
                let planes: Vec<&[u8]> = planes
                    .map(|((bytes, companion), plane)| {
                        let first = source_rows.start / companion.rows_each;
                        run_of(plane, *bytes, source / companion.rows_each - first)
                    })
                    .collect();
                convert_row(plan, raw, &planes, &mut self.floats, out)?;
            }
            row = end;
        }
        Ok(())
    }

    /// Reads source rows, and what their companions have of them.
    async fn read(&mut self, tensor: usize, source_rows: Range<u64>) -> Result<()> {
        let plan = &self.plans[tensor];
        let Tensor { offset_bytes, len_bytes, companions, .. } = &plan.tensor;
        let file = file_name(self.files, plan.tensor.file)?;
        self.raw.resize(((source_rows.end - source_rows.start) * plan.source_row_bytes) as usize, 0);
        if plan.is_vector() {
            let (own, mut rest) = self.raw.split_at_mut(*len_bytes as usize);
            self.source.read_at(file, *offset_bytes, own).await?;
            for companion in companions {
                let (more, others) = rest.split_at_mut(companion.len_bytes as usize);
                self.source.read_at(file_name(self.files, companion.file)?, companion.offset_bytes, more).await?;
                rest = others;
            }
            return Ok(());
        }
        self.source.read_at(file, offset_bytes + source_rows.start * plan.source_row_bytes, &mut self.raw).await?;
        self.planes.resize(companions.len(), Vec::new());
        for ((companion, bytes), plane) in companions.iter().zip(&plan.plane_bytes).zip(&mut self.planes) {
            let first = source_rows.start / companion.rows_each;
            let end = source_rows.end.div_ceil(companion.rows_each);
            plane.resize(((end - first) * bytes) as usize, 0);
            let file = file_name(self.files, companion.file)?;
            self.source.read_at(file, companion.offset_bytes + first * bytes, plane).await?;
        }
        Ok(())
    }
}

/// Run `index` of runs of `len_bytes`.
fn run_of(bytes: &[u8], len_bytes: u64, index: u64) -> &[u8] {
    &bytes[(index * len_bytes) as usize..][..len_bytes as usize]
}

fn file_name(files: &[(String, u64)], file: usize) -> Result<&str> {
    files.get(file).map(|(name, _)| name.as_str()).ok_or_else(|| malformed("lies in no file"))
}

impl CheckpointRows<'_> {
    /// One over the length of each row of a matrix, the matrix read in chunks.
    async fn inverse_lengths(&mut self, tensor: usize, out: &mut Vec<u8>) -> Result<()> {
        let plan = &self.plans[tensor];
        let file = file_name(self.files, plan.tensor.file)?;
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
        let row_bytes = plan.row_bytes.max(plan.source_row_bytes);
        let by_columns = matches!(plan.tensor.source, Source::Quantized(Quantized::Words { .. }));
        if plan.tensor.transposed || by_columns {
            return transpose::rows_at_once(row_bytes);
        }
        let rows = (CHUNK_BYTES / row_bytes).max(1);
        let turned = match plan.tensor.source {
            Source::Turned { rows, .. } => Some(rows),
            _ => None,
        };
        // Whole heads, so that none is read twice.
        match turned.or(plan.head_rows()) {
            Some(head) if head <= rows => rows / head * head,
            _ => rows,
        }
    }

    fn rows<'a>(&'a mut self, tensor: usize, rows: Range<u64>, out: &'a mut Vec<u8>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let plan = &self.plans[tensor];
            let name = plan.tensor.name.clone();
            let file = self.files.get(plan.tensor.file);
            let file = file.map_or_else(String::new, |(file, _)| self.source.describe(file));
            self.convert(tensor, rows, out).await.map_err(|error| error.tensor(name).file(file))
        })
    }

    fn check_source(&self) -> Result<()> {
        // One that is gone was deleted by this split, or its next read fails.
        let is_other = |(name, stamp): &(&String, &String)| self.source.stamp(name).is_some_and(|now| now != **stamp);
        match self.stamps.iter().find(is_other) {
            None => Ok(()),
            Some((name, _)) => {
                let message = "was written to or replaced while it was split: the model would be mixed";
                let error = Error::new(ErrorKind::Malformed, message).file(self.source.describe(name));
                Err(error.remedy("split again when nobody writes to the checkpoint"))
            }
        }
    }
}

/// Converts one row, with its `planes` where they lie apart; `out` is as long as the model's row.
fn convert_row(plan: &TensorPlan, raw: &[u8], planes: &[&[u8]], floats: &mut Vec<f32>, out: &mut [u8]) -> Result<()> {
    match (plan.row_source(), plan.target) {
        (Source::Plain(source), target) if source == target && !plan.is_vector() => {
            copy_row(target, raw, plan.columns, out)
        }
        (Source::GgufBlocks(source), target) if source == target => {
            gguf::repack_row(target, raw, plan.columns, out)?;
            planes.iter().try_for_each(|scale| gguf::put_row_scale(target, scale, plan.columns, out))
        }
        (Source::Planes(source), target) if source == target => {
            join_planes(target, [&[raw], planes].concat(), plan.columns, out);
            Ok(())
        }
        (source, target) => {
            to_floats(source, raw, plan.columns, floats)?;
            match target {
                Encoding::Q8_0 => quantize_row_q8(floats, out),
                Encoding::Q4_1 => quantize_row_q4(floats, out),
                Encoding::F32 => {
                    put_vector(plan, floats, out);
                    Ok(())
                }
                _ => Err(malformed("has no conversion")),
            }
        }
    }
}

/// Stores what is wanted of a vector.
fn put_vector(plan: &TensorPlan, floats: &[f32], out: &mut [u8]) {
    let wanted = (0..plan.tensor.shape[0]).map(|i| floats[plan.tensor.rows.source(i) as usize]);
    for (value, out) in wanted.zip(out.as_chunks_mut().0) {
        *out = (value + plan.tensor.plus).to_le_bytes();
    }
}

pub(super) fn to_floats(source: Source, raw: &[u8], columns: u64, floats: &mut Vec<f32>) -> Result<()> {
    floats.resize(columns as usize, 0.0);
    match source {
        Source::Plain(encoding) => widen(encoding, raw, floats),
        Source::NegatedExp(encoding) => {
            widen(encoding, raw, floats)?;
            floats.iter_mut().try_for_each(negated_log)
        }
        Source::GgufBlocks(encoding) => {
            let mut row = vec![0; encoding.row_stride(columns) as usize];
            gguf::repack_row(encoding, raw, columns, &mut row)?;
            decode_row(encoding, &row, columns, floats)
        }
        Source::Planes(_) | Source::Turned { .. } | Source::Quantized(_) => Err(malformed("has no conversion")),
    }
}

/// What the value is the negated exponential of, in its place.
fn negated_log(value: &mut f32) -> Result<()> {
    if *value < 0.0 && value.is_finite() {
        *value = (-f64::from(*value)).ln() as f32;
        return Ok(());
    }
    Err(malformed(&format!("holds {value}, which is not the negated exponential of a number")))
}

/// A row of planes that lay apart.
fn join_planes(encoding: Encoding, planes: Vec<&[u8]>, columns: u64, out: &mut [u8]) {
    out.fill(0);
    for (index, plane) in planes.into_iter().enumerate() {
        out[encoding.plane_offset(columns, index) as usize..][..plane.len()].copy_from_slice(plane);
    }
}

pub(super) fn malformed(message: &str) -> Error {
    Error::new(ErrorKind::Malformed, message)
}
