//! `tilestream serve`: what clients of OpenAI's API get, and what befalls those that misbehave.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::shell::Shell;

mod rerank;
mod texts;
mod tools;

const MOST_WAIT: Duration = Duration::from_secs(120);

/// The command with a small model.
struct Server {
    process: Child,
    address: String,
    shell: Shell,
    model: String,
}

impl Server {
    fn new(arguments: &[&str]) -> Self {
        let shell = Shell::new();
        let model = shell.gguf("Q8_0.gguf");
        Self::of(shell, model, arguments)
    }

    /// The command with any model that lies in the shell's folder.
    fn of(shell: Shell, model: String, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tilestream"));
        command.args(["serve", &model, "--port", "0", "--budget", "64MiB"]).args(arguments);
        command.env("XDG_CACHE_HOME", shell.path("cache")).stderr(Stdio::piped());
        let mut process = command.spawn().expect("starts");
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let told = |line: String| Some(line.split_once("http://")?.1.split('/').next()?.to_owned());
        let address = lines.by_ref().map_while(Result::ok).find_map(told).expect("an address");
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address, shell, model }
    }

    /// Sends a request, and what comes until the server closes. By HTTP/1.0 a stream comes without the lengths of its chunks.
    fn send(&self, head: &str, body: &str) -> (u16, String) {
        let mut stream = self.begin(head, body);
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("an answer");
        let all = String::from_utf8(all).expect("UTF-8");
        let (head, body) = all.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, body.to_owned())
    }

    fn begin(&self, head: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("connects");
        stream.set_read_timeout(Some(MOST_WAIT)).expect("set");
        let host = if head.contains("\r\nHost:") { String::new() } else { format!("\r\nHost: {}", self.address) };
        let (line, more) =
            head.split_once("\r\n").map_or((head, String::new()), |(line, more)| (line, format!("\r\n{more}")));
        let request = format!("{line} HTTP/1.0{more}{host}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).expect("sends");
        stream
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, answer) = self.send(&format!("POST {path}"), &body.to_string());
        (status, serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}")))
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let (status, answer) = self.send(&format!("GET {path}"), "");
        (status, serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}")))
    }

    /// What the command says to the same prompt, alone.
    fn alone(&self, prompt: &str, arguments: &[&str]) -> Value {
        self.shell.json(&[&["run", &self.model, "--prompt", prompt, "--json", "--budget", "64MiB"], arguments].concat())
    }

    fn wait_until_idle(&self) {
        let start = Instant::now();
        while self.get("/health").1["requests"] != 0 {
            assert!(start.elapsed() < Duration::from_secs(20), "an answer goes on that nobody waits for");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The events of a stream, whose last one says that it is done.
fn events(body: &str) -> Vec<Value> {
    let mut data: Vec<_> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.pop(), Some("[DONE]"), "{body}");
    data.into_iter().map(|data| serde_json::from_str(data).expect("JSON")).collect()
}

fn chat(prompt: &str, seed: u64) -> Value {
    let messages = json!([{ "role": "user", "content": prompt }]);
    json!({ "messages": messages, "max_tokens": 12, "ignore_eos": true, "temperature": 1.5, "seed": seed })
}

#[test]
fn an_answer_in_a_crowd_is_the_one_that_the_command_gives_alone() {
    let server = Server::new(&["--alias", "mine"]);
    let prompts = ["hello", "the thing", "a longer question about tiles", "hello"];
    let whole = |index: usize| {
        let mut asked = chat(prompts[index % prompts.len()], index as u64);
        asked["model"] = json!("mine");
        server.post("/v1/chat/completions", &asked)
    };
    let streamed = |index: usize| {
        let mut asked = chat(prompts[index % prompts.len()], index as u64);
        asked["stream"] = json!(true);
        asked["stream_options"] = json!({ "include_usage": true });
        server.send("POST /v1/chat/completions", &asked.to_string())
    };
    let (whole, streamed): (Vec<_>, Vec<_>) = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..8).map(|index| (scope.spawn(move || whole(index)), scope.spawn(move || streamed(index)))).collect();
        clients.into_iter().map(|(a, b)| (a.join().expect("answered"), b.join().expect("answered"))).unzip()
    });
    for (index, ((status, whole), (streamed_status, body))) in whole.into_iter().zip(streamed).enumerate() {
        assert_eq!((status, streamed_status), (200, 200), "{whole} {body}");
        let seed = index.to_string();
        let arguments = ["--max-tokens", "12", "--ignore-eos", "--temperature", "1.5", "--seed", &seed];
        let alone = server.alone(prompts[index % prompts.len()], &arguments);
        let choice = &whole["choices"][0];
        assert_eq!(choice["message"]["content"], alone["text"], "request {index}");
        assert_eq!(choice["finish_reason"], "length");
        assert_eq!(whole["usage"]["completion_tokens"], 12);
        let events = events(&body);
        let text: String = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, alone["text"].as_str().expect("a text"), "stream {index}");
        assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "length");
        let tokens = |all: &Value| [all["usage"]["prompt_tokens"].clone(), all["usage"]["completion_tokens"].clone()];
        assert_eq!(tokens(&events[events.len() - 1]), tokens(&whole));
    }
    server.wait_until_idle();
}

