//! Finds out what a store holds, and opens a Hugging Face folder: config, index, shards, tokenizer.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::kinds::{is_adapter, refuse_adapter, refuse_mlx, refuse_pointer_at, shards};
use super::names::in_our_names;
use super::quantized::{self, Found, Method, tensors};
use super::read::{
    CONFIG_CAP, TOKENIZER_CAP, UniqueMap, json_if_there, len_if_there, malformed_json, read_if_there, read_range,
};
use super::safetensors::{Entry, HEADER_CAP, read_header};
use super::{Checkpoint, gguf, pytorch, tied, token_lists, tokenizer_files};
use crate::plan::{self, TensorNames};
use crate::store::Store;
use crate::words::Term;
use crate::{Error, ErrorKind, Result};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const PYTORCH_SINGLE: &str = "pytorch_model.bin";
const PYTORCH_INDEX: &str = "pytorch_model.bin.index.json";
const PYTORCH_EXTENSIONS: &[&str] = &["bin", "pt", "pth"];
/// How the name of the marker ends that AirLLM puts beside a layer.
const DONE: &str = ".done";
/// Files of one kind that an error lists at most.
const MOST_SHOWN: usize = 40;
/// What training leaves beside a checkpoint, in files that are called like one: how these names start.
const BESIDE: &[&str] = &["training_args", "optimizer", "scheduler", "scaler", "rng_state"];

/// Opens the checkpoint in `store`: the file `name`, or what the folder holds.
///
/// A folder is looked through in the order of the reference library: `model.safetensors`, its index, layers that
/// AirLLM wrote, another single safetensors file or shards without an index, `pytorch_model.bin`, its index; then a single GGUF file, and another single PyTorch file. Only
/// headers and configs are read, and a head beside embeddings that a config ties it to.
///
/// # Errors
/// - [`ErrorKind::NotFound`] where there is no checkpoint, no `config.json` beside it, or a shard is missing.
/// - [`ErrorKind::Argument`] where the folder holds several and none is named.
/// - [`ErrorKind::Unsupported`] for dtypes, GGUF types and architectures that are not known, and for PyTorch files that
///   hold anything but tensors.
/// - [`ErrorKind::Truncated`] and [`ErrorKind::Malformed`] for headers that do not agree with their files.
pub async fn open(store: &dyn Store, name: Option<&str>) -> Result<Checkpoint> {
    open_told(store, name, Told::default()).await
}

/// What somebody knows of a checkpoint and it does not say itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told<'a> {
    /// Fields of the config (of a GGUF file, keys of its metadata) that do not change the model's numbers. A field within
    /// another is `outer.inner`. In the config they keep their values behind a `_`, which nobody reads.
    pub ignored: &'a [String],
    /// The class that the config is read as. `None`: its own.
    pub class: Option<&'a str>,
}

/// The same, with what somebody knows of it.
///
/// # Errors
/// As [`open`]; [`ErrorKind::Argument`] for a field that is not there, and for the class of a GGUF file, which has an
/// architecture.
pub async fn open_told(store: &dyn Store, name: Option<&str>, told: Told<'_>) -> Result<Checkpoint> {
    let found = match name {
        Some(name) => named(store, name).await?,
        None => search(store).await?,
    };
    match found {
        Opened::Gguf(name, _) if told.class.is_some() => {
            let error = Error::new(ErrorKind::Argument, "a GGUF file has an architecture, and no class to read it as");
            Err(error.file(store.describe(&name)).remedy("take the checkpoint's safetensors files"))
        }
        Opened::Gguf(name, len) => gguf::open(store, &name, len, told.ignored).await,
        Opened::File(name) => open_folder(store, vec![name], None, told).await,
        Opened::Files(names) => open_folder(store, names, None, told).await,
        Opened::Index(name) => {
            let bytes = read_if_there(store, name, HEADER_CAP).await?.unwrap_or_default();
            let index = parse_index(&bytes).map_err(|error| error.file(store.describe(name)))?;
            let files: BTreeSet<&String> = index.values().collect();
            let files = files.into_iter().cloned().collect();
            open_folder(store, files, Some((name, index)), told).await
        }
    }
}

