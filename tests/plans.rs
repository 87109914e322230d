//! Plans of published shapes against snapshots: `UPDATE_EXPECT=1 cargo test --test plans` writes them anew.

mod common;

use std::fmt::Write;

use expect_test::expect_file;
use tilestream::plan::{self, AttentionSpec, HeadSpec, LayerSpec, ModelSpec, NormKind, Op};

/// What a person checks against the model card: sizes, tensors, ops, frequencies.
fn summary(spec: &ModelSpec) -> String {
    let ModelSpec { family, hidden, vocab, max_positions, .. } = spec;
    let head = if spec.head.tied { "tied" } else { "own" };
    let mut text = format!("{family}: hidden {hidden}, vocabulary {vocab} ({head} head), {max_positions} positions\n");
    let used = spec.buffers.iter().filter(|buffer| buffer.width > 0);
    let buffers: Vec<_> = used.map(|buffer| format!("{} {}", buffer.name, buffer.width)).collect();
    let _ = writeln!(text, "buffers: {}", buffers.join(", "));
    for rope in &spec.ropes {
        let frequencies = &rope.inverse_frequencies;
        let last = frequencies.len() - 1;
        let shown: Vec<_> = [0, 1, last / 2, last].map(|pair| format!("[{pair}] {:e}", frequencies[pair])).into();
        let long = rope.long.as_ref().map_or(String::new(), |(from, _)| format!(", others past {from} positions"));
        let grows = rope.temperature.map_or(String::new(), |(positions, strength)| {
            format!(", queries x {strength} ln(1 + floor((position + 1) / {positions})) + 1")
        });
        let _ = writeln!(text, "rope: {}, attention x {}{long}{grows}", shown.join(", "), rope.attention_factor);
    }
    if spec.embedding_scale != 1.0 {
        let _ = writeln!(text, "embeddings x {}", spec.embedding_scale);
    }
    let mut first = 0;
    for run in spec.layers.chunk_by(|a, b| a == b) {
        let _ = writeln!(text, "layers {first} to {}:", first + run.len() - 1);
        first += run.len();
        layer(&mut text, spec, &run[0]);
    }
    let matrices = spec.layers.iter().flat_map(|layer| &layer.matrices);
    let weights: u64 = matrices.map(|matrix| u64::from(matrix.rows) * u64::from(matrix.columns)).sum();
    let each = |layer: &LayerSpec| {
        layer.experts.as_ref().map_or(0, |experts| {
            let matrices = experts.matrices(0).into_iter();
            u64::from(experts.count) * matrices.map(|m| u64::from(m.rows) * u64::from(m.columns)).sum::<u64>()
        })
    };
    let experts: u64 = spec.layers.iter().map(each).sum();
    if experts > 0 {
        let _ = writeln!(text, "weights of experts: {experts}");
    }
    let head = u64::from(*vocab) * u64::from(*hidden);
    let HeadSpec { norm, epsilon, logit_scale, softcap, .. } = &spec.head;
    let kind = if *norm == NormKind::Rms { String::new() } else { format!(", {norm:?} norm") };
    let scale = if *logit_scale == 1.0 { String::new() } else { format!(", logits x {logit_scale}") };
    let cap = softcap.map_or(String::new(), |cap| format!(", capped at {cap}"));
    let _ = writeln!(text, "weights: {weights} in layers, {head} in the head, epsilon {epsilon:e}{kind}{scale}{cap}");
    text
}

