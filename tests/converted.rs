//! Files that llama.cpp's converter makes of the families' checkpoints, against the logits of their reference
//! implementation.

use crate::common::{block_on, converted, data, each_named, names_in};
use crate::gguf::{Continues, check_file};

/// Its rows of embeddings for layers end before its vocabulary does. A file has zeros there, where the reference takes the
/// first row for tokens of pictures and sounds; text has none of them, and the greedy one of a random model has.
const OTHER_ROWS: &str = "gemma3n";

fn gives_the_logits_and_ids_of_its_reference(name: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    converted::write(name, &data("families-gguf").join(format!("{name}.json")), &folder.path().join("model.gguf"));
    let continues = if name == OTHER_ROWS { Continues::Otherwise } else { Continues::Alike };
    assert_eq!(block_on(check_file(name, folder.path(), "model.gguf", continues)), Ok(()));
}

/// The recipes' names, in order.
fn recipes() -> Vec<String> {
    let mut names: Vec<String> =
        names_in("families-gguf").iter().filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect();
    // Without the ending the order is another one.
    names.sort();
    names
}

each_named! {
    gives_the_logits_and_ids_of_its_reference, recipes();
    afmoe arcee chatglm3 cohere cohere_qk_norm cohere2 cohere2_moe deepseek_v2_even deepseek_v2_lite deepseek_v3
    deepseek_v32 dots1 ernie4_5 ernie4_5_moe exaone_moe exaone4 gemma gemma3n gemma4 gemma4_moe gemma4_ple glm4
    glm4_moe glm4_moe_lite glm4v glm4v_moe glm5 gpt_oss_limit granite granite_swa granite4 granitemoe
    granitemoe_swa granitemoeshared hy_v3 internlm2 internlm3 jais2 kimi_k25 llama4_published minimax_m2
    ministral3 mistral3 mistral3_mistral4 mixtral nemotron olmo olmo2 olmo3 olmoe phi3 phi3_longrope_long
    phi3_longrope_short qwen2 qwen2_moe qwen2_vl qwen3 qwen3_5 qwen3_5_moe qwen3_5_moe_fused qwen3_5_text
    qwen3_moe qwen3_next qwen3_vl seed_oss smollm3 solar_open stablelm
}
