//! gpt-oss's messages: `<|start|>assistant<|channel|>analysis<|message|>…<|end|>`, all marks being tokens.

use super::{Mark, SplitText};

/// The tokens. Those that end a turn end a message, for callers that go on after them.
pub(super) const MARKS: &[(&str, Mark)] = &[
    ("<|start|>", Mark::Start),
    ("<|channel|>", Mark::Channel),
    ("<|constrain|>", Mark::Constrain),
    ("<|message|>", Mark::Message),
    ("<|end|>", Mark::End),
    ("<|return|>", Mark::End),
    ("<|call|>", Mark::End),
];

/// The channel that holds reasoning.
const ANALYSIS: &str = "analysis";

/// Where the text goes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    /// Text outside of any message counts as the answer: nothing is lost of a model that leaves the format.
    #[default]
    Answer,
    Reasoning,
    Header,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Harmony {
    place: State,
    /// The role, or the name of the channel and what follows it.
    header: String,
    answered: bool,
    reasoned: bool,
    /// A message has ended, and no other has begun.
    between: bool,
    /// A new message begins: an empty line sets it apart from one of its kind before it.
    begins: bool,
}

impl Harmony {
    pub(super) fn is_answer(&self) -> bool {
        self.place == State::Answer && !self.between
    }

    pub(super) fn mark(&mut self, mark: Mark) {
        self.between = mark == Mark::End;
        match mark {
            Mark::Start | Mark::Channel => {
                self.header.clear();
                self.place = State::Header;
            }
            Mark::Constrain => self.place = State::Header,
            Mark::Message => {
                let reasoning = self.header.trim_start().starts_with(ANALYSIS);
                self.place = if reasoning { State::Reasoning } else { State::Answer };
                self.begins = true;
            }
            Mark::End | Mark::Open | Mark::Close => self.place = State::Answer,
        }
    }

    pub(super) fn text(&mut self, piece: &str) -> SplitText {
        let mut parts = SplitText::default();
        let (out, before) = match self.place {
            _ if piece.is_empty() => return parts,
            State::Header => {
                self.header += piece;
                return parts;
            }
            State::Answer => (&mut parts.answer, &mut self.answered),
            State::Reasoning => (&mut parts.reasoning, &mut self.reasoned),
        };
        if std::mem::take(&mut self.begins) && *before {
            *out += "\n\n";
        }
        *before = true;
        *out += piece;
        parts
    }
}
