"""Small configs of families whose golden weights are made from a seed: in the fields that the families publish, only smaller.

Each entry has `config`, and may have `has` (names of tensors that must be there), `unit_offset` (norms are stored around
0), `fused` (tensors as the reference keeps them), `publish` (what to replace in its names, by what) and `spread` (mean
and deviation of tensors by how their names end).
"""

COMMON = {
    "hidden_act": "silu",
    "hidden_size": 72,
    "initializer_range": 0.02,
    "intermediate_size": 84,
    "max_position_embeddings": 64,
    "num_attention_heads": 6,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "vocab_size": 97,
}
SIGLIP = {
    "hidden_size": 8,
    "image_size": 8,
    "intermediate_size": 12,
    "model_type": "siglip_vision_model",
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "patch_size": 4,
    "vision_use_head": False,
}
CLIP = {**SIGLIP, "model_type": "clip_vision_model", "projection_dim": 8}
del CLIP["vision_use_head"]
PIXTRAL = {
    "head_dim": 8,
    "hidden_size": 16,
    "image_size": 8,
    "intermediate_size": 12,
    "model_type": "pixtral",
    "num_attention_heads": 2,
    "num_channels": 3,
    "num_hidden_layers": 1,
    "patch_size": 4,
    "rope_theta": 10000.0,
}
QWEN_VISION = {
    "deepstack_visual_indexes": [0],
    "depth": 1,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_size": 16,
    "in_channels": 3,
    "intermediate_size": 12,
    "num_heads": 2,
    "num_position_embeddings": 16,
    "out_hidden_size": 72,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
PICTURES = {"image_token_id": 400, "video_token_id": 401, "vision_start_token_id": 402, "vision_end_token_id": 403}


def text(model_type, without=(), **fields):
    fields = COMMON | {"model_type": model_type} | fields
    return {name: value for name, value in fields.items() if name not in without}


def model(architecture, model_type, without=(), **fields):
    return {"architectures": [architecture], "tie_word_embeddings": False} | text(model_type, without, **fields)


def case(*arguments, has=(), spread=None, unit_offset=False, **fields):
    more = {"spread": spread} if spread else {}
    return {"config": model(*arguments, **fields), "has": list(has), "unit_offset": unit_offset} | more


def whole(architecture, model_type, text_config, vision_config, has=(), spread=None, unit_offset=False, **fields):
    config = {"architectures": [architecture], "model_type": model_type, "text_config": text_config}
    config |= {"vision_config": vision_config} | fields
    more = {"spread": spread} if spread else {}
    return {"config": config, "has": list(has), "unit_offset": unit_offset} | more


GEMMA3 = text(
    "gemma3_text", without=["hidden_act", "rms_norm_eps"], head_dim=16, query_pre_attn_scalar=20, sliding_window=7,
    num_hidden_layers=7, rope_scaling={"factor": 8.0, "rope_type": "linear"},
)  # fmt: skip
MISTRAL = text("mistral", head_dim=16, rope_theta=1e6, sliding_window=None)
MINISTRAL = text(
    "ministral3", head_dim=16, num_hidden_layers=2, rope_parameters={
        "beta_fast": 32.0, "beta_slow": 1.0, "factor": 16.0, "llama_4_scaling_beta": 0.1, "mscale": 1.0,
        "mscale_all_dim": 1.0, "original_max_position_embeddings": 8, "rope_theta": 1000000.0, "rope_type": "yarn",
        "type": "yarn",
    }, max_position_embeddings=128, sliding_window=None,
)  # fmt: skip
LATENT = {
    "kv_lora_rank": 24, "q_lora_rank": 20, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 14,
    "num_attention_heads": 4, "num_key_value_heads": 4,
}  # fmt: skip
ROUTED = {
    "first_k_dense_replace": 1, "moe_intermediate_size": 28, "n_group": 1, "n_routed_experts": 6,
    "n_shared_experts": 1, "norm_topk_prob": True, "num_experts_per_tok": 2, "routed_scaling_factor": 1.8,
    "topk_group": 1,
}  # fmt: skip
MISTRAL4 = text(
    "mistral4", **LATENT, **(ROUTED | {"first_k_dense_replace": 0}), max_position_embeddings=128, head_dim=20,
    rope_interleave=True, rope_parameters={
        "beta_fast": 32.0, "beta_slow": 1.0, "factor": 16.0, "llama_4_scaling_beta": 0.1, "mscale": 1.0,
        "mscale_all_dim": 1.0, "original_max_position_embeddings": 8, "rope_theta": 10000.0, "rope_type": "yarn",
        "type": "yarn", "partial_rotary_factor": 0.4,
    },
)  # fmt: skip
QWEN2_5_VISION = {
    "depth": 1, "fullatt_block_indexes": [0], "hidden_size": 16, "in_channels": 3, "intermediate_size": 12,
    "num_heads": 2, "out_hidden_size": 72, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2,
    "window_size": 8,
}  # fmt: skip
QWEN3_5 = text(
    "qwen3_5_text", head_dim=16, attention_bias=False, attn_output_gate=True, full_attention_interval=3,
    layer_types=["linear_attention", "linear_attention", "full_attention"], linear_conv_kernel_dim=4,
    linear_key_head_dim=10, linear_num_key_heads=2, linear_num_value_heads=4, linear_value_head_dim=12,
    mamba_ssm_dtype="float32", mtp_num_hidden_layers=1, mtp_use_dedicated_embeddings=False, num_hidden_layers=3,
    num_attention_heads=4, rope_parameters={
        "mrope_interleaved": True, "mrope_section": [1, 1, 0], "partial_rotary_factor": 0.25,
        "rope_theta": 10000000, "rope_type": "default",
    }, rms_norm_eps=1e-06,
)  # fmt: skip
QWEN3_5_MOE = {name: value for name, value in QWEN3_5.items() if name != "intermediate_size"} | {
    "model_type": "qwen3_5_moe_text", "moe_intermediate_size": 20, "num_experts": 5, "num_experts_per_tok": 2,
    "shared_expert_intermediate_size": 28,
}  # fmt: skip
QWEN3_VL = text("qwen3_vl_text", head_dim=16, attention_bias=False, rope_theta=5000000, rope_scaling={
    "mrope_interleaved": True, "mrope_section": [4, 2, 2], "rope_type": "default"})  # fmt: skip
MOE_OF_64 = {"moe_intermediate_size": 20, "num_experts": 5, "num_experts_per_tok": 2}
KIMI = text("kimi_k2", **LATENT, **(ROUTED | {"n_group": 1}), scoring_func="sigmoid", topk_method="noaux_tc",
            aux_loss_alpha=0.001, ep_size=1, moe_layer_freq=1, num_nextn_predict_layers=0, seq_aux=True,
            rope_theta=50000.0, rope_scaling={
                "beta_fast": 1.0, "beta_slow": 1.0, "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 1.0,
                "original_max_position_embeddings": 16, "type": "yarn"})  # fmt: skip
GLM_VISION = {
    "depth": 1, "hidden_size": 16, "image_size": 8, "in_channels": 3, "intermediate_size": 12, "num_heads": 2,
    "out_hidden_size": 72, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2,
}  # fmt: skip
GRANITE = {
    "attention_bias": False, "attention_multiplier": 0.2, "embedding_multiplier": 1.5, "intermediate_size": 28,
    "logits_scaling": 1.6, "num_experts_per_tok": 2, "num_local_experts": 5, "output_router_logits": False,
    "residual_multiplier": 0.6, "rope_scaling": None, "rope_theta": 10000.0, "router_aux_loss_coef": 0.0,
}  # fmt: skip
MOE_MIXED = ["dense", "sparse", "sparse"]

FAMILIES = {
    # google/gemma-3-4b-it: layer kinds by a pattern of six.
    "gemma3-vision": whole(
        "Gemma3ForConditionalGeneration", "gemma3", GEMMA3, SIGLIP, boi_token_index=400, eoi_token_index=401,
        image_token_index=402, mm_tokens_per_image=4, unit_offset=True, spread={"embed_tokens.weight": (0.0, 0.1)}),
    # mistralai/Mistral-Small-3.2-24B-Instruct-2506
    "mistral3": whole("Mistral3ForConditionalGeneration", "mistral3", MISTRAL, PIXTRAL, image_token_index=400,
                      multimodal_projector_bias=False, projector_hidden_act="gelu", spatial_merge_size=2,
                      vision_feature_layer=-1),
    # llava-hf/llava-1.5-7b-hf
    "llava": whole("LlavaForConditionalGeneration", "llava", text("llama"), CLIP, image_token_index=400,
                   projector_hidden_act="gelu", vision_feature_layer=-2, vision_feature_select_strategy="default",
                   image_seq_length=4, ignore_index=-100, tie_word_embeddings=False),
    # llava-hf/llava-v1.6-mistral-7b-hf
    "llava-next": whole("LlavaNextForConditionalGeneration", "llava_next", MISTRAL, CLIP, image_token_index=400,
                        image_grid_pinpoints=[[8, 16], [16, 8]], projector_hidden_act="gelu",
                        use_image_newline_parameter=True, vision_feature_layer=-2,
                        vision_feature_select_strategy="default", tie_word_embeddings=False),
    # llava-hf/llava-onevision-qwen2-7b-ov-hf
    "llava-onevision": whole("LlavaOnevisionForConditionalGeneration", "llava_onevision", text("qwen2"), SIGLIP,
                             image_token_index=400, video_token_index=401, image_grid_pinpoints=[[8, 16], [16, 8]],
                             vision_aspect_ratio="anyres_max_9", vision_feature_select_strategy="full",
                             vision_feature_layer=-1, tie_word_embeddings=False),
    # OpenGVLab/InternVL3-8B-hf; InternVL3_5-8B-HF has Qwen3.
    "internvl": whole("InternVLForConditionalGeneration", "internvl", text("qwen2"), {
        "hidden_size": 8, "image_size": [8, 8], "intermediate_size": 12, "model_type": "internvl_vision",
        "num_attention_heads": 2, "num_hidden_layers": 1, "patch_size": [4, 4]},
        downsample_ratio=0.5, image_seq_length=4, image_token_id=400, projector_hidden_act="gelu",
        vision_feature_layer=-1, vision_feature_select_strategy="default", tie_word_embeddings=False),
    "internvl-qwen3": whole("InternVLForConditionalGeneration", "internvl", text("qwen3", head_dim=16), {
        "hidden_size": 8, "image_size": [8, 8], "intermediate_size": 12, "model_type": "internvl_vision",
        "num_attention_heads": 2, "num_hidden_layers": 1, "patch_size": [4, 4]},
        downsample_ratio=0.5, image_seq_length=4, image_token_id=400, projector_hidden_act="gelu",
        vision_feature_layer=-1, vision_feature_select_strategy="default", tie_word_embeddings=False),
    # HuggingFaceTB/SmolVLM-Instruct
    "idefics3": whole("Idefics3ForConditionalGeneration", "idefics3", text("llama", pad_token_id=0), {
        "hidden_size": 8, "image_size": 8, "intermediate_size": 12, "model_type": "idefics3_vision",
        "num_attention_heads": 2, "num_hidden_layers": 1, "patch_size": 4},
        image_token_id=400, scale_factor=2, tie_word_embeddings=False, pad_token_id=0),
    # HuggingFaceTB/SmolVLM2-2.2B-Instruct
    "smolvlm": whole("SmolVLMForConditionalGeneration", "smolvlm", text("llama", pad_token_id=0), {
        "hidden_size": 8, "image_size": 8, "intermediate_size": 12, "model_type": "smolvlm_vision",
        "num_attention_heads": 2, "num_hidden_layers": 1, "patch_size": 4},
        image_token_id=400, scale_factor=2, tie_word_embeddings=False, pad_token_id=0),
    # Qwen/Qwen2.5-VL-7B-Instruct: the text part's fields stand beside `vision_config`.
    "qwen2-5-vl": {"config": model(
        "Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl", max_window_layers=2, sliding_window=32768,
        use_sliding_window=False, rope_theta=1000000.0, vision_config=QWEN2_5_VISION, vision_token_id=404, **PICTURES,
        rope_scaling={"type": "mrope", "mrope_section": [2, 2, 2]})},
    # Qwen/Qwen3-VL-8B-Instruct
    "qwen3-vl": whole("Qwen3VLForConditionalGeneration", "qwen3_vl", QWEN3_VL, QWEN_VISION, **PICTURES,
                      tie_word_embeddings=False),
    # Qwen/Qwen3-VL-4B-Instruct
    "qwen3-vl-tied": whole("Qwen3VLForConditionalGeneration", "qwen3_vl", QWEN3_VL | {"tie_word_embeddings": True},
                           QWEN_VISION, **PICTURES, tie_word_embeddings=True),
    # Qwen/Qwen3-VL-30B-A3B-Instruct
    "qwen3-vl-moe": whole("Qwen3VLMoeForConditionalGeneration", "qwen3_vl_moe", QWEN3_VL | MOE_OF_64 | {
        "model_type": "qwen3_vl_moe_text", "decoder_sparse_step": 1, "mlp_only_layers": [],
        "norm_topk_prob": True, "tie_word_embeddings": False}, QWEN_VISION, **PICTURES, tie_word_embeddings=False),
    # Qwen/Qwen3.5-27B, 3.6-27B, 3.8-27B
    "qwen3-5": whole("Qwen3_5ForConditionalGeneration", "qwen3_5", QWEN3_5, QWEN_VISION | {
        "deepstack_visual_indexes": []}, **PICTURES, tie_word_embeddings=False, unit_offset=True),
    # Qwen/Qwen3.5-0.8B
    "qwen3-5-tied": whole("Qwen3_5ForConditionalGeneration", "qwen3_5", QWEN3_5 | {"tie_word_embeddings": True},
                          QWEN_VISION | {"deepstack_visual_indexes": []}, **PICTURES, tie_word_embeddings=True,
                          unit_offset=True),
    "qwen3-5-text": {"config": QWEN3_5 | {"architectures": ["Qwen3_5ForCausalLM"], "tie_word_embeddings": False},
                     "unit_offset": True},
    # Qwen/Qwen3.6-35B-A3B
    "qwen3-5-moe": whole("Qwen3_5MoeForConditionalGeneration", "qwen3_5_moe", QWEN3_5_MOE, QWEN_VISION | {
        "deepstack_visual_indexes": []}, **PICTURES, tie_word_embeddings=False, unit_offset=True),
    "qwen3-5-moe-text": {"config": QWEN3_5_MOE | {
        "architectures": ["Qwen3_5MoeForCausalLM"], "tie_word_embeddings": False}, "unit_offset": True},
    # The same as it is published: experts of a layer in one tensor.
    "qwen3-5-moe-fused": whole("Qwen3_5MoeForConditionalGeneration", "qwen3_5_moe", QWEN3_5_MOE, QWEN_VISION | {
        "deepstack_visual_indexes": []}, **PICTURES, tie_word_embeddings=False, unit_offset=True) | {"fused": True},
    # ibm-granite/granite-3.1-3b-a800m-base
    "granitemoe": case("GraniteMoeForCausalLM", "granitemoe", **GRANITE),
    # ibm-research/moe-7b-1b-active-shared-experts
    "granitemoeshared": case("GraniteMoeSharedForCausalLM", "granitemoeshared", **GRANITE,
                             shared_intermediate_size=36),
    # zai-org/GLM-4.6; GLM-4.5-Air has no norm of heads.
    "glm4-moe": case("Glm4MoeForCausalLM", "glm4_moe", **ROUTED, attention_bias=True, head_dim=16,
                     num_nextn_predict_layers=1, partial_rotary_factor=0.5, rope_scaling=None, rope_theta=1000000,
                     use_qk_norm=True, num_hidden_layers=3),
    "glm4-moe-air": case("Glm4MoeForCausalLM", "glm4_moe", **ROUTED, attention_bias=True, head_dim=16,
                         num_nextn_predict_layers=1, partial_rotary_factor=0.5, rope_scaling=None,
                         rope_theta=1000000, use_qk_norm=False, num_hidden_layers=3),
    # zai-org/GLM-4.1V-9B-Thinking
    "glm4v": whole("Glm4vForConditionalGeneration", "glm4v", text(
        "glm4v_text", head_dim=12, attention_bias=True, partial_rotary_factor=0.5, rope_theta=10000.0,
        rope_scaling={"type": "default", "mrope_section": [1, 1, 1]}), GLM_VISION, **PICTURES,
        tie_word_embeddings=False),
    # zai-org/GLM-4.5V
    "glm4v-moe": whole("Glm4vMoeForConditionalGeneration", "glm4v_moe", text(
        "glm4v_moe_text", **ROUTED, head_dim=16, attention_bias=True, partial_rotary_factor=0.5, rope_theta=10000.0,
        rope_scaling={"rope_type": "default", "mrope_section": [2, 1, 1]}, use_qk_norm=False, num_hidden_layers=3),
        GLM_VISION, **PICTURES, tie_word_embeddings=False),
    # zai-org/GLM-4.7-Flash
    "glm4-moe-lite": case("Glm4MoeLiteForCausalLM", "glm4_moe_lite", **LATENT, **ROUTED, attention_bias=False,
                          num_nextn_predict_layers=1, rope_scaling=None, rope_theta=1000000, topk_method="noaux_tc",
                          num_hidden_layers=3, partial_rotary_factor=1.0),
    # MiniMaxAI/MiniMax-M2
    "minimax-m2": case("MiniMaxM2ForCausalLM", "minimax_m2", head_dim=16, num_local_experts=6, num_experts_per_tok=2,
                       rotary_dim=8, rope_theta=5000000, qk_norm_type="per_layer", scoring_func="sigmoid",
                       shared_intermediate_size=0, use_mtp=True, use_qk_norm=True, use_routing_bias=True,
                       num_mtp_modules=3, mtp_transformer_layers=1, intermediate_size=28, attn_type_list=[1, 1],
                       output_router_logits=False, router_aux_loss_coef=0.001, router_jitter_noise=0.0),
    # mistralai/Ministral-3-8B-Instruct-2512
    "ministral3": {"config": MINISTRAL | {"architectures": ["Ministral3ForCausalLM"], "tie_word_embeddings": False}},
    "mistral3-ministral3": whole("Mistral3ForConditionalGeneration", "mistral3", MINISTRAL, PIXTRAL,
                                 image_token_index=400, multimodal_projector_bias=False, projector_hidden_act="gelu",
                                 spatial_merge_size=2, vision_feature_layer=-1, tie_word_embeddings=False),
    "mistral4": {"config": MISTRAL4 | {"architectures": ["Mistral4ForCausalLM"], "tie_word_embeddings": False}},
    # mistralai/Mistral-Small-4-119B-2603
    "mistral3-mistral4": whole("Mistral3ForConditionalGeneration", "mistral3", MISTRAL4, PIXTRAL,
                               image_token_index=400, multimodal_projector_bias=False, projector_hidden_act="gelu",
                               spatial_merge_size=2, vision_feature_layer=-1, tie_word_embeddings=False),
    # tencent/Hy3
    "hy-v3": case("HYV3ForCausalLM", "hy_v3", head_dim=16, moe_intermediate_size=28, num_experts=6,
                  num_experts_per_tok=2, num_shared_experts=1, router_scaling_factor=2.8, mlp_layer_types=MOE_MIXED,
                  num_hidden_layers=3, enable_moe_fp32_combine=True,
                  rope_parameters={"rope_theta": 10000.0, "rope_type": "default"}),
    # allenai/Olmo-3-1025-7B
    "olmo3": case("Olmo3ForCausalLM", "olmo3", head_dim=12, attention_bias=False, num_hidden_layers=4,
                  layer_types=3 * ["sliding_attention"] + ["full_attention"], sliding_window=7, rope_theta=500000,
                  rope_scaling={"attention_factor": 1.2, "beta_fast": 32.0, "beta_slow": 1.0, "factor": 8.0,
                                "original_max_position_embeddings": 16, "rope_type": "yarn"}),
    # ByteDance-Seed/Seed-OSS-36B-Instruct
    "seed-oss": case("SeedOssForCausalLM", "seed_oss", head_dim=16, attention_bias=True, attention_out_bias=False,
                     mlp_bias=False, residual_dropout=0.1, rope_theta=1e7, rope_scaling={"rope_type": "default"}),
    # LGAI-EXAONE/EXAONE-4.0-32B: positions only where the window is.
    "exaone4": case("Exaone4ForCausalLM", "exaone4", head_dim=12, num_hidden_layers=4, sliding_window=7,
                    sliding_window_pattern="LLLG", rope_theta=1000000,
                    layer_types=3 * ["sliding_attention"] + ["full_attention"], rope_scaling={
                        "factor": 16.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                        "original_max_position_embeddings": 32, "rope_type": "llama3"}),
    # LGAI-EXAONE/EXAONE-4.0-1.2B
    "exaone4-small": case("Exaone4ForCausalLM", "exaone4", head_dim=12, sliding_window=None,
                          layer_types=2 * ["full_attention"], rope_theta=1000000, sliding_window_pattern=None),
    # LGAI-EXAONE/K-EXAONE-236B-A23B
    "exaone-moe": case("ExaoneMoeForCausalLM", "exaone_moe", head_dim=12, num_hidden_layers=4, sliding_window=7,
                       layer_types=3 * ["sliding_attention"] + ["full_attention"], sliding_window_pattern="LLLG",
                       mlp_layer_types=["dense"] + 3 * ["sparse"], first_k_dense_replace=1, moe_intermediate_size=28,
                       num_experts=6, num_experts_per_tok=2, num_shared_experts=1, norm_topk_prob=True,
                       routed_scaling_factor=2.5, n_group=1, topk_group=1,
                       rope_parameters={"rope_theta": 1000000, "rope_type": "default"}),
    # baidu/ERNIE-4.5-0.3B-PT
    "ernie4-5": case("Ernie4_5ForCausalLM", "ernie4_5", head_dim=16, rope_theta=500000.0, use_bias=False),
    # baidu/ERNIE-4.5-21B-A3B-PT: a softmax router with a bias for the choice.
    "ernie4-5-moe": case("Ernie4_5_MoeForCausalLM", "ernie4_5_moe", moe_intermediate_size=28, moe_k=2,
                         moe_num_experts=6, moe_num_shared_experts=2, moe_layer_start_index=1, num_hidden_layers=3,
                         moe_layer_end_index=2, moe_layer_interval=1, moe_use_aux_free=True, rope_theta=500000.0,
                         use_bias=False),
    # tencent/Hunyuan-7B-Instruct
    "hunyuan-dense": case("HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense", head_dim=16, attention_bias=False,
                          rope_theta=10000.0, rope_scaling={
                              "alpha": 1000.0, "beta_fast": 32, "beta_slow": 1, "factor": 1.0, "mscale": 1.0,
                              "mscale_all_dim": 0.0, "type": "dynamic"}),
    # tencent/Hunyuan-A13B-Instruct
    "hunyuan-moe": case("HunYuanMoEV1ForCausalLM", "hunyuan_v1_moe", head_dim=16, attention_bias=False,
                        num_experts=6, moe_topk=[2, 2], rope_theta=10000.0, intermediate_size=28,
                        rope_scaling={"alpha": 1000.0, "beta_fast": 32, "beta_slow": 1, "factor": 1.0,
                                      "mscale": 1.0, "mscale_all_dim": 1.0, "type": "dynamic"}),
    # rednote-hilab/dots.llm1.inst
    "dots1": case("Dots1ForCausalLM", "dots1", head_dim=16, **ROUTED, attention_bias=False, num_hidden_layers=3,
                  moe_layer_freq=1, rope_theta=10000000, scoring_func="sigmoid",
                  topk_method="noaux_tc", sliding_window=None, use_sliding_window=False, max_window_layers=3),
    # upstage/Solar-Open-100B
    "solar-open": case("SolarOpenForCausalLM", "solar_open", head_dim=16, **ROUTED, attention_bias=False,
                       rope_scaling=None, rope_theta=1000000, without=["first_k_dense_replace", "intermediate_size"]),
    # allenai/FlexOlmo-7x7B-1T: a norm after the experts, and no shared one.
    "flex-olmo": case("FlexOlmoForCausalLM", "flex_olmo", attention_bias=False, num_experts=5, num_experts_per_tok=2,
                      norm_topk_prob=False, rope_theta=500000, intermediate_size=28, pad_token_id=0),
    # allenai/OLMoE-1B-7B-0924
    "olmoe": case("OlmoeForCausalLM", "olmoe", attention_bias=False, num_experts=5, num_experts_per_tok=2,
                  clip_qkv=None, norm_topk_prob=False, rope_theta=10000.0, intermediate_size=28,
                  num_key_value_heads=6),
    # kyutai/helium-1-2b
    "helium": case("HeliumForCausalLM", "helium", head_dim=12, attention_bias=False, mlp_bias=False,
                   num_key_value_heads=2, rms_norm_eps=1e-08, rope_theta=20000.0),
    # facebook/cwm
    "cwm": case("CwmForCausalLM", "cwm", head_dim=16, mlp_bias=False, num_hidden_layers=4, sliding_window=7,
                layer_types=["full_attention"] + 3 * ["sliding_attention"], rope_theta=1000000.0, rope_scaling={
                    "factor": 16.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                    "original_max_position_embeddings": 32, "rope_type": "llama3"}),
    # mistralai/Ministral-8B-Instruct-2410, as transformers 5 reads it
    "ministral": case("MinistralForCausalLM", "ministral", head_dim=16, num_hidden_layers=4, sliding_window=7,
                      layer_types=3 * ["sliding_attention"] + ["full_attention"], rope_theta=100000000.0),
    # google/vaultgemma-1b
    "vaultgemma": case("VaultGemmaForCausalLM", "vaultgemma", without=["hidden_act", "tie_word_embeddings"],
                       hidden_activation="gelu_pytorch_tanh", head_dim=16, query_pre_attn_scalar=20, sliding_window=7,
                       num_hidden_layers=3, attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
                       layer_types=["sliding_attention", "full_attention", "sliding_attention"], unit_offset=True,
                       spread={"embed_tokens.weight": (0.0, 0.1)}),
    # moonshotai/Kimi-K2.5
    "kimi-k25": whole("Kimi_K25ForConditionalGeneration", "kimi_k25", KIMI | {
        "architectures": ["DeepseekV3ForCausalLM"]}, {
            "hidden_size": 16, "intermediate_size": 12, "num_attention_heads": 2, "num_hidden_layers": 1,
            "patch_size": 4, "pos_emb_height": 4, "pos_emb_time": 1, "pos_emb_width": 4},
        image_token_id=400, projection_hidden_size=16, tie_word_embeddings=False) | {
            "publish": ("language_model.model.blocks.", "language_model.model.layers.")},
}  # fmt: skip
