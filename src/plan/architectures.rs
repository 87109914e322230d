//! The table of architectures: each row is data, read from the published config of the family.

use serde_json::Value;

use super::fields::Fields;
use super::rope::{RopeContext, rope_spec};
use super::{Activation, BufferId, BufferSpec, LayerSpec, MatrixId, MatrixSpec, ModelSpec, Op, VectorId, VectorSpec};
use crate::{Error, ErrorKind, Result};

/// A family of decoders that are built of the same block: norm, attention, norm, gated feed-forward.
#[derive(Clone, Copy, Debug)]
struct Architecture {
    /// The class in `architectures` of `config.json`.
    class: &'static str,
    family: &'static str,
    /// Whether the attention of each layer may look back only `sliding_window` positions.
    windowed: bool,
    default_kv_heads: Option<u32>,
    default_max_positions: u32,
    default_epsilon: f64,
    /// Window where the config has no such field (`null` means none).
    default_window: Option<u32>,
}

/// Defaults are those of the reference implementation's configuration classes.
const ARCHITECTURES: &[Architecture] = &[
    // https://huggingface.co/meta-llama/Llama-3.1-405B/blob/main/config.json
    Architecture {
        class: "LlamaForCausalLM",
        family: "llama",
        windowed: false,
        default_kv_heads: None,
        default_max_positions: 2048,
        default_epsilon: 1e-6,
        default_window: None,
    },
    // https://huggingface.co/mistralai/Mistral-7B-v0.1/blob/main/config.json
    Architecture {
        class: "MistralForCausalLM",
        family: "mistral",
        windowed: true,
        default_kv_heads: Some(8),
        default_max_positions: 4096 * 32,
        default_epsilon: 1e-6,
        default_window: Some(4096),
    },
];

/// Fields that never change a logit.
const HARMLESS: &[&str] = &[
    "architectures",
    "attention_dropout",
    "bad_words_ids",
    "bos_token_id",
    "chunk_size_feed_forward",
    "dtype",
    "eos_token_id",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_llama_config",
    "label2id",
    "model_type",
    "name_or_path",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "return_dict",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "unk_token_id",
    "use_bfloat16",
    "use_cache",
];

/// Sizes beyond these are no language model, but a config that lies.
const MOST_WIDTH: u32 = 1 << 20;
const MOST_LAYERS: u32 = 10_000;
const MOST_VOCAB: u32 = 1 << 24;
const MOST_HEAD_DIM: u32 = 512;

/// The numbers of a config that shape the block.
#[derive(Clone, Copy, Debug)]
struct Shape {
    hidden: u32,
    intermediate: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    epsilon: f32,
    attention_bias: bool,
    mlp_bias: bool,
    window: Option<u32>,
}

/// The plan of a `config.json`.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for an unknown architecture or field, [`ErrorKind::Missing`] and [`ErrorKind::Malformed`]
/// naming the field.
pub fn model_spec(config: &Value) -> Result<ModelSpec> {
    let fields = Fields::new(config, "config.json")?;
    let architecture = architecture(&fields)?;
    let shape = shape(&fields, architecture)?;
    let layers = fields.needed_count("num_hidden_layers", MOST_LAYERS)?;
    let vocab = fields.needed_count("vocab_size", MOST_VOCAB)?;
    let max_positions =
        fields.count("max_position_embeddings", u32::MAX)?.unwrap_or(architecture.default_max_positions);
    let theta = fields.positive("rope_theta")?.unwrap_or(10_000.0);
    let rope = rope_spec(&fields, RopeContext { rotary_dim: shape.head_dim, max_positions, theta })?;
    only(&fields, "hidden_act", &["silu"])?;
    only(&fields, "is_decoder", &["true", "false"])?;
    only(&fields, "pretraining_tp", &["1"])?;
    only(&fields, "rope_interleaved", &["false"])?;
    let tied_head = fields.truth("tie_word_embeddings")?.unwrap_or(false);
    fields.refuse_others(HARMLESS)?;
    let layer = layer(&shape);
    Ok(ModelSpec {
        family: architecture.family,
        hidden: shape.hidden,
        vocab,
        max_positions,
        buffers: buffers(&shape),
        residual: X,
        layers: vec![layer; layers as usize],
        rope,
        final_norm_epsilon: shape.epsilon,
        tied_head,
    })
}

