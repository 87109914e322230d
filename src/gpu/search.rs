//! The best shape of a product on an adapter: found by measuring at first use, remembered for the next.
//!
//! Every candidate computes the same bits, so that it does not matter which one wins, nor when the time is up.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Gpu;
use super::compile::{KernelPool, Kernels};
use super::halves::halves_agree;
use super::kernels::{InputType, KernelId};
use super::measure::{Product, ProductBench, SPREAD_BYTES};
use super::tuning::{Shape, Tuning, plain_product, shuffling_lanes};
use crate::Result;
use crate::encoding::Encoding;
use crate::platform::{REMEMBERS, now_s, recall, remember};

/// Seconds that the search for a model's products takes, compiling included, but for the candidate under way.
const SEARCH_S: f64 = 2.0;
/// A measurement of a candidate takes at least this long.
const LEAST_S: f64 = 0.005;
/// A candidate has to be better by so much: less is noise.
const BETTER: f64 = 0.96;
/// Tokens of the product with many.
const MANY: u32 = 64;
/// Rows of a measured matrix at most: about what lies together of a large one.
const MOST_ROWS: u32 = 4096;
/// Changed with what a shape or its measurement means.
const VERSION: u32 = 3;

/// One candidate, measured.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    pub id: KernelId,
    pub shape: Shape,
    pub seconds: f64,
    pub product: Product,
    /// Rows that the matrix was multiplied with.
    pub tokens: u32,
}

/// What was found for a product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Found {
    encoding: String,
    many: bool,
    columns: u32,
    shape: Shape,
}

impl Found {
    /// How far its columns are from others: the larger divided by the smaller.
    fn distance(&self, columns: u32) -> f64 {
        let (a, b) = (f64::from(self.columns.max(1)), f64::from(columns.max(1)));
        (a / b).max(b / a)
    }
}

/// The best shapes that are known of an adapter.
pub struct Search<'a> {
    gpu: &'a Gpu,
    tuning: Tuning,
    found: Vec<Found>,
    /// Whether shader-f16 may be tried, once that was asked.
    f16: Option<bool>,
}

impl<'a> Search<'a> {
    /// What earlier searches found on this adapter.
    pub fn new(gpu: &'a Gpu) -> Self {
        let found = recall(&name(gpu)).unwrap_or_default();
        Self { gpu, tuning: gpu.tuning().clone(), found, f16: None }
    }

    /// The tuning for a model's products, one for each encoding: what is remembered, and on a GPU what a short search
    /// finds for the others.
    pub async fn of_model(mut self, products: &[Product]) -> Tuning {
        let is_cpu = self.gpu.adapter.is_cpu();
        let searches = REMEMBERS && !is_cpu;
        let mut missing = Vec::new();
        for product in products {
            for tokens in [1, MANY] {
                // Where nobody searches, another size's shape is better than none.
                let farthest = if searches { 2.0 } else { f64::INFINITY };
                if !self.take_known(*product, tokens, farthest).await && searches {
                    missing.push((*product, tokens));
                }
            }
        }
        let start = now_s();
        for (index, (product, tokens)) in missing.iter().enumerate() {
            let until_s = start + SEARCH_S * (index + 1) as f64 / missing.len() as f64;
            // What cannot be measured (in a small budget) keeps the adapter's usual shape.
            let _ = self.improve(*product, *tokens, until_s, &mut |_| ()).await;
        }
        if !missing.is_empty() {
            self.keep();
        }
        self.tuning
    }

    /// Measures every shape that is next to a good one, with one token and with many, and keeps the best.
    ///
    /// # Errors
    /// Those of the GPU, and [`crate::ErrorKind::Budget`] where the matrix does not fit.
    pub async fn of_product(&mut self, product: Product, visit: &mut (dyn FnMut(Trial) + Send)) -> Result<()> {
        for tokens in [1, MANY] {
            self.improve(product, tokens, f64::INFINITY, visit).await?;
        }
        self.keep();
        Ok(())
    }

    /// The tuning so far.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// Takes what is known of matrices whose rows are about as long.
    async fn take_known(&mut self, of: Product, tokens: u32, farthest: f64) -> bool {
        let shapes = self.tuning.shapes(self.shuffling(), of.encoding == Encoding::F16);
        let Some(shape) = known(&self.found, &shapes, of, tokens, farthest) else { return false };
        if shape.f16 && !self.may_use_f16().await.unwrap_or(false) {
            return false;
        }
        self.tuning = self.tuning.with(plain_product(of.encoding, tokens), shape);
        true
    }

    fn shuffling(&self) -> u32 {
        shuffling_lanes(&self.gpu.adapter.info, self.gpu.features())
    }

    /// Whether shader-f16 is there and changes no bit.
    ///
    /// # Errors
    /// Those of [`halves_agree`].
    pub async fn may_use_f16(&mut self) -> Result<bool> {
        if self.f16.is_none() {
            self.f16 = Some(halves_agree(self.gpu).await?);
        }
        Ok(self.f16 == Some(true))
    }

