//! What a model thinks before it answers, told apart from the answer, a piece of text at a time.
//!
//! Models mark it in two ways: a pair of tags around it (`<think>…</think>` and its kin), or messages on channels (gpt-oss's
//! harmony format, <https://cookbook.openai.com/articles/openai-harmony>). Marks are tokens where the vocabulary has them;
//! a text that only looks like such a token is then text.

mod harmony;
mod tags;

use std::sync::Arc;

use serde_json::Value;

use super::Tokenizer;
use harmony::Harmony;
use tags::{TABLE, Tags, TagsParser};

/// Ids at the end of a prompt in which a template may have opened the reasoning.
const TAIL: usize = 32;

/// Text of an answer, and of the reasoning apart from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitText {
    pub answer: String,
    pub reasoning: String,
}

impl SplitText {
    /// Appends what came later.
    pub fn append(&mut self, later: &Self) {
        self.answer += &later.answer;
        self.reasoning += &later.reasoning;
    }
}

/// What a token means to a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Open,
    Close,
    /// Harmony's `<|start|>`: a message's header begins, with its role.
    Start,
    /// The name of its channel follows.
    Channel,
    /// The type of its content follows.
    Constrain,
    /// The header ends, the content begins.
    Message,
    /// The message ends.
    End,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Tags(Tags),
    Harmony,
}

/// How a model tells its reasoning from its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ReasoningFormat {
    kind: Kind,
    /// The tokens among the marks.
    marks: Vec<(u32, Mark)>,
}

impl ReasoningFormat {
    /// The format of a model, by what its chat template writes and its vocabulary has; none where neither knows any.
    pub fn detect(tokenizer: &Tokenizer, tokenizer_config: Option<&Value>) -> Option<Self> {
        let mut templates = String::new();
        collect_texts(tokenizer_config.and_then(|config| config.get("chat_template")), &mut templates);
        let ids = |marks: &[(&str, Mark)]| -> Vec<(u32, Mark)> {
            marks.iter().filter_map(|(text, mark)| Some((tokenizer.added_id(text)?, *mark))).collect()
        };
        let harmony = ids(harmony::MARKS);
        if [Mark::Start, Mark::Channel, Mark::Message, Mark::End]
            .iter()
            .all(|mark| harmony.iter().any(|m| m.1 == *mark))
        {
            return Some(Self { kind: Kind::Harmony, marks: harmony });
        }
        let marks = |tags: &Tags| ids(&[(tags.open, Mark::Open), (tags.close, Mark::Close)]);
        let written = |tags: &&Tags| templates.contains(tags.close);
        let has_tokens = |tags: &&Tags| marks(tags).len() == 2;
        let tags = TABLE.iter().find(written).or_else(|| TABLE.iter().find(has_tokens))?;
        let around = if tags.around.iter().any(|text| templates.contains(text)) { tags.around } else { &[] };
        Some(Self { marks: marks(tags), kind: Kind::Tags(Tags { around, ..*tags }) })
    }

    fn mark(&self, id: u32) -> Option<Mark> {
        self.marks.iter().find(|(marked, _)| *marked == id).map(|(_, mark)| *mark)
    }
}

/// All texts in a value: a template, or a list of them with names.
fn collect_texts(value: Option<&Value>, texts: &mut String) {
    match value {
        Some(Value::String(text)) => *texts += text,
        Some(Value::Array(list)) => list.iter().for_each(|entry| collect_texts(entry.get("template"), texts)),
        _ => {}
    }
}

/// Tells reasoning from answer in one text. Whatever way the text is cut into pieces, the parts are the same.
#[derive(Clone, Debug)]
pub struct Reasoning {
    format: Arc<ReasoningFormat>,
    parser: Parser,
}

#[derive(Clone, Debug)]
enum Parser {
    Tags(TagsParser),
    Harmony(Harmony),
}

impl Reasoning {
    /// For what follows a prompt, which may have opened the reasoning or a message already.
    pub fn after(format: &Arc<ReasoningFormat>, tokenizer: &Tokenizer, prompt: &[u32]) -> Self {
        let parser = match &format.kind {
            Kind::Tags(tags) => {
                let tail = tokenizer.spelled(&prompt[prompt.len().saturating_sub(TAIL)..]);
                Parser::Tags(TagsParser::new(*tags, &tail, format.marks.iter().any(|mark| mark.1 == Mark::Close)))
            }
            Kind::Harmony => {
                let mut parser = Harmony::default();
                let start = prompt.iter().rposition(|id| format.mark(*id) == Some(Mark::Start));
                for id in &prompt[start.unwrap_or(prompt.len())..] {
                    match format.mark(*id) {
                        Some(mark) => parser.mark(mark),
                        None => drop(parser.text(&tokenizer.spelled(&[*id]))),
                    }
                }
                Parser::Harmony(parser)
            }
        };
        Self { format: Arc::clone(format), parser }
    }

    /// Whether a token may be a mark.
    pub(super) fn is_mark(&self, id: u32) -> bool {
        self.format.mark(id).is_some()
    }

    /// Takes a token that may be a mark; none where it is no mark at this place, so that its text counts.
    pub(super) fn mark(&mut self, id: u32) -> Option<SplitText> {
        let mark = self.format.mark(id)?;
        match &mut self.parser {
            Parser::Tags(parser) => parser.mark(mark),
            Parser::Harmony(parser) => {
                parser.mark(mark);
                Some(SplitText::default())
            }
        }
    }

    /// Takes the text of other tokens; gives what is certain now.
    pub fn text(&mut self, piece: &str) -> SplitText {
        match &mut self.parser {
            Parser::Tags(parser) => parser.text(piece),
            Parser::Harmony(parser) => parser.text(piece),
        }
    }

    /// Whether what comes next belongs to the answer.
    pub(super) fn is_answer(&self) -> bool {
        match &self.parser {
            Parser::Tags(parser) => !parser.is_inside(),
            Parser::Harmony(parser) => parser.is_answer(),
        }
    }

    /// The end: what was held back.
    pub fn finish(&mut self) -> SplitText {
        match &mut self.parser {
            Parser::Tags(parser) => parser.finish(),
            Parser::Harmony(_) => SplitText::default(),
        }
    }
}

#[cfg(test)]
mod tests;
