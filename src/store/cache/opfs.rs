//! A cache in the origin's private file system, through the synchronous handles that a dedicated worker has.

use std::cell::RefCell;
use std::sync::Arc;

use async_lock::{Mutex, Semaphore};
use js_sys::{AsyncIterator, Function, Object, Promise, Reflect, Uint8Array};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions, FileSystemGetFileOptions,
    FileSystemReadWriteOptions, FileSystemRemoveOptions, FileSystemSyncAccessHandle, WorkerGlobalScope,
};
use xxhash_rust::xxh3::xxh3_64;

use super::{CacheFiles, CachePlace, Held, JOURNAL, OWN_FILES, SOURCE, journaled_bytes, short};
use crate::platform::BoxFuture;
use crate::store::handles::{Handles, MAX_OPEN};
use crate::store::{Window, check_name};
use crate::{Error, ErrorKind, Result};

/// The folder of this origin that holds one folder for each model.
const ROOT: &str = "tilestream";

/// A model's folder in the private file system.
pub struct OpfsCache {
    folder: FileSystemDirectoryHandle,
    writer: bool,
}

/// A model that lies in the private file system, whole or in part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpfsModel {
    /// The address it came from.
    pub source: String,
    /// The model's own name.
    pub name: String,
    /// Bytes of its files.
    pub total_bytes: u64,
    /// Bytes of those that lie here.
    #[serde(default)]
    pub cached_bytes: u64,
    /// Lengths of its files, in the order of the journal; not in a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub file_bytes: Vec<u64>,
}

impl OpfsCache {
    /// The cache of the model at an address. Only one tab at a time may be the `writer`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the browser has no private file system (or hides it in private windows).
    pub async fn open(source: &str, writer: bool) -> Result<Self> {
        let root = root().await?;
        let folder = child(&root, &folder_name(source), true).await?;
        Ok(Self { folder, writer })
    }

    /// Notes what the folder holds, for lists: a model of files with these lengths.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn describe_model(&self, source: &str, name: &str, file_bytes: Vec<u64>) -> Result<()> {
        let (source, name, total_bytes) = (source.to_owned(), name.to_owned(), file_bytes.iter().sum());
        let model = OpfsModel { source, name, total_bytes, cached_bytes: 0, file_bytes };
        let text = serde_json::to_vec(&model).map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
        self.save(SOURCE, &text).await
    }
}

impl CachePlace for OpfsCache {
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        Box::pin(async move {
            match file(&self.folder, name, false).await {
                Ok(file) => read_whole(&file, name).await.map(Some),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn save<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let OpenFile(handle) = &open(&self.folder, name, true).await?;
            write(handle, name, 0, bytes)?;
            let cut = handle.truncate_with_f64(bytes.len() as f64).and_then(|()| handle.flush());
            cut.map_err(|error| failed(name, &error))
        })
    }

    fn clear(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            for (name, _) in entries(&self.folder).await? {
                let removed = JsFuture::from(self.folder.remove_entry(&name)).await;
                removed.map_err(|error| failed(&name, &error))?;
            }
            Ok(())
        })
    }

    fn open<'a>(&'a self, names: &'a [&'a str]) -> BoxFuture<'a, Result<Arc<dyn CacheFiles>>> {
        Box::pin(async move {
            let (folder, create) = (self.folder.clone(), self.writer);
            let mut own = Vec::with_capacity(OWN_FILES.len());
            for name in names.iter().take(OWN_FILES.len()) {
                own.push(open_if_there(&folder, name, create).await?);
            }
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            let (places, opening) = (Semaphore::new(MAX_OPEN), Mutex::new(()));
            let files = Files { folder, create, names, own, open: RefCell::default(), places, opening };
            let files: Arc<dyn CacheFiles> = Arc::new(files);
            Ok(files)
        })
    }

    fn is_writer(&self) -> bool {
        self.writer
    }
}

/// The handle of a file, which is closed when nobody holds it any more.
struct OpenFile(FileSystemSyncAccessHandle);

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The files of a model. Opening one has to be waited for, reading and writing it has not.
struct Files {
    folder: FileSystemDirectoryHandle,
    /// Whether files that are not there are made.
    create: bool,
    names: Vec<String>,
    /// [`OWN_FILES`], as far as they are there.
    own: Vec<Option<OpenFile>>,
    open: RefCell<Handles<OpenFile>>,
    /// As many files are held as may be open: so there is always one to close for another.
    places: Semaphore,
    /// One file is opened at a time, so that none is opened twice: many browsers allow one handle a file.
    opening: Mutex<()>,
}

impl Files {
    async fn opened(&self, name: &str) -> Result<Arc<OpenFile>> {
        let known = || self.open.borrow_mut().get(name);
        if let Some(file) = known() {
            return Ok(file);
        }
        let _turn = self.opening.lock().await;
        if let Some(file) = known() {
            return Ok(file);
        }
        self.open.borrow_mut().make_room();
        let file = Arc::new(open_if_there(&self.folder, name, self.create).await?.ok_or_else(|| short(name))?);
        self.open.borrow_mut().insert(name, Arc::clone(&file));
        Ok(file)
    }

