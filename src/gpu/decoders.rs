//! The WGSL parts that decode each encoding, and those that multiply it with rounded inputs.

use super::inputs::InputType;
use crate::encoding::Encoding;

impl Encoding {
    /// The WGSL parts that decode it.
    pub(super) fn parts(self) -> &'static [&'static str] {
        macro_rules! scaled {
            ($name:literal, $($part:literal),+) => {
                &[concat!("encoding/", $name, ".wgsl"), $(concat!("parts/", $part, ".wgsl")),+]
            };
        }
        match self {
            Self::F32 => &["encoding/f32.wgsl"],
            Self::F16 => &["encoding/f16.wgsl"],
            Self::BF16 => &["encoding/bf16.wgsl"],
            Self::Q4_1 => &["encoding/q4_1.wgsl"],
            Self::Q5_0 => &["encoding/q5_0.wgsl"],
            Self::Q5_1 => &["encoding/q5_1.wgsl"],
            Self::Q4_K => &["encoding/q4_k.wgsl"],
            Self::Q5_K => &["encoding/q5_k.wgsl"],
            Self::Q6_K => &["encoding/q6_k.wgsl"],
            Self::Q2_K => &["encoding/q2_k.wgsl"],
            Self::Q3_K => &["encoding/q3_k.wgsl"],
            Self::Q4_Z | Self::Q4_Z128 => scaled!("q4_z", "pair_f16"),
            Self::Q4_ZB | Self::Q4_ZB128 => scaled!("q4_z", "pair_bf16"),
            Self::Q4_B | Self::Q4_B128 => scaled!("q4_0", "scaled_nibbles", "scale_bf16"),
            Self::Q1_0 => scaled!("q1_0", "scale_f16"),
            Self::TQ1_0 => scaled!("tq1_0", "scale_f16"),
            Self::TQ2_0 => scaled!("tq2_0", "scale_f16"),
            Self::Q8_0 => scaled!("i8", "scaled_bytes", "scale_f16"),
            Self::I8 => scaled!("i8", "scaled_bytes", "scale_f32"),
            Self::F8_E4M3 => scaled!("f8_e4m3", "scaled_bytes", "scale_f32"),
            Self::Q4_0 => scaled!("q4_0", "scaled_nibbles", "scale_f16"),
            Self::IQ4_NL => scaled!("iq4_nl", "scaled_nibbles", "scale_f16"),
            Self::NF4 => scaled!("nf4", "scaled_nibbles", "scale_f32"),
            Self::FP4 => scaled!("fp4", "scaled_nibbles", "scale_f32"),
            Self::IQ4_XS => scaled!("iq4_xs", "scaled_nibbles"),
            Self::IQ2_XXS => scaled!("iq2_xxs", "signed_pairs", "grids"),
            Self::IQ2_XS => scaled!("iq2_xs", "signed_pairs", "grids"),
            Self::IQ2_S => scaled!("iq2_s", "signed_pairs", "grids"),
            Self::IQ3_XXS => scaled!("iq3_xxs", "signed_nibbles", "grids"),
            Self::IQ3_S => scaled!("iq3_s", "signed_nibbles", "grids"),
            Self::IQ1_S => scaled!("iq1_s", "shifted_pairs", "grids"),
            Self::IQ1_M => scaled!("iq1_m", "shifted_pairs", "grids"),
            Self::MXFP4 => scaled!("mxfp4", "fp4_twice", "scaled_nibbles"),
            Self::NVFP4 => scaled!("nvfp4", "fp4_twice"),
        }
    }

    /// The WGSL parts that multiply it with inputs of eight bits; none where only [`InputType::F32`] will do.
    pub(super) fn i8_parts(self) -> Option<&'static [&'static str]> {
        macro_rules! nibbles {
            ($factors:literal) => {
                Some(&["i8/nibbles.wgsl", concat!("i8/", $factors, ".wgsl")])
            };
        }
        match self {
            Self::Q8_0 => Some(&["i8/bytes.wgsl", "parts/scale_f16.wgsl"]),
            Self::I8 => Some(&["i8/bytes.wgsl", "parts/scale_f32.wgsl"]),
            Self::Q4_0 => nibbles!("q4_0"),
            Self::Q4_1 => nibbles!("q4_1"),
            Self::Q4_Z | Self::Q4_Z128 => nibbles!("q4_z"),
            Self::Q4_K => nibbles!("q4_k"),
            Self::Q6_K => Some(&["i8/q6_k.wgsl"]),
            _ => None,
        }
    }

    /// All that products with a matrix in this encoding can take.
    pub fn input_types(self) -> &'static [InputType] {
        if self.i8_parts().is_some() { &[InputType::F32, InputType::I8] } else { &[InputType::F32] }
    }

    /// The numbers that products with a matrix in this encoding take, of those that may be taken.
    pub fn input_type(self, most_rounded: InputType) -> InputType {
        if self.input_types().contains(&most_rounded) { most_rounded } else { InputType::F32 }
    }

    /// Chunks of 32 columns that share an entry of plane 1; all of them where it has one for the row.
    pub(super) fn scale_chunks(self) -> u32 {
        let columns = self.descriptor().planes.get(1).map_or(32, |plane| plane.columns);
        u32::try_from(columns / 32).unwrap_or(u32::MAX).max(1)
    }
}
