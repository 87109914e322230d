//! What a line of a chat is: a message, or a command that begins with a slash.

use std::path::PathBuf;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    New,
    Undo,
    Retry,
    Continue,
    /// `None`: shows it. An empty one takes it away.
    System(Option<String>),
    Save(PathBuf),
    Load(PathBuf),
    Tokens,
    Help,
    Exit,
}

/// What was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    Message(String),
    Command(Command),
    /// Something that begins with a slash, and what is wrong with it.
    Refused(String),
}

/// What `/help` shows.
pub const HELP: &str = "\
/new           forget the conversation, keep the system prompt
/undo          take the last message and its answer back
/retry         another answer to the last message
/continue      go on with an answer that was stopped, or cut by a limit
/system TEXT   set the system prompt (/system - takes it away, /system shows it)
/save FILE     write the conversation as JSON: {\"messages\": […]}
/load FILE     go on with a saved one
/tokens        how much of the context is taken
/help          this
/exit          end the chat, as Ctrl-D does
//…            a message that begins with one slash
\"\"\"            begins a message of several lines, which ends with \"\"\"";

const NAMES: [&str; 10] =
    ["/new", "/undo", "/retry", "/continue", "/system", "/save", "/load", "/tokens", "/help", "/exit"];
/// Names that are as near as this to a known one are meant to be it.
const NEAR: usize = 3;

impl Typed {
    /// Reads what was typed, which is not blank.
    pub fn parse(text: &str) -> Self {
        if let Some(rest) = text.strip_prefix("//") {
            return Self::Message(format!("/{rest}"));
        }
        if !text.starts_with('/') {
            return Self::Message(text.to_owned());
        }
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        if !NAMES.contains(&name) {
            // A text of several lines was pasted or meant as one; its first word is no command.
            let message = text.trim_end().contains('\n');
            return if message { Self::Message(text.to_owned()) } else { Self::Refused(unknown(name)) };
        }
        let command = match (name, rest) {
            ("/system", "") => Command::System(None),
            ("/system", "-") => Command::System(Some(String::new())),
            ("/system", text) => Command::System(Some(text.to_owned())),
            ("/save" | "/load", "") => return Self::Refused(format!("{name} needs the name of a file")),
            ("/save", file) => Command::Save(file.into()),
            ("/load", file) => Command::Load(file.into()),
            (_, rest) if !rest.is_empty() => return Self::Refused(format!("{name} takes nothing after it")),
            ("/new", _) => Command::New,
            ("/undo", _) => Command::Undo,
            ("/retry", _) => Command::Retry,
            ("/continue", _) => Command::Continue,
            ("/tokens", _) => Command::Tokens,
            ("/exit", _) => Command::Exit,
            _ => Command::Help,
        };
        Self::Command(command)
    }
}

fn unknown(name: &str) -> String {
    let near = NAMES.iter().map(|known| (strsim::damerau_levenshtein(name, known), known)).min();
    let meant = match near {
        Some((distance, known)) if distance < NEAR => format!("did you mean {known}?"),
        _ => "/help lists the commands".to_owned(),
    };
    format!("{name} is no command: {meant} (// begins a message with a slash)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_commands_or_told_what_is_wrong() {
        let message = |text: &str| Typed::Message(text.to_owned());
        let set = |text: &str| Typed::Command(Command::System(Some(text.to_owned())));
        for (line, expected) in [
            ("hello", message("hello")),
            ("a /new b", message("a /new b")),
            ("//new", message("/new")),
            ("//usr/bin is a folder", message("/usr/bin is a folder")),
            ("/* a comment */\nint main", message("/* a comment */\nint main")),
            ("/new", Typed::Command(Command::New)),
            ("/new ", Typed::Command(Command::New)),
            ("/undo", Typed::Command(Command::Undo)),
            ("/retry", Typed::Command(Command::Retry)),
            ("/continue", Typed::Command(Command::Continue)),
            ("/tokens", Typed::Command(Command::Tokens)),
            ("/help", Typed::Command(Command::Help)),
            ("/exit", Typed::Command(Command::Exit)),
            ("/save my chat.json", Typed::Command(Command::Save("my chat.json".into()))),
            ("/load  a.json", Typed::Command(Command::Load("a.json".into()))),
            ("/system", Typed::Command(Command::System(None))),
            ("/system -", set("")),
            ("/system be brief", set("be brief")),
            ("/system two\nlines", set("two\nlines")),
        ] {
            assert_eq!(Typed::parse(line), expected, "{line}");
        }
        for (line, says) in [
            ("/sav x", "did you mean /save?"),
            ("/unod", "did you mean /undo?"),
            ("/quit", "did you mean /exit?"),
            ("/frobnicate", "/help"),
            ("/New", "did you mean /new?"),
            ("/usr/bin/env", "// begins"),
            ("/save", "name of a file"),
            ("/new chat", "takes nothing"),
            ("/", "/help"),
        ] {
            let Typed::Refused(said) = Typed::parse(line) else { panic!("{line} is taken") };
            assert!(said.contains(says), "{line}: {said}");
        }
        assert!(NAMES.iter().all(|name| HELP.contains(name)));
    }
}
