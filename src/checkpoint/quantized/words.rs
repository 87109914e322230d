//! GPTQ and AWQ: four or eight bits in words of 32, for the transposed matrix, with scales and zeros for groups of columns.

use safetensors::Dtype;
use serde_json::Value;

use super::form::{companion, matrix, needed, scales};
use super::{Entries, Found, Quantized, WordOrder, only, unsupported};
use crate::checkpoint::Tensor;
use crate::{Error, ErrorKind, Result};

/// What a config says of all matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::internals::checkpoint) struct Words {
    bits: u64,
    order: WordOrder,
    /// Columns of a group; all where none.
    group: Option<u64>,
    symmetric: bool,
    /// Columns were quantized in the order of their weight, not in their own.
    scattered: bool,
}

impl Words {
    /// GPTQ, from `quantization_config` or `quantize_config.json`. The first version of the format keeps zeros less one.
    pub(super) fn gptq(value: &Value) -> Result<Self> {
        let fields = ["checkpoint_format", "format"];
        fields.iter().try_for_each(|field| only(value, field, &["gptq", "gptq_v2"]))?;
        let second = |field: &&str| value.get(*field).and_then(Value::as_str) == Some("gptq_v2");
        let less = u8::from(!fields.iter().any(second));
        let truth = |field: &str| value.get(field).and_then(Value::as_bool).unwrap_or(false);
        let (order, symmetric, scattered) = (WordOrder::Gptq { less }, truth("sym"), truth("desc_act"));
        Ok(Self { bits: bits(value, &[4, 8])?, order, group: group(value, "group_size")?, symmetric, scattered })
    }

    /// AWQ, as its `gemm` kernel has it.
    pub(super) fn awq(value: &Value) -> Result<Self> {
        only(value, "version", &["gemm"])?;
        let (bits, group) = (bits(value, &[4])?, group(value, "group_size")?);
        Ok(Self { bits, order: WordOrder::Awq, group, symmetric: false, scattered: false })
    }

    /// Takes matrices of words, and what belongs to them.
    pub(super) fn take(self, files: &[(String, u64)], entries: &mut Entries) -> Result<Vec<Tensor>> {
        let stems = entries.keys().filter_map(|name| name.strip_suffix(".qweight").map(str::to_owned));
        let stems: Vec<String> = stems.collect();
        let one = |stem: &String| {
            let file = entries.get(&format!("{stem}.qweight")).map(|found| files[found.file].0.clone());
            self.matrix(stem, entries).map_err(|error| error.file(file.unwrap_or_default()))
        };
        stems.iter().map(one).collect()
    }

    fn matrix(self, stem: &str, entries: &mut Entries) -> Result<Tensor> {
        let mut part = |name: &str| needed(entries, &format!("{stem}.{name}"));
        let (own, zeros, scale) = (part("qweight")?, part("qzeros")?, part("scales")?);
        let groups_of = entries.remove(&format!("{stem}.g_idx"));
        let ([lines, across], [groups, rows]) = (&own.entry.shape[..], &scale.entry.shape[..]) else {
            let message = format!("shapes {:?} and {:?} of scales are no matrix", own.entry.shape, scale.entry.shape);
            return Err(Error::new(ErrorKind::Malformed, message).tensor(own.entry.name));
        };
        for Found { entry, .. } in [&own, &zeros].into_iter().chain(&groups_of) {
            if entry.dtype != Dtype::I32 {
                let message = format!("dtype {}; I32 is known", entry.dtype);
                return Err(unsupported(message).tensor(&entry.name));
            }
        }
        let in_word = 32 / self.bits;
        let (columns, width) = match self.order {
            WordOrder::Gptq { .. } => (lines.saturating_mul(in_word), *across),
            WordOrder::Awq => (*lines, across.saturating_mul(in_word)),
        };
        let group = self.group.unwrap_or(columns);
        if width != *rows || columns.div_ceil(group) != *groups {
            let message = format!("scales {:?} do not fit {columns} columns in groups of {group}", scale.entry.shape);
            return Err(Error::new(ErrorKind::Malformed, message).tensor(own.entry.name));
        }
        // With one group any order is the same.
        let scattered = self.scattered && *groups > 1;
        let shape = (*rows, columns);
        let quantized = Quantized::Words {
            bits: self.bits,
            order: self.order,
            group,
            scales: scales(&scale.entry)?,
            symmetric: self.symmetric,
            indexed: groups_of.is_some(),
            scattered,
        };
        if scattered && groups_of.is_none() {
            let message = "is not there, and desc_act needs it";
            return Err(Error::new(ErrorKind::Missing, message).tensor(format!("{stem}.g_idx")));
        }
        let companions = [zeros, scale].into_iter().chain(groups_of).map(|part| companion(part, 1)).collect();
        matrix(own, stem, shape, quantized, companions)
    }
}

fn bits(value: &Value, known: &[u64]) -> Result<u64> {
    let found = value.get("bits").and_then(Value::as_u64);
    found.filter(|bits| known.contains(bits)).ok_or_else(|| {
        let known: Vec<String> = known.iter().map(u64::to_string).collect();
        let found = value.get("bits").unwrap_or(&Value::Null);
        unsupported(format!("quantization_config has bits {found}; known is {}", known.join(", ")))
    })
}

/// Columns of a group; none where all are one.
fn group(value: &Value, field: &str) -> Result<Option<u64>> {
    match value.get(field).map(|group| group.as_i64()) {
        Some(Some(-1)) => Ok(None),
        Some(Some(group)) if group > 0 => Ok(Some(group as u64)),
        _ => {
            let message = format!("quantization_config has {field} {:?}", value.get(field));
            Err(Error::new(ErrorKind::Malformed, message))
        }
    }
}
