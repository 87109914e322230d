//! What a split depends on, in the name of its cache folder.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::Xxh3;

use super::SourceOptions;
use super::local::{EXTENSIONS, above_layers, extension_of, is_vocabulary, name_of, with_layers};
use crate::checkpoint::gguf::PartName;
use crate::{Error, Result};

/// Raised where a split makes something else of the same checkpoint.
pub(super) const VERSION: u64 = 2;
/// Configs, templates and tokenizers up to this size are hashed whole.
const SMALL_BYTES: u64 = 64 << 20;
/// Of other files this much is hashed at the beginning and at the end.
const EDGE_BYTES: u64 = 4096;

/// The cache folder for a checkpoint: its name, and a hash of its place, of its files' names, lengths, times and content
/// (of large ones, their edges), and of the options that shape the split.
pub(super) fn cached_folder(model: &Path, options: &SourceOptions) -> Result<PathBuf> {
    let place = place_of(model)?;
    let mut hash = Xxh3::new();
    hash.update(&VERSION.to_le_bytes());
    add(&mut hash, place.as_os_str().as_encoded_bytes());
    for file in files_of(&place)? {
        add_file(&mut hash, &file).map_err(|error| Error::io(error, file.display().to_string()))?;
    }
    add_ignored(&mut hash, options);
    Ok(options.parent()?.join(format!("{}-{:016x}", name_of(model), hash.digest())))
}

/// Adds bytes so that no others continue them to the same text.
pub(super) fn add(hash: &mut Xxh3, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

/// Adds the fields that are gone on without, and the class that the config is read as.
pub(super) fn add_ignored(hash: &mut Xxh3, options: &SourceOptions) {
    let mut ignored: Vec<&str> = options.ignored_fields.iter().map(String::as_str).collect();
    ignored.sort_unstable();
    ignored.dedup();
    ignored.iter().for_each(|field| add(hash, field.as_bytes()));
    if let Some(class) = &options.class {
        add(hash, b"class");
        add(hash, class.as_bytes());
    }
}

/// Whether a file describes weights: a config, a template, a tokenizer.
pub(super) fn describes(name: &str) -> bool {
    matches!(&*extension_of(name), "json" | "jinja") || is_vocabulary(name)
}

/// Whether a file may be part of a checkpoint.
pub(super) fn is_part(name: &str) -> bool {
    EXTENSIONS.contains(&&*extension_of(name)) || describes(name)
}

/// The folder, or the file. A file stays where its name is: what a link leads to has no configs beside it.
fn place_of(model: &Path) -> Result<PathBuf> {
    let failed = |error| Error::io(error, model.display().to_string());
    if model.is_dir() {
        return with_layers(&fs::canonicalize(model).map_err(failed)?);
    }
    fs::metadata(model).map_err(failed)?;
    let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(fs::canonicalize(folder).map_err(failed)?.join(model.file_name().unwrap_or_default()))
}

/// The files that a checkpoint is made of, sorted.
fn files_of(place: &Path) -> Result<Vec<PathBuf>> {
    let mut files = if place.is_dir() { files_in(place, is_part)? } else { parts_of(place) };
    match place.parent() {
        // A GGUF file says everything itself.
        Some(folder) if place.is_file() && extension_of(&place.to_string_lossy()) != "gguf" => {
            files.extend(files_in(folder, describes)?);
        }
        _ => {}
    }
    if let Some(above) = above_layers(place) {
        files.extend(files_in(&above, is_part)?);
    }
    files.sort();
    Ok(files)
}

fn files_in(folder: &Path, is_wanted: fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| Error::io(error, folder.display().to_string()))?;
    let named = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(is_wanted);
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| named(path) && path.is_file()).collect())
}

/// The file, and the others that go with it where it is a part of a model in several GGUF files.
fn parts_of(file: &Path) -> Vec<PathBuf> {
    let name = file.file_name().and_then(|name| name.to_str());
    match name.and_then(PartName::parse) {
        // Parts that are missing are for opening to tell.
        Some(part) => (1..=part.count).map(|n| file.with_file_name(part.of(n))).filter(|part| part.is_file()).collect(),
        None => vec![file.to_owned()],
    }
}

