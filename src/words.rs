//! What messages name: options and calls of the library, for which each facade has its own names.
//!
//! ```
//! use tilestream::words::Term;
//!
//! let remedy = "choose " + Term::Kv("f32");
//! assert_eq!(remedy.to_string(), "choose `LoadOptions::kv` f32");
//! assert_eq!(remedy.with_names(|_| "--kv f32".into()), "choose --kv f32");
//! ```

use std::fmt;
use std::ops::Add;

/// An option or a call of the library. `Display` gives the library's name for it; the command says `--kv f32`, the web package
/// `kv: "f32"`.
///
/// Every facade names all of them, so the list is exhaustive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// [`LoadOptions::budget_bytes`](crate::LoadOptions::budget_bytes).
    Budget,
    /// [`LoadOptions::context`](crate::LoadOptions::context).
    Context,
    /// [`LoadOptions::context_limit`](crate::LoadOptions::context_limit).
    ContextLimit,
    /// [`LoadOptions::kv`](crate::LoadOptions::kv) and its value.
    Kv(&'static str),
    /// [`LoadOptions::io`](crate::LoadOptions::io).
    Io,
    /// [`SourceOptions::token`](crate::source::SourceOptions::token).
    Token,
    /// [`SourceOptions::file`](crate::source::SourceOptions::file).
    File,
    /// [`SourceOptions::ignored_fields`](crate::source::SourceOptions::ignored_fields) and fields for it.
    IgnoredFields(Vec<String>),
    /// [`SourceOptions::class`](crate::source::SourceOptions::class) and a class for it.
    Class(&'static str),
    /// [`SourceOptions::cache_dir`](crate::source::SourceOptions::cache_dir).
    CacheDir,
    /// [`SplitOptions::weights`](crate::shard::split::SplitOptions::weights) and its value.
    Weights(&'static str),
    /// [`SplitOptions::max_file_bytes`](crate::shard::split::SplitOptions::max_file_bytes).
    MaxFileSize,
    /// [`SplitOptions::originals`](crate::shard::split::SplitOptions::originals).
    Originals,
    /// A prompt without the chat template: [`Tokenizer::encode`](crate::text::Tokenizer::encode).
    PlainPrompt,
    /// A prompt of token ids: [`Request::prompt`](crate::Request::prompt).
    IdsPrompt,
    /// [`verify`](crate::shard::verify()).
    Verify,
    /// [`adapters`](crate::gpu::adapters).
    Adapters,
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget => f.write_str("`LoadOptions::budget_bytes`"),
            Self::Context => f.write_str("`LoadOptions::context`"),
            Self::ContextLimit => f.write_str("`LoadOptions::context_limit`"),
            Self::Kv(value) => write!(f, "`LoadOptions::kv` {value}"),
            Self::Io => f.write_str("`LoadOptions::io`"),
            Self::Token => f.write_str("`SourceOptions::token`"),
            Self::File => f.write_str("`SourceOptions::file`"),
            Self::IgnoredFields(fields) => {
                write!(f, "`SourceOptions::ignored_fields` '{}'", fields.join("', '"))
            }
            Self::Class(class) => write!(f, "`SourceOptions::class` {class}"),
            Self::CacheDir => f.write_str("`SourceOptions::cache_dir`"),
            Self::Weights(value) => write!(f, "`SplitOptions::weights` {value}"),
            Self::MaxFileSize => f.write_str("`SplitOptions::max_file_bytes`"),
            Self::Originals => f.write_str("`SplitOptions::originals`"),
            Self::PlainPrompt => f.write_str("`Tokenizer::encode`"),
            Self::IdsPrompt => f.write_str("`Request::prompt`"),
            Self::Verify => f.write_str("`shard::verify`"),
            Self::Adapters => f.write_str("`gpu::adapters`"),
        }
    }
}

/// A text that names terms: `"raise " + Term::Budget + ", or shorten the prompt"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(Vec<Word>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Text(String),
    Term(Term),
}

impl Words {
    /// The text with the names that `name` gives.
    pub fn with_names(&self, name: impl Fn(&Term) -> String) -> String {
        let word = |word: &Word| match word {
            Word::Text(text) => text.clone(),
            Word::Term(term) => name(term),
        };
        self.0.iter().map(word).collect()
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_names(Term::to_string))
    }
}

impl From<&str> for Words {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for Words {
    fn from(text: String) -> Self {
        Self(vec![Word::Text(text)])
    }
}

impl From<Term> for Words {
    fn from(term: Term) -> Self {
        Self(vec![Word::Term(term)])
    }
}

impl<W: Into<Words>> Add<W> for Words {
    type Output = Self;

    fn add(mut self, more: W) -> Self {
        self.0.extend(more.into().0);
        self
    }
}

impl<W: Into<Words>> Add<W> for Term {
    type Output = Words;

    fn add(self, more: W) -> Words {
        Words::from(self) + more
    }
}

impl Add<Term> for &str {
    type Output = Words;

    fn add(self, term: Term) -> Words {
        Words::from(self) + term
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_the_names_of_whoever_shows_it() {
        let words = "raise " + Term::Budget + format!(" to {}, or try ", 7) + Term::Kv("f16");
        assert_eq!(words.to_string(), "raise `LoadOptions::budget_bytes` to 7, or try `LoadOptions::kv` f16");
        let name = |term: &Term| if *term == Term::Budget { "--budget".into() } else { format!("<{term:?}>") };
        assert_eq!(words.with_names(name), "raise --budget to 7, or try <Kv(\"f16\")>");
        let fields = Term::IgnoredFields(vec!["a b".into(), "c".into()]);
        assert_eq!((fields + "!").to_string(), "`SourceOptions::ignored_fields` 'a b', 'c'!");
    }
}
