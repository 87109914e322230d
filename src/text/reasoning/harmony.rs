//! gpt-oss's messages: `<|start|>assistant<|channel|>analysis<|message|>…<|end|>`, all marks being tokens.

use super::{Mark, Parts};

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
enum Place {
    /// Text outside of any message counts as the answer: nothing is lost of a model that leaves the format.
    #[default]
    Answer,
    Reasoning,
    Header,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Harmony {
    place: Place,
    /// The role, or the name of the channel and what follows it.
    header: String,
    answered: bool,
    reasoned: bool,
    /// A new message begins: an empty line sets it apart from one of its kind before it.
    begins: bool,
}

impl Harmony {
    pub(super) fn mark(&mut self, mark: Mark) {
        match mark {
            Mark::Start | Mark::Channel => {
                self.header.clear();
                self.place = Place::Header;
            }
            Mark::Constrain => self.place = Place::Header,
            Mark::Message => {
                let reasoning = self.header.trim_start().starts_with(ANALYSIS);
                self.place = if reasoning { Place::Reasoning } else { Place::Answer };
                self.begins = true;
            }
            Mark::End | Mark::Open | Mark::Close => self.place = Place::Answer,
        }
    }

    pub(super) fn text(&mut self, piece: &str) -> Parts {
        let mut parts = Parts::default();
        let (out, before) = match self.place {
            _ if piece.is_empty() => return parts,
            Place::Header => {
                self.header += piece;
                return parts;
            }
            Place::Answer => (&mut parts.answer, &mut self.answered),
            Place::Reasoning => (&mut parts.reasoning, &mut self.reasoned),
        };
        if std::mem::take(&mut self.begins) && *before {
            *out += "\n\n";
        }
        *before = true;
        *out += piece;
        parts
    }
}
