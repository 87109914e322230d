//! A folder on a static host, read by HTTP range requests.
//!
//! The host is not trusted: an answer is taken only where its status, its range and its length are what was asked for.
//! What the bytes are is the affair of the checksums above.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicU64, Ordering};

use async_lock::Semaphore;

use super::{Store, check_name};
use crate::platform::{BoxFuture, Visit, now_s};
use crate::{Error, ErrorKind, Result};

#[cfg(not(target_arch = "wasm32"))]
mod access;
mod address;
mod answer;
#[cfg(not(target_arch = "wasm32"))]
mod hub;
#[cfg(not(target_arch = "wasm32"))]
mod native;
mod ranges;
mod retry;
#[cfg(target_arch = "wasm32")]
mod web;

#[cfg(not(target_arch = "wasm32"))]
use native as host;
#[cfg(target_arch = "wasm32")]
use web as host;

use address::Address;
use answer::{Body, Head, Trouble, judge, past_the_end};
#[cfg(not(target_arch = "wasm32"))]
pub use hub::{HubRepo, HubStore, HubToken};
use ranges::{First, Ranges};
use retry::{Attempts, Pace};

/// Seconds for which a host that was given up is not asked again.
const GIVEN_UP_S: f64 = 1.0;

/// Seconds that a host has to answer where something else can stand in for it.
const SOON_S: f64 = 3.0;

/// How patient a store is with its host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpOptions {
    /// Attempts of a read in a row that brought nothing before it fails.
    pub attempts: u32,
    /// Seconds without a byte after which a request is given up and sent again.
    pub stall_s: f64,
    /// Bytes a second that a host must bring on the average of `slow_s` seconds; a slower answer is given up, and asked for once
    /// more.
    pub least_bytes_per_s: f64,
    /// Seconds over which `least_bytes_per_s` is looked at.
    pub slow_s: f64,
    /// Seconds before the second attempt; they double with each further one.
    pub backoff_s: f64,
    /// Longest wait, in seconds, that a server may ask for (`Retry-After`).
    pub most_wait_s: f64,
    /// Seconds from the first of several failures in a row after which a read is given up, whatever attempts are left.
    pub patience_s: f64,
    /// Requests at the same time; browsers allow six to a host.
    pub concurrent: usize,
}

impl HttpOptions {
    crate::options::setters!(
        attempts: u32, stall_s: f64, least_bytes_per_s: f64, slow_s: f64, backoff_s: f64, most_wait_s: f64,
        patience_s: f64, concurrent: usize;
        some
    );
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            attempts: 6,
            stall_s: 20.0,
            least_bytes_per_s: 2048.0,
            slow_s: 20.0,
            backoff_s: 0.25,
            most_wait_s: 60.0,
            patience_s: 40.0,
            concurrent: 6,
        }
    }
}

/// What a store has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpCounters {
    /// Bytes of bodies, those skipped or thrown away included.
    pub bytes_received: u64,
    /// Requests sent; a redirect that the client follows counts as one.
    pub requests: u64,
    /// Requests that were sent again after a failure.
    pub retries: u64,
}

/// Read access to the files of a folder on a web server.
///
/// Sizes and names stand in the manifest: [`Store::len`] and [`Store::list`] are
/// [`ErrorKind::Unsupported`](crate::ErrorKind), because a browser may not see the headers of another origin, and static
/// hosts list nothing. Natively the futures block in the network, a chunk at a time.
#[derive(Debug)]
pub struct HttpStore {
    address: Address,
    options: HttpOptions,
    client: host::Client,
    places: Semaphore,
    ranges: Ranges,
    bytes_received: AtomicU64,
    requests: AtomicU64,
    retries: AtomicU64,
    /// When a read was last given up because the host took too long: the bits of `now_s`. 0: never.
    given_up: AtomicU64,
}

/// One request.
struct Ask<'a> {
    url: &'a str,
    /// The value of the header `Range`.
    range: Option<String>,
    /// Caches on the way must ask the host whether their copy is still right.
    fresh: bool,
}

/// A request or a body that failed below HTTP.
struct Failure {
    message: String,
    /// Another attempt would end the same way.
    hopeless: bool,
    /// The host's name leads nowhere.
    no_host: bool,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        if failure.no_host {
            Self::Passing { message: failure.message, wait_s: None, no_host: true }
        } else if failure.hopeless {
            Self::Final(Error::new(ErrorKind::Network, failure.message).remedy(host::REMEDY))
        } else {
            Self::passing(failure.message)
        }
    }
}

