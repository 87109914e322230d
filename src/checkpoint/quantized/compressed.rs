//! compressed-tensors, and what NVIDIA's ModelOpt writes: floats and whole numbers of four to eight bits.
//!
//! Which group of the config a matrix belongs to is told by names and patterns; here it is told by the matrix itself: by the
//! types and shapes of its parts. So a checkpoint may have several formats.

use safetensors::Dtype;
use serde_json::Value;

use super::form::{Fp4Scales, companion, matrix, needed, scales};
use super::{Entries, Found, Quantized, only, scaled, sizes, unsupported};
use crate::checkpoint::Tensor;
use crate::{Error, ErrorKind, Result};

/// What is known of a checkpoint's groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::internals::checkpoint) struct Compressed {
    /// The whole numbers of up to eight bits.
    integers: Vec<Integers>,
    /// Rows and columns that share the scale of bytes, where it is for blocks.
    block: Option<(u64, u64)>,
}

/// The whole numbers of a group of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Integers {
    bits: u64,
    /// Columns that share a scale. `None`: all.
    group: Option<u64>,
    /// Whether scales have zeros beside them.
    zeros: bool,
}

/// The formats whose matrices tell what they are.
const FORMATS: &[&str] = &[
    "dense",
    "float-quantized",
    "int-quantized",
    "mixed-precision",
    "mxfp4-pack-quantized",
    "naive-quantized",
    "nvfp4-pack-quantized",
    "pack-quantized",
];
/// What ModelOpt calls those.
const ALGORITHMS: &[&str] = &["fp8", "nvfp4", "mixed_precision", "nvfp4_awq", "fp8_pb_wo", "fp8_pc_pt", "w4a16_nvfp4"];
/// What scales activations and caches, which are f32 here; and shapes that those of the parts tell.
const NOT_OF_WEIGHTS: &[&str] = &[
    ".input_global_scale",
    ".input_scale",
    ".input_zero_point",
    ".k_scale",
    ".output_scale",
    ".output_zero_point",
    ".q_scale",
    ".v_scale",
    ".weight_shape",
];

impl Compressed {
    /// Reads `quantization_config`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a format that is not known, or columns in no order.
    pub(super) fn read(config: &Value) -> Result<Self> {
        only(config, "format", FORMATS)?;
        let groups = config.get("config_groups").and_then(Value::as_object);
        let mut integers = Vec::new();
        for group in groups.into_iter().flat_map(|groups| groups.values()) {
            only(group, "format", FORMATS)?;
            let Some(weights) = group.get("weights").filter(|weights| !weights.is_null()) else { continue };
            let number = |field: &str| weights.get(field).and_then(Value::as_u64);
            if weights.get("actorder").and_then(Value::as_str).is_some_and(|order| order == "group") {
                return Err(unsupported("quantization_config has columns in the order of their weight".to_owned()));
            }
            let kind = weights.get("type").and_then(Value::as_str).unwrap_or("int");
            if let ("int", Some(bits @ 1..=8)) = (kind, number("num_bits")) {
                let zeros = weights.get("symmetric").and_then(Value::as_bool) == Some(false);
                let each = Integers { bits, group: number("group_size").filter(|size| *size > 0), zeros };
                if !integers.contains(&each) {
                    integers.push(each);
                }
            }
        }
        Ok(Self { integers, block: structure(config)? })
    }

    /// Reads what ModelOpt says of the whole checkpoint.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for an algorithm that is not known.
    pub(super) fn model_opt(config: &Value) -> Result<Self> {
        only(config, "quant_algo", ALGORITHMS)?;
        Ok(Self::default())
    }

    /// Takes all matrices that are packed in one of these ways.
    pub(super) fn take(&self, files: &[(String, u64)], entries: &mut Entries) -> Result<Vec<Tensor>> {
        let mut tensors = Vec::new();
        for ending in [".weight_packed", ".weight"] {
            let is_packed = |found: &Found| match ending {
                ".weight_packed" => true,
                _ => found.entry.dtype == Dtype::U8,
            };
            let stems = entries.iter().filter(|(_, found)| is_packed(found));
            let stems = stems.filter_map(|(name, _)| name.strip_suffix(ending).map(str::to_owned));
            for stem in stems.collect::<Vec<_>>() {
                let own = needed(entries, &format!("{stem}{ending}"))?;
                let file = own.file;
                let taken = match own.entry.dtype {
                    Dtype::I32 => self.integers(own, &stem, entries),
                    _ => floats(own, &stem, entries),
                };
                tensors.push(taken.map_err(|error| error.file(&files[file].0))?);
            }
        }
        tensors.extend(scaled::take(files, self.block, entries)?);
        entries.retain(|name, _| !NOT_OF_WEIGHTS.iter().any(|ending| name.ends_with(ending)));
        Ok(tensors)
    }

