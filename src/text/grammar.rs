//! What an answer has to be: each token is chosen among those after which the grammar can still be met.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::Tokenizer;
use crate::Result;

/// Says what an answer has to be.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum GrammarSource {
    /// Any JSON object.
    JsonObject,
    /// JSON that a schema describes, of drafts 4 to 2020-12. What of it cannot be held is refused.
    JsonSchema(Value),
    /// A text that a regular expression matches as a whole.
    Regex(String),
    /// A context-free grammar in the notation of Lark, which begins at `start`.
    Lark(String),
}

/// A grammar for the tokens of one model. Clones share what was compiled.
#[derive(Clone)]
pub struct Grammar {
    source: Arc<GrammarSource>,
    matcher: compiled::Compiled,
}

impl Grammar {
    /// What it was made of.
    pub fn source(&self) -> &GrammarSource {
        &self.source
    }

    /// Follows an answer from its beginning.
    #[doc(hidden)]
    pub fn begin(&self) -> GrammarState {
        GrammarState { matcher: self.matcher.begin(), is_done: false }
    }
}

impl PartialEq for Grammar {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Grammar").field(&self.source).finish()
    }
}

/// Where an answer stands in its grammar.
pub struct GrammarState {
    matcher: compiled::Matcher,
    is_done: bool,
}

impl fmt::Debug for GrammarState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrammarState").field("is_done", &self.is_done).finish_non_exhaustive()
    }
}

impl GrammarState {
    /// The tokens after which the grammar can still be met, those that end the answer among them where it is met: a bit each.
    ///
    /// # Errors
    /// [`ErrorKind::Text`](crate::ErrorKind::Text) where the grammar takes too much, or no token fits.
    pub fn allowed(&mut self) -> Result<Allowed> {
        self.matcher.allowed()
    }

    /// Takes the token that was chosen. True where the answer can only end now.
    ///
    /// # Errors
    /// [`ErrorKind::Text`](crate::ErrorKind::Text) for one that does not fit.
    pub fn take(&mut self, id: u32) -> Result<bool> {
        self.is_done = self.matcher.take(id)?;
        Ok(self.is_done)
    }
}

/// A set of tokens.
pub struct Allowed(Vec<u32>);

impl Allowed {
    /// Whether a token is one of them.
    pub fn has(&self, id: u32) -> bool {
        self.0.get(id as usize / 32).is_some_and(|word| word >> (id % 32) & 1 == 1)
    }
}

/// What compiles grammars for a model's tokens; made when it is first needed.
#[derive(Clone, Debug, Default)]
pub struct GrammarCompiler(compiled::Shared);

impl GrammarCompiler {
    /// Compiles a grammar for answers of a model with `vocab` tokens, which end with one of `stop_ids`.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) where it is wrong, or takes too much;
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) in a build without the feature `grammar`.
    pub(crate) fn compile(
        &self,
        (tokenizer, vocab): (&Tokenizer, u32),
        stop_ids: &[u32],
        source: GrammarSource,
    ) -> Result<Grammar> {
        let matcher = self.0.compile((tokenizer, vocab), stop_ids, &source)?;
        Ok(Grammar { source: Arc::new(source), matcher })
    }
}

#[cfg(feature = "grammar")]
mod compiled {
    //! By the crate `llguidance`.

    use std::fmt;
    use std::sync::{Arc, Mutex, OnceLock, PoisonError};