    /// Searches for a better shape of a product until the time is up.
    async fn improve(
        &mut self,
        mut of: Product,
        tokens: u32,
        until_s: f64,
        visit: &mut (dyn FnMut(Trial) + Send),
    ) -> Result<()> {
        // Half of what is free: the buffers that a candidate's recorder makes come on top.
        let spread = SPREAD_BYTES.min(self.gpu.accountant().free_bytes() / 2);
        let most_rows = spread / of.encoding.row_stride(u64::from(of.columns)).max(1);
        of.rows = of.rows.min(MOST_ROWS).min(u32::try_from(most_rows).unwrap_or(u32::MAX)).max(1);
        let id = plain_product(of.encoding, tokens);
        let bench = ProductBench::new(self.gpu, of, InputType::F32, tokens, spread).await?;
        let f16 = of.encoding == Encoding::F16 && self.may_use_f16().await?;
        let (gpu, shapes) = (self.gpu, self.tuning.shapes(self.shuffling(), f16));
        let mut measured = HashMap::new();
        let (mut best, mut best_s) = (self.tuning.shape(id), f64::INFINITY);
        let mut best_kernels = None;
        loop {
            let mut round = if measured.is_empty() { vec![best] } else { Vec::new() };
            round.extend(shapes.iter().filter(|shape| !measured.contains_key(*shape) && shape.is_next_to(best)));
            if round.is_empty() || now_s() >= until_s {
                break;
            }
            for (shape, kernels) in self.compiled(bench.id(), &round).await {
                // The first one at least, so that a slow machine does not begin anew at every start.
                if now_s() >= until_s && !measured.is_empty() {
                    break;
                }
                let seconds = seconds(&bench, &kernels).await;
                gpu.check()?;
                measured.insert(shape, seconds);
                visit(Trial { id, shape, seconds, product: of, tokens });
                // The machine may have been slower a moment ago: the best one defends itself.
                if let Some(kernels) = best_kernels.as_ref().filter(|_| seconds < best_s * BETTER) {
                    best_s = self::seconds(&bench, kernels).await.min(best_s);
                }
                if seconds < best_s * BETTER {
                    (best, best_s, best_kernels) = (shape, seconds, Some(kernels));
                }
            }
        }
        drop(bench);
        gpu.idle().await;
        if !measured.is_empty() {
            self.tuning = self.tuning.with(id, best);
            let (encoding, many) = (of.encoding.name().to_owned(), tokens > 1);
            self.found.retain(|found| found.encoding != encoding || found.many != many || found.columns != of.columns);
            self.found.push(Found { encoding, many, columns: of.columns, shape: best });
        }
        Ok(())
    }

    /// Kernels of a product in several shapes, compiled side by side; without those that the driver refuses. Each has a pool
    /// of its own, which goes with it: the device does not keep what lost.
    async fn compiled(&self, id: KernelId, shapes: &[Shape]) -> Vec<(Shape, Kernels)> {
        let compile = |shape: Shape| async move {
            let tuning = self.tuning.with(id, shape);
            let pool = KernelPool::new(&self.gpu.device, self.gpu.pipelines.clone());
            let kernels = Kernels::new(Arc::new(pool), tuning);
            kernels.prepare(&[id]).await.is_ok().then_some((shape, kernels))
        };
        let compiled = futures::future::join_all(shapes.iter().map(|shape| compile(*shape))).await;
        compiled.into_iter().flatten().collect()
    }

    fn keep(&self) {
        remember(&name(self.gpu), &self.found);
    }
}

/// Seconds of a product; as good as never where the driver refuses.
async fn seconds(bench: &ProductBench, kernels: &Kernels) -> f64 {
    bench.seconds(kernels, LEAST_S).await.unwrap_or(f64::INFINITY)
}

/// The shape that was found for rows of about the same length: up to `farthest` times as long, or as short.
fn known(found: &[Found], shapes: &[Shape], of: Product, tokens: u32, farthest: f64) -> Option<Shape> {
    let (name, many) = (of.encoding.name(), tokens > 1);
    let of_kind = found.iter().filter(|found| found.encoding == name && found.many == many);
    // What was remembered may be of another version, or changed by hand.
    let near = of_kind.filter(|found| found.distance(of.columns) <= farthest && shapes.contains(&found.shape));
    let nearest = near.min_by(|a, b| a.distance(of.columns).total_cmp(&b.distance(of.columns)));
    nearest.map(|found| found.shape)
}

/// Under which name shapes are remembered: all that they depend on.
fn name(gpu: &Gpu) -> String {
    let info = &gpu.adapter.info;
    format!("shapes-{VERSION}-{}-{}-{}-{}", info.backend, info.name, info.driver, info.driver_info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_size_is_taken_and_never_a_shape_that_could_change_the_bits() {
        let shapes = Tuning::WITHOUT_SUMS.shapes(0, false);
        let [first, second] = [shapes[0], shapes[1]];
        let foreign = Shape { lanes: 64, ..first };
        let entry = |many, columns, shape| Found { encoding: "q4_1".into(), many, columns, shape };
        let found = [entry(false, 576, first), entry(false, 4096, second), entry(true, 64, foreign)];
        let of = |columns| Product { encoding: Encoding::Q4_1, rows: 1, columns };
        let table = [(576, 2.0, Some(first)), (1024, 2.0, Some(first)), (2048, 2.0, Some(second)), (1536, 2.0, None)];
        for (columns, farthest, expected) in table {
            assert_eq!(known(&found, &shapes, of(columns), 1, farthest), expected, "{columns}");
        }
        assert_eq!(known(&found, &shapes, of(1), 1, f64::INFINITY), Some(first));
        assert_eq!(known(&found, &shapes, of(64), MANY, f64::INFINITY), None, "64 lanes would sum in another order");
        assert_eq!(known(&found, &shapes, Product { encoding: Encoding::Q8_0, ..of(576) }, 1, 2.0), None);
    }
}
