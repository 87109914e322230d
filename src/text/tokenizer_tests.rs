use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Tokenizer, tokenizer_json};
use crate::ErrorKind;
use crate::checkpoint::GgufTokenizer;

/// The fields of a GGUF tokenizer that `tools/golden/make_text.py` trained.
pub(super) fn fields(value: &Value) -> GgufTokenizer {
    let texts = |name: &str| -> Vec<String> { serde_json::from_value(value[name].clone()).unwrap_or_default() };
    let id = |name: &str| value[name].as_u64().map(|id| id as u32);
    GgufTokenizer {
        model: value["model"].as_str().unwrap().to_owned(),
        pre: value["pre"].as_str().map(str::to_owned),
        tokens: texts("tokens"),
        merges: texts("merges"),
        scores: serde_json::from_value(value["scores"].clone()).unwrap_or_default(),
        token_types: serde_json::from_value(value["token_types"].clone()).unwrap(),
        bos: id("bos"),
        eos: id("eos"),
        unk: id("unk"),
        add_bos: value["add_bos"].as_bool(),
        add_eos: value["add_eos"].as_bool(),
        ..GgufTokenizer::default()
    }
}

/// Text, its ids, and what they decode to.
type Case = (String, Vec<u32>, String);

/// A golden tokenizer, and its cases.
pub(super) fn golden(name: &str) -> (Tokenizer, GgufTokenizer, Vec<Case>) {
    let file: Value = serde_json::from_str(match name {
        "byte_level" => include_str!("../../tests/data/text/byte_level.json"),
        _ => include_str!("../../tests/data/text/sentencepiece.json"),
    })
    .unwrap();
    let fields = fields(&file["fields"]);
    let tokenizer = Tokenizer::from_bytes(&tokenizer_json(&fields).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let ids = |value: &Value| serde_json::from_value(value.clone()).unwrap();
    let cases = file["cases"].as_array().unwrap().iter();
    let cases = cases.map(|case| (text(&case["text"]), ids(&case["ids"]), text(&case["decoded"]))).collect();
    (tokenizer, fields, cases)
}

/// A byte-level tokenizer with these special tokens behind its bytes, and with `plain` ones that are part of the text.
pub(super) fn with_tokens(special: &[&str], plain: &[&str]) -> Arc<Tokenizer> {
    let mut vocab = serde_json::Map::new();
    for byte in 0..=u8::MAX {
        vocab.insert(super::pieces::visible_bytes(&[byte]), json!(byte));
    }
    let tokens = special.iter().map(|text| (text, true)).chain(plain.iter().map(|text| (text, false)));
    let added: Vec<Value> = tokens
        .zip(256..)
        .map(|((text, special), id)| {
            json!({
                "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special,
            })
        })
        .collect();
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let file = json!({
        "version": "1.0", "added_tokens": added, "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": { "type": "BPE", "vocab": vocab, "merges": [] },
    });
    Arc::new(Tokenizer::from_bytes(&serde_json::to_vec(&file).unwrap()).unwrap())
}

fn small() -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{
            "id": 4, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true,
        }],
        "normalizer": { "type": "Replace", "pattern": { "String": "x" }, "content": "a" },
        "pre_tokenizer": { "type": "Split", "pattern": { "Regex": "\\s+" }, "behavior": "Isolated", "invert": false },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [], "special_tokens": { "<s>": { "id": "<s>", "ids": [4], "tokens": ["<s>"] } },
        },
        "decoder": { "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "▁" }, "content": " " }, { "type": "ByteFallback" }, { "type": "Fuse" },
            { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
        ]},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "a", "fuse_unk": false, "byte_fallback": false,
            "vocab": { "a": 0, "b": 1, "ab": 2, " ": 3 }, "merges": ["a b"],
        },
    })
}

fn load(file: &Value) -> crate::Result<Tokenizer> {
    Tokenizer::from_bytes(&serde_json::to_vec(file).unwrap())
}

#[test]
fn encodes_and_decodes() {
    let tokenizer = load(&small()).unwrap();
    assert_eq!(tokenizer.encode("xb ab", true).unwrap(), [4, 2, 3, 2]);
    assert_eq!(tokenizer.encode("ab<s>", false).unwrap(), [2, 4]);
    assert_eq!(tokenizer.decode(&[4, 2, 3, 1, 99]), "ab b");
    assert_eq!((tokenizer.len(), tokenizer.is_empty()), (5, false));
    assert_eq!((tokenizer.id("ab"), tokenizer.id("<s>"), tokenizer.id("c")), (Some(2), Some(4), None));
    assert_eq!((tokenizer.token(1).as_deref(), tokenizer.token(5)), (Some("b"), None));
    assert!(tokenizer.is_special(4) && !tokenizer.is_special(2));
}