    use llguidance::api::TopLevelGrammar;
    use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};
    use llguidance::{Matcher as Parser, ParserFactory};
    use serde_json::{Map, Value, json};

    use super::{Allowed, GrammarSource, Tokenizer};
    use crate::{Error, ErrorKind, Result};

    /// Characters of what a parser says that are told: its errors tell all that was written so far.
    const MOST_TOLD: usize = 300;
    /// Bytes of a source at most.
    const MOST_BYTES: usize = 1 << 20;
    /// Brackets within brackets, of which each takes stack.
    const MOST_DEPTH: usize = 100;
    /// Between the parts of JSON: a model that is unsure goes on with spaces for ever, if it may.
    const SPACE: &str = r" {1,2}|\n[ \t]{0,24}";
    /// Memory of one grammar's lexer, at one or two KiB a state.
    const MOST_LEXER_STATES: usize = 50_000;
    /// Symbols of one grammar.
    const MOST_SYMBOLS: usize = 200_000;

    /// The tokens of a model.
    struct Vocabulary(TokTrie);

    impl TokenizerEnv for Vocabulary {
        fn tok_trie(&self) -> &TokTrie {
            &self.0
        }

        fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
            self.0.greedy_tokenize(bytes)
        }
    }

    #[derive(Clone, Default)]
    pub(super) struct Shared(Arc<OnceLock<std::result::Result<Arc<ParserFactory>, String>>>);

    impl fmt::Debug for Shared {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Shared")
        }
    }

    impl Shared {
        pub(super) fn compile(
            &self,
            (tokenizer, vocab): (&Tokenizer, u32),
            stop_ids: &[u32],
            source: &GrammarSource,
        ) -> Result<Compiled> {
            let factory = self.0.get_or_init(|| factory(tokenizer, vocab, stop_ids).map(Arc::new));
            let factory = factory.as_ref().map_err(|message| failed(ErrorKind::Unsupported, message))?;
            let parser = Parser::new(factory.create_parser(grammar(source)?));
            if let Some(error) = parser.get_error() {
                return Err(failed(ErrorKind::Argument, &error).remedy("see what of grammars is supported"));
            }
            Ok(Compiled(Arc::new(Mutex::new(parser))))
        }
    }

    fn factory(tokenizer: &Tokenizer, vocab: u32, stop_ids: &[u32]) -> std::result::Result<ParserFactory, String> {
        let word = |id: u32| match tokenizer.token_bytes(id) {
            // Special tokens are no text: nothing but the end of an answer is allowed of them.
            Some(bytes) if tokenizer.is_special(id) || stop_ids.contains(&id) => {
                [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes.as_slice()].concat()
            }
            bytes => bytes.unwrap_or_default(),
        };
        let words: Vec<Vec<u8>> = (0..vocab).map(word).collect();
        let Some(end) = stop_ids.first() else { return Err("a model without a token that ends answers".into()) };
        let trie = TokTrie::from(&TokRxInfo::new(vocab, *end), &words).with_eos_tokens(stop_ids);
        let environment: TokEnv = Arc::new(Vocabulary(trie));
        let mut factory = ParserFactory::new_simple(&environment).map_err(|error| error.to_string())?;
        factory.quiet();
        let limits = factory.limits_mut();
        limits.max_lexer_states = MOST_LEXER_STATES;
        limits.max_grammar_size = MOST_SYMBOLS;
        limits.verbose_errors = false;
        let _ = InferenceCapabilities::default();
        Ok(factory)
    }

    fn grammar(source: &GrammarSource) -> Result<TopLevelGrammar> {
        let (bytes, depth) = match source {
            GrammarSource::JsonObject => (0, 0),
            GrammarSource::JsonSchema(schema) => {
                let depth = depth_of(schema);
                (if depth > MOST_DEPTH { 0 } else { schema.to_string().len() }, depth)
            }
            GrammarSource::Regex(text) | GrammarSource::Lark(text) => (text.len(), depth_in(text)),
        };
        if bytes > MOST_BYTES || depth > MOST_DEPTH {
            let message = format!("a grammar may have {MOST_BYTES} bytes, and {MOST_DEPTH} brackets in each other");
            return Err(Error::new(ErrorKind::Argument, message).remedy("ask for less at once"));
        }
        Ok(match source {
            GrammarSource::JsonObject => of_schema(Map::from_iter([("type".to_owned(), "object".into())])),
            GrammarSource::JsonSchema(Value::Object(schema)) => of_schema(schema.clone()),
            GrammarSource::JsonSchema(Value::Bool(true)) => of_schema(Map::new()),
            GrammarSource::JsonSchema(_) => return Err(Error::new(ErrorKind::Argument, "a schema is an object")),
            GrammarSource::Regex(regex) => TopLevelGrammar::from_regex(regex),
            GrammarSource::Lark(lark) => TopLevelGrammar::from_lark(lark.clone()),
        })
    }

    /// Holds all of a schema, or refuses it.
    fn of_schema(mut schema: Map<String, Value>) -> TopLevelGrammar {
        schema.insert("x-guidance".into(), json!({ "whitespace_pattern": SPACE }));
        TopLevelGrammar::from_json_schema(schema.into())
    }

    /// Lists and objects in each other; counted no further than is refused.
    fn depth_of(schema: &Value) -> usize {
        let mut level: Vec<&Value> = vec![schema];
        for depth in 0..=MOST_DEPTH {
            level = level.into_iter().flat_map(inner).collect();
            if level.is_empty() {
                return depth;
            }
        }
        MOST_DEPTH + 1
    }

    fn inner(value: &Value) -> Vec<&Value> {
        match value {
            Value::Array(list) => list.iter().collect(),
            Value::Object(fields) => fields.values().collect(),
            _ => Vec::new(),
        }
    }

    /// The most brackets that are open at once.
    fn depth_in(text: &str) -> usize {
        let (mut open, mut most) = (0_usize, 0);
        for byte in text.bytes() {
            match byte {
                b'(' | b'[' | b'{' => open += 1,
                b')' | b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            most = most.max(open);
        }
        most
    }

    fn failed(kind: ErrorKind, message: &str) -> Error {
        Error::new(kind, format!("grammar: {}", message.trim().chars().take(MOST_TOLD).collect::<String>()))
    }

    /// A parser at the beginning.
    #[derive(Clone)]
    pub(super) struct Compiled(Arc<Mutex<Parser>>);

    impl Compiled {
        pub(super) fn begin(&self) -> Matcher {
            Matcher(self.0.lock().unwrap_or_else(PoisonError::into_inner).deep_clone())
        }
    }

    pub(super) struct Matcher(Parser);

    impl Matcher {
        pub(super) fn allowed(&mut self) -> Result<Allowed> {
            let mask = self.0.compute_mask_or_eos().map_err(|error| failed(ErrorKind::Text, &error.to_string()))?;
            Ok(Allowed(mask.as_slice().to_vec()))
        }

        pub(super) fn take(&mut self, id: u32) -> Result<bool> {
            self.0.consume_token(id).map_err(|error| failed(ErrorKind::Text, &error.to_string()))?;
            Ok(self.0.is_stopped())
        }
    }
}

#[cfg(not(feature = "grammar"))]
mod compiled {
    //! Builds that have to be small.

    use super::{Allowed, GrammarSource, Tokenizer};
    use crate::{Error, ErrorKind, Result};

    #[derive(Clone, Debug, Default)]
    pub(super) struct Shared;

    impl Shared {
        pub(super) fn compile(&self, _: (&Tokenizer, u32), _: &[u32], _: &GrammarSource) -> Result<Compiled> {
            Err(Error::new(ErrorKind::Unsupported, "this build knows no grammars")
                .remedy("build it with the feature 'grammar'"))
        }
    }

    /// There is none.
    #[derive(Clone)]
    pub(super) enum Compiled {}

    impl Compiled {
        pub(super) fn begin(&self) -> Matcher {
            match *self {}
        }
    }

    pub(super) enum Matcher {}

    impl Matcher {
        pub(super) fn allowed(&mut self) -> Result<Allowed> {
            match *self {}
        }

        pub(super) fn take(&mut self, _: u32) -> Result<bool> {
            match *self {}
        }
    }
}
