//! Beginnings of texts whose states the device still has: nothing of them is computed again.

use super::{Running, Scheduler};
use crate::auto_model::Core;
use crate::model::batch::Sequence;
use crate::model::kv::Snapshot;

impl Scheduler {
    /// Takes over the states of a text that begins alike: of one that ended, shared with one that is under way, or from a
    /// snapshot of its beginning.
    pub(super) fn take_prefix(&mut self, core: &mut Core, sequence: &mut Sequence) {
        let most = sequence.ids.len() - 1;
        let alike = |ids: &[u32]| ids.iter().zip(&sequence.ids[..most]).take_while(|(a, b)| a == b).count() as u32;
        let known = |other: &Sequence| alike(&other.ids[..other.state.len as usize]);
        let kv = core.engine.kv();
        let longest =
            |lens: &mut dyn Iterator<Item = u32>| lens.enumerate().max_by_key(|(_, len)| *len).unwrap_or((0, 0));
        let (ended, ended_len) = longest(&mut self.kept.iter().map(|other| kv.cut(&other.state, known(other))));
        let shared = |running: &Running| kv.shareable(&running.sequence.state, known(&running.sequence));
        let (shared, shared_len) = longest(&mut self.running.iter().map(shared));
        let saved = |(ids, snapshot): &(Vec<u32>, Snapshot)| kv.restorable(snapshot, alike(ids));
        let (saved, saved_len) = longest(&mut self.snapshots.iter().map(saved));
        if shared_len > ended_len.max(saved_len)
            && let Some(state) = kv.share(&self.running[shared].sequence.state, shared_len)
        {
            sequence.state = state;
        } else if saved_len > ended_len {
            self.go_on_from(core, saved, saved_len, sequence);
        } else if ended_len > 0
            && let Some(mut other) = self.kept.remove(ended)
        {
            other.replace(core.engine.kv(), std::mem::take(&mut sequence.ids));
            *sequence = other;
        }
    }

    /// Goes on from a snapshot, whose place in a slot or page a text that nobody continues may have to give.
    fn go_on_from(&mut self, core: &mut Core, index: usize, len: u32, sequence: &mut Sequence) {
        let Some((ids, snapshot)) = self.snapshots.remove(index) else { return };
        let mut state = core.engine.restore(&snapshot, len);
        while state.is_none()
            && let Some(mut oldest) = self.kept.pop_front()
        {
            core.engine.kv().truncate(&mut oldest.state, 0);
            state = core.engine.restore(&snapshot, len);
        }
        sequence.state = state.unwrap_or_default();
        self.snapshots.push_back((ids, snapshot));
    }

    /// Keeps the states of prompts whose last rows the next sweep takes: a text that is edited behind them, or an answer that
    /// is left out of the next prompt, goes on from there.
    pub(super) fn save_prompts(&mut self, core: &mut Core) {
        let memory = core.engine.memory();
        for running in self.running.iter_mut().filter(|running| !running.was_saved) {
            let Sequence { ids, state } = &running.sequence;
            if running.sequence.waiting() > memory.rows as usize {
                continue;
            }
            running.was_saved = true;
            let known = &ids[..state.len as usize];
            let is_there = self.snapshots.iter().any(|(ids, _)| ids == known);
            if memory.snapshots == 0 || state.len == 0 || is_there {
                continue;
            }
            if self.snapshots.len() >= memory.snapshots as usize
                && let Some((_, oldest)) = self.snapshots.pop_front()
            {
                core.engine.kv().forget(oldest);
            }
            if let Some(snapshot) = core.engine.snapshot(state) {
                self.snapshots.push_back((known.to_vec(), snapshot));
            }
        }
    }
}