fn add_file(hash: &mut Xxh3, path: &Path) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default();
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    let len = metadata.len();
    add(hash, name.as_encoded_bytes());
    hash.update(&len.to_le_bytes());
    hash.update(&metadata.modified().map_or(0, nanoseconds).to_le_bytes());
    // Some file systems have clocks of one or two seconds, and tools that keep times.
    if len <= 2 * EDGE_BYTES || (describes(&name.to_string_lossy()) && len <= SMALL_BYTES) {
        let mut bytes = Vec::new();
        file.take(SMALL_BYTES).read_to_end(&mut bytes)?;
        add(hash, &bytes);
        return Ok(());
    }
    let mut edge = [0; EDGE_BYTES as usize];
    for start in [0, len - EDGE_BYTES] {
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut edge)?;
        hash.update(&edge);
    }
    Ok(())
}

/// Since 1970; negative before.
fn nanoseconds(time: SystemTime) -> i128 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(model: &Path, ignored: &[&str]) -> PathBuf {
        let options = SourceOptions {
            cache_dir: Some(PathBuf::from("cache")),
            ignored_fields: ignored.iter().map(|field| (*field).to_owned()).collect(),
            ..SourceOptions::default()
        };
        cached_folder(model, &options).expect("a key")
    }

    /// Writes other bytes of the same length, and gives the file its time back.
    fn edit(path: &Path, at: usize, time: SystemTime) {
        let mut bytes = fs::read(path).expect("reads");
        bytes[at] ^= 1;
        fs::write(path, bytes).expect("written");
        set_time(path, time);
    }

    fn set_time(path: &Path, time: SystemTime) {
        File::options().append(true).open(path).expect("opened").set_modified(time).expect("touched");
    }

    #[test]
    fn every_file_that_a_split_reads_is_in_the_key_whatever_its_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = SystemTime::now();
        let names = [
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "added_tokens.json",
            "chat_template.jinja",
            "chat_template.json",
            "vocab.json",
            "merges.txt",
            "tokenizer.model",
            "qwen.tiktoken",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.SAFETENSORS",
        ];
        for name in names {
            fs::write(folder.path().join(name), vec![b'a'; 20_000]).expect("written");
            set_time(&folder.path().join(name), now);
        }
        for place in [folder.path().to_owned(), folder.path().join("model-00001-of-00002.safetensors")] {
            for name in names.iter().filter(|name| place.is_dir() || !name.contains("00002.SAFE")) {
                let path = folder.path().join(name);
                for time in [now, UNIX_EPOCH - Duration::from_secs(5), UNIX_EPOCH - Duration::from_nanos(1)] {
                    set_time(&path, time);
                    let before = key(&place, &[]);
                    assert_eq!(key(&place, &[]), before, "{name}: the same");
                    // The same length and the same time.
                    edit(&path, 0, time);
                    assert_ne!(key(&place, &[]), before, "{name}: its first byte");
                    let before = key(&place, &[]);
                    edit(&path, 19_999, time);
                    assert_ne!(key(&place, &[]), before, "{name}: its last byte");
                    let before = key(&place, &[]);
                    set_time(&path, time - Duration::from_nanos(100));
                    assert_ne!(key(&place, &[]), before, "{name}: a time within the same second");
                }
            }
        }
        let before = key(folder.path(), &[]);
        fs::write(folder.path().join("README.md"), "words").expect("written");
        fs::write(folder.path().join("picture.png"), "dots").expect("written");
        assert_eq!(key(folder.path(), &[]), before, "nothing that a split reads");
        fs::remove_file(folder.path().join("added_tokens.json")).expect("removed");
        assert_ne!(key(folder.path(), &[]), before, "a file less");
    }

    #[test]
    fn times_before_1970_are_times_like_others() {
        let mut times: Vec<i128> = [-3, -1, 0, 1]
            .map(|ns: i64| match u64::try_from(ns) {
                Ok(after) => UNIX_EPOCH + Duration::from_nanos(after * 1000),
                Err(_) => UNIX_EPOCH - Duration::from_nanos(ns.unsigned_abs() * 1000),
            })
            .map(nanoseconds)
            .to_vec();
        assert_eq!(times, [-3000, -1000, 0, 1000]);
        times.dedup();
        assert_eq!(times.len(), 4);
    }

    #[test]
    fn what_is_ignored_is_in_the_key_in_no_order() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("config.json"), "{}").expect("written");
        let plain = key(folder.path(), &[]);
        assert_ne!(key(folder.path(), &["a"]), plain);
        assert_ne!(key(folder.path(), &["a", "b"]), key(folder.path(), &["ab"]));
        assert_eq!(key(folder.path(), &["a", "b"]), key(folder.path(), &["b", "a", "b"]));
    }
}
