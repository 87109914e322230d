//! How a tile stores numbers: the table of encodings, and the layout of one row in each.
//!
//! The row is the atom: within a row the encoding is planar (quants first, then high bits, then scales), every plane
//! starts at a multiple of 16 bytes and the row's stride is a multiple of 16 bytes, so that any run of rows is a tile.
//! Elements stand in their natural order in each plane, least significant bits first.

pub mod codebook;
pub mod decode;
pub mod gguf;
pub mod grids;
mod iquants;
pub mod plain;
pub mod quantize;

pub use decode::decode_row;

use crate::{Error, ErrorKind, Result};

/// The encodings of matrices. `q8` and `q4` of the command line are [`Encoding::Q8_0`] and [`Encoding::Q4_1`].
///
/// | encoding | planes of a row of P columns (P: columns rounded up to 32) | weight |
/// | --- | --- | --- |
/// | F32, F16, BF16 | values \[P\] | the value |
/// | Q8_0 | i8 \[P\] · f16 d \[P/32\] | `d * q` |
/// | Q4_0 | u4 \[P\] · f16 d \[P/32\] | `d * (q - 8)` |
/// | Q4_1 | u4 \[P\] · (f16 d, f16 m) \[P/32\] | `d * q + m` |
/// | Q5_0 | u4 \[P\] · u1 \[P\] · f16 d \[P/32\] | `d * (q - 16)`, `q = u4 + 16 u1` |
/// | Q5_1 | u4 \[P\] · u1 \[P\] · (f16 d, f16 m) \[P/32\] | `d * q + m` |
/// | Q4_K | u4 \[P\] · header \[P/256\] | `d * sc * q - dmin * mn` |
/// | Q5_K | u4 \[P\] · u1 \[P\] · header \[P/256\] | `d * sc * q - dmin * mn`, `q = u4 + 16 u1` |
/// | Q6_K | u4 \[P\] · u2 \[P\] · i8 sc \[P/16\] · f16 d \[P/256\] | `d * sc * (q - 32)`, `q = u4 + 16 u2` |
/// | Q2_K | u2 \[P\] · (u4 sc, u4 mn) \[P/16\] · (f16 d, f16 dmin) \[P/256\] | `d * sc * q - dmin * mn` |
/// | Q3_K | u2 \[P\] · u1 \[P\] · scales \[P/256\] · f16 d \[P/256\] | `d * (sc - 32) * (q - 4)`, `q = u2 + 4 u1` |
/// | IQ4_NL | u4 \[P\] · f16 d \[P/32\] | `d * IQ4[q]` |
/// | IQ4_XS | u4 \[P\] · header \[P/256\] | `d * (sc - 32) * IQ4[q]` |
/// | TQ1_0 | trits \[P/256\] · f16 d \[P/256\] | `d * (t - 1)` |
/// | TQ2_0 | u2 \[P\] · f16 d \[P/256\] | `d * (q - 1)` |
/// | Q1_0 | u1 \[P\] · f16 d \[P/128\] | `d * (2 q - 1)` |
/// | IQ2_XXS | indices, signs and scales (64 bytes) · f16 d, both \[P/256\] | `d * (sc + 1/2) / 4 * ±grid` |
/// | IQ2_XS | indices and signs (64) · scales (8) · f16 d, all \[P/256\] | the same |
/// | IQ2_S | indices and signs (64) · high bits and scales (16) · f16 d, all \[P/256\] | the same |
/// | IQ3_XXS | indices (64) · signs and scales (32) · f16 d, all \[P/256\] | `d * (sc + 1/2) / 2 * ±grid` |
/// | IQ3_S | indices (64) · high bits, signs, scales (44) · f16 d, all \[P/256\] | `d * (2 sc + 1) * ±grid` |
/// | IQ1_S | indices (32) · high bits, scales, shifts (16) · f16 d, all \[P/256\] | `d * (2 sc + 1) * (grid ± 1/8)` |
/// | IQ1_M | indices (32) · high bits, shifts (16) · scales and f16 d (8), all \[P/256\] | the same |
/// | F8_E4M3 | e4m3 \[P\] · f32 d \[P/128\] | `d * f` |
/// | I8 | i8 \[P\] · f32 d \[1\] | `d * q` |
/// | NF4, FP4 | u4 \[P\] · f32 d \[P/64\] | `d * code[q]`, with sixteen numbers from [`codebook`] |
/// | Q4_Z, Q4_Z128 | u4 \[P\] · (f16 d, f16 z) \[P/32\], \[P/128\] | `d * (q - z)`, z a whole number |
/// | Q4_B, Q4_B128 | u4 \[P\] · bf16 d \[P/32\], \[P/128\] | `d * (q - 8)` |
/// | Q4_ZB, Q4_ZB128 | u4 \[P\] · (bf16 d, bf16 z) \[P/32\], \[P/128\] | `d * (q - z)`, z a whole number |
/// | MXFP4 | u4 \[P\] · u8 s \[P/32\] | `fp4(u4) * 2^(s - 127)` |
/// | NVFP4 | u4 \[P\] · e4m3 s \[P/16\] · f32 g \[1\] | `g * (s * fp4(u4))` |
///
/// A K-quant header is GGUF's own 16 bytes: f16 d, f16 dmin, and eight 6-bit pairs (sc, mn) in 12 bytes, one pair for
/// each 32 columns. In Q6_K one `sc` serves 16 columns. K-quants need columns that are a multiple of 256, and so do
/// IQ4_XS, TQ1_0, TQ2_0 and the encodings with a grid. Q1_0 needs a multiple of 128, NVFP4 of 64.
///
/// GGUF's own bytes are also the scales of Q3_K (16 of 6 bits in 12 bytes), the header of IQ4_XS (8 bytes: f16 d, two high
/// bits and then four low ones of eight scales), and the trits of TQ1_0 (52 bytes, five or four to a byte, see
/// [`decode`]). IQ4 is the table [`decode::IQ4`]. Those with a grid (see [`grids`]) keep runs of GGUF's bytes whole: the fields of
/// a block as GGUF orders them, but for `d`, which has a plane of its own.
/// MXFP4 is that of the OCP Microscaling Formats (v1.0, 2023): `fp4` has a sign, two bits of exponent and one of mantissa.
#[allow(non_camel_case_types, reason = "the field writes Q4_K, not Q4K")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Encoding {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q4_K,
    Q5_K,
    Q6_K,
    Q2_K,
    Q3_K,
    IQ4_NL,
    IQ4_XS,
    TQ1_0,
    TQ2_0,
    Q1_0,
    IQ2_XXS,
    IQ2_XS,
    IQ2_S,
    IQ3_XXS,
    IQ3_S,
    IQ1_S,
    IQ1_M,
    F8_E4M3,
    I8,
    NF4,
    FP4,
    Q4_Z,
    Q4_Z128,
    MXFP4,
    NVFP4,
    Q4_B,
    Q4_B128,
    Q4_ZB,
    Q4_ZB128,
}