enum Opened {
    Gguf(String, u64),
    /// A safetensors or a PyTorch file.
    File(String),
    /// Files that go together without an index: layers, or shards.
    Files(Vec<String>),
    Index(&'static str),
}

/// A file that the caller named. Its first bytes decide, whatever it is called.
async fn named(store: &dyn Store, name: &str) -> Result<Opened> {
    let len = store.len(name).await.map_err(|error| error.file(store.describe(name)))?;
    let is_named_gguf = has_extension(name, "gguf");
    refuse_pointer_at(store, name, len).await?;
    if is_adapter(name) {
        refuse_adapter(store, &[name.to_owned(), "adapter_config.json".to_owned()]).await?;
    }
    let first = read_range(store, name, 0, len.min(4)).await?;
    if first == gguf::MAGIC || is_named_gguf {
        return Ok(Opened::Gguf(name.to_owned(), len));
    }
    if is_safetensors(name) || is_pytorch(name) || pytorch::is_pytorch(&first) {
        return Ok(Opened::File(name.to_owned()));
    }
    let message = "neither a safetensors, nor a PyTorch, nor a GGUF file";
    Err(Error::new(ErrorKind::Unsupported, message).file(store.describe(name)))
}

async fn search(store: &dyn Store) -> Result<Opened> {
    let names = match store.list().await {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::Unsupported => Vec::new(),
        Err(error) => return Err(error),
    };
    refuse_adapter(store, &names).await?;
    let mut left_behind = None;
    if let Some(found) = published(store, SINGLE, INDEX).await? {
        if !is_left_behind(store, &found).await? {
            return Ok(found);
        }
        left_behind = Some(found);
    }
    if let Some(layers) = layers(store, &names)? {
        return Ok(Opened::Files(layers));
    }
    if left_behind.is_none()
        && let Some(found) = only(store, &names, ".safetensors", is_safetensors)?
    {
        return opened(store, found).await;
    }
    if let Some(found) = published(store, PYTORCH_SINGLE, PYTORCH_INDEX).await? {
        return Ok(found);
    }
    // Of a model in several files the first stands for all.
    let is_first = |name: &str| gguf::PartName::parse(name).is_none_or(|part| part.number == 1);
    let is_gguf = |name: &str| has_extension(name, "gguf") && is_first(name);
    if left_behind.is_none()
        && let Some(found) = only(store, &names, ".gguf", is_gguf)?
    {
        return opened(store, found).await;
    }
    let is_weights = |name: &str| is_pytorch(name) && !BESIDE.iter().any(|start| name.starts_with(start));
    if let Some(found) = only(store, &names, "PyTorch", is_weights)? {
        return opened(store, found).await;
    }
    left_behind.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "no checkpoint here").file(store.describe("")).remedy(format!(
            "there must be {SINGLE}, {INDEX}, {PYTORCH_SINGLE}, {PYTORCH_INDEX}, or one .safetensors, .gguf or .bin file"
        ))
    })
}

/// One file, or the shards of one checkpoint.
async fn opened(store: &dyn Store, names: Vec<String>) -> Result<Opened> {
    match &names[..] {
        [name] => named(store, name).await,
        _ => Ok(Opened::Files(names)),
    }
}

