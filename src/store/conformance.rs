//! The suite that every store runs: the guarantees written on [`Store`] and [`ModelSink`], checked from outside.
//!
//! It returns errors instead of panicking, so that it also runs where a panic says little (a browser's worker).

use futures::future::try_join_all;

use super::{ModelSink, Store};
use crate::{Error, ErrorKind, Result};

/// Names that no store may follow.
const HOSTILE: [&str; 8] = ["", ".", "..", "../outside", "/etc/hostname", "sub/object", "sub\\object", "nul\0byte"];

/// The objects that must lie in a store before [`check`]: an empty one, a tiny one, and one of several pages.
pub fn objects() -> Vec<(String, Vec<u8>)> {
    let pattern = |len: u32| (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    vec![("empty".to_owned(), Vec::new()), ("one.bin".to_owned(), vec![7]), ("pages.bin".to_owned(), pattern(300_001))]
}

/// Checks a store that holds [`objects`], and nothing named `absent`.
///
/// # Errors
/// The first guarantee that is broken, or a failure of the store itself.
pub async fn check(store: &dyn Store) -> Result<()> {
    let objects = objects();
    for (name, bytes) in &objects {
        match store.len(name).await {
            Ok(len) => ensure(len == bytes.len() as u64, name, "len is not the object's length")?,
            Err(error) => ensure(error.kind() == ErrorKind::Unsupported, name, "len fails with another kind")?,
        }
        let mut read = vec![0xAA; bytes.len()];
        store.read_at(name, 0, &mut read).await?;
        ensure(read == *bytes, name, "the whole object reads differently")?;
        check_ends(store, name, bytes.len() as u64).await?;
    }
    let listed = store.list().await;
    match listed {
        Ok(names) => {
            ensure(names.is_sorted(), "list", "names are not sorted")?;
            ensure(objects.iter().all(|(name, _)| names.contains(name)), "list", "a name is missing")?;
        }
        Err(error) => ensure(error.kind() == ErrorKind::Unsupported, "list", "fails with another kind")?,
    }
    check_names(store).await?;
    let (name, bytes) = &objects[objects.len() - 1];
    check_concurrent(store, name, bytes).await
}

/// Reads that touch or pass the end.
async fn check_ends(store: &dyn Store, name: &str, len: u64) -> Result<()> {
    store.read_at(name, len, &mut []).await?;
    for (offset, size) in [(len, 1), (len + 1, 1), (len.saturating_sub(1), 2), (u64::MAX, 1), (u64::MAX - 3, 16)] {
        let result = store.read_at(name, offset, &mut vec![0; size]).await;
        let kind = result.err().map(|error| error.kind());
        ensure(
            kind == Some(ErrorKind::Truncated),
            name,
            &format!("{size} bytes at {offset}: {kind:?}, not Truncated"),
        )?;
    }
    Ok(())
}

/// Names that are not there, and names that lead out.
async fn check_names(store: &dyn Store) -> Result<()> {
    let len = store.len("absent").await.map(drop);
    let unknown = len.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unsupported);
    for (result, unknown) in [(len, unknown), (store.read_at("absent", 0, &mut [0]).await, false)] {
        let error = result.err();
        let kind = error.as_ref().map(Error::kind);
        ensure(kind == Some(ErrorKind::NotFound) || unknown, "absent", "is not NotFound")?;
        let named = error.is_some_and(|error| error.to_string().contains("absent"));
        ensure(named, "absent", "the error does not name the object")?;
    }
    for name in HOSTILE {
        let refused = store.len(name).await.is_err() && store.read_at(name, 0, &mut [0]).await.is_err();
        ensure(refused, name, "a name that is no plain name is followed")?;
    }
    Ok(())
}

/// Many reads in flight, each with its own position.
async fn check_concurrent(store: &dyn Store, name: &str, bytes: &[u8]) -> Result<()> {
    let reads = (0..64_usize).map(|i| async move {
        let start = i * 4_099 % (bytes.len() - 5_000);
        let mut buffer = vec![0; 1 + i * 77];
        store.read_at(name, start as u64, &mut buffer).await?;
        let expected = &bytes[start..start + buffer.len()];
        ensure(buffer == expected, name, &format!("{} bytes at {start} of concurrent reads differ", buffer.len()))
    });
    try_join_all(reads).await.map(drop)
}

/// Checks an empty sink, and leaves it empty.
///
/// # Errors
/// The first guarantee that is broken, or a failure of the sink itself.
pub async fn check_sink(sink: &dyn ModelSink) -> Result<()> {
    let name = "object.part";
    sink.create(name).await?;
    sink.append(name, b"stale").await?;
    sink.create(name).await?;
    sink.append(name, b"first ").await?;
    sink.append(name, b"second").await?;
    sink.sync(name).await?;
    sink.forget_cached(name).await;
    ensure(sink.len(name).await? == 12, name, "appends do not add up")?;
    sink.rename(name, "object").await?;
    sink.sync_names().await?;
    let gone = sink.len(name).await.err().map(|error| error.kind());
    ensure(gone == Some(ErrorKind::NotFound), name, "the old name is still there")?;
    let mut read = [0; 12];
    sink.read_at("object", 0, &mut read).await?;
    ensure(&read == b"first second", "object", "reads back differently")?;

    sink.create(name).await?;
    sink.append(name, b"newer").await?;
    sink.sync(name).await?;
    sink.rename(name, "object").await?;
    let mut read = [0; 5];
    sink.read_at("object", 0, &mut read).await?;
    ensure(&read == b"newer" && sink.len("object").await? == 5, "object", "a rename does not replace")?;
    ensure(sink.entries().await? == ["object"], "object", "is not what lies there")?;

    for name in HOSTILE {
        ensure(sink.create(name).await.is_err(), name, "a name that is no plain name is created")?;
        ensure(sink.rename("object", name).await.is_err(), name, "a rename leaves the sink")?;
    }
    sink.remove("object").await?;
    sink.remove("object").await?;
    ensure(sink.entries().await?.is_empty(), "object", "is still there after its removal")
}

fn ensure(kept: bool, name: &str, what: &str) -> Result<()> {
    if kept { Ok(()) } else { Err(Error::new(ErrorKind::Malformed, what).file(format!("{name:?}"))) }
}