/// What one plane of a row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Columns that share one entry: 1 for quants, 16 to 256 for scales, [`WHOLE_ROW`] for all.
    pub columns: u64,
    /// Bits of one entry.
    pub bits: u64,
}

/// An encoding as data: everything that sizes and layouts need.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    pub encoding: Encoding,
    /// The name in manifests and messages.
    pub name: &'static str,
    /// Columns must be a multiple of this (rows are padded to it with zero weights where `pad` is true).
    pub block: u64,
    /// The planes of a row, in order.
    pub planes: &'static [Plane],
    /// The safetensors dtype of plain encodings; `None` for packed ones, which are stored as `U8`.
    pub plain: Option<Dtype>,
}

/// [`Plane::columns`] of a plane with one entry.
pub const WHOLE_ROW: u64 = u64::MAX;

const fn plane(columns: u64, bits: u64) -> Plane {
    Plane { columns, bits }
}

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

/// Every encoding, in the order of [`Encoding`].
pub const ENCODINGS: &[Descriptor] = &[
    Descriptor { encoding: Encoding::F32, name: "f32", block: 32, planes: &[plane(1, 32)], plain: Some(Dtype::F32) },
    Descriptor { encoding: Encoding::F16, name: "f16", block: 32, planes: &[plane(1, 16)], plain: Some(Dtype::F16) },
    Descriptor { encoding: Encoding::BF16, name: "bf16", block: 32, planes: &[plane(1, 16)], plain: Some(Dtype::BF16) },
    Descriptor {
        encoding: Encoding::Q8_0,
        name: "q8_0",
        block: 32,
        planes: &[plane(1, 8), plane(32, 16)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::Q4_0,
        name: "q4_0",
        block: 32,
        planes: &[plane(1, 4), plane(32, 16)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::Q4_1,
        name: "q4_1",
        block: 32,
        planes: &[plane(1, 4), plane(32, 32)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::Q5_0,
        name: "q5_0",
        block: 32,
        planes: &[plane(1, 4), plane(1, 1), plane(32, 16)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::Q5_1,
        name: "q5_1",
        block: 32,
        planes: &[plane(1, 4), plane(1, 1), plane(32, 32)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::Q4_K,
        name: "q4_k",
        block: 256,
        planes: &[plane(1, 4), plane(256, 128)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::Q5_K,
        name: "q5_k",
        block: 256,
        planes: &[plane(1, 4), plane(1, 1), plane(256, 128)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::Q6_K,
        name: "q6_k",
        block: 256,
        planes: &[plane(1, 4), plane(1, 2), plane(16, 8), plane(256, 16)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::Q2_K,
        name: "q2_k",
        block: 256,
        planes: &[plane(1, 2), plane(16, 8), plane(256, 32)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::Q3_K,
        name: "q3_k",
        block: 256,
        planes: &[plane(1, 2), plane(1, 1), plane(256, 96), plane(256, 16)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::IQ4_NL,
        name: "iq4_nl",
        block: 32,
        planes: &[plane(1, 4), plane(32, 16)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::IQ4_XS,
        name: "iq4_xs",
        block: 256,
        planes: &[plane(1, 4), plane(256, 64)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::TQ1_0,
        name: "tq1_0",
        block: 256,
        planes: &[plane(256, 416), plane(256, 16)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::TQ2_0,
        name: "tq2_0",
        block: 256,
        planes: &[plane(1, 2), plane(256, 16)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::Q1_0,
        name: "q1_0",
        block: 128,
        planes: &[plane(1, 1), plane(128, 16)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::IQ2_XXS,
        name: "iq2_xxs",
        block: 256,
        planes: &[plane(256, 512), plane(256, 16)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::IQ2_XS,
        name: "iq2_xs",
        block: 256,
        planes: &[plane(256, 512), plane(256, 64), plane(256, 16)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::IQ2_S,
        name: "iq2_s",
        block: 256,
        planes: &[plane(256, 512), plane(256, 128), plane(256, 16)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::IQ3_XXS,
        name: "iq3_xxs",
        block: 256,
        planes: &[plane(256, 512), plane(256, 256), plane(256, 16)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::IQ3_S,
        name: "iq3_s",
        block: 256,
        planes: &[plane(256, 512), plane(256, 352), plane(256, 16)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::IQ1_S,
        name: "iq1_s",
        block: 256,
        planes: &[plane(256, 256), plane(256, 128), plane(256, 16)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::IQ1_M,
        name: "iq1_m",
        block: 256,
        planes: &[plane(256, 256), plane(256, 128), plane(256, 64)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::F8_E4M3,
        name: "f8_e4m3",
        block: 32,
        planes: &[plane(1, 8), plane(128, 32)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::I8,
        name: "i8",
        block: 32,
        planes: &[plane(1, 8), plane(WHOLE_ROW, 32)],
        plain: None,
    },
    Descriptor { encoding: Encoding::NF4, name: "nf4", block: 32, planes: &[plane(1, 4), plane(64, 32)], plain: None },
    Descriptor { encoding: Encoding::FP4, name: "fp4", block: 32, planes: &[plane(1, 4), plane(64, 32)], plain: None },
    Descriptor {
        encoding: Encoding::Q4_Z,
        name: "q4_z",
        block: 32,
        planes: &[plane(1, 4), plane(32, 32)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::Q4_Z128,
        name: "q4_z128",
        block: 32,
        planes: &[plane(1, 4), plane(128, 32)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::MXFP4,
        name: "mxfp4",
        block: 32,
        planes: &[plane(1, 4), plane(32, 8)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::NVFP4,
        name: "nvfp4",
        block: 64,
        planes: &[plane(1, 4), plane(16, 8), plane(WHOLE_ROW, 32)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::Q4_B,
        name: "q4_b",
        block: 32,
        planes: &[plane(1, 4), plane(32, 16)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::Q4_B128,
        name: "q4_b128",
        block: 32,
        planes: &[plane(1, 4), plane(128, 16)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::Q4_ZB,
        name: "q4_zb",
        block: 32,
        planes: &[plane(1, 4), plane(32, 32)],
        plain: None,
    },
    Descriptor {
        encoding: Encoding::Q4_ZB128,
        name: "q4_zb128",
        block: 32,
        planes: &[plane(1, 4), plane(128, 32)],
        plain: None,
    },
];

impl Encoding {
    /// The encoding's row in the table.
    pub fn descriptor(self) -> &'static Descriptor {
        &ENCODINGS[self as usize]
    }

    /// The name in manifests and messages: `bf16`, `q4_1`, `q6_k`…
    pub fn name(self) -> &'static str {
        self.descriptor().name
    }

    /// The encoding of that name.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a name that is not in the table.
    pub fn from_name(name: &str) -> Result<Self> {
        let found = ENCODINGS.iter().find(|row| row.name == name).map(|row| row.encoding);
        found.ok_or_else(|| {
            let known = ENCODINGS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
            Error::new(ErrorKind::Unsupported, format!("unknown encoding '{name}'"))
                .remedy(format!("known are {known}"))
        })
    }

    /// Columns of a row as stored: rounded up to the block with zero weights.
    pub fn padded_columns(self, columns: u64) -> u64 {
        columns.next_multiple_of(self.descriptor().block)
    }

    /// Bytes of plane `index` in a row of `columns`, without what pads it.
    pub fn plane_bytes(self, columns: u64, index: usize) -> u64 {
        let plane = self.descriptor().planes[index];
        self.padded_columns(columns).div_ceil(plane.columns) * plane.bits / 8
    }

    /// Byte offset of plane `index` in a row of `columns`.
    pub fn plane_offset(self, columns: u64, index: usize) -> u64 {
        (0..index).map(|index| self.plane_bytes(columns, index).next_multiple_of(16)).sum()
    }

    /// Bytes from one row to the next, a multiple of 16.
    pub fn row_stride(self, columns: u64) -> u64 {
        self.plane_offset(columns, self.descriptor().planes.len())
    }
}

impl Serialize for Encoding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Encoding {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).map_err(serde::de::Error::custom)
    }
}

/// Refuses a slice of the wrong length: lengths come from shapes that a caller must have checked.
fn check_len(what: &str, len: usize, expected: u64) -> Result<()> {
    if len as u64 == expected {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Argument, format!("the {what} has {len} bytes or values where {expected} are needed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for row in ENCODINGS {
            assert_eq!(row.encoding.descriptor().name, row.name);
            assert_eq!(Encoding::from_name(row.name).ok(), Some(row.encoding));
        }
    }

    #[test]
    fn strides_are_those_of_the_formats() {
        assert_eq!(Encoding::BF16.row_stride(576), 1152);
        assert_eq!(Encoding::BF16.row_stride(3), 64);
        assert_eq!(Encoding::Q4_1.row_stride(576), 576 / 2 + (576 / 32 * 4_u64).next_multiple_of(16));
        assert_eq!(Encoding::Q4_K.row_stride(512), 288);
        assert_eq!(Encoding::Q6_K.row_stride(256), 128 + 64 + 16 + 16);
        // Of eight blocks no plane needs padding: as many bytes as GGUF has.
        for (encoding, block) in gguf::blocks().filter(|(_, (columns, _))| *columns == 256) {
            assert_eq!(encoding.row_stride(8 * 256), 8 * block.1, "{encoding:?}");
        }
        // A block of 128 that the row only begins has a scale too.
        assert_eq!(Encoding::F8_E4M3.row_stride(640), 640 + 32);
        assert_eq!(Encoding::I8.row_stride(70), 96 + 16);
        assert_eq!(Encoding::NF4.row_stride(96), 48 + 16);
    }
}
