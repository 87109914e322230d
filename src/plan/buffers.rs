//! The activation buffers of a plan: their numbers, and how wide they are.

use super::per_layer_embeddings::PerLayer;
use super::shape::{Latent, Shape};
use super::*;

pub(super) const X: BufferId = BufferId(0);
pub(super) const NORMED: BufferId = BufferId(1);
pub(super) const Q: BufferId = BufferId(2);
pub(super) const K: BufferId = BufferId(3);
pub(super) const V: BufferId = BufferId(4);
pub(super) const ATTENDED: BufferId = BufferId(5);
/// What is between the matrices of a feed-forward block: gate and up, or up alone.
pub(super) const INNER: BufferId = BufferId(6);
/// Queries, keys and values of plain attention, one after the other.
pub(super) const QKV: BufferId = BufferId(7);
/// What a block adds to the residual, where a norm comes between.
pub(super) const BRANCH: BufferId = BufferId(8);
/// A score for each expert.
pub(super) const SCORES: BufferId = BufferId(9);
/// The gate of the shared expert: one value a row.
pub(super) const SHARED_GATE: BufferId = BufferId(10);
/// Rows of one expert: input, gate and up, output.
pub(super) const EXPERT: [BufferId; 3] = [BufferId(11), BufferId(12), BufferId(13)];
/// Latent rows of queries; queries that meet latent rows, and what they gather of them.
pub(super) const Q_LATENT: BufferId = BufferId(14);
pub(super) const Q_ABSORBED: BufferId = BufferId(15);
pub(super) const ATTENDED_LATENT: BufferId = BufferId(16);
/// What gates the output of attention or of a delta rule.
pub(super) const OUTPUT_GATE: BufferId = BufferId(17);
/// A value for each head of a delta rule: how much it forgets, and how much it takes in.
pub(super) const DECAY: BufferId = BufferId(18);
pub(super) const BETA: BufferId = BufferId(19);

/// For each layer the values that it takes of embeddings of its own.
pub(super) const PER_LAYER: BufferId = BufferId(20);
/// What the first embedding says of them.
pub(super) const PROJECTED: BufferId = BufferId(21);
/// The values of the layer under way.
pub(super) const TAKEN: BufferId = BufferId(22);
/// What a router reads, and what the experts beside a block give together.
pub(super) const MIXED: BufferId = BufferId(23);
/// What a layer makes of the first of four streams, and the other three.
pub(super) const ACTIVATED: BufferId = BufferId(24);
pub(super) const STREAMS: [BufferId; 4] = [X, BufferId(25), BufferId(26), BufferId(27)];
/// How streams are mixed, and what that is made of.
pub(super) const ROUTED: BufferId = BufferId(28);
pub(super) const COEFS: BufferId = BufferId(29);
/// What is between the matrices of an augmented residual.
pub(super) const LAUREL: BufferId = BufferId(30);

/// What a plan may need; a width of 0 is none.
pub(super) fn buffers(shape: &Shape) -> Vec<BufferSpec> {
    let norms = shape.family.norms;
    let apart = shape.parallel && shape.family.parallel_norms;
    let branches = norms.after_attention.is_some() || norms.after_mlp.is_some() || apart;
    let shared = shape.experts.as_ref().and_then(|experts| experts.shared);
    let experts = shape.experts.as_ref().map_or((0, 0, 0), |experts| (experts.count, experts.width, shape.hidden));
    let wide = shape.widest(|layer| shape.intermediate_of(layer)).max(shared.map_or(0, |(width, _)| width));
    let gated_width = |width: u32| if width == 0 { 0 } else { up_first(width) + width };
    let inner = if shape.family.gated || shape.experts.is_some() { gated_width(wide) } else { wide };
    let is_latent = shape.latent.is_some();
    let latent = |width: fn(&Latent) -> u32| shape.latent.as_ref().map_or(0, width);
    let delta = |width: fn(&RecurrentSpec) -> u32| shape.delta.as_ref().map_or(0, |delta| width(&delta.state));
    let attended = shape.widest(|layer| shape.heads_of(layer).attended());
    let gated = if shape.family.output_gate { attended } else { 0 };
    let (keys, values) = (delta(RecurrentSpec::key_width), delta(RecurrentSpec::value_width));
    let qkv = |layer| {
        let heads = shape.heads_of(layer);
        heads.queries() + heads.keys() + heads.values()
    };
    let per_layer = |width: fn(&PerLayer) -> u32| shape.per_layer.as_ref().map_or(0, width);
    let streams = shape.streams.as_ref().map_or(0, |_| shape.hidden);
    let latent_key = if is_latent { shape.key_width(0) } else { 0 };
    let widths = [
        ("x", shape.hidden),
        ("normed", shape.hidden),
        ("q", if is_latent { shape.q_width() } else { keys }),
        ("k", if is_latent { latent_key } else { keys }),
        ("v", values),
        ("attended", attended),
        ("inner", inner),
        ("qkv", if is_latent { 0 } else { shape.widest(qkv) }),
        ("branch", if branches { shape.hidden } else { 0 }),
        ("scores", experts.0),
        ("shared gate", u32::from(shared.is_some_and(|(_, gated)| gated))),
        ("expert input", experts.2),
        ("expert inner", gated_width(experts.1)),
        ("expert output", experts.2),
        ("q latent", latent(|latent| latent.query.unwrap_or(0))),
        ("q absorbed", shape.heads * latent_key),
        ("attended latent", shape.heads * latent(Latent::padded)),
        ("output gate", gated.max(values)),
        ("decay", delta(|state| state.heads)),
        ("beta", delta(|state| state.heads)),
        ("per layer", per_layer(|values| values.all)),
        ("projected", per_layer(|values| values.all)),
        ("taken", per_layer(|values| values.width)),
        ("mixed", if shape.family.experts_beside { shape.hidden } else { streams }),
        ("activated", streams),
        ("second stream", streams),
        ("third stream", streams),
        ("fourth stream", streams),
        ("routed", shape.streams.as_ref().map_or(0, |_| 4)),
        ("coefs", shape.streams.as_ref().map_or(0, |_| 16)),
        ("laurel", shape.streams.as_ref().map_or(0, |streams| streams.laurel)),
    ];
    widths.into_iter().map(|(name, width)| BufferSpec { name, width }).collect()
}