#[test]
fn takes_a_model_without_type_and_drops_what_is_for_training() {
    let mut file = small();
    file["model"].as_object_mut().unwrap().remove("type");
    file["truncation"] = json!({ "direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 9 });
    file["padding"] = json!({ "strategy": { "Fixed": 4_000_000_000_u32 }, "direction": "Left", "pad_id": 0, "pad_type_id": 0, "pad_token": "a" });
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true });
    file["post_processor"] = json!({ "type": "Sequence", "processors": [byte_level, file["post_processor"]] });
    assert_eq!(load(&file).unwrap().encode("abab", true).unwrap(), [4, 2, 2]);
}

/// Each change makes a file that must be refused; most of them make the crate panic or fill the memory.
#[test]
fn refuses_broken_files_with_a_reason() {
    let special = |ids: Value, tokens: Value| json!({ "<s>": { "id": "<s>", "ids": ids, "tokens": tokens } });
    let unigram = |vocab: Value, unknown: i64| json!({ "type": "Unigram", "vocab": vocab, "unk_id": unknown });
    let table = [
        ("/model", json!(null), ErrorKind::Text, "model"),
        ("/model", unigram(json!({}), 0), ErrorKind::Text, "vocabulary"),
        ("/model", unigram(json!([["a", 0]]), 1), ErrorKind::Text, "unknown token"),
        ("/model", unigram(json!([["a", 0]]), -1), ErrorKind::Text, "unknown token"),
        ("/model", unigram(json!([["a", 0], ["", 0]]), 0), ErrorKind::Text, "no token"),
        ("/model", unigram(json!([["a", 0], 3]), 0), ErrorKind::Text, "no token"),
        ("/model", unigram(json!([["a", 0], ["a", 0]]), 0), ErrorKind::Text, "twice"),
        ("/model", unigram(json!([["a", "b"]]), 0), ErrorKind::Text, ""),
        ("/model/type", json!("WordPiece"), ErrorKind::Unsupported, "WordPiece"),
        ("/model/vocab", json!(null), ErrorKind::Text, "vocabulary"),
        ("/model/vocab/a", json!(-1), ErrorKind::Text, "\"a\""),
        ("/model/vocab/a", json!(u32::MAX), ErrorKind::Text, "\"a\""),
        ("/model/vocab/a", json!(1), ErrorKind::Text, "id 1"),
        ("/model/dropout", json!(0.1), ErrorKind::Unsupported, "training"),
        ("/model/continuing_subword_prefix", json!("####"), ErrorKind::Unsupported, "continuing_subword_prefix"),
        ("/model/end_of_word_suffix", json!("</w>"), ErrorKind::Unsupported, "end_of_word_suffix"),
        ("/model/merges", json!(["a c"]), ErrorKind::Text, "c"),
        ("/model/merges", json!(["a"]), ErrorKind::Text, ""),
        ("/model/merges", json!(3), ErrorKind::Text, ""),
        (
            "/normalizer",
            json!({ "type": "Precompiled", "precompiled_charsmap": "!" }),
            ErrorKind::Text,
            "precompiled_charsmap",
        ),
        ("/normalizer", json!({ "type": "Strip" }), ErrorKind::Unsupported, "Strip"),
        ("/normalizer/pattern/String", json!(""), ErrorKind::Text, "pattern"),
        ("/pre_tokenizer", json!([]), ErrorKind::Text, "pre-tokenizer"),
        ("/pre_tokenizer/type", json!("FixedLength"), ErrorKind::Unsupported, "FixedLength"),
        ("/pre_tokenizer/pattern/Regex", json!("("), ErrorKind::Text, ""),
        ("/pre_tokenizer/pattern/Regex", json!("(?=a){999999999}"), ErrorKind::Text, "repeats"),
        ("/pre_tokenizer/pattern/Regex", json!("((a{99}){99}){99}"), ErrorKind::Text, "repeats"),
        ("/pre_tokenizer/pattern/Regex", json!("x".repeat(70_000)), ErrorKind::Text, "70000"),
        ("/post_processor/type", json!("BertProcessing"), ErrorKind::Unsupported, "BertProcessing"),
        ("/post_processor/single/0/SpecialToken/id", json!("<t>"), ErrorKind::Text, "<t>"),
        ("/post_processor/single/1/Sequence/id", json!("B"), ErrorKind::Text, "piece"),
        (
            "/post_processor/single/1",
            json!({ "SpecialToken": { "id": "<s>", "type_id": 0 } }),
            ErrorKind::Text,
            "0 times",
        ),
        ("/post_processor/special_tokens", special(json!([4, 4]), json!(["<s>"])), ErrorKind::Text, "<s>"),
        ("/post_processor/special_tokens", special(json!([-1]), json!(["<s>"])), ErrorKind::Text, "<s>"),
        ("/decoder", json!({ "type": "CTC" }), ErrorKind::Unsupported, "CTC"),
        ("/decoder", json!("ByteLevel"), ErrorKind::Text, "decoder"),
        ("/added_tokens", json!({}), ErrorKind::Text, "added_tokens"),
        ("/added_tokens/0/id", json!(u32::MAX), ErrorKind::Text, "id"),
        ("/added_tokens/0/content", json!(null), ErrorKind::Text, ""),
        ("/version", json!("9"), ErrorKind::Text, "9"),
    ];
    for (place, value, kind, expected) in table {
        let mut file = small();
        match file.pointer_mut(place) {
            Some(field) => *field = value,
            None => {
                let (parent, name) = place.rsplit_once('/').unwrap();
                file.pointer_mut(parent).unwrap()[name] = value;
            }
        }
        let error = load(&file).err().unwrap_or_else(|| panic!("{place} was accepted"));
        assert_eq!((error.kind(), error.file_name()), (kind, Some("tokenizer.json")), "{place}: {error}");
        assert!(error.to_string().contains(expected), "{place}: {error}");
    }
}

