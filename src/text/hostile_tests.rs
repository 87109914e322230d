//! Tokenizers that are made to take all memory, all time, or to panic: each is refused, or does its work in bounds.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Tokenizer;

/// Each file has so long, on a slow machine; without bounds they take minutes.
const MOST_TIME: Duration = Duration::from_secs(10);

/// A small file with one part replaced.
fn file(place: &str, part: Value) -> Value {
    let mut file = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "decoder": { "type": "Fuse" },
        "model": { "type": "BPE", "unk_token": "a", "vocab": { "a": 0, "b": 1, "ab": 2, " ": 3, "é": 4 }, "merges": ["a b"] },
    });
    *file.pointer_mut(place).expect("a place") = part;
    file
}

fn replace(kind: &str, pattern: &str, content: &str) -> Value {
    json!({ "type": "Replace", "pattern": { kind: pattern }, "content": content })
}

fn split(pattern: &str) -> Value {
    json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false })
}

fn normalizers(parts: Vec<Value>) -> Value {
    file("/normalizer", json!({ "type": "Sequence", "normalizers": parts }))
}

fn pre_tokenizers(parts: Vec<Value>) -> Value {
    file("/pre_tokenizer", json!({ "type": "Sequence", "pretokenizers": parts }))
}

fn decoders(parts: Vec<Value>) -> Value {
    file("/decoder", json!({ "type": "Sequence", "decoders": parts }))
}

fn added(tokens: impl Iterator<Item = String>) -> Value {
    let token = |(index, text): (usize, String)| {
        json!({
            "id": 5 + index, "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true,
        })
    };
    file("/added_tokens", tokens.enumerate().map(token).collect())
}

fn table() -> Vec<(&'static str, Value)> {
    let long = |len: usize| "a".repeat(len);
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true });
    let vocab = |token: String| json!({ token: 0, "b": 1 });
    vec![
        // Replacements of nothing: at the beginning, at the end, everywhere.
        ("empty match", normalizers(vec![replace("Regex", "x*", "b")])),
        ("empty match, no content", normalizers(vec![replace("Regex", "x*", "")])),
        ("the end", normalizers(vec![replace("Regex", "$", "b")])),
        ("the beginning", normalizers(vec![replace("Regex", "^", "ab")])),
        ("a border", normalizers(vec![replace("Regex", r"\b", "é")])),
        ("a look ahead", normalizers(vec![replace("Regex", "(?=a)", "é")])),
        ("a look behind", normalizers(vec![replace("Regex", "(?<=é)", "a"), replace("Regex", "(?<=a)", "é")])),
        ("all of it", normalizers(vec![replace("Regex", "(?s).*", "")])),
        ("all but nothing", normalizers(vec![replace("Regex", "", "a")])),
        // Growth.
        ("twice, forty times", normalizers(vec![replace("String", "a", "aa"); 40])),
        ("twice by a regex", normalizers(vec![replace("Regex", "a", "aa"); 30])),
        ("a hundred times", normalizers(vec![replace("String", "a", &long(100)); 4])),
        ("long content", normalizers(vec![replace("String", "a", &long(1 << 20))])),
        ("long prefix", file("/normalizer", json!({ "type": "Prepend", "prepend": long(1 << 24) }))),
        ("many prefixes", normalizers(vec![json!({ "type": "Prepend", "prepend": long(250) }); 64])),
        (
            "NFKC again and again",
            normalizers(
                (0..60)
                    .map(|i| if i % 2 == 0 { json!({ "type": "NFKC" }) } else { replace("String", " ", "\u{fdfa}") })
                    .collect(),
            ),
        ),
        ("a thousand normalizers", normalizers(vec![json!({ "type": "NFC" }); 1000])),
        (
            "nested normalizers",
            (0..60).fold(file("/normalizer", json!({ "type": "NFC" })), |inner, _| {
                normalizers(vec![inner["normalizer"].clone()])
            }),
        ),
        // Patterns.
        ("hundreds of patterns", pre_tokenizers(vec![split(r"\p{L}{50}|\p{N}"); 400])),
        ("large patterns", pre_tokenizers(vec![split(r"(\p{L}{100}){100}"); 30])),
        ("a count", pre_tokenizers(vec![split("(?=a){999999999}")])),
        ("counts in counts", pre_tokenizers(vec![split("((((a{50}){50}){50}){50}){50}")])),
        ("nested groups", pre_tokenizers(vec![split(&("(".repeat(20_000) + &")".repeat(20_000)))])),
        ("nested repeats", pre_tokenizers(vec![split(r"(?:(a+)+)+(?=x)")])),
        ("a back reference", pre_tokenizers(vec![split(r"(a*)*\1b(?!a)")])),
        ("a long pattern", pre_tokenizers(vec![split(&"a|".repeat(40_000))])),
        ("an empty split", pre_tokenizers(vec![split("")])),
        ("a split at nothing", pre_tokenizers(vec![split("(?=a)|(?<=b)|$")])),
        ("bytes of bytes", pre_tokenizers(vec![byte_level.clone(); 24])),
        ("bytes of bytes, twice", pre_tokenizers(vec![byte_level; 2])),
        (
            "prefix after prefix",
            pre_tokenizers(vec![
                json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true });
                60
            ]),
        ),
        // Tokens.
        ("a long added token", added(std::iter::once(long(50 << 20)))),
        ("long added tokens", added((0..5000).map(|index| long(1000) + &index.to_string()))),
        ("many added tokens", added((0..200_000).map(|index| format!("<{index}>")))),
        ("an empty added token", added(std::iter::once(String::new()))),
        ("a long word", file("/model/vocab", vocab(long(10 << 20)))),
        (
            "a long piece",
            file("/model", json!({ "type": "Unigram", "unk_id": 0, "vocab": [["u", 0.0], [long(10 << 20), -1.0]] })),
        ),
        (
            "infinite scores",
            file(
                "/model",
                json!({ "type": "Unigram", "unk_id": 0, "vocab": [["u", 1e308], ["a", -1e308], ["b", 1e308]] }),
            ),
        ),
        ("an unknown token that is none", file("/model/unk_token", json!("zzz"))),
        // Decoders.
        ("decoders that grow", decoders(vec![replace("String", "a", "aa"); 40])),
        ("a decoder that grows", decoders(vec![replace("String", "a", &long(1 << 20))])),
        ("a decoder of many steps", decoders(vec![replace("String", "a", "b"); 1000])),
        (
            "strips all",
            decoders(vec![
                json!({ "type": "Fuse" }),
                json!({ "type": "Strip", "content": "a", "start": u64::MAX >> 1, "stop": 0 }),
            ]),
        ),
        (
            "a template of many",
            file(
                "/post_processor",
                json!({
                    "type": "TemplateProcessing", "pair": [],
                    "single": vec![json!({ "SpecialToken": { "id": "a", "type_id": 0 } }); 100_000],
                    "special_tokens": { "a": { "id": "a", "ids": [0], "tokens": ["a"] } },
                }),
            ),
        ),
    ]
}

