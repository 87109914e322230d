//! Tokenizers of checkpoints that ship SentencePiece, tiktoken or GPT-2 files: ids and texts as of those libraries.

use crate::common::{block_on, data};
use serde_json::Value;
use tilestream::internals::checkpoint::{self, Checkpoint};
use tilestream::internals::text::{Tokenizer, tokenizer_json_from_files};
use tilestream::store::MemoryStore;

/// A safetensors file of one number.
fn weights() -> Vec<u8> {
    let header = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat()
}

/// The checkpoint of a case: its files under the names that it is published with.
fn open(case: &Value) -> Checkpoint {
    let mut files = vec![("model.safetensors".to_owned(), weights())];
    for (name, source) in case["files"].as_object().expect("files") {
        let path = data("tokenizers").join(source.as_str().expect("a name"));
        files.push((name.clone(), std::fs::read(path).expect("reads")));
    }
    for (name, content) in case["json"].as_object().expect("files") {
        files.push((name.clone(), content.to_string().into_bytes()));
    }
    let store: MemoryStore = files.into_iter().collect();
    block_on(checkpoint::open(&store, None)).expect("opens")
}

fn tokenizer(case: &Value) -> Tokenizer {
    let checkpoint = open(case);
    let files = checkpoint.tokenizer_files.as_ref().expect("files of a tokenizer");
    let json = tokenizer_json_from_files(files, checkpoint.tokenizer_config.as_ref(), &checkpoint.config);
    Tokenizer::from_bytes(&json.expect("made")).expect("loads")
}

fn golden() -> Value {
    serde_json::from_slice(&std::fs::read(data("tokenizers/golden.json")).expect("golden ids")).expect("JSON")
}

#[test]
fn ids_and_texts_are_those_of_the_original() {
    let golden = golden();
    let texts: Vec<&str> =
        golden["texts"].as_array().expect("texts").iter().map(|t| t.as_str().expect("one")).collect();
    let mut wrong = 0;
    for case in golden["cases"].as_array().expect("cases") {
        let (name, tokenizer) = (&case["name"], tokenizer(case));
        let before: Vec<u32> = serde_json::from_value(case["before"].clone()).expect("ids");
        let all: Vec<Vec<u32>> = serde_json::from_value(case["ids"].clone()).expect("ids");
        assert_eq!(all.len(), texts.len());
        for (place, (text, ids)) in texts.iter().zip(&all).enumerate() {
            let ours = tokenizer.encode(text, false).expect("encodes");
            if ours != *ids {
                println!("{name} {text:?}\n  {ours:?}\n  {ids:?}");
                wrong += 1;
            }
            let whole = tokenizer.encode(text, true).expect("encodes");
            assert_eq!(whole, [&before[..], &ours].concat(), "{name}: {text:?} with what goes before it");
            let decoded = match &case["decoded"][place.to_string()] {
                Value::Null => continue,
                Value::String(decoded) => decoded.as_str(),
                _ => text,
            };
            if tokenizer.decode(ids) != decoded {
                println!("{name} {ids:?}\n  {:?}\n  {decoded:?}", tokenizer.decode(ids));
                wrong += 1;
            }
        }
    }
    assert_eq!(wrong, 0);
}
