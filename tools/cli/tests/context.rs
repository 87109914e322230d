//! What a model has not: positions beyond its own or beyond `--context`, in every command that takes some.

use serde_json::Value;

use crate::shell::Shell;

/// Positions of the small models.
const POSITIONS: usize = 64;

fn ids(count: usize) -> String {
    serde_json::to_string(&vec![5; count]).expect("JSON")
}

#[test]
fn a_text_past_the_positions_is_refused_with_both_numbers() {
    let shell = Shell::new();
    let model = shell.gguf("Q8_0.gguf");
    let file = |count| shell.write(&format!("{count}.json"), &ids(count));
    let out = shell.path("out.jsonl").display().to_string();
    let prompts = shell.write("prompts.jsonl", &format!("{{\"ids\": {}}}\n", ids(64)));
    let table: &[(&[&str], &[&str])] = &[
        (&["score", &model, "--ids-file", &file(65)], &["65 tokens", "64 positions", "shorten"]),
        (&["score", &model, "--ids-file", &file(601)], &["601 tokens", "64 positions"]),
        (
            &["score", &model, "--ids-file", &file(33), "--context", "32"],
            &["33 tokens", "32 positions", "has 64", "raise"],
        ),
        (&["run", &model, "--ids-file", &file(64)], &["64 tokens", "64 positions", "none for an answer"]),
        (&["run", &model, "--ids-file", &file(9), "--context", "9"], &["9 tokens", "9 positions", "raise the context"]),
        (&["run", &model, "--ids-file", &file(70), "--context", "100"], &["70 tokens", "64 positions", "shorten"]),
        (&["bench", &model, "--prompt-tokens", "60", "--tokens", "9"], &["70 positions", "the 64"]),
        (&["bench", &model, "--prompt-tokens", "9", "--tokens", "9", "--context", "18"], &["19 positions", "the 18"]),
    ];
    for (arguments, wanted) in table {
        let (code, line) = shell.fails(arguments);
        assert_eq!(code, 2, "{arguments:?}: {line}");
        for text in *wanted {
            assert!(line.contains(text), "{arguments:?}: {line} lacks {text}");
        }
    }
    shell.fails(&["run", &model, "--prompts", &prompts, "--out", &out]);
    let told = std::fs::read_to_string(&out).expect("a line");
    assert!(told.contains("64 tokens") && told.contains("64 positions"), "{told}");
}

#[test]
fn an_answer_ends_where_the_positions_do() {
    let shell = Shell::new();
    let model = shell.gguf("Q8_0.gguf");
    let file = shell.write("ids.json", &ids(20));
    let common = ["run", &model, "--ids-file", &file, "--ignore-eos", "--json", "--temperature", "0"];
    let answer = |more: &[&str]| shell.json(&[&common[..], more].concat());
    let count = |answer: &Value| answer["ids"].as_array().expect("ids").len();
    // The budget is the least for a text of all positions: more than the model can have is not reserved.
    let least = shell.json(&["inspect", &model, "--context", "64", "--json"])["smallest_budget_bytes"].to_string();
    for (more, new, reason) in [
        (&["--max-tokens", "4000000000", "--budget", &least][..], POSITIONS - 20, "context_full"),
        (&["--max-tokens", "100", "--context", "26"], 6, "context_full"),
        (&["--max-tokens", "6", "--context", "26"], 6, "max_tokens"),
        (&["--max-tokens", "3", "--context", "4000000000"], 3, "max_tokens"),
    ] {
        let answer = answer(more);
        assert_eq!((count(&answer), answer["stop_reason"].as_str()), (new, Some(reason)), "{more:?}");
    }
    let whole = shell.write("whole.json", &ids(POSITIONS));
    assert_eq!(shell.json(&["score", &model, "--ids-file", &whole])["tokens"], POSITIONS);
}

#[test]
fn an_id_that_the_vocabulary_lacks_is_refused() {
    let shell = Shell::new();
    let (model, file) = (shell.gguf("Q8_0.gguf"), shell.write("ids.json", "[5, 99999]"));
    for command in ["run", "score"] {
        let (code, line) = shell.fails(&[command, &model, "--ids-file", &file]);
        assert!(code == 2 && line.contains("99999") && line.contains("271"), "{command}: {line}");
    }
}

#[test]
fn a_cache_that_does_not_fit_names_what_makes_it_smaller() {
    let shell = Shell::new();
    let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 64, "hidden_size": 256,
        "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 8,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": true}"#;
    let (config, model) = (shell.write("config.json", config), shell.path("model").display().to_string());
    shell.ok(&["synth", &config, &model]);
    let file = shell.write("ids.json", &ids(4000));
    for command in ["run", "score"] {
        let arguments = [command, &model, "--ids-file", &file, "--budget", "32MiB"];
        let (code, line) = shell.fails(&arguments);
        assert!(code == 1 && line.contains("--kv f16") && line.contains("--context"), "{command}: {line}");
    }
    let small = shell.json(&["inspect", &model, "--context", "4000", "--kv", "f16", "--json"]);
    let large = shell.json(&["inspect", &model, "--context", "4000", "--json"]);
    let bytes = |of: &Value| of["smallest_budget_bytes"].as_u64().expect("a size");
    assert!(bytes(&large) > bytes(&small) + (15 << 20), "{large} {small}");
}
