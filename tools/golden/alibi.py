"""A plain Llama-like decoder with ALiBi in the place of rope, as Baichuan-13B is; transformers has none.

Attention with linear biases (Press, Smith, Lewis: "Train Short, Test Long", 2021): a head with slope m adds
-m * (i - j) to the score of query i and key j, after the score was divided by sqrt(head_dim). For a power of two of n
heads the slopes are 2^(-8/n), 2^(-16/n) and so on; otherwise those of the next smaller power of two come first, and the
rest is every other slope of twice that many heads.
"""

import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F


def slopes(heads):
    def geometric(count):
        return [2.0 ** (-8.0 * (index + 1) / count) for index in range(count)]

    power = 2 ** math.floor(math.log2(heads))
    return geometric(power) + geometric(2 * power)[0::2][: heads - power]


class Decoder:
    """Gives logits the way a model of transformers does. `weights` has Llama's published names, in f32."""

    def __init__(self, weights, layers, heads, eps):
        self.weights, self.layers, self.heads, self.eps = weights, layers, heads, eps
        self.config = SimpleNamespace(vocab_size=len(weights["model.embed_tokens.weight"]))

    def modules(self):
        return []

    def linear(self, x, name):
        return x @ self.weights[f"{name}.weight"].T

    def norm(self, x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weights[f"{name}.weight"]

    def attention(self, x, name):
        length, width = x.shape
        split = (length, self.heads, width // self.heads)
        q, k, v = (self.linear(x, f"{name}.{part}_proj").view(split).transpose(0, 1) for part in "qkv")
        distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        scores = q @ k.transpose(1, 2) / math.sqrt(split[-1])
        scores = scores - torch.tensor(slopes(self.heads))[:, None, None] * distance
        scores = scores.masked_fill(distance < 0, float("-inf"))
        return self.linear((scores.softmax(-1) @ v).transpose(0, 1).reshape(length, width), f"{name}.o_proj")

    def __call__(self, ids, use_cache=False):
        x = self.weights["model.embed_tokens.weight"][ids[0]]
        for index in range(self.layers):
            layer = f"model.layers.{index}"
            x = x + self.attention(self.norm(x, f"{layer}.input_layernorm"), f"{layer}.self_attn")
            inner = self.norm(x, f"{layer}.post_attention_layernorm")
            gate = F.silu(self.linear(inner, f"{layer}.mlp.gate_proj"))
            x = x + self.linear(gate * self.linear(inner, f"{layer}.mlp.up_proj"), f"{layer}.mlp.down_proj")
        return SimpleNamespace(logits=self.linear(self.norm(x, "model.norm"), "lm_head")[None])
