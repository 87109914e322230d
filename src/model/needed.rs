//! The kernels that a plan needs, so that all are compiled before the first sweep.

use std::collections::HashSet;

use super::budget::padded;
use super::layout::{LayerLayout, MatrixLayout, ModelLayout};
use super::products::InputChoice;
use crate::gpu::kernels::{InputType, KernelId, KvType, TOKENS};
use crate::gpu::tuning::product;
use crate::plan::{BufferId, ModelSpec, Op, Up};

/// Every kernel that a sweep over the plan may ask for, each once.
pub(super) fn needed_kernels(spec: &ModelSpec, layout: &ModelLayout, kv: KvType, inputs: InputChoice) -> Vec<KernelId> {
    let mut ids = vec![KernelId::Norm, KernelId::KvWrite(kv), KernelId::Argmax];
    ids.extend([KernelId::GatherRows, KernelId::Logits]);
    for (layer, matrices) in spec.layers.iter().zip(&layout.layers) {
        for op in &layer.ops {
            ids.extend(of_op(op, matrices, kv));
        }
        ids.extend(layer.experts.as_ref().map(|experts| KernelId::GateWithin(experts.activation)));
    }
    for (matrix, width) in whole_products(spec, layout) {
        for tokens in [1, TOKENS] {
            let input = inputs.of(matrix, padded(width), tokens);
            ids.push(product(matrix.encoding, (input.kind, input.space), tokens));
            ids.extend((input.kind == InputType::I8).then_some(KernelId::QuantizeRows));
        }
    }
    let mut seen = HashSet::new();
    ids.retain(|id| seen.insert(*id));
    ids
}

/// Every matrix that meets its whole input, and the values in a row of the input's buffer.
fn whole_products<'a>(spec: &'a ModelSpec, layout: &'a ModelLayout) -> Vec<(&'a MatrixLayout, u32)> {
    let width = |id: BufferId| spec.buffers[usize::from(id.0)].width;
    let mut products = vec![(&layout.head.matrices[0], spec.hidden)];
    for (layer, matrices) in spec.layers.iter().zip(&layout.layers) {
        for op in &layer.ops {
            let Op::MatMul { input, parts, groups: 1, .. } = op else { continue };
            products.extend(parts.iter().map(|part| (matrices.matrix(part.weight), width(*input))));
        }
        let Some(experts) = &layer.experts else { continue };
        let [rows_in, inner, _] = experts.buffers.map(width);
        for expert in &matrices.experts {
            products.extend(expert.matrices.iter().zip([rows_in, rows_in, inner]));
        }
    }
    products
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
