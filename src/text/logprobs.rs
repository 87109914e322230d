//! How likely a model held its tokens to be.

/// Log-probabilities where a token was chosen: natural logarithms, of the model's own distribution, before any option of sampling.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TokenLogprobs {
    /// Of the token that was chosen.
    pub chosen: f32,
    /// Of the most likely tokens, the most likely one first; of equal ones the lower id.
    pub top: Vec<(u32, f32)>,
}

impl TokenLogprobs {
    /// Of finite `logits` (`[vocabulary]`), where `chosen` was chosen; `None` where it has no logit.
    pub(crate) fn new(logits: &[f32], chosen: u32, top: usize) -> Option<Self> {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
        let logprob = |logit: f32| (f64::from(logit) - f64::from(max) - sum.ln()) as f32;
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let mut best: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
        if top < best.len() {
            best.select_nth_unstable_by(top, order);
            best.truncate(top);
        }
        best.sort_unstable_by(order);
        let top = best.into_iter().map(|(id, logit)| (id, logprob(logit))).collect();
        Some(Self { chosen: logprob(*logits.get(chosen as usize)?), top })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_logarithms_of_what_sums_to_one() {
        let logits = [1.0, 3.0, -2.0, 3.0, 500.0_f32.ln()];
        let all = TokenLogprobs::new(&logits, 2, 9).expect("a logit");
        let ids: Vec<_> = all.top.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [4, 1, 3, 0, 2]);
        let sum: f64 = all.top.iter().map(|(_, logprob)| f64::from(*logprob).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        assert_eq!(all.chosen, all.top[4].1);
        // Differences are those of the logits, and a common addend changes nothing.
        assert!((all.top[1].1 - all.chosen - 5.0).abs() < 1e-6);
        let moved = TokenLogprobs::new(&logits.map(|logit| logit + 64.0), 2, 2).expect("a logit");
        assert!((moved.chosen - all.chosen).abs() < 1e-5 && moved.top.len() == 2);
        assert_eq!(TokenLogprobs::new(&logits, 5, 1), None);
    }
}
