//! Eight-bit floats and whole numbers with scales in `weight_scale_inv` (DeepSeek, Qwen) or `weight_scale`.
//!
//! Value = quant * scale in all of them; the `inv` says how the scale was made.

use safetensors::Dtype;

use super::form::{companion, matrix, needed, scales};
use super::{Entries, Found, Quantized, unsupported};
use crate::checkpoint::Tensor;
use crate::checkpoint::safetensors::Entry;
use crate::encoding::Encoding;
use crate::{Error, ErrorKind, Result};

/// What scales the activations, where the engine of the quantizer wants them small too. Here they stay f32.
const OF_ACTIVATIONS: &[&str] = &["input_scale", "input_scale_ub", "activation_scale"];

/// Takes matrices of bytes with their scales.
pub(super) fn take(files: &[(String, u64)], block: Option<(u64, u64)>, entries: &mut Entries) -> Result<Vec<Tensor>> {
    let quants = |entry: &Entry| match entry.dtype {
        Dtype::F8_E4M3 => Some(Encoding::F8_E4M3),
        Dtype::I8 => Some(Encoding::I8),
        _ => None,
    };
    let names = entries
        .iter()
        .filter_map(|(name, Found { entry, .. })| Some((name.strip_suffix(".weight")?.to_owned(), quants(entry)?)));
    let mut tensors = Vec::new();
    for (stem, quants) in names.collect::<Vec<_>>() {
        let own = needed(entries, &format!("{stem}.weight"))?;
        let file = own.file;
        let name = ["weight_scale_inv", "weight_scale"].map(|name| format!("{stem}.{name}"));
        let scale = name.iter().find(|name| entries.contains_key(*name)).unwrap_or(&name[0]);
        let scale = needed(entries, scale).map_err(|error| error.file(&files[file].0))?;
        for name in OF_ACTIVATIONS {
            entries.remove(&format!("{stem}.{name}"));
        }
        let [rows, columns] = own.entry.shape[..] else {
            let message = format!("shape {:?} is no matrix", own.entry.shape);
            return Err(unsupported(message).tensor(own.entry.name).file(&files[file].0));
        };
        let (rows_each, columns_each) = each(&scale.entry, (rows, columns), block)?;
        let quantized = Quantized::Scaled { quants, scales: scales(&scale.entry)?, columns_each, divisor: 1.0 };
        tensors.push(matrix(own, &stem, (rows, columns), quantized, vec![companion(scale, rows_each)])?);
    }
    Ok(tensors)
}

/// Rows and columns that share a scale.
fn each(scale: &Entry, (rows, columns): (u64, u64), block: Option<(u64, u64)>) -> Result<(u64, u64)> {
    match (&scale.shape[..], block) {
        (shape, _) if shape.iter().product::<u64>() == 1 => Ok((rows, columns)),
        ([all] | [all, 1], None) if *all == rows => Ok((1, columns)),
        ([down, across], Some((high, wide))) if *down == rows.div_ceil(high) && *across == columns.div_ceil(wide) => {
            Ok((high, wide))
        }
        (shape, _) => {
            let message = format!("shape {shape:?} is not that of the scales of {rows} x {columns} weights");
            Err(Error::new(ErrorKind::Malformed, message).tensor(&scale.name))
        }
    }
}