/// Whether an index is there and none of its files, as where somebody took the weights in another form.
async fn is_left_behind(store: &dyn Store, found: &Opened) -> Result<bool> {
    let Opened::Index(name) = found else { return Ok(false) };
    // What is wrong with it is told where it is read.
    let bytes = read_if_there(store, name, HEADER_CAP).await?.unwrap_or_default();
    let Ok(index) = parse_index(&bytes) else { return Ok(false) };
    for file in index.values().collect::<BTreeSet<_>>() {
        if len_if_there(store, file).await?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The files of a folder that AirLLM wrote layers into; each has a marker beside it once all of it is there.
///
/// # Errors
/// [`ErrorKind::Truncated`] for a file without a marker.
fn layers(store: &dyn Store, names: &[String]) -> Result<Option<Vec<String>>> {
    let marker = |name: &String| format!("{name}{DONE}");
    let markers: BTreeSet<&str> = names.iter().filter_map(|name| name.strip_suffix(DONE)).collect();
    let layers: Vec<String> = names.iter().filter(|name| is_safetensors(name)).cloned().collect();
    let is_whole = |layer: &String| markers.contains(layer.as_str());
    if !layers.iter().any(is_whole) {
        return Ok(None);
    }
    match layers.iter().find(|layer| !is_whole(layer)) {
        Some(layer) => {
            let message = format!("half-written: AirLLM puts a '{}' beside each layer that is whole", marker(layer));
            let error = Error::new(ErrorKind::Truncated, message).file(store.describe(layer));
            Err(error.remedy("let AirLLM split the checkpoint again, or open the original"))
        }
        None => Ok(Some(layers)),
    }
}

/// What is there under the names that checkpoints are published with.
async fn published(store: &dyn Store, single: &str, index: &'static str) -> Result<Option<Opened>> {
    if len_if_there(store, single).await?.is_some() {
        return Ok(Some(Opened::File(single.to_owned())));
    }
    Ok(len_if_there(store, index).await?.map(|_| Opened::Index(index)))
}

/// The only file of a kind, where there is one, or the shards of the only checkpoint.
fn only(
    store: &dyn Store,
    names: &[String],
    kind: &str,
    is_kind: impl Fn(&str) -> bool,
) -> Result<Option<Vec<String>>> {
    let matching: Vec<&String> = names.iter().filter(|name| is_kind(name)).collect();
    match matching[..] {
        [] => Ok(None),
        [only] if kind == ".gguf" || !only.contains("-of-") => Ok(Some(vec![only.clone()])),
        _ => {
            if let Some(shards) = shards(store, &matching)? {
                return Ok(Some(shards));
            }
            if let [only] = matching[..] {
                return Ok(Some(vec![only.clone()]));
            }
            let shown: Vec<&str> = matching.iter().take(MOST_SHOWN).map(|name| name.as_str()).collect();
            let more = if matching.len() > shown.len() { "…" } else { "" };
            let message = format!("several {kind} files and no index: {}{more}", shown.join(", "));
            let error = Error::new(ErrorKind::Argument, message).file(store.describe(""));
            let remedy = "name the one to open: by its path, or by " + Term::File + " NAME for a model on the Hub";
            Err(error.remedy(remedy))
        }
    }
}

fn has_extension(name: &str, extension: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, found)| found.eq_ignore_ascii_case(extension))
}

fn is_safetensors(name: &str) -> bool {
    has_extension(name, "safetensors")
}

fn is_pytorch(name: &str) -> bool {
    PYTORCH_EXTENSIONS.iter().any(|extension| has_extension(name, extension))
}

/// Parses `model.safetensors.index.json` or `pytorch_model.bin.index.json`: which file holds each tensor.
///
/// # Errors
/// [`ErrorKind::Malformed`] for broken JSON, a tensor that comes twice, no tensors, and file names with a path.
pub fn parse_index(bytes: &[u8]) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: UniqueMap<String>,
    }
    let index: Index = serde_json::from_slice(bytes).map_err(malformed_json)?;
    let map = index.weight_map.0;
    if map.is_empty() {
        return Err(Error::new(ErrorKind::Malformed, "the weight_map is empty"));
    }
    for (tensor, file) in &map {
        if file.contains(['/', '\\', '\0']) || !(is_safetensors(file) || is_pytorch(file)) {
            let message = format!("'{file}' is not the name of a safetensors or PyTorch file");
            return Err(Error::new(ErrorKind::Malformed, message).tensor(tensor));
        }
    }
    Ok(map)
}

