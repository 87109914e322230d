//! Models that take more than text. Their text part is a family of the table: only its place is said here.

/// A model that takes more than text.
#[derive(Clone, Copy, Debug)]
pub(in crate::internals::plan) struct Whole {
    /// The class in `architectures` of `config.json`.
    pub class: &'static str,
    /// The class of the text part, where its config does not say.
    pub text: &'static str,
    /// The reference's defaults for the text part, where they are not those of the text class: a JSON object.
    pub defaults: &'static str,
}

const fn plain(class: &'static str, text: &'static str) -> Whole {
    Whole { class, text, defaults: "{}" }
}

/// The models, each with the class of its text part where `text_config` has no `model_type`.
const WHOLES: &[Whole] = &[
    // https://huggingface.co/meta-llama/Llama-4-Scout-17B-16E/blob/main/config.json
    plain("Llama4ForConditionalGeneration", "Llama4ForCausalLM"),
    // https://huggingface.co/google/gemma-3-4b-it/blob/main/config.json
    Whole {
        class: "Gemma3ForConditionalGeneration",
        text: "Gemma3ForCausalLM",
        defaults: r#"{"vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
            "num_attention_heads": 8, "tie_word_embeddings": true}"#,
    },
    // https://huggingface.co/google/gemma-3n-E4B-it/blob/main/config.json
    plain("Gemma3nForConditionalGeneration", "Gemma3nForCausalLM"),
    // https://huggingface.co/google/gemma-4-31B-it/blob/main/config.json
    plain("Gemma4ForConditionalGeneration", "Gemma4ForCausalLM"),
    // https://huggingface.co/google/gemma-4-12B-it/blob/main/config.json: its layers never have embeddings of their own.
    Whole {
        class: "Gemma4UnifiedForConditionalGeneration",
        text: "Gemma4ForCausalLM",
        defaults: r#"{"hidden_size_per_layer_input": 0, "max_position_embeddings": 262144, "sliding_window": 1024}"#,
    },
    // https://huggingface.co/mistralai/Mistral-Small-3.1-24B-Instruct-2503/blob/main/config.json
    plain("Mistral3ForConditionalGeneration", "MistralForCausalLM"),
    // https://huggingface.co/llava-hf/llava-1.5-7b-hf/blob/main/config.json
    Whole {
        class: "LlavaForConditionalGeneration",
        text: "LlamaForCausalLM",
        defaults: r#"{"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "vocab_size": 32000}"#,
    },
    // https://huggingface.co/llava-hf/llava-v1.6-mistral-7b-hf/blob/main/config.json
    Whole {
        class: "LlavaNextForConditionalGeneration",
        text: "LlamaForCausalLM",
        defaults: r#"{"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "vocab_size": 32000}"#,
    },
    // https://huggingface.co/llava-hf/llava-onevision-qwen2-7b-ov-hf/blob/main/config.json
    plain("LlavaOnevisionForConditionalGeneration", "Qwen2ForCausalLM"),
    // https://huggingface.co/OpenGVLab/InternVL3-8B-hf/blob/main/config.json
    plain("InternVLForConditionalGeneration", "Qwen2ForCausalLM"),
    // https://huggingface.co/HuggingFaceTB/SmolVLM-Instruct/blob/main/config.json
    plain("Idefics3ForConditionalGeneration", "LlamaForCausalLM"),
    // https://huggingface.co/HuggingFaceTB/SmolVLM2-2.2B-Instruct/blob/main/config.json
    plain("SmolVLMForConditionalGeneration", "LlamaForCausalLM"),
    // https://huggingface.co/Qwen/Qwen2-VL-7B-Instruct/blob/main/config.json
    plain("Qwen2VLForConditionalGeneration", "Qwen2ForCausalLM"),
    // https://huggingface.co/Qwen/Qwen2.5-VL-7B-Instruct/blob/main/config.json
    plain("Qwen2_5_VLForConditionalGeneration", "Qwen2ForCausalLM"),
    // https://huggingface.co/Qwen/Qwen3-VL-8B-Instruct/blob/main/config.json
    plain("Qwen3VLForConditionalGeneration", "Qwen3ForCausalLM"),
    // https://huggingface.co/Qwen/Qwen3-VL-30B-A3B-Instruct/blob/main/config.json
    plain("Qwen3VLMoeForConditionalGeneration", "Qwen3MoeForCausalLM"),
    // https://huggingface.co/Qwen/Qwen3.5-27B/blob/main/config.json
    plain("Qwen3_5ForConditionalGeneration", "Qwen3_5ForCausalLM"),
    // https://huggingface.co/Qwen/Qwen3.6-35B-A3B/blob/main/config.json
    plain("Qwen3_5MoeForConditionalGeneration", "Qwen3_5MoeForCausalLM"),
    // https://huggingface.co/zai-org/GLM-4.1V-9B-Thinking/blob/main/config.json
    plain("Glm4vForConditionalGeneration", "Glm4ForCausalLM"),
    // https://huggingface.co/zai-org/GLM-4.5V/blob/main/config.json
    Whole {
        class: "Glm4vMoeForConditionalGeneration",
        text: "Glm4MoeForCausalLM",
        defaults: r#"{"attention_bias": true}"#,
    },
    // https://huggingface.co/moonshotai/Kimi-K2.5/blob/main/config.json
    plain("Kimi_K25ForConditionalGeneration", "DeepseekV3ForCausalLM"),
    plain("KimiK25ForConditionalGeneration", "DeepseekV3ForCausalLM"),
    // https://huggingface.co/CohereLabs/command-a-vision-07-2025/blob/main/config.json: transformers 5.24 leaves the text
    // part's `logit_scale` out, which is a fault of it; it is used here.
    plain("Cohere2VisionForConditionalGeneration", "Cohere2ForCausalLM"),
    // https://huggingface.co/CohereLabs/aya-vision-8b/blob/main/config.json: the same.
    plain("AyaVisionForConditionalGeneration", "Cohere2ForCausalLM"),
    // https://huggingface.co/LGAI-EXAONE/EXAONE-4.5-33B/blob/main/config.json
    plain("Exaone4_5_ForConditionalGeneration", "Exaone4ForCausalLM"),
    // https://huggingface.co/openbmb/MiniCPM-V-4.6/blob/main/config.json
    plain("MiniCPMV4_6ForConditionalGeneration", "Qwen3_5ForCausalLM"),
    // https://huggingface.co/openbmb/MiniCPM-V-4.7-1B/blob/main/config.json
    plain("MiniCPMV4_7ForConditionalGeneration", "Qwen3_5ForCausalLM"),
    // https://huggingface.co/meta-models/Muse-Glimmer-30B/blob/main/config.json
    plain("MuseGlimmerForConditionalGeneration", "MuseGlimmerForCausalLM"),
    // https://huggingface.co/meta-llama/Llama-3.2-11B-Vision/blob/main/config.json
    plain("MllamaForConditionalGeneration", "MllamaForCausalLM"),
    // https://huggingface.co/lkhl/VideoLLaMA3-2B-Image-HF/blob/main/config.json
    plain("VideoLlama3ForConditionalGeneration", "Qwen2ForCausalLM"),
    // https://huggingface.co/microsoft/Phi-4-multimodal-instruct/blob/refs%2Fpr%2F70/config.json
    Whole {
        class: "Phi4MultimodalForCausalLM",
        text: "Phi3ForCausalLM",
        defaults: r#"{"num_key_value_heads": 8, "max_position_embeddings": 131072,
            "original_max_position_embeddings": 4096}"#,
    },
];

