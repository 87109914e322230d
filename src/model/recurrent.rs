//! Recurrent states: what layers without a KV cache keep of each sequence, in a slot of its own.
//!
//! A state holds all positions of its sequence so far and none by itself, so it can be carried on but not cut back: a
//! sequence that changes in its past, or whose sweep failed half-way, starts from a saved state, or anew.

use super::inputs::Row;
use super::kv::{STATE_USAGES, SequenceState};
use crate::gpu::{CountedBuffer, Gpu};
use crate::plan::{LayerSpec, ModelSpec};
use crate::{Error, ErrorKind, Result};

/// Bytes of one layer's states in `slots` slots.
fn layer_bytes(layer: &LayerSpec, slots: u64) -> u64 {
    layer.recurrent.map_or(0, |state| (slots * u64::from(state.floats()) * 4).next_multiple_of(16))
}

/// GPU bytes of the states of `slots` sequences.
pub fn state_bytes(spec: &ModelSpec, slots: u64) -> u64 {
    spec.layers.iter().map(|layer| layer_bytes(layer, slots)).sum()
}

/// The states of all layers, and who has them.
#[derive(Debug)]
pub struct RecurrentStates {
    /// `[slots, state]` f32 of each layer that has one.
    layers: Vec<Option<CountedBuffer>>,
    pub slots: Slots,
    /// The same of snapshots, in buffers of their own: no copy has one buffer on both sides.
    saved_layers: Vec<Option<CountedBuffer>>,
    pub saved: Slots,
    /// Bytes of one slot of each layer.
    slot_bytes: Vec<u64>,
}

impl RecurrentStates {
    /// States of `slots` sequences and `saved` snapshots; none for a model that keeps none.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] or [`ErrorKind::GpuMemory`] where they do not fit.
    pub async fn new(gpu: &Gpu, spec: &ModelSpec, slots: u32, saved: u32) -> Result<Option<Self>> {
        if spec.layers.iter().all(|layer| layer.recurrent.is_none()) {
            return Ok(None);
        }
        let floats = |layer: &LayerSpec| layer.recurrent.map_or(0, |state| state.floats());
        Ok(Some(Self {
            layers: layers_of(gpu, spec, slots).await?,
            slots: Slots::new(slots),
            saved_layers: layers_of(gpu, spec, saved).await?,
            saved: Slots::new(saved),
            slot_bytes: spec.layers.iter().map(|layer| u64::from(floats(layer)) * 4).collect(),
        }))
    }

    /// Copies the state of `slot`, which holds `len` positions, to a free slot of snapshots.
    pub fn save(&mut self, slot: u32, len: u32, commands: &mut wgpu::CommandEncoder) -> Option<u32> {
        if !self.slots.holds(slot, len) {
            return None;
        }
        let saved = self.saved.take()?;
        self.copy((&self.layers, slot), (&self.saved_layers, saved), commands);
        Some(saved)
    }

    /// Copies what a snapshot has, `len` positions, to a free slot.
    pub fn load(&mut self, saved: u32, len: u32, commands: &mut wgpu::CommandEncoder) -> Option<u32> {
        let slot = self.slots.take()?;
        self.copy((&self.saved_layers, saved), (&self.layers, slot), commands);
        self.slots.held[slot as usize] = Some(len);
        Some(slot)
    }

    fn copy(
        &self,
        (from, from_slot): (&[Option<CountedBuffer>], u32),
        (to, to_slot): (&[Option<CountedBuffer>], u32),
        commands: &mut wgpu::CommandEncoder,
    ) {
        for ((from, to), bytes) in from.iter().zip(to).zip(&self.slot_bytes) {
            if let (Some(from), Some(to)) = (from, to) {
                let (source, target) = (u64::from(from_slot) * bytes, u64::from(to_slot) * bytes);
                commands.copy_buffer_to_buffer(from, source, to, target, *bytes);
            }
        }
    }

    /// The states of a layer.
    pub fn layer(&self, layer: usize) -> Option<&CountedBuffer> {
        self.layers.get(layer)?.as_ref()
    }
}

/// `[slots, state]` f32 of each layer that has one.
async fn layers_of(gpu: &Gpu, spec: &ModelSpec, slots: u32) -> Result<Vec<Option<CountedBuffer>>> {
    let (mut layers, limit) = (Vec::with_capacity(spec.layers.len()), gpu.largest_binding_bytes());
    for layer in &spec.layers {
        let bytes = layer_bytes(layer, u64::from(slots));
        if bytes > limit {
            let message = format!("recurrent states of {slots} sequences take {bytes} bytes a layer; {limit} fit");
            return Err(Error::new(ErrorKind::Budget, message).remedy("let fewer sequences share a sweep"));
        }
        layers.push(match bytes {
            0 => None,
            _ => Some(gpu.buffer("recurrent states", bytes, STATE_USAGES).await?),
        });
    }
    Ok(layers)
}

