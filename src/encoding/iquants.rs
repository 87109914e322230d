//! GGML's i-quants to `f32`: grids of levels, chosen by an index, with signs or a shift.
//!
//! A block has 256 columns. Every eight of them have one entry of a grid of [`grids`], or two of four levels, and each 16 or 32 a
//! scale. The formats are those of GGML's `dequantize_row_iq*`. Every product here is exact in `f32`.

use crate::encoding::plain::f16_to_f32;
use crate::encoding::{Encoding, grids};

/// What the levels of the 2-bit formats stand for. No entry has the fourth.
const MAGNITUDES_2: [f32; 4] = [8.0, 25.0, 43.0, 0.0];
/// What the levels of IQ3_XXS stand for.
const MAGNITUDES_3: [f32; 8] = [4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0];
/// How far the levels of the 1-bit formats are shifted.
const DELTA: f32 = 0.125;

/// The planes of one block.
struct Block<'a>([&'a [u8]; 3]);

/// Decodes a planar row; `out` is `[columns]`, `row` has the encoding's stride. Other encodings leave `out` as it is.
pub(super) fn decode(encoding: Encoding, row: &[u8], columns: u64, out: &mut [f32]) {
    let planes = encoding.descriptor().planes;
    for (index, out) in out.chunks_mut(256).enumerate() {
        let mut block = Block([&[]; 3]);
        for (number, (slot, plane)) in block.0.iter_mut().zip(planes).enumerate() {
            let len = plane.bits as usize / 8;
            *slot = &row[encoding.plane_offset(columns, number) as usize + index * len..][..len];
        }
        for (group, out) in out.chunks_mut(8).enumerate() {
            let eight = match encoding {
                Encoding::IQ2_XXS => block.iq2_xxs(group),
                Encoding::IQ2_XS => block.iq2_xs(group),
                Encoding::IQ2_S => block.iq2_s(group),
                Encoding::IQ3_XXS => block.iq3_xxs(group),
                Encoding::IQ3_S => block.iq3_s(group),
                Encoding::IQ1_S => block.iq1_s(group),
                Encoding::IQ1_M => block.iq1_m(group),
                _ => return,
            };
            out.copy_from_slice(&eight[..out.len()]);
        }
    }
}

