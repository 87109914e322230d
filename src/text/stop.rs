//! When a sequence ends: reasons, stop texts that may lie across pieces, and the end-of-turn tokens of a model.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::{Error, ErrorKind, Result};

/// Why a sequence ended.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The model produced one of its end tokens.
    EndOfTurn,
    /// One of the caller's stop texts appeared.
    StopText,
    /// The caller's limit of new tokens is reached.
    MaxTokens,
    /// No room is left in the context.
    ContextFull,
    /// The caller asked to stop.
    Cancelled,
}

impl StopReason {
    /// A stable, lower-case name, the same in JSON and JavaScript.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EndOfTurn => "end_of_turn",
            Self::StopText => "stop_text",
            Self::MaxTokens => "max_tokens",
            Self::ContextFull => "context_full",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What [`StopTexts::push`] lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Text that is safe to show.
    pub text: String,
    /// A stop text was complete; everything from its start on is dropped.
    pub stopped: bool,
}

/// Looks for stop texts in a stream of pieces, whichever way the text is cut into pieces.
///
/// What may be the beginning of a stop text is held back until it is clear. The match that *ends* first wins (the longest
/// of those), because that is the only rule that gives the same result for every way of cutting.
#[derive(Clone, Debug, Default)]
pub struct StopTexts {
    texts: Vec<String>,
    held: String,
    stopped: bool,
}

impl StopTexts {
    /// # Errors
    /// [`ErrorKind::Argument`] where a stop text is empty: it would stop before the first token.
    pub fn new(texts: Vec<String>) -> Result<Self> {
        if texts.iter().any(String::is_empty) {
            return Err(
                Error::new(ErrorKind::Argument, "a stop text is empty").remedy("give it at least one character")
            );
        }
        Ok(Self { texts, held: String::new(), stopped: false })
    }

    /// Takes the next piece and gives what can be shown. After a match nothing more comes out.
    pub fn push(&mut self, piece: &str) -> Found {
        if self.stopped {
            return Found { text: String::new(), stopped: true };
        }
        let mut text = std::mem::take(&mut self.held);
        text.push_str(piece);
        if let Some(start) = self.first_match(&text) {
            text.truncate(start);
            self.stopped = true;
            return Found { text, stopped: true };
        }
        self.held = text.split_off(text.len() - self.undecided_len(&text));
        Found { text, stopped: false }
    }

    /// The end of the text: what was held back did not become a stop text.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the match that ends first begins.
    fn first_match(&self, text: &str) -> Option<usize> {
        let matches = self.texts.iter().filter_map(|stop| text.find(stop).map(|start| (start + stop.len(), start)));
        matches.min().map(|(_, start)| start)
    }

    /// Bytes at the end of `text` that are a proper beginning of some stop text.
    fn undecided_len(&self, text: &str) -> usize {
        let longest = |stop: &String| {
            let beginnings = stop.char_indices().map(|(at, _)| at).rev();
            beginnings.into_iter().find(|&len| text.ends_with(&stop[..len])).unwrap_or(0)
        };
        self.texts.iter().map(longest).max().unwrap_or(0)
    }
}

/// The tokens that end a turn: `eos_token_id` (a number or a list) of `generation_config.json` and `config.json`, and the
/// `eos_token` (a string or an object with `content`) of `tokenizer_config.json`.
///
/// `lookup` gives the id of a token's text; an `eos_token` it does not know adds nothing.
///
/// # Errors
/// [`ErrorKind::Malformed`] with the file's name where a field is neither an id nor a list of ids.
pub fn stop_token_ids(
    config: &Value,
    generation_config: Option<&Value>,
    tokenizer_config: Option<&Value>,
    lookup: impl Fn(&str) -> Option<u32>,
) -> Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    collect_ids(config.get("eos_token_id"), "config.json", &mut ids)?;
    // Composite models keep the language model's fields one level down.
    collect_ids(config.pointer("/text_config/eos_token_id"), "config.json", &mut ids)?;
    collect_ids(generation_config.and_then(|c| c.get("eos_token_id")), "generation_config.json", &mut ids)?;
    let token = tokenizer_config.and_then(|c| c.get("eos_token")).and_then(token_text);
    ids.extend(token.and_then(lookup));
    Ok(ids)
}

/// The text of a token as `tokenizer_config.json` writes it: a string, or an `AddedToken` object with `content`.
pub(super) fn token_text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

