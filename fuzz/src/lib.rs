//! What each fuzz target does with its bytes. `tests/fuzz_corpus.rs` replays the corpora through the same functions.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run TARGET -- -runs=1000000` fuzzes one (`cargo install cargo-fuzz` gets the command).

use serde_json::Value;
use tilestream::internals::checkpoint::tokenizer_files::{self, Vocabulary, ranks};
use tilestream::internals::checkpoint::{self, TokenizerFiles, gguf, pytorch, safetensors};
use tilestream::internals::plan::model_spec;
use tilestream::internals::shard::Manifest;
use tilestream::internals::text::{ChatTemplate, Message, Tokenizer, tokenizer_json, tokenizer_json_from_files};
use tilestream::store::MemoryStore;

/// The first two bytes are the length of the data that follows the header in the pretended file.
fn split(data: &[u8]) -> Option<(usize, &[u8])> {
    let (len, header) = data.split_first_chunk::<2>()?;
    Some((usize::from(u16::from_le_bytes(*len)), header))
}

/// A safetensors header, and a file that ends where the input says. True where it was accepted, as for each target.
pub fn safetensors_header(data: &[u8]) -> bool {
    let Some((data_len, bytes)) = split(data) else { return false };
    let file_len = (bytes.len() + data_len) as u64;
    let parsed = safetensors::parse_header(bytes, file_len);
    if let Ok(header) = &parsed {
        let mut end = header.data_start;
        for entry in &header.entries {
            assert_eq!(entry.offset_bytes, end, "tensors follow each other");
            end += entry.len_bytes;
        }
        assert_eq!(end, file_len, "tensors fill the file");
    }
    let _ = safetensors::parse_header(bytes, u64::MAX);
    parsed.is_ok()
}

/// A GGUF file of zeros after its header: header, names, config, tokenizer, and the plan of the config.
pub fn gguf_header(data: &[u8]) -> bool {
    let Some((data_len, bytes)) = split(data) else { return false };
    let file_len = (bytes.len() + data_len) as u64;
    match gguf::parse_header(bytes, file_len) {
        Ok(gguf::Progress::NeedsMore { at_least_bytes }) => {
            assert!(at_least_bytes > bytes.len() as u64 && at_least_bytes <= file_len, "more, but not too much");
        }
        Ok(gguf::Progress::Done(header)) => {
            let mut end = 0;
            for tensor in &header.tensors {
                assert!(tensor.offset_bytes >= end, "tensors do not overlap");
                end = tensor.offset_bytes + tensor.len_bytes;
            }
            assert!(end <= file_len, "tensors lie in the file");
        }
        Err(_) => {}
    }
    let _ = gguf::parse_header(bytes, u64::MAX);
    let mut file = bytes.to_vec();
    file.resize(bytes.len() + data_len, 0);
    let store: MemoryStore = [("m.gguf".to_owned(), file)].into_iter().collect();
    let opened = pollster::block_on(checkpoint::open(&store, Some("m.gguf")));
    let Ok(opened) = opened else { return false };
    let _ = opened.gguf_tokenizer.as_ref().map(tokenizer_json);
    model_spec(&opened.config).is_ok()
}

/// A whole PyTorch file, or the pickle of one.
pub fn pytorch_header(data: &[u8]) -> bool {
    if !data.starts_with(b"PK") {
        return pytorch::parse_pickle(data).is_ok();
    }
    let store: MemoryStore = [("w.bin".to_owned(), data.to_vec())].into_iter().collect();
    let entries = pollster::block_on(pytorch::read_entries(&store, "w.bin", data.len() as u64));
    for entry in entries.iter().flatten() {
        let end = entry.offset_bytes.checked_add(entry.len_bytes);
        assert!(end.is_some_and(|end| end <= data.len() as u64), "tensors lie in the file");
        let bytes = entry.shape.iter().product::<u64>() * entry.dtype.bitsize() as u64 / 8;
        assert_eq!(bytes, entry.len_bytes, "the shape fills the bytes");
    }
    entries.is_ok()
}

/// A `config.json`, and an index of shards.
pub fn config(data: &[u8]) -> bool {
    let planned = serde_json::from_slice::<Value>(data).is_ok_and(|value| model_spec(&value).is_ok());
    planned || checkpoint::parse_index(data).is_ok()
}

/// A manifest as it stands, and once more with the checksum that it should have had.
pub fn manifest(data: &[u8]) -> bool {
    let _ = Manifest::parse(data);
    let Ok(manifest) = serde_json::from_slice::<Manifest>(data) else { return false };
    let written = manifest.to_json();
    if let Ok(bytes) = &written {
        assert!(Manifest::parse(bytes).is_ok(), "what was written can be read");
    }
    written.is_ok()
}

/// A `tokenizer.json`: what loads also encodes and decodes.
pub fn tokenizer(data: &[u8]) -> bool {
    let Ok(tokenizer) = Tokenizer::from_bytes(data) else { return false };
    let _ = tokenizer.encode("A tile, 12 tiles\n 川 e\u{301}", true);
    let ids: Vec<u32> = (0..tokenizer.len().min(40) as u32).collect();
    let _ = tokenizer.decode(&ids);
    true
}

/// A vocabulary file, as the tokenizer of a class that takes its kind: what is made of it also encodes and decodes. A zero
/// byte ends it; `merges.txt` follows, where it is a `vocab.json`.
pub fn vocabulary(data: &[u8]) -> bool {
    let (vocab, merges) = match data.iter().position(|byte| *byte == 0).filter(|_| data.starts_with(b"{\"")) {
        Some(end) => (&data[..end], Some(&data[end + 1..])),
        None => (data, None),
    };
    let parsed = match merges {
        Some(merges) => ranks::parse_merges(vocab, merges).map(|merges| (Vocabulary::Merges(merges), "GPT2Tokenizer")),
        None => tokenizer_files::parse(vocab).map(|vocabulary| (vocabulary, "ChatGLMTokenizer")),
    };
    let Ok((vocabulary, class)) = parsed else { return false };
    let files = TokenizerFiles { name: "a".to_owned(), vocabulary, added_tokens: None, special_tokens: None };
    let config = serde_json::json!({ "tokenizer_class": class, "bos_token": "<s>" });
    let made = tokenizer_json_from_files(&files, Some(&config), &Value::Null);
    made.is_ok_and(|bytes| {
        assert!(tokenizer(&bytes), "what was made loads");
        true
    })
}

/// A chat template.
pub fn chat_template(data: &[u8]) -> bool {
    let Ok(template) = std::str::from_utf8(data) else { return false };
    let config = serde_json::json!({ "chat_template": template, "bos_token": "<s>", "eos_token": "</s>" });
    let Ok(Some(template)) = ChatTemplate::from_config(&config) else { return false };
    let messages =
        [Message::system("Be brief."), Message::user("Hi <b>"), Message::assistant("Hello"), Message::user("2")];
    template.render(&messages).is_ok()
}