#[test]
fn hostile_files_are_refused_or_bounded() {
    let text = "aab é ab ".repeat(400) + &"a".repeat(2000);
    let table = table();
    assert!(table.len() >= 30);
    for (name, file) in table {
        let start = Instant::now();
        if let Ok(tokenizer) = Tokenizer::from_bytes(&serde_json::to_vec(&file).unwrap()) {
            for text in [text.as_str(), "", "a", "é"] {
                // An error names the file; what comes through is not much more than the text.
                match tokenizer.encode(text, true) {
                    Ok(ids) => assert!(ids.len() <= text.len() * 40 + 20_000, "{name}: {} ids", ids.len()),
                    Err(error) => assert_eq!(error.file_name(), Some("tokenizer.json"), "{name}: {error}"),
                }
            }
            let ids: Vec<u32> = (0..5).cycle().take(1000).collect();
            assert!(tokenizer.decode(&ids).len() <= 200_000, "{name}");
        }
        assert!(start.elapsed() < MOST_TIME, "{name} took {:?}", start.elapsed());
    }
}

/// The bound is far from what texts need.
#[test]
fn what_grows_as_unicode_does_is_no_attack() {
    let nfkc = |parts: Vec<Value>| Tokenizer::from_bytes(&serde_json::to_vec(&normalizers(parts)).unwrap()).unwrap();
    let text = "\u{fdfa}".repeat(1000);
    assert!(nfkc(vec![json!({ "type": "NFKC" })]).encode(&text, false).unwrap().len() > 10_000);
    // A replacement by more is one, too.
    let twice = nfkc(vec![replace("String", "a", "ab"), replace("Regex", "b+$", "é"), replace("Regex", "^", "é")]);
    assert_eq!(twice.encode("aa", false).unwrap(), [4, 2, 0, 4]);
}
