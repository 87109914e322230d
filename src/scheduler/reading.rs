//! What is told of a prompt beside its answer: how likely its tokens were, or one vector for all of it.

use crate::model::inputs::Want;
use crate::model::readback::Output;
use crate::text::TokenLogprobs;

/// How the hidden states of a text become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooling {
    /// That of the last token.
    Last,
    /// The mean over all tokens.
    Mean,
}

/// What a request wants to know of its prompt.
#[derive(Clone, Debug)]
pub(super) enum Reading {
    /// How likely each token but the first was, and so many of the most likely ones.
    Logprobs { top: usize, told: Vec<TokenLogprobs> },
    /// How likely each of these ids is to follow the prompt.
    Next { ids: Vec<u32>, told: Vec<f32> },
    /// The sums of hidden states (`[hidden]`), and over how many rows.
    Embedding { pooling: Pooling, sums: Vec<f64>, rows: u32 },
}

impl Reading {
    pub(super) fn logprobs(top: usize) -> Self {
        Self::Logprobs { top, told: Vec::new() }
    }

    pub(super) fn next(ids: Vec<u32>) -> Self {
        Self::Next { ids, told: Vec::new() }
    }

    pub(super) fn embedding(pooling: Pooling) -> Self {
        Self::Embedding { pooling, sums: Vec::new(), rows: 0 }
    }

    /// What is wanted of the rows, and the first of them, in a prompt of so many tokens.
    pub(super) fn wants(&self, prompt_len: usize) -> (Want, usize) {
        match self {
            Self::Logprobs { .. } => (Want::Logits, 0),
            Self::Next { .. } => (Want::Logits, prompt_len.saturating_sub(1)),
            Self::Embedding { pooling: Pooling::Mean, .. } => (Want::Hidden, 0),
            Self::Embedding { .. } => (Want::Hidden, prompt_len.saturating_sub(1)),
        }
    }

    /// Whether states that are known already tell too little.
    pub(super) fn needs_every_row(&self) -> bool {
        self.wants(usize::MAX).1 == 0
    }

    /// The prompt is read anew, such as on another device.
    pub(super) fn restart(&mut self) {
        match self {
            Self::Logprobs { told, .. } => told.clear(),
            Self::Next { told, .. } => told.clear(),
            Self::Embedding { sums, rows, .. } => {
                sums.clear();
                *rows = 0;
            }
        }
    }

    /// Takes what a row gave; `next`: the token of the prompt that follows it.
    pub(super) fn take(&mut self, output: &Output, next: Option<u32>) {
        match (self, output) {
            (Self::Logprobs { top, told }, Output::Logits(logits)) => {
                told.extend(next.and_then(|next| TokenLogprobs::new(logits, next, *top)));
            }
            (Self::Next { ids, told }, Output::Logits(logits)) => {
                let one = |id: &u32| TokenLogprobs::new(logits, *id, 0).map(|token| token.chosen);
                *told = ids.iter().filter_map(one).collect();
            }
            (Self::Embedding { sums, rows, .. }, Output::Hidden(hidden)) => {
                sums.resize(hidden.len(), 0.0);
                sums.iter_mut().zip(hidden).for_each(|(sum, value)| *sum += f64::from(*value));
                *rows += 1;
            }
            _ => {}
        }
    }
}

/// The mean of hidden states, of which there are the sums over so many rows.
pub(super) fn mean(sums: &[f64], rows: u32) -> Vec<f32> {
    let rows = f64::from(rows.max(1));
    sums.iter().map(|sum| (sum / rows) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_states_become_their_mean() {
        let mut reading = Reading::embedding(Pooling::Mean);
        assert_eq!(reading.wants(9), (Want::Hidden, 0));
        reading.take(&Output::Hidden(vec![7.0, 7.0]), None);
        reading.restart();
        for hidden in [[1.0, -2.0], [3.0, 0.0]] {
            reading.take(&Output::Hidden(hidden.to_vec()), Some(1));
        }
        let Reading::Embedding { sums, rows, .. } = &reading else { unreachable!() };
        assert_eq!(mean(sums, *rows), [2.0, -1.0]);
        assert_eq!(Reading::embedding(Pooling::Last).wants(9), (Want::Hidden, 8));
    }

    #[test]
    fn a_row_tells_of_the_token_behind_it() {
        let mut reading = Reading::logprobs(1);
        assert!(reading.needs_every_row() && !Reading::embedding(Pooling::Last).needs_every_row());
        reading.take(&Output::Logits(vec![0.0, 1.0]), Some(0));
        // Nothing follows the last one.
        reading.take(&Output::Logits(vec![0.0, 1.0]), None);
        let Reading::Logprobs { told, .. } = &reading else { unreachable!() };
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].top[0].0, 1);
    }
}
