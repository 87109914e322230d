//! Plans of published shapes against snapshots: `UPDATE_EXPECT=1 cargo test --test engine plans` writes them anew.

use crate::common;
use std::fmt::Write;

use expect_test::expect_file;
use tilestream::internals::model::kv::{StateLayout, pages_for};
use tilestream::internals::model::layout::ModelLayout;
use tilestream::internals::plan::{
    self, AttentionSpec, HeadSpec, LayerSpec, MatrixSpec, ModelSpec, NormGroups, NormKind, Op, PerLayerSpec,
    RecurrentSpec, Rotation, StackedMatrix, Temperature, Up, VectorId,
};
use tilestream::internals::shard::split::Weights;
use tilestream::internals::shard::synth::{self, SynthOptions};
use tilestream::{Error, ErrorKind, LoadOptions};

/// What a person checks against the model card: sizes, tensors, ops, frequencies.
fn summary(spec: &ModelSpec) -> String {
    let ModelSpec { family, hidden, vocab, max_positions, .. } = spec;
    let head = if spec.head.tied { "tied" } else { "own" };
    let mut text = format!("{family}: hidden {hidden}, vocabulary {vocab} ({head} head), {max_positions} positions\n");
    let used = spec.buffers.iter().filter(|buffer| buffer.width > 0);
    let buffers: Vec<_> = used.map(|buffer| format!("{} {}", buffer.name, buffer.width)).collect();
    let _ = writeln!(text, "buffers: {}", buffers.join(", "));
    for rope in &spec.ropes {
        let grows = rope.temperature.map_or(String::new(), |Temperature { positions, strength, ahead }| {
            format!(", queries x {strength} ln(1 + floor((position + {ahead}) / {positions})) + 1")
        });
        let shown = some_of(&rope.inverse_frequencies);
        let _ = writeln!(text, "rope: {shown}, attention x {}{grows}", rope.attention_factor);
        if let Some((from, frequencies)) = &rope.long {
            let _ = writeln!(text, "  in contexts of more than {from} positions: {}", some_of(frequencies));
        }
    }
    if spec.embedding_scale != 1.0 {
        let _ = writeln!(text, "embeddings x {}", spec.embedding_scale);
    }
    if let Some(PerLayerSpec { rows, width, target, scale }) = spec.per_layer {
        let target = spec.buffers[usize::from(target.0)].name;
        let _ = writeln!(text, "{target} = rows of another table [{rows}, {width}] x {scale}");
    }
    let mut kinds: Vec<(LayerSpec, Vec<usize>)> = Vec::new();
    for (index, layer) in spec.layers.iter().enumerate() {
        let layer = in_its_place(spec, index, layer);
        match kinds.iter_mut().find(|(kind, _)| *kind == layer) {
            Some((_, layers)) => layers.push(index),
            None => kinds.push((layer, vec![index])),
        }
    }
    for (kind, layers) in kinds {
        let _ = writeln!(text, "layers {}:", compact(&layers));
        layer(&mut text, spec, &kind);
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
    for vector in &spec.head.vectors {
        let _ = writeln!(text, "  {} [{}]", vector.name, vector.len);
    }
    budgets(&mut text, spec);
    text
}

/// A layer without where its part of each token's row lies, which is where that of a layer with its number must be.
fn in_its_place(spec: &ModelSpec, index: usize, layer: &LayerSpec) -> LayerSpec {
    let mut layer = layer.clone();
    let Some(table) = spec.per_layer else { return layer };
    for op in &mut layer.ops {
        if let Op::Gate { up: Up::In(from, first), width, .. } = op
            && *from == table.target
        {
            assert_eq!((*first, *width * spec.layers.len() as u32), (index as u32 * *width, table.width));
            *first = 0;
        }
    }
    layer
}

/// A few of a list of frequencies.
fn some_of(frequencies: &[f32]) -> String {
    let last = frequencies.len() - 1;
    [0, 1, last / 2, last].map(|pair| format!("[{pair}] {:e}", frequencies[pair])).join(", ")
}

/// Runs of layers: `0 to 4, 6 to 10, … 24 to 25` where they repeat, else each.
fn compact(layers: &[usize]) -> String {
    let runs: Vec<_> = layers.chunk_by(|a, b| a + 1 == *b).map(|run| (run[0], run[run.len() - 1])).collect();
    let shown = |(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first} to {last}") }
    };
    let [first, second, .., last] = &runs[..] else {
        return runs.iter().map(shown).collect::<Vec<_>>().join(", ");
    };
    let (period, len) = (second.0 - first.0, first.1 - first.0);
    let regular = |pair: &[(usize, usize)]| pair[1].0 - pair[0].0 == period && pair[0].1 - pair[0].0 == len;
    if runs.len() > 3 && runs.windows(2).all(regular) && last.1 - last.0 <= len {
        return format!("{}, {}, … {}", shown(first), shown(second), shown(last));
    }
    runs.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// What is refused below, by the code that refuses it; there are no weights.
fn budgets(text: &mut String, spec: &ModelSpec) {
    let context = spec.max_positions.min(4096);
    let options = LoadOptions::default().context(context);
    let smallest = |weights| {
        let tensors = synth::tensors(spec, &SynthOptions { weights, ..SynthOptions::default() }).expect("tensors");
        let find = |name: &str| tensors.get(name).ok_or_else(|| Error::new(ErrorKind::Missing, name));
        let layout = ModelLayout::find(spec, &find).expect("a layout");
        mib(options.smallest_budget(spec, &layout, false).expect("a budget"))
    };
    let (bf16, q4) = (smallest(Weights::Original), smallest(Weights::Q4));
    let states = StateLayout::new(spec, options.kv).expect("states");
    let cache = mib(states.bytes(&states.pages(pages_for(u64::from(context)), 1, 1, 0)));
    let _ = writeln!(text, "smallest budget: {bf16} for weights in bf16, {q4} in q4");
    let _ = writeln!(text, "  of which {cache} are keys and values of {context} positions in {:?}", options.kv);
}

fn mib(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}

fn layer(text: &mut String, spec: &ModelSpec, layer: &LayerSpec) {
    let name = |id: plan::BufferId| spec.buffers[usize::from(id.0)].name;
    for op in &layer.ops {
        let line = match op {
            Op::Norm { input, output, norm, groups, accumulate, scale, factor } => {
                let NormGroups { first, to, count, width, own_weights, later } = groups;
                let vector = |id: &VectorId| &layer.vectors[usize::from(id.0)];
                let shown = |id: &VectorId| format!("{} [{}]", vector(id).name, vector(id).len);
                let weight = norm.weight.as_ref().map_or(String::new(), |id| format!(", {}", shown(id)));
                let other = |(group, id): &(u32, VectorId)| format!(", from {group} on {}", shown(id));
                let later = later.as_ref().map_or(String::new(), other);
                let kind = if norm.kind == NormKind::Rms { "rms_norm" } else { "layer_norm" };
                let own = if *own_weights { ", each with its own weights" } else { "" };
                let groups = if *count == 1 { String::new() } else { format!(", {count} of {width}{own}") };
                let bias = norm.bias.as_ref().map_or(String::new(), |id| format!(" + {}", vector(id).name));
                let sign = if *accumulate { "+=" } else { "=" };
                let (out, from, epsilon) = (name(*output), name(*input), norm.epsilon);
                let (at, to) = (at(*first), at(*to));
                let factor = factor.as_ref().map_or(String::new(), |id| format!(", then all of it x {}", shown(id)));
                format!(
                    "{out}{to} {sign} {kind}({from}{at}{weight}{groups}{later}, {epsilon:e}){bias}{}{factor}",
                    times(*scale)
                )
            }
            Op::MatMul { input, output, parts, accumulate, scale, groups } => {
                let sign = if *accumulate { "+=" } else { "=" };
                let (out, from) = (name(*output), name(*input));
                let groups = if *groups == 1 { String::new() } else { format!(" in {groups} groups") };
                let part = |part: &StackedMatrix| {
                    let MatrixSpec { name, rows, columns } = &layer.matrices[usize::from(part.weight.0)];
                    let bias = |bias: VectorId| format!(" + {}", layer.vectors[usize::from(bias.0)].name);
                    let (at, bias) = (at(part.first), part.bias.map_or(String::new(), bias));
                    format!("{out}{at} {sign} {name} [{rows}, {columns}] * {from}{groups}{bias}{}", times(*scale))
                };
                parts.iter().map(part).collect::<Vec<_>>().join("\n    and ")
            }
            Op::MatMulTransposed { input, output, weight, groups, first } => {
                let matrix = &layer.matrices[usize::from(weight.0)];
                let (out, from, (rows, columns)) = (name(*output), name(*input), (matrix.rows, matrix.columns));
                format!("{out} = {} [{rows}, {columns}]^T * {from}[{groups} x {first}..]", matrix.name)
            }
            Op::Rope { target, first, heads, head_dim, pairs, table } => {
                let table = if *table == 0 { String::new() } else { format!(", table {table}") };
                let at = at(*first);
                format!("rope({}{at}: {heads} x {head_dim}, {pairs} pairs{table})", name(*target))
            }
            Op::Place { input, output, groups, width, first } => {
                format!("{}[{groups} x {first}..] = {}[{width}]", name(*output), name(*input))
            }
            Op::KvWrite { rows, key, value, rotation } => {
                let (rows, widths) = (name(*rows), format!("{} + {}", layer.key_width, layer.value_width));
                let value = value.map_or(String::new(), |value| format!(", {rows}{}", at(value)));
                let rope = |rotation: &Rotation| {
                    let Rotation { heads, head_dim, pairs, table } = rotation;
                    let table = if *table == 0 { String::new() } else { format!(", table {table}") };
                    format!("rope({rows}: {heads} x {head_dim}, {pairs} pairs{table})\n    and ")
                };
                let (before, rotated) =
                    (rotation.as_ref().map_or(String::new(), rope), rotation.map_or("", |_| "rotated "));
                format!("{before}cache({rotated}{rows}{}{value}: {widths})", at(*key))
            }
            Op::Attention { query, output, attention } => {
                let AttentionSpec { heads, kv_heads, head_dim, value_dim, scale, window, softcap, .. } = attention;
                let AttentionSpec { chunked, sinks, alibi, .. } = attention;
                let kind = if *chunked { "chunks of" } else { "window" };
                let window = window.map_or(String::new(), |window| format!(", {kind} {window}"));
                let cap = softcap.map_or(String::new(), |cap| format!(", capped at {cap}"));
                let values = match (attention.values_in_keys, value_dim == head_dim) {
                    (true, _) => format!(", values the first {value_dim} of them"),
                    (false, true) => String::new(),
                    (false, false) => format!(", values {value_dim}"),
                };
                let heads = format!("{heads} heads over {kv_heads}, {head_dim} wide{values}");
                let sinks = sinks.map_or(String::new(), |id| format!(", {}", layer.vectors[usize::from(id.0)].name));
                let alibi = if *alibi { ", ALiBi" } else { "" };
                let other = layer.reads_keys_of.map_or(String::new(), |layer| format!(", keys of layer {layer}"));
                let more = format!("{window}{cap}{sinks}{alibi}{other}");
                format!("{} = attention({}: {heads}, scale {scale}{more})", name(*output), name(*query))
            }
            Op::Xielu { target, positive, negative, slope, .. } => {
                let numbers = [positive, negative, slope].map(|id| &*layer.vectors[usize::from(id.0)].name);
                format!("{target} = xielu({target}, {})", numbers.join(", "), target = name(*target))
            }
            Op::Conv { target, weight, first, width } => {
                let (target, weight) = (name(*target), &layer.vectors[usize::from(weight.0)]);
                format!("{target} = silu(conv({target}, {} [{}]: {width} from {first}))", weight.name, weight.len)
            }
            Op::DeltaRule { query, key, value, decay, beta, rate, bias } => {
                let state = layer.recurrent.expect("a rule has a state");
                let RecurrentSpec { key_heads, heads, key_dim, value_dim, .. } = state;
                let [rate, bias] = [rate, bias].map(|id| &layer.vectors[usize::from(id.0)].name);
                let [query, key, value] = [query, key, value].map(|id| name(*id));
                let gates = format!("{} + {bias}, {}, {rate}", name(*decay), name(*beta));
                let heads = format!("{heads} heads over {key_heads}, {key_dim} x {value_dim}, {} kept", state.floats());
                format!("{value} = delta_rule({query}, {key}, {value}, {gates}: {heads})")
            }
            Op::Gate { target, up, activation, one_factor, .. } => {
                let first = if *one_factor { "[0]" } else { "" };
                let target = name(*target);
                let up = match up {
                    Up::Nothing => String::new(),
                    Up::In(up, _) if spec.per_layer.is_some_and(|table| table.target == *up) => {
                        format!(" * {}[of the layer]", name(*up))
                    }
                    Up::In(up, from) => format!(" * {}{}{first}", name(*up), at(*from)),
                    Up::From(first) => format!(" * {target}[{first}..]"),
                };
                format!("{target} = {activation:?}({target}){up}")
            }
            Op::Bend { target, scale, cap, factors, .. } => {
                let cap = cap.map_or(String::new(), |cap| format!(", capped at {cap}"));
                let own = factors.map_or(String::new(), |id| format!(" * {}", layer.vectors[usize::from(id.0)].name));
                format!("{target} = {target}{own}{}{cap}", times(*scale), target = name(*target))
            }
            Op::Cutoff { target, deviations, .. } => {
                format!("{target} = what is {deviations} deviations above the mean of {target}", target = name(*target))
            }
            Op::MixStreams { streams, coefs, activated } => {
                let streams = streams.map(name).join(", ");
                let by = activated.map_or(String::new(), |id| format!(", corrected by {}", name(id)));
                format!("{streams} mixed by {}{by}", name(*coefs))
            }
            Op::MatchSize { input, model, output, accumulate, .. } => {
                let sign = if *accumulate { "+=" } else { "=" };
                format!("{} {sign} {} in the size of {}", name(*output), name(*input), name(*model))
            }
            Op::Route { scores } => {
                let routing = layer.experts.as_ref().expect("a router has experts").routing;
                let plan::Routing { chosen, normalize, sigmoid, scale, groups, bias, factors } = routing;
                let groups = groups.map_or(String::new(), |(all, best)| format!(" in the best {best} of {all} groups"));
                let vector = |id: VectorId| &layer.vectors[usize::from(id.0)].name;
                let bias = bias.map_or(String::new(), |id| format!(" + {}", vector(id)));
                let factors = factors.map_or(String::new(), |id| format!(" x {}", vector(id)));
                let kind = if sigmoid { "sigmoid" } else { "softmax" };
                let sum = if normalize { ", normalized" } else { "" };
                format!("choose {chosen}{groups} by {kind}({}){bias}{sum}{}{factors}", name(*scores), times(scale))
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

/// Where in a row something begins.
fn at(first: u32) -> String {
    if first == 0 { String::new() } else { format!("[{first}..]") }
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
