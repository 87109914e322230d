//! SentencePiece's `tokenizer.model`: a protobuf message, of which only what changes ids is read.
//!
//! Fields: <https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto>; wire format:
//! <https://protobuf.dev/programming-guides/encoding/>.

use crate::{Error, ErrorKind, Result};

/// Ids stay below this, as everywhere.
const MOST_PIECES: usize = 1 << 24;

/// How a text is cut into pieces (`TrainerSpec.ModelType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// The likeliest cut.
    Unigram,
    /// Neighbours merge, the best score first.
    Bpe,
}

/// `SentencePiece.Type`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceKind {
    Normal,
    Unknown,
    /// Never comes from text.
    Control,
    /// Never cut.
    UserDefined,
    /// In the vocabulary, and never used.
    Unused,
    /// `<0xE2>`: one byte of a character that has no piece.
    Byte,
}

/// An entry of the vocabulary; its place is its id.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    pub text: String,
    pub score: f32,
    pub kind: PieceKind,
}

/// A model as `sentencepiece` trains it: pieces have a text of their own, and one is the unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct SentencePiece {
    pub pieces: Vec<Piece>,
    pub algorithm: Algorithm,
    /// Characters without a piece become bytes.
    pub byte_fallback: bool,
    pub unk: u32,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    /// A text begins with a space that it does not have.
    pub add_dummy_prefix: bool,
    /// Spaces at both ends go, and runs of them become one.
    pub remove_extra_whitespaces: bool,
    /// Which characters become which, in SentencePiece's binary form; empty for none.
    pub charsmap: Vec<u8>,
}

/// Parses a `tokenizer.model`.
///
/// # Errors
/// [`ErrorKind::Malformed`] for bytes that are no such message, texts that come twice and a model without the unknown
/// piece; [`ErrorKind::Unsupported`], with the setting's name, for models that cut text in other ways.
pub fn parse(bytes: &[u8]) -> Result<SentencePiece> {
    let mut pieces = Vec::new();
    let (mut trainer, mut normalizer) = (Trainer::default(), Normalizer::default());
    for field in Fields(bytes) {
        match field? {
            (1, Field::Bytes(_)) if pieces.len() >= MOST_PIECES => return Err(malformed("it has too many pieces")),
            (1, Field::Bytes(bytes)) => pieces.push(piece(bytes)?),
            (2, Field::Bytes(bytes)) => trainer.read(bytes)?,
            (3, Field::Bytes(bytes)) => normalizer.read(bytes)?,
            (1..=3, _) => return Err(malformed("a part is not a message")),
            _ => {}
        }
    }
    let algorithm = match trainer.model_type {
        1 => Algorithm::Unigram,
        2 => Algorithm::Bpe,
        other => return Err(unsupported(format!("model_type {other}"))),
    };
    if trainer.whitespace_as_suffix {
        return Err(unsupported("treat_whitespace_as_suffix".to_owned()));
    }
    if !normalizer.escape_whitespaces {
        return Err(unsupported("escape_whitespaces = false".to_owned()));
    }
    let unk = check_pieces(&pieces)?;
    let control = |text: &str| {
        let found = pieces.iter().position(|piece| piece.kind == PieceKind::Control && piece.text == text);
        found.and_then(|id| u32::try_from(id).ok())
    };
    Ok(SentencePiece {
        algorithm,
        byte_fallback: trainer.byte_fallback,
        unk,
        bos: control(&trainer.bos_piece),
        eos: control(&trainer.eos_piece),
        add_dummy_prefix: normalizer.add_dummy_prefix,
        remove_extra_whitespaces: normalizer.remove_extra_whitespaces,
        charsmap: normalizer.charsmap,
        pieces,
    })
}

/// Each text once, one unknown: its id.
fn check_pieces(pieces: &[Piece]) -> Result<u32> {
    let mut texts = std::collections::HashSet::with_capacity(pieces.len());
    let mut unknown = None;
    for (id, piece) in pieces.iter().enumerate() {
        if !texts.insert(piece.text.as_str()) {
            return Err(malformed(format!("the piece {:?} comes twice", piece.text)));
        }
        if piece.kind == PieceKind::Unknown && unknown.replace(id).is_some() {
            return Err(malformed("there are two unknown pieces"));
        }
    }
    unknown.and_then(|id| u32::try_from(id).ok()).ok_or_else(|| malformed("there is no unknown piece"))
}