#[test]
fn texts_go_on_as_they_are_and_several_ways() {
    let server = Server::new(&[]);
    let alone = server.alone("hello", &["--raw", "--max-tokens", "6", "--ignore-eos"]);
    let asked = json!({ "prompt": ["hello", "the thing"], "n": 2, "max_tokens": 6, "ignore_eos": true, "echo": true });
    let (status, all) = server.post("/v1/completions", &asked);
    let choices = all["choices"].as_array().unwrap_or_else(|| panic!("{status}: {all}"));
    let text = format!("hello{}", alone["text"].as_str().expect("a text"));
    let texts: Vec<_> = choices.iter().map(|choice| choice["text"].as_str().expect("a text")).collect();
    // Without a temperature all ways are the best one.
    assert_eq!((texts.len(), texts[0], texts[1]), (4, text.as_str(), text.as_str()));
    assert!(texts[2].starts_with("the thing") && texts[2] == texts[3], "{texts:?}");
    assert_eq!(all["usage"]["completion_tokens"], 24);

    let (_, tokens) = server.post("/tokenize", &json!({ "content": "hello" }));
    let (_, back) = server.post("/detokenize", &json!({ "tokens": tokens["tokens"] }));
    assert_eq!(back["content"], "hello", "{tokens}");
    let ids = json!({ "prompt": tokens["tokens"], "max_tokens": 2, "ignore_eos": true });
    assert_eq!(server.post("/v1/completions", &ids).0, 200);
    let (status, models) = server.get("/v1/models");
    let name = models["data"][0]["id"].as_str().unwrap_or_else(|| panic!("{status}: {models}"));
    assert_eq!(server.get(&format!("/v1/models/{name}")).1["id"], name);
}

