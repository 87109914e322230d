use super::*;

/// The rules that a file breaks.
fn broken_by(file: &str, text: &str) -> Vec<&'static str> {
    let library = Source::new("src/lib.rs", "pub use gpu::Device;");
    violations(&[library, Source::new(file, text)]).iter().map(|violation| violation.rule.name).collect()
}

/// For every rule, code that breaks it: a rule that this does not trip holds nothing.
const CROSSINGS: &[(&str, &str, &str)] = &[
    ("pure-data", "src/shard/mod.rs", "use crate::{error::Error, gpu::memory};"),
    ("plain-functions", "src/plan/mod.rs", "async fn f() {}"),
    ("encoding-alone", "src/encoding/gguf.rs", "use crate::store::Store;"),
    ("plan-from-config", "src/plan/mod.rs", "fn f(c: &crate::checkpoint::Checkpoint) {}"),
    ("checkpoint-before-model", "src/checkpoint/mod.rs", "use super::shard::Manifest;"),
    ("store-of-bytes", "src/store/file.rs", "use crate::shard::MANIFEST;"),
    ("stream-of-tiles", "src/stream/ring.rs", "use crate::plan::architectures::TABLE;"),
    ("stream-without-shaders", "src/stream/ring.rs", "const S: &str = include_str!(\"../../shaders/x.wgsl\");"),
    ("gpu-of-buffers", "src/gpu/kernels.rs", "use std::path::Path;"),
    ("model-of-kernels", "src/model/mod.rs", "use crate::shard::split::split;"),
    ("source-of-files", "src/source/mod.rs", "use crate::model::Engine;"),
    ("text-without-gpu", "src/text/mod.rs", "use crate::Device;"),
    ("reference-alone", "src/reference/mod.rs", "use crate::gpu::params::Rows;"),
    ("platform-below-all", "src/platform/native.rs", "use crate::store::Store;"),
    ("platform-cfg", "src/model/mod.rs", "fn f() { if cfg!(not(target_arch = \"wasm32\")) {} }"),
    ("platform-cfg", "src/model/mod.rs", "#[cfg(any(unix, feature = \"x\"))] fn f() {}"),
    ("platform-std", "src/generate.rs", "use std::{fmt, time::{Duration, Instant}};"),
    ("no-panic", "src/model/mod.rs", "fn f() { x().unwrap(); }"),
    ("no-panic", "src/model/mod.rs", "fn f() { panic!(\"no\"); }"),
    ("no-printing", "src/model/mod.rs", "fn f() { println!(\"no\"); }"),
    ("library-words", "src/model/mod.rs", "const S: &str = \"--budget is too small\";"),
    ("library-words", "src/model/mod.rs", "const S: &str = \"raise it (--budget)\";"),
    ("lint-reasons", "tests/gpu.rs", "#![allow(dead_code)]"),
    ("lint-reasons", "src/model/mod.rs", "#[cfg_attr(test, allow(dead_code))] fn f() {}"),
    ("lint-reasons", "src/model/mod.rs", "#[cfg(test)] mod tests { #[expect(dead_code)] fn f() {} }"),
];

#[test]
fn every_rule_catches_its_crossing() {
    for (rule, file, text) in CROSSINGS {
        assert_eq!(broken_by(file, text), [*rule], "{file}: {text}");
    }
    let long = "\n".repeat(501);
    assert_eq!(broken_by("shaders/long.wgsl", &long), ["file-size"]);
    let tried: BTreeSet<_> = CROSSINGS.iter().map(|(rule, ..)| *rule).chain(["file-size"]).collect();
    let all: BTreeSet<_> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(tried, all, "a rule without a crossing here");
}

#[test]
fn what_is_allowed_passes() {
    let allowed = [
        ("src/shard/split/mod.rs", "use crate::checkpoint::Checkpoint; use crate::store::Store;"),
        ("src/text/tokenizer.rs", "use crate::checkpoint::GgufTokenizer;"),
        ("src/texture.rs", "use crate::gpu::Device;"),
        ("src/store/file.rs", "#[cfg(unix)] use std::fs::File;"),
        ("src/gpu/device.rs", "#[cfg(target_arch = \"wasm32\")] fn f() {}"),
        ("src/model/mod.rs", "/// Like `x.unwrap()`, see [`crate::text`].\nfn f() { x.expect(\"non-empty\"); }"),
        ("src/model/mod.rs", "#[allow(dead_code, reason = \"the web uses it\")] fn f() {}"),
        ("src/model/mod.rs", "#[cfg(test)] mod tests { use crate::text::X; fn f() { x.unwrap(); panic!(); } }"),
        ("tests/end_to_end.rs", "fn f() { x.unwrap(); std::fs::read(\"x\"); }"),
        ("tools/cli/src/main.rs", "fn main() { println!(\"x\"); }"),
        ("shaders/short.wgsl", "var<storage> x: array<u32>; // wgpu"),
    ];
    for (file, text) in allowed {
        assert_eq!(broken_by(file, text), [""; 0], "{file}: {text}");
    }
}

#[test]
fn files_that_only_tests_include_may_cross() {
    let parent = Source::new("src/plan/rope.rs", "#[cfg(test)] #[path = \"rope_tests.rs\"] mod tests;");
    let named = Source::new("src/plan/mod.rs", "#[cfg(test)] mod testing;");
    let crossing = "fn f() { x.unwrap(); }";
    for (file, expected) in [("src/plan/rope_tests.rs", 0), ("src/plan/testing.rs", 0), ("src/plan/other.rs", 1)] {
        let sources = [
            Source::new("src/plan/rope.rs", "#[cfg(test)] #[path = \"rope_tests.rs\"] mod tests;"),
            Source::new("src/plan/mod.rs", "#[cfg(test)] mod testing;"),
            Source::new(file, crossing),
        ];
        assert_eq!(violations(&sources).len(), expected, "{file}");
    }
    assert_eq!(violations(&[parent, named]).len(), 0);
}