/// The tensors of a file, from its header.
async fn read_entries(store: &dyn Store, name: &str, len: u64) -> Result<Vec<Entry>> {
    if is_safetensors(name) {
        return Ok(read_header(store, name, len).await?.entries);
    }
    pytorch::read_entries(store, name, len).await
}

/// Puts a `_` before the name of a field, which may lie within others: `outer.inner`.
fn ignore(config: &mut Value, field: &str) -> Result<()> {
    let absent = || Error::new(ErrorKind::Argument, format!("there is no field '{field}' to ignore"));
    let (object, name) = holder(config, field).ok_or_else(absent)?;
    let value = object.shift_remove(name).ok_or_else(absent)?;
    object.insert(format!("_{name}"), value);
    Ok(())
}

/// The object that holds a field, and the field's name in it. A name may have dots itself.
fn holder<'c, 'f>(config: &'c mut Value, field: &'f str) -> Option<(&'c mut Map<String, Value>, &'f str)> {
    let object = config.as_object()?;
    if object.contains_key(field) {
        return Some((config.as_object_mut()?, field));
    }
    let (outer, inner) = field
        .match_indices('.')
        .map(|(at, _)| (&field[..at], &field[at + 1..]))
        .find(|(outer, _)| object.contains_key(*outer))?;
    holder(config.get_mut(outer)?, inner)
}

/// Opens the `files` and the configs beside them; `index`, a file's name and content, says which file each tensor is
/// taken from.
async fn open_folder(
    store: &dyn Store,
    files: Vec<String>,
    index: Option<(&str, BTreeMap<String, String>)>,
    told: Told<'_>,
) -> Result<Checkpoint> {
    let mut config = json_if_there(store, "config.json").await?.ok_or_else(|| {
        let error = Error::new(ErrorKind::NotFound, "a checkpoint needs its config.json");
        error.file(store.describe("config.json")).remedy("copy it from where the weights are published")
    })?;
    if let (Some(class), Some(config)) = (told.class, config.as_object_mut()) {
        config.insert("architectures".to_owned(), serde_json::json!([class]));
    }
    // One that is given twice is ignored once.
    for field in told.ignored.iter().collect::<BTreeSet<_>>() {
        ignore(&mut config, field).map_err(|error| error.file(store.describe("config.json")))?;
    }
    plan::settle_class(&mut config);
    refuse_mlx(&config).map_err(|error| error.file(store.describe("config.json")))?;
    let tokenizer = read_if_there(store, "tokenizer.json", TOKENIZER_CAP).await?;
    let method = Method::read(&config).map_err(|error| error.file(store.describe("config.json")))?;
    let mut checkpoint = Checkpoint {
        files: Vec::with_capacity(files.len()),
        tensors: Vec::new(),
        config,
        generation_config: json_if_there(store, "generation_config.json").await?,
        tokenizer_files: if tokenizer.is_none() { tokenizer_files::read(store).await? } else { None },
        tokenizer,
        gguf_tokenizer: None,
        tokenizer_config: tokenizer_config(store).await?,
        // What lies in blocks of its own is not made smaller.
        quantized: method == Method::Mxfp4,
    };
    let mut found = Vec::new();
    for name in files {
        let named = |error: Error| error.file(store.describe(&name));
        let len = len_if_there(store, &name).await?.ok_or_else(|| {
            let error = Error::new(ErrorKind::NotFound, "this shard of the checkpoint is missing");
            named(error.remedy("download the checkpoint again"))
        })?;
        refuse_pointer_at(store, &name, len).await?;
        let file = checkpoint.files.len();
        for entry in read_entries(store, &name, len).await? {
            let here = index.as_ref().is_none_or(|(_, index)| index.get(&entry.name) == Some(&name));
            if here && !is_harmless(&entry.name) {
                found.push(Found { entry, file });
            }
        }
        checkpoint.files.push((name, len));
    }
    found.sort_by(|a, b| a.entry.name.cmp(&b.entry.name));
    check_unique(&found).map_err(|(file, error)| error.file(store.describe(&checkpoint.files[file].0)))?;
    if let Some((name, index)) = &index {
        check_index(index, &found, tied::is_tied(&checkpoint.config))
            .map_err(|error| error.file(store.describe(name)))?;
    }
    let files = checkpoint.files.clone();
    let in_file = |(file, error): (usize, Error)| error.file(store.describe(&files[file].0));
    checkpoint.tensors = quantized::take(store, &files, &method, &mut found).await?;
    // A tensor of an unknown family may be anything: the family is told first.
    let first = |error| plan::unknown_family(&checkpoint.config).unwrap_or(error);
    checkpoint.tensors.extend(tensors(found, &method).map_err(in_file).map_err(first)?);
    checkpoint.tensors.sort_by(|a, b| a.name.cmp(&b.name));
    // What is wrong with a config is for the plan to say.
    if let Ok(names) = TensorNames::new(&checkpoint.config) {
        checkpoint.tensors = in_our_names(&checkpoint.tensors, &names).map_err(in_file)?;
        let has_head = checkpoint.tensors.iter().any(|tensor| tensor.name == plan::HEAD);
        let is_body = checkpoint.tensors.iter().any(|tensor| plan::is_of_body(&tensor.source_name));
        plan::settle_head(&mut checkpoint.config, has_head, is_body);
    }
    tied::settle(store, &mut checkpoint).await?;
    Ok(checkpoint)
}