impl HttpStore {
    /// A store of the folder at an http or https address, with or without its last slash. A query string, as signed hosts
    /// want it, goes with every request.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where `base` is no such address.
    pub fn new(base: &str) -> Result<Self> {
        Self::with_options(base, HttpOptions::default())
    }

    /// The same with other limits.
    ///
    /// # Errors
    /// As [`HttpStore::new`].
    pub fn with_options(base: &str, options: HttpOptions) -> Result<Self> {
        let address = Address::parse(base)?;
        Ok(Self::of_address(address, HttpOptions { concurrent: options.concurrent.max(1), ..options }))
    }

    fn of_address(address: Address, options: HttpOptions) -> Self {
        let client = host::Client::new(&options);
        Self::with_client(address, client, options)
    }

    fn with_client(address: Address, client: host::Client, options: HttpOptions) -> Self {
        Self {
            address,
            client,
            places: Semaphore::new(options.concurrent),
            options,
            ranges: Ranges::default(),
            bytes_received: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
        }
    }

    /// The folder's address, without its query string.
    pub fn folder(&self) -> &str {
        self.address.folder()
    }

    /// Whether the host was seen to answer a range request with the whole file. Each read then costs a download of
    /// everything before it: [`HttpStore::read_through`] once is cheaper.
    pub fn ignores_ranges(&self) -> bool {
        self.ranges.are_ignored()
    }