#[test]
fn clients_of_ollama_get_the_same_answers() {
    let server = Server::new(&["--alias", "mine"]);
    let arguments = ["--max-tokens", "9", "--ignore-eos", "--temperature", "1.5", "--seed", "7"];
    let alone = server.alone("hello", &arguments);
    let options = json!({ "num_predict": 9, "temperature": 1.5, "seed": 7, "num_ctx": 64, "ignore_eos": true });
    let chat =
        json!({ "model": "mine:latest", "messages": [{ "role": "user", "content": "hello" }], "options": options });
    let (status, body) = server.send("POST /api/chat", &chat.to_string());
    assert_eq!(status, 200, "{body}");
    let parts: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let text: String = parts.iter().filter_map(|part| part["message"]["content"].as_str()).collect();
    assert_eq!(text, alone["text"].as_str().expect("a text"));
    let (last, others) = parts.split_last().expect("parts");
    assert!(others.iter().all(|part| part["done"] == false) && last["done"] == true, "{body}");
    assert_eq!((&last["done_reason"], &last["eval_count"]), (&json!("length"), &json!(9)));
    let whole = json!({ "prompt": "hello", "stream": false, "options": options });
    let (status, whole) = server.post("/api/generate", &whole);
    assert_eq!((status, &whole["response"], &whole["done"]), (200, &alone["text"], &json!(true)));
    let (_, tags) = server.get("/api/tags");
    assert_eq!(tags["models"][1]["name"], "mine", "{tags}");
    let bad = json!({ "prompt": "hello", "options": { "mirostat": 2 } });
    assert!(server.post("/api/generate", &bad).1.to_string().contains("'mirostat'"));
}

#[test]
fn clients_of_anthropic_get_the_same_answers() {
    let server = Server::new(&[]);
    let arguments = ["--max-tokens", "9", "--ignore-eos", "--temperature", "1.5", "--seed", "7"];
    let alone = server.alone("hello", &arguments);
    let content = json!([{ "type": "text", "text": "hel" }, { "type": "text", "text": "lo" }]);
    let mut asked = json!({ "messages": [{ "role": "user", "content": content }], "max_tokens": 9, "ignore_eos": true,
        "temperature": 1.5, "seed": 7, "metadata": { "user_id": "x" } });
    let (status, whole) = server.post("/v1/messages", &asked);
    assert_eq!((status, &whole["content"]), (200, &json!([{ "type": "text", "text": alone["text"] }])));
    assert_eq!((&whole["stop_reason"], &whole["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(9)));
    let count = json!({ "messages": asked["messages"] });
    let (_, count) = server.post("/v1/messages/count_tokens", &count);
    let (input, cached) = (&whole["usage"]["input_tokens"], &whole["usage"]["cache_read_input_tokens"]);
    assert_eq!(
        count["input_tokens"].as_u64(),
        Some(input.as_u64().expect("a count") + cached.as_u64().expect("a count"))
    );

    asked["stream"] = json!(true);
    let (_, body) = server.send("POST /v1/messages", &asked.to_string());
    let events: Vec<(&str, Value)> = body
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("event: ")?.split_once("\ndata: "))
        .map(|(name, data)| (name, serde_json::from_str(data).expect("JSON")))
        .collect();
    assert!(events.iter().all(|(name, data)| data["type"] == *name), "{body}");
    let mut names: Vec<_> = events.iter().map(|(name, _)| *name).collect();
    names.dedup();
    let expected =
        ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"];
    assert_eq!(names, [&expected[..], &["message_stop"]].concat());
    let text: String = events.iter().filter_map(|(_, data)| data["delta"]["text"].as_str()).collect();
    assert_eq!(text, alone["text"].as_str().expect("a text"));
    let image = json!({ "messages": [{ "role": "user", "content": [{ "type": "image" }] }], "max_tokens": 1 });
    let (status, error) = server.post("/v1/messages", &image);
    assert!(status == 400 && error["type"] == "error" && error.to_string().contains("'image'"), "{error}");
}

#[test]
fn a_token_tells_how_likely_it_was_and_biases_and_penalties_change_what_is_chosen() {
    let server = Server::new(&[]);
    let asked = |more: Value| {
        let mut asked = json!({ "messages": [{ "role": "user", "content": "hello" }], "max_tokens": 8, "ignore_eos": true,
            "temperature": 0, "logprobs": true, "top_logprobs": 3 });
        asked.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        asked
    };
    let (status, plain) = server.post("/v1/chat/completions", &asked(json!({})));
    let tokens = plain["choices"][0]["logprobs"]["content"].as_array().unwrap_or_else(|| panic!("{status}: {plain}"));
    assert_eq!(tokens.len(), 8);
    let mut bytes = Vec::new();
    for token in tokens {
        let top = token["top_logprobs"].as_array().expect("the best");
        // Without a temperature the best one is chosen.
        assert_eq!((top.len(), &top[0]["token"], &top[0]["logprob"]), (3, &token["token"], &token["logprob"]));
        let logprob = |index: usize| top[index]["logprob"].as_f64().expect("a number");
        assert!(0.0 >= logprob(0) && logprob(0) >= logprob(1) && logprob(1) >= logprob(2), "{top:?}");
        bytes.extend(token["bytes"].as_array().expect("bytes").iter().map(|byte| byte.as_u64().expect("a byte") as u8));
    }
    let text = plain["choices"][0]["message"]["content"].as_str().expect("a text");
    assert!(String::from_utf8_lossy(&bytes).trim_start().starts_with(text.trim_start()), "{text}");
    let streamed = server.send("POST /v1/chat/completions", &asked(json!({ "stream": true })).to_string()).1;
    let streamed: Vec<Value> = events(&streamed)
        .iter()
        .filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array().cloned())
        .flatten()
        .collect();
    assert_eq!(&streamed, tokens);

    let ids = |text: &str| server.post("/tokenize", &json!({ "content": text })).1["tokens"].clone();
    let first = tokens[0]["token"].as_str().expect("a token");
    let banned = ids(first)[0].as_u64().expect("an id").to_string();
    let (_, other) = server.post("/v1/chat/completions", &asked(json!({ "logit_bias": { &banned: -100 } })));
    let chosen = |all: &Value| all["choices"][0]["logprobs"]["content"][0]["token"].clone();
    assert_ne!(chosen(&other), chosen(&plain));
    for bad in [json!({ "99999999": 1 }), json!({ &banned: 101 }), json!({ "x": 1 })] {
        let (status, error) = server.post("/v1/chat/completions", &asked(json!({ "logit_bias": bad })));
        assert_eq!(status, 400, "{error}");
    }
    // A penalty for each time keeps a token from coming again; a negative one makes it.
    let most = |penalty: f64| {
        let (status, all) =
            server.post("/v1/chat/completions", &asked(json!({ "max_tokens": 40, "frequency_penalty": penalty })));
        let tokens = all["choices"][0]["logprobs"]["content"].as_array().unwrap_or_else(|| panic!("{status}: {all}"));
        let same = |bytes: &Value| tokens.iter().filter(|other| other["bytes"] == *bytes).count();
        tokens.iter().map(|token| same(&token["bytes"])).max().expect("tokens")
    };
    let (fewer, more) = (most(2.0), most(-2.0));
    assert!(fewer < 5 && more > 20, "{fewer}, {more}");
    let text = json!({ "prompt": "hello", "max_tokens": 3, "ignore_eos": true, "logprobs": 2 });
    let (status, all) = server.post("/v1/completions", &text);
    let logprobs = &all["choices"][0]["logprobs"];
    for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[name].as_array().map(Vec::len), Some(3), "{status}: {all}");
    }
}

