//! Reasoning between a pair of tags, at the beginning of an answer.

use super::{Mark, SplitText};

/// A pair of tags.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tags {
    pub(super) open: &'static str,
    pub(super) close: &'static str,
    /// A line that may follow `open` and is no part of the reasoning.
    pub(super) header: &'static str,
    /// Marks around the answer behind the reasoning, which are no part of it.
    pub(super) around: &'static [&'static str],
    /// Reasoning may come again within the answer.
    pub(super) reopens: bool,
}

const THINK: Tags = Tags { open: "<think>", close: "</think>", header: "", around: &[], reopens: false };

/// Of several that a template knows the first counts.
pub(super) const TABLE: &[Tags] = &[
    // Gemma 4.
    Tags { open: "<|channel>", close: "<channel|>", header: "thought\n", reopens: true, ..THINK },
    // Magistral.
    Tags { open: "[THINK]", close: "[/THINK]", ..THINK },
    // Command A Reasoning.
    Tags {
        open: "<|START_THINKING|>",
        close: "<|END_THINKING|>",
        around: &["<|START_RESPONSE|>", "<|END_RESPONSE|>"],
        ..THINK
    },
    // Seed-OSS.
    Tags { open: "<seed:think>", close: "</seed:think>", ..THINK },
    // Apertus.
    Tags { open: "<|inner_prefix|>", close: "<|inner_suffix|>", reopens: true, ..THINK },
    // Kimi-VL-Thinking.
    Tags { open: "◁think▷", close: "◁/think▷", ..THINK },
    // DeepSeek R1, Qwen 3, QwQ, SmolLM3, GLM-4.5, MiniMax, Phi-4-reasoning; Granite 3.3 and Hunyuan mark the answer too.
    Tags { around: &["<response>", "</response>", "<answer>", "</answer>"], ..THINK },
    // EXAONE Deep.
    Tags { open: "<thought>", close: "</thought>", ..THINK },
    // Granite 3.2.
    Tags { open: "Here is my thought process:", close: "Here is my response:", ..THINK },
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Only spaces so far: the reasoning may begin.
    Before,
    /// `spelled`: the opening mark was text, so the closing one may be.
    Inside { spelled: bool, begins: Begins },
    /// `begins`: behind reasoning, where spaces are dropped.
    After { begins: bool, reasoned: bool },
}

/// What may still be dropped at the beginning of the reasoning.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Begins {
    Header,
    Spaces,
    No,
}

#[derive(Clone, Debug)]
pub(super) struct TagsParser {
    tags: Tags,
    place: State,
    /// Text whose part is not clear yet.
    held: String,
    reasoned: bool,
    /// What comes next is set apart from the reasoning before it.
    apart: bool,
}

impl TagsParser {
    /// For what follows a prompt that ends with `tail`; `tokens` where the closing mark is a token.
    pub(super) fn new(tags: Tags, tail: &str, tokens: bool) -> Self {
        let tail = tail.trim_end();
        let opened = tail.strip_suffix(tags.header.trim_end()).unwrap_or(tail).ends_with(tags.open);
        let inside = State::Inside { spelled: !tokens, begins: Begins::Header };
        let place = if opened || tail.ends_with(tags.open) { inside } else { State::Before };
        Self { tags, place, held: String::new(), reasoned: false, apart: false }
    }

    pub(super) fn is_inside(&self) -> bool {
        matches!(self.place, State::Inside { .. })
    }

    pub(super) fn mark(&mut self, mark: Mark) -> Option<SplitText> {
        let mut parts = SplitText::default();
        let after = State::After { begins: true, reasoned: true };
        match (self.place, mark) {
            (State::Before, Mark::Open) if self.held.trim().is_empty() => self.open(),
            (State::Before, Mark::Close) if self.held.trim().is_empty() => self.go(after),
            (State::Inside { .. }, Mark::Open) => {}
            (State::Inside { .. }, Mark::Close) => {
                while self.step(&mut parts, true) {}
                self.go(after);
            }
            (State::After { .. }, Mark::Open) if self.tags.reopens => {
                while self.step(&mut parts, true) {}
                self.open();
            }
            (State::After { .. }, Mark::Close) if self.tags.reopens => {}
            _ => return None,
        }
        Some(parts)
    }

    fn open(&mut self) {
        self.apart = self.reasoned;
        self.go(State::Inside { spelled: false, begins: Begins::Header });
    }

    fn go(&mut self, place: State) {
        self.held.clear();
        self.place = place;
    }

