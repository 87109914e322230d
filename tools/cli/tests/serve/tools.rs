//! Functions that a model is told of, and calls that it has to make.

use serde_json::{Value, json};

use super::{Server, events};
use crate::shell::Shell;

/// A template as Hermes and Qwen have it.
const TEMPLATE: &str = r#"{%- if tools %}Functions: {% for tool in tools %}{{ tool | tojson }}
{% endfor %}Call one as <tool_call>{"name": NAME, "arguments": FIELDS}</tool_call>
{% endif %}
{%- for message in messages %}
{{- message.role }}{% if message.name %} {{ message.name }}{% endif %}: {{ message.content }}
{%- for call in message.tool_calls or [] %}<tool_call>{{ call.function.name }} {{ call.function.arguments | tojson }}</tool_call>
{%- endfor %}
{% endfor %}assistant:"#;

fn function(name: &str) -> Value {
    let city = json!({ "type": "string", "enum": ["Rome", "Oslo"] });
    let parameters = json!({ "type": "object", "properties": { "city": city }, "required": ["city"],
        "additionalProperties": false });
    json!({ "type": "function", "function": { "name": name, "description": "weather", "parameters": parameters } })
}

fn asked(choice: &Value, stream: bool) -> Value {
    json!({
        "messages": [{ "role": "user", "content": "weather?" }], "max_tokens": 200, "temperature": 1.2, "seed": 5,
        "tools": [function("weather"), function("forecast")], "tool_choice": choice, "stream": stream,
        "parallel_tool_calls": false,
    })
}

/// A server whose model takes tools, and has room for what is told of them.
pub(super) fn server() -> Server {
    const CONTEXT: &[u8] = b"llama.context_length";
    let shell = Shell::new();
    let template = shell.write("template.jinja", TEMPLATE);
    let model = shell.gguf("Q8_0.gguf");
    let mut bytes = std::fs::read(&model).expect("reads");
    let key = bytes.windows(CONTEXT.len()).position(|window| window == CONTEXT).expect("the key");
    // Behind the key stand the type, four bytes, and the number.
    bytes[key + CONTEXT.len() + 4..][..4].copy_from_slice(&4096_u32.to_le_bytes());
    std::fs::write(&model, bytes).expect("writes");
    Server::of(shell, model, &["--chat-template", &template])
}

#[test]
fn a_model_that_must_call_a_function_calls_one_of_those_that_it_may() {
    let server = server();
    let named = json!({ "type": "function", "function": { "name": "forecast" } });
    for (choice, names) in [(json!("required"), &["weather", "forecast"][..]), (named, &["forecast"])] {
        let (status, all) = server.post("/v1/chat/completions", &asked(&choice, false));
        assert_eq!(status, 200, "{all}");
        let choice_of = &all["choices"][0];
        let call = &choice_of["message"]["tool_calls"][0];
        assert_eq!(choice_of["finish_reason"], "tool_calls", "{all}");
        assert!(choice_of["message"]["content"].is_null() && call["index"].is_null(), "{all}");
        let is_call = |call: &Value| {
            let name = call["function"]["name"].as_str().expect("a name");
            let arguments: Value =
                serde_json::from_str(call["function"]["arguments"].as_str().expect("a text")).expect("JSON");
            assert!(names.contains(&name), "{name}");
            assert!(["Rome", "Oslo"].map(Value::from).contains(&arguments["city"]), "{arguments}");
            assert!(call["id"].as_str().is_some_and(|id| id.starts_with("call_")) && call["type"] == "function");
        };
        is_call(call);
        // A stream says the same.
        let body = server.send("POST /v1/chat/completions", &asked(&choice, true).to_string()).1;
        let parts = events(&body);
        let streamed = parts.iter().find_map(|part| part["choices"][0]["delta"]["tool_calls"].get(0)).expect("a call");
        is_call(streamed);
        assert_eq!((&streamed["function"], streamed["index"].as_u64()), (&call["function"], Some(0)), "{body}");
        assert_eq!(parts.last().map(|part| &part["choices"][0]["finish_reason"]), Some(&json!("tool_calls")));
    }
}

