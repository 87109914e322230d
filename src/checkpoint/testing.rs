//! For tests: a store in memory that counts what is read, and writers of small files.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::platform::BoxFuture;
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

#[derive(Default)]
pub(super) struct Memory {
    pub objects: BTreeMap<String, Vec<u8>>,
    pub bytes_read: AtomicU64,
    /// Where false, `list` is unsupported, as over HTTP.
    pub lists: bool,
}

impl Memory {
    pub(super) fn new<const N: usize>(objects: [(&str, Vec<u8>); N]) -> Self {
        let objects = objects.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        Self { objects, bytes_read: AtomicU64::new(0), lists: true }
    }

    fn object(&self, name: &str) -> Result<&Vec<u8>> {
        self.objects.get(name).ok_or_else(|| Error::new(ErrorKind::NotFound, "no such object").file(name))
    }
}

impl Store for Memory {
    fn len<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move { Ok(self.object(name)?.len() as u64) })
    }

    fn read_at<'a>(&'a self, name: &'a str, offset_bytes: u64, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let object = self.object(name)?;
            let bytes = object.get(offset_bytes as usize..).and_then(|rest| rest.get(..buffer.len()));
            let bytes = bytes.ok_or_else(|| Error::new(ErrorKind::Truncated, "past the end").file(name))?;
            buffer.copy_from_slice(bytes);
            self.bytes_read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
            Ok(())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async move {
            if self.lists {
                return Ok(self.objects.keys().cloned().collect());
            }
            Err(Error::new(ErrorKind::Unsupported, "this store cannot list"))
        })
    }

    fn describe(&self, name: &str) -> String {
        format!("memory/{name}")
    }
}

/// A safetensors file: the JSON as given, then `data_len` bytes that count up.
pub(super) fn safetensors(json: &str, data_len: usize) -> Vec<u8> {
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(json.as_bytes());
    file.extend((0..data_len).map(|i| i as u8));
    file
}

/// Writes GGUF files, right and wrong ones: numbers are taken as given.
#[derive(Clone)]
pub(super) struct GgufWriter {
    pub version: u32,
    pub entries: Vec<Vec<u8>>,
    pub tensors: Vec<Vec<u8>>,
    pub data_len: usize,
    pub alignment: usize,
}

impl Default for GgufWriter {
    fn default() -> Self {
        Self { version: 3, entries: Vec::new(), tensors: Vec::new(), data_len: 0, alignment: 32 }
    }
}

pub(super) fn gguf_string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}

impl GgufWriter {
    /// An entry of any type: `value` is the bytes after the type.
    pub(super) fn raw(mut self, key: &str, code: u32, value: &[u8]) -> Self {
        self.entries.push([&gguf_string(key.as_bytes()), &code.to_le_bytes()[..], value].concat());
        self
    }

    pub(super) fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub(super) fn i32(self, key: &str, value: i32) -> Self {
        self.raw(key, 5, &value.to_le_bytes())
    }

    pub(super) fn f32(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    pub(super) fn bool(self, key: &str, value: bool) -> Self {
        self.raw(key, 7, &[u8::from(value)])
    }

    pub(super) fn string(self, key: &str, value: &str) -> Self {
        self.raw(key, 8, &gguf_string(value.as_bytes()))
    }

    pub(super) fn strings<T: AsRef<[u8]>>(self, key: &str, values: &[T]) -> Self {
        let bytes = values.iter().flat_map(|value| gguf_string(value.as_ref()));
        let value: Vec<u8> = array(8, values.len()).chain(bytes).collect();
        self.raw(key, 9, &value)
    }

    /// An array of numbers of type `code`, from their bytes.
    pub(super) fn numbers(self, key: &str, code: u32, count: usize, bytes: &[u8]) -> Self {
        let value: Vec<u8> = array(code, count).chain(bytes.iter().copied()).collect();
        self.raw(key, 9, &value)
    }

    /// A tensor with its dimensions in GGUF's order.
    pub(super) fn tensor(mut self, name: &str, dims: &[u64], code: u32, offset_bytes: u64) -> Self {
        let dims_bytes: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        let count = (dims.len() as u32).to_le_bytes();
        let tail = [&code.to_le_bytes()[..], &offset_bytes.to_le_bytes()].concat();
        self.tensors.push([&gguf_string(name.as_bytes()), &count[..], &dims_bytes, &tail].concat());
        self
    }

    pub(super) fn data(mut self, len_bytes: usize) -> Self {
        self.data_len = len_bytes;
        self
    }

    /// A tensor at the end of the data so far, with room for `len_bytes`.
    pub(super) fn place(self, name: &str, dims: &[u64], code: u32, len_bytes: usize) -> Self {
        let offset = self.data_len;
        let end = (offset + len_bytes).next_multiple_of(self.alignment);
        self.tensor(name, dims, code, offset as u64).data(end)
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.entries.len() as u64).to_le_bytes());
        file.extend(self.entries.iter().flatten());
        file.extend(self.tensors.iter().flatten());
        file.resize(file.len().next_multiple_of(self.alignment) + self.data_len, 0x3c);
        file
    }
}

fn array(code: u32, count: usize) -> impl Iterator<Item = u8> {
    code.to_le_bytes().into_iter().chain((count as u64).to_le_bytes())
}

/// A llama file of `layers` layers: hidden 8, 2 heads of 4, 1 key head, feed-forward 12, vocabulary of 5, all F32.
pub(super) fn small_llama(layers: u32) -> GgufWriter {
    let mut writer = GgufWriter::default()
        .string("general.architecture", "llama")
        .u32("llama.context_length", 64)
        .u32("llama.embedding_length", 8)
        .u32("llama.block_count", layers)
        .u32("llama.feed_forward_length", 12)
        .u32("llama.attention.head_count", 2)
        .u32("llama.attention.head_count_kv", 1)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .place("token_embd.weight", &[8, 5], 0, 160)
        .place("output_norm.weight", &[8], 0, 32);
    for layer in 0..layers {
        for (stem, dims) in [
            ("attn_norm", &[8][..]),
            ("attn_q", &[8, 8]),
            ("attn_k", &[8, 4]),
            ("attn_v", &[8, 4]),
            ("attn_output", &[8, 8]),
            ("ffn_norm", &[8]),
            ("ffn_gate", &[8, 12]),
            ("ffn_up", &[8, 12]),
            ("ffn_down", &[12, 8]),
        ] {
            let len: u64 = dims.iter().product::<u64>() * 4;
            writer = writer.place(&format!("blk.{layer}.{stem}.weight"), dims, 0, len as usize);
        }
    }
    writer
}
