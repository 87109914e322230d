//! Plain values: to and from `f32`, and rows with their padding.

use crate::encoding::{Encoding, check_len};
use crate::{Error, ErrorKind, Result};

/// Bytes of one value.
///
/// # Errors
/// [`ErrorKind::Argument`] for an encoding that is not plain.
pub fn value_len(encoding: Encoding) -> Result<u64> {
    match encoding {
        Encoding::F32 => Ok(4),
        Encoding::F16 | Encoding::BF16 => Ok(2),
        _ => Err(Error::new(ErrorKind::Argument, format!("{} is not a plain encoding", encoding.name()))),
    }
}

/// The value of an IEEE half, without branches so that loops over it vectorise. Signalling NaNs stay as they are.
pub fn f16_to_f32(bits: u16) -> f32 {
    // Shifted into place the exponent is 112 too small; multiplying also turns f16 subnormals into normal values.
    const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
    let magnitude = f32::from_bits(u32::from(bits & 0x7fff) << 13) * REBIAS;
    let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | special | u32::from(bits & 0x8000) << 16)
}

/// The value of a bfloat16.
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The value of an 8-bit float of 4 exponent and 3 mantissa bits. There are no infinities; 0x7f and 0xff are NaN.
///
/// "FP8 Formats for Deep Learning", Micikevicius et al. 2022.
pub fn e4m3_to_f32(bits: u8) -> f32 {
    // An f16 has one exponent bit more, whose bias is 8 larger.
    let magnitude = f16_to_f32(u16::from(bits & 0x7f) << 7) * 256.0;
    let magnitude = if bits & 0x7f == 0x7f { f32::NAN } else { magnitude };
    if bits & 0x80 == 0 { magnitude } else { -magnitude }
}

/// Widens plain little-endian values to `f32`, exactly: `out[i]` is value i of `bytes`.
///
/// # Errors
/// [`ErrorKind::Argument`] for an encoding that is not plain, or lengths that do not agree.
pub fn widen(encoding: Encoding, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    check_len("plain values", bytes.len(), value_len(encoding)?.saturating_mul(out.len() as u64))?;
    if encoding == Encoding::F32 {
        for (value, out) in bytes.as_chunks().0.iter().zip(out) {
            *out = f32::from_le_bytes(*value);
        }
        return Ok(());
    }
    let pairs = bytes.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).zip(out);
    if encoding == Encoding::F16 {
        pairs.for_each(|(bits, out)| *out = f16_to_f32(bits));
    } else {
        pairs.for_each(|(bits, out)| *out = bf16_to_f32(bits));
    }
    Ok(())
}

/// Copies a row of plain values and pads it with zeros to `encoding.row_stride(columns)` bytes.
///
/// # Errors
/// [`ErrorKind::Argument`] for an encoding that is not plain, or slices of the wrong length.
pub fn copy_row(encoding: Encoding, values: &[u8], columns: u64, out: &mut [u8]) -> Result<()> {
    check_len("row", values.len(), value_len(encoding)?.saturating_mul(columns))?;
    check_len("planar row", out.len(), encoding.row_stride(columns))?;
    let (row, padding) = out.split_at_mut(values.len());
    row.copy_from_slice(values);
    padding.fill(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_widens_as_the_half_crate_says() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (f16_to_f32(bits), half::f16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "{bits:#x}");
            let (ours, theirs) = (bf16_to_f32(bits), half::bf16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "{bits:#x}");
        }
        assert!(f16_to_f32(0x7c00).is_infinite());
        assert!(f16_to_f32(0x7e00).is_nan());
    }

    #[test]
    fn small_floats_are_those_of_the_paper() {
        let formula = |bits: u8| {
            let (exponent, mantissa) = (i32::from(bits >> 3 & 15), f64::from(bits & 7) / 8.0);
            let magnitude =
                if exponent == 0 { mantissa * 2f64.powi(-6) } else { (1.0 + mantissa) * 2f64.powi(exponent - 7) };
            if bits < 128 { magnitude } else { -magnitude }
        };
        for bits in (0..=u8::MAX).filter(|bits| bits & 0x7f != 0x7f) {
            assert_eq!(f64::from(e4m3_to_f32(bits)), formula(bits), "{bits:#x}");
        }
        assert_eq!(e4m3_to_f32(0x7e), 448.0);
        assert!(e4m3_to_f32(0x7f).is_nan() && e4m3_to_f32(0xff).is_nan());
    }

    #[test]
    fn rows_are_widened_and_padded() -> Result<()> {
        for (encoding, bytes) in [
            (Encoding::F32, [1.5f32, -2.0, 0.25].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()),
            (Encoding::F16, [0x3e00u16, 0xc000, 0x3400].iter().flat_map(|v| v.to_le_bytes()).collect()),
            (Encoding::BF16, [0x3fc0u16, 0xc000, 0x3e80].iter().flat_map(|v| v.to_le_bytes()).collect()),
        ] {
            let mut values = [0.0; 3];
            widen(encoding, &bytes, &mut values)?;
            assert_eq!(values, [1.5, -2.0, 0.25]);
            let mut row = vec![0xff; encoding.row_stride(3) as usize];
            copy_row(encoding, &bytes, 3, &mut row)?;
            assert_eq!(row[..bytes.len()], bytes);
            assert!(row[bytes.len()..].iter().all(|byte| *byte == 0));
        }
        Ok(())
    }

    #[test]
    fn wrong_lengths_and_packed_encodings_are_refused() {
        assert!(widen(Encoding::F32, &[0; 7], &mut [0.0; 2]).is_err());
        assert!(widen(Encoding::Q8_0, &[0; 8], &mut [0.0; 2]).is_err());
        assert!(copy_row(Encoding::F16, &[0; 6], 3, &mut [0; 63]).is_err());
        assert!(copy_row(Encoding::F16, &[0; 5], 3, &mut [0; 64]).is_err());
    }
}
