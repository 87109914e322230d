//! Where messages come from: a line editor on a terminal, or lines of a pipe.

use std::io::{BufRead, IsTerminal, Stdin};

use rustyline::error::ReadlineError;
use rustyline::{Behavior, Config, DefaultEditor};
use tilestream::{Error, ErrorKind, Result};

use super::history::History;
use crate::model::{utf8, without_bom};

/// Begins and ends a message of several lines.
const BLOCK: &str = "\"\"\"";

/// What one line came to.
enum Line {
    Text(String),
    /// Ctrl-C at the prompt.
    Dropped,
    End,
}

/// Lines that a user types or a program writes.
pub enum Input {
    Terminal { editor: Box<DefaultEditor>, history: History },
    Pipe { stdin: Stdin, first: bool },
}

impl Input {
    /// The terminal, if standard input is one. `kept`: what is typed is found again by later chats.
    ///
    /// # Errors
    /// Those of the terminal.
    pub fn open(kept: bool) -> Result<Self> {
        if !std::io::stdin().is_terminal() {
            return Ok(Self::Pipe { stdin: std::io::stdin(), first: true });
        }
        // What is typed is no part of what the standard output is redirected to.
        let behavior = if std::io::stdout().is_terminal() { Behavior::Stdio } else { Behavior::PreferTerm };
        let mut editor = DefaultEditor::with_config(Config::builder().behavior(behavior).build()).map_err(terminal)?;
        let history = History::new(kept);
        for entry in history.entries() {
            // A line that does not fit is no fault: history is a comfort.
            let _ = editor.add_history_entry(entry);
        }
        Ok(Self::Terminal { editor: Box::new(editor), history })
    }

    /// Whether somebody sits there.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal { .. })
    }

    /// The next message that is not blank; none at the end.
    ///
    /// # Errors
    /// Those of the terminal, and of a pipe.
    pub fn next(&mut self) -> Result<Option<String>> {
        loop {
            let Some(message) = message(|prompt| self.line(prompt))? else { return Ok(None) };
            if message.trim().is_empty() {
                continue;
            }
            if let Self::Terminal { editor, history } = self {
                let _ = editor.add_history_entry(&message);
                history.push(&message);
            }
            return Ok(Some(message));
        }
    }

    fn line(&mut self, prompt: &str) -> Result<Line> {
        let (stdin, first) = match self {
            Self::Terminal { editor, .. } => {
                return match editor.readline(prompt) {
                    Ok(line) => Ok(Line::Text(line)),
                    Err(ReadlineError::Interrupted) => Ok(Line::Dropped),
                    Err(ReadlineError::Eof) => Ok(Line::End),
                    Err(error) => Err(terminal(error)),
                };
            }
            Self::Pipe { stdin, first } => (stdin, first),
        };
        let mut bytes = Vec::new();
        let failed = |error| Error::io(error, "standard input");
        if stdin.lock().read_until(b'\n', &mut bytes).map_err(failed)? == 0 {
            return Ok(Line::End);
        }
        if std::mem::take(first) {
            bytes = without_bom(bytes);
        }
        if bytes.ends_with(b"\n") {
            bytes.pop();
        }
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
        match utf8(bytes) {
            Ok(text) => Ok(Line::Text(text)),
            Err(error) => {
                eprintln!("this line is not read: it {error}");
                Ok(Line::Dropped)
            }
        }
    }
}

/// A line, or the lines between two marks; none at the end.
fn message(mut next: impl FnMut(&str) -> Result<Line>) -> Result<Option<String>> {
    let line = match next("> ")? {
        Line::Text(line) => line,
        Line::Dropped => return Ok(Some(String::new())),
        Line::End => return Ok(None),
    };
    let Some(mut text) = line.trim_start().strip_prefix(BLOCK).map(str::to_owned) else { return Ok(Some(line)) };
    while !text.trim_end().ends_with(BLOCK) {
        match next(". ")? {
            Line::Text(line) => {
                if !text.is_empty() {
                    text.push('\n');
                }
                text += &line;
            }
            Line::Dropped => return Ok(Some(String::new())),
            Line::End => return Ok(Some(text)),
        }
    }
    let text = text.trim_end();
    Ok(Some(text[..text.len() - BLOCK.len()].trim_end_matches('\n').to_owned()))
}

fn terminal(error: ReadlineError) -> Error {
    Error::new(ErrorKind::Io, "the terminal cannot be read").source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of lines; `^C` is the key.
    fn messages(lines: &[&str]) -> Vec<String> {
        let mut lines = lines.iter();
        let mut next = |_: &str| {
            Ok(match lines.next() {
                None => Line::End,
                Some(&"^C") => Line::Dropped,
                Some(line) => Line::Text((*line).to_owned()),
            })
        };
        std::iter::from_fn(|| message(&mut next).expect("reads")).collect()
    }

    #[test]
    fn a_message_is_a_line_or_a_block_of_lines() {
        for (lines, expected) in [
            (&["a", "b"][..], &["a", "b"][..]),
            (&["\"\"\"a", "", "b\"\"\"", "c"], &["a\n\nb", "c"]),
            (&["\"\"\"", "a", "  b", "\"\"\""], &["a\n  b"]),
            (&["\"\"\"one line\"\"\""], &["one line"]),
            (&["\"\"\"", "lost", "^C", "c"], &["", "c"]),
            (&["^C", "a"], &["", "a"]),
            (&["\"\"\"a", "b"], &["a\nb"]),
            (&["say \"\"\"", "b"], &["say \"\"\"", "b"]),
        ] {
            assert_eq!(messages(lines), expected, "{lines:?}");
        }
    }
}
