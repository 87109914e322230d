//! What a site has to offer: which file an address means, and which models lie in it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize;
use tilestream::internals::shard::{MANIFEST, Manifest};
use tilestream::store::{FileStore, check_name};
use tilestream::{Error, Result};

/// Where the list of models is found.
pub const MODELS: &str = "models.json";
/// Folders within folders that are searched for models: a model by itself, or one of an organization's.
const MOST_DEPTH: usize = 2;
/// What a folder's name keeps in an address.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The folders that are served; of two files with one address the first folder's is meant.
#[derive(Debug)]
pub struct Site {
    roots: Vec<PathBuf>,
    /// The files of the models that were asked for, by their manifests.
    files: Mutex<HashMap<PathBuf, Files>>,
}

/// What a manifest lists, and when it was written.
#[derive(Debug)]
struct Files {
    modified: Option<SystemTime>,
    names: HashSet<String>,
}

/// What an address means.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    File(PathBuf),
    /// A page's folder without its last slash, without which the page's own links would go astray.
    MissingSlash,
    /// The list of models, which no file holds.
    Models,
    Nothing,
}

/// A split model in the site, as `models.json` lists it.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct FoundModel {
    pub name: String,
    /// Relative to the root, with a slash at its end.
    pub path: String,
    /// All of its files.
    pub bytes: u64,
}

impl Site {
    /// A site of a folder, and of the folder of a page behind it.
    ///
    /// # Errors
    /// What the operating system says of a folder that is not there.
    pub fn new(folder: &Path, page: Option<&Path>) -> Result<Self> {
        let root = |path: &Path| {
            // Tells a file and an unreadable folder from a folder.
            FileStore::open(path)?;
            fs::canonicalize(path).map_err(|error| Error::io(error, path.display().to_string()))
        };
        let roots = [Some(folder), page].into_iter().flatten().map(root).collect::<Result<_>>()?;
        Ok(Self { roots, files: Mutex::default() })
    }

    /// Whether there is a page at the root.
    pub fn has_page(&self) -> bool {
        matches!(self.find("/"), Found::File(_))
    }

    /// What the path of a request means. Whatever leaves the folders, by its spelling or by a link, means nothing.
    pub fn find(&self, path: &str) -> Found {
        let Some(parts) = components(path) else { return Found::Nothing };
        let models = parts == [MODELS];
        for (index, root) in self.roots.iter().enumerate() {
            // A page's own list would be one of other models.
            if models && index > 0 {
                break;
            }
            match find_in(root, &parts, path.ends_with('/')) {
                Found::Nothing => {}
                found => return found,
            }
        }
        if models && !path.ends_with('/') { Found::Models } else { Found::Nothing }
    }

    /// Whether pages of every site may read what was found at a path: the list of models, and what a model's manifest
    /// lists. Whatever else lies in the folder is for this site's own page. What a model lacks is no secret either.
    pub fn is_for_all(&self, path: &str, found: &Found) -> bool {
        match found {
            Found::File(file) => path == format!("/{MODELS}") || self.is_of_model(file),
            Found::Models => true,
            Found::Nothing => self.lacks(path),
            Found::MissingSlash => false,
        }
    }

    /// Whether a path means a model's file that is not there.
    fn lacks(&self, path: &str) -> bool {
        let Some(parts) = components(path) else { return false };
        let (relative, name) = (parts.iter().collect::<PathBuf>(), parts.last());
        let model = |root: &PathBuf| {
            let folder = relative.parent().and_then(|folder| within(root, folder));
            name.is_some_and(|name| {
                name == MANIFEST || folder.is_some_and(|folder| self.is_of_model(&folder.join(name)))
            })
        };
        self.roots.iter().all(|root| !root.join(&relative).exists()) && self.roots.iter().any(model)
    }

    /// Whether a file is a manifest, or one that the manifest beside it lists.
    fn is_of_model(&self, file: &Path) -> bool {
        let (Some(folder), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
            return false;
        };
        let modified = fs::metadata(folder.join(MANIFEST)).and_then(|of| of.modified()).ok();
        let mut all = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(folder).is_none_or(|files| files.modified != modified) {
            let names = manifest_in(folder).map(|manifest| manifest.files.into_iter().map(|file| file.name));
            let names = names.into_iter().flatten().chain([MANIFEST.to_owned()]).collect();
            all.insert(folder.to_owned(), Files { modified, names });
        }
        all.get(folder).is_some_and(|files| files.names.len() > 1 && files.names.contains(name))
    }

