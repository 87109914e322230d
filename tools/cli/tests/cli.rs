//! The real command, as a user types it, on small real files.

use std::path::Path;

use serde_json::Value;

use crate::shell::Shell;

#[test]
fn a_prompt_is_answered_and_reported() {
    let shell = Shell::new();
    let model = shell.gguf("Q4_K.gguf");
    let arguments = ["run", &model, "--prompt", "hello", "--max-tokens", "5", "--ignore-eos", "--budget", "64MiB"];
    let report = shell.json(&[&arguments[..], &["--json"]].concat());
    assert_eq!(report["ids"].as_array().expect("ids").len(), 5);
    assert_eq!(report["stop_reason"], "max_tokens");
    let profile = &report["profile"];
    for field in [
        "adapter",
        "budget_bytes",
        "peak_gpu_bytes",
        "model_bytes",
        "pinned_bytes",
        "streamed_bytes_per_sweep",
        "sweeps",
        "prompt_tokens",
        "new_tokens",
        "time_to_first_token_s",
        "decode_tokens_per_s",
        "read_busy_s",
        "upload_busy_s",
        "compute_busy_s",
        "wall_s",
    ] {
        assert!(!profile[field].is_null(), "{field} is missing");
    }
    assert_eq!(profile["budget_bytes"], 64 << 20);
    assert!(profile["peak_gpu_bytes"].as_u64() <= profile["budget_bytes"].as_u64(), "{profile}");
    let text = report["text"].as_str().expect("a text");
    assert_eq!(shell.ok(&arguments).trim_end_matches('\n'), text.trim_end_matches('\n'), "the streamed text");
    let direct = shell.json(&[&arguments[..], &["--json", "--io", "direct"]].concat());
    assert_eq!(direct["ids"], report["ids"], "read past the cache");
}

#[test]
fn a_byte_order_mark_is_no_text_and_a_cut_answer_says_so() {
    let shell = Shell::new();
    let model = shell.gguf("Q8_0.gguf");
    let with_mark = |name: &str, text: &str| shell.write(name, &format!("\u{feff}{text}"));
    let common = ["run", &model, "--max-tokens", "3", "--ignore-eos", "--json"];
    let plain = shell.run(&[&common[..], &["--prompt", "hello"]].concat());
    let told = String::from_utf8_lossy(&plain.stderr).into_owned();
    assert!(told.contains("(cut at --max-tokens 3)"), "{told}");
    let plain: Value = serde_json::from_slice(&plain.stdout).expect("JSON");
    let marked = shell.json(&[&common[..], &["--prompt-file", &with_mark("p.txt", "hello")]].concat());
    assert_eq!(
        (&marked["ids"], &marked["profile"]["prompt_tokens"]),
        (&plain["ids"], &plain["profile"]["prompt_tokens"])
    );
    let score = |option: &str, file: &str| shell.json(&["score", &model, option, file])["tokens"].clone();
    assert_eq!(score("--text-file", &with_mark("a.txt", "the")), score("--text-file", &shell.write("b.txt", "the")));
    assert_eq!(score("--ids-file", &with_mark("ids.json", "[5, 80, 33]")), 3);
}

#[test]
fn rounded_activations_change_numbers_only_where_weights_are_whole() {
    let shell = Shell::new();
    let ids = shell.write("ids.json", "[1, 2, 3, 4]");
    for (name, rounds) in [("Q8_0.gguf", true), ("BF16.gguf", false)] {
        let model = shell.gguf(name);
        let arguments = ["score", &model, "--ids-file", &ids, "--budget", "64MiB"];
        let exact = shell.json(&arguments);
        let output = shell.run(&[&arguments[..], &["--activations", "i8"]].concat());
        let (told, text) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        let rounded: Value = serde_json::from_str(text.trim_end()).expect("JSON");
        assert_eq!(exact == rounded, !rounds, "{name}: {exact} and {rounded}");
        assert_eq!(told.contains("takes rounded activations"), !rounds, "{name}: {told}");
    }
}

#[test]
fn a_trace_tells_what_happened_when() {
    let shell = Shell::new();
    let (model, file) = (shell.gguf("Q4_K.gguf"), shell.path("trace.json"));
    let arguments = ["run", &model, "--prompt", "hello", "--max-tokens", "4", "--ignore-eos", "--budget", "10MiB"];
    let report = shell.json(&[&arguments[..], &["--json", "--trace", file.to_str().expect("UTF-8")]].concat());
    let trace: Value = serde_json::from_slice(&std::fs::read(&file).expect("a trace")).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let of = |name: &str| events.iter().filter(|event| event["name"] == name).collect::<Vec<_>>();
    let bytes: u64 = of("read").iter().map(|event| event["args"]["bytes"].as_u64().expect("bytes")).sum();
    // What was read ahead for a sweep that did not come is in the trace too.
    assert!(bytes >= report["profile"]["bytes_read"].as_u64().expect("bytes"), "{bytes}");
    assert!(
        of("read").iter().any(|event| event["args"]["tiles"].as_str().is_some_and(|tiles| tiles.starts_with("head")))
    );
    let last = of("compute").iter().filter_map(|event| event["args"]["sweep"].as_u64()).max().expect("submits");
    assert_eq!(last + 1, report["profile"]["sweeps"].as_u64().expect("sweeps"));
    assert!(events.iter().all(|event| event["ph"] == "M" || event["dur"].as_f64().is_some_and(|length| length >= 0.0)));
}