/// Which slots are free, and what the others hold.
#[derive(Clone, Debug)]
pub struct Slots {
    /// Positions that each slot's state holds; none where a sweep did not come to its end.
    held: Vec<Option<u32>>,
    free: Vec<u32>,
    /// Slots of the sweep under way, and what they hold after it.
    under_way: Vec<(u32, u32)>,
}

impl Slots {
    /// `count` free slots.
    pub fn new(count: u32) -> Self {
        Self { held: vec![None; count as usize], free: (0..count).rev().collect(), under_way: Vec::new() }
    }

    /// A free slot.
    pub fn take(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Takes a slot back.
    pub fn give_back(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// Whether a slot's state holds just the first `len` positions of its sequence.
    pub fn holds(&self, slot: u32, len: u32) -> bool {
        len == 0 || self.held.get(slot as usize).is_some_and(|held| *held == Some(len))
    }

    /// A sweep begins. Until [`Slots::end`] the states of its sequences hold nothing for certain.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where rows of a sequence do not stand together, in order, from where its state ends.
    pub fn begin(&mut self, rows: &[Row<'_>], sequences: &[&SequenceState]) -> Result<()> {
        self.under_way.clear();
        for run in rows.chunk_by(|a, b| a.sequence == b.sequence) {
            let (first, len) = (run[0], run.len() as u32);
            let follow = run.iter().zip(first.position..).all(|(row, position)| row.position == position);
            let slot = sequences.get(first.sequence).and_then(|sequence| sequence.slot);
            match slot.filter(|slot| follow && self.holds(*slot, first.position)) {
                Some(slot) if self.under_way.iter().all(|(other, _)| *other != slot) => {
                    self.under_way.push((slot, first.position + len));
                }
                _ => {
                    let message = format!("sequence {} has no state of its first {}", first.sequence, first.position);
                    return Err(Error::new(ErrorKind::Argument, message + " positions"));
                }
            }
        }
        for (slot, _) in &self.under_way {
            self.held[*slot as usize] = None;
        }
        Ok(())
    }

    /// The sweep came to its end.
    pub fn end(&mut self) {
        for (slot, len) in self.under_way.drain(..) {
            self.held[slot as usize] = Some(len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::inputs::Want;

    fn rows(runs: &[(usize, std::ops::Range<u32>)]) -> Vec<Row<'static>> {
        let row = |sequence, position| Row::token(sequence, position, 0, Want::Nothing);
        runs.iter().flat_map(|(sequence, run)| run.clone().map(move |position| row(*sequence, position))).collect()
    }

    #[test]
    fn a_state_is_carried_on_and_never_cut_back() {
        let mut slots = Slots::new(2);
        let with_slot = |slot| SequenceState { slot, ..Default::default() };
        let (a, b) = (with_slot(slots.take()), with_slot(slots.take()));
        let (both, none) = ([&a, &b], with_slot(slots.take()));
        assert_eq!(none.slot, None, "there are two");
        slots.begin(&rows(&[(0, 0..3), (1, 0..1)]), &both).expect("from the start");
        slots.end();
        assert!(slots.holds(0, 3) && slots.holds(1, 1) && !slots.holds(0, 2));
        slots.begin(&rows(&[(1, 1..2)]), &both).expect("goes on");
        slots.end();
        let wrong: [&[(usize, std::ops::Range<u32>)]; 5] =
            [&[(0, 2..3)], &[(0, 4..5)], &[(0, 3..4), (0, 5..6)], &[(0, 3..4), (1, 2..3), (0, 4..5)], &[(2, 0..1)]];
        for runs in wrong {
            assert!(slots.begin(&rows(runs), &[&a, &b, &none]).is_err(), "{runs:?}");
        }
        assert!(slots.holds(0, 3) && slots.holds(1, 2), "what is refused changes nothing");
    }

    #[test]
    fn a_sweep_that_fails_takes_the_state_with_it() {
        let mut slots = Slots::new(1);
        let sequence = SequenceState { slot: slots.take(), ..Default::default() };
        slots.begin(&rows(&[(0, 0..2)]), &[&sequence]).expect("begins");
        assert!(!slots.holds(0, 2) && slots.holds(0, 0));
        slots.begin(&rows(&[(0, 0..4)]), &[&sequence]).expect("begins anew");
        slots.end();
        assert!(slots.holds(0, 4));
    }
}
