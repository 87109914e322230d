//! Text to ids and back, through the `tokenizers` crate.

use tokenizers::Tokenizer as Inner;

use crate::{Error, ErrorKind, Result};

/// A tokenizer as `tokenizer.json` describes it.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Inner,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} ids)", self.len())
    }
}

fn failed(error: tokenizers::Error, what: &str) -> Error {
    Error::new(ErrorKind::Text, format!("{what}: {error}")).file(Tokenizer::FILE)
}

impl Tokenizer {
    /// The file's name in a checkpoint and in a model.
    pub const FILE: &str = "tokenizer.json";
    /// No published tokenizer comes near this.
    pub const LARGEST_BYTES: u64 = 256 << 20;

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] where it is none, with the reason.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let inner =
            Inner::from_bytes(bytes).map_err(|error| failed(error, "is no tokenizer").remedy("get it again"))?;
        Ok(Self { inner })
    }

    /// Ids, special tokens included.
    pub fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Whether there is no id at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of `text`. `add_special` adds what the tokenizer puts around a text, such as a beginning-of-text token;
    /// special tokens that stand in the text are recognized either way.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] where the tokenizer fails.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, add_special).map_err(|error| failed(error, "cannot encode"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of `ids`, without special tokens.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] where the tokenizer fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(|error| failed(error, "cannot decode"))
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }
}
