//! The table of kernels: entry point, the WGSL parts it is composed of, its constants, its bindings.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::compose::Composed;
pub use super::params::*;
use crate::encoding::{ENCODINGS, Encoding};
use crate::plan::Activation;
use crate::{Error, ErrorKind, Result};

/// Positions in a page of the KV cache.
pub const PAGE_TOKENS: u32 = 32;
/// Tokens that the tiled matrix product keeps in registers.
pub const TOKENS: u32 = 4;

impl Activation {
    /// Every one there is.
    pub const ALL: [Self; 6] =
        [Self::Silu, Self::Gelu, Self::GeluTanh, Self::Sigmoid, Self::SigmoidFactor, Self::ClampedSwiglu];

    /// The WGSL part that computes it.
    fn part(self) -> &'static str {
        match self {
            Self::Silu => "parts/silu.wgsl",
            Self::Gelu => "parts/gelu.wgsl",
            Self::GeluTanh => "parts/gelu_tanh.wgsl",
            Self::Sigmoid => "parts/sigmoid.wgsl",
            Self::SigmoidFactor => "parts/sigmoid_factor.wgsl",
            Self::ClampedSwiglu => "parts/clamped_swiglu.wgsl",
        }
    }
}

/// How the KV cache stores numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvType {
    F32,
    F16,
}

impl KvType {
    /// Bytes of a value.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KernelId {
    /// Matrix times one token.
    MatVec(Encoding),
    /// The same where the matrix's rows come in groups, each with a part of the input of its own.
    MatVecInGroups(Encoding),
    /// Matrix times many tokens; the same bits for each.
    MatMul(Encoding),
    /// The transpose of each group of a matrix's rows times the values of a group.
    MatMulTransposed(Encoding),
    Norm,
    /// The same where input and output are one buffer.
    NormInPlace,
    Rope,
    KvWrite(KvType),
    Attention(KvType),
    Gate(Activation),
    /// The same where what it is multiplied with lies in the same rows, or is nothing.
    GateWithin(Activation),
    /// Scale and cap of the logits.
    Logits,
    Argmax,
    GatherRows,
    ScatterRows,
    PlaceColumns,
    /// A plain copy, to measure others by.
    Copy,
    /// Causal convolution along a sequence.
    Conv,
    DeltaRule,
}

/// Sizes that depend on the kind of adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Invocations that share a row's sum, a power of two.
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
}

impl Tuning {
    /// The sizes for an adapter. A processor runs a workgroup on one core and pays for every barrier: where a subgroup is
    /// wide enough it sums a row, elsewhere each invocation sums a row of its own, and its neighbours on the next ones
    /// fill the vector unit. A GPU wants whole warps.
    pub fn for_adapter(info: &wgpu::AdapterInfo, features: wgpu::Features, limits: &wgpu::Limits) -> Self {
        let fits = |lanes| features.contains(wgpu::Features::SUBGROUP) && info.subgroup_min_size >= lanes;
        match info.device_type == wgpu::DeviceType::Cpu {
            true if fits(8) => Self {
                lanes: 8,
                groups: 1,
                wide_lanes: 8,
                attention_lanes: 8,
                vector_rows: 8,
                // Eight make prompts a quarter faster, and each kernel takes three seconds to compile.
                matrix_rows: 4,
                subgroups: true,
            },
            true => Self::WITHOUT_SUMS,
            false => Self {
                lanes: 32,
                groups: 4,
                wide_lanes: 128.min(limits.max_compute_invocations_per_workgroup),
                attention_lanes: 64,
                vector_rows: 1,
                matrix_rows: 4,
                subgroups: fits(32),
            },
        }
    }

    /// No sum over lanes in products: for processors with narrow subgroups or none.
    pub const WITHOUT_SUMS: Self = Self {
        lanes: 1,
        groups: 8,
        wide_lanes: 4,
        attention_lanes: 4,
        vector_rows: 4,
        matrix_rows: 4,
        subgroups: false,
    };
}

/// What a shader does with a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}
use Access::{Read, Write};

/// A kernel as data.
#[derive(Clone, Debug)]
pub struct KernelRow {
    pub entry: &'static str,
    pub composed: Composed,
    bindings: &'static [Access],
    params_bytes: u64,
}

/// A compiled kernel.
#[derive(Debug)]
pub struct Kernel {
    pub id: KernelId,
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

impl KernelId {
    /// Every kernel there is.
    pub fn all() -> Vec<Self> {
        let mut ids = vec![
            Self::Norm,
            Self::NormInPlace,
            Self::Rope,
            Self::Logits,
            Self::Argmax,
            Self::GatherRows,
            Self::ScatterRows,
            Self::PlaceColumns,
            Self::Copy,
            Self::Conv,
            Self::DeltaRule,
        ];
        ids.extend(Activation::ALL.map(Self::Gate));
        ids.extend(Activation::ALL.map(Self::GateWithin));
        for kv in [KvType::F32, KvType::F16] {
            ids.extend([Self::KvWrite(kv), Self::Attention(kv)]);
        }
        for row in ENCODINGS {
            let encoding = row.encoding;
            ids.extend([Self::MatVec(encoding), Self::MatMul(encoding)]);
            ids.extend([Self::MatVecInGroups(encoding), Self::MatMulTransposed(encoding)]);
        }
        ids
    }

