//! A bit for each block.

/// Bits, in bytes as the journal holds them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bits {
    bytes: Vec<u8>,
    bits: u64,
}

impl Bits {
    /// `bits` bits, all off.
    pub(crate) fn new(bits: u64) -> Self {
        Self { bytes: vec![0; bits.div_ceil(8) as usize], bits }
    }

    /// Bytes that the bits take.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Takes the bits that a journal holds; those that it lacks are off, and those past the end are dropped.
    pub(crate) fn load(&mut self, bytes: &[u8]) {
        let len = bytes.len().min(self.bytes.len());
        self.bytes[..len].copy_from_slice(&bytes[..len]);
        if let (Some(last), used @ 1..) = (self.bytes.last_mut(), self.bits % 8) {
            *last &= (1 << used) - 1;
        }
    }

    /// Whether a bit is on.
    pub(crate) fn get(&self, bit: u64) -> bool {
        self.bytes.get((bit / 8) as usize).is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
    }

    /// Turns a bit on; true where it was off.
    pub(crate) fn set(&mut self, bit: u64) -> bool {
        let Some(byte) = self.bytes.get_mut((bit / 8) as usize).filter(|_| bit < self.bits) else { return false };
        let mask = 1 << (bit % 8);
        let was_off = *byte & mask == 0;
        *byte |= mask;
        was_off
    }

    /// Turns a bit off; true where it was on.
    pub(crate) fn clear(&mut self, bit: u64) -> bool {
        let was_on = self.get(bit);
        if let Some(byte) = self.bytes.get_mut((bit / 8) as usize).filter(|_| was_on) {
            *byte &= !(1 << (bit % 8));
        }
        was_on
    }

    /// The bytes that hold bits `first..end`, and where they start.
    pub(crate) fn bytes_around(&self, first: u64, end: u64) -> (u64, &[u8]) {
        let (start, end) = (first / 8, end.div_ceil(8).min(self.len_bytes()));
        (start, &self.bytes[start.min(end) as usize..end as usize])
    }

    /// Bytes of the blocks whose bit is on, in a file of `len` bytes.
    pub(crate) fn bytes_of(&self, block_bytes: u64, len: u64) -> u64 {
        let on: u64 = self.bytes.iter().map(|byte| u64::from(byte.count_ones())).sum();
        let last = self.bits.checked_sub(1).filter(|last| self.get(*last));
        let missing = last.map_or(0, |_| self.bits * block_bytes - len);
        on * block_bytes - missing
    }
}
