//! Answers that have to meet a grammar: whatever a model would rather say, they do, and nobody else is touched by it.

use std::sync::Arc;

use crate::common::{self, block_on, split_small};
use crate::smollm2;
use serde_json::{Value, json};
use tilestream::internals::text::Tokenizer;
use tilestream::{
    ErrorKind, GenerateOptions, Grammar, GrammarSource, LoadOptions, ModelFiles, SamplerOptions, StopReason,
};

/// Tokens of an answer at most.
const MOST: usize = 300;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % most as u64) as usize
    }
}

/// Who has no sense at all, but tires after a while.
struct Fool {
    files: ModelFiles,
    /// Tokens that may bring an end nearer.
    closers: Vec<u32>,
}

impl Fool {
    fn new() -> Self {
        let files = smollm2::files();
        let tokenizer: &Arc<Tokenizer> = files.text().tokenizer().expect("a tokenizer");
        let token =
            |bytes: &[u8]| (0..files.spec().vocab).find(|id| tokenizer.token_bytes(*id).as_deref() == Some(bytes));
        let closers = [&b"}"[..], b"]", b"\"", b"0"].into_iter().filter_map(token).collect();
        Self { files, closers }
    }

    fn grammar(&self, source: GrammarSource) -> Grammar {
        let shown = format!("{source:?}");
        self.files.grammar(source).unwrap_or_else(|error| panic!("{shown}: {error}"))
    }

    /// A text of tokens drawn among those that fit; none where it does not end.
    fn answer(&self, grammar: &Grammar, seed: u64) -> Option<String> {
        let (tokenizer, stop_ids) = (self.files.text().tokenizer().expect("a tokenizer"), &self.files.text().stop_ids);
        let (vocab, mut state) = (self.files.spec().vocab, grammar.begin());
        let (mut random, mut ids) = (Random(seed), Vec::new());
        while ids.len() < MOST {
            let allowed = state.allowed().expect("something fits");
            let tired = random.below(20) < ids.len();
            // A bracket ends a list, and is text in a string: it does not know where it is.
            let turn = random.below(self.closers.len());
            let (behind, first) = self.closers.split_at(turn);
            let closer = stop_ids.iter().chain(first).chain(behind).find(|id| allowed.has(**id)).filter(|_| tired);
            // Of those that fit the first behind a random one.
            let from = random.below(vocab as usize) as u32;
            let mut round = (from..vocab).chain(0..from);
            let id = closer.copied().or_else(|| round.find(|id| allowed.has(*id))).expect("something fits");
            if stop_ids.contains(&id) {
                return Some(tokenizer.decode(&ids));
            }
            ids.push(id);
            if state.take(id).expect("it fits") {
                return Some(tokenizer.decode(&ids));
            }
        }
        None
    }
}