fn layer(text: &mut String, spec: &ModelSpec, layer: &LayerSpec) {
    let name = |id: plan::BufferId| spec.buffers[usize::from(id.0)].name;
    for op in &layer.ops {
        let line = match op {
            Op::Norm { input, output, norm, groups, width, accumulate, scale, .. } => {
                let vector = |id: &plan::VectorId| &layer.vectors[usize::from(id.0)];
                let weight = norm
                    .weight
                    .as_ref()
                    .map_or(String::new(), |id| format!(", {} [{}]", vector(id).name, vector(id).len));
                let kind = if norm.kind == NormKind::Rms { "rms_norm" } else { "layer_norm" };
                let groups = if *groups == 1 { String::new() } else { format!(", {groups} of {width}") };
                let bias = norm.bias.as_ref().map_or(String::new(), |id| format!(" + {}", vector(id).name));
                let sign = if *accumulate { "+=" } else { "=" };
                let (out, from, epsilon) = (name(*output), name(*input), norm.epsilon);
                format!("{out} {sign} {kind}({from}{weight}{groups}, {epsilon:e}){bias}{}", times(*scale))
            }
            Op::MatMul { input, output, weight, bias, accumulate, scale } => {
                let matrix = &layer.matrices[usize::from(weight.0)];
                let bias = bias.map_or(String::new(), |bias| format!(" + {}", layer.vectors[usize::from(bias.0)].name));
                let sign = if *accumulate { "+=" } else { "=" };
                let (out, from) = (name(*output), name(*input));
                let (rows, columns) = (matrix.rows, matrix.columns);
                format!("{out} {sign} {} [{rows}, {columns}] * {from}{bias}{}", matrix.name, times(*scale))
            }
            Op::Rope { target, heads, head_dim, pairs, table } => {
                let table = if *table == 0 { String::new() } else { format!(", table {table}") };
                format!("rope({}: {heads} x {head_dim}, {pairs} pairs{table})", name(*target))
            }
            Op::Place { input, output, groups, width, first, .. } => {
                format!("{}[{groups} x {first}..] = {}[{width}]", name(*output), name(*input))
            }
            Op::KvWrite { key, value } => {
                format!("cache({}, {}: {} + {})", name(*key), name(*value), layer.key_width, layer.value_width)
            }
            Op::Attention { query, output, attention } => {
                let AttentionSpec { heads, kv_heads, head_dim, scale, window, softcap, chunked, sinks, .. } = attention;
                let kind = if *chunked { "chunks of" } else { "window" };
                let window = window.map_or(String::new(), |window| format!(", {kind} {window}"));
                let sinks = sinks.map_or(String::new(), |id| format!(", {}", layer.vectors[usize::from(id.0)].name));
                let cap = softcap.map_or(String::new(), |cap| format!(", capped at {cap}"));
                let heads = format!("{heads} heads over {kv_heads}, {head_dim} wide");
                format!("{} = attention({}: {heads}, scale {scale}{window}{cap}{sinks})", name(*output), name(*query))
            }
            Op::Gate { target, up, activation, one_factor, .. } => {
                let first = if *one_factor { "[0]" } else { "" };
                let up = up.map_or(String::new(), |up| format!(" * {}{first}", name(up)));
                format!("{} = {activation:?}({}){up}", name(*target), name(*target))
            }
            Op::Route { scores } => {
                let routing = layer.experts.as_ref().expect("a router has experts").routing;
                let sum = if routing.normalize { ", normalized" } else { "" };
                format!("choose {} by {}{sum}", routing.chosen, name(*scores))
            }
            Op::Experts { input, output, scale } => {
                let experts = layer.experts.as_ref().expect("there are some");
                let (count, width, activation) = (experts.count, experts.width, experts.activation);
                let limit = if experts.limit > 0.0 { format!(" within {}", experts.limit) } else { String::new() };
                let bias = if experts.bias { ", biases" } else { "" };
                let factors = if experts.factor_on_input { ", factors on their input" } else { "" };
                format!(
                    "{} += {count} experts({}: {width} wide, {activation:?}{limit}{bias}{factors}){}",
                    name(*output),
                    name(*input),
                    times(*scale)
                )
            }
            other => format!("{other:?}"),
        };
        let _ = writeln!(text, "  {line}");
    }
}

fn times(scale: f32) -> String {
    if scale == 1.0 { String::new() } else { format!(" x {scale}") }
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
