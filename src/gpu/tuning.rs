//! Sizes of kernels that depend on the adapter: what a class of adapters starts with, and what a search may change.

use serde::{Deserialize, Serialize};

use super::kernels::{InputSpace, InputType, KernelId};
use crate::encoding::Encoding;

/// Invocations of a workgroup that every adapter allows.
const MOST_INVOCATIONS: u32 = 256;

/// How a matrix product is cut into invocations. No bit of the result depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Invocations that share a row's sum: [`Tuning::strands`], or half or a quarter of them.
    pub lanes: u32,
    /// Groups of lanes in a workgroup.
    pub groups: u32,
    /// Rows at once, for each group: 1, 4 or 8. More rows load each input value less often.
    pub rows: u32,
    /// Whether the lanes sum by shuffles, or through workgroup memory.
    pub subgroups: bool,
    /// Whether weights of f16 are loaded as values of shader-f16, which has to give the same bits: see
    /// [`super::halves_agree`].
    pub f16: bool,
}

impl Shape {
    /// Whether it differs in one size only, lanes and workgroup by a factor of two: the way of summing goes with the lanes.
    pub fn is_next_to(self, other: Self) -> bool {
        let factor = |a: u32, b: u32| a.max(b) / a.min(b).max(1);
        let lanes = factor(self.lanes, other.lanes);
        let workgroup = factor(self.lanes * self.groups, other.lanes * other.groups);
        let way = lanes == 1 && self.subgroups != other.subgroups;
        let differs = [lanes > 1, workgroup > 1, self.rows != other.rows, way, self.f16 != other.f16];
        lanes <= 2 && workgroup <= 2 && differs.into_iter().filter(|differs| *differs).count() == 1
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lanes, groups, rows, subgroups, f16 } = self;
        let through = if *subgroups { "shuffles" } else { "memory" };
        let f16 = if *f16 { ", shader-f16" } else { "" };
        write!(f, "{lanes} lanes x {groups} groups x {rows} rows, {through}{f16}")
    }
}

/// Sizes that depend on the kind of adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Partial sums of a row in matrix products, a power of two: the order of a sum depends on it, so no search changes it.
    pub strands: u32,
    /// Invocations that share a row's sum, a power of two: `strands`, or half or a quarter of them.
    pub lanes: u32,
    /// Rows of a workgroup.
    pub groups: u32,
    /// Invocations that share a row in norms and argmax, a power of two.
    pub wide_lanes: u32,
    /// Invocations that share a head in attention.
    pub attention_lanes: u32,
    /// Rows at once in a product with one token, and with many: 1, 4 or 8. More rows load each input value less often.
    pub vector_rows: u32,
    pub matrix_rows: u32,
    /// Whether `lanes` neighbours may shuffle.
    pub subgroups: bool,
    /// Whether matrix products load eight bytes at once instead of four: see shaders/parts/loads_64.wgsl.
    pub loads_64: bool,
    /// Whether matrix products find their inputs in uniform buffers: see shaders/parts/input_uniform.wgsl.
    pub uniform_inputs: bool,
    /// Whether products with one token take blocks of rows one by one: see shaders/parts/blocks_taken.wgsl.
    pub takes_blocks: bool,
    /// What measurements found better for a product.
    pub found: Vec<(KernelId, Shape)>,
}

impl Tuning {
    /// The sizes for an adapter. A processor runs a workgroup on one core and pays for every barrier: where a subgroup is
    /// wide enough it sums a row, elsewhere each invocation sums a row of its own, and its neighbours on the next ones
    /// fill the vector unit. A GPU wants whole warps.
    pub fn for_adapter(info: &wgpu::AdapterInfo, features: wgpu::Features, limits: &wgpu::Limits) -> Self {
        let fits = |lanes| lanes <= shuffling_lanes(info, features);
        let vulkan = info.backend == wgpu::Backend::Vulkan;
        match info.device_type == wgpu::DeviceType::Cpu {
            true if fits(8) => Self {
                strands: 8,
                lanes: 8,
                groups: 1,
                wide_lanes: 8,
                attention_lanes: 8,
                vector_rows: 8,
                // Eight make prompts a quarter faster, and each kernel takes three seconds to compile.
                matrix_rows: 4,
                subgroups: true,
                loads_64: vulkan && features.contains(super::SHADER_INT64),
                uniform_inputs: vulkan,
                takes_blocks: vulkan,
                found: Vec::new(),
            },
            true => Self::WITHOUT_SUMS,
            false => Self {
                strands: 32,
                lanes: 32,
                groups: 4,
                wide_lanes: 128.min(limits.max_compute_invocations_per_workgroup),
                attention_lanes: 64,
                vector_rows: 1,
                matrix_rows: 4,
                subgroups: fits(32),
                loads_64: false,
                uniform_inputs: false,
                takes_blocks: false,
                found: Vec::new(),
            },
        }
    }

    /// No sum over lanes in products: for processors with narrow subgroups or none.
    pub const WITHOUT_SUMS: Self = Self {
        strands: 1,
        lanes: 1,
        groups: 8,
        wide_lanes: 4,
        attention_lanes: 4,
        vector_rows: 4,
        matrix_rows: 4,
        subgroups: false,
        loads_64: false,
        uniform_inputs: false,
        takes_blocks: false,
        found: Vec::new(),
    };

    /// How a matrix product is cut.
    pub fn shape(&self, id: KernelId) -> Shape {
        let id = searched(id);
        if let Some((_, shape)) = self.found.iter().find(|(found, _)| *found == id) {
            return *shape;
        }
        let rows = match id {
            KernelId::MatVec(..) => self.vector_rows,
            KernelId::MatMul(..) => self.matrix_rows,
            // Neighbouring rows may belong to different groups.
            _ => 1,
        };
        Shape { lanes: self.lanes, groups: self.groups, rows, subgroups: self.subgroups, f16: false }
    }

