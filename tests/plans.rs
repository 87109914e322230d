//! Plans of published shapes against snapshots: `UPDATE_EXPECT=1 cargo test --test plans` writes them anew.

mod common;

use std::fmt::Write;

use expect_test::expect_file;
use tilestream::plan::{self, LayerSpec, ModelSpec, Op};

/// What a person checks against the model card: sizes, tensors, ops, frequencies.
fn summary(spec: &ModelSpec) -> String {
    let ModelSpec { family, hidden, vocab, max_positions, tied_head, .. } = spec;
    let head = if *tied_head { "tied" } else { "own" };
    let mut text = format!("{family}: hidden {hidden}, vocabulary {vocab} ({head} head), {max_positions} positions\n");
    let buffers: Vec<_> = spec.buffers.iter().map(|buffer| format!("{} {}", buffer.name, buffer.width)).collect();
    let _ = writeln!(text, "buffers: {}", buffers.join(", "));
    let frequencies = &spec.rope.inverse_frequencies;
    let last = frequencies.len() - 1;
    let shown: Vec<_> = [0, 1, last / 2, last].map(|pair| format!("[{pair}] {:e}", frequencies[pair])).into();
    let _ = writeln!(text, "rope: {}, attention x {}", shown.join(", "), spec.rope.attention_factor);
    let mut first = 0;
    for run in spec.layers.chunk_by(|a, b| a == b) {
        let _ = writeln!(text, "layers {first} to {}:", first + run.len() - 1);
        first += run.len();
        layer(&mut text, spec, &run[0]);
    }
    let matrices = spec.layers.iter().flat_map(|layer| &layer.matrices);
    let weights: u64 = matrices.map(|matrix| u64::from(matrix.rows) * u64::from(matrix.columns)).sum();
    let head = u64::from(*vocab) * u64::from(*hidden);
    let _ = writeln!(text, "weights: {weights} in layers, {head} in the head, epsilon {:e}", spec.final_norm_epsilon);
    text
}

fn layer(text: &mut String, spec: &ModelSpec, layer: &LayerSpec) {
    let name = |id: plan::BufferId| spec.buffers[usize::from(id.0)].name;
    for op in &layer.ops {
        let line = match op {
            Op::RmsNorm { input, output, weight, epsilon } => {
                let weight = &layer.vectors[usize::from(weight.0)];
                format!("{} = rms_norm({}, {} [{}], {epsilon:e})", name(*output), name(*input), weight.name, weight.len)
            }
            Op::MatMul { input, output, weight, bias, accumulate } => {
                let matrix = &layer.matrices[usize::from(weight.0)];
                let bias = bias.map_or(String::new(), |bias| format!(" + {}", layer.vectors[usize::from(bias.0)].name));
                let sign = if *accumulate { "+=" } else { "=" };
                let (out, from) = (name(*output), name(*input));
                format!("{out} {sign} {} [{}, {}] * {from}{bias}", matrix.name, matrix.rows, matrix.columns)
            }
            Op::Rope { target, heads, head_dim, pairs } => {
                format!("rope({}: {heads} x {head_dim}, {pairs} pairs)", name(*target))
            }
            Op::KvWrite { key, value } => format!("cache({}, {}: {})", name(*key), name(*value), layer.kv_width),
            Op::Attention { query, output, heads, kv_heads, head_dim, scale, window } => {
                let window = window.map_or(String::new(), |window| format!(", window {window}"));
                let heads = format!("{heads} heads over {kv_heads}, {head_dim} wide");
                format!("{} = attention({}: {heads}, scale {scale}{window})", name(*output), name(*query))
            }
            Op::Gate { gate, up, output, activation } => {
                format!("{} = {activation:?}({}) * {}", name(*output), name(*gate), name(*up))
            }
            other => format!("{other:?}"),
        };
        let _ = writeln!(text, "  {line}");
    }
}

#[test]
fn published_shapes_have_the_plans_they_had() {
    let mut seen = 0;
    for file in std::fs::read_dir(common::data("plans")).expect("test data") {
        let path = file.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let config = serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("JSON");
            let spec = plan::model_spec(&config).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            expect_file![path.with_extension("txt")].assert_eq(&summary(&spec));
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen} configs");
}