#[test]
fn ids_in_and_scores_out() {
    let shell = Shell::new();
    let model = shell.gguf("F16.gguf");
    let ids = shell.write("ids.json", "[5, 80, 33, 2, 64]");
    let score = shell.json(&["score", &model, "--ids-file", &ids, "--budget", "64MiB"]);
    assert_eq!(score["tokens"], 5);
    let logits = score["last_logits"].as_array().expect("logits");
    assert_eq!(logits.len(), 271);
    assert_eq!(score["top"].as_array().expect("pairs").len(), 10);
    assert!(score["nll"].as_f64().expect("a number") > 0.0);
    let run = shell.json(&["run", &model, "--ids-file", &ids, "--max-tokens", "1", "--ignore-eos", "--json"]);
    assert_eq!(run["ids"][0], score["top"][0][0], "the best logit is the next id");
}

#[test]
fn a_split_model_is_inspected_verified_and_found_damaged() {
    let shell = Shell::new();
    let model = shell.gguf("Q6_K.gguf");
    let out = shell.path("model").display().to_string();
    shell.ok(&["split", &model, &out]);
    let inspected = shell.json(&["inspect", &out, "--json"]);
    assert!(inspected["encodings"]["q6_k"]["tensors"].as_u64() > Some(0), "{inspected}");
    let smallest = inspected["smallest_budget_bytes_direct"].as_u64().expect("a size");
    assert!(smallest > 8 << 20 && smallest < 32 << 20);
    assert!(shell.ok(&["inspect", &out]).contains("smallest budget"));
    shell.ok(&["verify", &out]);
    let shard = shell.path("model").join("layer-00000.safetensors");
    let mut bytes = std::fs::read(&shard).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&shard, bytes).expect("writes");
    let output = shell.run(&["verify", &out]);
    assert_eq!(output.status.code(), Some(1));
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(found.contains("layer-00000.safetensors") && found.contains("model.layers.0."), "{found}");
    let (code, line) = shell.fails(&["run", &out, "--prompt", "hello"]);
    assert_eq!(code, 1);
    assert!(line.contains("layer-00000.safetensors") && line.contains("model.layers.0."), "{line}");
}

#[test]
fn wrong_arguments_are_2_and_everything_else_is_1() {
    let shell = Shell::new();
    let model = shell.gguf("Q4_0.gguf");
    let out = shell.path("out").display().to_string();
    let twos: &[&[&str]] = &[
        &["run", &model],
        &["run", &model, "--prompt", "a", "--budget", "lots"],
        &["run", &model, "--prompt", "a", "--temperature", "-1"],
        &["run", &model, "--prompt", "a", "--io", "fast"],
        &["split", &model, &out, "--weights", "q4"],
        &["synth", "llama-9", &out],
        &["frobnicate"],
    ];
    for arguments in twos {
        let (code, line) = shell.fails(arguments);
        assert_eq!(code, 2, "{arguments:?}: {line}");
    }
    let (code, line) = shell.fails(&["run", "no/such/model", "--prompt", "a"]);
    assert!(code == 1 && line.contains("no/such/model"), "{line}");
    let (code, line) = shell.fails(&["run", &model, "--prompt", "a", "--budget", "8MiB"]);
    assert!(code == 1 && line.contains("smallest"), "{line}");
    let (code, line) = shell.fails(&["run", &model, "--prompt", "a", "--adapter", "no such adapter"]);
    assert!(code != 0 && line.contains("no such adapter"), "{line}");
    let broken = shell.write("broken.gguf", "GGUF but not really");
    let (code, line) = shell.fails(&["run", &broken, "--prompt", "a"]);
    assert!(code == 1 && line.contains("broken.gguf"), "{line}");
}

#[test]
fn quantized_files_are_not_quantized_again() {
    let shell = Shell::new();
    let model = shell.gguf("Q4_1.gguf");
    let out = shell.path("out").display().to_string();
    let (_, line) = shell.fails(&["split", &model, &out, "--weights", "q8"]);
    assert!(line.contains("quantized"), "{line}");
    assert!(!Path::new(&out).join("manifest.json").exists());
}

#[test]
fn a_model_in_q8_and_q4_still_runs() {
    let shell = Shell::new();
    let model = shell.gguf("F32.gguf");
    let ids = shell.write("ids.json", "[5, 80, 33, 2, 64]");
    let exact = shell.json(&["score", &model, "--ids-file", &ids])["nll"].as_f64().expect("a number");
    for (weights, tolerance) in [("q8", 0.05), ("q4", 0.5)] {
        let out = shell.path(weights).display().to_string();
        shell.ok(&["split", &model, &out, "--weights", weights, "--max-file-size", "100KB"]);
        let nll = shell.json(&["score", &out, "--ids-file", &ids])["nll"].as_f64().expect("a number");
        assert!((nll - exact).abs() < tolerance * exact && nll != exact, "{weights}: {nll} against {exact}");
    }
}

#[test]
fn adapters_are_listed() {
    let text = Shell::new().ok(&["devices"]);
    assert!(text.contains("subgroups") && text.contains("largest binding"), "{text}");
}
