//! Measurements that outlive the process: one small JSON file each, in the user's cache folder. Losing one costs the time to
//! measure again, so nothing here is an error.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A file that is longer is not one of ours.
const MOST_BYTES: u64 = 1 << 20;

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
    let file = fs::File::open(path(name)?).ok()?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Keeps a value under a name, in place of the one before.
pub fn remember<T: Serialize>(name: &str, value: &T) {
    let write = || -> Option<()> {
        let path = path(name)?;
        fs::create_dir_all(path.parent()?).ok()?;
        // Another process may be at the same.
        let mut part = OsString::from(&path);
        part.push(format!(".{}.part", std::process::id()));
        let written = fs::write(&part, serde_json::to_vec_pretty(value).ok()?).and_then(|()| fs::rename(&part, &path));
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written.ok()
    };
    // What cannot be kept is measured again next time.
    let _ = write();
}

fn path(name: &str) -> Option<PathBuf> {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let file: String = name.chars().map(plain).take(200).collect();
    Some(user_cache_dir()?.join("tilestream").join("measured").join(file + ".json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_file_whatever_it_holds() {
        let Some(path) = path("../a b/c") else { return };
        assert_eq!(path.file_name().and_then(|name| name.to_str()), Some("---a-b-c.json"));
    }
}
