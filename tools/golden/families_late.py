"""More small configs of families whose golden weights are made from a seed: those that came later, in the form of
families_seeded.py.
"""

from families_seeded import COMMON, LATENT, PICTURES, QWEN2_5_VISION, QWEN3_5, ROUTED, SIGLIP, case, model, text, whole

GRANITE4 = {
    "attention_bias": False, "attention_multiplier": 0.2, "embedding_multiplier": 1.5, "init_method": "mup",
    "logits_scaling": 1.6, "mamba_chunk_size": 256, "mamba_conv_bias": True, "mamba_d_conv": 4, "mamba_d_head": 12,
    "mamba_d_state": 16, "mamba_expand": 2, "mamba_n_groups": 1, "mamba_n_heads": 12, "mamba_proj_bias": False,
    "normalization_function": "rmsnorm", "num_experts_per_tok": 0, "num_local_experts": 0,
    "output_router_logits": False, "position_embedding_type": "rope", "residual_multiplier": 0.6,
    "rope_scaling": None, "rope_theta": 10000000, "router_aux_loss_coef": 0.01, "shared_intermediate_size": 84,
}  # fmt: skip
COHERE2 = text(
    "cohere2", without=["rms_norm_eps"], attention_bias=False, head_dim=12, layer_norm_eps=1e-05, logit_scale=1.0,
    layer_types=["sliding_attention", "full_attention", "sliding_attention"], num_hidden_layers=3,
    rope_theta=50000.0, sliding_window=7,
)  # fmt: skip
MINICPM_VISION = {
    "hidden_size": 16, "image_size": 8, "intermediate_size": 12, "model_type": "minicpmv4_6_vision",
    "num_attention_heads": 2, "num_hidden_layers": 1, "patch_size": 4,
}  # fmt: skip
PHI_AUDIO = {
    "hidden_size": 16, "intermediate_size": 12, "num_attention_heads": 2, "num_blocks": 1, "model_type":
    "phi4_multimodal_audio", "ext_pw_out_channel": 16, "nemo_conv_channels": 4, "num_mel_bins": 8,
}  # fmt: skip
PHI_VISION = {
    "hidden_size": 16, "image_size": 8, "intermediate_size": 12, "num_attention_heads": 2, "num_hidden_layers": 2,
    "patch_size": 4, "model_type": "phi4_multimodal_vision", "crop_size": 8,
}  # fmt: skip
HYPERCLOVAX = {
    "attention_bias": False, "attention_multiplier": 0.2, "embedding_multiplier": 1.5, "head_dim": 16,
    "logits_scaling": 0.7, "mlp_bias": False, "residual_multiplier": 0.6, "rope_scaling": None,
    "rope_theta": 100000000,
}  # fmt: skip
SARVAM = {
    "first_k_dense_replace": 1, "moe_intermediate_size": 28, "n_group": 1, "norm_topk_prob": True, "num_experts": 6,
    "num_experts_per_tok": 2, "num_shared_experts": 1, "routed_scaling_factor": 1.8, "topk_group": 1,
}  # fmt: skip
FALCON = {
    "without": ["hidden_act", "intermediate_size", "num_key_value_heads", "rms_norm_eps"], "alibi": False,
    "apply_residual_connection_post_layernorm": False, "attention_dropout": 0.0, "bias": False, "hidden_dropout": 0.0,
    "layer_norm_epsilon": 1e-05, "parallel_attn": True, "tie_word_embeddings": True,
}  # fmt: skip
GPT_NEOX = {
    "without": ["num_key_value_heads", "rms_norm_eps"], "hidden_act": "gelu", "layer_norm_eps": 1e-05,
    "rotary_emb_base": 10000, "rotary_pct": 0.34, "num_attention_heads": 6,
}  # fmt: skip
COHERE2_MOE = {
    "attention_bias": False, "head_dim": 12, "intermediate_size": 28, "logit_scale": 0.9, "num_experts": 5,
    "num_experts_per_tok": 2, "num_hidden_layers": 4, "num_shared_experts": 2, "prefix_dense_intermediate_size": 84,
    "prefix_dense_sliding_window_pattern": 1, "rope_theta": 50000.0, "sliding_window": 7, "sliding_window_pattern": 3,
}  # fmt: skip
GRANITE_SWA = {
    "attention_bias": False, "attention_multiplier": 0.2, "embedding_multiplier": 1.5, "intermediate_size": 28,
    "layer_rope_theta": [0, 10000.0, 10000.0], "layer_types": ["full_attention"] + 2 * ["sliding_attention"],
    "logits_scaling": 1.6, "num_hidden_layers": 3, "residual_multiplier": 0.6, "rope_theta": 10000.0,
    "sliding_window": 7,
}  # fmt: skip
# A tied head must neither repeat a token nor say the same of all.
CALM = {"word_embeddings.weight": (0.0, 0.12), "wte.weight": (0.0, 0.12), "ln_f.bias": (0.0, 0.02)}
NARROW = {"embed_tokens.weight": (0.0, 0.1)}

