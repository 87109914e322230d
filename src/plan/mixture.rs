//! Experts: their numbers in a config, and which layers have them.

use serde_json::Value;

use super::Routing;
use super::families::{Experts, Shared};
use super::shape::{ExpertsShape, MOST_LAYERS, MOST_WIDTH, Reader};
use crate::Result;

const MOST_EXPERTS: u32 = 4096;
/// Each is a name and a place in memory before a byte of it is read.
const MOST_EXPERTS_OF_ALL: u64 = 1 << 18;

impl Reader<'_> {
    /// Reads them by the rules of a family.
    pub(super) fn experts(&self, experts: Experts, layers: u32) -> Result<ExpertsShape> {
        let fields = self.fields;
        // transformers 5 writes this name for families that publish another.
        let field = fields.get("num_local_experts").map_or(experts.count, |_| "num_local_experts");
        let count = fields.needed_count(field, MOST_EXPERTS)?;
        if u64::from(count) * u64::from(layers) > MOST_EXPERTS_OF_ALL {
            let message = format_args!("is {count}, which {layers} layers make too many to be a model");
            return Err(fields.wrong(field, message));
        }
        let chosen = fields.needed_count("num_experts_per_tok", count)?;
        let width = fields.needed_count(experts.width, MOST_WIDTH)?;
        let shared = match experts.shared {
            Shared::None => None,
            Shared::Gated(field) => Some((fields.needed_count(field, MOST_WIDTH)?, true)),
            Shared::Several(field) => {
                fields.count(field, MOST_EXPERTS)?.map(|count| (count.saturating_mul(width), false))
            }
            Shared::Wide(field) => fields.count(field, MOST_WIDTH)?.map(|width| (width, false)),
            Shared::One => Some((width, false)),
        };
        // Cohere: the mean of what the shared one and the others give, where there is a shared one.
        let average = self.reads("shared_expert_combination_strategy")
            && fields.text("shared_expert_combination_strategy")? == Some("average");
        let sigmoid = fields.text("scoring_func")? == Some("sigmoid");
        Ok(ExpertsShape {
            count,
            width,
            shared,
            bias: self.family.choice_bias.unwrap_or(sigmoid),
            scale: if average && shared.is_some() { 0.5 } else { 1.0 },
            limit: match self.family.swiglu_limit {
                Some(field) => Some(fields.needed_positive(field)? as f32),
                None => None,
            },
            routing: Routing {
                chosen,
                normalize: self.flag(experts.normalize)?,
                sigmoid,
                scale: fields.positive("routed_scaling_factor")?.unwrap_or(1.0) as f32,
                groups: self.expert_groups(count)?,
                bias: None,
                factors: None,
            },
            layers: self.sparse_layers(layers)?,
        })
    }

    /// Which layers have experts.
    pub(super) fn sparse_layers(&self, layers: u32) -> Result<Vec<bool>> {
        let fields = self.fields;
        let step = fields.count("decoder_sparse_step", MOST_LAYERS)?.unwrap_or(1);
        let first = fields.number("first_k_dense_replace")?.unwrap_or(0.0);
        let last = if self.reads("last_sparse_layer") { fields.number("last_sparse_layer")? } else { None };
        // A negative one counts from the end.
        let last = last.filter(|last| *last >= 0.0).unwrap_or(f64::INFINITY);
        let dense = fields.get("mlp_only_layers").and_then(Value::as_array);
        let is_dense = |layer: u32| dense.is_some_and(|list| list.iter().any(|entry| entry == layer));
        let listed = if self.reads("moe_layers") { fields.get("moe_layers").and_then(Value::as_array) } else { None };
        let frequency = if self.reads("moe_layer_freq") { fields.layer_list("moe_layer_freq", layers)? } else { None };
        let kinds = if self.reads("mlp_layer_types") { fields.layer_list("mlp_layer_types", layers)? } else { None };
        let other = |kind: &&Value| !matches!(kind.as_str(), Some("sparse" | "dense"));
        if let Some(kind) = kinds.and_then(|kinds| kinds.iter().find(other)) {
            return Err(fields.wrong("mlp_layer_types", format_args!("holds {kind}")));
        }
        let sparse = |layer: u32| match listed {
            None if kinds.is_some() => kinds.is_some_and(|kinds| kinds[layer as usize] == "sparse"),
            None if frequency.is_some() => frequency.is_some_and(|list| list[layer as usize] == 1),
            Some(list) => list.iter().any(|entry| entry == layer),
            None => (layer + 1).is_multiple_of(step) && !is_dense(layer) && (first..=last).contains(&f64::from(layer)),
        };
        Ok((0..layers).map(sparse).collect())
    }

    fn expert_groups(&self, count: u32) -> Result<Option<(u32, u32)>> {
        let groups = self.fields.count("n_group", count)?.unwrap_or(1);
        let kept = self.fields.count("topk_group", groups)?.unwrap_or(groups);
        if !count.is_multiple_of(groups) {
            let message = format_args!("is {groups}, which does not divide {count} experts");
            return Err(self.fields.wrong("n_group", message));
        }
        Ok((groups > 1).then_some((groups, kept)))
    }
}
