//! Measurements that outlive the process, and what a driver compiled: one file each, in the user's cache folder. Losing one
//! costs the time to measure or compile again, so nothing here is an error.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A file that is longer is not one of ours.
const MOST_BYTES: u64 = 1 << 20;
/// The same of what a driver compiled.
const MOST_COMPILED_BYTES: u64 = 64 << 20;

/// Whether anything is remembered on this host.
pub const REMEMBERS: bool = true;

/// Where this user's programs cache: `XDG_CACHE_HOME` or the system's usual place. `None` where the system names none.
pub fn user_cache_dir() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let usual = || {
        if cfg!(windows) {
            variable("LOCALAPPDATA")
        } else {
            let place = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
            std::env::home_dir().map(|home| home.join(place))
        }
    };
    variable("XDG_CACHE_HOME").filter(|path| path.is_absolute()).or_else(usual)
}

/// What was remembered under a name, if it still reads as a `T`. Names that tell what a measurement depends on (adapter,
/// driver, format of the value) keep old ones from being taken for new.
pub fn recall<T: DeserializeOwned>(name: &str) -> Option<T> {
    serde_json::from_slice(&read(&path("measured", name, ".json")?, MOST_BYTES)?).ok()
}

/// Keeps a value under a name, in place of the one before.
pub fn remember<T: Serialize>(name: &str, value: &T) {
    let Ok(bytes) = serde_json::to_vec_pretty(value) else { return };
    write(path("measured", name, ".json"), &bytes);
}

/// Bytes that were remembered under a name.
pub fn recall_bytes(name: &str) -> Option<Vec<u8>> {
    read(&path("compiled", name, "")?, MOST_COMPILED_BYTES)
}

/// Keeps bytes under a name, in place of those before; too many are not kept.
pub fn remember_bytes(name: &str, bytes: &[u8]) {
    if bytes.len() as u64 <= MOST_COMPILED_BYTES {
        write(path("compiled", name, ""), bytes);
    }
}

fn read(path: &Path, most_bytes: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(most_bytes).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn write(path: Option<PathBuf>, bytes: &[u8]) {
    let write = || -> Option<()> {
        let path = path?;
        fs::create_dir_all(path.parent()?).ok()?;
        // Another process may be at the same.
        let mut part = OsString::from(&path);
        part.push(format!(".{}.part", std::process::id()));
        let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, &path));
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written.ok()
    };
    // What cannot be kept is measured or compiled again next time.
    let _ = write();
}

fn path(folder: &str, name: &str, ending: &str) -> Option<PathBuf> {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let file: String = name.chars().map(plain).take(200).collect();
    Some(user_cache_dir()?.join("tilestream").join(folder).join(file + ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_file_whatever_it_holds() {
        let Some(path) = path("measured", "../a b/c", ".json") else { return };
        assert_eq!(path.file_name().and_then(|name| name.to_str()), Some("---a-b-c.json"));
    }
}
