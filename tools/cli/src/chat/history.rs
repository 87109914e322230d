//! What was typed in earlier chats, for the arrow keys.

use std::path::PathBuf;

use crate::model::{read_text, write_whole};

/// Messages that are kept.
const MOST: usize = 1000;
/// Longer ones are not kept.
const LONGEST_BYTES: usize = 16 << 10;

/// The file that keeps them: a JSON text a line, for the user alone to read.
pub struct History {
    /// `None`: nothing is kept.
    file: Option<PathBuf>,
}

impl History {
    /// In the user's folder for such things, or nowhere.
    pub fn new(kept: bool) -> Self {
        Self { file: place().filter(|_| kept) }
    }

    /// What was typed, the oldest first. A file that cannot be read is none: history is a comfort.
    pub fn entries(&self) -> Vec<String> {
        let Some(text) = self.file.as_ref().and_then(|file| read_text(file).ok()) else { return Vec::new() };
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Keeps one more. Others may have written since, so the file is read again.
    pub fn push(&self, entry: &str) {
        let Some(file) = &self.file else { return };
        if entry.len() > LONGEST_BYTES {
            return;
        }
        let mut entries = self.entries();
        entries.push(entry.to_owned());
        let kept = &entries[entries.len().saturating_sub(MOST)..];
        let folder = file.parent().map(std::fs::create_dir_all);
        // A new file is readable by its owner only, and takes the place of the old one.
        let written =
            write_whole(file, |out| kept.iter().try_for_each(|entry| writeln!(out, "{}", serde_json::json!(entry))));
        if let (Some(Err(_)), _) | (_, Err(_)) = (folder, written) {
            log::info!("{} cannot keep what was typed", file.display());
        }
    }
}

/// `XDG_STATE_HOME`, or the system's usual place.
fn place() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::home_dir().map(|home| home.join(".local/state"));
    let state = variable("XDG_STATE_HOME").or_else(|| variable("LOCALAPPDATA")).or_else(home)?;
    Some(state.join("tilestream").join("chat-history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_messages_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a").join("chat-history");
        let history = History { file: Some(file.clone()) };
        assert!(history.entries().is_empty());
        for entry in ["one", "two\n\"lines\"", &"x".repeat(LONGEST_BYTES + 1)] {
            history.push(entry);
        }
        assert_eq!(history.entries(), ["one", "two\n\"lines\""]);
        let many: String = (0..MOST).map(|n| format!("\"{n}\"\nnonsense\n")).collect();
        std::fs::write(&file, many).expect("writes");
        history.push("last");
        let entries = history.entries();
        assert_eq!((entries.len(), entries[0].as_str(), entries[MOST - 1].as_str()), (MOST, "1", "last"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(file.metadata().expect("is there").permissions().mode() & 0o777, 0o600);
        }
    }
}
