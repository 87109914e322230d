use serde_json::{Value, json};

use crate::ErrorKind;
use crate::checkpoint::{self, Checkpoint};
use crate::store::MemoryStore;
use crate::text::Tokenizer;

/// A safetensors file of one number.
fn weights() -> Vec<u8> {
    let header = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat()
}

fn open(base: &Value, files: &Value) -> Checkpoint {
    let mut all = vec![
        ("model.safetensors".to_owned(), weights()),
        ("config.json".to_owned(), br#"{"model_type":"llama"}"#.to_vec()),
        ("tokenizer.json".to_owned(), base.to_string().into_bytes()),
    ];
    all.extend(files.as_object().unwrap().iter().map(|(name, file)| (name.clone(), file.to_string().into_bytes())));
    let store: MemoryStore = all.into_iter().collect();
    pollster::block_on(checkpoint::open(&store, None)).unwrap()
}

/// `tools/golden/make_added_tokens.py` asked transformers.
#[test]
fn tokens_of_all_files_are_those_of_transformers() {
    let golden: Value = serde_json::from_str(include_str!("../../tests/data/tokenizers/added.json")).unwrap();
    let texts = golden["texts"].as_array().unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() > 30);
    for case in cases {
        let (name, checkpoint) = (&case["name"], open(&golden["base"], &case["files"]));
        let config = checkpoint.tokenizer_config.as_ref();
        let tokenizer = Tokenizer::with_config(checkpoint.tokenizer.as_ref().unwrap(), config).unwrap();
        for (place, text) in texts.iter().enumerate() {
            let ids = tokenizer.encode(text.as_str().unwrap(), false).unwrap();
            assert_eq!(json!(ids), case["ids"][place], "{name}: {text}");
            assert_eq!(json!(tokenizer.decode(&ids)), case["decoded"][place], "{name}: {text}");
        }
        for (which, field) in [("bos", "bos_token"), ("eos", "eos_token")] {
            let text = config.and_then(|config| config.get(field)).and_then(super::token_text);
            assert_eq!(json!(text), case[which], "{name}: {which}");
        }
    }
}

/// A model that was split from a GGUF file names tokens too, such as a padding token that is a word: it has no list.
#[test]
fn a_config_without_a_list_changes_nothing() {
    let golden: Value = serde_json::from_str(include_str!("../../tests/data/tokenizers/added.json")).unwrap();
    let bytes = golden["base"].to_string().into_bytes();
    let config = json!({ "bos_token": "<s>", "eos_token": "</s>", "pad_token": "he" });
    let tokenizer = Tokenizer::with_config(&bytes, Some(&config)).unwrap();
    assert_eq!(tokenizer.decode(&tokenizer.encode("he</s>", false).unwrap()), "he</s>");
}

#[test]
fn a_list_that_is_none_is_refused() {
    let golden: Value = serde_json::from_str(include_str!("../../tests/data/tokenizers/added.json")).unwrap();
    let bytes = golden["base"].to_string().into_bytes();
    let long = "x".repeat(5000);
    let table = [
        json!({ "x": { "content": "<t>" } }),
        json!({ "-1": { "content": "<t>" } }),
        json!({ "99999999": { "content": "<t>" } }),
        json!({ "36": "<t>" }),
        json!({ "36": { "contents": "<t>" } }),
        json!({ "36": null }),
        json!({ "36": { "content": long } }),
    ];
    for list in table {
        let error = Tokenizer::with_config(&bytes, Some(&json!({ "added_tokens_decoder": list }))).unwrap_err();
        assert_eq!((error.kind(), error.file_name()), (ErrorKind::Text, Some("tokenizer_config.json")), "{error}");
    }
}
