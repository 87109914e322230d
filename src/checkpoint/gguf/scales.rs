//! Numbers that files with NVFP4 matrices have beside them: `X.scale` of `X.weight`, and `X.input_scale`.
//!
//! A scale belongs to a whole matrix, or to the slab of an expert. Input scales are for activations of four bits, which there
//! are none of here.

use std::collections::BTreeMap;

use super::TensorInfo;
use crate::checkpoint::{Companion, Source, Tensor};
use crate::encoding::Encoding;
use crate::{Error, ErrorKind, Result};

/// The tensors of a file by name, without the last part of it, which must be this one.
fn ending<'a>(infos: &'a [TensorInfo], end: &str) -> BTreeMap<&'a str, &'a TensorInfo> {
    infos.iter().filter_map(|info| Some((info.name.strip_suffix(end)?, info))).collect()
}

/// The scales that the matrices of a file have.
pub(super) struct Scales<'a> {
    /// NVFP4 matrices by name, without `.weight`.
    matrices: BTreeMap<&'a str, &'a TensorInfo>,
    scales: BTreeMap<&'a str, &'a TensorInfo>,
}

impl<'a> Scales<'a> {
    pub(super) fn new(infos: &'a [TensorInfo]) -> Self {
        let mut matrices = ending(infos, ".weight");
        matrices.retain(|_, info| info.encoding == Encoding::NVFP4);
        Self { matrices, scales: ending(infos, ".scale") }
    }

    /// Whether a tensor is a scale and nothing by itself.
    pub(super) fn holds(&self, info: &TensorInfo) -> bool {
        let stem = info.name.strip_suffix(".scale").or_else(|| info.name.strip_suffix(".input_scale"));
        stem.is_some_and(|stem| self.matrices.contains_key(stem))
    }

    /// Gives the model's tensors that one of the file holds its scale.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for a scale that is no f32 for the matrix or for each slab, [`ErrorKind::Unsupported`] where the
    /// matrix does not keep its blocks.
    pub(super) fn attach(&self, tensors: &mut [Tensor], info: &TensorInfo) -> Result<()> {
        let stem = info.name.strip_suffix(".weight").filter(|stem| self.matrices.contains_key(stem));
        let Some(scale) = stem.and_then(|stem| self.scales.get(stem)) else { return Ok(()) };
        let slabs = if let [slabs, _, _] = info.shape[..] { slabs } else { 1 };
        let is_whole = scale.len_bytes == 4;
        if scale.encoding != Encoding::F32 || !(is_whole || scale.len_bytes / 4 == slabs) {
            let (shape, encoding) = (&scale.shape, scale.encoding.name());
            let message = format!("{shape:?} of {encoding} are not one f32 for '{}' or for each slab of it", info.name);
            return Err(Error::new(ErrorKind::Malformed, message).tensor(&scale.name));
        }
        for tensor in tensors {
            if tensor.source != Source::GgufBlocks(Encoding::NVFP4) {
                let message = "has a scale, and does not keep its blocks";
                return Err(Error::new(ErrorKind::Unsupported, message).tensor(&info.name));
            }
            let slab = (tensor.offset_bytes - info.offset_bytes) / (info.len_bytes / slabs).max(1);
            tensor.companions = vec![Companion {
                source_name: scale.name.clone(),
                file: scale.file,
                offset_bytes: scale.offset_bytes + if is_whole { 0 } else { 4 * slab },
                len_bytes: 4,
                rows_each: tensor.source_rows.max(1),
            }];
        }
        Ok(())
    }
}