/// Classes of text parts by their `model_type`, where that is not the name of a row.
const TEXT_TYPES: &[(&str, &str)] = &[
    ("gemma3_text", "Gemma3ForCausalLM"),
    ("gemma3n_text", "Gemma3nForCausalLM"),
    ("gemma4_text", "Gemma4ForCausalLM"),
    ("gemma4_unified_text", "Gemma4ForCausalLM"),
    ("llama4_text", "Llama4ForCausalLM"),
    ("qwen2_vl_text", "Qwen2ForCausalLM"),
    ("qwen2_vl", "Qwen2ForCausalLM"),
    ("qwen2_5_vl_text", "Qwen2ForCausalLM"),
    ("qwen2_5_vl", "Qwen2ForCausalLM"),
    ("qwen3_vl_text", "Qwen3ForCausalLM"),
    ("qwen3_vl_moe_text", "Qwen3MoeForCausalLM"),
    ("glm4v_text", "Glm4ForCausalLM"),
    ("glm4v_moe_text", "Glm4MoeForCausalLM"),
    ("kimi_k2", "DeepseekV3ForCausalLM"),
    ("exaone4_5_text", "Exaone4ForCausalLM"),
    ("phi4_multimodal", "Phi3ForCausalLM"),
];

/// How names of the text part's tensors begin, and how they do in a model of text alone.
pub(in crate::internals::plan) const TEXT_PREFIXES: &[(&str, &str)] = &[
    ("model.language_model.", "model."),
    ("language_model.model.", "model."),
    ("language_model.lm_head.", "lm_head."),
    ("model.text_model.", "model."),
];