    /// What the store has done so far.
    pub fn counters(&self) -> HttpCounters {
        HttpCounters {
            bytes_received: self.bytes_received.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }

    /// Reads an object once from its start to its end, as a stream: `visit` gets each chunk with its offset, every byte
    /// once and in order, and breaks where it has enough. Returns the bytes visited.
    ///
    /// After a failure the stream goes on where it was, by a range or by skipping. Where a server says no length and
    /// closes the connection early, the end looks like the end: compare with the size in the manifest.
    ///
    /// # Errors
    /// Those of [`Store::read_at`], and those of `visit`.
    pub async fn read_through<F>(&self, name: &str, visit: &mut F) -> Result<u64>
    where
        F: FnMut(u64, &[u8]) -> Result<ControlFlow<()>> + ?Sized,
    {
        let url = self.address.of(name)?;
        let mut attempts = Attempts::new(&self.options);
        let mut at = 0;
        loop {
            let before = at;
            let outcome = self.stream_once(&url, &mut at, false, visit).await;
            attempts.progress(at - before);
            match outcome {
                Ok(_) => return Ok(at),
                Err(trouble) => self.again(&mut attempts, trouble).await.map_err(|error| self.place(error, name))?,
            }
        }
    }

    /// All of a small object whose length nobody knows yet, such as a manifest; copies that caches hold are revalidated.
    ///
    /// # Errors
    /// Those of [`Store::read_at`]; [`ErrorKind::Malformed`] where the object has more than `most_bytes`.
    pub async fn read_all(&self, name: &str, most_bytes: u64) -> Result<Vec<u8>> {
        let url = self.address.of(name)?;
        let whole = self.whole(&url, most_bytes).await;
        whole.map(|(all, _)| all).map_err(|error| self.place(error, name))
    }

    /// All that lies at an address, and the head of the answer; the error names no place.
    async fn whole(&self, url: &str, most_bytes: u64) -> Result<(Vec<u8>, Head)> {
        let mut attempts = Attempts::new(&self.options);
        loop {
            // From the start each time: half of one version and half of the next would be neither.
            let (mut all, mut at) = (Vec::new(), 0);
            let mut keep = |_: u64, bytes: &[u8]| {
                if all.len() as u64 + bytes.len() as u64 > most_bytes {
                    let message = format!("larger than the {most_bytes} bytes that such a file may have");
                    return Err(Error::new(ErrorKind::Malformed, message).remedy("check the address"));
                }
                all.extend_from_slice(bytes);
                Ok(ControlFlow::Continue(()))
            };
            match self.stream_once(url, &mut at, true, &mut keep).await {
                Ok(head) => return Ok((all, head)),
                Err(trouble) => self.again(&mut attempts, trouble).await?,
            }
        }
    }

    /// One request for all of an object from `at` on, which moves with the bytes visited.
    async fn stream_once<F>(&self, url: &str, at: &mut u64, fresh: bool, visit: &mut F) -> Result<Head, Trouble>
    where
        F: FnMut(u64, &[u8]) -> Result<ControlFlow<()>> + ?Sized,
    {
        let _place = self.places.acquire().await;
        let wanted = (*at > 0).then_some(*at..u64::MAX);
        let range = wanted.as_ref().map(|wanted| format!("bytes={}-", wanted.start));
        let mut response = self.send(&Ask { url, range, fresh }).await?;
        if response.head.status == 416 && wanted.is_some() {
            // The connection broke after the last byte.
            return Ok(response.head);
        }
        let mut pace = Pace::new(&self.options);
        let mut skip = match judge(&response.head, wanted.as_ref())? {
            Body::Range => 0,
            Body::Whole => *at,
        };
        if skip > 0 {
            self.ranges.saw(Body::Whole);
        }
        while let Some(chunk) = self.next_chunk(&mut response, &mut pace).await? {
            let skipped = skip.min(chunk.len() as u64);
            skip -= skipped;
            let chunk = &chunk[skipped as usize..];
            if chunk.is_empty() {
                continue;
            }
            let flow = visit(*at, chunk).map_err(Trouble::Final)?;
            *at += chunk.len() as u64;
            if flow.is_break() {
                break;
            }
        }
        Ok(response.head)
    }

    async fn read(&self, name: &str, offset_bytes: u64, buffer: &mut [u8], skips: bool) -> Result<bool> {
        let url = self.address.of(name)?;
        if buffer.is_empty() {
            return Ok(true);
        }
        let Some(end) = offset_bytes.checked_add(buffer.len() as u64) else {
            return Err(self.place(past_the_end(&(offset_bytes..u64::MAX)), name));
        };
        self.fill(&url, offset_bytes..end, buffer, skips).await.map_err(|error| self.place(error, name))
    }

    /// Fills a buffer, with as many requests as it takes. Without `skips`, false where the host answers ranges with whole
    /// files, of which then nothing is read.
    async fn fill(&self, url: &str, wanted: Range<u64>, buffer: &mut [u8], skips: bool) -> Result<bool> {
        let mut attempts = Attempts::new(&self.options);
        let mut filled = 0;
        let mut first = self.ranges.first().await;
        while filled < buffer.len() {
            if !skips && self.ignores_ranges() {
                return Ok(false);
            }
            let rest = wanted.start + filled as u64..wanted.end;
            let mut got = 0;
            let outcome = self.fill_once(url, rest, &mut buffer[filled..], &mut got, &mut first, skips).await;
            filled += got;
            attempts.progress(got as u64);
            // An answer that is short and says so is no lie, but a server that hands out a byte a request must not win.
            let trouble = outcome.err().unwrap_or_else(|| Trouble::passing("the answer is shorter than asked"));
            if filled < buffer.len() && (skips || !self.ignores_ranges()) {
                self.again(&mut attempts, trouble).await?;
            }
        }
        Ok(true)
    }

    /// One request for a range. `got` is what of it has arrived, whether or not the request then failed. `first` is let go of
    /// when it is known what the host does with ranges.
    async fn fill_once(
        &self,
        url: &str,
        wanted: Range<u64>,
        buffer: &mut [u8],
        got: &mut usize,
        first: &mut First<'_>,
        skips: bool,
    ) -> Result<(), Trouble> {
        let _place = self.places.acquire().await;
        self.check_given_up().map_err(Trouble::Final)?;
        // One range of this form needs no preflight request in a browser.
        let range = Some(format!("bytes={}-{}", wanted.start, wanted.end - 1));
        let mut response = self.send(&Ask { url, range, fresh: false }).await?;
        let mut pace = Pace::new(&self.options);
        let body = judge(&response.head, Some(&wanted))?;
        let mut skip = match body {
            Body::Range => 0,
            Body::Whole => wanted.start,
        };
        let exactly = wanted.start == 0 && response.head.content_length == Some(buffer.len() as u64);
        if body == Body::Range || !exactly {
            self.ranges.saw(body);
            *first = None;
            if body == Body::Whole && !skips {
                return Ok(());
            }
        }
        while let Some(chunk) = self.next_chunk(&mut response, &mut pace).await? {
            let skipped = skip.min(chunk.len() as u64);
            skip -= skipped;
            let chunk = &chunk[skipped as usize..];
            let taken = chunk.len().min(buffer.len() - *got);
            buffer[*got..*got + taken].copy_from_slice(&chunk[..taken]);
            *got += taken;
            if body == Body::Whole && *got == buffer.len() {
                return Ok(());
            }
            if taken < chunk.len() {
                *got = 0;
                return Err(too_many(&wanted));
            }
        }
        match body {
            // Without a length, a connection that was cut looks like the end of the object.
            Body::Whole if response.head.content_length.is_none() => Err(Trouble::Broken(past_the_end(&wanted))),
            Body::Whole => Err(Trouble::Final(past_the_end(&wanted))),
            Body::Range => Ok(()),
        }
    }

    async fn send(&self, ask: &Ask<'_>) -> Result<host::Response, Trouble> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.client.get(ask).await
    }

    async fn next_chunk<'a>(
        &self,
        response: &'a mut host::Response,
        pace: &mut Pace,
    ) -> Result<Option<&'a [u8]>, Trouble> {
        let begin_s = now_s();
        let chunk = response.next_chunk().await?;
        let bytes = chunk.map_or(0, <[u8]>::len) as u64;
        pace.took(bytes, now_s() - begin_s)?;
        self.bytes_received.fetch_add(bytes, Ordering::Relaxed);
        Ok(chunk)
    }

    /// Reads that waited for one that was given up do not wait as long again, one after the other.
    fn check_given_up(&self) -> Result<()> {
        let given_up = f64::from_bits(self.given_up.load(Ordering::Relaxed));
        if given_up > 0.0 && now_s() - given_up < GIVEN_UP_S {
            let error =
                Error::new(ErrorKind::Network, "the host was given up a moment ago: it brings nothing, or too little");
            return Err(error.remedy(host::REMEDY));
        }
        Ok(())
    }

    async fn again(&self, attempts: &mut Attempts<'_>, trouble: Trouble) -> Result<()> {
        // A name that has not worked yet is wrong, or there is no network; one that has may work again.
        let trouble = match trouble {
            Trouble::Passing { message, no_host: true, .. } if self.bytes_received.load(Ordering::Relaxed) == 0 => {
                Trouble::Final(Error::new(ErrorKind::Network, message).remedy(host::REMEDY))
            }
            trouble => trouble,
        };
        let next = attempts.next(trouble).await;
        if attempts.timed_out {
            self.given_up.store(now_s().to_bits(), Ordering::Relaxed);
        }
        next?;
        self.retries.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn place(&self, error: Error, name: &str) -> Error {
        error.file(self.describe(name))
    }

    fn unsupported<T>(&self, name: &str, what: &str) -> Result<T> {
        Err(Error::new(ErrorKind::Unsupported, what).file(self.describe(name)))
    }
}

