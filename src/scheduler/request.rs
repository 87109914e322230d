//! What is asked of a model, and what comes of it.

use crate::model_files::ModelText;
use crate::scheduler::Pooling;
use crate::text::{Grammar, SamplerOptions, SplitText, StopReason, TextStream, TokenLogprobs};
use crate::{Error, Result};

/// How to continue a prompt.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GenerateOptions {
    /// New tokens at most. None at all is enough where [`GenerateOptions::prompt_logprobs`] asks about the prompt.
    pub max_tokens: u32,
    /// How each token is chosen.
    pub sampler: SamplerOptions,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Go on after an end-of-turn token.
    pub ignore_eos: bool,
    /// Tell with each token how likely it was, and so many of the most likely ones. `None`: neither.
    pub logprobs: Option<usize>,
    /// Tell with the first token how likely each token of the prompt was, and so many of the most likely ones. `None`: neither.
    /// All of the prompt is computed for that, whatever is known of it already.
    pub prompt_logprobs: Option<usize>,
    /// What the answer has to be, behind what is thought before it; [`ModelFiles::grammar`](crate::ModelFiles::grammar) makes
    /// it. An answer that meets it and cannot go on ends. `None`: any text.
    pub grammar: Option<Grammar>,
    /// Special tokens that are written into the answer as the texts that they are, such as
    /// [`CallFormat::marks`](crate::CallFormat::marks).
    pub spelled: Vec<String>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            sampler: SamplerOptions::default(),
            stop: Vec::new(),
            ignore_eos: false,
            logprobs: None,
            prompt_logprobs: None,
            grammar: None,
            spelled: Vec::new(),
        }
    }
}

impl GenerateOptions {
    crate::options::setters!(max_tokens: u32, sampler: SamplerOptions, stop: Vec<String>, ignore_eos: bool, spelled: Vec<String>;
        some logprobs: usize, prompt_logprobs: usize, grammar: Grammar);

    /// What makes text of the tokens that continue a prompt.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) for texts that cannot end an answer.
    pub fn text_stream(&self, text: &ModelText, prompt: &[u32]) -> Result<TextStream> {
        let stop_ids = if self.ignore_eos { Vec::new() } else { text.stop_ids.clone() };
        let stream = TextStream::new(text.tokenizer.clone(), stop_ids, self.stop.clone())?;
        Ok(stream.spelling(&self.spelled).with_reasoning(text.reasoning.as_ref(), prompt))
    }
}

/// What is asked of a prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Question {
    /// How it goes on.
    #[default]
    Answer,
    /// One vector of it.
    Vector(Pooling),
    /// How likely each of these ids is to be the next one.
    Next(Vec<u32>),
}

/// A prompt and how to continue it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Request {
    /// Token ids of the text so far.
    pub prompt: Vec<u32>,
    /// So many of the prompt's last tokens are an answer's own, which goes on as if it had not been interrupted: with the same
    /// options, to the same text.
    pub answered: usize,
    /// How to continue it.
    pub options: GenerateOptions,
    /// What is asked of it: only an answer looks at the options.
    pub question: Question,
}

impl Request {
    /// A prompt whose answer begins.
    pub fn new(prompt: Vec<u32>, options: GenerateOptions) -> Self {
        Self { prompt, answered: 0, options, question: Question::Answer }
    }

    /// A text of which a vector is made: its hidden states behind the last norm, in one.
    pub fn embedding(prompt: Vec<u32>, pooling: Pooling) -> Self {
        Self { question: Question::Vector(pooling), ..Self::new(prompt, GenerateOptions::default()) }
    }

    /// A text of which it is asked how likely each of the `ids` is to come next.
    pub fn next_logprobs(prompt: Vec<u32>, ids: Vec<u32>) -> Self {
        Self { question: Question::Next(ids), ..Self::new(prompt, GenerateOptions::default()) }
    }
}

/// Names a request of a model; a later one has a larger number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(super) u64);

/// What came out of one token, or the end.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TextDelta {
    /// Whose it is.
    pub request: RequestId,
    /// The new token. `None`: only text that was held back comes out.
    pub id: Option<u32>,
    /// Text of the answer that is certain now; often empty, never part of a character.
    pub text: String,
    /// Text of what the model thinks before it answers, likewise.
    pub reasoning: String,
    /// Whether the token belongs to what the model thinks before it answers; the mark that ends that does too.
    pub is_thought: bool,
    /// How likely the token was, where [`GenerateOptions::logprobs`] asks for it.
    pub logprobs: Option<TokenLogprobs>,
    /// How likely the prompt's tokens were, from the second one on; on the first delta, where
    /// [`GenerateOptions::prompt_logprobs`] asks for it.
    pub prompt_logprobs: Vec<TokenLogprobs>,
    /// Tokens of the prompt that were not computed again; on the first delta.
    pub cached_tokens: u32,
    /// Why the request ended, on its last delta.
    pub stop: Option<StopReason>,
}

impl TextDelta {
    pub(super) fn new(request: RequestId, id: Option<u32>, parts: SplitText, stop: Option<StopReason>) -> Self {
        let (text, reasoning) = (parts.answer, parts.reasoning);
        Self {
            request,
            id,
            text,
            reasoning,
            is_thought: false,
            logprobs: None,
            prompt_logprobs: Vec::new(),
            cached_tokens: 0,
            stop,
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A token; the last one says why the request ended.
    Delta(TextDelta),
    /// What [`Question::Vector`] and [`Question::Next`] ask for, and the end of the request.
    Values {
        /// Whose they are.
        request: RequestId,
        /// `[hidden]`, not normalized; or the natural logarithms of the probabilities, `[ids]`.
        values: Vec<f32>,
    },
    /// It ended without an answer, or in the middle of one. The others go on.
    Failed {
        /// Whose end it is.
        request: RequestId,
        /// What was wrong.
        error: Error,
    },
}

impl Event {
    /// The request that it belongs to.
    pub fn request(&self) -> RequestId {
        match self {
            Self::Delta(delta) => delta.request,
            Self::Values { request, .. } | Self::Failed { request, .. } => *request,
        }
    }

    /// Whether its request ends with it.
    pub(crate) fn is_last(&self) -> bool {
        match self {
            Self::Delta(delta) => delta.stop.is_some(),
            Self::Values { .. } | Self::Failed { .. } => true,
        }
    }
}
