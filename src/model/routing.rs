//! Which experts the rows of a sweep go to, by a router's scores.

use crate::plan::Routing;
use crate::words::Term;
use crate::{Error, ErrorKind, Result};

/// Which rows an expert has in a sweep: a run of the lists that are on the GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub expert: usize,
    /// Where its rows begin in [`Choice::rows`].
    pub first: usize,
    pub len: usize,
}

/// What a router has of each expert, besides its score.
#[derive(Clone, Debug)]
pub(super) struct RouterLists {
    /// Added for the choice.
    pub bias: Vec<f32>,
    /// Multiplied with what the expert's output is multiplied with.
    pub factors: Vec<f32>,
}

impl RouterLists {
    /// Lists that change nothing.
    pub(super) fn plain(experts: usize) -> Self {
        Self { bias: vec![0.0; experts], factors: vec![1.0; experts] }
    }
}

/// The experts of all rows of a sweep, expert by expert.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Choice {
    /// In the order of the files.
    pub groups: Vec<Group>,
    /// Row of the sweep, for each use of an expert.
    pub rows: Vec<u32>,
    /// What its output is multiplied with.
    pub factors: Vec<f32>,
}

impl Choice {
    /// Chooses by `scores` `[rows, experts]`; each row `stride` values from the one before.
    ///
    /// # Errors
    /// [`ErrorKind::NotFinite`] where a score is not a number: the weights or a kernel are broken.
    pub(super) fn new(scores: &[f32], stride: usize, own: &RouterLists, routing: &Routing) -> Result<Self> {
        let experts = own.bias.len();
        let mut uses: Vec<Vec<(u32, f32)>> = vec![Vec::new(); experts];
        for (row, scores) in scores.chunks(stride).enumerate() {
            for (expert, factor) in route(&scores[..experts], own, routing)? {
                uses[expert].push((row as u32, factor));
            }
        }
        let mut choice = Self::default();
        for (expert, uses) in uses.into_iter().enumerate().filter(|(_, uses)| !uses.is_empty()) {
            choice.groups.push(Group { expert, first: choice.rows.len(), len: uses.len() });
            choice.rows.extend(uses.iter().map(|(row, _)| *row));
            choice.factors.extend(uses.iter().map(|(_, factor)| *factor));
        }
        Ok(choice)
    }
}

/// The experts of one row with their factors: those with the largest shares, of equals the first.
fn route(scores: &[f32], own: &RouterLists, routing: &Routing) -> Result<Vec<(usize, f32)>> {
    if let Some(expert) = scores.iter().position(|score| !score.is_finite()) {
        return Err(Error::new(
            ErrorKind::NotFinite,
            format!("the router's score of expert {expert} is not a finite number"),
        )
        .remedy("run " + Term::Verify + " on the model; if it is sound, try another adapter"));
    }
    let shares = if routing.sigmoid { sigmoid(scores) } else { softmax(scores) };
    let mut ranks: Vec<f32> = match (routing.bias, routing.groups) {
        // Shares may be equal where scores are not: sigmoids of large ones are 1.
        (None, None) => scores.to_vec(),
        _ => shares.iter().zip(&own.bias).map(|(share, bias)| share + bias).collect(),
    };
    if let Some((groups, kept)) = routing.groups {
        keep_best_groups(&mut ranks, groups as usize, kept as usize, routing.sigmoid);
    }
    let chosen = best(&ranks, routing.chosen as usize);
    let kept: f32 = chosen.iter().map(|expert| shares[*expert]).sum();
    // Sigmoids may all vanish; the reference then divides by this.
    let divisor = if routing.normalize { kept.max(1e-20) } else { 1.0 };
    let factor = |expert: usize| shares[expert] / divisor * routing.scale * own.factors[expert];
    Ok(chosen.into_iter().map(|expert| (expert, factor(expert))).collect())
}

fn softmax(scores: &[f32]) -> Vec<f32> {
    let top = scores.iter().copied().fold(f32::MIN, f32::max);
    let powers: Vec<f32> = scores.iter().map(|score| (score - top).exp()).collect();
    let total: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / total).collect()
}

fn sigmoid(scores: &[f32]) -> Vec<f32> {
    scores.iter().map(|score| 1.0 / (1.0 + (-score).exp())).collect()
}

/// The indices of the `count` largest values, the largest first, of equals the first.
fn best(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
    order.truncate(count);
    order
}