    /// The kernel's row for an adapter's tuning.
    ///
    /// # Errors
    /// [`ErrorKind::Gpu`] where a part is missing: a fault of this table.
    pub fn row(self, tuning: &Tuning) -> Result<KernelRow> {
        let (entry, parts, bindings, params_bytes) = self.parts(tuning);
        let parts: Vec<&str> = parts.iter().map(|part| &**part).collect();
        let uses_lanes = self.is_product() || matches!(self, Self::Norm | Self::NormInPlace);
        let lanes = match self {
            _ if self.is_product() => tuning.lanes,
            Self::Attention(_) => tuning.attention_lanes,
            _ => tuning.wide_lanes,
        };
        let groups = if self.is_product() { tuning.groups } else { 1 };
        let constants = [("LANES", lanes), ("GROUPS", groups), ("TOKENS", TOKENS), ("PAGE_TOKENS", PAGE_TOKENS)];
        let enable = uses_lanes && self.shuffles(tuning) && crate::platform::ENABLE_SUBGROUPS;
        let composed = Composed::new(enable, &constants, &parts)?;
        Ok(KernelRow { entry, composed, bindings, params_bytes })
    }

    /// Rows and tokens that an invocation of a matrix product has in registers.
    pub fn block(self, tuning: &Tuning) -> (u32, u32) {
        match self {
            Self::MatVec(_) => (tuning.vector_rows, 1),
            Self::MatMul(_) => (tuning.matrix_rows, TOKENS),
            // Neighbouring rows may belong to different groups.
            _ => (1, 1),
        }
    }

    /// Whether lanes share a row's sum.
    fn is_product(self) -> bool {
        matches!(self, Self::MatVec(_) | Self::MatVecInGroups(_) | Self::MatMul(_))
    }

    /// Whether the lanes that share a sum fit a subgroup.
    fn shuffles(self, tuning: &Tuning) -> bool {
        tuning.subgroups && (!matches!(self, Self::Norm | Self::NormInPlace) || tuning.wide_lanes <= tuning.lanes)
    }

