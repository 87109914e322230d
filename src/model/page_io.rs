//! Pages on their way between the GPU and the host: what a text had in one block of [`PAGE_TOKENS`] positions, of all layers.

use super::engine::Engine;
use super::kv::{KvCache, PageGroup, PageTable, SequenceState};
use crate::gpu::CountedBuffer;
use crate::gpu::kernels::PAGE_TOKENS;
use crate::prefixes::Block;
use crate::{Error, ErrorKind, Result};

/// The buffers through which blocks travel.
#[derive(Debug)]
pub(super) struct PageIo {
    down: CountedBuffer,
    up: CountedBuffer,
}

/// A part of a buffer.
struct Place<'a> {
    buffer: &'a wgpu::Buffer,
    offset: u64,
    bytes: u64,
}

impl KvCache {
    /// Bytes of a page over all layers of each group.
    fn group_bytes(&self) -> Vec<u64> {
        self.layout().groups.iter().map(|group| group.page_bytes.iter().sum()).collect()
    }

    /// Bytes that a block has where it has the pages of these groups.
    pub fn block_bytes(&self, groups: u32) -> u64 {
        let bytes = self.group_bytes().into_iter().enumerate();
        bytes.filter(|(group, _)| groups >> group & 1 == 1).map(|(_, bytes)| bytes).sum()
    }

    /// The groups in which a sequence has the page of a block.
    fn groups_with(&self, sequence: &SequenceState, block: u32) -> u32 {
        let has = |(group, table): (usize, &PageTable)| {
            let there = table.page_of(block * PAGE_TOKENS).is_some();
            if there { 1 << group } else { 0 }
        };
        sequence.tables.iter().enumerate().map(has).sum()
    }

    /// The groups whose page of a block is seen by position `len`.
    pub fn groups_seen(&self, block: u32, len: u32) -> u32 {
        let sees = |(group, layers): (usize, &PageGroup)| {
            let seen = layers.keeps.first_position(len) / PAGE_TOKENS <= block;
            if seen { 1 << group } else { 0 }
        };
        self.layout().groups.iter().enumerate().map(sees).sum()
    }

    /// Where the layers of these groups have the block, in the order of [`Block::bytes`].
    fn block_places(&self, sequence: &SequenceState, block: u32, groups: u32) -> Vec<Place<'_>> {
        let tables = sequence.tables.iter().enumerate().filter(|(group, _)| groups >> group & 1 == 1);
        let of_group = |(group, table): (usize, &PageTable)| {
            let page = table.page_of(block * PAGE_TOKENS);
            page.into_iter().flat_map(move |page| self.page_places(group, page))
        };
        tables.flat_map(of_group).map(|(buffer, offset, bytes)| Place { buffer, offset, bytes }).collect()
    }
}

impl Engine {
    /// Whether blocks say all that a text keeps.
    pub fn keeps_all_in_pages(&self) -> bool {
        self.executor.kv.recurrent().is_none()
    }

    /// The buffers for blocks, which are put back where nothing fails; pinned tiles make room for them the first time.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] where there is none to be had.
    async fn page_io(&mut self) -> Result<PageIo> {
        let executor = &mut self.executor;
        if let Some(io) = executor.page_io.take() {
            return Ok(io);
        }
        let bytes = executor.kv.block_bytes(u32::MAX);
        let free = executor.gpu.accountant().free_bytes();
        if free < 2 * bytes {
            executor.recorder.forget_groups();
            executor.stream.unpin(2 * bytes - free).await;
        }
        let buffer = |usage| executor.gpu.buffer("pages on their way", bytes, usage);
        let down = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST).await?;
        let up = buffer(wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC).await?;
        Ok(PageIo { down, up })
    }

    /// Reads what a sequence has in a block that it has filled.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] where a block more has no room; those of the GPU.
    pub async fn read_block(&mut self, sequence: &SequenceState, block: u32) -> Result<Block> {
        let io = self.page_io().await?;
        let mut commands = self.commands();
        let down = &io.down;
        let (kv, gpu) = (&self.executor.kv, &self.executor.gpu);
        let groups = kv.groups_with(sequence, block);
        let mut len = 0;
        for Place { buffer, offset, bytes } in kv.block_places(sequence, block, groups) {
            commands.copy_buffer_to_buffer(buffer, offset, down, len, bytes);
            len += bytes;
        }
        let after = gpu.submit(commands.finish());
        gpu.map(down, wgpu::MapMode::Read, after).ready().await?;
        let unmapped = |error| Error::new(ErrorKind::Internal, "a block is not mapped").source(error);
        let bytes = down.get_mapped_range(..len).map_err(unmapped)?.to_vec();
        down.unmap();
        self.executor.page_io = Some(io);
        Ok(Block { groups, bytes })
    }

    /// Lets a sequence, which has reserved pages, go on behind the block that follows what it has.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a block of another length; as [`Engine::read_block`].
    pub async fn write_block(&mut self, sequence: &mut SequenceState, block: u32, content: &Block) -> Result<()> {
        let io = self.page_io().await?;
        let up = &io.up;
        let end = (block + 1) * PAGE_TOKENS;
        self.executor.kv.advance(sequence, end)?;
        let mut commands = self.commands();
        let (kv, gpu) = (&self.executor.kv, &self.executor.gpu);
        if content.bytes.len() as u64 != kv.block_bytes(content.groups) {
            return Err(Error::new(ErrorKind::Argument, "a block of another model"));
        }
        let idle = gpu.submit(self.commands().finish());
        gpu.map(up, wgpu::MapMode::Write, idle).ready().await?;
        let unmapped = |error| Error::new(ErrorKind::Internal, "a block is not mapped").source(error);
        up.get_mapped_range_mut(..).map_err(unmapped)?.slice(..content.bytes.len()).copy_from_slice(&content.bytes);
        up.unmap();
        let mut from = 0;
        for Place { buffer, offset, bytes } in kv.block_places(sequence, block, content.groups) {
            commands.copy_buffer_to_buffer(up, from, buffer, offset, bytes);
            from += bytes;
        }
        gpu.submit(commands.finish());
        self.executor.page_io = Some(io);
        sequence.len = end;
        Ok(())
    }
}
