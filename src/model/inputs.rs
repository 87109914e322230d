//! What a sweep needs besides weights: positions, angles, page tables, embeddings. They travel in one staging buffer.

use std::sync::Arc;

use futures::channel::oneshot;
use futures::future::try_join_all;

use super::kv::SequenceState;
use super::program::{BufferIndex, Program};
use crate::encoding;
use crate::gpu::device::Mapping;
use crate::gpu::kernels::PAGE_TOKENS;
use crate::gpu::recorder::Recorder;
use crate::gpu::{CountedBuffer, Gpu};
use crate::plan::{self, ModelSpec, PerLayerSpec};
use crate::platform::Spawner;
use crate::shard::Model;
use crate::store::Window;
use crate::{Error, ErrorKind, Result};

/// Embedding rows that are read at the same time: as many as a host takes requests.
const GATHERED_AT_ONCE: usize = 6;

/// What a row begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input<'a> {
    /// The embedding of a token.
    Token(u32),
    /// `[hidden]`: what stands in place of an embedding, such as a part of an image. It is taken as it is.
    Embedding(&'a [f32]),
}

/// What a sweep gives back for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Nothing,
    /// The id of the largest logit.
    Best,
    /// All logits.
    Logits,
    /// The hidden state after the last norm, from which logits are made.
    Hidden,
}

/// One row of a sweep: an input at a position of a sequence, and what is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    /// Index among the sequences of the sweep.
    pub sequence: usize,
    pub position: u32,
    pub input: Input<'a>,
    pub output: Want,
}

impl Row<'_> {
    /// A token at a position.
    pub fn token(sequence: usize, position: u32, token: u32, output: Want) -> Self {
        Self { sequence, position, input: Input::Token(token), output }
    }
}

/// What a sweep works on.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Rows of a sequence stand together, in order of position.
    pub rows: &'a [Row<'a>],
    /// Where each sequence has its keys, values and states.
    pub sequences: &'a [&'a SequenceState],
}

impl Batch<'_> {
    /// Indices of the rows that give something back.
    pub fn outputs(&self) -> impl Iterator<Item = u32> {
        (0..).zip(self.rows).filter(|(_, row)| row.output != Want::Nothing).map(|(index, _)| index)
    }

    /// Each sequence that has rows, with their positions from the first to the last.
    pub fn spans(&self) -> impl Iterator<Item = (&SequenceState, std::ops::Range<u32>)> {
        self.rows.chunk_by(|a, b| a.sequence == b.sequence).map(|run| {
            let positions = run[0].position..run[run.len() - 1].position + 1;
            (self.sequences[run[0].sequence], positions)
        })
    }
}

/// A matrix that rows are gathered from by tokens.
#[derive(Clone, Copy)]
struct Table {
    name: &'static str,
    /// Tokens from this one on have the first row.
    rows: u32,
    columns: u32,
    /// Rows are multiplied with this.
    scale: f32,
}

/// The staging through which a sweep's inputs go to their buffers.
pub struct Inputs {
    mapping: Option<Mapping>,
    bytes: Vec<u8>,
    /// Where embeddings are read at the same time; local ones are read one after the other, which takes microseconds.
    readers: Option<Spawner>,
}

impl Inputs {
    /// For a model whose embeddings lie here, or (`remote`) elsewhere: those are read by several requests at the same time.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the host starts no threads.
    pub fn new(remote: bool) -> Result<Self> {
        let readers = remote.then(|| Spawner::new("embedding-reader", GATHERED_AT_ONCE)).transpose();
        let readers = readers.map_err(|error| Error::io(error, "reader threads"))?;
        Ok(Self { mapping: None, bytes: Vec::new(), readers })
    }

