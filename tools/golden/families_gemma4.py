"""Small configs of Gemma 3n and 4, in the form of families_seeded.py."""

from families_seeded import text, whole

VISION = {
    "head_dim": 8, "hidden_size": 16, "intermediate_size": 12, "model_type": "gemma4_vision", "num_attention_heads": 2,
    "num_hidden_layers": 1, "num_key_value_heads": 2, "patch_size": 2, "pooling_kernel_size": 2,
    "position_embedding_size": 8,
}  # fmt: skip
AUDIO = {
    "hidden_size": 16, "model_type": "gemma4_audio", "num_attention_heads": 2, "num_hidden_layers": 1,
    "output_proj_dims": 24, "subsampling_conv_channels": [4, 2],
}  # fmt: skip
ROTATIONS = {
    "full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1000000.0, "rope_type": "proportional"},
    "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
}
TOKENS = {
    "boi_token_id": 400, "eoi_token_id": 401, "image_token_id": 402, "video_token_id": 403, "boa_token_id": 404,
    "eoa_token_index": 405, "audio_token_id": 406, "tie_word_embeddings": True,
}  # fmt: skip
SPREAD = {"embed_tokens.weight": (0.0, 0.1), "layer_scalar": (0.7, 0.2)}
EXPERT_SPREAD = {"router.proj.weight": (0.0, 2.5), "router.scale": (1.0, 0.4), "per_expert_scale": (1.0, 0.4)}


def layers(letters):
    """Kinds of layers, each by a letter."""
    return [{"s": "sliding_attention", "f": "full_attention"}[letter] for letter in letters]


def gemma4(kinds, model_type="gemma4_text", **fields):
    return text(
        model_type, without=["hidden_act"], attention_bias=False, attention_k_eq_v=False, enable_moe_block=False,
        final_logit_softcapping=30.0, global_head_dim=28, head_dim=16, hidden_activation="gelu_pytorch_tanh",
        hidden_size_per_layer_input=0, layer_types=layers(kinds), num_hidden_layers=len(kinds),
        num_kv_shared_layers=0, rms_norm_eps=1e-06, rope_parameters=ROTATIONS, sliding_window=7,
        tie_word_embeddings=True, use_bidirectional_attention=None, use_double_wide_mlp=False,
        vocab_size_per_layer_input=97,
    ) | fields  # fmt: skip


STREAM_SPREAD = {
    "modality_router.weight": (0.0, 8.0), "prediction_coefs.weight": (0.0, 0.3), "correction_coefs.weight": (0.0, 0.3),
    "correct_output_scale": (1.0, 0.4), "embed_tokens.weight": (0.0, 0.1),
}  # fmt: skip


FAMILIES = {
    # google/gemma-3n-E2B-it, its text: four streams, sparse gates, and tokens without a row in the second table.
    "gemma3n": {
        "config": {"architectures": ["Gemma3nForCausalLM"]} | text(
            "gemma3n_text", without=["hidden_act"], activation_sparsity_pattern=[0.6, 0.95, 0.0, 0.0, 0.0, 0.3],
            altup_active_idx=0, altup_coef_clip=120.0, altup_correct_scale=True, altup_num_inputs=4,
            final_logit_softcapping=30.0, head_dim=16, hidden_activation="gelu_pytorch_tanh",
            hidden_size_per_layer_input=20, laurel_rank=12, layer_types=layers("ssfssf"), num_hidden_layers=6,
            num_kv_shared_layers=2, query_pre_attn_scalar=256, rms_norm_eps=1e-06, rope_local_base_freq=10000.0,
            rope_scaling=None, rope_theta=1000000.0, sliding_window=7, tie_word_embeddings=True,
            vocab_size_per_layer_input=90),
        "spread": STREAM_SPREAD, "has": ["model.layers.5.altup.correct_output_scale"],
    },
    # google/gemma-4-31B-it: keys are values in layers without a window.
    "gemma4": whole(
        "Gemma4ForConditionalGeneration", "gemma4",
        gemma4("ssfsf", attention_k_eq_v=True, num_global_key_value_heads=1, use_bidirectional_attention="vision"),
        VISION, audio_config=None, spread=SPREAD, **TOKENS,
        has=["model.language_model.layers.2.self_attn.k_proj.weight", "model.embed_vision.embedding_projection.weight"]),
    # The text part alone, with what no published one has: biases, and all pairs of the wide heads rotate.
    "gemma4-text": {
        "config": {"architectures": ["Gemma4ForCausalLM"]} | gemma4("fsf", attention_bias=True, rope_parameters={
            "full_attention": {"factor": 4.0, "rope_theta": 50000.0, "rope_type": "proportional"},
            "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"}}),
        "spread": SPREAD, "has": ["model.layers.0.self_attn.v_proj.bias"],
    },
    # google/gemma-4-E2B-it: embeddings for each layer, and layers that read the keys of the last of their kind.
    "gemma4-ple": whole(
        "Gemma4ForConditionalGeneration", "gemma4",
        gemma4("sfsfssf", hidden_size_per_layer_input=20, num_kv_shared_layers=3, use_double_wide_mlp=True,
               vocab_size_per_layer_input=101, num_key_value_heads=1),
        VISION, audio_config=AUDIO, spread=SPREAD, **TOKENS,
        has=["model.language_model.embed_tokens_per_layer.weight",
             "model.embed_audio.embedding_projection.weight"]),
    # google/gemma-4-26B-A4B-it: experts beside a block for all tokens, each with norms of its own.
    "gemma4-moe": whole(
        "Gemma4ForConditionalGeneration", "gemma4",
        gemma4("ssf", attention_k_eq_v=True, enable_moe_block=True, moe_intermediate_size=28, num_experts=6,
               num_global_key_value_heads=1, top_k_experts=2, use_bidirectional_attention="vision"),
        VISION, audio_config=None, spread=SPREAD | EXPERT_SPREAD, **TOKENS,
        has=["model.language_model.layers.0.experts.gate_up_proj"]),
    # google/gemma-4-12B-it
    "gemma4-unified": whole(
        "Gemma4UnifiedForConditionalGeneration", "gemma4_unified",
        gemma4("sfsf", "gemma4_unified_text", attention_k_eq_v=True, num_global_key_value_heads=3),
        None, audio_config=None, spread=SPREAD, **TOKENS),
}  # fmt: skip