    fn name(&self, file: usize) -> Result<&str> {
        self.names.get(file).map(String::as_str).ok_or_else(|| Error::new(ErrorKind::Argument, "no such cached file"))
    }

    /// Does something with a file that is held.
    fn on<T>(&self, file: usize, act: impl FnOnce(&str, &FileSystemSyncAccessHandle) -> Result<T>) -> Result<T> {
        let name = self.name(file)?;
        match self.own.get(file) {
            Some(own) => own.as_ref().ok_or_else(|| short(name)).and_then(|OpenFile(handle)| act(name, handle)),
            None => {
                let held = self.open.borrow_mut().get(name);
                let closed = || Error::new(ErrorKind::Io, "the cached file is not open").file(name);
                held.ok_or_else(closed).and_then(|held| act(name, &held.0))
            }
        }
    }
}

impl CacheFiles for Files {
    fn hold(&self, file: usize) -> BoxFuture<'_, Result<Held<'_>>> {
        Box::pin(async move {
            let place = self.places.acquire().await;
            let file = self.opened(self.name(file)?).await?;
            // In this order: the place is free once the file can be closed.
            Ok(Held(Some(Box::new((file, place)))))
        })
    }

    fn len(&self, file: usize) -> Result<u64> {
        if self.own.get(file).is_some_and(Option::is_none) {
            return Ok(0);
        }
        self.on(file, |name, handle| handle.get_size().map(|size| size as u64).map_err(|error| failed(name, &error)))
    }

    fn read_at(&self, file: usize, offset_bytes: u64, window: &mut Window<'_>) -> Result<()> {
        self.on(file, |name, handle| {
            let (at, len) = (at(offset_bytes), window.len());
            let read = match window.host() {
                // Straight into the mapped buffer: the bytes never pass through wasm's memory.
                Some(bytes) => handle.read_with_buffer_source_and_options(bytes, &at),
                None => handle.read_with_u8_array_and_options(window.memory().unwrap_or_default(), &at),
            };
            match read.map_err(|error| failed(name, &error))? {
                read if read as usize == len => Ok(()),
                _ => Err(short(name)),
            }
        })
    }

    fn write_at(&self, file: usize, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        self.on(file, |name, handle| write(handle, name, offset_bytes, bytes))
    }

    fn set_len(&self, file: usize, len_bytes: u64) -> Result<()> {
        let cut = |handle: &FileSystemSyncAccessHandle| handle.truncate_with_f64(len_bytes as f64);
        self.on(file, |name, handle| cut(handle).map_err(|error| failed(name, &error)))
    }

    fn describe(&self, file: usize) -> String {
        self.names.get(file).cloned().unwrap_or_default()
    }
}

fn at(offset_bytes: u64) -> FileSystemReadWriteOptions {
    let options = FileSystemReadWriteOptions::new();
    options.set_at(offset_bytes as f64);
    options
}

fn write(handle: &FileSystemSyncAccessHandle, name: &str, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
    let written = handle.write_with_u8_array_and_options(bytes, &at(offset_bytes)).map_err(|e| failed(name, &e))?;
    if written as usize == bytes.len() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NoSpace, "the browser stored only a part").file(name))
}

/// All models that lie in the private file system, kept in blocks of `block_bytes`.
///
/// # Errors
/// As [`OpfsCache::open`].
pub async fn list(block_bytes: u64) -> Result<Vec<OpfsModel>> {
    let mut models = Vec::new();
    for (_, folder) in entries(&root().await?).await? {
        let Ok(folder) = folder.dyn_into::<FileSystemDirectoryHandle>() else { continue };
        let Ok(source) = file(&folder, SOURCE, false).await else { continue };
        let text = read_whole(&source, SOURCE).await?;
        let Ok(mut model) = serde_json::from_slice::<OpfsModel>(&text) else { continue };
        if let Ok(journal) = file(&folder, JOURNAL, false).await {
            let journal = read_whole(&journal, JOURNAL).await?;
            model.cached_bytes = journaled_bytes(&journal, &model.file_bytes, block_bytes);
        }
        model.file_bytes.clear();
        models.push(model);
    }
    models.sort_by(|a, b| a.source.cmp(&b.source));
    Ok(models)
}

/// Deletes what is kept of the model at an address.
///
/// # Errors
/// [`ErrorKind::Io`] while a tab uses it.
pub async fn delete(source: &str) -> Result<()> {
    let options = FileSystemRemoveOptions::new();
    options.set_recursive(true);
    let removed = root().await?.remove_entry_with_options(&folder_name(source), &options);
    JsFuture::from(removed).await.map(|_| ()).map_err(|error| match text(&error, "name").as_deref() {
        Some("NoModificationAllowedError") => Error::new(ErrorKind::Io, "the model is open, in this tab or in another")
            .file(source)
            .remedy("open another model or close the tab, then delete it"),
        _ => failed(source, &error),
    })
}

fn folder_name(source: &str) -> String {
    format!("{:016x}", xxh3_64(source.as_bytes()))
}