fn collect_ids(value: Option<&Value>, file: &str, ids: &mut BTreeSet<u32>) -> Result<()> {
    // -1 says that there is none.
    let is_none = |value: &Value| value.as_i64().is_some_and(|id| id < 0);
    let id = |value: &Value| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| {
            Error::new(ErrorKind::Malformed, format!("eos_token_id holds {value}, not a token id")).file(file)
        })
    };
    match value {
        None | Some(Value::Null) => {}
        Some(value) if is_none(value) => {}
        Some(Value::Array(list)) => {
            for value in list.iter().filter(|value| !is_none(value)) {
                ids.insert(id(value)?);
            }
        }
        Some(value) => {
            ids.insert(id(value)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn whole(texts: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut stop = StopTexts::new(texts.iter().map(ToString::to_string).collect()).unwrap();
        let mut out = String::new();
        let mut stopped = false;
        for piece in pieces {
            let found = stop.push(piece);
            out.push_str(&found.text);
            stopped = found.stopped;
        }
        out.push_str(&stop.finish());
        (out, stopped)
    }

    #[test]
    fn finds_stop_texts_across_pieces() {
        let table: &[(&[&str], &[&str], &str, bool)] = &[
            (&["END"], &["one E", "N", "D two"], "one ", true),
            (&["END"], &["one EN"], "one EN", false),
            (&["END"], &["EEEND"], "EE", true),
            (&["aab"], &["a", "a", "a", "b"], "a", true),
            (&["\n\n"], &["a\n", "b\n", "\nc"], "a\nb", true),
            (&["bc", "abcd"], &["xabcd"], "xa", true),
            (&["abc", "bc"], &["xabc"], "x", true),
            (&["né"], &["un né"], "un ", true),
            (&["né"], &["un nè"], "un nè", false),
            (&[], &["all ", "of it"], "all of it", false),
        ];
        for (texts, pieces, text, stopped) in table {
            assert_eq!(whole(texts, pieces), (text.to_string(), *stopped), "{texts:?} in {pieces:?}");
        }
    }

    #[test]
    fn holds_back_only_what_may_become_a_stop_text() {
        let mut stop = StopTexts::new(vec!["<end>".into()]).unwrap();
        assert_eq!(stop.push("hello <e").text, "hello ");
        assert_eq!(stop.push("m>").text, "<em>");
        assert_eq!(stop.push(" done").text, " done");
    }

    #[test]
    fn is_silent_after_a_match() {
        let mut stop = StopTexts::new(vec!["x".into()]).unwrap();
        assert_eq!(stop.push("axb"), Found { text: "a".into(), stopped: true });
        assert_eq!(stop.push("c"), Found { text: String::new(), stopped: true });
        assert_eq!(stop.finish(), "");
    }

    #[test]
    fn refuses_an_empty_stop_text() {
        assert_eq!(StopTexts::new(vec![String::new()]).unwrap_err().kind(), ErrorKind::Argument);
    }

    proptest! {
        #[test]
        fn cutting_does_not_change_the_result(
            text in "[abé]{0,24}",
            stops in proptest::collection::vec("[abé]{1,4}", 0..4),
            cuts in proptest::collection::vec(0usize..24, 0..8),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let chars: Vec<char> = text.chars().collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(chars.len())).collect();
            cuts.extend([0, chars.len()]);
            cuts.sort_unstable();
            let pieces: Vec<String> = cuts.windows(2).map(|cut| chars[cut[0]..cut[1]].iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (out, stopped) = whole(&stops, &pieces);
            prop_assert_eq!((out.clone(), stopped), whole(&stops, &[&text]));
            prop_assert!(text.starts_with(&out));
            prop_assert_eq!(stopped, stops.iter().any(|stop| text.contains(stop)));
            prop_assert!(!stops.iter().any(|stop| out.contains(stop)));
        }
    }

    #[test]
    fn gathers_end_tokens_from_all_configs() {
        let lookup = |text: &str| (text == "<|im_end|>").then_some(2);
        let ids = |config: Value, generation: Value, tokenizer: Value| {
            stop_token_ids(&config, Some(&generation), Some(&tokenizer), lookup)
        };
        let table = [
            (
                json!({"eos_token_id": 7}),
                json!({"eos_token_id": [8, 9]}),
                json!({"eos_token": "<|im_end|>"}),
                vec![2, 7, 8, 9],
            ),
            (json!({"eos_token_id": null}), json!({}), json!({"eos_token": {"content": "<|im_end|>"}}), vec![2]),
            (
                json!({"text_config": {"eos_token_id": [1, 106]}}),
                json!({}),
                json!({"eos_token": "unknown"}),
                vec![1, 106],
            ),
            (json!({}), json!({}), json!({"eos_token": null}), vec![]),
        ];
        for (config, generation, tokenizer, expected) in table {
            assert_eq!(ids(config, generation, tokenizer).unwrap().into_iter().collect::<Vec<_>>(), expected);
        }
        let error = ids(json!({}), json!({"eos_token_id": ["x"]}), json!({})).unwrap_err();
        assert_eq!((error.kind(), error.file_name()), (ErrorKind::Malformed, Some("generation_config.json")));
        assert!(ids(json!({"eos_token_id": 5_000_000_000_u64}), json!({}), json!({})).is_err());
        for none in [json!(-1), json!([-1]), json!([-1, -100])] {
            assert!(ids(json!({ "eos_token_id": none }), json!({}), json!({})).unwrap().is_empty());
        }
        assert_eq!(
            ids(json!({}), json!({"eos_token_id": [-1, 3]}), json!({})).unwrap().into_iter().collect::<Vec<_>>(),
            [3]
        );
        assert!(ids(json!({"eos_token_id": -1.5}), json!({}), json!({})).is_err());
    }

    #[test]
    fn reasons_have_stable_names() {
        let names = [
            StopReason::EndOfTurn,
            StopReason::StopText,
            StopReason::MaxTokens,
            StopReason::ContextFull,
            StopReason::Cancelled,
        ]
        .map(StopReason::as_str);
        assert_eq!(names, ["end_of_turn", "stop_text", "max_tokens", "context_full", "cancelled"]);
    }
}
