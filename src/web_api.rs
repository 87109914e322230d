//! What the web package's worker calls: a facade, with options and reports as JSON, and pieces through a callback.
#![cfg(target_arch = "wasm32")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use futures::future::{AbortHandle, Abortable};
use js_sys::{Array, Float64Array, Function, Uint8Array, Uint32Array};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::gpu::kernels::{InputType, KvType};
use crate::shard::CHECKSUM_BLOCK;
use crate::store::cache::{CachePlace, OpfsCache, delete_cached, list_cached};
use crate::store::{HttpStore, PickedFiles, Store};
use crate::text::{Content, Message, SamplerOptions, StopReason, TemplateArguments};
use crate::words::Term;
use crate::{
    Error, ErrorKind, GenerateOptions, LoadOptions, ModelFiles, ModelHandle, ModelText, Request, Result, TileMonitor,
};

/// Answers that share sweeps where the page does not say, and at most.
const SEQUENCES: (u32, u32) = (4, 64);

/// How to load, as the package's `LoadOptions` say it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Load {
    budget_bytes: u64,
    context: Option<u32>,
    sequences: Option<u32>,
    kv: Option<String>,
    activations: Option<String>,
    /// `2026-11-30`, for templates that tell the date.
    date: Option<String>,
    /// Values of the template's own variables.
    #[serde(default)]
    template_args: serde_json::Map<String, serde_json::Value>,
}

/// How to go on, as the package's `GenerateOptions` say it. What is absent is as the checkpoint recommends it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Generate {
    max_tokens: Option<u32>,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    seed: Option<u64>,
    stop: Vec<String>,
    ignore_eos: bool,
    continue_final_message: bool,
}

