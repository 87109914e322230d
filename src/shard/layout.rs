//! Where the tensors of a shard lie: pure functions from specs to headers and offsets.

/// Every vector of a layer starts at a multiple of this, so that a run of them is addressed in whole cache lines.
pub const VECTOR_ALIGNMENT: u64 = 64;