/// No tensor lies in two files. An error comes with the index of the file.
fn check_unique(found: &[Found]) -> Result<(), (usize, Error)> {
    let twice = |pair: &&[Found]| pair[0].entry.name == pair[1].entry.name;
    match found.windows(2).find(twice) {
        Some(pair) => {
            let error = Error::new(ErrorKind::Malformed, "is in another file too").tensor(&pair[1].entry.name);
            Err((pair[1].file, error))
        }
        None => Ok(()),
    }
}

/// Every tensor of the index is in the shard that it names.
fn check_index(index: &BTreeMap<String, String>, tensors: &[Found], is_tied: bool) -> Result<()> {
    for (name, file) in index {
        let found = tensors.binary_search_by(|found| found.entry.name.as_str().cmp(name)).is_ok();
        let may_miss = is_harmless(name) || (is_tied && tied::may_be_missing(name));
        if !found && !may_miss {
            return Err(Error::new(ErrorKind::Missing, format!("is not in {file}, where the index has it"))
                .tensor(name)
                .remedy("download the checkpoint again"));
        }
    }
    Ok(())
}

/// `tokenizer_config.json`, with the tokens that older checkpoints list in files of their own, and the chat template that
/// newer ones keep in one.
async fn tokenizer_config(store: &dyn Store) -> Result<Option<Value>> {
    const TEMPLATE: &str = "chat_template.jinja";
    let config = token_lists::merged(store, json_if_there(store, "tokenizer_config.json").await?).await?;
    let template = match read_if_there(store, TEMPLATE, CONFIG_CAP).await? {
        Some(template) => Value::String(String::from_utf8(template).map_err(|error| {
            let message = "the chat template is not UTF-8";
            Error::new(ErrorKind::Malformed, message).file(store.describe(TEMPLATE)).source(error)
        })?),
        // What was called so for a while, in the same form as the field.
        None => match json_if_there(store, "chat_template.json").await? {
            Some(mut file) => file["chat_template"].take(),
            None => Value::Null,
        },
    };
    if template.is_null() {
        return Ok(config);
    }
    let mut config = config.unwrap_or_else(|| Value::Object(Map::new()));
    config["chat_template"] = template;
    Ok(Some(config))
}

/// Buffers that checkpoints carry along: the model makes them itself.
const HARMLESS: &[&str] = &["rotary_emb.inv_freq", "position_ids", "attn.masked_bias", "attention.masked_bias"];

fn is_harmless(name: &str) -> bool {
    let ends_with =
        |suffix: &&str| name.strip_suffix(*suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    HARMLESS.iter().any(ends_with)
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
