//! The table of errors that name an option or a command.

use std::fs;

use serde_json::{Value, json};

use super::Step::{Bytes, Done, Fails, Other, Quoted, Typed, Value as Valued, Without, Words};
use super::{Case, Place};

/// An answer of a few tokens; each prompt below is of a few tokens as well.
const GGUF: fn(&Place) = |place| place.copy("small-gguf/Q8_0.gguf", "model.gguf");
const CHECKPOINT: fn(&Place) = |place| place.checkpoint("checkpoint");

fn config(place: &Place, change: impl FnOnce(&mut Value)) {
    let path = place.path("checkpoint/config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON");
    change(&mut config);
    fs::write(path, config.to_string()).expect("written");
}

/// A checkpoint with a tokenizer of one word and this chat template.
fn templated(place: &Place, template: &Value) {
    place.checkpoint("checkpoint");
    let bytes = json!({ "type": "BPE", "vocab": { "h": 5, "i": 6, "hi": 7 }, "merges": ["h i"] });
    place.write("checkpoint/tokenizer.json", &json!({ "version": "1.0", "model": bytes }).to_string());
    place.write("checkpoint/tokenizer_config.json", &json!({ "chat_template": template }).to_string());
}

/// A model whose keys and values are most of what it needs.
fn long(place: &Place) {
    let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 64, "hidden_size": 256,
        "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 8,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": true}"#;
    place.write("config.json", config);
    place.ok("tilestream synth config.json model");
}

/// Changes the middle byte of a file.
fn flip(place: &Place, name: &str) {
    let mut bytes = fs::read(place.path(name)).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(place.path(name), bytes).expect("written");
}

