//! The input of a matrix product: what numbers it is taken as, and where shaders find it.

/// Bytes of 32 columns of a row of [`InputType::I8`]: the numbers twice, and 16 bytes of what they are multiplied with.
pub const I8_CHUNK_BYTES: u64 = 80;
/// Tokens that the product with many keeps in registers.
pub const TOKENS: u32 = 4;
/// Bytes that a shader sees of a uniform buffer: what every adapter allows. A buffer that is bound as
/// [`InputSpace::Uniform`] has so many behind its last row.
pub const UNIFORM_BYTES: u64 = 64 << 10;
/// What the offset of a binding is a multiple of, on any adapter.
const ALIGNMENT: u64 = 256;

/// What numbers matrices are multiplied with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum InputType {
    /// Activations as they are.
    #[default]
    F32,
    /// Activations rounded to whole numbers of eight bits, with a scale for each 32 of them, where the matrix holds whole
    /// numbers too: four products in one instruction, and an error of about a hundredth.
    I8,
}

impl InputType {
    /// Bytes of 32 columns of a row.
    pub fn chunk_bytes(self) -> u64 {
        match self {
            Self::F32 => 32 * 4,
            Self::I8 => I8_CHUNK_BYTES,
        }
    }
}

/// Where shaders find the input of a product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum InputSpace {
    /// In a storage buffer, all of it.
    #[default]
    Storage,
    /// In a uniform buffer, [`UNIFORM_BYTES`] of it at once.
    Uniform,
}

/// Rows of an input that one dispatch takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputWindow {
    pub first_token: u32,
    pub tokens: u32,
    /// Where the binding begins, and its length; to the end of the buffer where none.
    pub offset_bytes: u64,
    pub len_bytes: Option<u64>,
    /// From there to the first row, in units of 16 bytes.
    pub base: u32,
}

impl InputSpace {
    /// Uniform where a dispatch then takes the rows of a whole block, or the only one.
    pub fn of(uniform_inputs: bool, row_bytes: u64, tokens: u32) -> Self {
        if uniform_inputs && rows_at_once(row_bytes, tokens) > 0 { Self::Uniform } else { Self::Storage }
    }

    /// The parts of an input of `tokens` rows, `row_bytes` (a multiple of 16) from one to the next, that it takes a dispatch
    /// each.
    pub fn windows(self, row_bytes: u64, tokens: u32) -> impl Iterator<Item = InputWindow> {
        let (at_once, len_bytes) = match self {
            Self::Storage => (tokens, None),
            Self::Uniform => (rows_at_once(row_bytes, tokens), Some(UNIFORM_BYTES)),
        };
        (0..tokens).step_by(at_once.max(1) as usize).map(move |first_token| {
            let start = u64::from(first_token) * row_bytes;
            let offset_bytes = start / ALIGNMENT * ALIGNMENT;
            let base = ((start - offset_bytes) / 16) as u32;
            InputWindow { first_token, tokens: at_once.min(tokens - first_token), offset_bytes, len_bytes, base }
        })
    }
}

/// Rows that a uniform buffer shows: the only one, or whole blocks. What lies before an offset takes part of it, unless all
/// offsets are where rows begin.
fn rows_at_once(row_bytes: u64, tokens: u32) -> u32 {
    let block = if tokens > 1 { TOKENS } else { 1 };
    let blocks = |bytes: u64| (bytes / row_bytes.max(1)) as u32 / block;
    let aligned = tokens == 1 || (row_bytes * u64::from(block)).is_multiple_of(ALIGNMENT);
    blocks(if aligned { UNIFORM_BYTES } else { UNIFORM_BYTES - ALIGNMENT }) * block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_every_row_once_within_what_a_uniform_buffer_shows() {
        // Columns, kind of numbers, tokens, and windows; none where the input stays in a storage buffer.
        let table = [
            (576, InputType::F32, 1, Some(1)),
            (576, InputType::F32, 128, Some(5)),
            (576, InputType::I8, 128, Some(3)),
            (4096, InputType::F32, 9, Some(3)),
            (4096, InputType::I8, 9, Some(3)),
            (4128, InputType::F32, 9, None),
            (16384, InputType::F32, 1, Some(1)),
            (16384, InputType::F32, 2, None),
            (16416, InputType::F32, 1, None),
            (26208, InputType::I8, 1, Some(1)),
            (26240, InputType::I8, 1, None),
        ];
        for (columns, kind, tokens, expected) in table {
            let row_bytes = columns / 32 * kind.chunk_bytes();
            let space = InputSpace::of(true, row_bytes, tokens);
            let windows: Vec<_> = space.windows(row_bytes, tokens).collect();
            assert_eq!(
                (space == InputSpace::Uniform).then_some(windows.len()),
                expected,
                "{columns} {kind:?} {tokens}"
            );
            let mut next = 0;
            for window in windows {
                assert_eq!(window.first_token, next);
                next += window.tokens;
                let (first, rows) = (u64::from(window.first_token), u64::from(window.tokens));
                let start = window.offset_bytes + u64::from(window.base) * 16;
                assert_eq!((start, window.offset_bytes % 256), (first * row_bytes, 0));
                let end = window.len_bytes.map_or(u64::MAX, |len| window.offset_bytes + len);
                assert!(start + rows * row_bytes <= end, "{columns} {kind:?} {tokens}: {window:?}");
                // Blocks are whole but for the last: no token is computed twice.
                assert!(window.tokens % TOKENS == 0 || next == tokens, "{window:?}");
            }
            assert_eq!(next, tokens);
        }
        assert_eq!(InputSpace::of(false, 16, 1), InputSpace::Storage);
    }
}