#[test]
fn refuses_what_is_no_json() {
    let mut bytes = serde_json::to_vec(&small()).unwrap();
    for bad in ["", "{}", "[]", "null", "{\"decoder\": {", "\u{0}", "{\"model\": {\"vocab\": {\"a\": 1"] {
        let error = Tokenizer::from_bytes(bad.as_bytes()).unwrap_err();
        assert_eq!((error.kind(), error.file_name()), (ErrorKind::Text, Some("tokenizer.json")), "{bad}");
    }
    assert!(Tokenizer::from_bytes(&"[".repeat(100_000).into_bytes()).is_err());
    bytes.truncate(bytes.len() / 2);
    assert_eq!(Tokenizer::from_bytes(&bytes).unwrap_err().kind(), ErrorKind::Text);
}

/// A file with one value replaced by another from anywhere, or by something of the wrong kind.
fn mutated() -> impl Strategy<Value = Value> {
    let odd = prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        Just(json!(0)),
        Just(json!(-1)),
        Just(json!(1e300)),
        Just(json!("")),
        Just(json!("▁")),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[]])),
        Just(json!(["a b", "a b"])),
        Just(json!({ "type": "NFKC" })),
        Just(json!({ "type": "Lowercase" })),
        Just(json!({ "type": "Prepend", "prepend": "ab" })),
        Just(json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true })),
        Just(json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true })),
        Just(json!({ "type": "Digits", "individual_digits": false })),
        Just(json!({ "type": "Punctuation", "behavior": "Contiguous" })),
        Just(json!({ "type": "Whitespace" })),
        Just(json!({ "type": "Replace", "pattern": { "Regex": "a|" }, "content": "é" })),
        Just(json!({ "type": "Replace", "pattern": { "Regex": ".*?" }, "content": "" })),
        Just(
            json!({ "type": "Split", "pattern": { "Regex": "(?<=a)|(?!b)" }, "behavior": "MergedWithNext", "invert": true })
        ),
        Just(
            json!({ "type": "Split", "pattern": { "String": "b" }, "behavior": "MergedWithPrevious", "invert": false })
        ),
        any::<u32>().prop_map(|number| json!(number)),
        "\\PC{0,6}".prop_map(Value::String),
    ];
    (any::<prop::sample::Index>(), odd).prop_map(|(place, odd)| {
        let mut file = small();
        let mut places = Vec::new();
        collect(&file, String::new(), &mut places);
        let place = places.swap_remove(place.index(places.len()));
        *file.pointer_mut(&place).unwrap() = odd;
        file
    })
}

fn collect(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| collect(value, format!("{place}/{key}"), places)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, value)| collect(value, format!("{place}/{i}"), places))
        }
        _ => {}
    }
    places.push(place);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn no_file_panics(file in mutated(), text in prop_oneof!["[ab x<s>]{0,12}", "\\PC{0,12}"]) {
        if let Ok(tokenizer) = load(&file) {
            if let Ok(ids) = tokenizer.encode(&text, true) {
                let _ = tokenizer.decode(&ids);
            }
            let _ = tokenizer.decode(&[0, 1, 2, 3, 4, 5, u32::MAX]);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Tokenizer::from_bytes(&bytes);
    }
}
