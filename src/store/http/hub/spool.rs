//! Whole files of a host that answers ranges with everything: each is read once, in order, into a file of this machine, and
//! its pieces are taken from there. Otherwise each piece would cost a download of all before it.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::HttpStore;
use crate::store::file::{read_exact_at, write_all_at};
use crate::{Error, ErrorKind, Result};

/// Files that are kept at once: a split goes from one to the next, and back for what lies at their borders.
const MOST_FILES: usize = 3;
/// Bytes of a file, those before them included, that are read without fetching it whole: its header. A checkpoint's headers are
/// read before anything else, and its files do not stay until their turn comes.
const HEADER_BYTES: u64 = 256 << 10;
/// Times that one file is fetched.
const MOST_FETCHES: u32 = 2;

#[derive(Debug, Default)]
pub(super) struct Spool(async_lock::Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The one that was fetched last at the back.
    files: VecDeque<(String, Arc<Temporary>)>,
    fetches: HashMap<String, u32>,
    /// What was read of files without fetching them whole.
    headers: HashMap<String, u64>,
}

impl Spool {
    /// Whether a read that ends at `end_bytes` of an object is one of its header, which is better read from the host.
    pub(super) async fn is_header(&self, name: &str, end_bytes: u64) -> bool {
        let mut state = self.0.lock().await;
        if state.file(name).is_some() {
            return false;
        }
        let read = state.headers.entry(name.to_owned()).or_default();
        let fits = read.saturating_add(end_bytes) <= HEADER_BYTES;
        if fits {
            *read += end_bytes;
        }
        fits
    }

    /// Fills a buffer from an object of `len_bytes`, which is fetched whole unless it lies here.
    pub(super) async fn read(
        &self,
        http: &HttpStore,
        (name, len_bytes): (&str, u64),
        offset_bytes: u64,
        buffer: &mut [u8],
    ) -> Result<()> {
        let mut state = self.0.lock().await;
        let file = match state.file(name) {
            Some(file) => file,
            None => state.fetch(http, name, len_bytes).await?,
        };
        drop(state);
        read_exact_at(&file.file, offset_bytes, buffer).map_err(|error| Error::io(error, file.shown()))
    }
}

impl State {
    fn file(&self, name: &str) -> Option<Arc<Temporary>> {
        self.files.iter().find(|(other, _)| other == name).map(|(_, file)| Arc::clone(file))
    }

    async fn fetch(&mut self, http: &HttpStore, name: &str, len_bytes: u64) -> Result<Arc<Temporary>> {
        let fetches = self.fetches.entry(name.to_owned()).or_default();
        *fetches += 1;
        if *fetches > MOST_FETCHES {
            let message = "the host answers ranges with whole files, and would have to send this one again and again";
            let error = Error::new(ErrorKind::Network, message).file(http.address.shown(name));
            return Err(error.remedy("download the repository, and give its folder; or use another mirror"));
        }
        while self.files.len() >= MOST_FILES {
            self.files.pop_front();
        }
        let file = Arc::new(Temporary::create()?);
        let mut visit = |offset: u64, bytes: &[u8]| {
            if offset + bytes.len() as u64 > len_bytes {
                let message = format!("is longer than the {len_bytes} bytes that the hub lists");
                return Err(Error::new(ErrorKind::Malformed, message));
            }
            write_all_at(&file.file, offset, bytes).map_err(|error| Error::io(error, file.shown()))?;
            Ok(ControlFlow::Continue(()))
        };
        let got = http.read_through(name, &mut visit).await?;
        if got != len_bytes {
            let message = format!("{got} bytes came of the {len_bytes} that the hub lists");
            return Err(Error::new(ErrorKind::Truncated, message).file(http.address.shown(name)));
        }
        self.files.push_back((name.to_owned(), Arc::clone(&file)));
        Ok(file)
    }
}

/// A file that goes with its handle.
#[derive(Debug)]
struct Temporary {
    file: File,
    path: PathBuf,
}

impl Temporary {
    fn create() -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // The system's folder of temporary files may be memory.
        let folder = crate::platform::user_cache_dir().unwrap_or_else(std::env::temp_dir).join("tilestream");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("fetching-{}-{number}.tmp", std::process::id()));
        let create = || {
            fs::create_dir_all(&folder)?;
            // What a process of this number left behind is nobody's.
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)
        };
        let file = create().map_err(|error| Error::io(error, path.display().to_string()))?;
        Ok(Self { file, path })
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