    /// Fills the buffers, the residual among them, and records the copies.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a token that is not in the vocabulary, or an embedding of another length; those of reading
    /// embeddings.
    pub async fn upload(
        &mut self,
        (program, buffers): (&Program, &[CountedBuffer]),
        recorder: &mut Recorder,
        spec: &ModelSpec,
        model: &Arc<Model>,
        batch: Batch<'_>,
    ) -> Result<()> {
        let common = &program.common;
        let buffer = |index: BufferIndex| &buffers[usize::from(index.0)];
        let mut copies: Vec<(usize, usize, BufferIndex)> = Vec::new();
        self.bytes.clear();
        let mut add = |bytes: &mut Vec<u8>, part: &[u8], to| {
            copies.push((bytes.len(), part.len().next_multiple_of(4), to));
            bytes.extend_from_slice(part);
            bytes.resize(bytes.len().next_multiple_of(16), 0);
        };
        add(&mut self.bytes, bytemuck::cast_slice(&angles(spec, batch)), common.angles);
        add(&mut self.bytes, bytemuck::cast_slice(&batch.outputs().collect::<Vec<_>>()), common.indices);
        for (group, meta) in common.meta.iter().enumerate() {
            let (rows, pages) = tables(program, group, batch);
            add(&mut self.bytes, bytemuck::cast_slice(&rows), *meta);
            let Some(table) = common.page_tables.get(group) else { continue };
            if pages.len() as u64 * 4 > buffer(*table).size() {
                return Err(Error::new(ErrorKind::Argument, format!("a sweep over {} pages of KV cache", pages.len())));
            }
            add(&mut self.bytes, bytemuck::cast_slice(&pages), *table);
        }
        let (from, len) = (self.bytes.len(), batch.rows.len() * program.residual_stride() as usize * 4);
        copies.push((from, len, common.residual));
        self.bytes.resize(from + len, 0);
        let table =
            Table { name: plan::EMBEDDINGS, rows: spec.vocab, columns: spec.hidden, scale: spec.embedding_scale };
        let tokens = self.put_embeddings(spec, batch.rows, (from, program.residual_stride() as usize * 4))?;
        self.gather(model, table, &tokens, (from, program.residual_stride() as usize * 4)).await?;
        if let Some(PerLayerSpec { rows, width, target, scale }) = spec.per_layer {
            if tokens.len() < batch.rows.len() {
                let message = "each layer has an embedding of each token, so this model takes tokens alone";
                return Err(Error::new(ErrorKind::Argument, message));
            }
            let target = BufferIndex(target.0);
            let (from, stride) = (self.bytes.len(), program.buffer(target).row_bytes as usize);
            copies.push((from, batch.rows.len() * stride, target));
            self.bytes.resize(from + batch.rows.len() * stride, 0);
            let table = Table { name: plan::PER_LAYER_EMBEDDINGS, rows, columns: width, scale };
            self.gather(model, table, &tokens, (from, stride)).await?;
        }
        if let Some(mapping) = self.mapping.take() {
            mapping.ready().await?;
        }
        let staging = buffer(common.staging);
        match staging.get_mapped_range_mut(..) {
            Ok(mut view) => view.slice(..self.bytes.len()).copy_from_slice(&self.bytes),
            Err(error) => {
                return Err(Error::new(ErrorKind::Internal, "the sweep's staging is not mapped").source(error));
            }
        }
        staging.unmap();
        for (offset, len, to) in copies.into_iter().filter(|(_, len, _)| *len > 0) {
            recorder.copy(staging, offset as u64, buffer(to), 0, len as u64);
        }
        Ok(())
    }

