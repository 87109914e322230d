//! The ops of a feed-forward block: one for all tokens, or experts.

use super::block::{Block, EXPERT, INNER, SCORES, SHARED_GATE, X};
use super::shape::ExpertsShape;
use super::*;

impl Block<'_> {
    /// The experts that a router chooses, and the one that every token uses.
    fn experts(&mut self, experts: &ExpertsShape, input: BufferId, output: BufferId) {
        let (hidden, activation) = (self.shape.hidden, self.shape.activation);
        self.matmul("mlp.gate", self.shape.family.expert_bias, (experts.count, hidden), input, SCORES);
        // The chosen ones are on their way while the shared one is computed.
        self.layer.ops.push(Op::Route { scores: SCORES });
        if let Some((width, gated)) = experts.shared {
            let name = if gated { "mlp.shared_expert" } else { "mlp.shared_experts" };
            if gated {
                self.matmul("mlp.shared_expert_gate", false, (1, hidden), input, SHARED_GATE);
            }
            self.gate_and_up(name, false, (width, hidden), input);
            if gated {
                // What a factor does to a product's input it does to the product.
                let (up, activation) = (Up::In(SHARED_GATE, 0), Activation::SigmoidFactor);
                self.layer.ops.push(Op::Gate { target: INNER, up, width, activation, one_factor: true });
            }
            self.block_scale = experts.scale;
            self.matmul(&format!("{name}.down_proj"), false, (hidden, width), INNER, output);
            self.block_scale = 1.0;
        } else if output != X {
            self.clear(output, input);
        }
        let scale = self.added(output).1 * experts.scale;
        self.layer.ops.push(Op::Experts { input, output, scale });
        let (count, width) = (experts.count, experts.width);
        let bias = experts.bias.then(|| self.vector("mlp.gate.bias".to_owned(), count));
        let routing = Routing { bias, ..experts.routing };
        self.layer.experts = Some(ExpertsSpec {
            count,
            width,
            hidden,
            activation: experts.limit.map_or(activation, |_| Activation::ClampedSwiglu),
            limit: experts.limit.unwrap_or(0.0),
            bias: self.shape.family.expert_bias,
            factor_on_input: self.shape.family.factor_on_input,
            routing,
            buffers: EXPERT,
        });
    }

    /// Experts add to what is there. Zero times the norm of any row is a row of zeros.
    fn clear(&mut self, output: BufferId, input: BufferId) {
        let norm = NormSpec { kind: NormKind::Rms, epsilon: 1.0, weight: None, bias: None };
        let groups = NormGroups::alike(0, 1, self.shape.hidden);
        self.layer.ops.push(Op::Norm { input, output, norm, groups, accumulate: false, scale: 0.0, factor: None });
    }

    /// The gated input of a feed-forward block's last product.
    fn gate_and_up(&mut self, name: &str, bias: bool, (width, hidden): (u32, u32), input: BufferId) {
        let (gate, up) = (format!("{name}.gate_proj"), format!("{name}.up_proj"));
        self.matmuls(&[(&gate, width, 0), (&up, width, up_first(width))], bias, hidden, input, INNER);
        self.gate(INNER, Up::From(up_first(width)), width, self.shape.activation);
    }

    pub(super) fn feed_forward(&mut self, index: usize, input: BufferId, output: BufferId) {
        if let Some(experts) = self.shape.experts.as_ref().filter(|experts| experts.layers[index]) {
            return self.experts(experts, input, output);
        }
        let (width, hidden, bias) = (self.shape.intermediate_of(index), self.shape.hidden, self.shape.mlp_bias);
        if self.shape.family.gated {
            self.gate_and_up("mlp", bias, (width, hidden), input);
        } else {
            self.matmul("mlp.up_proj", bias, (width, hidden), input, INNER);
            if self.shape.family.learned_curve {
                let [positive, negative, slope] =
                    ["alpha_p", "alpha_n", "beta"].map(|name| self.vector(format!("mlp.act_fn.{name}"), 1));
                self.layer.ops.push(Op::Xielu { target: INNER, width, positive, negative, slope });
            } else {
                self.gate(INNER, Up::Nothing, width, self.shape.activation);
            }
        }
        self.matmul("mlp.down_proj", bias, (hidden, width), INNER, output);
    }
}
