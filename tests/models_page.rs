//! The list of classes in docs/models.md: `UPDATE_EXPECT=1 cargo test --test engine models_page` writes it anew from the table.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::common::{data, families};
use tilestream::internals::plan::listed_classes;

const BEGIN: &str = "<!-- classes: made by `UPDATE_EXPECT=1 cargo test --test engine models_page` -->\n";
const END: &str = "<!-- end of classes -->";

/// Classes without a checkpoint of their own, and what they are compared by.
const ALONE: &[(&str, &str)] = &[
    ("Gemma3nForConditionalGeneration", "its text part alone: gemma3n"),
    ("KimiK25ForConditionalGeneration", "another name of Kimi_K25ForConditionalGeneration: kimi-k25"),
    ("Llama4ForConditionalGeneration", "its text part alone: llama4-published"),
    ("MistralForCausalLM", "as the text part of mistral3"),
    ("MllamaForCausalLM", "as the text part of mllama"),
    ("MuseGlimmerForCausalLM", "as the text part of muse-glimmer"),
    ("SarvamMoEForCausalLM", "as transformers writes it: sarvam-moe"),
];

/// Names of the checkpoints that each class is compared with.
fn checkpoints() -> BTreeMap<String, Vec<String>> {
    let mut of_class: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in families() {
        let config = std::fs::read(data("families").join(&name).join("config.json")).expect("a config");
        let config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
        let class = config["architectures"][0].as_str().expect("a class").to_owned();
        let gguf = ["json", "gguf"].iter().any(|end| data("families-gguf").join(format!("{name}.{end}")).is_file());
        of_class.entry(class).or_default().push(format!("{name}{}", if gguf { " (also GGUF)" } else { "" }));
    }
    of_class
}

fn table() -> String {
    let checkpoints = checkpoints();
    let mut table = String::from("\n| class | besides what Llama has | compared with |\n| --- | --- | --- |\n");
    for class in listed_classes() {
        let why = ALONE.iter().find(|(alone, _)| *alone == class.class).map_or("", |(_, why)| why);
        let compared = checkpoints.get(class.class).map_or_else(|| why.to_owned(), |names| names.join(", "));
        let special = match class.text {
            Some(text) => format!("its text part, which is `{text}` or what `text_config` says"),
            None => class.special.join(", "),
        };
        let _ = writeln!(table, "| `{}` | {special} | {compared} |", class.class);
    }
    table + "\n"
}

#[test]
fn the_page_lists_every_class_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/models.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let (before, rest) = page.split_once(BEGIN).expect("the beginning of the list");
    let (listed, after) = rest.split_once(END).expect("its end");
    let expected = table();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, [before, BEGIN, &expected, END, after].concat()).expect("writes");
    } else {
        assert!(listed == expected, "docs/models.md is not what the table says: write it anew");
    }
}

#[test]
fn every_class_is_compared_with_its_reference() {
    let checkpoints = checkpoints();
    let classes = listed_classes();
    let alone: Vec<&str> =
        classes.iter().map(|class| class.class).filter(|class| !checkpoints.contains_key(*class)).collect();
    assert_eq!(alone, ALONE.iter().map(|(class, _)| *class).collect::<Vec<_>>());
}
