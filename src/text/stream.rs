//! Ids in, text out as soon as it is certain: whole characters only, and nothing of a stop text.

use std::sync::Arc;

use super::{StopReason, StopTexts, Tokenizer};
use crate::Result;

/// What an incomplete character decodes to.
const INCOMPLETE: char = '\u{fffd}';
/// A character takes no more ids than this: four bytes, one id each. Beyond it a replacement character is meant.
const LONGEST_CHARACTER: usize = 4;

/// Turns ids into text, an id at a time.
///
/// Decoding is not a map of ids to texts: a character may span ids, and a first id may lose its space. So each step
/// decodes a short context with and without what is new, and the difference is the news.
#[derive(Debug)]
pub struct TextDecoder {
    tokenizer: Arc<Tokenizer>,
    ids: Vec<u32>,
    /// `ids[context..read]` has been given out and serves as context; `ids[read..]` waits.
    context: usize,
    read: usize,
}

impl TextDecoder {
    /// A decoder at the beginning of a text.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self { tokenizer, ids: Vec::new(), context: 0, read: 0 }
    }

    /// Takes an id; gives the text that is complete now.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Text`] where the tokenizer fails.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        self.take(false)
    }

    /// What is left, complete or not.
    ///
    /// # Errors
    /// As [`TextDecoder::push`].
    pub fn finish(&mut self) -> Result<String> {
        self.take(true)
    }

    fn take(&mut self, all: bool) -> Result<String> {
        let before = self.tokenizer.decode(&self.ids[self.context..self.read])?;
        let after = self.tokenizer.decode(&self.ids[self.context..])?;
        let waits = after.ends_with(INCOMPLETE) && self.ids.len() - self.read < LONGEST_CHARACTER;
        let Some(news) = after.strip_prefix(&before).filter(|news| all || !(waits || news.is_empty())) else {
            return Ok(String::new());
        };
        let news = news.to_owned();
        // The context moves on, and what is behind it is not needed again.
        self.ids.drain(..self.read);
        self.context = 0;
        self.read = self.ids.len();
        Ok(news)
    }
}

/// A [`TextDecoder`] that knows when to stop.
#[derive(Debug)]
pub struct TextStream {
    /// None where the model has no tokenizer: the text is then empty.
    decoder: Option<TextDecoder>,
    stop_ids: Vec<u32>,
    stops: StopTexts,
}

impl TextStream {
    /// A stream that ends at one of `stop_ids`, or before one of `stop_texts`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for an empty stop text.
    pub fn new(tokenizer: Option<Arc<Tokenizer>>, stop_ids: Vec<u32>, stop_texts: Vec<String>) -> Result<Self> {
        Ok(Self { decoder: tokenizer.map(TextDecoder::new), stop_ids, stops: StopTexts::new(stop_texts)? })
    }

    /// Takes an id; gives the text that is certain now, and whether the text ends here.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Text`] where the tokenizer fails.
    pub fn push(&mut self, id: u32) -> Result<(String, Option<StopReason>)> {
        if self.stop_ids.contains(&id) {
            return Ok((self.finish()?, Some(StopReason::EndOfTurn)));
        }
        let Some(decoder) = &mut self.decoder else { return Ok((String::new(), None)) };
        let found = self.stops.push(&decoder.push(id)?);
        Ok((found.text, found.stopped.then_some(StopReason::StopText)))
    }

    /// What was held back, when the text ends for another reason.
    ///
    /// # Errors
    /// As [`TextStream::push`].
    pub fn finish(&mut self) -> Result<String> {
        let Some(decoder) = &mut self.decoder else { return Ok(String::new()) };
        let found = self.stops.push(&decoder.finish()?);
        Ok(if found.stopped { found.text } else { found.text + &self.stops.finish() })
    }
}