    pub(super) fn text(&mut self, piece: &str) -> SplitText {
        let mut parts = SplitText::default();
        self.held.push_str(piece);
        while self.step(&mut parts, false) {}
        parts
    }

    pub(super) fn finish(&mut self) -> SplitText {
        let mut parts = SplitText::default();
        while self.step(&mut parts, true) {}
        self.held.clear();
        parts
    }

    /// Moves what is certain out of `held`, all of it where it is the `last`; whether there is more to look at.
    fn step(&mut self, parts: &mut SplitText, last: bool) -> bool {
        match self.place {
            State::Before => self.before(last),
            State::Inside { spelled, begins } if begins != Begins::No => self.begin(spelled, begins, last),
            State::Inside { spelled, .. } => self.inside(parts, spelled, last),
            State::After { begins, reasoned } => self.after(parts, begins, reasoned, last),
        }
    }

    fn before(&mut self, last: bool) -> bool {
        let text = self.held.trim_start();
        if let Some(rest) = text.strip_prefix(self.tags.open) {
            self.held = rest.to_owned();
            self.place = State::Inside { spelled: true, begins: Begins::Header };
            return true;
        }
        if self.tags.open.starts_with(text) && !last {
            return false;
        }
        self.place = State::After { begins: false, reasoned: false };
        true
    }

    fn begin(&mut self, spelled: bool, begins: Begins, last: bool) -> bool {
        let text = self.held.trim_start();
        let header = if begins == Begins::Header { self.tags.header } else { "" };
        let (rest, begins) = match text.strip_prefix(header) {
            _ if header.is_empty() && text.is_empty() => ("", begins),
            _ if header.is_empty() => (text, Begins::No),
            Some(rest) => (rest, Begins::Spaces),
            None if header.starts_with(text) && !last => return false,
            None => (text, Begins::Spaces),
        };
        self.held = rest.to_owned();
        self.place = State::Inside { spelled, begins };
        !self.held.is_empty()
    }

    fn inside(&mut self, parts: &mut SplitText, spelled: bool, last: bool) -> bool {
        let end = if spelled { self.held.find(self.tags.close) } else { None };
        if let Some(end) = end {
            let rest = self.held.split_off(end + self.tags.close.len());
            self.held.truncate(end);
            self.held.truncate(self.held.trim_end().len());
            self.reason(parts, self.held.len());
            self.held = rest;
            self.place = State::After { begins: true, reasoned: true };
            return true;
        }
        let close: &[&str] = if spelled { &[self.tags.close] } else { &[] };
        let undecided = undecided_len(&self.held, close);
        let certain = match last && undecided > 0 {
            true => self.held.len(),
            false => self.held[..self.held.len() - undecided].trim_end().len(),
        };
        self.reason(parts, certain);
        false
    }

    /// Moves so many bytes of `held` to the reasoning.
    fn reason(&mut self, parts: &mut SplitText, len: usize) {
        if len == 0 {
            return;
        }
        if std::mem::take(&mut self.apart) {
            parts.reasoning += "\n\n";
        }
        let rest = self.held.split_off(len);
        parts.reasoning += &std::mem::replace(&mut self.held, rest);
        self.reasoned = true;
    }

    fn after(&mut self, parts: &mut SplitText, begins: bool, reasoned: bool, last: bool) -> bool {
        if begins {
            self.held = self.held.trim_start().to_owned();
            if self.held.is_empty() {
                return false;
            }
        }
        let around = if reasoned { self.tags.around } else { &[] };
        let found = around.iter().filter_map(|text| Some((self.held.find(text)?, text.len()))).min();
        let undecided = if last { 0 } else { undecided_len(&self.held, around) };
        let (len, skipped) = found.unwrap_or((self.held.len() - undecided, 0));
        let rest = self.held.split_off(len + skipped);
        parts.answer += &self.held[..len];
        self.held = rest;
        // A mark at the very beginning leaves spaces behind it to drop.
        self.place = State::After { begins: begins && len == 0, reasoned };
        found.is_some()
    }
}

/// Bytes at the end of `text` that are a proper beginning of one of `marks`.
fn undecided_len(text: &str, marks: &[&str]) -> usize {
    let longest = |mark: &&str| {
        let lens = mark.char_indices().map(|(at, _)| at).rev();
        lens.into_iter().find(|&len| text.ends_with(&mark[..len])).unwrap_or(0)
    };
    marks.iter().map(longest).max().unwrap_or(0)
}
