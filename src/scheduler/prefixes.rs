//! Beginnings of texts that were computed before, on this device or in another process: blocks of them are written as they are
//! filled, and a text that begins so goes on behind them.

use super::{Running, Scheduler};
use crate::Result;
use crate::auto_model::Core;
use crate::gpu::kernels::PAGE_TOKENS;
use crate::model::Engine;
use crate::model::kv::SequenceState;
use crate::prefixes::{Key, PrefixStore};

/// A store of beginnings, for one model on one device.
pub(crate) struct Prefixes {
    store: Box<dyn PrefixStore>,
    /// What blocks depend on besides tokens.
    identity: String,
}

impl Prefixes {
    pub(crate) fn new(store: Box<dyn PrefixStore>, engine: &Engine) -> Self {
        Self { store, identity: identity(engine) }
    }

    /// The same for an engine that took the place of another.
    pub(crate) fn on(self, engine: &Engine) -> Self {
        Self { identity: identity(engine), ..self }
    }
}

/// All that decides about the bits of keys and values: the weights, how they are computed with, and by what.
fn identity(engine: &Engine) -> String {
    let info = &engine.gpu().adapter.info;
    let manifest = &engine.model().manifest().checksum;
    format!(
        "{} {manifest} {:?} rounds {} {PAGE_TOKENS} on {} {:?} {} {}",
        env!("CARGO_PKG_VERSION"),
        engine.program().states.kind,
        engine.rounds_inputs(),
        info.name,
        info.backend,
        info.driver,
        info.driver_info
    )
}

/// The keys of a text's blocks, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Whether the text is as long as those whose keys are rotated otherwise.
    is_long: bool,
    keys: Vec<Key>,
    /// Blocks that need not be written.
    written: usize,
}

impl Chain {
    /// Takes note of a text: of each of its blocks, as far as they are full.
    fn follow(&mut self, prefixes: &Prefixes, ids: &[u32], is_long: bool) {
        if self.is_long != is_long {
            *self = Self { is_long, ..Self::default() };
        }
        for block in ids.chunks_exact(PAGE_TOKENS as usize).skip(self.keys.len()) {
            let before = self.keys.last().copied();
            let before =
                before.unwrap_or_else(|| prefixes.store.start(&format!("{} long {is_long}", prefixes.identity)));
            self.keys.push(prefixes.store.key(&before, block));
        }
    }

    /// Nothing is known of what the device has.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }
}

impl Running {
    fn follow(&mut self, core: &Core) {
        let Some(prefixes) = &core.prefixes else { return };
        let is_long = !core.files.spec().rotates_alike(self.sequence.ids.len() as u32, 0);
        self.chain.follow(prefixes, &self.sequence.ids, is_long);
    }
}

impl Scheduler {
    /// How many of a text's first positions are kept: all but the last, whose logits are wanted.
    pub(super) fn kept_outside(core: &Core, running: &mut Running) -> u32 {
        running.follow(core);
        let Some(prefixes) = core.prefixes.as_ref().filter(|_| core.engine.keeps_all_in_pages()) else { return 0 };
        let most = (running.sequence.ids.len() - 1) / PAGE_TOKENS as usize;
        let known = running.chain.keys.iter().take(most).take_while(|key| prefixes.store.has(key));
        known.count() as u32 * PAGE_TOKENS
    }

    /// Brings the states of the first `positions` of a text, behind those that it has. It has reserved pages for them. What
    /// cannot be brought is computed.
    pub(super) async fn bring(core: &mut Core, running: &mut Running, positions: u32) {
        let state = &mut running.sequence.state;
        state.text_len = running.sequence.ids.len() as u32;
        let mut brought = Vec::new();
        let mut failed = None;
        for block in state.len / PAGE_TOKENS..positions / PAGE_TOKENS {
            match bring_block(core, state, block, (positions, &running.chain.keys[block as usize])).await {
                Ok(Some(groups)) => brought.push((block, groups)),
                Ok(None) => break,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if let Some(error) = &failed {
            log::warn!("the beginning of a text is computed anew: {error}");
        }
        // Where not all came, windows may lack what the next position sees.
        let kv = core.engine.kv();
        let lacks = |(block, groups): &(u32, u32)| kv.groups_seen(*block, state.len) & !groups != 0;
        if failed.is_some() || brought.iter().any(lacks) {
            kv.restart(state);
        }
        running.chain.written = (state.len / PAGE_TOKENS) as usize;
    }

    /// Writes the blocks that a sweep filled.
    pub(super) async fn write_blocks(&mut self, core: &mut Core) {
        if core.prefixes.is_none() || !core.engine.keeps_all_in_pages() {
            return;
        }
        for running in &mut self.running {
            running.follow(core);
            if let Err(error) = write_blocks_of(core, running).await {
                log::warn!("beginnings of texts are no longer kept: {error}");
                core.prefixes = None;
                return;
            }
        }
    }
}

/// The groups whose pages it brought; none where the block is gone.
async fn bring_block(
    core: &mut Core,
    state: &mut SequenceState,
    block: u32,
    (positions, key): (u32, &Key),
) -> Result<Option<u32>> {
    let Some(prefixes) = &mut core.prefixes else { return Ok(None) };
    let Some(content) = prefixes.store.read(key) else { return Ok(None) };
    let needed = core.engine.kv().groups_seen(block, positions);
    if content.groups & needed != needed {
        return Ok(None);
    }
    core.engine.write_block(state, block, &content).await.map(|()| Some(content.groups))
}

async fn write_blocks_of(core: &mut Core, running: &mut Running) -> Result<()> {
    let full = (running.sequence.state.len / PAGE_TOKENS) as usize;
    while running.chain.written < full.min(running.chain.keys.len()) {
        let key = running.chain.keys[running.chain.written];
        if core.prefixes.as_ref().is_some_and(|prefixes| !prefixes.store.has(&key)) {
            let block = core.engine.read_block(&running.sequence.state, running.chain.written as u32).await?;
            if let Some(prefixes) = &mut core.prefixes {
                prefixes.store.write(&key, &block)?;
            }
        }
        running.chain.written += 1;
    }
    Ok(())
}