fn too_many(wanted: &Range<u64>) -> Trouble {
    let message = format!("asked for bytes {}..{}, the host answers with more", wanted.start, wanted.end);
    let remedy = "the host or a proxy breaks range requests: use another one";
    Trouble::Broken(Error::new(ErrorKind::Network, message).remedy(remedy))
}

impl Store for HttpStore {
    fn len<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u64>> {
        let result = check_name(name)
            .and_then(|()| self.unsupported(name, "a web server need not say sizes; they stand in the manifest"));
        Box::pin(std::future::ready(result))
    }

    fn read_at<'a>(&'a self, name: &'a str, offset_bytes: u64, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.read(name, offset_bytes, buffer, true).await.map(|_| ()) })
    }

    fn read_range<'a>(&'a self, name: &'a str, offset_bytes: u64, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.read(name, offset_bytes, buffer, false))
    }

    fn read_small<'a>(&'a self, name: &'a str, most_bytes: u64) -> BoxFuture<'a, Result<Vec<u8>>> {
        Box::pin(self.read_all(name, most_bytes))
    }

    fn read_small_soon<'a>(&'a self, name: &'a str, most_bytes: u64) -> BoxFuture<'a, Result<Vec<u8>>> {
        let stall_s = self.options.stall_s.min(SOON_S);
        let options = HttpOptions { attempts: 1, stall_s, ..self.options.clone() };
        Box::pin(async move { Self::of_address(self.address.clone(), options).read_all(name, most_bytes).await })
    }

    fn is_local(&self) -> bool {
        false
    }

    fn ignores_ranges(&self) -> bool {
        self.ignores_ranges()
    }

    fn read_through<'a>(&'a self, name: &'a str, visit: &'a mut Visit<'a>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.read_through(name, visit))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(std::future::ready(self.unsupported("", "a web server lists no files; they stand in the manifest")))
    }

    fn describe(&self, name: &str) -> String {
        self.address.shown(name)
    }
}