/// Takes all but the best groups out of the choice. A group is as good as its best expert, or (`by_two`) its best two
/// together.
fn keep_best_groups(ranks: &mut [f32], groups: usize, kept: usize, by_two: bool) {
    let size = ranks.len() / groups;
    let worth =
        |group: &[f32]| -> f32 { best(group, if by_two { 2 } else { 1 }).into_iter().map(|index| group[index]).sum() };
    let worths: Vec<f32> = ranks.chunks(size).map(worth).collect();
    let kept = best(&worths, kept);
    for (index, group) in ranks.chunks_mut(size).enumerate() {
        if !kept.contains(&index) {
            group.fill(f32::NEG_INFINITY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_gets_its_best_experts_and_each_expert_its_rows() {
        let routing =
            Routing { chosen: 2, normalize: true, sigmoid: false, scale: 1.0, groups: None, bias: None, factors: None };
        // Rows of four scores, in a buffer of six.
        let scores = [1.0, 3.0, 2.0, 0.0, 9.0, 9.0, 5.0, 5.0, 5.0, -1.0, 9.0, 9.0];
        let choice = Choice::new(&scores, 6, &RouterLists::plain(4), &routing).expect("chooses");
        let groups: Vec<_> = choice.groups.iter().map(|group| (group.expert, group.first, group.len)).collect();
        assert_eq!(groups, [(0, 0, 1), (1, 1, 2), (2, 3, 1)], "of equals the first ones");
        assert_eq!(choice.rows, [1, 0, 1, 0]);
        let e = std::f32::consts::E;
        let expected = [0.5, e / (e + 1.0), 0.5, 1.0 / (e + 1.0)];
        assert!(choice.factors.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", choice.factors);
        let whole = Choice::new(&scores[..6], 6, &RouterLists::plain(4), &Routing { normalize: false, ..routing })
            .expect("chooses");
        let total: f32 = [1.0_f32, 3.0, 2.0, 0.0].iter().map(|score| score.exp()).sum();
        assert!((whole.factors[0] - 3.0_f32.exp() / total).abs() < 1e-6);
        assert!(Choice::new(&[0.0, f32::NAN], 2, &RouterLists::plain(2), &routing).is_err());
    }

    #[test]
    fn large_scores_whose_sigmoids_are_equal_are_told_apart() {
        let routing =
            Routing { chosen: 1, normalize: false, sigmoid: true, scale: 1.0, groups: None, bias: None, factors: None };
        assert_eq!(route(&[20.0, 40.0, 30.0], &RouterLists::plain(3), &routing).expect("chooses"), [(1, 1.0)]);
    }

    #[test]
    fn groups_and_biases_change_the_choice_and_not_the_factors() {
        let routing = Routing {
            chosen: 2,
            normalize: false,
            sigmoid: true,
            scale: 2.0,
            groups: Some((3, 1)),
            bias: None,
            factors: None,
        };
        let scores = [3.0, -3.0, 1.0, 1.5, 0.0, 0.0];
        let chosen = |bias: [f32; 6], routing: &Routing| {
            let own = RouterLists { bias: bias.to_vec(), ..RouterLists::plain(6) };
            route(&scores, &own, routing).expect("chooses")
        };
        let experts = |chosen: Vec<(usize, f32)>| chosen.into_iter().map(|(expert, _)| expert).collect::<Vec<_>>();
        assert_eq!(experts(chosen([0.0; 6], &routing)), [3, 2], "the best two of the second group");
        let biased = chosen([0.0, 0.0, 0.0, 0.0, 1.0, 1.0], &routing);
        assert_eq!(biased, [(4, 1.0), (5, 1.0)], "twice one half");
        let by_best = Routing { sigmoid: false, ..routing };
        assert_eq!(experts(chosen([0.0; 6], &by_best)), [0, 1], "the best one is in the first group");
    }

    #[test]
    fn factors_of_experts_change_what_they_weigh_and_not_which_they_are() {
        let routing =
            Routing { chosen: 1, normalize: true, sigmoid: false, scale: 2.0, groups: None, bias: None, factors: None };
        let own = RouterLists { factors: vec![9.0, 0.25, 9.0], ..RouterLists::plain(3) };
        assert_eq!(route(&[0.0, 1.0, 0.5], &own, &routing).expect("chooses"), [(1, 0.5)]);
    }
}