fn architecture(fields: &Fields<'_>) -> Result<&'static Architecture> {
    let list = fields.get("architectures").and_then(Value::as_array);
    let class = list.and_then(|list| list.first()).and_then(Value::as_str);
    let class = class.ok_or_else(|| {
        Error::new(ErrorKind::Missing, "field 'architectures' names no architecture").file("config.json")
    })?;
    ARCHITECTURES.iter().find(|row| row.class == class).ok_or_else(|| {
        let known: Vec<_> = ARCHITECTURES.iter().map(|row| row.class).collect();
        Error::new(ErrorKind::Unsupported, format!("architecture '{class}' is not known"))
            .file("config.json")
            .remedy(format!("known are: {}", known.join(", ")))
    })
}

fn shape(fields: &Fields<'_>, architecture: &Architecture) -> Result<Shape> {
    let hidden = fields.needed_count("hidden_size", MOST_WIDTH)?;
    let intermediate = fields.needed_count("intermediate_size", MOST_WIDTH)?;
    let heads = fields.needed_count("num_attention_heads", MOST_WIDTH)?;
    let kv_heads = fields.count("num_key_value_heads", MOST_WIDTH)?;
    let kv_heads = kv_heads.or(architecture.default_kv_heads).unwrap_or(heads);
    if heads % kv_heads != 0 {
        return Err(
            fields.wrong("num_key_value_heads", format_args!("is {kv_heads}, which does not divide {heads} heads"))
        );
    }
    let head_dim = match fields.count("head_dim", MOST_HEAD_DIM)? {
        Some(head_dim) => head_dim,
        None if hidden % heads == 0 => hidden / heads,
        None => {
            return Err(fields.wrong("num_attention_heads", format_args!("is {heads}, which does not divide {hidden}")));
        }
    };
    if head_dim % 2 != 0 || head_dim > MOST_HEAD_DIM || heads.saturating_mul(head_dim) > MOST_WIDTH {
        return Err(fields
            .wrong("head_dim", format_args!("comes to {head_dim}; an even number up to {MOST_HEAD_DIM} is needed")));
    }
    let epsilon = fields.positive("rms_norm_eps")?.unwrap_or(architecture.default_epsilon) as f32;
    let window = match architecture.windowed {
        true if fields.has("sliding_window") => fields.count("sliding_window", u32::MAX)?,
        true => architecture.default_window,
        false => None,
    };
    let attention_bias = fields.truth("attention_bias")?.unwrap_or(false);
    let mlp_bias = fields.truth("mlp_bias")?.unwrap_or(false);
    Ok(Shape { hidden, intermediate, heads, kv_heads, head_dim, epsilon, attention_bias, mlp_bias, window })
}

/// Refuses any value of a field but those that mean what the plan does.
fn only(fields: &Fields<'_>, name: &str, values: &[&str]) -> Result<()> {
    let Some(value) = fields.get(name) else { return Ok(()) };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if values.contains(&text.as_str()) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("field '{name}' is '{text}'; only {} is known", values.join(" or ")),
    )
    .file("config.json"))
}

const X: BufferId = BufferId(0);
const NORMED: BufferId = BufferId(1);
const Q: BufferId = BufferId(2);
const K: BufferId = BufferId(3);
const V: BufferId = BufferId(4);
const ATTENDED: BufferId = BufferId(5);
const GATE: BufferId = BufferId(6);
const UP: BufferId = BufferId(7);

