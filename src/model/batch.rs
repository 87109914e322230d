//! Sequences that share sweeps: which rows go into the next one, and what comes out of it.

use super::engine::Engine;
use super::inputs::{Batch, Row, Want};
use super::kv::{KvCache, SequenceState};
use super::readback::Output;
use crate::plan::ModelSpec;
use crate::words::Term;
use crate::{Error, ErrorKind, Result};

/// A sequence: its ids so far, and the states of the first `state.len` of them.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    pub ids: Vec<u32>,
    pub state: SequenceState,
}

impl Sequence {
    /// A sequence that starts with `ids`.
    pub fn new(ids: Vec<u32>) -> Self {
        Self { ids, state: SequenceState::default() }
    }

    /// Ids that no sweep has seen yet.
    pub fn waiting(&self) -> usize {
        self.ids.len() - self.state.len as usize
    }

    /// Takes note of how long the text is now, and starts anew where its states no longer fit it: a failed sweep spoilt them,
    /// or keys of so long a text are rotated otherwise, and all of them must agree.
    pub fn settle(&mut self, kv: &mut KvCache, spec: &ModelSpec) {
        let text_len = self.ids.len() as u32;
        if !spec.rotates_alike(self.state.text_len, text_len) {
            kv.restart(&mut self.state);
        }
        self.state.text_len = text_len;
        kv.settle(&mut self.state);
    }

    /// Continues with other ids: what they share with the old ones stays in the cache, as far as it can be cut there. At
    /// least the last id is computed anew, for its logits.
    pub fn replace(&mut self, kv: &mut KvCache, ids: Vec<u32>) {
        let same = self.ids.iter().zip(&ids).take_while(|(old, new)| old == new).count();
        let keep = same.min(ids.len().saturating_sub(1));
        kv.truncate(&mut self.state, keep as u32);
        self.ids = ids;
    }
}

/// A sequence in a sweep, and what is wanted of it.
#[derive(Debug)]
pub struct Job<'a> {
    pub sequence: &'a mut Sequence,
    pub want: Want,
    /// The first position that gives something.
    pub from: usize,
}

impl<'a> Job<'a> {
    /// What follows the last id.
    pub fn next(sequence: &'a mut Sequence, want: Want) -> Self {
        let from = sequence.ids.len().saturating_sub(1);
        Self { sequence, want, from }
    }
}

/// Rows of each of the sequences, so many of which wait: decoding sequences go first with their one row each; long prompts
/// share what is left, in order.
fn share_rows(waiting: &[usize], most_rows: usize) -> Vec<usize> {
    let (mut shares, mut left) = (vec![0; waiting.len()], most_rows);
    for decoding in [true, false] {
        for (share, waiting) in shares.iter_mut().zip(waiting).filter(|(_, waiting)| (**waiting == 1) == decoding) {
            *share = (*waiting).min(left);
            left -= *share;
        }
    }
    shares
}

/// One sweep for all `jobs`: each advances by the rows it got. Gives, for each job, the results of its rows that were to give
/// something, in order of position: none, as long as its prompt is not through.
///
/// # Errors
/// Those of [`Engine::sweep`]; the sequences are then as they were, or (with recurrent states) start anew.
/// [`ErrorKind::Argument`] where a sequence has not reserved pages for its ids.
pub async fn sweep_jobs(engine: &mut Engine, jobs: &mut [Job<'_>]) -> Result<Vec<Vec<Result<Output>>>> {
    let most_rows = engine.memory().rows as usize;
    let (kv, spec) = engine.kv_and_spec();
    for job in jobs.iter_mut() {
        job.sequence.settle(kv, spec);
    }
    let waiting: Vec<_> = jobs.iter().map(|job| job.sequence.waiting()).collect();
    let shares = share_rows(&waiting, most_rows);
    let (mut rows, mut outputs) = (Vec::new(), Vec::with_capacity(jobs.len()));
    for (index, (job, share)) in jobs.iter_mut().zip(&shares).enumerate() {
        let start = job.sequence.state.len as usize;
        engine.kv().advance(&mut job.sequence.state, (start + share) as u32)?;
        let before = rows.len();
        for (position, token) in job.sequence.ids.iter().enumerate().skip(start).take(*share) {
            let want = if position >= job.from { job.want } else { Want::Nothing };
            rows.push(Row::token(index, position as u32, *token, want));
        }
        outputs.push(rows[before..].iter().filter(|row| row.output != Want::Nothing).count());
    }
    if rows.is_empty() {
        return Err(Error::new(ErrorKind::Argument, "no sequence has an id to compute"));
    }
    // After an output the same sequence decodes again; otherwise what is left decides.
    let left = waiting.iter().zip(&shares).map(|(waiting, share)| waiting - share).max().unwrap_or(0);
    let next_has_outputs = outputs.iter().any(|outputs| *outputs > 0) || left <= most_rows;
    let states: Vec<_> = jobs.iter().map(|job| &job.sequence.state).collect();
    let batch = Batch { rows: &rows, sequences: &states };
    let mut results = engine.sweep(batch, next_has_outputs).await?.into_iter();
    for (job, share) in jobs.iter_mut().zip(shares) {
        job.sequence.state.len += share as u32;
    }
    Ok(outputs.into_iter().map(|outputs| results.by_ref().take(outputs).collect()).collect())
}

/// One sweep for all `sequences`, of which the same is wanted: what follows the last id, as soon as the ids are through.
///
/// # Errors
/// As [`sweep_jobs`], and those of any of the rows.
pub async fn sweep(engine: &mut Engine, sequences: &mut [&mut Sequence], want: Want) -> Result<Vec<Option<Output>>> {
    let mut jobs: Vec<_> = sequences.iter_mut().map(|sequence| Job::next(sequence, want)).collect();
    let results = sweep_jobs(engine, &mut jobs).await?;
    results.into_iter().map(|of_job| of_job.into_iter().next().transpose()).collect()
}

/// Logits of every position of `ids`, in order, a chunk at a time: `visit(position, logits)`.
///
/// # Errors
/// [`ErrorKind::Budget`] where the cache has no pages for them; those of [`Engine::sweep`] and of `visit`.
pub async fn score(engine: &mut Engine, ids: &[u32], mut visit: impl FnMut(usize, &[f32]) -> Result<()>) -> Result<()> {
    let mut sequence = Sequence::new(ids.to_vec());
    let result = score_sequence(engine, &mut sequence, &mut visit).await;
    engine.kv().truncate(&mut sequence.state, 0);
    result
}

async fn score_sequence(
    engine: &mut Engine,
    sequence: &mut Sequence,
    visit: &mut impl FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    let len = sequence.ids.len();
    if !engine.kv().reserve(&mut sequence.state, len as u32) {
        let message = format!("the KV cache has no room for {len} ids");
        return Err(Error::new(ErrorKind::Budget, message).remedy("raise " + Term::Budget));
    }
    let mut position = 0;
    while sequence.waiting() > 0 {
        let job = Job { sequence: &mut *sequence, want: Want::Logits, from: 0 };
        for output in sweep_jobs(engine, &mut [job]).await?.into_iter().flatten() {
            if let Output::Logits(logits) = output? {
                visit(position, &logits)?;
            }
            position += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_sequences_go_first_and_prompts_share_the_rest() {
        assert_eq!(share_rows(&[10, 1, 3, 1], 8), [6, 1, 0, 1]);
        assert_eq!(share_rows(&[1, 1, 4], 8), [1, 1, 4]);
        assert_eq!(share_rows(&[1, 1, 4], 1), [1, 0, 0]);
    }
}
