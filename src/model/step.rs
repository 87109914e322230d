//! What a sweep needs besides weights: positions, angles, page tables, embeddings. They travel in one staging buffer.

use std::sync::Arc;

use futures::channel::oneshot;
use futures::future::try_join_all;

use super::budget::{StepSizes, padded};
use super::kv::SequencePages;
use crate::encoding;
use crate::gpu::device::Mapping;
use crate::gpu::recorder::Recorder;
use crate::gpu::{CountedBuffer, Gpu};
use crate::plan::{self, ModelSpec};
use crate::platform::Spawner;
use crate::shard::Model;
use crate::store::Window;
use crate::{Error, ErrorKind, Result};

/// Embedding rows that are read at the same time: as many as a host takes requests.
const GATHERED_AT_ONCE: usize = 6;

/// One row of a sweep: a token at a position of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Index among the sequences of the sweep.
    pub sequence: usize,
    pub position: u32,
    pub token: u32,
}

/// What a sweep works on.
#[derive(Clone, Copy, Debug)]
pub struct StepInput<'a> {
    pub rows: &'a [Row],
    /// Where each sequence has its keys, values and states.
    pub sequences: &'a [&'a SequencePages],
    /// Indices of the rows whose logits are wanted.
    pub heads: &'a [u32],
}

/// The buffers, and the staging through which they are filled.
pub struct Step {
    pub angles: CountedBuffer,
    /// `[rows]` of (position, start in `pages`, slot of recurrent states, how many rows of the sequence begin here: 0 where
    /// it began before).
    pub meta: CountedBuffer,
    /// Page numbers of every sequence of the sweep, one sequence after the other.
    pub pages: CountedBuffer,
    /// Rows whose logits are wanted.
    pub indices: CountedBuffer,
    staging: CountedBuffer,
    mapping: Option<Mapping>,
    bytes: Vec<u8>,
    sizes: StepSizes,
    /// Where embeddings are read at the same time; local ones are read one after the other, which takes microseconds.
    readers: Option<Spawner>,
}

impl Step {
    /// Buffers for sweeps of so many rows.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] or [`ErrorKind::GpuMemory`] where they do not fit.
    pub async fn new(gpu: &Gpu, sizes: StepSizes) -> Result<Self> {
        use wgpu::BufferUsages as Usage;
        let usage = Usage::STORAGE | Usage::COPY_DST;
        Ok(Self {
            angles: gpu.buffer("angles", sizes.angles, usage).await?,
            meta: gpu.buffer("row meta", sizes.meta, usage).await?,
            pages: gpu.buffer("page table", sizes.pages, usage).await?,
            indices: gpu.buffer("row indices", sizes.indices, usage).await?,
            staging: gpu.mapped_buffer("step staging", sizes.total(), Usage::MAP_WRITE | Usage::COPY_SRC).await?,
            mapping: None,
            bytes: Vec::new(),
            sizes,
            readers: None,
        })
    }

    /// Reads embeddings that lie elsewhere by several requests at the same time.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the host starts no threads.
    pub fn read_in_parallel(mut self) -> Result<Self> {
        let readers = Spawner::new("embedding-reader", GATHERED_AT_ONCE);
        self.readers = Some(readers.map_err(|error| Error::io(error, "reader threads"))?);
        Ok(self)
    }

    /// Fills the buffers and `residual`, and records the copies.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a token that is not in the vocabulary; those of reading embeddings.
    pub async fn upload(
        &mut self,
        recorder: &mut Recorder,
        spec: &ModelSpec,
        model: &Arc<Model>,
        residual: &CountedBuffer,
        input: StepInput<'_>,
    ) -> Result<()> {
        let rows = input.rows;
        self.bytes.clear();
        self.bytes.resize(self.sizes.total() as usize, 0);
        self.write_tables(spec, input);
        let embeddings = (self.sizes.total() - self.sizes.embeddings) as usize;
        self.gather(spec, model, rows, embeddings).await?;
        if let Some(mapping) = self.mapping.take() {
            mapping.ready().await?;
        }
        match self.staging.get_mapped_range_mut(..) {
            Ok(mut view) => view.slice(..self.bytes.len()).copy_from_slice(&self.bytes),
            Err(error) => return Err(Error::new(ErrorKind::Internal, "the step's staging is not mapped").source(error)),
        }
        self.staging.unmap();
        let targets = [
            (&self.angles, self.sizes.angles),
            (&self.meta, self.sizes.meta),
            (&self.pages, self.sizes.pages),
            (&self.indices, self.sizes.indices),
            (residual, rows.len() as u64 * padded(spec.hidden) * 4),
        ];
        let mut offset = 0;
        for (target, len) in targets {
            recorder.copy(&self.staging, offset, target, 0, len);
            offset += len;
        }
        Ok(())
    }

