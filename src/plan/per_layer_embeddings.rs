//! Embeddings that each layer has of its own (Gemma 3n and 4): a token has a row of them in a second table, and what a layer
//! takes of it is mixed with what the first embedding says.

use super::block::Block;
use super::buffers::*;
use super::shape::{MOST_WIDTH, Reader};
use super::*;
use crate::Result;

/// The numbers of these embeddings.
#[derive(Clone, Copy, Debug)]
pub(super) struct PerLayer {
    /// Values of each layer.
    pub width: u32,
    /// Rows of the table.
    pub rows: u32,
    /// Values of a row: of all layers.
    pub all: u32,
}

impl PerLayer {
    /// As the engine sees them: rows are scaled as embeddings are, and weigh as much as what they are mixed with.
    pub(super) fn spec(self) -> PerLayerSpec {
        let scale = (f64::from(self.width) / 2.0).sqrt() as f32;
        PerLayerSpec { rows: self.rows, width: self.all, target: PER_LAYER, scale }
    }
}

impl Reader<'_> {
    /// Reads them. `None`: layers have none.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`](crate::ErrorKind) and [`ErrorKind::Malformed`](crate::ErrorKind) naming the field.
    pub(super) fn per_layer(&self, layers: u32, vocab: u32) -> Result<Option<PerLayer>> {
        const WIDTH: &str = "hidden_size_per_layer_input";
        const ROWS: &str = "vocab_size_per_layer_input";
        let fields = self.fields;
        if !self.reads(WIDTH) || fields.number(WIDTH)?.unwrap_or(0.0) == 0.0 {
            return Ok(None);
        }
        let (width, rows) = (fields.needed_count(WIDTH, MOST_WIDTH)?, fields.needed_count(ROWS, u32::MAX)?);
        // Gemma 3n has no rows for tokens of pictures and sounds, and takes the first one.
        if rows < vocab && !self.family.streams {
            return Err(fields.wrong(ROWS, format_args!("is {rows}, fewer than the {vocab} tokens")));
        }
        let all = layers.saturating_mul(width);
        if all > MOST_WIDTH {
            let message = format_args!("makes rows of {all} values; at most {MOST_WIDTH} are known");
            return Err(fields.wrong(WIDTH, message));
        }
        Ok(Some(PerLayer { width, rows, all }))
    }
}

impl Block<'_> {
    /// Mixes the rows of the table with what the first embedding says, for all layers: before the first one.
    pub(super) fn mix_per_layer(&mut self, per_layer: PerLayer) {
        let (hidden, layers) = (self.shape.hidden, self.shape.layers);
        self.block_scale = (1.0 / f64::from(hidden).sqrt()) as f32;
        self.matmul("per_layer_model_projection", false, (per_layer.all, hidden), X, PROJECTED);
        self.block_scale = 1.0;
        let norm = self.norm_spec("per_layer_projection_norm", per_layer.width, false);
        self.layer.ops.push(Op::Norm {
            input: PROJECTED,
            output: PER_LAYER,
            norm,
            groups: NormGroups::alike(0, layers, per_layer.width),
            accumulate: true,
            scale: std::f32::consts::FRAC_1_SQRT_2,
            factor: None,
        });
    }

    /// What comes of the values of layer `index`, which `input` gates, through a product.
    pub(super) fn take_per_layer(&mut self, index: usize, per_layer: PerLayer, input: BufferId) {
        let (hidden, width) = (self.shape.hidden, per_layer.width);
        self.matmul("per_layer_input_gate", false, (width, hidden), input, TAKEN);
        self.gate(TAKEN, Up::In(PER_LAYER, index as u32 * width), width, self.shape.activation);
        self.matmul("per_layer_projection", false, (hidden, width), TAKEN, BRANCH);
    }
}
