//! Ids in, text out as soon as it is certain: whole characters only, and nothing of a stop text.

use std::sync::Arc;

use super::pieces::Assembler;
use super::{StopReason, StopTexts, Tokenizer};
use crate::Result;

/// Turns ids into text, an id at a time. The pieces together are [`Tokenizer::decode`] of all ids.
#[derive(Clone, Debug)]
pub struct TextDecoder {
    tokenizer: Arc<Tokenizer>,
    assembler: Assembler,
}

impl TextDecoder {
    /// A decoder at the beginning of a text.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        let assembler = tokenizer.assembler();
        Self { tokenizer, assembler }
    }

    /// Takes an id; gives the text that is complete now. A character that spans ids comes with the last of them.
    pub fn push(&mut self, id: u32) -> String {
        self.tokenizer.push(&mut self.assembler, id)
    }

    /// The end of the text: U+FFFD where a character is incomplete.
    pub fn finish(&mut self) -> String {
        self.assembler.finish()
    }
}

/// A [`TextDecoder`] that knows when to stop.
#[derive(Clone, Debug)]
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

    /// Takes an id; gives the text that is certain now, and whether the text ends here. After an end nothing comes.
    pub fn push(&mut self, id: u32) -> (String, Option<StopReason>) {
        if self.stop_ids.contains(&id) {
            let (text, stopped) = self.end();
            return (text, Some(if stopped { StopReason::StopText } else { StopReason::EndOfTurn }));
        }
        let Some(decoder) = &mut self.decoder else { return (String::new(), None) };
        let found = self.stops.push(&decoder.push(id));
        (found.text, found.stopped.then_some(StopReason::StopText))
    }

    /// What was held back, when the text ends for another reason.
    pub fn finish(&mut self) -> String {
        self.end().0
    }

    /// The rest, and whether it held a stop text: an incomplete character at the end becomes U+FFFD, which may be one.
    fn end(&mut self) -> (String, bool) {
        let Some(decoder) = &mut self.decoder else { return (String::new(), false) };
        let found = self.stops.push(&decoder.finish());
        (if found.stopped { found.text } else { found.text + &self.stops.finish() }, found.stopped)
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