    /// Puts the embeddings that are given to `offset` and each `stride` bytes after it, and tells the tokens of the other rows.
    fn put_embeddings(
        &mut self,
        spec: &ModelSpec,
        rows: &[Row<'_>],
        (offset, stride): (usize, usize),
    ) -> Result<Vec<(usize, u32)>> {
        let mut tokens = Vec::with_capacity(rows.len());
        for (index, row) in rows.iter().enumerate() {
            match row.input {
                Input::Token(token) if token < spec.vocab => tokens.push((index, token)),
                Input::Token(token) => {
                    let message = format!("token {token} is not in the vocabulary of {}", spec.vocab);
                    return Err(Error::new(ErrorKind::Argument, message));
                }
                Input::Embedding(values) if values.len() == spec.hidden as usize => {
                    self.put(offset + index * stride, values);
                }
                Input::Embedding(values) => {
                    let message = format!("an embedding of {} values; the model takes {}", values.len(), spec.hidden);
                    return Err(Error::new(ErrorKind::Argument, message));
                }
            }
        }
        Ok(tokens)
    }

    /// Reads and decodes the rows that `table` has of `tokens`, each the row of a sweep and a token, to `offset` and each
    /// `stride` bytes after it; the table is never loaded whole.
    async fn gather(
        &mut self,
        model: &Arc<Model>,
        table: Table,
        tokens: &[(usize, u32)],
        (offset, stride): (usize, usize),
    ) -> Result<()> {
        let (encoding, columns) = (model.tensor(table.name)?.encoding()?, u64::from(table.columns));
        let row_bytes = encoding.row_stride(columns) as usize;
        let mut values = vec![0.0_f32; columns as usize];
        // Several at a time: each may be a request to a server.
        for tokens in tokens.chunks(GATHERED_AT_ONCE) {
            let read = |(_, token): &(usize, u32)| {
                let token = if *token < table.rows { *token } else { 0 };
                embedding(Arc::clone(model), self.readers.as_ref(), (table.name, token), row_bytes)
            };
            let read = try_join_all(tokens.iter().map(read)).await?;
            for ((index, _), packed) in tokens.iter().zip(read) {
                encoding::decode_row(encoding, &packed, columns, &mut values)?;
                if table.scale != 1.0 {
                    values.iter_mut().for_each(|value| *value *= table.scale);
                }
                self.put(offset + index * stride, &values);
            }
        }
        Ok(())
    }

    fn put(&mut self, at: usize, values: &[f32]) {
        self.bytes[at..at + values.len() * 4].copy_from_slice(bytemuck::cast_slice(values));
    }

    /// The copies recorded by [`Inputs::upload`] were submitted as `after`.
    pub fn submitted(&mut self, gpu: &Gpu, staging: &CountedBuffer, after: wgpu::SubmissionIndex) {
        self.mapping = Some(gpu.map(staging, wgpu::MapMode::Write, after));
    }
}

/// The angles of each row, table after table.
fn angles(spec: &ModelSpec, batch: Batch<'_>) -> Vec<f32> {
    let of_row = |row: &Row<'_>| {
        let (position, text_len) = (row.position, batch.sequences[row.sequence].text_len);
        spec.ropes.iter().flat_map(move |rope| rope.angles(position, text_len)).collect::<Vec<_>>()
    };
    batch.rows.iter().flat_map(of_row).collect()
}

/// The rows' meta of a group of states, and its page table: of each sequence the pages that its rows see.
fn tables(program: &Program, group: usize, batch: Batch<'_>) -> (Vec<[u32; 4]>, Vec<u32>) {
    let keeps = program.states.groups.get(group).map(|group| group.keeps);
    let (mut meta, mut pages): (Vec<[u32; 4]>, Vec<u32>) = (Vec::with_capacity(batch.rows.len()), Vec::new());
    for run in batch.rows.chunk_by(|a, b| a.sequence == b.sequence) {
        let sequence = batch.sequences[run[0].sequence];
        let mut start = pages.len() as u32;
        if let (Some(keeps), Some(table)) = (keeps, sequence.tables.get(group)) {
            let first = (keeps.first_position(run[0].position) / PAGE_TOKENS).max(table.first);
            pages.extend_from_slice(table.pages.get((first - table.first) as usize..).unwrap_or_default());
            // Shaders add the index of a page, counted from the start of the text.
            start = start.wrapping_sub(first);
        }
        let slot = sequence.slot.unwrap_or(0);
        let count = |index| if index == 0 { run.len() as u32 } else { 0 };
        meta.extend(run.iter().enumerate().map(|(index, row)| [row.position, start, slot, count(index)]));
    }
    (meta, pages)
}

/// The row that a table has of a token as it is stored, read by `readers` where there are any.
async fn embedding(
    model: Arc<Model>,
    readers: Option<&Spawner>,
    (table, token): (&'static str, u32),
    row_bytes: usize,
) -> Result<Vec<u8>> {
    let read = async move {
        let (token, mut packed) = (u64::from(token), vec![0; row_bytes]);
        let window = &mut Window::from_slice(&mut packed);
        model.read_rows(table, token..token + 1, window).await.map(|()| packed)
    };
    let Some(readers) = readers else { return read.await };
    let (sender, receiver) = oneshot::channel();
    readers.spawn(async move {
        // Whoever asked may have given up meanwhile.
        let _ = sender.send(read.await);
    });
    receiver.await.map_err(|_| Error::new(ErrorKind::Io, "a reader thread died"))?
}
