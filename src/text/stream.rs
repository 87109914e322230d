//! Ids in, text out as soon as it is certain: whole characters only, and nothing of a stop text.

use std::sync::Arc;

use super::pieces::Assembler;
use super::reasoning::{Reasoning, ReasoningFormat, SplitText};
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

/// A [`TextDecoder`] that knows when to stop, and what is reasoning.
#[derive(Clone, Debug)]
pub struct TextStream {
    /// None where the model has no tokenizer: the text is then empty.
    decoder: Option<TextDecoder>,
    stop_ids: Vec<u32>,
    /// Tokens that are stop texts: special ones have no text of their own.
    stop_tokens: Vec<u32>,
    stops: StopTexts,
    /// None where the model is not known to think: all is answer.
    reasoning: Option<Reasoning>,
    /// Special tokens that are text here, and what they say.
    spelled: Vec<(u32, String)>,
}

impl TextStream {
    /// A stream that ends at one of `stop_ids`, or before one of `stop_texts`, which are looked for in the answer; one that
    /// is a token of its own counts anywhere.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for an empty stop text.
    pub fn new(tokenizer: Option<Arc<Tokenizer>>, stop_ids: Vec<u32>, stop_texts: Vec<String>) -> Result<Self> {
        let token = |text: &String| tokenizer.as_ref()?.added_id(text.trim());
        let stop_tokens = stop_texts.iter().filter_map(token).collect();
        let stops = StopTexts::new(stop_texts)?;
        Ok(Self {
            decoder: tokenizer.map(TextDecoder::new),
            stop_ids,
            stop_tokens,
            stops,
            reasoning: None,
            spelled: Vec::new(),
        })
    }

    /// Writes tokens that are no text otherwise, such as the marks of calls, as the texts that they are.
    pub fn spelling(mut self, texts: &[String]) -> Self {
        if let Some(decoder) = &self.decoder {
            let tokenizer = &decoder.tokenizer;
            let special = |text: &String| tokenizer.added_id(text).filter(|id| tokenizer.is_special(*id));
            self.spelled = texts.iter().filter_map(|text| Some((special(text)?, text.clone()))).collect();
        }
        self
    }

    /// Tells the reasoning behind `prompt` from the answer.
    pub fn with_reasoning(mut self, format: Option<&Arc<ReasoningFormat>>, prompt: &[u32]) -> Self {
        if let (Some(decoder), Some(format)) = (&self.decoder, format) {
            self.reasoning = Some(Reasoning::after(format, &decoder.tokenizer, prompt));
        }
        self
    }

    /// Whether the next id belongs to the answer, and not to what is thought before it.
    pub fn writes_answer(&self) -> bool {
        self.reasoning.as_ref().is_none_or(Reasoning::is_answer)
    }

    /// Takes an id; gives the text that is certain now, and whether the text ends here. After an end nothing comes.
    pub fn push(&mut self, id: u32) -> (SplitText, Option<StopReason>) {
        // A token that ends turns does so also where it is given as a stop text.
        let reason = match () {
            () if self.stop_ids.contains(&id) => Some(StopReason::EndOfTurn),
            () if self.stop_tokens.contains(&id) => Some(StopReason::StopText),
            () => None,
        };
        if let Some(reason) = reason {
            let (parts, stopped) = self.end();
            return (parts, Some(if stopped { StopReason::StopText } else { reason }));
        }
        let Some(decoder) = &mut self.decoder else { return (SplitText::default(), None) };
        let mut parts = SplitText::default();
        if let Some(reasoning) = self.reasoning.as_mut().filter(|reasoning| reasoning.is_mark(id)) {
            parts.append(&reasoning.text(&decoder.finish()));
            match reasoning.mark(id) {
                Some(marked) => parts.append(&marked),
                None => parts.append(&reasoning.text(&decoder.push(id))),
            }
        } else {
            let text = match self.spelled.iter().find(|(spelled, _)| *spelled == id) {
                Some((_, text)) => decoder.finish() + text,
                None => decoder.push(id),
            };
            parts = match &mut self.reasoning {
                Some(reasoning) => reasoning.text(&text),
                None => SplitText { answer: text, reasoning: String::new() },
            };
        }
        let found = self.stops.push(&parts.answer);
        parts.answer = found.text;
        (parts, found.stopped.then_some(StopReason::StopText))
    }

    /// What was held back, when the text ends for another reason.
    pub fn finish(&mut self) -> SplitText {
        self.end().0
    }

    /// The rest, and whether it held a stop text: an incomplete character at the end becomes U+FFFD, which may be one.
    fn end(&mut self) -> (SplitText, bool) {
        let Some(decoder) = &mut self.decoder else { return (SplitText::default(), false) };
        let mut parts = SplitText { answer: decoder.finish(), reasoning: String::new() };
        if let Some(reasoning) = &mut self.reasoning {
            parts = reasoning.text(&parts.answer);
            parts.append(&reasoning.finish());
        }
        let found = self.stops.push(&parts.answer);
        parts.answer = if found.stopped { found.text } else { found.text + &self.stops.finish() };
        (parts, found.stopped)
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
