//! Puts a shader together from its parts, and knows which line came from which file.

use std::fmt::Write as _;

use crate::{Error, ErrorKind, Result};

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        /// Every WGSL file, by its path below `shaders/`.
        pub const SOURCES: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../shaders/", $name)))),*];
    };
}

sources![
    "argmax.wgsl",
    "attention.wgsl",
    "compare_halves.wgsl",
    "conv.wgsl",
    "copy.wgsl",
    "cutoff.wgsl",
    "delta_rule.wgsl",
    "encoding/bf16.wgsl",
    "encoding/f16.wgsl",
    "encoding/f16_native.wgsl",
    "encoding/f32.wgsl",
    "encoding/f8_e4m3.wgsl",
    "encoding/fp4.wgsl",
    "encoding/i8.wgsl",
    "encoding/iq1_m.wgsl",
    "encoding/iq1_s.wgsl",
    "encoding/iq2_s.wgsl",
    "encoding/iq2_xs.wgsl",
    "encoding/iq2_xxs.wgsl",
    "encoding/iq3_s.wgsl",
    "encoding/iq3_xxs.wgsl",
    "encoding/iq4_nl.wgsl",
    "encoding/iq4_xs.wgsl",
    "encoding/nf4.wgsl",
    "encoding/mxfp4.wgsl",
    "encoding/nvfp4.wgsl",
    "encoding/q1_0.wgsl",
    "encoding/q2_k.wgsl",
    "encoding/q3_k.wgsl",
    "encoding/q4_0.wgsl",
    "encoding/q4_1.wgsl",
    "encoding/q4_k.wgsl",
    "encoding/q4_z.wgsl",
    "encoding/q5_0.wgsl",
    "encoding/q5_1.wgsl",
    "encoding/q5_k.wgsl",
    "encoding/q6_k.wgsl",
    "encoding/tq1_0.wgsl",
    "encoding/tq2_0.wgsl",
    "gate.wgsl",
    "gather_rows.wgsl",
    "i8/bytes.wgsl",
    "i8/inputs.wgsl",
    "i8/nibbles.wgsl",
    "i8/q4_0.wgsl",
    "i8/q4_1.wgsl",
    "i8/q4_k.wgsl",
    "i8/q4_z.wgsl",
    "i8/q6_k.wgsl",
    "i8/rows_1.wgsl",
    "i8/rows_4.wgsl",
    "i8/rows_8.wgsl",
    "kv_write.wgsl",
    "logits.wgsl",
    "match_size.wgsl",
    "matmul.wgsl",
    "matmul_transposed.wgsl",
    "mix_streams.wgsl",
    "norm.wgsl",
    "parts/bits.wgsl",
    "parts/blocks_taken.wgsl",
    "parts/clamped_swiglu.wgsl",
    "parts/fp4_twice.wgsl",
    "parts/gate_apart.wgsl",
    "parts/gate_within.wgsl",
    "parts/gelu.wgsl",
    "parts/gelu_tanh.wgsl",
    "parts/grids.wgsl",
    "parts/grids_storage.wgsl",
    "parts/grids_uniform.wgsl",
    "parts/input_in_groups.wgsl",
    "parts/input_storage.wgsl",
    "parts/input_uniform.wgsl",
    "parts/input_whole.wgsl",
    "parts/inputs_f32.wgsl",
    "parts/kv_f16.wgsl",
    "parts/kv_f32.wgsl",
    "parts/kv_pages.wgsl",
    "parts/lanes_subgroup.wgsl",
    "parts/lanes_workgroup.wgsl",
    "parts/loads_32.wgsl",
    "parts/loads_64.wgsl",
    "parts/norm_apart.wgsl",
    "parts/norm_in_place.wgsl",
    "parts/pair_bf16.wgsl",
    "parts/pair_f16.wgsl",
    "parts/queries_1.wgsl",
    "parts/queries_4.wgsl",
    "parts/rows_1.wgsl",
    "parts/rows_4.wgsl",
    "parts/rows_8.wgsl",
    "parts/scale_bf16.wgsl",
    "parts/scale_f16.wgsl",
    "parts/scale_f32.wgsl",
    "parts/scaled_bytes.wgsl",
    "parts/scaled_nibbles.wgsl",
    "parts/shifted_pairs.wgsl",
    "parts/sigmoid.wgsl",
    "parts/sigmoid_factor.wgsl",
    "parts/signed_nibbles.wgsl",
    "parts/signed_pairs.wgsl",
    "parts/silu.wgsl",
    "parts/squared_relu.wgsl",
    "parts/strands_1.wgsl",
    "parts/strands_2.wgsl",
    "parts/strands_4.wgsl",
    "parts/totals_1.wgsl",
    "parts/totals_4.wgsl",
    "parts/totals_8.wgsl",
    "parts/weights.wgsl",
    "parts/wide_1.wgsl",
    "parts/wide_4.wgsl",
    "place_columns.wgsl",
    "quantize_rows.wgsl",
    "rope.wgsl",
    "scatter_rows.wgsl",
    "xielu.wgsl",
];

/// A composed shader.
#[derive(Clone, Debug)]
pub struct Composed {
    pub source: String,
    /// First line of each part in `source`, counted from 1, and the part's file.
    starts: Vec<(u32, String)>,
}

impl Composed {
    /// Puts `constants` and then the files `parts` together, the extensions `enabled` before them.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for a part that does not exist.
    pub fn new(enabled: &[&str], constants: &[(&str, u32)], parts: &[&str]) -> Result<Self> {
        let mut source = String::new();
        // Writing to a string cannot fail.
        for extension in enabled {
            let _ = writeln!(source, "enable {extension};");
        }
        for (name, value) in constants {
            let _ = writeln!(source, "const {name} = {value}u;");
        }
        let mut starts = Vec::new();
        for part in parts {
            let text = SOURCES.iter().find(|(name, _)| name == part).map(|(_, text)| *text);
            let text =
                text.ok_or_else(|| Error::new(ErrorKind::Internal, format!("no shader part is called '{part}'")))?;
            starts.push((source.lines().count() as u32 + 1, format!("shaders/{part}")));
            source.push_str(text);
            source.push('\n');
        }
        Ok(Self { source, starts })
    }

    /// Where line `line` (from 1) of the composed source came from: `shaders/encoding/q4_1.wgsl:12`.
    pub fn place(&self, line: u32) -> String {
        match self.starts.iter().rev().find(|(start, _)| *start <= line) {
            Some((start, file)) => format!("{file}:{}", line - start + 1),
            None => format!("constants:{line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_files_and_unknown_parts_are_refused() {
        let composed =
            Composed::new(&["subgroups"], &[("LANES", 8)], &["parts/silu.wgsl", "gate.wgsl"]).expect("known parts");
        let line = composed.source.lines().position(|line| line.contains("fn gated")).expect("there") as u32 + 1;
        assert_eq!(composed.place(line), "shaders/parts/silu.wgsl:2");
        let line = composed.source.lines().position(|line| line.contains("fn gate(")).expect("there") as u32 + 1;
        let real = SOURCES.iter().find(|(name, _)| *name == "gate.wgsl").expect("there").1;
        let real = real.lines().position(|line| line.contains("fn gate(")).expect("there") + 1;
        assert_eq!(composed.place(line), format!("shaders/gate.wgsl:{real}"));
        let error = Composed::new(&[], &[], &["gone.wgsl"]).expect_err("unknown");
        assert!(error.to_string().contains("gone.wgsl"));
    }
}
