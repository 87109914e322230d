//! A small random checkpoint of each family against the logits of its reference implementation, at the smallest budget
//! and resident.

use std::collections::BTreeMap;

use crate::common::{
    self, Files, Golden, block_on, engine_config, families, gpu, open, relative_error, smallest, split_family_as,
    split_folder,
};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use tilestream::internals::model::Engine;
use tilestream::internals::model::batch::{self, Sequence};
use tilestream::internals::model::inputs::Want;
use tilestream::internals::model::memory::EngineConfig;
use tilestream::internals::model::readback::Output;
use tilestream::internals::plan::{self, ModelSpec};

/// Relative error of each position's logits, ‖a−b‖/‖b‖.
const TOLERANCE: f64 = 1e-4;

/// Compares one checkpoint in each spelling of its config.
fn gives_the_logits_and_ids_of_its_reference(name: &str) {
    let outcome = block_on(async {
        let spec = check(name, "config.json").await?;
        // As transformers 5 writes it, where it writes one.
        let (new, folder) = ("config.rope_parameters.json", common::data("families").join(name));
        match (folder.join(new).is_file(), folder.join("tensors.json").is_file()) {
            (false, _) => Ok(()),
            (true, false) => check(name, new).await.map(drop),
            (true, true) => means_the_same(&folder.join(new), &spec),
        }
    });
    assert_eq!(outcome, Ok(()));
}

common::each_named! {
    gives_the_logits_and_ids_of_its_reference, families();
    afmoe apertus arcee aya_vision baichuan_13b baichuan_7b baichuan2_13b baichuan2_7b bloom chatglm3 chatglm4
    cohere cohere_qk_norm cohere2 cohere2_moe cohere2_moe_rms cohere2_vision cwm deepseek_v2 deepseek_v2_even
    deepseek_v2_lite deepseek_v3 deepseek_v3_fp8 deepseek_v32 dots1 ernie4_5 ernie4_5_moe exaone_moe exaone4
    exaone4_5 exaone4_small falcon falcon_11b falcon_40b flex_olmo gemma gemma2 gemma3 gemma3_layer_types
    gemma3_vision gemma3n gemma4 gemma4_moe gemma4_ple gemma4_text gemma4_unified glm glm4 glm4_32b glm4_moe glm4_moe_air glm4_moe_lite glm4v glm4v_moe glm5 gpt_neox
    gpt_neox_serial gpt_oss gpt_oss_limit gpt_oss_mxfp4 gptj granite granite_swa granite4 granitemoe granitemoe_swa
    granitemoeshared helium hunyuan_dense hunyuan_moe hy_v3 hyperclovax hyperclovax_plain idefics3 internlm
    internlm2 internlm3 internvl internvl_qwen3 jais2 kimi_k25 llama_airllm_4bit llama_airllm_8bit llama_awq
    llama_fp4 llama_fp8 llama_fp8_rows llama_gptq llama_gptq_8bit llama_gptq_act_order llama_int8 llama_mixed
    llama_modelopt llama_nf4 llama_w4a16 llama_w4a16_zero llama_w8a8 llama4_published llama4_text llava llava_next llava_onevision mellum mimo_v2_flash minicpm_v_4_6
    minicpm_v_4_7 minimax_m2 ministral ministral3 mistral3 mistral3_ministral3 mistral3_mistral4 mistral4 mixtral
    mllama mpt muse_glimmer nanochat nemotron olmo olmo2 olmo3 olmoe phi_1_5 phi_2 phi3 phi3_longrope_long
    phi3_longrope_short phi4_mini phi4_multimodal qwen qwen2 qwen2_5_vl qwen2_moe qwen2_vl qwen2_window qwen3
    qwen3_5 qwen3_5_moe qwen3_5_moe_fused qwen3_5_moe_text qwen3_5_text qwen3_5_tied qwen3_bias qwen3_moe
    qwen3_moe_dense_layers qwen3_next qwen3_vl qwen3_vl_moe qwen3_vl_tied sarvam_moe seed_oss smollm3 smolvlm
    solar_open stablelm stablelm_2_12b starcoder2 vaultgemma video_llama3 yi youtu
}