    fn parts(self, tuning: &Tuning) -> (&'static str, Vec<String>, &'static [Access], u64) {
        let lanes = if self.shuffles(tuning) { "parts/lanes_subgroup.wgsl" } else { "parts/lanes_workgroup.wgsl" };
        const WHOLE: &str = "parts/input_whole.wgsl";
        const IN_GROUPS: &str = "parts/input_in_groups.wgsl";
        const PRODUCT: &[Access] = &[Read, Read, Read, Read, Write];
        let own = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect();
        let matmul = |encoding: Encoding, input: &str| {
            let (rows, _) = self.block(tuning);
            let (encoding, rows) = (format!("encoding/{}.wgsl", encoding.name()), format!("parts/rows_{rows}.wgsl"));
            let parts = ["matmul.wgsl", &encoding, &rows, "parts/bits.wgsl", lanes, input];
            own(&parts)
        };
        let transposed = |encoding: Encoding| {
            let encoding = format!("encoding/{}.wgsl", encoding.name());
            own(&["matmul_transposed.wgsl", &encoding, "parts/bits.wgsl"])
        };
        let kv = |kind| match kind {
            KvType::F32 => "parts/kv_f32.wgsl",
            KvType::F16 => "parts/kv_f16.wgsl",
        };
        match self {
            Self::MatVec(encoding) => ("matvec", matmul(encoding, WHOLE), PRODUCT, size::<MatMulParams>()),
            Self::MatVecInGroups(encoding) => ("matvec", matmul(encoding, IN_GROUPS), PRODUCT, size::<MatMulParams>()),
            Self::MatMul(encoding) => ("matmul", matmul(encoding, WHOLE), PRODUCT, size::<MatMulParams>()),
            Self::MatMulTransposed(encoding) => (
                "matmul_transposed",
                transposed(encoding),
                &[Read, Read, Read, Write],
                size::<MatMulTransposedParams>(),
            ),
            Self::Norm => (
                "norm",
                own(&["norm.wgsl", "parts/norm_apart.wgsl", lanes]),
                &[Read, Read, Write],
                size::<NormParams>(),
            ),
            Self::NormInPlace => {
                ("norm", own(&["norm.wgsl", "parts/norm_in_place.wgsl", lanes]), &[Read, Write], size::<NormParams>())
            }
            Self::Rope => ("rope", own(&["rope.wgsl"]), &[Read, Write], size::<RopeParams>()),
            Self::KvWrite(kind) => (
                "kv_write",
                own(&["kv_write.wgsl", "parts/kv_pages.wgsl", kv(kind)]),
                &[Write, Read, Read, Read, Write],
                size::<KvWriteParams>(),
            ),
            Self::Attention(kind) => (
                "attention",
                own(&["attention.wgsl", "parts/kv_pages.wgsl", kv(kind)]),
                &[Read, Read, Read, Read, Read, Write, Write],
                size::<AttentionParams>(),
            ),
            Self::Gate(activation) => (
                "gate",
                own(&["gate.wgsl", "parts/gate_apart.wgsl", activation.part()]),
                &[Read, Write],
                size::<GateParams>(),
            ),
            Self::GateWithin(activation) => (
                "gate",
                own(&["gate.wgsl", "parts/gate_within.wgsl", activation.part()]),
                &[Write],
                size::<GateParams>(),
            ),
            Self::Logits => ("logits", own(&["logits.wgsl"]), &[Read, Write], size::<LogitsParams>()),
            Self::Argmax => ("argmax", own(&["argmax.wgsl"]), &[Read, Write], size::<ArgmaxParams>()),
            Self::Copy => ("copy", own(&["copy.wgsl"]), &[Read, Write], size::<CopyParams>()),
            Self::PlaceColumns => {
                ("place_columns", own(&["place_columns.wgsl"]), &[Read, Write], size::<PlaceColumnsParams>())
            }
            Self::Conv => ("conv", own(&["conv.wgsl"]), &[Read, Read, Write, Write], size::<ConvParams>()),
            Self::DeltaRule => (
                "delta_rule",
                own(&["delta_rule.wgsl"]),
                &[Read, Read, Read, Read, Read, Read, Write, Write],
                size::<DeltaRuleParams>(),
            ),
            Self::ScatterRows => {
                ("scatter_rows", own(&["scatter_rows.wgsl"]), &[Read, Read, Read, Write], size::<ScatterRowsParams>())
            }
            Self::GatherRows => {
                ("gather_rows", own(&["gather_rows.wgsl"]), &[Read, Read, Read, Write], size::<GatherRowsParams>())
            }
        }
    }
}

fn size<P>() -> u64 {
    // WGSL rounds a uniform struct up to 16 bytes.
    size_of::<P>().next_multiple_of(16) as u64
}

/// The compiled kernels of a device.
#[derive(Debug)]
pub struct Kernels {
    device: wgpu::Device,
    tuning: Tuning,
    compiled: Mutex<HashMap<KernelId, Arc<Kernel>>>,
}

impl Kernels {
    /// An empty set.
    pub fn new(device: &wgpu::Device, tuning: Tuning) -> Self {
        Self { device: device.clone(), tuning, compiled: Mutex::default() }
    }

    /// The sizes that the kernels are compiled for.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// A kernel that was prepared.
    pub fn get(&self, id: KernelId) -> Option<Arc<Kernel>> {
        self.compiled.lock().ok()?.get(&id).cloned()
    }

    /// Compiles kernels that are not there yet.
    ///
    /// # Errors
    /// [`ErrorKind::Gpu`] naming file and line of the shader, with what the driver says.
    pub async fn prepare(&self, ids: &[KernelId]) -> Result<()> {
        for id in ids {
            if self.get(*id).is_none() {
                let kernel = Arc::new(self.compile(*id).await?);
                if let Ok(mut compiled) = self.compiled.lock() {
                    compiled.insert(*id, kernel);
                }
            }
        }
        Ok(())
    }

    async fn compile(&self, id: KernelId) -> Result<Kernel> {
        let row = id.row(&self.tuning)?;
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(row.entry),
            source: wgpu::ShaderSource::Wgsl(row.composed.source.as_str().into()),
        });
        let layout = self.layout(&row);
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(row.entry),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(row.entry),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(row.entry),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let Some(error) = scope.pop().await else { return Ok(Kernel { id, pipeline, layout }) };
        let messages = module.get_compilation_info().await.messages;
        let place = messages.iter().find_map(|message| message.location.as_ref());
        let place = place.map_or_else(|| row.entry.to_owned(), |place| row.composed.place(place.line_number));
        Err(Error::new(ErrorKind::Gpu, format!("kernel {id:?} does not compile: {error}")).file(place))
    }

    fn layout(&self, row: &KernelRow) -> wgpu::BindGroupLayout {
        let entry = |binding, ty, has_dynamic_offset, bytes| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: wgpu::BufferSize::new(bytes) },
            count: None,
        };
        let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true, row.params_bytes)];
        entries.extend((1..).zip(row.bindings).map(|(index, access)| {
            let ty = wgpu::BufferBindingType::Storage { read_only: *access == Read };
            entry(index, ty, false, 0)
        }));
        self.device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(row.entry), entries: &entries })
    }
}