    /// The split models in the first folder, in the order of their paths. A folder whose manifest is no manifest is none.
    pub fn models(&self) -> Vec<FoundModel> {
        let mut found = Vec::new();
        if let Some(root) = self.roots.first() {
            search(root, root, "", 0, &mut found);
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }
}

/// The names in a path, decoded; `None` for a path that is not made of plain, visible names.
fn components(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/')?;
    if path.is_empty() {
        return Some(Vec::new());
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let plain = |part: &str| {
        let name = percent_decode_str(part).decode_utf8().ok()?;
        (check_name(&name).is_ok() && !name.starts_with('.')).then(|| name.into_owned())
    };
    path.split('/').map(plain).collect()
}

fn find_in(root: &Path, parts: &[String], slash: bool) -> Found {
    let Some(path) = within(root, &parts.iter().collect::<PathBuf>()) else { return Found::Nothing };
    if path.is_file() {
        return if slash { Found::Nothing } else { Found::File(path) };
    }
    match within(root, &parts.iter().collect::<PathBuf>().join("index.html")) {
        Some(index) if index.is_file() => {
            if slash {
                Found::File(index)
            } else {
                Found::MissingSlash
            }
        }
        _ => Found::Nothing,
    }
}

/// The true path of what lies at a relative one, if every step there stays within the root and none is hidden. A way
/// out and back in would tell what the folders above are called.
fn within(root: &Path, relative: &Path) -> Option<PathBuf> {
    let visible = |relative: &Path| {
        let path = fs::canonicalize(root.join(relative)).ok()?;
        let inside = path.strip_prefix(root).ok()?;
        let hidden = inside.iter().any(|name| name.to_string_lossy().starts_with('.'));
        (!hidden).then_some(path)
    };
    let path = visible(relative)?;
    relative.ancestors().skip(1).all(|above| visible(above).is_some()).then_some(path)
}

fn search(root: &Path, folder: &Path, address: &str, depth: usize, found: &mut Vec<FoundModel>) {
    if let Some(model) = model_in(root, folder, address) {
        found.push(model);
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if depth == MOST_DEPTH || name.starts_with('.') || check_name(&name).is_err() {
            continue;
        }
        // A link to a folder above would make the search go round, up to the depth.
        let inside = entry.path().strip_prefix(root).ok().and_then(|relative| within(root, relative));
        if inside.is_some_and(|path| path.is_dir()) {
            let address = format!("{address}{}/", utf8_percent_encode(&name, KEPT));
            search(root, &entry.path(), &address, depth + 1, found);
        }
    }
}

/// The model of a folder whose manifest can be served.
fn model_in(root: &Path, folder: &Path, address: &str) -> Option<FoundModel> {
    let relative = folder.join(MANIFEST).strip_prefix(root).ok()?.to_owned();
    within(root, &relative)?;
    let manifest = manifest_in(folder)?;
    let path = if address.is_empty() { "./".to_owned() } else { address.to_owned() };
    Some(FoundModel { name: manifest.name, path, bytes: manifest.files.iter().map(|file| file.len_bytes).sum() })
}

fn manifest_in(folder: &Path) -> Option<Manifest> {
    let store = FileStore::open(folder).ok()?;
    let manifest = pollster::block_on(Manifest::load(&store));
    manifest.inspect_err(|error| log::info!("no model: {error}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_visible_names_make_a_path() {
        assert_eq!(components("/"), Some(vec![]));
        assert_eq!(components("/a/b%20c/"), Some(vec!["a".to_owned(), "b c".to_owned()]));
        for path in [
            "",
            "a",
            "//",
            "//etc/passwd",
            "/a//b",
            "/..",
            "/../a",
            "/a/..",
            "/%2e%2e/a",
            "/.%2E/a",
            "/.git/config",
            "/.env",
            "/%2eenv",
            "/a%2fb",
            "/..%2fa",
            "/a%5cb",
            "/a\\b",
            "/%00",
            "/a%0ab",
            "/%ff",
            "/C:/a",
            "/.",
        ] {
            assert_eq!(components(path), None, "{path}");
        }
    }
}