#[test]
fn results_go_on_with_a_chat_and_other_apis_have_the_same_calls() {
    let server = server();
    let first = server.post("/v1/chat/completions", &asked(&json!("required"), false)).1;
    let call = first["choices"][0]["message"]["tool_calls"][0].clone();
    let result = json!({ "role": "tool", "tool_call_id": call["id"], "content": "sunny" });
    let messages = json!([{ "role": "user", "content": "weather?" }, first["choices"][0]["message"], result]);
    let (status, next) = server.post(
        "/v1/chat/completions",
        &json!({ "messages": messages, "tools": [function("weather")], "max_tokens": 4, "tool_choice": "none" }),
    );
    assert_eq!(status, 200, "{next}");
    assert!(next["choices"][0]["message"]["content"].is_string(), "{next}");

    let (name, arguments) = (&call["function"]["name"], &call["function"]["arguments"]);
    let mut ollama = asked(&json!("required"), false);
    for (field, value) in [("max_tokens", "num_predict"), ("temperature", "temperature"), ("seed", "seed")] {
        ollama["options"][value] = ollama[field].take();
    }
    ollama.as_object_mut().expect("fields").retain(|_, value| !value.is_null());
    let (status, answer) = server.post("/api/chat", &ollama);
    let told = &answer["message"]["tool_calls"][0]["function"];
    assert_eq!((status, &told["name"], &json!(told["arguments"].to_string())), (200, name, arguments), "{answer}");

    let tool = |name: &str| json!({ "name": name, "input_schema": function(name)["function"]["parameters"] });
    let claude = |stream: bool, messages: Value| {
        json!({
            "messages": messages, "max_tokens": 200, "temperature": 1.2, "seed": 5, "stream": stream,
            "tools": [tool("weather"), tool("forecast")],
            "tool_choice": { "type": "any", "disable_parallel_tool_use": true },
        })
    };
    let question = json!({ "role": "user", "content": "weather?" });
    let (status, answer) = server.post("/v1/messages", &claude(false, json!([question])));
    let used = &answer["content"][0];
    assert_eq!(
        (status, &answer["stop_reason"], &used["type"]),
        (200, &json!("tool_use"), &json!("tool_use")),
        "{answer}"
    );
    assert!(used["input"]["city"].is_string(), "{answer}");
    let body = server.send("POST /v1/messages", &claude(true, json!([question])).to_string()).1;
    let input = json!(used["input"].to_string()).to_string();
    assert!(
        body.contains(&format!("\"partial_json\":{input}")) && body.contains("\"stop_reason\":\"tool_use\""),
        "{body}"
    );
    let result = json!({ "role": "user", "content": [
        { "type": "tool_result", "tool_use_id": used["id"], "content": [{ "type": "text", "text": "sunny" }] }] });
    let turns = json!([question, { "role": "assistant", "content": answer["content"] }, result]);
    let (status, counted) =
        server.post("/v1/messages/count_tokens", &json!({ "messages": turns, "tools": [tool("weather")] }));
    assert!(status == 200 && counted["input_tokens"].as_u64() > Some(10), "{counted}");
    let (status, answer) = server.post("/v1/messages", &claude(false, turns));
    assert_eq!((status, &answer["stop_reason"]), (200, &json!("tool_use")), "{answer}");
}

#[test]
fn a_response_may_be_calls_and_goes_on_from_their_results() {
    let server = server();
    let flat = |name: &str| {
        let mut tool = function(name)["function"].clone();
        tool["type"] = json!("function");
        tool
    };
    let asked = |stream: bool, more: Value| {
        let mut all = json!({
            "input": "weather?", "max_output_tokens": 200, "temperature": 1.2, "stream": stream,
            "tools": [flat("weather"), flat("forecast")], "tool_choice": { "type": "function", "name": "forecast" },
        });
        all.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
        all
    };
    let (status, answer) = server.post("/v1/responses", &asked(false, json!({})));
    let call = &answer["output"][0];
    assert_eq!((status, &call["type"], &call["name"]), (200, &json!("function_call"), &json!("forecast")), "{answer}");
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().expect("a text")).expect("JSON");
    assert!(arguments["city"].is_string() && answer["status"] == "completed", "{answer}");
    let body = server.send("POST /v1/responses", &asked(true, json!({})).to_string()).1;
    let kinds =
        ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"];
    let places: Vec<_> = kinds.iter().map(|kind| body.find(&format!("event: response.{kind}"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{body}");
    let result = json!([{ "type": "function_call_output", "call_id": call["call_id"], "output": "sunny" }]);
    let more =
        json!({ "input": result, "previous_response_id": answer["id"], "tool_choice": "none", "max_output_tokens": 4 });
    let (status, next) = server.post("/v1/responses", &asked(false, more));
    assert_eq!((status, &next["output"][0]["type"]), (200, &json!("message")), "{next}");
}

#[test]
fn what_is_wrong_with_tools_is_named() {
    let server = server();
    let broken = json!({ "function": { "name": "f", "arguments": "[" } });
    let named = json!({ "type": "function", "function": { "name": "x" } });
    for (more, says) in [
        (json!({ "tools": [{ "type": "retrieval" }] }), "retrieval"),
        (json!({ "tool_choice": "always" }), "tool_choice"),
        (json!({ "tool_choice": named }), "'x'"),
        (json!({ "tool_choice": "required", "response_format": { "type": "json_object" } }), "no other format"),
        (json!({ "messages": [{ "role": "assistant", "tool_calls": [broken] }] }), "'f'"),
    ] {
        let mut asked = asked(&json!("auto"), false);
        asked.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
        let (status, answer) = server.post("/v1/chat/completions", &asked);
        assert!(status == 400 && answer.to_string().contains(says), "{says}: {status} {answer}");
    }
    // A model whose template tells of no functions.
    let other = Server::new(&[]);
    let (status, answer) = other.post("/v1/chat/completions", &asked(&json!("auto"), false));
    assert!(status == 400 && answer.to_string().contains("does not take tools"), "{answer}");
}
