//! The library's messages in the words of the command.

use tilestream::Error;
use tilestream::words::Term;

/// An error's line, with the command's options.
pub fn told(error: &Error) -> String {
    error.with_names(name)
}

/// What the command calls an option or a call of the library.
fn name(term: &Term) -> String {
    match term {
        Term::Budget => "--budget".into(),
        Term::Context | Term::ContextLimit => "--context".into(),
        Term::Kv(value) => format!("--kv {value}"),
        Term::Io => "--io".into(),
        Term::Token => "--hf-token".into(),
        Term::File => "--file".into(),
        Term::IgnoredFields(fields) => {
            fields.iter().map(|field| format!("--ignore-field {}", for_a_shell(field))).collect::<Vec<_>>().join(" ")
        }
        Term::Class(class) => format!("--as {class}"),
        Term::CacheDir => "--shards-dir".into(),
        Term::Weights(value) => format!("--weights {value}"),
        Term::MaxFileSize => "--max-file-size".into(),
        Term::Originals => "--delete-original".into(),
        Term::PlainPrompt => "`tilestream run --raw`".into(),
        Term::IdsPrompt => "`tilestream run --ids-file`".into(),
        Term::Verify => "`tilestream verify`".into(),
        Term::Adapters => "`tilestream devices`".into(),
    }
}

/// A word of a command line.
fn for_a_shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use tilestream::ErrorKind;

    use super::*;

    #[test]
    fn an_error_names_options_as_they_are_typed() {
        let fields = ["wobble", "rope_scaling.attn_factor", "a b", "it's"].map(str::to_owned).to_vec();
        let remedy = "raise " + Term::Budget + ", or " + Term::IgnoredFields(fields);
        let error = Error::new(ErrorKind::Budget, "too small").file("model").remedy(remedy);
        assert_eq!(
            told(&error),
            "model: too small; raise --budget, or --ignore-field wobble --ignore-field rope_scaling.attn_factor \
             --ignore-field 'a b' --ignore-field 'it'\\''s'"
        );
    }
}
