"""Reads a GGUF file of the Llama architecture into the reference: weights, config, tokenizer and chat template.

Two conventions of the format are undone here, and an engine has to undo them as well:

* Q and K are stored with the rows of each head permuted, so that rotary pairs are neighbours (0,1), (2,3), ...; the
  published checkpoints pair row i with row i + head_dim/2.
* The shape is listed with the contiguous axis first; `gguf` already gives the data as [rows, columns].
"""

import gguf
import jinja2.sandbox
import numpy as np
import tokenizers
import torch
from gguf.quants import dequantize
from tokenizers import decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

CONTROL = 3  # tokenizer.ggml.token_type of tokens that text cannot spell

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTER_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}

# What the tokenizers of these families do before merging, under the name that the file gives them.
LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
PRE_TOKENIZERS = {
    "smollm": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "llama-bpe": lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(LLAMA3_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}


def permute(rows, heads):
    """[heads * head_dim, columns] in the published order -> the order of a GGUF file."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def unpermute(rows, heads):
    """The inverse of `permute`."""
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def one_bit(data):
    """[rows, bytes] of Q1_0, which the package knows and does not decode: an f16 d and a bit for each of 128 columns."""
    blocks = np.array(data).reshape(-1, 18)
    d = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    signs = np.unpackbits(blocks[:, 2:], axis=1, bitorder="little").astype(np.float32) * 2 - 1
    return (d * signs).reshape(data.shape[0], -1)


class File:
    """One GGUF file: its metadata as plain Python values, and its tensors by name."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.meta = {field.name: field.contents() for field in reader.fields.values()}
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        if self.meta["general.architecture"] != "llama":
            raise ValueError(f"{path}: only the llama architecture is read here")

    def array(self, name):
        """One tensor as f32, dequantized."""
        tensor = self.tensors[name]
        if tensor.tensor_type == gguf.GGMLQuantizationType.Q1_0:
            return one_bit(tensor.data)
        values = np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        scale = self.tensors.get(f"{name.removesuffix('.weight')}.scale")
        return values if scale is None else values * scale.data

    def config(self):
        def field(name, default=None):
            return self.meta.get(f"llama.{name}", default)

        heads, hidden = field("attention.head_count"), field("embedding_length")
        rope = {"rope_type": "default", "rope_theta": field("rope.freq_base", 10000.0)}
        if field("rope.scaling.type", "none") == "linear":
            rope |= {"rope_type": "linear", "factor": field("rope.scaling.factor")}
        return LlamaConfig(
            vocab_size=len(self.meta["tokenizer.ggml.tokens"]),
            hidden_size=hidden,
            intermediate_size=field("feed_forward_length"),
            num_hidden_layers=field("block_count"),
            num_attention_heads=heads,
            num_key_value_heads=field("attention.head_count_kv", heads),
            head_dim=field("attention.key_length", hidden // heads),
            max_position_embeddings=field("context_length"),
            rms_norm_eps=field("attention.layer_norm_rms_epsilon"),
            rope_parameters=rope,
            tie_word_embeddings="output.weight" not in self.tensors,
            bos_token_id=self.meta.get("tokenizer.ggml.bos_token_id"),
            eos_token_id=self.meta.get("tokenizer.ggml.eos_token_id"),
        )

    def weights(self):
        """All weights in f32 under their published names, Q and K in the published order."""
        config, result = self.config(), {}
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
        for name in self.tensors:
            if name == "rope_freqs.weight" or name.endswith((".scale", ".input_scale")):
                continue
            value = self.array(name)
            if name.startswith("blk."):
                _, index, part, kind = name.split(".")
                value = unpermute(value, heads[part]) if part in heads else value
                name = f"model.layers.{index}.{LAYER_NAMES[part]}.{kind}"
            else:
                name = OUTER_NAMES[name]
            result[name] = torch.from_numpy(np.ascontiguousarray(value))
        return result

    def model(self):
        """The reference model in f32."""
        config = self.config()
        config._attn_implementation = "eager"
        model = LlamaForCausalLM(config).float().eval()
        weights = self.weights()
        if config.tie_word_embeddings:
            weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
        model.load_state_dict(weights, strict=True)
        model.tie_weights()
        if "rope_freqs.weight" in self.tensors:  # Llama 3's scaling, as divisors of the frequencies
            model.model.rotary_emb.inv_freq /= torch.from_numpy(self.array("rope_freqs.weight"))
        return model

    def tokenizer(self):
        """The tokenizer that the metadata describes (byte-level BPE only)."""
        meta = self.meta
        if meta["tokenizer.ggml.model"] != "gpt2":
            raise ValueError("only byte-level BPE tokenizers are read here")
        kind, tokens = meta["tokenizer.ggml.pre"], meta["tokenizer.ggml.tokens"]
        merges = [tuple(merge.split(" ")) for merge in meta["tokenizer.ggml.merges"]]
        tokenizer = tokenizers.Tokenizer(
            models.BPE(
                vocab={token: index for index, token in enumerate(tokens)},
                merges=merges,
                ignore_merges=kind == "llama-bpe",
            )
        )
        tokenizer.pre_tokenizer = PRE_TOKENIZERS[kind]()
        tokenizer.decoder = decoders.ByteLevel()
        special = [token for token, sort in zip(tokens, meta["tokenizer.ggml.token_type"]) if sort == CONTROL]
        tokenizer.add_special_tokens(
            [tokenizers.AddedToken(token, special=True, normalized=False) for token in special]
        )
        assert tokenizer.get_vocab_size() == len(tokens)
        return tokenizer

    def render(self, messages, add_generation_prompt=True):
        """The chat template over `messages`, with the whitespace rules that published templates rely on."""
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        template = environment.from_string(self.meta["tokenizer.chat_template"])
        return template.render(messages=messages, add_generation_prompt=add_generation_prompt)
