//! What is told of texts: how likely they are, and vectors of them.

use serde_json::{Value, json};

use super::{Server, events};
use crate::shell::Shell;

#[test]
fn tokens_of_a_prompt_are_told_as_likely_as_they_are_scored() {
    let server = Server::new(&[]);
    let text = "the thing is a longer question about tiles";
    let file = server.shell.write("text", text);
    let score = server.shell.json(&["score", &server.model, "--text-file", &file]);
    let ids = &server.post("/tokenize", &json!({ "content": text })).1["tokens"];
    for (new, stream) in [(0, false), (3, false), (3, true)] {
        let asked = json!({ "prompt": ids, "max_tokens": new, "ignore_eos": true, "echo": true, "logprobs": 2, "stream": stream });
        let body = server.send("POST /v1/completions", &asked.to_string()).1;
        let parts = if stream { events(&body) } else { vec![serde_json::from_str(&body).expect("JSON")] };
        let all = |name: &str| -> Vec<Value> {
            let of_part = |part: &Value| part["choices"][0]["logprobs"][name].as_array().cloned();
            parts.iter().filter_map(of_part).flatten().collect()
        };
        let (chosen, top) = (all("token_logprobs"), all("top_logprobs"));
        let known = ids.as_array().map(Vec::len).expect("ids");
        assert_eq!(
            (chosen.len(), top.len(), all("text_offset").len()),
            (known + new, known + new, known + new),
            "{body}"
        );
        assert!(chosen[0].is_null() && top[0].is_null() && all("text_offset")[0] == 0);
        let nll = -chosen[1..known].iter().map(|value| value.as_f64().expect("a number")).sum::<f64>();
        let expected = score["nll"].as_f64().expect("a number") * (known - 1) as f64;
        assert!((nll - expected).abs() < 1e-3, "{nll} {expected}");
        assert!(top[1..].iter().all(|top| top.as_object().is_some_and(|top| top.len() == 2)));
    }
}

#[test]
fn tokens_that_were_thought_are_counted_apart() {
    // The first template opens what is thought, and a model of random weights never ends it.
    for (start, thought) in [("<think>\n", 6), ("<think>\n\n</think>\n\n", 0)] {
        let shell = Shell::new();
        let source = "{% for message in messages %}{{ message.content }}{% endfor %}{# </think> #}".to_owned() + start;
        let template = shell.write("template.jinja", &source);
        let model = shell.gguf("Q8_0.gguf");
        let server = Server::of(shell, model, &["--chat-template", &template]);
        let asked =
            json!({ "messages": [{ "role": "user", "content": "hello" }], "max_tokens": 6, "ignore_eos": true });
        let all = server.post("/v1/chat/completions", &asked).1;
        let (message, usage) = (&all["choices"][0]["message"], &all["usage"]);
        assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], thought, "{all}");
        assert_eq!(usage["completion_tokens"], 6);
        let said = |field: &str| message[field].as_str().is_some_and(|text| !text.is_empty());
        assert_eq!((said("reasoning_content"), said("content")), (thought > 0, thought == 0), "{all}");
        let asked = json!({ "input": "hello", "max_output_tokens": 6, "ignore_eos": true });
        let all = server.post("/v1/responses", &asked).1;
        assert_eq!(all["usage"]["output_tokens_details"]["reasoning_tokens"], thought, "{all}");
    }
}

#[test]
fn texts_become_vectors() {
    let server = Server::new(&["--pooling", "mean", "--context", "64"]);
    let texts = ["hello", "the thing", "a longer question about tiles", "hello"];
    let vectors = |path: &str, asked: Value| {
        let (status, all) = server.post(path, &asked);
        assert_eq!(status, 200, "{all}");
        let list = all["data"].as_array().or(all["embeddings"].as_array()).expect("a list").clone();
        list.into_iter().map(|one| if one.is_array() { one } else { one["embedding"].clone() }).collect::<Vec<_>>()
    };
    let length = |vector: &Value| {
        let values = vector.as_array().expect("numbers").iter().map(|value| value.as_f64().expect("a number"));
        values.map(|value| value * value).sum::<f64>()
    };
    let all = vectors("/v1/embeddings", json!({ "input": texts }));
    assert_eq!((all.len(), &all[0]), (4, &all[3]));
    assert!(all[0] != all[1] && all.iter().all(|vector| (length(vector) - 1.0).abs() < 1e-5));
    assert_eq!(vectors("/v1/embeddings", json!({ "input": texts[1] })), all[1..2]);
    assert_eq!(vectors("/api/embed", json!({ "input": texts[1] })), all[1..2]);
    let short = vectors("/v1/embeddings", json!({ "input": texts[1], "dimensions": 5 }));
    assert!(short[0].as_array().is_some_and(|values| values.len() == 5) && (length(&short[0]) - 1.0).abs() < 1e-5);
    let written = vectors("/v1/embeddings", json!({ "input": texts[1], "encoding_format": "base64" }));
    let numbers = all[1].as_array().map(Vec::len).expect("numbers");
    assert_eq!(written[0].as_str().map(str::len), Some((numbers * 4).div_ceil(3) * 4));
    // Ollama cuts what is too long; OpenAI's clients are told.
    let long = "a longer question about tiles ".repeat(30);
    assert!((length(&vectors("/api/embed", json!({ "input": long }))[0]) - 1.0).abs() < 1e-5);
    for (asked, says) in [
        (json!({ "input": long }), "context"),
        (json!({ "input": "a", "dimensions": 100_000 }), "dimensions"),
        (json!({ "input": [] }), "input"),
        (json!({ "input": "" , "dimensions": 1 }), "no token"),
    ] {
        let (status, all) = server.post("/v1/embeddings", &asked);
        assert!(status == 400 && all.to_string().contains(says), "{status}: {all}");
    }
}