async fn check(name: &str, config: &str) -> Result<ModelSpec, String> {
    let files = split_family_as(name, config).await.map_err(|error| error.to_string())?;
    compare(name, config, &files).await?;
    Ok(files.spec)
}

/// Whether a config in another spelling comes to the same plan, which was compared already.
fn means_the_same(config: &std::path::Path, spec: &ModelSpec) -> Result<(), String> {
    let config = serde_json::from_slice(&std::fs::read(config).expect("test data")).expect("JSON");
    match plan::model_spec(&config) {
        Ok(other) if other == *spec => Ok(()),
        Ok(_) => Err("the two spellings come to different plans".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Compares a split model with what the reference said of the checkpoint `name`.
async fn compare(name: &str, spelling: &str, files: &Files) -> Result<(), String> {
    let golden = Golden::read_file(&common::data("families").join(name).join("golden.safetensors"));
    let config = EngineConfig { rows: Some(5), ..engine_config() };
    let least = smallest(files, &EngineConfig { direct: false, ..config }).await;
    for budget_bytes in [least, config.budget_bytes] {
        let config = EngineConfig { budget_bytes, ..config };
        let mut model = open(files, gpu(budget_bytes).await, config).await.map_err(|error| error.to_string())?;
        let (counted, planned) = model.counted_and_planned_bytes();
        if counted != planned {
            return Err(format!("{counted} bytes of buffers, {planned} planned"));
        }
        let mut worst = 0.0_f64;
        let compare = |position, logits: &[f32]| {
            worst = worst.max(relative_error(logits, golden.logits(position)));
            Ok(())
        };
        batch::score(&mut model, &golden.ids, compare).await.map_err(|error| error.to_string())?;
        println!("{name} {spelling} in {} KiB: {worst:.2e}", budget_bytes >> 10);
        if worst.is_nan() || worst >= TOLERANCE {
            return Err(format!("relative error {worst}"));
        }
        follow(&mut model, &golden).await?;
    }
    Ok(())
}

/// The reference turns the keys of a whole text by one list of frequencies, and forgets them where the text grows into
/// the other: each next token has the logits of the text computed at once.
#[test]
fn a_text_that_passes_the_trained_positions_is_turned_anew() {
    block_on(async {
        let name = "phi3-longrope-long";
        let files = split_family_as(name, "config.json").await.expect("splits");
        let ids = Golden::read_file(&common::data("families").join(name).join("golden.safetensors")).ids;
        let trained = files.spec.ropes[0].long.as_ref().expect("two lists").0 as usize;
        let mut model = open(&files, gpu(engine_config().budget_bytes).await, engine_config()).await.expect("loads");
        let mut sequence = Sequence::new(ids[..trained - 2].to_vec());
        assert!(model.kv().reserve(&mut sequence.state, 32));
        // One token more each time, past the border; then a shorter text with the same beginning.
        for len in (trained - 2..trained + 3).chain([trained - 4]) {
            sequence.replace(model.kv(), ids[..len].to_vec());
            assert!(model.kv().reserve(&mut sequence.state, 32));
            let next = batch::sweep(&mut model, &mut [&mut sequence], Want::Logits).await.expect("sweeps");
            let [Some(Output::Logits(ours))] = &next[..] else { panic!("{next:?}") };
            let mut whole = Vec::new();
            let keep_last = |_, logits: &[f32]| {
                whole = logits.to_vec();
                Ok(())
            };
            batch::score(&mut model, &ids[..len], keep_last).await.expect("scores");
            let error = relative_error(ours, &whole);
            assert!(error < 1e-5, "{len} positions: {error}");
        }
    });
}

/// Greedy ids are those of the reference. Only a tie of it may be broken the other way; it is then forced, and compared on.
async fn follow(model: &mut Engine, golden: &Golden) -> Result<(), String> {
    let mut sequence = Sequence::new(golden.ids.clone());
    assert!(model.kv().reserve(&mut sequence.state, 64));
    for (step, (expected, margin)) in golden.greedy.iter().zip(&golden.margins).enumerate() {
        let mut next = vec![None];
        // The prompt takes several sweeps.
        while next == [None] {
            next = batch::sweep(model, &mut [&mut sequence], Want::Best).await.map_err(|error| error.to_string())?;
        }
        if next != [Some(Output::Best(*expected))] && *margin >= 1e-3 {
            return Err(format!("step {step}: {next:?} instead of {expected}, margin {margin}"));
        }
        sequence.ids.push(*expected);
    }
    Ok(())
}

/// Puts a text model into one that also takes pictures, as it is published: config and names one level deeper, other
/// parts beside it.
fn wrap(name: &str, class: &str, folder: &std::path::Path) {
    let from = common::data("families").join(name);
    let read = |file: &str| std::fs::read(from.join(file)).expect("test data");
    let text: serde_json::Value = serde_json::from_slice(&read("config.json")).expect("JSON");
    let config = json!({
        "architectures": [class], "model_type": "llama4", "boi_token_index": 3, "tie_word_embeddings": false,
        "text_config": text, "vision_config": { "hidden_size": 8 }, "transformers_version": "4.51.0.dev0",
    });
    std::fs::write(folder.join("config.json"), config.to_string()).expect("writes");
    let (bytes, pixels) = (read("model.safetensors"), [0_u8; 24]);
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut views: BTreeMap<String, TensorView<'_>> =
        tensors.iter().map(|(name, view)| (format!("language_model.{name}"), view)).collect();
    for (other, shape) in
        [("vision_model.class_embedding", vec![6]), ("multi_modal_projector.linear_1.weight", vec![2, 3])]
    {
        views.insert(other.to_owned(), TensorView::new(Dtype::F32, shape, &pixels).expect("a view"));
    }
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).expect("writes");
}

#[test]
fn the_text_part_of_a_model_that_takes_pictures_gives_the_logits_of_the_text_model() {
    let folder = tempfile::tempdir().expect("a folder");
    wrap("llama4-text", "Llama4ForConditionalGeneration", folder.path());
    let outcome = block_on(async {
        let files = split_folder("wrapped", folder.path()).await.map_err(|error| error.to_string())?;
        compare("llama4-text", "wrapped", &files).await
    });
    assert_eq!(outcome, Ok(()));
}

/// What a library of vectors saves: a model without its head, whose names say nothing of where it stands.
#[test]
fn a_body_that_was_saved_alone_is_the_model_that_it_belongs_to() {
    for (name, class) in [("qwen3", "Qwen3Model"), ("qwen3", "Qwen3ForCausalLM"), ("gemma3", "Gemma3TextModel")] {
        let (from, folder) = (common::data("families").join(name), tempfile::tempdir().expect("a folder"));
        let read = |file: &str| std::fs::read(from.join(file)).expect("test data");
        let mut config: serde_json::Value = serde_json::from_slice(&read("config.json")).expect("JSON");
        config["architectures"] = json!([class]);
        // It says so of a head that is not there.
        config["tie_word_embeddings"] = json!(false);
        std::fs::write(folder.path().join("config.json"), config.to_string()).expect("writes");
        let bytes = read("model.safetensors");
        let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
        let inside = |name: &str| name.strip_prefix("model.").expect("a part of the body").to_owned();
        let views: BTreeMap<_, _> = tensors.iter().map(|(name, view)| (inside(name), view)).collect();
        safetensors::serialize_to_file(views, None, &folder.path().join("model.safetensors")).expect("writes");
        let outcome = block_on(async {
            let files = split_folder(name, folder.path()).await.map_err(|error| error.to_string())?;
            compare(name, class, &files).await
        });
        assert_eq!(outcome, Ok(()), "{name} {class}");
    }
}