async fn root() -> Result<FileSystemDirectoryHandle> {
    let unsupported = || Error::new(ErrorKind::Unsupported, "this browser (or a private window) stores no files");
    let scope: WorkerGlobalScope = js_sys::global().dyn_into().map_err(|_| unsupported())?;
    let storage = Reflect::get(&scope.navigator(), &"storage".into()).ok().filter(|storage| storage.is_object());
    let storage: web_sys::StorageManager = storage.ok_or_else(unsupported)?.unchecked_into();
    if !Reflect::has(&storage, &"getDirectory".into()).unwrap_or(false) {
        return Err(unsupported());
    }
    let root = JsFuture::from(storage.get_directory()).await.map_err(|error| failed("storage", &error))?;
    child(&root.unchecked_into(), ROOT, true).await
}

async fn child(folder: &FileSystemDirectoryHandle, name: &str, create: bool) -> Result<FileSystemDirectoryHandle> {
    let options = FileSystemGetDirectoryOptions::new();
    options.set_create(create);
    let child = JsFuture::from(folder.get_directory_handle_with_options(name, &options)).await;
    child.map(JsCast::unchecked_into).map_err(|error| failed(name, &error))
}

async fn file(folder: &FileSystemDirectoryHandle, name: &str, create: bool) -> Result<FileSystemFileHandle> {
    let options = FileSystemGetFileOptions::new();
    options.set_create(create);
    let file = JsFuture::from(folder.get_file_handle_with_options(name, &options)).await;
    file.map(JsCast::unchecked_into).map_err(|error| failed(name, &error))
}

/// A handle that reads and writes at once. Where the browser knows the mode, other tabs may read meanwhile.
async fn open(folder: &FileSystemDirectoryHandle, name: &str, create: bool) -> Result<OpenFile> {
    check_name(name)?;
    let file = file(folder, name, create).await?;
    let options = Object::new();
    let call = || -> Result<Promise, JsValue> {
        Reflect::set(&options, &"mode".into(), &"readwrite-unsafe".into())?;
        let open: Function = Reflect::get(&file, &"createSyncAccessHandle".into())?.dyn_into()?;
        open.call1(&file, &options)?.dyn_into()
    };
    let mut coming = Coming(Some(call().map_err(|error| failed(name, &error))?.into()));
    coming.wait().await.map_err(|error| failed(name, &error))
}

/// The same; `None` where there is no such file and none is made.
async fn open_if_there(folder: &FileSystemDirectoryHandle, name: &str, create: bool) -> Result<Option<OpenFile>> {
    match open(folder, name, create).await {
        Err(error) if !create && error.kind() == ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}

/// A handle that was asked for. Where nobody waits for it any more, it is closed when it comes.
struct Coming(Option<JsFuture>);

impl Coming {
    async fn wait(&mut self) -> Result<OpenFile, JsValue> {
        let Some(handle) = &mut self.0 else { return Err(JsValue::UNDEFINED) };
        let handle = handle.await;
        self.0 = None;
        handle.map(|handle| OpenFile(handle.unchecked_into()))
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take() {
            spawn_local(async move { drop(handle.await.map(|handle| OpenFile(handle.unchecked_into()))) });
        }
    }
}

async fn read_whole(file: &FileSystemFileHandle, name: &str) -> Result<Vec<u8>> {
    let blob: web_sys::Blob =
        JsFuture::from(file.get_file()).await.map_err(|error| failed(name, &error))?.unchecked_into();
    let buffer = JsFuture::from(blob.array_buffer()).await.map_err(|error| failed(name, &error))?;
    Ok(Uint8Array::new(&buffer).to_vec())
}

async fn entries(folder: &FileSystemDirectoryHandle) -> Result<Vec<(String, JsValue)>> {
    let listing = |error: &JsValue| failed("a folder", error);
    let iterator: AsyncIterator = folder.entries();
    let mut found = Vec::new();
    loop {
        let next = JsFuture::from(iterator.next().map_err(|error| listing(&error))?).await;
        let next: js_sys::IteratorNext = next.map_err(|error| listing(&error))?.unchecked_into();
        if next.done() {
            return Ok(found);
        }
        let pair: js_sys::Array = next.value().unchecked_into();
        found.push((pair.get(0).as_string().unwrap_or_default(), pair.get(1)));
    }
}

fn text(error: &JsValue, field: &str) -> Option<String> {
    Reflect::get(error, &field.into()).ok().and_then(|value| value.as_string())
}

/// An error of the file system, by the name of its `DOMException`.
fn failed(name: &str, error: &JsValue) -> Error {
    let (kind, remedy) = match text(error, "name").as_deref() {
        Some("NotFoundError") => (ErrorKind::NotFound, None),
        Some("QuotaExceededError") => (ErrorKind::NoSpace, Some("delete stored models, or go on without storing")),
        Some("NoModificationAllowedError") => (ErrorKind::Io, Some("close the other tab that uses this model")),
        _ => (ErrorKind::Io, None),
    };
    let error = Error::new(kind, text(error, "message").unwrap_or_else(|| format!("{error:?}"))).file(name);
    match remedy {
        Some(remedy) => error.remedy(remedy),
        None => error,
    }
}
