//! The one error type of the library: a kind to match on, and the place it happened at.

use std::fmt;
use std::sync::Arc;

use crate::words::{Term, Words};

/// What went wrong, coarse enough to match on. [`ErrorKind::code`] is stable across versions and languages.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The operating system, a server or a browser refused to read or write.
    Io,
    /// Another machine could not be reached, or failed again and again.
    Network,
    /// A file or object that must exist does not.
    NotFound,
    /// Bytes end before the header says they do.
    Truncated,
    /// A header, config or table contradicts itself or its format.
    Malformed,
    /// Well-formed, but something Tilestream does not know.
    Unsupported,
    /// A tensor or a config field that the architecture needs is absent.
    Missing,
    /// A checksum does not match.
    Checksum,
    /// The budget is too small; the message holds the smallest that works.
    Budget,
    /// The disk or quota is full.
    NoSpace,
    /// There is no GPU adapter, or it or its driver cannot do what is needed.
    Adapter,
    /// The GPU device was lost: reset, unplugged or destroyed. Another one can take its place.
    DeviceLost,
    /// The driver has no memory left for the GPU, although the budget would allow it.
    GpuMemory,
    /// What was computed is not a finite number: the weights are damaged, or a driver computes wrongly.
    NotFinite,
    /// A fault of Tilestream itself. To be reported.
    Internal,
    /// A tokenizer or chat template failed.
    Text,
    /// An argument of the caller is out of range.
    Argument,
    /// The caller asked to stop.
    Cancelled,
}

impl ErrorKind {
    /// A stable, lower-case name, the same in JavaScript.
    pub fn code(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Network => "network",
            Self::NotFound => "not_found",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
            Self::Missing => "missing",
            Self::Checksum => "checksum",
            Self::Budget => "budget",
            Self::NoSpace => "no_space",
            Self::Adapter => "adapter",
            Self::DeviceLost => "device_lost",
            Self::GpuMemory => "gpu_memory",
            Self::NotFinite => "not_finite",
            Self::Internal => "internal",
            Self::Text => "text",
            Self::Argument => "argument",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An error with its place: which file, which tensor, what to do.
///
/// `Display` is one line: `FILE: tensor 'NAME': message; remedy`. It names options as the library does;
/// [`Error::with_names`] gives the same line to a facade that has other names for them.
#[derive(Clone, Debug)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    file: Option<String>,
    tensor: Option<String>,
    remedy: Option<Words>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A new error; `message` says what is wrong, in lower case, without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), file: None, tensor: None, remedy: None, source: None }))
    }

    /// Names the file or object, unless an inner layer already did.
    pub fn file(mut self, file: impl Into<String>) -> Self {
        self.0.file.get_or_insert_with(|| file.into());
        self
    }

    /// Names the tensor, unless an inner layer already did.
    pub fn tensor(mut self, tensor: impl Into<String>) -> Self {
        self.0.tensor.get_or_insert_with(|| tensor.into());
        self
    }

    /// Says what the reader can do about it.
    pub fn remedy(mut self, remedy: impl Into<Words>) -> Self {
        self.0.remedy.get_or_insert_with(|| remedy.into());
        self
    }

    /// Replaces the remedy that it has.
    pub(crate) fn other_remedy(mut self, remedy: impl Into<Words>) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// Adds to the remedy that it has.
    pub fn more_remedy(mut self, remedy: impl Into<Words>) -> Self {
        self.0.remedy = Some(match self.0.remedy.take() {
            Some(before) => before + "; " + remedy,
            None => remedy.into(),
        });
        self
    }

    /// Takes over the remedy of what is behind it, unless it has one.
    pub fn remedy_of(mut self, behind: &Self) -> Self {
        self.0.remedy = self.0.remedy.or_else(|| behind.0.remedy.clone());
        self
    }

    /// The line without what to do about it.
    pub(crate) fn what(&self) -> String {
        let Inner { file, tensor, message, .. } = &*self.0;
        let file = file.as_ref().map_or_else(String::new, |file| format!("{file}: "));
        let tensor = tensor.as_ref().map_or_else(String::new, |tensor| format!("tensor '{tensor}': "));
        format!("{file}{tensor}{message}")
    }

    /// The line of `Display`, with the names that `name` gives to options and calls.
    pub fn with_names(&self, name: impl Fn(&Term) -> String) -> String {
        match &self.0.remedy {
            Some(remedy) => format!("{}; {}", self.what(), remedy.with_names(name)),
            None => self.what(),
        }
    }

    /// Keeps the cause.
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into().into());
        self
    }

    /// An error of the operating system, with a kind that tells a missing file and a full disk apart.
    pub fn io(error: std::io::Error, file: impl Into<String>) -> Self {
        use std::io::ErrorKind as Os;
        let (kind, remedy) = match error.kind() {
            Os::NotFound => (ErrorKind::NotFound, None),
            Os::UnexpectedEof => (ErrorKind::Truncated, Some("get the file again")),
            Os::StorageFull | Os::QuotaExceeded => (ErrorKind::NoSpace, Some("free some space and start again")),
            Os::PermissionDenied => (ErrorKind::Io, Some("check the permissions")),
            _ => (ErrorKind::Io, None),
        };
        let result = Self::new(kind, error.to_string()).file(file).source(error);
        match remedy {
            Some(remedy) => result.remedy(remedy),
            None => result,
        }
    }

    /// The kind, to match on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file or object, where one is to blame.
    pub fn file_name(&self) -> Option<&str> {
        self.0.file.as_deref()
    }

    /// The tensor, where one is to blame.
    pub fn tensor_name(&self) -> Option<&str> {
        self.0.tensor.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_names(Term::to_string))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_remedy_has_the_names_of_whoever_shows_it() {
        let behind = Error::new(ErrorKind::Budget, "too small").file("model").remedy("raise " + Term::Budget);
        let message = format!("cannot be loaded: {}", behind.what());
        let error = Error::new(ErrorKind::Budget, message).tensor("w").remedy_of(&behind).more_remedy("wait");
        let name = |term: &Term| format!("<{term:?}>");
        assert_eq!(error.with_names(name), "tensor 'w': cannot be loaded: model: too small; raise <Budget>; wait");
        assert!(error.to_string().ends_with("raise `LoadOptions::budget_bytes`; wait"), "{error}");
    }

    #[test]
    fn the_web_package_knows_every_code_and_no_other() {
        let quoted = |text: &'static str| text.split('"').skip(1).step_by(2).collect::<BTreeSet<_>>();
        let between = |text: &'static str, from: &str, to: &str| {
            let start = text.find(from).expect("begins");
            &text[start..start + text[start..].find(to).expect("ends")]
        };
        let ours = quoted(between(include_str!("error.rs"), "pub fn code(self)", "/// An error with its place"));
        let theirs = quoted(between(include_str!("../web/src/types.ts"), "export type ErrorCode =", ";"));
        let of_the_page = BTreeSet::from(["no_webgpu", "wasm", "worker"]);
        assert!(ours.len() > 15 && ours.is_disjoint(&of_the_page));
        assert_eq!(ours.union(&of_the_page).copied().collect::<BTreeSet<_>>(), theirs);
    }
}