#[test]
fn what_is_wrong_with_a_request_is_named_and_harms_no_other() {
    let shell = Shell::new();
    let key = shell.write("key", "s3cret\n");
    let server = Server::new(&["--api-key-file", &key, "--context", "64", "--allow-origin", "http://page.example"]);
    let with_key = |path: &str| format!("POST {path}\r\nAuthorization: Bearer s3cret");
    let mut good = chat("hello", 1);
    good["logprobs"] = json!(true);
    let ask = |change: &dyn Fn(&mut Value)| {
        let mut asked = good.clone();
        change(&mut asked);
        server.send(&with_key("/v1/chat/completions"), &asked.to_string())
    };
    for (name, value, says) in [
        ("model", json!("gpt-9"), "gpt-9"),
        ("messages", json!([]), "message"),
        ("messages", json!([{ "role": "robot", "content": "x" }]), "robot"),
        ("messages", json!([{ "role": "user", "content": "x ".repeat(200) }]), "64"),
        ("temperature", json!(-1), "temperature"),
        ("temperature", json!("hot"), "temperature"),
        ("max_tokens", json!(0), "'max_tokens' is 0"),
        ("messages", json!([{ "role": "user", "content": "x ".repeat(100_000) }]), "bytes"),
        ("messages", json!([{ "role": "assistant", "tool_calls": [{ "id": "x" }] }]), "function"),
        ("stop", json!(vec!["x"; 65]), "'stop'"),
        ("stop", json!("x".repeat(5000)), "'stop'"),
        ("n", json!(100), "'n'"),
        ("presence_penalty", json!(3), "presence penalty"),
        ("top_logprobs", json!(21), "'top_logprobs'"),
        ("stop", json!(3), "'stop'"),
        ("tools", json!([{ "type": "function" }]), "tools[0] has no field 'function'"),
        ("temprature", json!(1), "'temprature'"),
        ("chat_template_kwargs", json!({ "messages": 1 }), "messages"),
    ] {
        // A stream that cannot begin is refused like an answer that comes whole.
        let (status, body) = ask(&|asked| {
            asked[name] = value.clone();
            asked["stream"] = json!(true);
        });
        let error: Value = serde_json::from_str(&body).expect("JSON");
        let message = error["error"]["message"].as_str().unwrap_or_else(|| panic!("{name}: {body}"));
        assert!((400..500).contains(&status) && message.contains(says), "{name}: {status} {message}");
    }
    let many = json!({ "prompt": vec!["a"; 64], "n": 16 }).to_string();
    let foreign = json!({ "prompt": [99_999], "stream": true }).to_string();
    for (head, body, status) in [
        (&*with_key("/v1/completions"), &*many, 400),
        (&with_key("/v1/completions"), &foreign, 400),
        ("POST /v1/chat/completions", "{}", 401),
        ("POST /v1/chat/completions\r\nAuthorization: Bearer s3cre", "{}", 401),
        ("GET /v1/models", "", 401),
        ("GET /health", "", 200),
        ("GET /v1/models\r\nx-api-key: s3cret", "", 200),
        ("GET /v1/models\r\nAuthorization: Basic x\r\nx-api-key: s3cret", "", 200),
        ("GET /v1/models\r\nauthorization: bearer s3cret\r\nOrigin: http://evil.example", "", 403),
        ("GET /v1/models\r\nauthorization: bearer s3cret\r\nOrigin: http://page.example", "", 200),
        (
            "OPTIONS /v1/models\r\nOrigin: http://page.example\r\nAccess-Control-Request-Headers: x-stainless-os",
            "",
            204,
        ),
        ("OPTIONS /v1/models\r\nOrigin: http://evil.example", "", 403),
        ("GET /v1/models/%ff\r\nx-api-key: s3cret", "", 404),
        ("GET /v1/models\r\nAuthorization: Bearer s3cret\r\nHost: evil.example", "", 403),
        (&with_key("/v1/chat/completions"), "nonsense", 400),
        (&with_key("/v1/chat/completions"), &"[".repeat(100_000), 400),
        (&with_key("/v1/nothing"), "{}", 404),
        ("GET /v1/chat/completions\r\nAuthorization: Bearer s3cret", "", 405),
    ] {
        assert_eq!(server.send(head, body).0, status, "{head}");
    }
    // A body of which the head says too much is not waited for.
    let mut stream = TcpStream::connect(&server.address).expect("connects");
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\nContent-Length: 99999999\r\n\r\n{";
    stream.write_all(head.as_bytes()).expect("sends");
    let mut first = [0; 12];
    stream.read_exact(&mut first).expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 413");
    assert_eq!(server.send(&with_key("/v1/chat/completions"), &good.to_string()).0, 200);
}

#[test]
fn who_hangs_up_ends_its_answer_and_a_full_queue_says_so() {
    let server = Server::new(&["--parallel", "1", "--queue", "1"]);
    let mut endless = chat("hello", 1);
    endless["max_tokens"] = json!(1_000_000);
    endless["stream"] = json!(true);
    let first = server.begin("POST /v1/chat/completions", &endless.to_string());
    endless["stream"] = json!(false);
    let second = server.begin("POST /v1/chat/completions", &endless.to_string());
    let start = Instant::now();
    while server.get("/health").1["requests"] != 2 {
        assert!(start.elapsed() < MOST_WAIT, "they are not let in");
    }
    let (status, body) = server.post("/v1/chat/completions", &chat("hello", 1));
    assert_eq!((status, &body["error"]["type"]), (429, &json!("rate_limit_error")));
    drop((first, second));
    server.wait_until_idle();
    let metric = |name: &str| {
        let (_, text) = server.send("GET /metrics", "");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("{name} in {text}"))
    };
    let before = metric("tilestream_generated_tokens_total");
    assert_eq!(server.post("/v1/chat/completions", &chat("hello", 1)).0, 200);
    assert_eq!(metric("tilestream_generated_tokens_total"), before + 12.0);
    assert_eq!((metric("tilestream_requests_total"), metric("tilestream_requests_turned_away_total")), (3.0, 1.0));
    assert!(metric("tilestream_first_token_seconds_total") > 0.0 && metric("tilestream_answers_under_way") == 0.0);
}