/// How the names of other parts' tensors begin, which a text does without.
pub(in crate::internals::plan) const OTHER_PARTS: &[&str] = &[
    "audio_tower.",
    "image_newline",
    "mm_projector.",
    "model.audio_tower.",
    "model.embed_audio.",
    "model.embed_vision.",
    "model.connector.",
    "model.mm_projector.",
    "model.image_newline",
    "model.multi_modal_projector.",
    "model.vision_adapter.",
    "model.vision_model.",
    "model.vision_projection.",
    "model.vision_tower.",
    "model.visual.",
    "multi_modal_projector.",
    "vision_model.",
    "vision_tower.",
    "visual.",
    "merger.",
    "model.embed_tokens_extend.",
    "model.merger.",
    "model.projector.",
    "model.vpm.",
    "vpm.",
];

/// Fields beside the text part's: they say nothing of text.
pub(super) const HARMLESS: &[&str] = &[
    "adapter_layer_norm_eps",
    "alignment_intermediate_size",
    "audio_config",
    "audio_soft_tokens_per_image",
    "audio_token_id",
    "auto_map",
    "boa_token_id",
    "boi_token_id",
    "boi_token_index",
    "downsample_factor",
    "downsample_mode",
    "downsample_ratio",
    "drop_vision_last_layer",
    "eoa_token_id",
    "eoa_token_index",
    "eoi_token_id",
    "eoi_token_index",
    "ignore_index",
    "image_end_id",
    "image_end_token_id",
    "image_grid_pinpoints",
    "image_seq_length",
    "image_size",
    "image_start_id",
    "image_start_token_id",
    "image_token_id",
    "image_token_index",
    "insert_layer_id",
    "media_placeholder_token_id",
    "merge_kernel_size",
    "merger_times",
    "mm_tokens_per_image",
    "multimodal_projector_bias",
    "newline_id",
    "patch_size",
    "projection_hidden_size",
    "projection_layer_norm_eps",
    "out_hidden_size",
    "projector_hidden_act",
    "projector_hidden_size",
    "projector_layernorm_eps",
    "scale_factor",
    "slice_end_id",
    "slice_start_id",
    "spatial_merge_size",
    "tie_word_embeddings",
    "use_image_newline_parameter",
    "video_end_token_id",
    "video_start_token_id",
    "video_token_id",
    "video_token_index",
    "vision_aspect_ratio",
    "vision_config",
    "vision_end_token_id",
    "vision_feature_layer",
    "vision_feature_select_strategy",
    "vision_start_token_id",
    "vision_soft_tokens_per_image",
    "vision_token_id",
];

impl Whole {
    /// Fields beside the text part's config that say nothing of text.
    pub(crate) fn harmless(&self) -> &'static [&'static str] {
        HARMLESS
    }
}

/// The model of a class that takes more than text.
pub(in crate::internals::plan) fn whole(class: &str) -> Option<&'static Whole> {
    WHOLES.iter().find(|whole| whole.class == class)
}

/// Every class that takes more than text.
pub(in crate::internals::plan) fn classes() -> impl Iterator<Item = &'static str> {
    WHOLES.iter().map(|whole| whole.class)
}

/// The class of a text part: by its `model_type`, and where that is silent, as the whole's class has it.
pub(in crate::internals::plan) fn text_class(whole: &Whole, model_type: Option<&str>) -> Option<&'static str> {
    let Some(kind) = model_type else { return Some(whole.text) };
    let listed = TEXT_TYPES.iter().find(|(theirs, _)| *theirs == kind).map(|(_, class)| *class);
    listed.or_else(|| super::families().find(|row| row.name == kind).map(|row| row.class))
}
