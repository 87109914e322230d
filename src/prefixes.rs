//! Beginnings of texts that are kept outside of the GPU, block by block.

use crate::Result;
use crate::platform::MaybeSend;

/// Names a block: all tokens up to its end, and what they were computed with.
pub type Key = [u8; 32];

/// The keys and values of a block of positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// A bit for each group of layers whose page it has: windows forget the others.
    pub groups: u32,
    /// The pages of those groups, group after group, in each the layers in order.
    pub bytes: Vec<u8>,
}

/// Keeps blocks under their keys.
pub trait PrefixStore: MaybeSend {
    /// The key before the first token of texts that are computed so.
    fn start(&self, identity: &str) -> Key;

    /// The key behind `tokens`, where `before` is that before them. No two texts have the same.
    fn key(&self, before: &Key, tokens: &[u32]) -> Key;

    /// Whether there is a block, as far as is known.
    fn has(&self, key: &Key) -> bool;

    /// A block. `None` where it is gone, or not what was written.
    fn read(&mut self, key: &Key) -> Option<Block>;

    /// Keeps a block, perhaps in place of others.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) where it cannot be written.
    fn write(&mut self, key: &Key, block: &Block) -> Result<()>;
}