impl Generate {
    fn options(self, own: SamplerOptions) -> GenerateOptions {
        let sampler = SamplerOptions {
            temperature: self.temperature.unwrap_or(own.temperature),
            top_k: self.top_k.unwrap_or(own.top_k),
            top_p: self.top_p.unwrap_or(own.top_p),
            min_p: self.min_p.unwrap_or(own.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(own.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(own.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(own.frequency_penalty),
            seed: self.seed.unwrap_or(own.seed),
            ..own
        };
        let max_tokens = self.max_tokens.unwrap_or(GenerateOptions::default().max_tokens);
        GenerateOptions::default().max_tokens(max_tokens).sampler(sampler).stop(self.stop).ignore_eos(self.ignore_eos)
    }
}

/// A prompt: the turns of a chat, or text as it is.
#[derive(Deserialize)]
#[serde(untagged)]
enum Prompt {
    Chat(Vec<Turn>),
    Text(String),
    Ids { ids: Vec<u32> },
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: Content,
    reasoning: Option<String>,
    /// The tokens of an answer that is to be continued.
    ids: Option<Vec<u32>>,
}

impl Turn {
    fn message(self) -> Message {
        Message { reasoning: self.reasoning, ..Message::new(self.role, self.content) }
    }
}

/// The ids of a prompt, and how many of the last ones are an answer's own.
fn prompt_ids(text: &ModelText, prompt: Prompt, continues: bool) -> Result<(Vec<u32>, usize)> {
    let refused = |message: &str| Err(Error::new(ErrorKind::Argument, message));
    let ids = match prompt {
        Prompt::Chat(turns) if continues => return continued(text, turns),
        _ if continues => return refused("continueFinalMessage is for messages"),
        Prompt::Ids { ids } => ids,
        Prompt::Text(plain) => text.tokenizer()?.encode(&plain, true)?,
        Prompt::Chat(turns) => text.chat_prompt(&turns.into_iter().map(Turn::message).collect::<Vec<_>>())?,
    };
    Ok((ids, 0))
}

/// The same for a chat whose last message goes on.
fn continued(text: &ModelText, mut turns: Vec<Turn>) -> Result<(Vec<u32>, usize)> {
    let refused = |message: &str, remedy: &str| Err(Error::new(ErrorKind::Argument, message).remedy(remedy));
    let Some(last) = turns.pop().filter(|last| last.role == "assistant") else {
        return refused("continueFinalMessage, and the last message is not the assistant's", "leave the option out");
    };
    let answer = match last.ids {
        Some(ids) => ids,
        None if last.reasoning.is_some() => {
            return refused("the message to continue has reasoning and no ids", "give the ids of its pieces with it");
        }
        None => text.tokenizer()?.encode(&last.content.text(), false)?,
    };
    let mut ids = text.chat_prompt(&turns.into_iter().map(Turn::message).collect::<Vec<_>>())?;
    ids.extend(&answer);
    Ok((ids, answer.len()))
}

/// What a page may want to know of an opened model.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    name: String,
    total_bytes: u64,
    layers: usize,
    has_chat_template: bool,
    /// Answers that share sweeps.
    sequences: u32,
    /// What is recommended; 0: the best token.
    temperature: f32,
    notice: Option<String>,
}

/// An opened model in a worker.
#[wasm_bindgen]
pub struct WebModel {
    handle: ModelHandle,
    watch: TileMonitor,
    /// Those under way, by the page's number.
    answers: RefCell<HashMap<u32, AbortHandle>>,
    http: Option<Arc<HttpStore>>,
    description: Description,
}

/// Opens the model in the folder at an address. `writer` says whether this tab may write the cache of that model; `cache`
/// whether there is to be one.
#[wasm_bindgen(js_name = openAddress)]
pub async fn open_address(source: String, options: String, cache: bool, writer: bool) -> Result<WebModel, JsValue> {
    let opened = async {
        let http = Arc::new(HttpStore::new(&source)?);
        let store: Arc<dyn Store> = http.clone();
        let (place, mut notice) = match cache {
            false => (None, None),
            true => match OpfsCache::open(&source, writer).await {
                Ok(place) => (Some(place), None),
                Err(error) => (None, Some(not_stored(&error))),
            },
        };
        let files = match &place {
            Some(place) => match ModelFiles::open_remote(store.clone(), place).await {
                // No room, or another tab holds the files in a browser that lets only one tab open them.
                Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::NoSpace) => {
                    notice = Some(not_stored(&error));
                    ModelFiles::open(store).await?
                }
                files => files?,
            },
            None => ModelFiles::open(store).await?,
        };
        if let Some(place) = place.filter(CachePlace::is_writer) {
            let manifest = files.model().manifest();
            let lens = manifest.files.iter().map(|file| file.len_bytes).collect();
            if let Err(error) = place.describe_model(&source, &manifest.name, lens).await {
                notice = Some(not_stored(&error));
            }
        }
        WebModel::new(files, &options, Some(http), notice).await
    };
    opened.await.map_err(to_js)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn not_stored(error: &Error) -> String {
    format!("Nothing is stored, the model streams from the network: {error}")
}

/// Opens the model in a folder whose files the user picked.
#[wasm_bindgen(js_name = openFiles)]
pub async fn open_files(files: Array, options: String) -> Result<WebModel, JsValue> {
    let opened = async {
        let files = files.iter().filter_map(|file| file.dyn_into::<web_sys::File>().ok());
        let store: Arc<dyn Store> = Arc::new(PickedFiles::new(files));
        WebModel::new(ModelFiles::open(store).await?, &options, None, None).await
    };
    opened.await.map_err(to_js)
}

/// What the browser's file system holds, as a JSON array.
#[wasm_bindgen(js_name = cachedModels)]
pub async fn cached_models() -> Result<String, JsValue> {
    list_cached(CHECKSUM_BLOCK).await.and_then(|models| json(&models)).map_err(to_js)
}

/// Deletes what is stored of the model at an address.
#[wasm_bindgen(js_name = deleteCached)]
pub async fn delete_cached_model(source: String) -> Result<(), JsValue> {
    delete_cached(&source).await.map_err(to_js)
}

/// The value of an option, the first one where it is not given.
fn one_of<T: Copy>(name: &str, given: Option<&str>, [usual, other]: [(&str, T); 2]) -> Result<T> {
    match given {
        None => Ok(usual.1),
        Some(given) if given == usual.0 => Ok(usual.1),
        Some(given) if given == other.0 => Ok(other.1),
        Some(given) => {
            let message = format!("{name} '{given}' is neither {} nor {}", usual.0, other.0);
            Err(Error::new(ErrorKind::Argument, message))
        }
    }
}

impl WebModel {
    async fn new(
        files: ModelFiles,
        options: &str,
        http: Option<Arc<HttpStore>>,
        notice: Option<String>,
    ) -> Result<Self> {
        let options: Load = parse(options)?;
        let kv = one_of("kv", options.kv.as_deref(), [("f32", KvType::F32), ("f16", KvType::F16)])?;
        let activations = options.activations.as_deref();
        let inputs = one_of("activations", activations, [("f32", InputType::F32), ("i8", InputType::I8)])?;
        let (usual, most) = SEQUENCES;
        let sequences = options.sequences.unwrap_or(usual);
        if !(1..=most).contains(&sequences) {
            return Err(Error::new(ErrorKind::Argument, format!("sequences {sequences} is not between 1 and {most}")));
        }
        let (budget_bytes, context) = (options.budget_bytes, options.context);
        let arguments = TemplateArguments::new(options.template_args)?;
        let date = options.date.as_deref().map(str::parse).transpose()?;
        let files = files.with_date(date).with_template_arguments(arguments);
        let load = LoadOptions { budget_bytes, context, sequences, kv, inputs, ..LoadOptions::default() };
        let load = files.with_fewer_sequences(load, false)?;
        let model = files.load(&load).await?;
        let used = model.profile().budget_bytes;
        let lower = || format!("The GPU has no memory for {}: {} are used.", mib(budget_bytes), mib(used));
        let notice = notice.or_else(|| (used < budget_bytes).then(lower));
        let manifest = model.files().model().manifest();
        let description = Description {
            name: manifest.name.clone(),
            total_bytes: manifest.files.iter().map(|file| file.len_bytes).sum(),
            layers: model.files().spec().layers.len(),
            has_chat_template: model.text().template.is_some(),
            sequences: load.sequences,
            temperature: model.files().sampling().temperature,
            notice,
        };
        let watch = model.monitor();
        Ok(Self { handle: model.into_handle()?, watch, answers: RefCell::default(), http, description })
    }

    async fn answer(&self, prompt: &str, options: &str, on_piece: &Function) -> Result<()> {
        let (prompt, options): (Prompt, Generate) = (parse(prompt)?, parse(options)?);
        let files = self.handle.files();
        let (ids, answered) = prompt_ids(files.text(), prompt, options.continue_final_message)?;
        let options = options.options(files.sampling());
        let mut answer = self.handle.submit(Request { answered, ..Request::new(ids, options) })?;
        while let Some(piece) = answer.next().await? {
            let id = piece.id.map_or(JsValue::UNDEFINED, JsValue::from);
            let stop = piece.stop.map_or(JsValue::UNDEFINED, |reason: StopReason| reason.as_str().into());
            on_piece.call4(&JsValue::NULL, &piece.text.into(), &id, &stop, &piece.reasoning.into()).map_err(
                |error| Error::new(ErrorKind::Argument, format!("the caller of the answer failed: {error:?}")),
            )?;
        }
        Ok(())
    }
}

#[wasm_bindgen]
impl WebModel {
    /// Name, sizes and notices, as JSON.
    pub fn describe(&self) -> Result<String, JsValue> {
        json(&self.description).map_err(to_js)
    }

    /// Answers a prompt (JSON: turns, text, or ids) and calls `on_piece(text, id, stop_reason, reasoning)`. Answers that are under
    /// way together share sweeps; `answer` is a number of this one's own.
    pub async fn generate(
        &self,
        answer: u32,
        prompt: String,
        options: String,
        on_piece: Function,
    ) -> Result<(), JsValue> {
        let (handle, aborted) = AbortHandle::new_pair();
        self.answers.borrow_mut().insert(answer, handle);
        let result = Abortable::new(self.answer(&prompt, &options, &on_piece), aborted).await;
        self.answers.borrow_mut().remove(&answer);
        let stopped = |_| Error::new(ErrorKind::Cancelled, "stopped on request");
        result.map_err(stopped).flatten().map_err(to_js)
    }

    /// Ends an answer. A sweep that others wait for goes on; else it ends between two tiles.
    pub fn cancel(&self, answer: u32) {
        if let Some(handle) = self.answers.borrow().get(&answer) {
            handle.abort();
        }
    }

    /// Bytes of the model that are here, or were fetched so far.
    #[wasm_bindgen(js_name = loadedBytes)]
    pub fn loaded_bytes(&self) -> f64 {
        match (self.watch.model().verified().cache(), &self.http) {
            (Some(cache), _) if cache.failure().is_none() => cache.kept_bytes() as f64,
            (_, Some(http)) => http.counters().bytes_received.min(self.description.total_bytes) as f64,
            (_, None) => self.description.total_bytes as f64,
        }
    }

    /// Why the model is no longer stored, where that is so.
    #[wasm_bindgen(js_name = cacheFailure)]
    pub fn cache_failure(&self) -> Option<String> {
        self.watch.model().verified().cache().and_then(|cache| cache.failure())
    }

    /// Figures as JSON, after the sweep under way.
    pub async fn profile(&self) -> Result<String, JsValue> {
        let report = self.handle.with_model(|model| model.profile()).await;
        report.and_then(|report| json(&report)).map_err(to_js)
    }

    /// Where each tile is: an index into the package's `TIERS`.
    pub fn tiles(&self) -> Uint8Array {
        let places: Vec<u8> = self.watch.places().into_iter().map(|place| place as u8).collect();
        Uint8Array::from(&places[..])
    }

    /// The first tile of each layer, and of the head.
    pub fn layers(&self) -> Uint32Array {
        let layers: Vec<u32> = self.watch.layers().iter().map(|tile| *tile as u32).collect();
        Uint32Array::from(&layers[..])
    }

    /// The last intervals, flat: stage, sweep, load, begin and end in seconds.
    pub fn intervals(&self) -> Float64Array {
        let intervals = self.watch.intervals();
        let numbers = |of: &crate::monitor::Interval| {
            [f64::from(of.stage as u8), of.sweep as f64, of.load as f64, of.begin_s, of.end_s]
        };
        Float64Array::from(&intervals.iter().flat_map(numbers).collect::<Vec<_>>()[..])
    }

    /// Destroys the GPU device, as a driver that restarts does: to try out how a page copes.
    #[wasm_bindgen(js_name = loseDevice)]
    pub fn lose_device(&self) {
        self.watch.lose_device();
    }
}

/// Seconds on the clock that intervals use.
#[wasm_bindgen]
pub fn now() -> f64 {
    crate::platform::now_s()
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::new(ErrorKind::Argument, error.to_string()))
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::new(ErrorKind::Malformed, error.to_string()))
}

/// What the package calls an option or a call of the library. A page splits nothing: those options are its host's.
fn name(term: &Term) -> String {
    match term {
        Term::Budget => "budget".into(),
        Term::Context | Term::ContextLimit => "context".into(),
        Term::Kv(value) => format!("kv: \"{value}\""),
        Term::PlainPrompt => "a string in place of messages".into(),
        Term::IdsPrompt => "{ ids }".into(),
        Term::Verify => "`tilestream verify`".into(),
        Term::Io
        | Term::Token
        | Term::File
        | Term::Class(_)
        | Term::IgnoredFields(_)
        | Term::CacheDir
        | Term::Weights(_)
        | Term::MaxFileSize
        | Term::Originals
        | Term::Adapters => term.to_string(),
    }
}

/// A JavaScript `Error` with a stable `code`.
fn to_js(error: Error) -> JsValue {
    let object = js_sys::Error::new(&error.with_names(name));
    // Setting a property of a new plain object cannot fail.
    let _ = js_sys::Reflect::set(&object, &"code".into(), &error.kind().code().into());
    object.into()
}