#[test]
fn a_prompt_is_read_once_also_across_a_restart() {
    let long = "a longer question about tiles, ".repeat(2);
    let folder = Shell::new();
    let cache = folder.path("prefixes").display().to_string();
    let arguments = ["--prefix-cache", "64MiB", "--prefix-cache-dir", &cache];
    let ask = |server: &Server| {
        let asked = json!({ "prompt": long, "max_tokens": 8, "ignore_eos": true, "logprobs": 1 });
        let mut all = server.post("/v1/completions", &asked).1;
        assert!(all["error"].is_null(), "{all}");
        let usage = all["usage"].take();
        (
            all["choices"].take(),
            usage["prompt_tokens"].as_u64(),
            usage["prompt_tokens_details"]["cached_tokens"].as_u64(),
        )
    };
    let (plain, tokens, cached) = ask(&Server::new(&[]));
    let tokens = tokens.unwrap_or_else(|| panic!("{plain}"));
    assert!(tokens > 33 && cached == Some(0), "{tokens} {cached:?}");
    let first = Server::new(&arguments);
    assert_eq!(ask(&first), (plain.clone(), Some(tokens), Some(0)));
    // On the GPU the whole text is there, but for the last token of the prompt.
    assert_eq!(ask(&first), (plain.clone(), Some(tokens), Some(tokens - 1)));
    drop(first);
    let second = Server::new(&arguments);
    assert_eq!(ask(&second), (plain, Some(tokens), Some((tokens - 1) / 32 * 32)));
    let metrics = second.send("GET /metrics", "").1;
    let line = format!("tilestream_cached_prompt_tokens_total {}", (tokens - 1) / 32 * 32);
    assert!(metrics.contains(&line), "{metrics}");
}

#[test]
fn answers_have_the_form_that_was_asked_for() {
    let server = Server::new(&[]);
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer", "minimum": 0, "maximum": 9 } },
        "required": ["n"], "additionalProperties": false });
    let is_met = |text: &Value| {
        let text = text.as_str().unwrap_or_else(|| panic!("{text}"));
        let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(value["n"].as_u64().is_some_and(|n| n < 10), "{text}");
    };
    let messages = json!([{ "role": "user", "content": "a" }]);
    let plain = json!({ "messages": messages, "temperature": 1.5, "seed": 3, "max_tokens": 40 });
    let with = |mut asked: Value, name: &str, value: Value| {
        asked[name] = value;
        asked
    };
    let described = json!({ "type": "json_schema", "json_schema": { "name": "n", "strict": true, "schema": schema } });
    let chat = server.post("/v1/chat/completions", &with(plain.clone(), "response_format", described.clone())).1;
    is_met(&chat["choices"][0]["message"]["content"]);
    assert_eq!(chat["choices"][0]["finish_reason"], "stop");
    let text = json!({ "prompt": "a", "temperature": 1.5, "max_tokens": 40, "response_format": described });
    is_met(&server.post("/v1/completions", &text).1["choices"][0]["text"]);
    let ollama = json!({ "messages": messages, "stream": false, "format": schema, "options": { "num_predict": 40 } });
    is_met(&server.post("/api/chat", &ollama).1["message"]["content"]);
    let format = json!({ "type": "json_schema", "name": "n", "schema": schema });
    let response = json!({ "input": "a", "max_output_tokens": 40, "text": { "format": format } });
    is_met(&server.post("/v1/responses", &response).1["output"][0]["content"][0]["text"]);
    let regex = with(plain.clone(), "structured_outputs", json!({ "regex": "(yes|no)!" }));
    let said = server.post("/v1/chat/completions", &regex).1["choices"][0]["message"]["content"].clone();
    assert!(said == "yes!" || said == "no!", "{said}");
    for (name, value, says) in [
        ("response_format", json!({ "type": "xml" }), "xml"),
        ("response_format", json!({ "type": "json_schema" }), "no schema"),
        (
            "response_format",
            json!({ "type": "json_schema", "json_schema": { "schema": { "type": "colour" } } }),
            "colour",
        ),
        ("structured_outputs", json!({ "regex": "(" }), "grammar"),
        ("structured_outputs", json!({ "regex": "a", "json": {} }), "one format"),
    ] {
        let (status, all) = server.post("/v1/chat/completions", &with(plain.clone(), name, value));
        assert!(status == 400 && all.to_string().contains(says), "{status}: {all}");
    }
    // The command holds the same, from a file.
    let file = server.shell.write("schema.json", &schema.to_string());
    let arguments = ["--temperature", "1.5", "--seed", "3", "--max-tokens", "40", "--json-schema", &file];
    assert_eq!(server.alone("a", &arguments)["text"], chat["choices"][0]["message"]["content"]);
}
