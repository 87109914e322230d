//! Files that a user picked in a browser: read by slices of their blobs.

use std::collections::BTreeMap;

use js_sys::Uint8Array;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;

use super::{Store, Window};
use crate::platform::BoxFuture;
use crate::{Error, ErrorKind, Result};

/// The files of one folder, by name.
#[derive(Debug)]
pub struct PickedFiles(BTreeMap<String, web_sys::File>);

impl PickedFiles {
    /// A store of the files; those of folders within are left out by their callers.
    pub fn new(files: impl IntoIterator<Item = web_sys::File>) -> Self {
        Self(files.into_iter().map(|file| (file.name(), file)).collect())
    }

    fn file(&self, name: &str) -> Result<&web_sys::File> {
        self.0.get(name).ok_or_else(|| Error::new(ErrorKind::NotFound, "is not in the folder").file(name))
    }

    /// The bytes of a range, in the browser's memory.
    async fn bytes(&self, name: &str, offset_bytes: u64, len: usize) -> Result<Uint8Array> {
        let file = self.file(name)?;
        let end = offset_bytes.checked_add(len as u64).filter(|end| *end as f64 <= file.size());
        let end = end.ok_or_else(|| Error::new(ErrorKind::Truncated, "ends before the range").file(name))?;
        let failed = |error| Error::new(ErrorKind::Io, format!("cannot be read: {error:?}")).file(name);
        let slice = file.slice_with_f64_and_f64(offset_bytes as f64, end as f64).map_err(failed)?;
        let buffer = JsFuture::from(slice.unchecked_into::<web_sys::Blob>().array_buffer()).await.map_err(failed)?;
        Ok(Uint8Array::new(&buffer))
    }
}

impl Store for PickedFiles {
    fn len<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move { Ok(self.file(name)?.size() as u64) })
    }

    fn read_at<'a>(&'a self, name: &'a str, offset_bytes: u64, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.bytes(name, offset_bytes, buffer.len()).await?.copy_to(buffer);
            Ok(())
        })
    }

    fn read_window<'a>(
        &'a self,
        name: &'a str,
        offset_bytes: u64,
        window: &'a mut Window<'_>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let bytes = self.bytes(name, offset_bytes, window.len()).await?;
            match window.host() {
                // From one buffer of the browser into another.
                Some(target) => target.set(&bytes, 0),
                None => bytes.copy_to(window.memory().unwrap_or_default()),
            }
            Ok(())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(std::future::ready(Ok(self.0.keys().cloned().collect())))
    }

    fn describe(&self, name: &str) -> String {
        name.to_owned()
    }
}