    /// `weight_packed` i32 `[rows, words]`, `weight_scale` `[rows, groups]`, and maybe `weight_zero_point`.
    fn integers(&self, own: Found, stem: &str, entries: &mut Entries) -> Result<Tensor> {
        let scale = needed(entries, &format!("{stem}.weight_scale"))?;
        let zeros = entries.remove(&format!("{stem}.weight_zero_point"));
        if entries.contains_key(&format!("{stem}.weight_g_idx")) {
            let message = "says that columns lie in no order, which is not supported".to_owned();
            return Err(unsupported(message).tensor(format!("{stem}.weight_g_idx")));
        }
        let ([rows, words], [scale_rows, groups]) = (&own.entry.shape[..], &scale.entry.shape[..]) else {
            let message = format!("shapes {:?} and {:?} of scales are no matrix", own.entry.shape, scale.entry.shape);
            return Err(Error::new(ErrorKind::Malformed, message).tensor(own.entry.name));
        };
        let (rows, words, groups) = (*rows, *words, *groups);
        let fits = |Integers { bits, group, zeros: has_zeros }: &Integers| {
            let columns = words.checked_mul(32)? / bits;
            let group = group.unwrap_or(columns).max(1);
            // Words may hold a few columns more than there are; a group tells how many.
            let columns = columns.min(groups.checked_mul(group)?);
            let whole = columns.div_ceil(group) == groups && (columns * bits).div_ceil(32) == words;
            let alike = *scale_rows == rows && *has_zeros == zeros.is_some();
            (whole && alike && columns > 0).then_some((*bits, columns, group))
        };
        let mut found = self.integers.iter().filter_map(fits);
        let (Some((bits, columns, group)), None) = (found.next(), found.next()) else {
            let message = format!(
                "{rows} x {words} words with scales {:?} are those of none or of several groups of the quantization_config",
                scale.entry.shape
            );
            return Err(unsupported(message).tensor(own.entry.name));
        };
        if let Some(Found { entry, .. }) = zeros.as_ref().filter(|found| found.entry.dtype != Dtype::I32) {
            return Err(unsupported(format!("dtype {}; I32 is known", entry.dtype)).tensor(&entry.name));
        }
        let quantized = Quantized::Packed { bits, group, scales: scales(&scale.entry)?, zeros: zeros.is_some() };
        let companions = [scale].into_iter().chain(zeros).map(|part| companion(part, 1)).collect();
        matrix(own, stem, (rows, columns), quantized, companions)
    }
}

/// NVFP4 and MXFP4: u8 `[rows, columns / 2]`, `weight_scale` `[rows, groups]`, and the whole matrix's scale by the name that
/// its tool has for it.
fn floats(own: Found, stem: &str, entries: &mut Entries) -> Result<Tensor> {
    let scale = needed(entries, &format!("{stem}.weight_scale"))?;
    let [rows, half] = own.entry.shape[..] else {
        return Err(unsupported(format!("shape {:?} is no matrix", own.entry.shape)).tensor(own.entry.name));
    };
    let whole = match (own.entry.dtype, scale.entry.dtype) {
        (Dtype::U8, Dtype::U8 | Dtype::F8_E8M0) => None,
        (Dtype::U8, Dtype::F8_E4M3) => {
            let divisor = format!("{stem}.weight_global_scale");
            let inverse = entries.contains_key(&divisor);
            let name = if inverse { divisor } else { format!("{stem}.weight_scale_2") };
            Some((needed(entries, &name)?, inverse))
        }
        (dtype, of_scales) => {
            let message = format!("{dtype} with scales of {of_scales} is not supported");
            return Err(unsupported(message).tensor(own.entry.name));
        }
    };
    if let Some((Found { entry, .. }, _)) = whole.as_ref().filter(|(found, _)| found.entry.dtype != Dtype::F32) {
        return Err(unsupported(format!("dtype {}; F32 is known", entry.dtype)).tensor(&entry.name));
    }
    let scales = match &whole {
        Some((_, inverse)) => Fp4Scales::Floats { inverse: *inverse },
        None => Fp4Scales::Powers,
    };
    let parts = [scale].into_iter().chain(whole.map(|(whole, _)| whole));
    let companions = parts.map(|part| companion(part, 1)).collect();
    matrix(own, stem, (rows, half.saturating_mul(2)), Quantized::Fp4 { scales }, companions)
}

/// Whether these are tensors that ModelOpt wrote; its older files say it nowhere but beside the config.
pub(super) fn is_model_opt(entries: &Entries) -> bool {
    entries.keys().any(|name| name.ends_with(".weight_scale_2"))
}

/// Rows and columns that share a scale, where groups of layers say so.
fn structure(value: &Value) -> Result<Option<(u64, u64)>> {
    let groups = value.get("config_groups").and_then(Value::as_object).into_iter().flat_map(|groups| groups.values());
    let blocks = groups.filter_map(|group| group.get("weights")?.get("block_structure"));
    let mut blocks = blocks.filter(|value| !value.is_null());
    let Some(first) = blocks.next() else { return Ok(None) };
    match blocks.find(|other| *other != first) {
        Some(other) => Err(unsupported(format!("quantization_config has blocks of {first} and of {other}"))),
        None => sizes(first).map(Some),
    }
}