#[test]
fn connections_that_wait_for_an_answer_are_not_closed_for_others() {
    let server = Server::new(&["--parallel", "1", "--max-connections", "4"]);
    let mut long = chat("hello", 1);
    long["max_tokens"] = json!(200);
    long["stream"] = json!(true);
    // One is answered, one waits in the queue, and both are streams; two say nothing.
    let mut answered = server.begin("POST /v1/chat/completions", &long.to_string());
    let mut queued = server.begin("POST /v1/chat/completions", &long.to_string());
    let idle: Vec<_> = (0..2).map(|_| TcpStream::connect(&server.address).expect("connects")).collect();
    std::thread::sleep(Duration::from_millis(700));
    // Nor does one keep others out that owes its body.
    let head = "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{";
    let owing: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(&server.address).expect("connects");
            stream.write_all(head.as_bytes()).expect("sends");
            stream
        })
        .collect();
    assert_eq!(server.get("/health").0, 200);
    for stream in [&mut answered, &mut queued] {
        let mut all = String::new();
        stream.read_to_string(&mut all).expect("a stream");
        assert!(all.trim_end().ends_with("data: [DONE]"), "{all}");
    }
    drop((idle, owing));
}

#[cfg(unix)]
#[test]
fn answers_under_way_come_to_their_end_before_the_server_does() {
    let mut server = Server::new(&[]);
    let alone = server.alone("hello", &["--max-tokens", "120", "--ignore-eos", "--temperature", "1.5", "--seed", "7"]);
    let mut asked = chat("hello", 7);
    asked["max_tokens"] = json!(120);
    let mut stream = server.begin("POST /v1/chat/completions", &asked.to_string());
    let start = Instant::now();
    while server.get("/health").1["requests"] != 1 {
        assert!(start.elapsed() < MOST_WAIT, "it is not let in");
    }
    let ended = Command::new("kill").arg(server.process.id().to_string()).status().expect("kill");
    assert!(ended.success());
    let mut body = String::new();
    stream.read_to_string(&mut body).expect("an answer");
    let json: Value = serde_json::from_str(body.split("\r\n\r\n").nth(1).expect("a body")).expect("JSON");
    assert_eq!(json["choices"][0]["message"]["content"], alone["text"]);
    let start = Instant::now();
    let status = loop {
        if let Some(status) = server.process.try_wait().expect("a child") {
            break status;
        }
        assert!(start.elapsed() < MOST_WAIT, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{status}");
}
