//! Small reads that every format needs: a whole object under a cap, JSON, maps without duplicates.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use super::kinds::refuse_pointer;
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

/// Cap on config files. Tokenizer configs with many added tokens reach a few megabytes.
pub(super) const CONFIG_CAP: u64 = 32 << 20;
/// Cap on `tokenizer.json`; large vocabularies reach 35 MB.
pub(super) const TOKENIZER_CAP: u64 = 256 << 20;

/// The object's length, or `None` where there is no such object.
pub(super) async fn len_if_there(store: &dyn Store, name: &str) -> Result<Option<u64>> {
    match store.len(name).await {
        Ok(len) => Ok(Some(len)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.file(store.describe(name))),
    }
}

/// Reads `len_bytes` from `offset_bytes`. The caller has checked the length against a cap.
pub(super) async fn read_range(store: &dyn Store, name: &str, offset_bytes: u64, len_bytes: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    extend(store, name, &mut bytes, offset_bytes, len_bytes).await?;
    Ok(bytes)
}

/// Appends `len_bytes` from `offset_bytes` to `bytes`; fails, without aborting, where memory is not to be had.
pub(super) async fn extend(
    store: &dyn Store,
    name: &str,
    bytes: &mut Vec<u8>,
    offset_bytes: u64,
    len_bytes: u64,
) -> Result<()> {
    let start = bytes.len();
    let grown = usize::try_from(len_bytes).ok().and_then(|len| bytes.try_reserve_exact(len).ok().map(|()| start + len));
    let Some(end) = grown else {
        return Err(Error::new(ErrorKind::Io, format!("no memory for {len_bytes} bytes")).file(store.describe(name)));
    };
    bytes.resize(end, 0);
    store.read_at(name, offset_bytes, &mut bytes[start..]).await.map_err(|error| error.file(store.describe(name)))
}

/// Reads a whole object, or `None` where there is none.
///
/// # Errors
/// [`ErrorKind::Malformed`] where it is longer than `cap_bytes`.
pub(super) async fn read_if_there(store: &dyn Store, name: &str, cap_bytes: u64) -> Result<Option<Vec<u8>>> {
    let Some(len) = len_if_there(store, name).await? else { return Ok(None) };
    if len > cap_bytes {
        let message = format!("{len} bytes are more than the {cap_bytes} that such a file may have");
        return Err(Error::new(ErrorKind::Malformed, message).file(store.describe(name)));
    }
    let bytes = read_range(store, name, 0, len).await?;
    refuse_pointer(&bytes).map_err(|error| error.file(store.describe(name)))?;
    Ok(Some(bytes))
}

/// Reads a JSON object, or `None` where there is no such file.
pub(super) async fn json_if_there(store: &dyn Store, name: &str) -> Result<Option<Value>> {
    let Some(bytes) = read_if_there(store, name, CONFIG_CAP).await? else { return Ok(None) };
    parse_object(&bytes).map(Some).map_err(|error| error.file(store.describe(name)))
}

fn parse_object(bytes: &[u8]) -> Result<Value> {
    let value: Value = serde_json::from_slice(bytes).map_err(malformed_json)?;
    if value.is_object() {
        return Ok(value);
    }
    Err(Error::new(ErrorKind::Malformed, "not a JSON object"))
}

/// What serde_json says, as ours.
pub(super) fn malformed_json(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Malformed, format!("broken JSON: {error}"))
}

/// A JSON object that refuses a key that comes twice, which serde's own maps accept.
#[derive(Debug)]
pub(super) struct UniqueMap<V>(pub BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Keys<V> {
            type Value = UniqueMap<V>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<UniqueMap<V>, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((key, value)) = access.next_entry::<String, V>()? {
                    if map.contains_key(&key) {
                        return Err(A::Error::custom(format_args!("'{key}' comes twice")));
                    }
                    map.insert(key, value);
                }
                Ok(UniqueMap(map))
            }
        }
        deserializer.deserialize_map(Keys(PhantomData))
    }
}
