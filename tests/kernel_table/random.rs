//! Numbers to compute with.

use tilestream::internals::encoding::{Encoding, grids};

/// A small deterministic source of numbers: splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.float()).collect()
    }
}

/// Random bytes as a row, with scales that are sane f16 numbers.
pub fn random_row(encoding: Encoding, columns: u64, random: &mut Random) -> Vec<u8> {
    let mut row = vec![0; encoding.row_stride(columns) as usize];
    let values = random.floats(columns as usize);
    if encoding.descriptor().plain.is_some() {
        let packed: Vec<u8> = match encoding {
            Encoding::F32 => bytemuck::cast_slice(&values).to_vec(),
            Encoding::F16 => values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect(),
        };
        row[..packed.len()].copy_from_slice(&packed);
        return row;
    }
    row.iter_mut().for_each(|byte| *byte = random.next() as u8);
    if matches!(encoding, Encoding::F8_E4M3 | Encoding::I8 | Encoding::NF4 | Encoding::FP4) {
        let (quants, scales) = row.split_at_mut(encoding.plane_offset(columns, 1) as usize);
        // A split lets no NaN through.
        quants.iter_mut().filter(|byte| **byte & 0x7f == 0x7f).for_each(|byte| *byte ^= 1);
        scales.as_chunks_mut().0.iter_mut().for_each(|scale| *scale = random.float().to_le_bytes());
        return row;
    }
    let planes = encoding.descriptor().planes;
    if let Some(last) = grids::place(encoding).map(|_| planes.len() - 1) {
        let start = encoding.plane_offset(columns, last) as usize;
        let entries = row[start..].chunks_exact_mut(planes[last].bits as usize / 8);
        for entry in entries.take((columns / 256) as usize) {
            let [low, high] = half::f16::from_f32(random.float() * 0.1).to_le_bytes();
            match entry {
                // IQ1_M has four bits of it at the top of each of four numbers.
                [_, a, _, b, _, c, _, d] => {
                    for (byte, part) in [a, b, c, d].into_iter().zip([low, low >> 4, high, high >> 4]) {
                        *byte = *byte & 15 | part << 4;
                    }
                }
                _ => entry.copy_from_slice(&[low, high]),
            }
        }
        return row;
    }
    for (index, plane) in planes.iter().enumerate().filter(|(_, plane)| plane.bits >= 16) {
        let start = encoding.plane_offset(columns, index) as usize;
        let count = encoding.padded_columns(columns).div_ceil(plane.columns) as usize;
        for entry in 0..count {
            // The first two f16 numbers of an entry are scales; what follows in a K-quant header is packed integers.
            for half in 0..(plane.bits as usize / 16).min(2) {
                let at = start + entry * plane.bits as usize / 8 + half * 2;
                row[at..at + 2].copy_from_slice(&half::f16::from_f32(random.float() * 0.1).to_le_bytes());
            }
        }
    }
    if encoding == Encoding::NVFP4 {
        let start = encoding.plane_offset(columns, 2) as usize;
        row[start..start + 4].copy_from_slice(&random.float().to_le_bytes());
    }
    if encoding == Encoding::MXFP4 {
        // Exponents: of all there are, most make weights that no model has.
        let start = encoding.plane_offset(columns, 1) as usize;
        row[start..].iter_mut().for_each(|byte| *byte = 118 + *byte % 12);
    }
    row
}
