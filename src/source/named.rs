//! What a text names: a path, an address, or a model on a hub.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::local::{EXTENSIONS, extension_of};
use crate::store::HubRepo;
use crate::{Error, ErrorKind, Result};

/// The model, where it is a web address.
pub fn address_of(model: &Path) -> Option<&str> {
    model.to_str().filter(|text| text.starts_with("http://") || text.starts_with("https://"))
}

/// The repository that a text names; `None` where it is a path on this machine, which goes first. A name without an
/// organisation is one of the Hub's first days, such as `gpt2`.
///
/// # Errors
/// [`ErrorKind::NotFound`] where it is meant as a path, and nothing lies there.
pub fn hub_repo(model: &Path) -> Result<Option<HubRepo>> {
    if fs::symlink_metadata(model).is_ok() {
        return Ok(None);
    }
    let text = model.to_str().filter(|_| !is_path(model));
    if let Some(repo) = text.and_then(|text| HubRepo::parse_any(text).ok()) {
        return Ok(Some(repo));
    }
    let hint = did_you_mean(model);
    let message = format!("there is no such file or folder{hint}");
    let error = Error::new(ErrorKind::NotFound, message).file(model.display().to_string());
    Err(error.remedy("check the path, or write ORG/NAME (or ORG/NAME@main) for a model on the Hub"))
}

/// Whether only a path can be meant: it starts like one, ends like a file, has more than one slash, or lies in a folder that
/// is there. `ORG/NAME@main` names no path.
fn is_path(model: &Path) -> bool {
    let text = model.to_string_lossy();
    let starts = ["/", "./", "../", "~", ".\\", "..\\"].iter().any(|start| text.starts_with(start));
    let is_file = EXTENSIONS.contains(&&*extension_of(&text));
    let id = text.split('@').next().unwrap_or_default();
    let slashes = id.matches('/').count();
    let lies_in = !text.contains('@') && slashes > 0 && model.parent().is_some_and(Path::is_dir);
    starts || is_file || slashes > 1 || text.contains('\\') || model.is_absolute() || lies_in
}

/// ` (did you mean PATH?)`, where something nearly so called is there.
fn did_you_mean(model: &Path) -> String {
    closest(model).map_or_else(String::new, |path| format!(" (did you mean {}?)", path.display()))
}

/// The path with the first name that is not there replaced by the one beside it that is most like it.
fn closest(model: &Path) -> Option<PathBuf> {
    let mut there = PathBuf::new();
    let mut components = model.components();
    let missing = loop {
        let component = components.next()?;
        let next = there.join(component);
        if fs::symlink_metadata(&next).is_err() {
            break match component {
                Component::Normal(name) => name.to_str()?.to_owned(),
                _ => return None,
            };
        }
        there = next;
    };
    let folder = if there.as_os_str().is_empty() { Path::new(".") } else { &there };
    let names = fs::read_dir(folder).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let best = names.filter_map(|name| Some((distance(&missing, &name)?, name))).min()?;
    let found = there.join(best.1);
    let rest = found.join(components.as_path());
    Some(if !components.as_path().as_os_str().is_empty() && rest.exists() { rest } else { found })
}

/// How far two names are apart; `None` where nobody would mistake one for the other.
fn distance(typed: &str, there: &str) -> Option<usize> {
    let (typed, there) = (typed.to_lowercase(), there.to_lowercase());
    let stem = |name: &str| Path::new(name).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    if stem(&there).as_deref() == Some(&typed) || stem(&typed).as_deref() == Some(&there) {
        return Some(1);
    }
    let most = 1 + typed.chars().count() / 4;
    Some(strsim::osa_distance(&typed, &there)).filter(|apart| *apart <= most)
}

/// The error of a hub that was asked because there is no such path, which says both: a path with a slip of the pen looks like
/// a name on the Hub.
pub(super) fn not_here(error: Error, repo: &HubRepo) -> Error {
    if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Io | ErrorKind::Network) {
        return error;
    }
    let hint = did_you_mean(Path::new(repo.id()));
    let legacy = match repo.id().contains('/') {
        true => "",
        false => " (most are called ORG/NAME)",
    };
    let message = format!("there is no such file or folder here{hint}, so the Hub was asked{legacy}: {}", error.what());
    Error::new(error.kind(), message).file(repo.id()).remedy_of(&error).source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_before_a_name_and_what_is_neither_says_so() {
        assert_eq!(hub_repo(Path::new("src/source/named.rs")).expect("a path"), None);
        for (text, id) in
            [("org/name", "org/name"), ("org/name@v1", "org/name"), ("gpt2", "gpt2"), ("src/absent@main", "src/absent")]
        {
            assert_eq!(hub_repo(Path::new(text)).expect("a name").map(|repo| repo.id().to_owned()), Some(id.into()));
        }
        for path in [
            "./org/name",
            "../name",
            "a/b/c",
            "/org/name",
            "~/name",
            "models/absent.gguf",
            "absent.GGUF",
            "org/na me",
            "src/absent",
            "org\\name",
        ] {
            let error = hub_repo(Path::new(path)).expect_err(path);
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(error.to_string().starts_with(path) && error.to_string().contains("ORG/NAME"), "{error}");
        }
    }

    #[test]
    fn what_is_nearly_so_called_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("models/smollm2")).expect("made");
        fs::write(folder.path().join("models/gemma.gguf"), "").expect("written");
        for (typed, meant) in [
            ("models/smolm2", Some("models/smollm2")),
            ("models/SmolLM2", Some("models/smollm2")),
            ("models/gemma", Some("models/gemma.gguf")),
            ("models/gemma.ggfu", Some("models/gemma.gguf")),
            ("modles/gemma.gguf", Some("models/gemma.gguf")),
            ("modles/absent.gguf", Some("models")),
            ("models/llama", None),
            ("other/gemma.gguf", None),
        ] {
            let found = closest(&folder.path().join(typed));
            assert_eq!(found, meant.map(|meant| folder.path().join(meant)), "{typed}");
        }
    }
}
