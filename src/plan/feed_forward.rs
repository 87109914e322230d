//! The ops of a feed-forward block: one for all tokens, or experts.

use super::block::Block;
use super::buffers::*;
use super::shape::ExpertsShape;
use super::*;

impl Block<'_> {
    /// The experts that a router chooses, and the one that every token uses.
    fn experts(&mut self, experts: &ExpertsShape, input: BufferId, output: BufferId) {
        let hidden = self.shape.hidden;
        self.matmul("mlp.gate", self.shape.family.expert_bias, (experts.count, hidden), input, SCORES);
        // The chosen ones are on their way while the shared one is computed.
        self.layer.ops.push(Op::Route { scores: SCORES });
        if let Some((width, gated)) = experts.shared {
            let name = if gated { "mlp.shared_expert" } else { "mlp.shared_experts" };
            if gated {
                self.matmul("mlp.shared_expert_gate", false, (1, hidden), input, SHARED_GATE);
            }
            self.gate_and_up(name, false, (width, hidden), input, None);
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
        let bias = experts.bias.then(|| self.vector("mlp.gate.bias".to_owned(), experts.count));
        self.layer.experts = Some(self.experts_spec(experts, Routing { bias, ..experts.routing }));
    }

    fn experts_spec(&self, experts: &ExpertsShape, routing: Routing) -> ExpertsSpec {
        ExpertsSpec {
            count: experts.count,
            width: experts.width,
            hidden: self.shape.hidden,
            activation: experts.limit.map_or(self.shape.activation, |_| Activation::ClampedSwiglu),
            limit: experts.limit.unwrap_or(0.0),
            bias: self.shape.family.expert_bias,
            factor_on_input: self.shape.family.factor_on_input,
            routing,
            buffers: EXPERT,
        }
    }

    /// A block for all tokens with experts beside it (Gemma 4): each reads the residual through a norm of its own, and what
    /// each gives is normed before it is added to the other. So does the router, whose norm has a factor for each value.
    fn block_and_experts(&mut self, index: usize, experts: &ExpertsShape, input: BufferId) {
        let hidden = self.shape.hidden;
        let plain = NormSpec { kind: NormKind::Rms, epsilon: self.shape.epsilon, weight: None, bias: None };
        let weight = Some(self.vector("router.scale".to_owned(), hidden));
        let scale = (1.0 / f64::from(hidden).sqrt()) as f32;
        self.norm_of_rows(X, MIXED, NormSpec { weight, ..plain }, (false, scale));
        self.matmul("router.proj", false, (experts.count, hidden), MIXED, SCORES);
        // The chosen ones are on their way while the block for all tokens is computed.
        self.layer.ops.push(Op::Route { scores: SCORES });
        self.one_for_all(index, input, BRANCH);
        let norm = self.norm_spec("post_feedforward_layernorm_1", hidden, false);
        self.norm_in_place(BRANCH, NormGroups::alike(0, 1, hidden), norm, 1.0);
        let norm = self.norm_spec("pre_feedforward_layernorm_2", hidden, false);
        self.norm_of_rows(X, NORMED, norm, (false, 1.0));
        self.clear(MIXED, NORMED);
        self.layer.ops.push(Op::Experts { input: NORMED, output: MIXED, scale: experts.scale });
        let norm = self.norm_spec("post_feedforward_layernorm_2", hidden, false);
        self.norm_of_rows(MIXED, BRANCH, norm, (true, 1.0));
        let factors = Some(self.vector("router.per_expert_scale".to_owned(), experts.count));
        self.layer.experts = Some(self.experts_spec(experts, Routing { factors, ..experts.routing }));
    }

    pub(super) fn norm_of_rows(
        &mut self,
        input: BufferId,
        output: BufferId,
        norm: NormSpec,
        (accumulate, scale): (bool, f32),
    ) {
        let groups = NormGroups::alike(0, 1, self.shape.hidden);
        self.layer.ops.push(Op::Norm { input, output, norm, groups, accumulate, scale, factor: None });
    }

    /// Experts add to what is there. Zero times the norm of any row is a row of zeros.
    fn clear(&mut self, output: BufferId, input: BufferId) {
        let norm = NormSpec { kind: NormKind::Rms, epsilon: 1.0, weight: None, bias: None };
        self.norm_of_rows(input, output, norm, (false, 0.0));
    }

    /// The gated input of a feed-forward block's last product; of gates what is so many `deviations` above their mean.
    fn gate_and_up(
        &mut self,
        name: &str,
        bias: bool,
        (width, hidden): (u32, u32),
        input: BufferId,
        deviations: Option<f32>,
    ) {
        let (gate, up) = (format!("{name}.gate_proj"), format!("{name}.up_proj"));
        self.matmuls(&[(&gate, width, 0), (&up, width, up_first(width))], bias, hidden, input, INNER);
        if let Some(deviations) = deviations {
            self.layer.ops.push(Op::Cutoff { target: INNER, width, deviations });
        }
        self.gate(INNER, Up::From(up_first(width)), width, self.shape.activation);
    }

    pub(super) fn feed_forward(&mut self, index: usize, input: BufferId, output: BufferId) {
        match self.shape.experts.as_ref().filter(|experts| experts.layers[index]) {
            Some(experts) if self.shape.family.experts_beside => self.block_and_experts(index, experts, input),
            Some(experts) => self.experts(experts, input, output),
            None => self.one_for_all(index, input, output),
        }
    }

    /// A block that every token uses.
    fn one_for_all(&mut self, index: usize, input: BufferId, output: BufferId) {
        let (width, hidden, bias) = (self.shape.intermediate_of(index), self.shape.hidden, self.shape.mlp_bias);
        if self.shape.family.gated {
            let deviations = self.shape.streams.as_ref().and_then(|streams| streams.cutoffs[index]);
            self.gate_and_up("mlp", bias, (width, hidden), input, deviations);
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