impl Block<'_> {
    fn half(&self, plane: usize) -> f32 {
        f16_to_f32(self.u16(plane, 0))
    }

    fn u16(&self, plane: usize, index: usize) -> u16 {
        u16::from_le_bytes([self.0[plane][2 * index], self.0[plane][2 * index + 1]])
    }

    fn u32(&self, plane: usize, index: usize) -> u32 {
        u32::from(self.u16(plane, 2 * index)) | u32::from(self.u16(plane, 2 * index + 1)) << 16
    }

    /// A number of four bits.
    fn nibble(&self, plane: usize, index: usize) -> u8 {
        self.0[plane][index / 2] >> (index % 2 * 4) & 15
    }

    /// Words of two for each 32 columns: four indices of 8 bits; four times 7 signs, and a scale of 4 bits.
    fn iq2_xxs(&self, group: usize) -> [f32; 8] {
        let packed = self.u32(0, group / 4 * 2 + 1);
        let index = self.0[0][group / 4 * 8 + group % 4];
        let scale = self.half(1) * (0.5 + (packed >> 28) as f32) * 0.25;
        let signs = even_signs(packed >> (7 * (group % 4)));
        signed(scale, pairs(Encoding::IQ2_XXS, index.into(), MAGNITUDES_2), signs)
    }

    /// Of eight columns 9 bits of index and 7 signs; scales of 4 bits for each 16.
    fn iq2_xs(&self, group: usize) -> [f32; 8] {
        let packed = self.u16(0, group);
        let scale = self.half(2) * (0.5 + f32::from(self.nibble(1, group / 2))) * 0.25;
        let entry = pairs(Encoding::IQ2_XS, (packed & 511).into(), MAGNITUDES_2);
        signed(scale, entry, even_signs((packed >> 9).into()))
    }

    /// 32 low bytes of indices, 32 bytes of signs; 8 bytes with two high bits of each index, 8 bytes of scales.
    fn iq2_s(&self, group: usize) -> [f32; 8] {
        let high = self.0[1][group / 4] >> (group % 4 * 2) & 3;
        let index = usize::from(self.0[0][group]) | usize::from(high) << 8;
        let scale = self.half(2) * (0.5 + f32::from(self.nibble(1, 16 + group / 2))) * 0.25;
        signed(scale, pairs(Encoding::IQ2_S, index, MAGNITUDES_2), self.0[0][32 + group])
    }

    /// 64 indices; of 32 columns four times 7 signs, and a scale of 4 bits.
    fn iq3_xxs(&self, group: usize) -> [f32; 8] {
        let packed = self.u32(1, group / 4);
        let scale = self.half(2) * (0.5 + (packed >> 28) as f32) * 0.5;
        let two = [0, 1].map(|i| usize::from(self.0[0][2 * group + i]));
        let magnitudes = nibbles(Encoding::IQ3_XXS, two).map(|level| MAGNITUDES_3[level]);
        signed(scale, magnitudes, even_signs(packed >> (7 * (group % 4))))
    }

    /// 64 low bytes of indices; 8 bytes with their high bits, 32 bytes of signs, 4 bytes of scales.
    fn iq3_s(&self, group: usize) -> [f32; 8] {
        let high = self.0[1][group / 4] >> (group % 4 * 2);
        let two = [0, 1].map(|i| usize::from(self.0[0][2 * group + i]) | usize::from(high >> i & 1) << 8);
        let scale = self.half(2) * (1.0 + 2.0 * f32::from(self.nibble(1, 2 * 40 + group / 4)));
        let magnitudes = nibbles(Encoding::IQ3_S, two).map(|level| 1.0 + 2.0 * level as f32);
        signed(scale, magnitudes, self.0[1][8 + group])
    }

    /// 32 low bytes of indices; of 32 columns four times 3 high bits, a scale of 3 bits, and the sign of the shift.
    fn iq1_s(&self, group: usize) -> [f32; 8] {
        let packed = self.u16(1, group / 4);
        let index = usize::from(self.0[0][group]) | usize::from(packed >> (3 * (group % 4)) & 7) << 8;
        let scale = self.half(2) * (1.0 + 2.0 * f32::from(packed >> 12 & 7));
        shifted(scale, Encoding::IQ1_S, index, packed & 0x8000 != 0)
    }

    /// 32 low bytes of indices; of eight columns 3 high bits and the sign of the shift; four words with twelve bits of scales, 3
    /// for each 16 columns, and four bits of the block's f16.
    fn iq1_m(&self, group: usize) -> [f32; 8] {
        let packed = self.nibble(1, group);
        let index = usize::from(self.0[0][group]) | usize::from(packed & 7) << 8;
        let d = (0..4).fold(0, |d, i| d | self.u16(2, i) >> 12 << (4 * i));
        let sub = self.u16(2, group / 8) >> (3 * (group / 2 % 4)) & 7;
        shifted(f16_to_f32(d) * (1.0 + 2.0 * f32::from(sub)), Encoding::IQ1_M, index, packed & 8 != 0)
    }
}

/// Seven signs and an eighth that makes their number even.
fn even_signs(packed: u32) -> u8 {
    let seven = (packed & 127) as u8;
    seven | (seven.count_ones() as u8 & 1) << 7
}

/// An entry of an encoding's grid. Indices have no more bits than the grid has entries for.
fn entry(encoding: Encoding, index: usize) -> u16 {
    let (first, count) = grids::place(encoding).unwrap_or((0, 1));
    grids::GRIDS[first + index % count]
}

fn pairs(encoding: Encoding, index: usize, magnitudes: [f32; 4]) -> [f32; 8] {
    let entry = entry(encoding, index);
    std::array::from_fn(|column| magnitudes[usize::from(entry >> (2 * column) & 3)])
}

fn nibbles(encoding: Encoding, two: [usize; 2]) -> [usize; 8] {
    std::array::from_fn(|column| usize::from(entry(encoding, two[column / 4]) >> (column % 4 * 4) & 7))
}

fn signed(scale: f32, magnitudes: [f32; 8], signs: u8) -> [f32; 8] {
    std::array::from_fn(|column| {
        let weight = scale * magnitudes[column];
        if signs >> column & 1 == 1 { -weight } else { weight }
    })
}

fn shifted(scale: f32, encoding: Encoding, index: usize, down: bool) -> [f32; 8] {
    let delta = if down { -DELTA } else { DELTA };
    pairs(encoding, index, [-1.0, 0.0, 1.0, 0.0]).map(|level| scale * (level + delta))
}
