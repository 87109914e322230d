//! Layers that work on one of four streams of a residual, and predict and correct the others (Gemma 3n; AltUp, Baykal et al.
//! 2023), with an augmented residual beside attention (LAuReL, Menghani et al. 2024).

use super::block::Block;
use super::buffers::*;
use super::per_layer_embeddings::PerLayer;
use super::shape::{MOST_WIDTH, Reader};
use super::*;
use crate::Result;

/// The numbers of such layers.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    /// Values between the matrices of the augmented residual.
    pub laurel: u32,
    /// Standard deviations above the mean that a gate of each layer must reach. `None`: it may be anything.
    pub cutoffs: Vec<Option<f32>>,
    /// Whether what embeddings of layers are gated by has factors of its own.
    pub scales: bool,
}

/// A layer's router works twice, and its matrix comes twice: tiles come in the order in which they are used.
const AGAIN: &str = "altup.modality_router_again";
/// Layers whose gates are cut off where a longer model says nothing, and the part of their values that goes.
const SPARSE: (usize, f64) = (10, 0.95);

impl Reader<'_> {
    /// Reads them. `None`: the family has one stream.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`](crate::ErrorKind) and [`ErrorKind::Malformed`](crate::ErrorKind) naming the field.
    pub(super) fn streams(&self, layers: u32, per_layer: Option<PerLayer>) -> Result<Option<Streams>> {
        const PATTERN: &str = "activation_sparsity_pattern";
        const DEVIATIONS: &str = "activation_sparsity_scale";
        let fields = self.fields;
        if !self.family.streams {
            return Ok(None);
        }
        if per_layer.is_none() {
            return Err(fields.missing("hidden_size_per_layer_input"));
        }
        let (first, most) = SPARSE;
        let sparse = if layers as usize > first { first } else { 0 };
        let parts = match fields.layer_list(PATTERN, layers)? {
            None => (0..layers as usize).map(|layer| Some(if layer < sparse { most } else { 0.0 })).collect(),
            Some(list) => list.iter().map(serde_json::Value::as_f64).collect::<Vec<_>>(),
        };
        let cutoff = |part: Option<f64>| match part.filter(|part| (0.0..1.0).contains(part)) {
            Some(0.0) => Ok(None),
            Some(part) => Ok(Some(quantile(part) as f32)),
            None => Err(fields.wrong(PATTERN, "must hold numbers from 0 to below 1")),
        };
        let cutoffs = match fields.layer_list(DEVIATIONS, layers)? {
            // GGUF files have what is counted from the parts.
            Some(list) => list.iter().map(|entry| entry.as_f64().map(|deviations| deviations as f32)).collect(),
            None => parts.into_iter().map(cutoff).collect::<Result<_>>()?,
        };
        let scales = fields.truth("altup_correct_scale")?.unwrap_or(false);
        Ok(Some(Streams { laurel: fields.needed_count("laurel_rank", MOST_WIDTH)?, cutoffs, scales }))
    }
}

/// The value that a part of a normal distribution lies below, `part` being between 0 and 1: by Newton's method, the
/// distribution being the series of Marsaglia (2004).
fn quantile(part: f64) -> f64 {
    let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let below = |x: f64| {
        let (mut term, mut sum) = (x, x);
        for i in 1..200 {
            term *= x * x / f64::from(2 * i + 1);
            sum += term;
        }
        0.5 + sum * density(x)
    };
    let mut x = 0.0_f64;
    for _ in 0..100 {
        // Far out a step would overshoot.
        let step = (below(x) - part) / density(x);
        x = (x - step.clamp(-0.5, 0.5)).clamp(-8.0, 8.0);
    }
    x
}