pub const CASES: &[Case] = &[
    Case {
        name: "a budget that is too small",
        given: GGUF,
        command: "tilestream run model.gguf --prompt hello --max-tokens 2 --ignore-eos --budget 8MiB",
        steps: &[Bytes],
    },
    Case {
        name: "the same for a score",
        given: GGUF,
        command: "tilestream score model.gguf --ids-file ids.json --budget 8MiB",
        steps: &[Bytes],
    },
    Case {
        name: "a unit that was forgotten",
        given: GGUF,
        command: "tilestream run model.gguf --prompt hello --max-tokens 2 --budget 5",
        steps: &[Other("did you mean 5GiB?", "tilestream run model.gguf --prompt hello --max-tokens 2 --budget 5GiB")],
    },
    Case {
        name: "keys and values that pass the budget, made smaller",
        given: long,
        command: "tilestream run model --ids-file ids.json --max-tokens 4000 --ignore-eos --budget 16MiB",
        steps: &[Words("--kv f16"), Valued("a smaller --context", "8")],
    },
    Case {
        name: "a measurement that passes the positions",
        given: GGUF,
        command: "tilestream bench model.gguf --prompt-tokens 60 --tokens 9 --repeats 1 --budget 64MiB",
        steps: &[Valued("(--prompt-tokens", "4")],
    },
    Case {
        name: "a resident model that memory does not hold",
        given: GGUF,
        command: "tilestream bench model.gguf --prompt-tokens 4 --tokens 1 --repeats 1 --budget 100GiB --resident",
        steps: &[Without("--resident")],
    },
    Case {
        name: "no prompt",
        given: GGUF,
        command: "tilestream run model.gguf --max-tokens 2",
        steps: &[Valued("give one with --prompt", "hello")],
    },
    Case {
        name: "no prompt, and a file has one",
        given: |place| {
            GGUF(place);
            place.write("prompt.txt", "hello");
        },
        command: "tilestream run model.gguf --max-tokens 2",
        steps: &[Valued("--prompt, --prompt-file", "prompt.txt")],
    },
    Case {
        name: "an adapter that is not there",
        given: GGUF,
        command: "tilestream run model.gguf --prompt hello --max-tokens 2 --adapter none-such",
        steps: &[Quoted("choose one of: ", "--adapter")],
    },
    Case {
        name: "a date in words",
        given: GGUF,
        command: "tilestream run model.gguf --prompt hello --max-tokens 2 --date today",
        steps: &[Valued("--date", "2026-11-30")],
    },
    Case {
        name: "no chat template and no tokenizer",
        given: CHECKPOINT,
        command: "tilestream run checkpoint --prompt hi --max-tokens 2 --ignore-eos",
        steps: &[
            Typed("tilestream run --raw", "checkpoint --prompt hi --max-tokens 2 --ignore-eos"),
            Typed("tilestream run --ids-file", "ids.json checkpoint --max-tokens 2 --ignore-eos"),
        ],
    },
    Case {
        name: "a chat with a model that has no template",
        given: CHECKPOINT,
        command: "echo hi | tilestream chat checkpoint",
        steps: &[
            Typed("tilestream run --raw", "checkpoint --prompt hi --max-tokens 2"),
            Typed("tilestream run --ids-file", "ids.json checkpoint --max-tokens 2"),
        ],
    },
    Case {
        name: "a chat template that refuses",
        given: |place| templated(place, &json!("{{ raise_exception('never') }}")),
        command: "tilestream run checkpoint --prompt hi --max-tokens 2",
        steps: &[Typed("tilestream run --raw", "checkpoint --prompt hi --max-tokens 2")],
    },
    Case {
        name: "a chat template that does not compile",
        given: |place| templated(place, &json!("{% for %}")),
        command: "tilestream run checkpoint --prompt hi --max-tokens 2",
        steps: &[
            Done("take it out", |place| {
                fs::remove_file(place.path("checkpoint/tokenizer_config.json")).expect("removed")
            }),
            Typed("tilestream run --raw", "checkpoint --prompt hi --max-tokens 2"),
        ],
    },
    Case {
        name: "a chat template that is no text",
        given: |place| templated(place, &json!({ "default": "{{ messages }}" })),
        command: "tilestream run checkpoint --prompt hi --max-tokens 2",
        steps: &[
            Done("take it out", |place| {
                fs::remove_file(place.path("checkpoint/tokenizer_config.json")).expect("removed")
            }),
            Typed("tilestream run --raw", "checkpoint --prompt hi --max-tokens 2"),
        ],
    },
    Case {
        name: "a field that no family knows",
        given: |place| {
            CHECKPOINT(place);
            config(place, |config| config["wobble"] = json!(3));
        },
        command: "tilestream run checkpoint --ids-file ids.json --max-tokens 2 --ignore-eos",
        steps: &[Words("--ignore-field wobble")],
    },
    Case {
        name: "weights that are quantized already",
        given: |place| place.copy("small-gguf/Q4_1.gguf", "model.gguf"),
        command: "tilestream split model.gguf model --weights q8",
        steps: &[Words("--weights original")],
    },
    Case {
        name: "quantized weights that are stored decoded",
        given: |place| {
            for name in ["config.json", "model.safetensors"] {
                place.copy(&format!("families/llama-gptq-act-order/{name}"), &format!("checkpoint/{name}"));
            }
        },
        command: "tilestream split checkpoint model",
        steps: &[Other("--weights q8 or q4", "tilestream split checkpoint smaller --weights q8")],
    },
    Case {
        name: "weights too large for a scale",
        given: |place| {
            place.copy("small-gguf/F32.gguf", "model.gguf");
            let mut bytes = fs::read(place.path("model.gguf")).expect("read");
            // Most of the file are matrices.
            let middle = bytes.len() / 2 / 4 * 4;
            bytes[middle..middle + 4].copy_from_slice(&1e30_f32.to_le_bytes());
            fs::write(place.path("model.gguf"), bytes).expect("written");
        },
        command: "tilestream split model.gguf model --weights q4",
        steps: &[Words("--weights original")],
    },
    Case {
        name: "files that are too small for a row",
        given: CHECKPOINT,
        command: "tilestream split checkpoint model --max-file-size 300",
        steps: &[Valued("a larger --max-file-size", "100KB")],
    },
    Case {
        name: "originals that belong to somebody else",
        given: |place| {
            place.checkpoint("elsewhere");
            fs::create_dir(place.path("checkpoint")).expect("made");
            for name in ["config.json", "model.safetensors"] {
                let target = place.path("elsewhere").join(name);
                std::os::unix::fs::symlink(target, place.path("checkpoint").join(name)).expect("linked");
            }
        },
        command: "tilestream split checkpoint model --delete-original",
        steps: &[Without("--delete-original")],
    },
    Case {
        name: "an original that is gone, and a model that is damaged",
        given: |place| {
            CHECKPOINT(place);
            place.ok("tilestream split checkpoint model --delete-original");
            flip(place, "model/layer-00001.safetensors");
        },
        command: "tilestream split checkpoint model --delete-original",
        steps: &[Done("get the checkpoint again, and split it again without --delete-original", |place| {
            CHECKPOINT(place);
            place.ok("tilestream split checkpoint model");
        })],
    },
    Case {
        name: "a model that is damaged",
        given: |place| {
            CHECKPOINT(place);
            place.ok("tilestream split checkpoint model");
            flip(place, "model/layer-00001.safetensors");
        },
        command: "tilestream run model --ids-file ids.json --max-tokens 2 --ignore-eos",
        steps: &[
            Fails("tilestream verify", "model"),
            Done("split the model again", |place| drop(place.ok("tilestream split checkpoint model"))),
        ],
    },
    Case {
        name: "several files in a folder",
        given: |place| {
            for name in ["Q4_0", "Q8_0"] {
                place.copy(&format!("small-gguf/{name}.gguf"), &format!("models/{name}.gguf"));
            }
        },
        command: "tilestream run models --prompt hello --max-tokens 2",
        steps: &[Other("by its path", "tilestream run models/Q8_0.gguf --prompt hello --max-tokens 2")],
    },
    Case {
        name: "a file's name for a model on this machine",
        given: |place| place.copy("small-gguf/Q8_0.gguf", "models/Q8_0.gguf"),
        command: "tilestream run models --file Q8_0.gguf --prompt hello --max-tokens 2",
        steps: &[Other("the file's path in place", "tilestream run models/Q8_0.gguf --prompt hello --max-tokens 2")],
    },
    Case {
        name: "a path with a slip",
        given: GGUF,
        command: "tilestream run modle.gguf --prompt hello --max-tokens 2",
        steps: &[Other("did you mean model.gguf?", "tilestream run model.gguf --prompt hello --max-tokens 2")],
    },
    Case {
        name: "answers of something else",
        given: |place| {
            GGUF(place);
            place.write("in.jsonl", "{\"ids\": [1, 5], \"max_tokens\": 2}\n");
            place.write("out.jsonl", "not an answer\nat all\n");
        },
        command: "tilestream run model.gguf --prompts in.jsonl --out out.jsonl",
        steps: &[Valued("give another --out", "other.jsonl")],
    },
    Case {
        name: "answers to other prompts",
        given: |place| {
            GGUF(place);
            place.write("in.jsonl", "{\"ids\": [1, 5], \"max_tokens\": 2}\n");
            place.ok("tilestream run model.gguf --prompts in.jsonl --out out.jsonl");
            place.write("in.jsonl", "{\"ids\": [1, 6], \"max_tokens\": 2}\n");
        },
        command: "tilestream run model.gguf --prompts in.jsonl --out out.jsonl",
        steps: &[Valued("give another --out", "other.jsonl")],
    },
    Case {
        name: "an encoding that is not known",
        given: |_| (),
        command: "tilestream devices --tune none --columns 32",
        steps: &[Other("known are f32", "tilestream devices")],
    },
];
