//! The kernels that a plan needs, so that all are compiled before the first sweep.

use std::collections::HashSet;

use super::layout::{LayerLayout, ModelLayout};
use crate::gpu::kernels::{InputType, KernelId, KvType};
use crate::plan::{ModelSpec, Op, Up};

/// Every kernel that a sweep over the plan may ask for, each once.
pub(super) fn needed_kernels(
    spec: &ModelSpec,
    layout: &ModelLayout,
    kv: KvType,
    most_rounded: InputType,
) -> Vec<KernelId> {
    let mut ids = vec![KernelId::Norm, KernelId::KvWrite(kv), KernelId::Argmax];
    ids.extend([KernelId::GatherRows, KernelId::Logits]);
    for (layer, matrices) in spec.layers.iter().zip(&layout.layers) {
        for op in &layer.ops {
            ids.extend(of_op(op, matrices, kv));
        }
        ids.extend(layer.experts.as_ref().map(|experts| KernelId::GateWithin(experts.activation)));
    }
    for encoding in layout.matrices().map(|matrix| matrix.encoding) {
        let input = encoding.input_type(most_rounded);
        ids.extend([KernelId::MatVec(encoding, input), KernelId::MatMul(encoding, input)]);
        ids.extend((input == InputType::I8).then_some(KernelId::QuantizeRows));
    }
    let mut seen = HashSet::new();
    ids.retain(|id| seen.insert(*id));
    ids
}

/// The kernels of an op besides those of every plan, and of products with whole matrices.
fn of_op(op: &Op, layout: &LayerLayout, kv: KvType) -> Vec<KernelId> {
    match op {
        Op::MatMul { parts, groups: 2.., .. } => {
            parts.iter().map(|part| KernelId::MatVecInGroups(layout.matrix(part.weight).encoding)).collect()
        }
        Op::MatMulTransposed { weight, .. } => vec![KernelId::MatMulTransposed(layout.matrix(*weight).encoding)],
        Op::Attention { attention, .. } => {
            let sharing = attention.heads / attention.kv_heads.max(1);
            // Of a row alone, and of several.
            [1, 2].map(|rows| KernelId::attention(kv, rows, sharing)).to_vec()
        }
        Op::Gate { activation, up: Up::In(_), .. } => vec![KernelId::Gate(*activation)],
        Op::Gate { activation, .. } => vec![KernelId::GateWithin(*activation)],
        Op::Rope { .. } => vec![KernelId::Rope],
        Op::Norm { input, output, .. } if input == output => vec![KernelId::NormInPlace],
        Op::Experts { .. } => vec![KernelId::ScatterRows],
        Op::Place { .. } => vec![KernelId::PlaceColumns],
        Op::Conv { .. } => vec![KernelId::Conv],
        Op::DeltaRule { .. } => vec![KernelId::DeltaRule],
        _ => Vec::new(),
    }
}