fn buffers(shape: &Shape) -> Vec<BufferSpec> {
    let (q, kv) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let widths = [
        ("x", shape.hidden),
        ("normed", shape.hidden),
        ("q", q),
        ("k", kv),
        ("v", kv),
        ("attended", q),
        ("gate", shape.intermediate),
        ("up", shape.intermediate),
    ];
    widths.into_iter().map(|(name, width)| BufferSpec { name, width }).collect()
}

/// Collects a layer's tensors while its ops are written down.
#[derive(Default)]
struct Block {
    vectors: Vec<VectorSpec>,
    matrices: Vec<MatrixSpec>,
    ops: Vec<Op>,
}

impl Block {
    fn vector(&mut self, name: &'static str, len: u32) -> VectorId {
        self.vectors.push(VectorSpec { name, len });
        VectorId(self.vectors.len() as u16 - 1)
    }

    fn norm(&mut self, name: &'static str, output: BufferId, shape: &Shape) {
        let weight = self.vector(name, shape.hidden);
        self.ops.push(Op::RmsNorm { input: X, output, weight, epsilon: shape.epsilon });
    }

    /// `names`: the weight and, where it has one, the bias.
    fn matmul(&mut self, names: [&'static str; 2], bias: bool, size: (u32, u32), from: BufferId, to: BufferId) {
        let (rows, columns) = size;
        self.matrices.push(MatrixSpec { name: names[0], rows, columns });
        let weight = MatrixId(self.matrices.len() as u16 - 1);
        let bias = bias.then(|| self.vector(names[1], rows));
        self.ops.push(Op::MatMul { input: from, output: to, weight, bias, accumulate: to == X });
    }
}

fn layer(shape: &Shape) -> LayerSpec {
    let &Shape { hidden, intermediate, heads, kv_heads, head_dim, window, .. } = shape;
    let (q_width, kv_width) = (heads * head_dim, kv_heads * head_dim);
    let mut block = Block::default();
    block.norm("input_layernorm.weight", NORMED, shape);
    let bias = shape.attention_bias;
    block.matmul(["self_attn.q_proj.weight", "self_attn.q_proj.bias"], bias, (q_width, hidden), NORMED, Q);
    block.matmul(["self_attn.k_proj.weight", "self_attn.k_proj.bias"], bias, (kv_width, hidden), NORMED, K);
    block.matmul(["self_attn.v_proj.weight", "self_attn.v_proj.bias"], bias, (kv_width, hidden), NORMED, V);
    let pairs = head_dim / 2;
    block.ops.push(Op::Rope { target: Q, heads, head_dim, pairs });
    block.ops.push(Op::Rope { target: K, heads: kv_heads, head_dim, pairs });
    block.ops.push(Op::KvWrite { key: K, value: V });
    let scale = (1.0 / f64::from(head_dim).sqrt()) as f32;
    block.ops.push(Op::Attention { query: Q, output: ATTENDED, heads, kv_heads, head_dim, scale, window });
    block.matmul(["self_attn.o_proj.weight", "self_attn.o_proj.bias"], bias, (hidden, q_width), ATTENDED, X);
    block.norm("post_attention_layernorm.weight", NORMED, shape);
    let bias = shape.mlp_bias;
    block.matmul(["mlp.gate_proj.weight", "mlp.gate_proj.bias"], bias, (intermediate, hidden), NORMED, GATE);
    block.matmul(["mlp.up_proj.weight", "mlp.up_proj.bias"], bias, (intermediate, hidden), NORMED, UP);
    block.ops.push(Op::Gate { gate: GATE, up: UP, output: GATE, activation: Activation::Silu });
    block.matmul(["mlp.down_proj.weight", "mlp.down_proj.bias"], bias, (hidden, intermediate), GATE, X);
    LayerSpec { vectors: block.vectors, matrices: block.matrices, ops: block.ops, kv_width }
}
