//! Text to ids and back, through the `tokenizers` crate.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;
use tokenizers::{DecoderWrapper, ModelWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl};

use super::added_tokens::Listed;
use super::normalizers::Normalizer;
use super::pieces::{Assembler, PieceDecoder};
use super::tokenizer_check;
use crate::{Error, ErrorKind, Result};

/// The crate's tokenizer, with more normalizers.
type Inner = TokenizerImpl<ModelWrapper, Normalizer, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// A tokenizer as `tokenizer.json` describes it.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Inner,
    decoder: PieceDecoder,
    specials: HashSet<u32>,
    /// Tokens that are looked for in a text before anything else, special ones among them.
    added: HashSet<u32>,
    /// One more than the greatest id.
    ids: usize,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} ids)", self.len())
    }
}

impl Tokenizer {
    /// The file's name in a checkpoint and in a model.
    pub const FILE: &str = "tokenizer.json";
    /// No published tokenizer comes near this.
    pub const LARGEST_BYTES: u64 = 256 << 20;

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] where it is none or contradicts itself, [`ErrorKind::Unsupported`] where a part of it is not
    /// known; both name the file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > Self::LARGEST_BYTES {
            let message = format!("has {} bytes, which no tokenizer has", bytes.len());
            return Err(Error::new(ErrorKind::Text, message).file(Self::FILE));
        }
        let file = serde_json::from_slice(bytes).map_err(no_tokenizer);
        file.and_then(Self::from_json).map_err(|error| error.file(Self::FILE))
    }

    /// Reads a parsed `tokenizer.json`; errors name no file.
    pub(super) fn from_json(mut file: Value) -> Result<Self> {
        let decoder = PieceDecoder::new(&tokenizer_check::check(&mut file)?)?;
        let inner: Inner = serde_json::from_value(file).map_err(no_tokenizer)?;
        Ok(Self { specials: HashSet::new(), added: HashSet::new(), ids: 0, inner, decoder }.counted())
    }

    /// Reads a `tokenizer.json` together with the tokens that the `tokenizer_config.json` beside it lists and names.
    ///
    /// # Errors
    /// As [`Tokenizer::from_bytes`]; [`ErrorKind::Text`] where the config's list is none, naming that file.
    pub fn with_config(bytes: &[u8], config: Option<&Value>) -> Result<Self> {
        let mut tokenizer = Self::from_bytes(bytes)?;
        let Some(listed) = config.map(Listed::read).transpose()?.flatten() else { return Ok(tokenizer) };
        let (first, special) = listed.additions(tokenizer.inner.get_added_tokens_decoder().values());
        tokenizer.inner.add_tokens(&first);
        tokenizer.inner.add_special_tokens(&special);
        Ok(tokenizer.counted())
    }

    /// Finds out which tokens are added and special, and how many ids there are.
    fn counted(mut self) -> Self {
        let added = self.inner.get_added_tokens_decoder();
        let vocabulary = self.inner.get_added_vocabulary();
        let special = added.iter().filter(|(_, token)| vocabulary.is_special_token(&token.content));
        self.specials = special.map(|(id, _)| *id).collect();
        self.added = added.into_keys().collect();
        self.ids = self.inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        self
    }

    /// One more than the greatest id, special tokens included. A model may have more rows than that.
    pub fn len(&self) -> usize {
        self.ids
    }

    /// Whether there is no id at all.
    pub fn is_empty(&self) -> bool {
        self.ids == 0
    }

    /// The ids of `text`. `add_special` adds what the tokenizer puts around a text, such as a beginning-of-text token;
    /// special tokens that stand in the text are recognized either way.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] where the text has a character that the vocabulary cannot express.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        let failed =
            |error: tokenizers::Error| Error::new(ErrorKind::Text, format!("cannot encode: {error}")).file(Self::FILE);
        // The checks leave nothing that is known to panic; should the crate do so nevertheless, the caller gets an error.
        let encoding = catch_unwind(AssertUnwindSafe(|| self.inner.encode_fast(text, add_special)));
        let encoding = encoding.map_err(|_| failed("the tokenizer failed".into()))?.map_err(failed)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of `ids`, without special tokens. Ids that no token has add nothing.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut assembler = self.assembler();
        let mut text: String = ids.iter().map(|id| self.push(&mut assembler, *id)).collect();
        text += &assembler.finish();
        text
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The id of a token that is looked for in a text before anything else, such as a mark of a chat.
    pub fn added_id(&self, token: &str) -> Option<u32> {
        self.id(token).filter(|id| self.is_added(*id))
    }

    /// Whether a token is looked for in a text before anything else.
    pub(super) fn is_added(&self, id: u32) -> bool {
        self.added.contains(&id)
    }

    /// The text of `ids` with special tokens as they are written.
    pub(super) fn spelled(&self, ids: &[u32]) -> String {
        let mut assembler = self.assembler();
        let mut text = String::new();
        for id in ids {
            match self.token(*id).filter(|_| self.is_added(*id)) {
                Some(token) => {
                    text += &assembler.finish();
                    text += &token;
                }
                None => text += &self.push(&mut assembler, *id),
            }
        }
        text + &assembler.finish()
    }

    /// The token of an id as the vocabulary writes it: `Ġworld`, `▁world`, `<|im_end|>`.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// What a token adds to a text that has begun, as bytes: part of a character perhaps. Special tokens as they are written.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let token = self.token(id)?;
        Some(if self.is_special(id) { token.into_bytes() } else { self.decoder.bytes(&token, false) })
    }

    /// Whether an id is a special token, which is not part of the text.
    pub fn is_special(&self, id: u32) -> bool {
        self.specials.contains(&id)
    }

    /// The beginning of a text, for [`Tokenizer::push`].
    pub(super) fn assembler(&self) -> Assembler {
        Assembler::new(&self.decoder)
    }

    /// Adds an id to a text; gives the characters that are complete now.
    pub(super) fn push(&self, assembler: &mut Assembler, id: u32) -> String {
        match self.token(id).filter(|_| !self.is_special(id)) {
            Some(token) => assembler.push(&self.decoder, &token),
            None => String::new(),
        }
    }

    /// What the crate itself makes of the ids, with a decoder of its own.
    #[cfg(test)]
    pub(super) fn decode_with_crate(&self, decoder: &Value, ids: &[u32]) -> String {
        let mut inner = self.inner.clone();
        inner.with_decoder(Some(serde_json::from_value::<DecoderWrapper>(decoder.clone()).unwrap()));
        inner.decode(ids, true).unwrap()
    }
}

fn no_tokenizer(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Text, format!("is no tokenizer: {error}")).remedy("get the file again").source(error)
}