FAMILIES = {
    # Qwen/Qwen2-VL-7B-Instruct: the text part's fields stand beside `vision_config`.
    "qwen2-vl": {"config": model(
        "Qwen2VLForConditionalGeneration", "qwen2_vl", max_window_layers=2, sliding_window=32768,
        use_sliding_window=False, rope_theta=1000000.0, vision_config={
            "depth": 1, "embed_dim": 16, "hidden_size": 72, "in_channels": 3, "mlp_ratio": 2, "num_heads": 2,
            "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2},
        vision_token_id=404, **PICTURES, rope_scaling={"type": "mrope", "mrope_section": [2, 2, 2]})},
    # ibm-granite/granite-4.0-micro
    "granite4": case("GraniteMoeHybridForCausalLM", "granitemoehybrid", **GRANITE4,
                     layer_types=["attention", "attention"]),
    # CohereLabs/command-a-vision-07-2025: the reference leaves the scale of logits out.
    "cohere2-vision": whole("Cohere2VisionForConditionalGeneration", "cohere2_vision", COHERE2, SIGLIP,
                            alignment_intermediate_size=24, downsample_factor=2, image_token_id=400),
    # CohereLabs/aya-vision-8b
    "aya-vision": whole("AyaVisionForConditionalGeneration", "aya_vision", COHERE2, SIGLIP,
                        adapter_layer_norm_eps=1e-06, downsample_factor=2, image_token_index=400,
                        vision_feature_layer=-1, vision_feature_select_strategy="full"),
    # LGAI-EXAONE/EXAONE-4.5-33B
    "exaone4-5": whole("Exaone4_5_ForConditionalGeneration", "exaone4_5", text(
        "exaone4_5_text", head_dim=12, num_hidden_layers=4, sliding_window=7, sliding_window_pattern="LLLG",
        rope_theta=1000000, layer_types=3 * ["sliding_attention"] + ["full_attention"], rope_scaling={
            "factor": 16.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 32, "rope_type": "llama3"}), QWEN2_5_VISION | {
                "num_key_value_heads": 1}, image_token_id=400, video_token_id=401, tie_word_embeddings=False),
    # openbmb/MiniCPM-V-4.6
    "minicpm-v-4-6": whole("MiniCPMV4_6ForConditionalGeneration", "minicpmv4_6", QWEN3_5, MINICPM_VISION,
                           drop_vision_last_layer=False, downsample_mode="16x", image_size=8, image_token_id=400,
                           insert_layer_id=0, merge_kernel_size=[2, 2], merger_times=1, video_token_id=401,
                           tie_word_embeddings=False, unit_offset=True),
    # openbmb/MiniCPM-V-4.7-1B
    "minicpm-v-4-7": whole("MiniCPMV4_7ForConditionalGeneration", "minicpmv4_7", QWEN3_5, MINICPM_VISION,
                           downsample_mode="16x", image_end_id=403, image_size=8, image_start_id=402,
                           image_token_id=400, insert_layer_id=0, merge_kernel_size=[2, 2], merger_times=1,
                           newline_id=404, slice_end_id=406, slice_start_id=405, video_token_id=401,
                           tie_word_embeddings=False, unit_offset=True),
    # lkhl/VideoLLaMA3-2B-Image-HF
    "video-llama3": whole("VideoLlama3ForConditionalGeneration", "video_llama_3", text("qwen2"), {
        "hidden_size": 16, "intermediate_size": 12, "model_type": "video_llama_3_vision", "num_attention_heads": 2,
        "num_hidden_layers": 1, "patch_size": 4}, image_token_id=400, video_token_id=401, tie_word_embeddings=False),
    # microsoft/Phi-4-multimodal-instruct: the text part's fields stand beside `vision_config`.
    "phi4-multimodal": {"config": model(
        "Phi4MultimodalForCausalLM", "phi4_multimodal", max_position_embeddings=128, num_attention_heads=4,
        original_max_position_embeddings=64, partial_rotary_factor=0.67, rope_theta=10000.0, rope_scaling={
            "long_factor": [1.1, 1.5, 2.0, 3.0, 4.0, 5.0], "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
            "type": "longrope"}, sliding_window=262144, pad_token_id=0, bos_token_id=0, eos_token_id=0,
        audio_config=PHI_AUDIO, vision_config=PHI_VISION)},
    # tencent/Youtu-LLM-2B
    "youtu": case("YoutuForCausalLM", "youtu", **LATENT, attention_bias=False, rope_interleave=True, head_dim=8,
                  mlp_bias=False, rope_scaling=None, rope_theta=1600000),
    # naver-hyperclovax/HyperCLOVAX-SEED-Think-14B
    "hyperclovax": case("HyperCLOVAXForCausalLM", "hyperclovax", **HYPERCLOVAX, use_post_norm=True),
    "hyperclovax-plain": case("HyperCLOVAXForCausalLM", "hyperclovax", **HYPERCLOVAX, use_post_norm=False),
    # JetBrains/Mellum2-12B-A2.5B-Base
    "mellum": case("MellumForCausalLM", "mellum", head_dim=16, attention_bias=False, num_hidden_layers=4,
                   layer_types=["full_attention"] + 3 * ["sliding_attention"],
                   mlp_layer_types=["dense"] + 3 * ["sparse"],
                   moe_intermediate_size=20, norm_topk_prob=True, num_experts=5, num_experts_per_tok=2,
                   sliding_window=7, output_router_logits=False, router_aux_loss_coef=0.001, rope_parameters={
                       "full_attention": {"attention_factor": 1.2, "beta_fast": 32.0, "beta_slow": 1.0,
                                          "factor": 8.0, "original_max_position_embeddings": 16,
                                          "rope_theta": 500000.0, "rope_type": "yarn"},
                       "sliding_attention": {"rope_theta": 500000.0, "rope_type": "default"}}),
    # sarvamai/sarvam-30b
    "sarvam-moe": case("Glm4MoeForCausalLM", "sarvam_moe", head_dim=16, **SARVAM, num_hidden_layers=3,
                       rope_scaling=None, rope_theta=8000000, use_qk_norm=True, use_qkv_bias=False),
    # tiiuae/falcon-7b
    "falcon": case("FalconForCausalLM", "falcon", **FALCON, spread=CALM, multi_query=True,
                   new_decoder_architecture=False),
    # tiiuae/falcon-40b
    "falcon-40b": case("FalconForCausalLM", "falcon", **FALCON, spread=CALM, new_decoder_architecture=True,
                       num_kv_heads=2),
    # tiiuae/falcon-11B
    "falcon-11b": case("FalconForCausalLM", "falcon", **FALCON, spread=CALM, new_decoder_architecture=True,
                       num_kv_heads=2, num_ln_in_parallel_attn=1, ff_factor=4),
    # EleutherAI/pythia-6.9b
    "gpt-neox": case("GPTNeoXForCausalLM", "gpt_neox", **GPT_NEOX, use_parallel_residual=True),
    # togethercomputer/RedPajama-INCITE-7B-Base
    "gpt-neox-serial": case("GPTNeoXForCausalLM", "gpt_neox", **GPT_NEOX, use_parallel_residual=False),
    # mosaicml/mpt-7b
    "mpt": case("MptForCausalLM", "mpt", without=[*COMMON.keys() - {"vocab_size"}], attn_config={
        "alibi": True, "alibi_bias_max": 8, "attn_impl": "torch", "attn_pdrop": 0, "attn_type": "multihead_attention",
        "attn_uses_sequence_id": False, "clip_qkv": None, "prefix_lm": False, "qk_ln": False, "softmax_scale": None},
        d_model=72, emb_pdrop=0, embedding_fraction=1.0, expansion_ratio=4, init_device="cpu", learned_pos_emb=True,
        logit_scale=None, max_seq_len=64, n_heads=6, n_layers=2, no_bias=True, norm_type="low_precision_layernorm",
        resid_pdrop=0, spread={"wte.weight": (0.0, 0.06)}),
    # arcee-ai/AFM-4.5B
    "arcee": case("ArceeForCausalLM", "arcee", head_dim=16, attention_bias=False, hidden_act="relu2", mlp_bias=False,
                  rope_theta=10000.0, rope_scaling={
                      "beta_fast": 32.0, "beta_slow": 1.0, "factor": 20.0, "mscale": 1.0,
                      "original_max_position_embeddings": 16, "rope_type": "yarn", "type": "yarn"}),
    # nvidia/Minitron-8B-Base
    "nemotron": case("NemotronForCausalLM", "nemotron", without=["rms_norm_eps"], attention_bias=False, head_dim=16,
                     hidden_act="relu2", mlp_bias=False, norm_eps=1e-05, partial_rotary_factor=0.5,
                     rope_theta=10000.0, unit_offset=True),
    # inceptionai/Jais-2-8B-Chat
    "jais2": case("Jais2ForCausalLM", "jais2", without=["rms_norm_eps"], attention_bias=True, head_dim=12,
                  hidden_act="relu2", layer_norm_eps=1e-05, mlp_bias=True, rope_scaling=None, rope_theta=500000.0),
    # swiss-ai/Apertus-8B-Instruct-2509
    "apertus": case("ApertusForCausalLM", "apertus", attention_bias=False, hidden_act="xielu", mlp_bias=False,
                    post_norm=False, qk_norm=True, rope_theta=12000000, rope_scaling={
                        "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                        "original_max_position_embeddings": 32, "rope_type": "llama3", "type": "llama3"},
                    spread={"act_fn.beta": (0.5, 0.0), "act_fn.eps": (-1e-6, 0.0), "act_fn.alpha_p": (0.2, 0.5),
                            "act_fn.alpha_n": (-1.05, 0.5)}),
    # deepseek-ai/DeepSeek-V3.2: as many positions as its indexer may choose.
    "deepseek-v32": case("DeepseekV32ForCausalLM", "deepseek_v32", **LATENT, **ROUTED, attention_bias=False,
                         index_head_dim=12, index_n_heads=2, index_topk=48, num_hidden_layers=3, rope_theta=10000,
                         scoring_func="sigmoid", topk_method="noaux_tc", moe_layer_freq=1, ep_size=1,
                         num_nextn_predict_layers=1, rope_scaling={
                             "beta_fast": 32, "beta_slow": 1, "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 1.0,
                             "original_max_position_embeddings": 16, "type": "yarn"}),
    # zai-org/GLM-5
    "glm5": case("GlmMoeDsaForCausalLM", "glm_moe_dsa", **LATENT, **ROUTED, attention_bias=False, head_dim=8,
                 index_head_dim=12, index_n_heads=2, index_topk=48, indexer_rope_interleave=True, num_hidden_layers=3,
                 scoring_func="sigmoid", topk_method="noaux_tc", moe_layer_freq=1, ep_size=1, qk_head_dim=20,
                 num_nextn_predict_layers=1, rope_parameters={"rope_theta": 1000000, "rope_type": "default"}),
    # arcee-ai/Trinity-Mini: positions only where the window is, and a gate on what attention gives.
    "afmoe": case("AfmoeForCausalLM", "afmoe", head_dim=16, num_hidden_layers=4, global_attn_every_n_layers=4,
                  layer_types=3 * ["sliding_attention"] + ["full_attention"], load_balance_coeff=0.001,
                  moe_intermediate_size=28, mup_enabled=True, n_group=1, num_dense_layers=1, num_expert_groups=1,
                  num_experts=6, num_experts_per_tok=2, num_limited_groups=1, num_shared_experts=1,
                  rope_scaling=None, rope_theta=10000, route_norm=True, route_scale=1.8, score_func="sigmoid",
                  sliding_window=7, topk_group=1, use_grouped_mm=True, spread={"embed_tokens.weight": (0.0, 0.1)}),
    # CohereLabs/command-a-plus-05-2026: dense layers first, and the mean of the shared expert and the others.
    "cohere2-moe": case("Cohere2MoeForCausalLM", "cohere2_moe", without=["rms_norm_eps"], **COHERE2_MOE,
                        layer_norm_eps=1e-05, shared_expert_combination_strategy="average",
                        expert_selection_fn="softmax", first_k_dense_replace=1, spread=NARROW),
    "cohere2-moe-rms": case("Cohere2MoeForCausalLM", "cohere2_moe", **COHERE2_MOE,
                            shared_expert_combination_strategy="sum", expert_selection_fn="sigmoid",
                            layer_types=["full_attention"] + 2 * ["sliding_attention"] + ["full_attention"],
                            mlp_layer_types=["dense"] + 3 * ["sparse"], spread=NARROW),
    # meta-models/Muse-Glimmer-30B
    "muse-glimmer": whole("MuseGlimmerForConditionalGeneration", "muse_glimmer", text(
        "muse_glimmer_text", without=["hidden_act"], attention_bias=False, final_logit_softcapping=20.0, head_dim=16,
        hidden_activation="silu", layer_rope_theta=[500000.0, 500000.0, 500000.0, 0],
        layer_types=3 * ["sliding_attention"] + ["full_attention"], num_hidden_layers=4, output_multiplier=0.7,
        post_norm_eps=1e-08, qk_scale_factor=2.2, rope_theta=500000.0, sliding_window=7), {
            "hidden_size": 16, "intermediate_size": 12, "merge_size": 2, "num_attention_heads": 2,
            "num_hidden_layers": 1, "patch_size": 4, "pos_emb_height": 4, "pos_emb_width": 4},
        image_token_id=400, out_hidden_size=64, projector_hidden_act="gelu", projector_hidden_size=16,
        video_token_id=401, tie_word_embeddings=False, unit_offset=True),
    # ibm-granite/granite-swash-2b, and granite-swash-3b-a600m
    "granite-swa": case("GraniteSWAForCausalLM", "granite_swa", **GRANITE_SWA, mlp_bias=False),
    "granitemoe-swa": case("GraniteMoeSWAForCausalLM", "granitemoe_swa", **GRANITE_SWA, num_experts_per_tok=2,
                           num_local_experts=5, output_router_logits=False, router_aux_loss_coef=0.001,
                           shared_intermediate_size=36),
    # karpathy/nanochat-d32
    "nanochat": case("NanoChatForCausalLM", "nanochat", attention_bias=False, final_logit_softcapping=15.0,
                     hidden_act="relu2", rms_norm_eps=1e-06, rope_theta=10000.0),
    # bigscience/bloom-560m
    "bloom": case("BloomForCausalLM", "bloom", without=[
        "hidden_act", "intermediate_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers",
        "num_key_value_heads", "rms_norm_eps"], apply_residual_connection_post_layernorm=False,
        attention_softmax_in_fp32=True, bias_dropout_fusion=True, layer_norm_epsilon=1e-05,
        masked_softmax_fusion=True, n_head=6, n_inner=None, n_layer=2, offset_alibi=100, seq_length=64,
        skip_bias_add=True, skip_bias_add_qkv=False, tie_word_embeddings=True,
        spread=CALM),
    # EleutherAI/gpt-j-6b
    "gptj": case("GPTJForCausalLM", "gptj", without=[*COMMON.keys() - {"vocab_size"}], activation_function="gelu_new",
                 attn_pdrop=0.0, embd_pdrop=0.0, layer_norm_epsilon=1e-05, n_embd=72, n_head=6, n_inner=None,
                 n_layer=2, n_positions=64, resid_pdrop=0.0, rotary=True, rotary_dim=8, scale_attn_weights=True,
                 spread={"wte.weight": (0.0, 0.6), "ln_f.bias": (0.0, 0.1), "lm_head.bias": (0.0, 0.2)}),
    # allenai/OLMo-7B-hf
    "olmo": case("OlmoForCausalLM", "olmo", without=["rms_norm_eps"], attention_bias=False, clip_qkv=None,
                 pad_token_id=1, rope_theta=10000.0),
    # XiaomiMiMo/MiMo-V2-Flash: layers with a window have twice the heads of keys, sinks, and a base of their own.
    "mimo-v2-flash": case("MiMoV2FlashForCausalLM", "mimo_v2_flash", attention_bias=False, attention_value_scale=0.707,
                          head_dim=20, v_head_dim=14, num_attention_heads=8, num_key_value_heads=2, n_group=1,
                          layer_types=["full_attention"] + 2 * ["sliding_attention"] + ["full_attention"],
                          mlp_layer_types=["dense"] + 3 * ["sparse"], moe_intermediate_size=28, n_routed_experts=6,
                          norm_topk_prob=True, num_experts_per_tok=2, num_hidden_layers=4, routed_scaling_factor=1.8,
                          sliding_window=7, topk_group=1, rope_parameters={
                              "full_attention": {"partial_rotary_factor": 0.42, "rope_theta": 5000000.0,
                                                 "rope_type": "default"},
                              "sliding_attention": {"partial_rotary_factor": 0.42, "rope_theta": 10000.0,
                                                    "rope_type": "default"}}),
    # meta-llama/Llama-3.2-11B-Vision: layers that attend to pictures, which text passes by.
    "mllama": whole("MllamaForConditionalGeneration", "mllama", text(
        "mllama_text_model", cross_attention_layers=[1, 3], dropout=0, num_hidden_layers=5, pad_token_id=0,
        rope_theta=500000.0, rope_scaling={
            "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 32,
            "rope_type": "llama3"}), {
                "attention_heads": 2, "hidden_size": 16, "image_size": 8, "intermediate_layers_indices": [0],
                "intermediate_size": 12, "max_num_tiles": 4, "model_type": "mllama_vision_model",
                "num_global_layers": 1, "num_hidden_layers": 1, "patch_size": 4, "supported_aspect_ratios": [[1, 1]],
                "vision_output_dim": 32}, image_token_index=400, tie_word_embeddings=False),
}  # fmt: skip