    fn write_tables(&mut self, spec: &ModelSpec, StepInput { rows, sequences, heads }: StepInput<'_>) {
        let mut starts = Vec::with_capacity(sequences.len());
        let mut pages = Vec::new();
        for sequence in sequences {
            starts.push(pages.len() as u32);
            pages.extend_from_slice(&sequence.pages);
        }
        let of_row = |row: &Row| {
            let text_len = sequences[row.sequence].text_len;
            spec.ropes.iter().flat_map(move |rope| rope.angles(row.position, text_len)).collect::<Vec<_>>()
        };
        let angles: Vec<f32> = rows.iter().flat_map(of_row).collect();
        let mut meta: Vec<[u32; 4]> = Vec::with_capacity(rows.len());
        for run in rows.chunk_by(|a, b| a.sequence == b.sequence) {
            let (start, slot) = (starts[run[0].sequence], sequences[run[0].sequence].slot.unwrap_or(0));
            let count = |index| if index == 0 { run.len() as u32 } else { 0 };
            meta.extend(run.iter().enumerate().map(|(index, row)| [row.position, start, slot, count(index)]));
        }
        let sizes = [self.sizes.angles, self.sizes.meta, self.sizes.pages, self.sizes.indices];
        let parts: [&[u8]; 4] = [
            bytemuck::cast_slice(&angles),
            bytemuck::cast_slice(&meta),
            bytemuck::cast_slice(&pages),
            bytemuck::cast_slice(heads),
        ];
        let mut offset = 0;
        for (part, size) in parts.into_iter().zip(sizes) {
            self.bytes[offset..offset + part.len()].copy_from_slice(part);
            offset += size as usize;
        }
    }

    /// Reads and decodes the embedding of each row's token; the matrix is never loaded whole.
    async fn gather(&mut self, spec: &ModelSpec, model: &Arc<Model>, rows: &[Row], offset: usize) -> Result<()> {
        let tensor = model.tensor(plan::EMBEDDINGS)?;
        let (encoding, columns) = (tensor.encoding()?, u64::from(spec.hidden));
        if let Some(row) = rows.iter().find(|row| row.token >= spec.vocab) {
            let message = format!("token {} is not in the vocabulary of {}", row.token, spec.vocab);
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let row_bytes = encoding.row_stride(columns) as usize;
        let mut values = vec![0.0_f32; columns as usize];
        let stride = padded(spec.hidden) as usize * 4;
        // Several at a time: each may be a request to a server.
        for (chunk, rows) in rows.chunks(GATHERED_AT_ONCE).enumerate() {
            let read = |row: &Row| embedding(Arc::clone(model), self.readers.as_ref(), row.token, row_bytes);
            for (index, packed) in try_join_all(rows.iter().map(read)).await?.into_iter().enumerate() {
                encoding::decode_row(encoding, &packed, columns, &mut values)?;
                if spec.embedding_scale != 1.0 {
                    values.iter_mut().for_each(|value| *value *= spec.embedding_scale);
                }
                let start = offset + (chunk * GATHERED_AT_ONCE + index) * stride;
                self.bytes[start..start + values.len() * 4].copy_from_slice(bytemuck::cast_slice(&values));
            }
        }
        Ok(())
    }

    /// The copies recorded by [`Step::upload`] were submitted as `after`.
    pub fn submitted(&mut self, gpu: &Gpu, after: wgpu::SubmissionIndex) {
        self.mapping = Some(gpu.map(&self.staging, wgpu::MapMode::Write, after));
    }
}

/// The embedding of a token as it is stored, read by `readers` where there are any.
async fn embedding(model: Arc<Model>, readers: Option<&Spawner>, token: u32, row_bytes: usize) -> Result<Vec<u8>> {
    let read = async move {
        let (token, mut packed) = (u64::from(token), vec![0; row_bytes]);
        let window = &mut Window::from_slice(&mut packed);
        model.read_rows(plan::EMBEDDINGS, token..token + 1, window).await.map(|()| packed)
    };
    let Some(readers) = readers else { return read.await };
    let (sender, receiver) = oneshot::channel();
    readers.spawn(async move {
        // Whoever asked may have given up meanwhile.
        let _ = sender.send(read.await);
    });
    receiver.await.map_err(|_| Error::new(ErrorKind::Io, "a reader thread died"))?
}