impl Block<'_> {
    /// The ops of layer `index`.
    pub(super) fn stream_layer(&mut self, index: usize, streams: &Streams, per_layer: PerLayer) {
        let shape = self.shape;
        let hidden = shape.hidden;
        if index == 0 {
            for (other, stream) in STREAMS[1..].iter().enumerate() {
                self.matmul(&format!("altup_projections.{other}"), false, (hidden, hidden), X, BRANCH);
                self.match_size(*stream, false);
            }
        }
        let router = self.norm_spec("altup.router_norm", hidden, false);
        self.mix(X, router, "altup.modality_router", ("altup.prediction_coefs", 16), None);
        let before = self.norm_spec("input_layernorm", hidden, false);
        self.norm_of_rows(X, NORMED, before, (false, 1.0));
        // What adds up: the first stream, what attention reads, what that is augmented by, and what attention gives.
        self.place_rows(X, ACTIVATED);
        self.norm_of_rows(X, ACTIVATED, before, (true, 1.0));
        self.matmul("laurel.linear_left", false, (streams.laurel, hidden), NORMED, LAUREL);
        self.matmul("laurel.linear_right", false, (hidden, streams.laurel), LAUREL, BRANCH);
        let norm = self.norm_spec("laurel.post_laurel_norm", hidden, false);
        self.norm_of_rows(BRANCH, ACTIVATED, norm, (true, 1.0));
        self.attention(index, NORMED, BRANCH);
        let norm = self.norm_spec("post_attention_layernorm", hidden, false);
        self.norm_of_rows(BRANCH, ACTIVATED, norm, (true, 1.0));
        self.bend(ACTIVATED, hidden, std::f32::consts::FRAC_1_SQRT_2, None, None);
        let norm = self.norm_spec("pre_feedforward_layernorm", hidden, false);
        self.norm_of_rows(ACTIVATED, NORMED, norm, (false, 1.0));
        self.feed_forward(index, NORMED, BRANCH);
        let norm = self.norm_spec("post_feedforward_layernorm", hidden, false);
        self.norm_of_rows(BRANCH, ACTIVATED, norm, (true, 1.0));
        self.mix(ACTIVATED, router, AGAIN, ("altup.correction_coefs", 4), Some(ACTIVATED));
        self.place_rows(X, ACTIVATED);
        if streams.scales {
            let factors = self.vector("altup.correct_output_scale".to_owned(), hidden);
            self.bend(ACTIVATED, hidden, 1.0, None, Some(factors));
        }
        self.take_per_layer(index, per_layer, ACTIVATED);
        let norm = self.norm_spec("post_per_layer_input_norm", hidden, false);
        for stream in &STREAMS[1..] {
            self.norm_of_rows(BRANCH, *stream, norm, (true, 1.0));
        }
        if index + 1 == shape.layers as usize {
            self.join_streams();
        }
    }

    /// The mean of the streams, each brought to the size of the first.
    fn join_streams(&mut self) {
        let hidden = self.shape.hidden;
        self.place_rows(X, ACTIVATED);
        for (other, stream) in STREAMS[1..].iter().enumerate() {
            self.matmul(&format!("altup_unembed_projections.{other}"), false, (hidden, hidden), *stream, BRANCH);
            self.match_size(ACTIVATED, true);
        }
        self.place_rows(ACTIVATED, X);
        self.bend(X, hidden, 1.0 / STREAMS.len() as f32, None, None);
    }

    /// Mixes the streams by what a router says of `input`.
    fn mix(
        &mut self,
        input: BufferId,
        norm: NormSpec,
        router: &str,
        (matrix, coefs): (&str, u32),
        activated: Option<BufferId>,
    ) {
        let (hidden, count) = (self.shape.hidden, STREAMS.len() as u32);
        self.norm_of_rows(input, MIXED, norm, (false, (1.0 / f64::from(hidden)) as f32));
        self.matmul(router, false, (count, hidden), MIXED, ROUTED);
        self.bend(ROUTED, count, 1.0, Some(1.0), None);
        self.matmul(matrix, false, (coefs, count), ROUTED, COEFS);
        self.layer.ops.push(Op::MixStreams { streams: STREAMS, coefs: COEFS, activated });
    }

    fn match_size(&mut self, output: BufferId, accumulate: bool) {
        let width = self.shape.hidden;
        self.layer.ops.push(Op::MatchSize { input: BRANCH, model: X, output, width, accumulate });
    }

    fn place_rows(&mut self, input: BufferId, output: BufferId) {
        self.layer.ops.push(Op::Place { input, output, groups: 1, width: self.shape.hidden, first: 0 });
    }

    fn bend(&mut self, target: BufferId, width: u32, scale: f32, cap: Option<f32>, factors: Option<VectorId>) {
        self.layer.ops.push(Op::Bend { target, width, scale, cap, factors });
    }
}