    /// The same with a product cut in another way.
    pub fn with(&self, id: KernelId, shape: Shape) -> Self {
        let (mut tuning, id) = (self.clone(), searched(id));
        tuning.found.retain(|(found, _)| *found != id);
        tuning.found.push((id, shape));
        tuning
    }

    /// Every way to cut a product on an adapter whose subgroups are at least `shuffling` wide; with `f16` also those that use
    /// shader-f16.
    pub fn shapes(&self, shuffling: u32, f16: bool) -> Vec<Shape> {
        let mut shapes = Vec::new();
        for lanes in [self.strands, self.strands / 2, self.strands / 4] {
            // Fewer leave parts of a warp idle, or of a vector unit.
            for invocations in [1, 2, 4, 8].map(|many| many * self.strands.max(8)) {
                let groups = invocations.checked_div(lanes).unwrap_or(0);
                for rows in [1, 4, 8].into_iter().filter(|_| groups > 0 && invocations <= MOST_INVOCATIONS) {
                    // One lane has nobody to sum with.
                    let ways = [true, false].into_iter().filter(|way| !way || (lanes > 1 && lanes <= shuffling));
                    let widening =
                        |f16| ways.clone().map(move |subgroups| Shape { lanes, groups, rows, subgroups, f16 });
                    shapes.extend([false, true].into_iter().filter(|uses| f16 || !uses).flat_map(widening));
                }
            }
        }
        shapes
    }
}

/// Invocations that are sure to be in one subgroup; 0 where they cannot shuffle.
pub fn shuffling_lanes(info: &wgpu::AdapterInfo, features: wgpu::Features) -> u32 {
    if features.contains(wgpu::Features::SUBGROUP) { info.subgroup_min_size } else { 0 }
}

/// The product whose shape `id` has, whatever its input.
fn searched(id: KernelId) -> KernelId {
    match id {
        KernelId::MatVec(encoding, ..) => plain_product(encoding, 1),
        KernelId::MatMul(encoding, ..) => plain_product(encoding, super::kernels::TOKENS),
        id => id,
    }
}

/// The product of an encoding with one token, or with many.
pub fn product(encoding: Encoding, (input, space): (InputType, InputSpace), tokens: u32) -> KernelId {
    if tokens > 1 { KernelId::MatMul(encoding, input, space) } else { KernelId::MatVec(encoding, input, space) }
}

/// The same with inputs as they are, in a storage buffer: it stands for all of them where shapes are found.
pub fn plain_product(encoding: Encoding, tokens: u32) -> KernelId {
    product(encoding, Default::default(), tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu() -> Tuning {
        Tuning { strands: 32, lanes: 32, groups: 4, subgroups: true, ..Tuning::WITHOUT_SUMS }
    }

    #[test]
    fn shapes_keep_the_order_of_a_sum_and_fit_every_adapter() {
        for (tuning, shuffling, f16) in [(gpu(), 32, true), (gpu(), 8, false), (Tuning::WITHOUT_SUMS, 4, true)] {
            let shapes = tuning.shapes(shuffling, f16);
            assert_eq!(shapes.iter().any(|shape| shape.f16), f16);
            for shape in &shapes {
                assert!([1, 2, 4].contains(&(tuning.strands / shape.lanes)), "{shape}");
                assert!(shape.lanes * shape.groups <= 256 && shape.lanes * shape.groups >= 8, "{shape}");
                assert!(!shape.subgroups || shape.lanes <= shuffling, "{shape}");
                assert_eq!(shapes.iter().filter(|other| *other == shape).count(), 1, "{shape}");
            }
        }
        let usual = gpu().shape(plain_product(Encoding::Q4_1, 1));
        assert!(gpu().shapes(32, false).contains(&usual) && !gpu().shapes(16, false).contains(&usual));
    }

    #[test]
    fn a_neighbour_differs_in_one_size() {
        let shape = Shape { lanes: 16, groups: 4, rows: 4, subgroups: false, f16: false };
        let table = [
            (Shape { groups: 8, ..shape }, true),
            (Shape { groups: 16, ..shape }, false),
            (Shape { lanes: 8, groups: 8, ..shape }, true),
            (Shape { lanes: 8, groups: 8, subgroups: true, ..shape }, true),
            (Shape { lanes: 8, ..shape }, false),
            (Shape { rows: 8, ..shape }, true),
            (Shape { rows: 8, groups: 8, ..shape }, false),
            (Shape { subgroups: true, ..shape }, true),
            (Shape { f16: true, ..shape }, true),
            (Shape { f16: true, rows: 8, ..shape }, false),
            (shape, false),
        ];
        for (other, expected) in table {
            assert_eq!((shape.is_next_to(other), other.is_next_to(shape)), (expected, expected), "{other}");
        }
    }

    #[test]
    fn what_was_found_serves_its_own_product_only() {
        let (one, other) = (plain_product(Encoding::Q4_1, 1), plain_product(Encoding::Q8_0, 1));
        let shape = Shape { lanes: 8, groups: 8, rows: 4, subgroups: true, f16: false };
        let tuning = gpu().with(one, Shape { rows: 8, ..shape }).with(one, shape);
        assert_eq!((tuning.shape(one), tuning.shape(other)), (shape, gpu().shape(other)));
        let rounded = product(Encoding::Q4_1, (InputType::I8, InputSpace::Uniform), 1);
        assert_eq!((tuning.shape(rounded), gpu().with(rounded, shape).shape(rounded)), (shape, shape));
    }
}