fn piece(bytes: &[u8]) -> Result<Piece> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: PieceKind::Normal };
    for field in Fields(bytes) {
        match field? {
            (1, Field::Bytes(bytes)) => piece.text = text(bytes)?,
            (2, Field::Fixed32(bits)) => piece.score = f32::from_bits(bits),
            (3, Field::Varint(kind)) => {
                piece.kind = match kind {
                    1 => PieceKind::Normal,
                    2 => PieceKind::Unknown,
                    3 => PieceKind::Control,
                    4 => PieceKind::UserDefined,
                    5 => PieceKind::Unused,
                    6 => PieceKind::Byte,
                    other => return Err(malformed(format!("a piece has the unknown type {other}"))),
                }
            }
            (1..=3, _) => return Err(malformed("a piece has a field of the wrong type")),
            _ => {}
        }
    }
    if piece.text.is_empty() || !piece.score.is_finite() {
        return Err(malformed(format!("the piece {:?} has no text, or the score {}", piece.text, piece.score)));
    }
    Ok(piece)
}

struct Trainer {
    model_type: u64,
    whitespace_as_suffix: bool,
    byte_fallback: bool,
    bos_piece: String,
    eos_piece: String,
}

impl Default for Trainer {
    fn default() -> Self {
        let (bos_piece, eos_piece) = ("<s>".to_owned(), "</s>".to_owned());
        Self { model_type: 1, whitespace_as_suffix: false, byte_fallback: false, bos_piece, eos_piece }
    }
}

impl Trainer {
    fn read(&mut self, bytes: &[u8]) -> Result<()> {
        for field in Fields(bytes) {
            match field? {
                (3, Field::Varint(value)) => self.model_type = value,
                (24, Field::Varint(value)) => self.whitespace_as_suffix = value != 0,
                (35, Field::Varint(value)) => self.byte_fallback = value != 0,
                (46, Field::Bytes(bytes)) => self.bos_piece = text(bytes)?,
                (47, Field::Bytes(bytes)) => self.eos_piece = text(bytes)?,
                (3 | 24 | 35 | 46 | 47, _) => return Err(malformed("a field of trainer_spec has the wrong type")),
                _ => {}
            }
        }
        Ok(())
    }
}

struct Normalizer {
    charsmap: Vec<u8>,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
}

impl Default for Normalizer {
    fn default() -> Self {
        Self { charsmap: Vec::new(), add_dummy_prefix: true, remove_extra_whitespaces: true, escape_whitespaces: true }
    }
}

impl Normalizer {
    fn read(&mut self, bytes: &[u8]) -> Result<()> {
        for field in Fields(bytes) {
            match field? {
                (2, Field::Bytes(bytes)) => self.charsmap = bytes.to_vec(),
                (3, Field::Varint(value)) => self.add_dummy_prefix = value != 0,
                (4, Field::Varint(value)) => self.remove_extra_whitespaces = value != 0,
                (5, Field::Varint(value)) => self.escape_whitespaces = value != 0,
                (2..=5, _) => return Err(malformed("a field of normalizer_spec has the wrong type")),
                _ => {}
            }
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|error| malformed("a text is not UTF-8").source(error))
}

fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, format!("is no SentencePiece model: {}", message.into()))
        .remedy("get the file again")
}

fn unsupported(setting: String) -> Error {
    Error::new(ErrorKind::Unsupported, format!("a SentencePiece model with {setting} is not known"))
        .remedy("put a tokenizer.json beside it")
}

/// The value of a field.
#[derive(Debug, PartialEq)]
enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
    /// Of no use here.
    Fixed64,
}

/// The fields of a message, with their numbers; the first error is the last item.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| malformed("a message is broken, or ends too early")))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => self.take(8).map(|_| Field::Fixed64)?,
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(len)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((tag >> 3, field)).filter(|(number, _)| *number != 0)
    }

    /// Seven bits a byte, the lowest first; the high bit says that more follow.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
#[path = "sentencepiece_tests.rs"]
mod tests;
