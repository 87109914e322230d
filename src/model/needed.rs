//! The kernels that a plan needs, so that all are compiled before the first sweep.

use std::collections::HashSet;

use super::layout::ModelLayout;
use crate::gpu::kernels::{KernelId, KvType};
use crate::plan::{ModelSpec, Op, Up};

/// The kernels of products in groups, of which a plan has few.
fn grouped_products(spec: &ModelSpec, layout: &ModelLayout) -> Vec<KernelId> {
    let mut ids = Vec::new();
    for (layer, layout) in spec.layers.iter().zip(&layout.layers) {
        for op in &layer.ops {
            let of_op = match op {
                Op::MatMul { parts, groups: 2.., .. } => {
                    parts.iter().map(|part| KernelId::MatVecInGroups(layout.matrix(part.weight).encoding)).collect()
                }
                Op::MatMulTransposed { weight, .. } => {
                    vec![KernelId::MatMulTransposed(layout.matrix(*weight).encoding)]
                }
                _ => Vec::new(),
            };
            ids.extend(of_op);
        }
    }
    ids
}

/// Every kernel that a sweep over the plan may ask for, each once.
pub(super) fn needed_kernels(spec: &ModelSpec, layout: &ModelLayout, kv: KvType) -> Vec<KernelId> {
    let mut ids = vec![KernelId::Norm, KernelId::KvWrite(kv), KernelId::Argmax];
    ids.extend([KernelId::GatherRows, KernelId::Logits]);
    for op in spec.layers.iter().flat_map(|layer| &layer.ops) {
        if let Op::Attention { attention, .. } = op {
            // Of a row alone, and of several.
            ids.extend([1, 2].map(|rows| KernelId::attention(kv, rows, attention.heads / attention.kv_heads.max(1))));
        }
        ids.push(match op {
            Op::Gate { activation, up: Up::In(_), .. } => KernelId::Gate(*activation),
            Op::Gate { activation, .. } => KernelId::GateWithin(*activation),
            Op::Rope { .. } => KernelId::Rope,
            Op::Norm { input, output, .. } if input == output => KernelId::NormInPlace,
            Op::Experts { .. } => KernelId::ScatterRows,
            Op::Place { .. } => KernelId::PlaceColumns,
            Op::Conv { .. } => KernelId::Conv,
            Op::DeltaRule { .. } => KernelId::DeltaRule,
            _ => continue,
        });
    }
    let activations = spec.layers.iter().filter_map(|layer| layer.experts.as_ref());
    ids.extend(activations.map(|experts| KernelId::GateWithin(experts.activation)));
    let mut encodings: Vec<_> = layout.matrices().map(|matrix| matrix.encoding).collect();
    encodings.sort_unstable();
    encodings.dedup();
    ids.extend(encodings.into_iter().flat_map(|encoding| [KernelId::MatVec(encoding), KernelId::MatMul(encoding)]));
    ids.extend(grouped_products(spec, layout));
    let mut seen = HashSet::new();
    ids.retain(|id| seen.insert(*id));
    ids
}
