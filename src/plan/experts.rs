//! The experts of a layer as a plan has them, and how a router chooses.

use super::{Activation, BufferId, MatrixSpec, VectorId, VectorSpec};

/// The experts of a layer: alike in shape, and only some are used by each row.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpertsSpec {
    pub count: u32,
    /// Values between an expert's matrices.
    pub width: u32,
    pub hidden: u32,
    pub activation: Activation,
    /// Of [`Activation::ClampedSwiglu`].
    pub limit: f32,
    /// Whether each matrix has a bias of the expert's own.
    pub bias: bool,
    /// The router's factors go on the experts' input, not on their output.
    pub factor_on_input: bool,
    pub routing: Routing,
    /// Buffers of the rows of one expert: input, gate and (from `up_first` on) up, output.
    pub buffers: [BufferId; 3],
}

impl ExpertsSpec {
    /// Gate, up and down of an expert, in sweep order.
    pub fn matrices(&self, expert: u32) -> [MatrixSpec; 3] {
        let matrix = |name: &str, rows, columns| MatrixSpec {
            name: format!("mlp.experts.{expert}.{name}_proj.weight"),
            rows,
            columns,
        };
        [
            matrix("gate", self.width, self.hidden),
            matrix("up", self.width, self.hidden),
            matrix("down", self.hidden, self.width),
        ]
    }
}

impl ExpertsSpec {
    /// The biases of an expert's gate, up and down, as far as it has them.
    pub fn vectors(&self, expert: u32) -> Vec<VectorSpec> {
        let matrices = self.matrices(expert).into_iter().filter(|_| self.bias);
        let bias = |matrix: MatrixSpec| VectorSpec { name: matrix.name.replace(".weight", ".bias"), len: matrix.rows };
        matrices.map(bias).collect()
    }
}

/// How scores become a choice of experts and their factors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Routing {
    /// Experts of each row.
    pub chosen: u32,
    /// The factors of the chosen ones are divided by their sum.
    pub normalize: bool,
    /// Each score by itself, not their softmax.
    pub sigmoid: bool,
    /// Factors are multiplied with this.
    pub scale: f32,
    /// Experts lie in so many groups, of which only the best so many are looked at.
    pub groups: Option<(u32, u32)>,
    /// `[experts]`: added for the choice, not to the factors.
    pub bias: Option<VectorId>,
    /// `[experts]`: the factor of each is multiplied with its own.
    pub factors: Option<VectorId>,
}
