//! Sequences that share sweeps: which rows go into the next one, and what comes out of it.

use super::engine::{Engine, Output, Want};
use super::kv::{KvCache, SequencePages};
use super::step::Row;
use crate::plan::ModelSpec;
use crate::{Error, ErrorKind, Result};

/// A sequence: its ids so far, and the pages that hold the keys and values of the first `pages.len` of them.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    pub ids: Vec<u32>,
    pub pages: SequencePages,
}

impl Sequence {
    /// A sequence that starts with `ids`.
    pub fn new(ids: Vec<u32>) -> Self {
        Self { ids, pages: SequencePages::default() }
    }

    /// Ids that no sweep has seen yet.
    pub fn waiting(&self) -> usize {
        self.ids.len() - self.pages.len as usize
    }

    /// Takes note of how long the text is now. Where that turns its keys otherwise, all of them are computed anew: they
    /// must agree among themselves.
    fn measure(&mut self, spec: &ModelSpec) {
        let text_len = self.ids.len() as u32;
        if !spec.turns_alike(self.pages.text_len, text_len) {
            self.pages.len = 0;
        }
        self.pages.text_len = text_len;
    }

    /// Continues with other ids: what they share with the old ones stays in the cache, as far as it can be cut there. At
    /// least the last id is computed anew, for its logits.
    pub fn replace(&mut self, kv: &mut KvCache, ids: Vec<u32>) {
        let same = self.ids.iter().zip(&ids).take_while(|(old, new)| old == new).count();
        let keep = same.min(ids.len().saturating_sub(1));
        kv.truncate(&mut self.pages, keep as u32);
        self.ids = ids;
    }
}

/// Rows that a sweep takes from one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    rows: usize,
    /// Whether the last row is the sequence's last id, whose logits choose the next.
    head: bool,
}

/// Decoding sequences go first with their one row each; long prompts share what is left, in order.
fn share_rows(waiting: &[usize], most_rows: usize, most_heads: usize) -> Vec<Share> {
    let mut shares = vec![Share { rows: 0, head: false }; waiting.len()];
    let (mut rows, mut heads) = (most_rows, most_heads);
    for decoding in [true, false] {
        for (share, waiting) in shares.iter_mut().zip(waiting).filter(|(_, waiting)| (**waiting == 1) == decoding) {
            let take = (*waiting).min(rows);
            let head = take > 0 && take == *waiting;
            if head && heads == 0 {
                // Its last row waits for a sweep that can give its logits.
                let take = take - 1;
                *share = Share { rows: take, head: false };
                rows -= take;
                continue;
            }
            *share = Share { rows: take, head };
            rows -= take;
            heads -= usize::from(head);
        }
    }
    shares
}

/// What one sweep brought for a sequence.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Its prompt is not through yet.
    Nothing,
    /// The best next id.
    Best(u32),
    /// Logits of the next id.
    Logits(Vec<f32>),
}

/// One sweep for all `sequences`: each advances by the rows it got. Every sequence has pages for all its ids.
///
/// # Errors
/// Those of [`Engine::sweep`]; the sequences are then as they were, or (with recurrent states) start anew.
pub async fn sweep(engine: &mut Engine, sequences: &mut [&mut Sequence], want: Want) -> Result<Vec<Next>> {
    for sequence in sequences.iter_mut() {
        sequence.measure(engine.spec());
        engine.kv().settle(&mut sequence.pages);
    }
    let shares = engine.shares();
    let waiting: Vec<_> = sequences.iter().map(|sequence| sequence.waiting()).collect();
    let plan = share_rows(&waiting, shares.rows as usize, shares.head_rows as usize);
    let (mut rows, mut heads) = (Vec::new(), Vec::new());
    for (index, (sequence, share)) in sequences.iter().zip(&plan).enumerate() {
        let start = sequence.pages.len as usize;
        for (position, token) in sequence.ids.iter().enumerate().skip(start).take(share.rows) {
            rows.push(Row { sequence: index, position: position as u32, token: *token });
        }
        if share.head {
            heads.push(rows.len() as u32 - 1);
        }
    }
    if rows.is_empty() {
        return Err(Error::new(ErrorKind::Argument, "no sequence has an id to compute"));
    }
    // After a head the same sequence decodes again; otherwise what is left decides.
    let left = waiting.iter().zip(&plan).map(|(waiting, share)| waiting - share.rows).max().unwrap_or(0);
    let next_has_head = !heads.is_empty() || left <= shares.rows as usize;
    let pages: Vec<_> = sequences.iter().map(|sequence| &sequence.pages).collect();
    let output = engine.sweep(&rows, &pages, &heads, want, next_has_head).await?;
    let mut results = match output {
        Output::Best(ids) => ids.into_iter().map(Next::Best).collect::<Vec<_>>(),
        Output::Logits(rows) => rows.into_iter().map(Next::Logits).collect(),
    }
    .into_iter();
    let mut next = Vec::with_capacity(plan.len());
    for (sequence, share) in sequences.iter_mut().zip(&plan) {
        sequence.pages.len += share.rows as u32;
        next.push(if share.head { results.next().unwrap_or(Next::Nothing) } else { Next::Nothing });
    }
    Ok(next)
}

/// Logits of every position of `ids`, in order, a chunk at a time: `visit(position, logits)`.
///
/// # Errors
/// [`ErrorKind::Budget`] where the cache has no pages for them; those of [`Engine::sweep`] and of `visit`.
pub async fn score(engine: &mut Engine, ids: &[u32], mut visit: impl FnMut(usize, &[f32]) -> Result<()>) -> Result<()> {
    let mut pages = SequencePages::default();
    let result = score_pages(engine, ids, &mut pages, &mut visit).await;
    engine.kv().truncate(&mut pages, 0);
    result
}

async fn score_pages(
    engine: &mut Engine,
    ids: &[u32],
    pages: &mut SequencePages,
    visit: &mut impl FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    if !engine.kv().reserve(pages, ids.len() as u32) {
        return Err(Error::new(ErrorKind::Budget, format!("the KV cache has no room for {} ids", ids.len()))
            .remedy("raise the budget"));
    }
    pages.text_len = ids.len() as u32;
    let shares = engine.shares();
    let chunk = shares.rows.min(shares.head_rows).max(1) as usize;
    for (index, chunk_ids) in ids.chunks(chunk).enumerate() {
        let first = index * chunk;
        let row =
            |(offset, token): (usize, &u32)| Row { sequence: 0, position: (first + offset) as u32, token: *token };
        let rows: Vec<_> = chunk_ids.iter().enumerate().map(row).collect();
        let heads: Vec<_> = (0..rows.len() as u32).collect();
        let output = engine.sweep(&rows, &[pages], &heads, Want::Logits, true).await?;
        pages.len += rows.len() as u32;
        if let Output::Logits(logits) = output {
            for (offset, row) in logits.iter().enumerate() {
                visit(first + offset, row)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_sequences_go_first_and_prompts_share_the_rest() {
        let shares = share_rows(&[10, 1, 3, 1], 8, 4);
        let rows: Vec<_> = shares.iter().map(|share| share.rows).collect();
        assert_eq!(rows, [6, 1, 0, 1]);
        assert_eq!(shares.iter().filter(|share| share.head).count(), 2);
    }

    #[test]
    fn without_a_free_head_the_last_row_waits() {
        let shares = share_rows(&[1, 1, 4], 8, 1);
        assert_eq!(shares[0], Share { rows: 1, head: true });
        assert_eq!(shares[1], Share { rows: 0, head: false });
        assert_eq!(shares[2], Share { rows: 3, head: false });
    }
}
