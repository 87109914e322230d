//! Experts: a router's scores come back, the chosen ones are fetched, and each is computed once for all of its rows.

use std::collections::HashMap;

use super::budget::{align, padded};
use super::engine::Engine;
use crate::gpu::device::Mapping;
use crate::gpu::{CountedBuffer, Gpu};
use crate::plan::{BufferId, ExpertsSpec, ModelSpec, Op, Routing, layer_tensor};
use crate::store::Window;
use crate::{Error, ErrorKind, Result};

/// Which rows an expert has in a sweep: a run of the lists that are on the GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub expert: usize,
    /// Where its rows begin in [`Choice::rows`].
    pub first: usize,
    pub len: usize,
}

/// The experts of all rows of a sweep, expert by expert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// In the order of the files.
    pub groups: Vec<Group>,
    /// Row of the sweep, for each use of an expert.
    pub rows: Vec<u32>,
    /// What its output is multiplied with.
    pub factors: Vec<f32>,
}

impl Choice {
    /// Chooses by `scores` `[rows, experts]`; each row `stride` values from the one before. `bias` `[experts]` is added for
    /// the choice.
    ///
    /// # Errors
    /// [`ErrorKind::NotFinite`] where a score is not a number: the weights or a kernel are broken.
    pub fn new(scores: &[f32], stride: usize, bias: &[f32], routing: &Routing) -> Result<Self> {
        let experts = bias.len();
        let mut uses: Vec<Vec<(u32, f32)>> = vec![Vec::new(); experts];
        for (row, scores) in scores.chunks(stride).enumerate() {
            for (expert, factor) in route(&scores[..experts], bias, routing)? {
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
fn route(scores: &[f32], bias: &[f32], routing: &Routing) -> Result<Vec<(usize, f32)>> {
    if let Some(expert) = scores.iter().position(|score| !score.is_finite()) {
        return Err(Error::new(
            ErrorKind::NotFinite,
            format!("the router's score of expert {expert} is not a finite number"),
        )
        .remedy("run `tilestream verify` on the model; if it is sound, try another adapter"));
    }
    let shares = if routing.sigmoid { sigmoid(scores) } else { softmax(scores) };
    let mut ranks: Vec<f32> = match (routing.bias, routing.groups) {
        // Shares may be equal where scores are not: sigmoids of large ones are 1.
        (None, None) => scores.to_vec(),
        _ => shares.iter().zip(bias).map(|(share, bias)| share + bias).collect(),
    };
    if let Some((groups, kept)) = routing.groups {
        keep_best_groups(&mut ranks, groups as usize, kept as usize, routing.sigmoid);
    }
    let chosen = best(&ranks, routing.chosen as usize);
    let kept: f32 = chosen.iter().map(|expert| shares[*expert]).sum();
    // Sigmoids may all vanish; the reference then divides by this.
    let divisor = if routing.normalize { kept.max(1e-20) } else { 1.0 };
    Ok(chosen.into_iter().map(|expert| (expert, shares[expert] / divisor * routing.scale)).collect())
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

/// The buffers that a router's choice travels through.
pub struct ExpertStep {
    /// Rows and factors of the layer's choice, expert by expert.
    pub rows: CountedBuffer,
    pub factors: CountedBuffer,
    scores: CountedBuffer,
    staging: CountedBuffer,
    mapping: Option<Mapping>,
    /// What is added for the choice, by layer; read when first needed.
    biases: HashMap<usize, Vec<f32>>,
    /// The choice of the layer under way.
    pub choice: Choice,
}

/// The most uses of experts in a sweep of `rows` rows, and the most scores.
fn most(spec: &ModelSpec, rows: u64) -> (u64, u64) {
    let experts = spec.layers.iter().filter_map(|layer| layer.experts.as_ref());
    let size = |experts: &ExpertsSpec| (rows * u64::from(experts.routing.chosen), rows * padded(experts.count));
    experts.map(size).fold((0, 0), |most, size| (most.0.max(size.0), most.1.max(size.1)))
}

/// GPU bytes that experts take in sweeps of `rows` rows, besides their activations and tiles.
pub fn step_bytes(spec: &ModelSpec, rows: u64) -> u64 {
    match most(spec, rows) {
        (0, _) => 0,
        (uses, scores) => 4 * align(uses * 4) + align(scores * 4),
    }
}

impl ExpertStep {
    /// Buffers for sweeps of `rows` rows; none for a model without experts.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] or [`ErrorKind::GpuMemory`] where they do not fit.
    pub async fn new(gpu: &Gpu, spec: &ModelSpec, rows: u64) -> Result<Option<Self>> {
        use wgpu::BufferUsages as Usage;
        let (uses, scores) = most(spec, rows);
        if uses == 0 {
            return Ok(None);
        }
        let (list, usage) = (align(uses * 4), Usage::STORAGE | Usage::COPY_DST);
        Ok(Some(Self {
            rows: gpu.buffer("expert rows", list, usage).await?,
            factors: gpu.buffer("expert factors", list, usage).await?,
            scores: gpu.buffer("router scores", align(scores * 4), Usage::MAP_READ | Usage::COPY_DST).await?,
            staging: gpu.mapped_buffer("expert staging", 2 * list, Usage::MAP_WRITE | Usage::COPY_SRC).await?,
            mapping: None,
            biases: HashMap::new(),
            choice: Choice::default(),
        }))
    }
}

impl Engine {
    /// Reads the router's scores back, chooses, and has the chosen experts' tiles fetched.
    pub(super) async fn route(&mut self, layer: usize, scores: BufferId, rows: u32) -> Result<()> {
        let Some(experts) = self.spec.layers[layer].experts.clone() else { return Ok(()) };
        let Some(mut step) = self.experts.take() else { return Ok(()) };
        let result = self.choose(layer, &experts, scores, rows, &mut step).await;
        if result.is_ok() {
            let first = self.expert_section(layer, 0);
            let chosen = step.choice.groups.iter().map(|group| (first + group.expert, group.len as u32));
            self.stream.bring_sections(&chosen.collect::<Vec<_>>(), first..first + experts.count as usize);
        }
        self.experts = Some(step);
        result
    }

    /// What a router adds for its choice: zeros, where it adds nothing.
    async fn router_bias(&self, layer: usize, spec: &ExpertsSpec) -> Result<Vec<f32>> {
        let mut bias = vec![0.0; spec.count as usize];
        if let Some(id) = spec.routing.bias {
            let name = layer_tensor(layer, &self.spec.layers[layer].vectors[usize::from(id.0)].name);
            let mut window = Window::from_slice(bytemuck::cast_slice_mut(&mut bias));
            self.model().read_rows(&name, 0..1, &mut window).await?;
        }
        Ok(bias)
    }

    async fn choose(
        &mut self,
        layer: usize,
        spec: &ExpertsSpec,
        scores: BufferId,
        rows: u32,
        step: &mut ExpertStep,
    ) -> Result<()> {
        let known = step.biases.remove(&layer);
        let bias = match known {
            Some(bias) => bias,
            None => self.router_bias(layer, spec).await?,
        };
        let stride = padded(self.spec.buffers[usize::from(scores.0)].width);
        let bytes = u64::from(rows) * stride * 4;
        let from = wgpu::Buffer::clone(&self.buffers.activations[usize::from(scores.0)]);
        let to = wgpu::Buffer::clone(&step.scores);
        let after = self.submit_with(|encoder| encoder.copy_buffer_to_buffer(&from, 0, &to, 0, bytes)).await?;
        self.gpu.map(&step.scores, wgpu::MapMode::Read, after).ready().await?;
        let unmapped = |error| Error::new(ErrorKind::Internal, "the router's scores are not mapped").source(error);
        let choice = step
            .scores
            .get_mapped_range(..bytes)
            .map_err(unmapped)
            .and_then(|view| Choice::new(bytemuck::cast_slice(&view), stride as usize, &bias, &spec.routing));
        step.scores.unmap();
        step.biases.insert(layer, bias);
        step.choice = choice?;
        if let Some(mapping) = step.mapping.take() {
            mapping.ready().await?;
        }
        let (list, len) = (step.rows.size(), step.choice.rows.len() * 4);
        match step.staging.get_mapped_range_mut(..) {
            Ok(mut view) => {
                view.slice(..len).copy_from_slice(bytemuck::cast_slice(&step.choice.rows));
                let factors = list as usize..list as usize + len;
                view.slice(factors).copy_from_slice(bytemuck::cast_slice(&step.choice.factors));
            }
            Err(error) => {
                return Err(Error::new(ErrorKind::Internal, "the experts' staging is not mapped").source(error));
            }
        }
        step.staging.unmap();
        self.recorder.copy(&step.staging, 0, &step.rows, 0, len as u64);
        self.recorder.copy(&step.staging, list, &step.factors, 0, len as u64);
        // Nothing else is recorded yet: the copies run now, and the staging can be mapped again.
        let after = self.submit().await?;
        step.mapping = Some(self.gpu.map(&step.staging, wgpu::MapMode::Write, after));
        Ok(())
    }

    /// Computes the chosen experts, one after the other, each for its rows.
    pub(super) async fn run_experts(&mut self, layer: usize, op: &Op) -> Result<()> {
        let Op::Experts { input, output, scale } = *op else { return Ok(()) };
        let Some(spec) = self.spec.layers[layer].experts.clone() else { return Ok(()) };
        let choice = self.experts.as_ref().map(|step| step.choice.clone()).unwrap_or_default();
        for group in &choice.groups {
            self.cancel_token().check()?;
            self.run_expert(layer, &spec, group, (input, output), scale).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_gets_its_best_experts_and_each_expert_its_rows() {
        let routing = Routing { chosen: 2, normalize: true, sigmoid: false, scale: 1.0, groups: None, bias: None };
        // Rows of four scores, in a buffer of six.
        let scores = [1.0, 3.0, 2.0, 0.0, 9.0, 9.0, 5.0, 5.0, 5.0, -1.0, 9.0, 9.0];
        let choice = Choice::new(&scores, 6, &[0.0; 4], &routing).expect("chooses");
        let groups: Vec<_> = choice.groups.iter().map(|group| (group.expert, group.first, group.len)).collect();
        assert_eq!(groups, [(0, 0, 1), (1, 1, 2), (2, 3, 1)], "of equals the first ones");
        assert_eq!(choice.rows, [1, 0, 1, 0]);
        let e = std::f32::consts::E;
        let expected = [0.5, e / (e + 1.0), 0.5, 1.0 / (e + 1.0)];
        assert!(choice.factors.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", choice.factors);
        let whole = Choice::new(&scores[..6], 6, &[0.0; 4], &Routing { normalize: false, ..routing }).expect("chooses");
        let total: f32 = [1.0_f32, 3.0, 2.0, 0.0].iter().map(|score| score.exp()).sum();
        assert!((whole.factors[0] - 3.0_f32.exp() / total).abs() < 1e-6);
        assert!(Choice::new(&[0.0, f32::NAN], 2, &[0.0; 2], &routing).is_err());
    }

    #[test]
    fn large_scores_whose_sigmoids_are_equal_are_told_apart() {
        let routing = Routing { chosen: 1, normalize: false, sigmoid: true, scale: 1.0, groups: None, bias: None };
        assert_eq!(route(&[20.0, 40.0, 30.0], &[0.0; 3], &routing).expect("chooses"), [(1, 1.0)]);
    }

    #[test]
    fn groups_and_biases_change_the_choice_and_not_the_factors() {
        let routing =
            Routing { chosen: 2, normalize: false, sigmoid: true, scale: 2.0, groups: Some((3, 1)), bias: None };
        let scores = [3.0, -3.0, 1.0, 1.5, 0.0, 0.0];
        let chosen = |bias: [f32; 6], routing: &Routing| route(&scores, &bias, routing).expect("chooses");
        let experts = |chosen: Vec<(usize, f32)>| chosen.into_iter().map(|(expert, _)| expert).collect::<Vec<_>>();
        assert_eq!(experts(chosen([0.0; 6], &routing)), [3, 2], "the best two of the second group");
        let biased = chosen([0.0, 0.0, 0.0, 0.0, 1.0, 1.0], &routing);
        assert_eq!(biased, [(4, 1.0), (5, 1.0)], "twice one half");
        let by_best = Routing { sigmoid: false, ..routing };
        assert_eq!(experts(chosen([0.0; 6], &by_best)), [0, 1], "the best one is in the first group");
    }
}