/// Shapes as the test suite of JSON Schema and the clients of APIs have them.
fn schemas() -> Vec<Value> {
    let person = json!({ "type": "object", "properties": { "name": { "type": "string" }, "age": { "type": "integer" } },
        "required": ["name", "age"], "additionalProperties": false });
    vec![
        json!({}),
        json!(true),
        json!({ "type": "null" }),
        json!({ "type": "boolean" }),
        json!({ "type": "integer" }),
        json!({ "type": "number" }),
        json!({ "type": "string" }),
        json!({ "type": "object" }),
        json!({ "type": "array" }),
        json!({ "type": ["integer", "null"] }),
        json!({ "const": "fixed" }),
        json!({ "const": { "a": [1, 2.5, null] } }),
        json!({ "enum": ["red", "green", "blue"] }),
        json!({ "enum": [1, "1", true, null] }),
        json!({ "type": "integer", "minimum": 0, "maximum": 10 }),
        json!({ "type": "integer", "exclusiveMinimum": -5, "exclusiveMaximum": 5 }),
        json!({ "type": "number", "minimum": 0.5, "maximum": 2.5 }),
        json!({ "type": "integer", "multipleOf": 5 }),
        json!({ "type": "string", "minLength": 3, "maxLength": 6 }),
        json!({ "type": "string", "pattern": "^[a-z]{2,5}-[0-9]+$" }),
        json!({ "type": "string", "format": "date" }),
        json!({ "type": "string", "format": "date-time" }),
        json!({ "type": "string", "format": "uuid" }),
        json!({ "type": "string", "format": "ipv4" }),
        json!({ "type": "array", "items": { "type": "integer" } }),
        json!({ "type": "array", "items": { "type": "string" }, "minItems": 2, "maxItems": 4 }),
        json!({ "type": "array", "prefixItems": [{ "type": "string" }, { "type": "number" }], "items": false }),
        json!({ "type": "array", "prefixItems": [{ "const": 1 }], "items": { "type": "boolean" }, "minItems": 1 }),
        person.clone(),
        json!({ "type": "object", "properties": { "person": person }, "required": ["person"] }),
        json!({ "type": "object", "properties": { "a": { "type": "integer" } } }),
        json!({ "type": "object", "additionalProperties": { "type": "integer" } }),
        json!({ "type": "object", "properties": { "a": {} }, "additionalProperties": { "type": "null" } }),
        json!({ "type": "object", "properties": { "a": { "const": 1 }, "b": { "const": 2 } }, "required": ["b"] }),
        json!({ "type": "object", "required": ["x"], "properties": { "x": { "type": "array", "items": { "type": "null" } } } }),
        json!({ "anyOf": [{ "type": "integer" }, { "type": "string", "maxLength": 4 }] }),
        json!({ "anyOf": [person, { "type": "null" }] }),
        json!({ "oneOf": [{ "type": "boolean" }, { "type": "null" }] }),
        json!({ "allOf": [{ "type": "integer" }, { "minimum": 3 }, { "maximum": 7 }] }),
        json!({ "allOf": [{ "type": "object", "properties": { "a": { "type": "integer" } }, "required": ["a"] },
            { "properties": { "b": { "type": "boolean" } }, "required": ["b"] }] }),
        json!({ "$ref": "#/$defs/n", "$defs": { "n": { "type": "integer", "maximum": 9, "minimum": 1 } } }),
        json!({ "$defs": { "node": { "type": "object", "properties": { "value": { "type": "integer" },
            "next": { "anyOf": [{ "$ref": "#/$defs/node" }, { "type": "null" }] } }, "required": ["value", "next"],
            "additionalProperties": false } }, "$ref": "#/$defs/node" }),
        json!({ "type": "object", "properties": { "tags": { "type": "array", "items": { "enum": ["a", "b"] }, "maxItems": 3 } },
            "required": ["tags"], "additionalProperties": false }),
        json!({ "type": "object", "properties": { "kind": { "const": "circle" }, "radius": { "type": "number", "minimum": 0 } },
            "required": ["kind", "radius"], "additionalProperties": false }),
        json!({ "anyOf": [{ "type": "object", "properties": { "kind": { "const": "a" }, "x": { "type": "integer" } },
            "required": ["kind", "x"], "additionalProperties": false },
            { "type": "object", "properties": { "kind": { "const": "b" } }, "required": ["kind"], "additionalProperties": false }] }),
        json!({ "type": "object", "properties": { "a b": { "type": "integer" }, "\"quoted\"": { "type": "null" },
            "ünïcode": { "type": "boolean" } }, "required": ["a b", "\"quoted\"", "ünïcode"], "additionalProperties": false }),
        json!({ "type": "array", "items": { "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 9 } } }),
        json!({ "title": "Titled", "description": "told", "type": "string", "default": "x", "examples": ["y"] }),
        json!({ "type": "object", "properties": { "when": { "type": "string", "format": "time" }, "who": { "type": "string",
            "format": "email" } }, "required": ["when", "who"], "additionalProperties": false }),
        json!({ "type": "object", "properties": {}, "additionalProperties": false }),
    ]
}

#[test]
fn no_answer_of_a_thousand_violates_its_schema() {
    const SEEDS: u64 = 20;
    let fool = Fool::new();
    let schemas = schemas();
    assert_eq!(schemas.len(), 50);
    let mut unfinished = 0;
    for schema in &schemas {
        let validator = jsonschema::options().should_validate_formats(true).build(schema).expect("a schema");
        let grammar = fool.grammar(GrammarSource::JsonSchema(schema.clone()));
        for seed in 0..SEEDS {
            let Some(text) = fool.answer(&grammar, seed) else {
                unfinished += 1;
                continue;
            };
            let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{schema}: {text}: {error}"));
            let wrong: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
            assert!(wrong.is_empty(), "{schema}: {text}: {wrong:?}");
        }
    }
    assert!(unfinished * 10 < 50 * SEEDS, "{unfinished} of {} did not end", 50 * SEEDS);
}

#[test]
fn regular_expressions_and_grammars_are_met_as_a_whole() {
    let fool = Fool::new();
    let lark = "start: \"The \" colour \" \" thing \".\"\ncolour: \"red\" | \"blue\"\nthing: /[a-z]{3,5}/";
    let regex = fool.grammar(GrammarSource::Regex("[0-9]{3}-[a-f]+".into()));
    let lark = fool.grammar(GrammarSource::Lark(lark.into()));
    let object = fool.grammar(GrammarSource::JsonObject);
    for seed in 0..5 {
        let text = fool.answer(&regex, seed).expect("ends");
        let (digits, letters) = text.split_once('-').unwrap_or_else(|| panic!("{text}"));
        assert!(digits.len() == 3 && digits.bytes().all(|digit| digit.is_ascii_digit()), "{text}");
        assert!(!letters.is_empty() && letters.bytes().all(|letter| (b'a'..=b'f').contains(&letter)), "{text}");
        let text = fool.answer(&lark, seed).expect("ends");
        let words: Vec<&str> = text.trim_end_matches('.').split(' ').collect();
        assert!(words.len() == 3 && words[0] == "The" && ["red", "blue"].contains(&words[1]), "{text}");
        let text = fool.answer(&object, seed).unwrap_or_else(|| "{}".into());
        assert!(serde_json::from_str::<Value>(&text).expect("JSON").is_object(), "{text}");
    }
}

#[test]
fn what_cannot_be_held_is_refused() {
    let files = smollm2::files();
    let deep = (0..120).fold(json!({ "type": "integer" }), |inner, _| json!({ "type": "array", "items": inner }));
    let wide: Vec<_> = (0..40_000).map(|number| json!({ "const": format!("value number {number}") })).collect();
    for source in [
        GrammarSource::Regex("(".into()),
        GrammarSource::Lark("start: missing".into()),
        GrammarSource::Lark(String::new()),
        GrammarSource::Lark(format!("start: {}\"a\"{}", "(".repeat(100_000), ")".repeat(100_000))),
        GrammarSource::Regex(format!("{}a{}", "(".repeat(100_000), ")".repeat(100_000))),
        GrammarSource::JsonSchema(json!([])),
        GrammarSource::JsonSchema(json!({ "type": "colour" })),
        GrammarSource::JsonSchema(json!({ "$ref": "https://host.example/schema" })),
        GrammarSource::JsonSchema(json!({ "$ref": "#/nothing" })),
        GrammarSource::JsonSchema(json!({ "not": { "type": "string" } })),
        GrammarSource::JsonSchema(json!({ "anyOf": wide })),
        GrammarSource::JsonSchema(deep),
    ] {
        let begun = std::time::Instant::now();
        let shown: String = format!("{source:?}").chars().take(60).collect();
        let Err(error) = files.grammar(source) else { panic!("{shown} is taken") };
        assert_eq!(error.kind(), ErrorKind::Argument, "{shown}: {error}");
        assert!(begun.elapsed().as_secs() < 10 && error.to_string().len() < 500, "{shown}: {error}");
    }
}

#[test]
fn a_model_keeps_to_its_grammar_alone_and_in_a_crowd() {
    let files = smollm2::files();
    let person = json!({ "type": "object", "properties": { "name": { "type": "string", "maxLength": 12 },
        "age": { "type": "integer", "minimum": 0, "maximum": 120 } }, "required": ["name", "age"], "additionalProperties": false });
    let grammar = files.grammar(GrammarSource::JsonSchema(person.clone())).expect("a grammar");
    let prompt = files.text().chat_prompt(&[tilestream::Message::user("Who are you?")]).expect("a prompt");
    let asked = |seed: u64| {
        let sampler = SamplerOptions::default().temperature(1.5).seed(seed);
        let options = GenerateOptions::default().max_tokens(60).sampler(sampler);
        tilestream::Request::new(prompt.clone(), options.grammar(grammar.clone()))
    };
    let plain = tilestream::Request::new(prompt.clone(), GenerateOptions::default().max_tokens(8));
    let options = LoadOptions::default().budget_bytes(160 << 20).context(512).device(common::device().clone());
    let mut alone = block_on(files.clone().load(&options)).expect("loads");
    let mut texts = Vec::new();
    for request in [asked(1), plain.clone()] {
        let mut generation = alone.generate_all(vec![request]).expect("is taken");
        let (mut text, mut stop) = (String::new(), None);
        while let Some(delta) = block_on(generation.next()).expect("goes on") {
            text += &delta.text;
            stop = delta.stop;
        }
        texts.push((text, stop));
    }
    drop(alone);
    let said: Value = serde_json::from_str(&texts[0].0).unwrap_or_else(|error| panic!("{}: {error}", texts[0].0));
    assert!(jsonschema::is_valid(&person, &said) && texts[0].1 == Some(StopReason::EndOfTurn), "{texts:?}");
    let crowd = block_on(files.load(&options.sequences(3))).expect("loads").into_handle().expect("a thread");
    let answers: Vec<_> =
        [asked(1), plain, asked(2)].into_iter().map(|request| crowd.submit(request).expect("is taken")).collect();
    let mut together = Vec::new();
    for mut answer in answers {
        let (mut text, mut stop) = (String::new(), None);
        while let Some(delta) = block_on(answer.next()).expect("goes on") {
            text += &delta.text;
            stop = delta.stop;
        }
        together.push((text, stop));
    }
    assert_eq!(together[..2], texts);
    assert!(jsonschema::is_valid(&person, &serde_json::from_str(&together[2].0).expect("JSON")));
}

#[test]
fn a_model_without_a_tokenizer_says_so() {
    block_on(async {
        let files = split_small("gqa", "config.json").await;
        let files = ModelFiles::open(Arc::clone(&files.store) as _).await.expect("opens");
        assert_eq!(files.grammar(GrammarSource::JsonObject).expect_err("no tokens").kind(), ErrorKind::Text);
    });
}
