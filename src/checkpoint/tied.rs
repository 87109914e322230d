//! Heads that a config ties to the embeddings, and checkpoints that say otherwise.
//!
//! The reference ties what is missing to what is there, whichever of the two it is, and keeps both where both are there
//! (`PreTrainedModel.tie_weights` of transformers 5). Here a head of the very same numbers counts as tied.

use serde_json::Value;

use super::{Checkpoint, Tensor};
use crate::plan::{EMBEDDINGS, HEAD, model_spec};
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

/// Bytes that are compared at once.
const CHUNK_BYTES: u64 = 1 << 20;
/// How the names of heads and of embeddings end.
const PAIR: &[&str] =
    &["lm_head.weight", "embed_out.weight", "embed_tokens.weight", "wte.weight", "word_embeddings.weight"];

/// Whether a config ties the head. What is wrong with a config is for the plan to say.
pub(super) fn is_tied(config: &Value) -> bool {
    model_spec(config).is_ok_and(|spec| spec.head.tied)
}

/// Whether a tensor may be missing although an index lists it: the other of the pair stands for it.
pub(super) fn may_be_missing(name: &str) -> bool {
    PAIR.iter().any(|end| name.ends_with(end))
}

/// Takes the head for the embeddings where only the head is there, and unties a head of its own numbers.
///
/// # Errors
/// Those of reads; [`ErrorKind::Unsupported`] for a config that cannot be untied.
pub(super) async fn settle(store: &dyn Store, checkpoint: &mut Checkpoint) -> Result<()> {
    let at = |name: &str| checkpoint.tensors.iter().position(|tensor| tensor.name == name);
    let (embeddings, head) = (at(EMBEDDINGS), at(HEAD));
    let Some(head) = head.filter(|_| is_tied(&checkpoint.config)) else { return Ok(()) };
    let Some(embeddings) = embeddings else {
        checkpoint.tensors[head].name = EMBEDDINGS.to_owned();
        checkpoint.tensors.sort_by(|a, b| a.name.cmp(&b.name));
        return Ok(());
    };
    let (a, b) = (&checkpoint.tensors[embeddings], &checkpoint.tensors[head]);
    if a.shape == b.shape && !are_same(store, &checkpoint.files, a, b).await? {
        untie(&mut checkpoint.config).map_err(|error| error.file(store.describe("config.json")))?;
    }
    Ok(())
}

/// Whether two tensors are stored alike, with the same bytes.
async fn are_same(store: &dyn Store, files: &[(String, u64)], a: &Tensor, b: &Tensor) -> Result<bool> {
    let form = |tensor: &Tensor| (tensor.source, tensor.rows, tensor.plus.to_bits(), tensor.transposed);
    if form(a) != form(b) || a.runs().map(|run| run.2).ne(b.runs().map(|run| run.2)) {
        return Ok(false);
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for (a, b) in a.runs().zip(b.runs()).filter(|(a, b)| a != b) {
        let mut at = 0;
        while at < a.2 {
            let len = CHUNK_BYTES.min(a.2 - at) as usize;
            for ((file, offset_bytes, _), buffer) in [(a, &mut left), (b, &mut right)] {
                buffer.resize(len, 0);
                let name = files.get(file).map_or("", |(name, _)| name);
                store.read_at(name, offset_bytes + at, buffer).await?;
            }
            if left != right {
                return Ok(false);
            }
            at += len as u64;
        }
    }
    Ok(true)
}

/// Says in a config that the head is its own.
fn untie(config: &mut Value) -> Result<()> {
    const FIELD: &str = "tie_word_embeddings";
    if let Some(text) = config.get_mut("text_config").and_then(Value::as_object_mut) {
        text.insert(FIELD.to_owned(), Value::Bool(false));
    }
    if let Some(config) = config.as_object_mut() {
        config.insert(FIELD.to_owned(), Value::Bool(false));
    }
    if !is_tied(config) {
        return Ok(());
    }
    let message = "ties the head to the embeddings, and the checkpoint has a head of other numbers";
    Err(Error::new(ErrorKind::Unsupported, message).tensor(HEAD))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checkpoint::open;
    use crate::checkpoint::testing::{Memory, safetensors};

    fn config(tied: bool) -> Vec<u8> {
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4, "intermediate_size": 8,
            "num_attention_heads": 1, "num_hidden_layers": 1, "vocab_size": 2, "rms_norm_eps": 1e-5,
            "max_position_embeddings": 16, "rope_theta": 10_000.0, "hidden_act": "silu", "tie_word_embeddings": tied,
        })
        .to_string()
        .into_bytes()
    }

    /// A checkpoint that holds these matrices of 16 bytes; the bytes count up, so that `step` of 0 repeats them.
    fn store(tied: bool, names: &[&str], same: bool, listed: &[&str]) -> Memory {
        let entry = |(index, name): (usize, &&str)| {
            let start = index * 16;
            format!(r#""{name}":{{"dtype":"BF16","shape":[2,4],"data_offsets":[{start},{}]}}"#, start + 16)
        };
        let header = names.iter().enumerate().map(entry).collect::<Vec<_>>().join(",");
        let mut file = safetensors(&format!("{{{header}}}"), 16 * names.len());
        let data = file.len() - 16 * names.len();
        if same {
            file[data..].fill(7);
        }
        let map: Vec<String> = listed.iter().map(|name| format!(r#""{name}":"model-1.safetensors""#)).collect();
        let index = format!(r#"{{"weight_map":{{{}}}}}"#, map.join(","));
        Memory::new([
            ("config.json", config(tied)),
            ("model-1.safetensors", file),
            ("model.safetensors.index.json", index.into_bytes()),
        ])
    }

    const OTHER: &str = "model.layers.0.mlp.up_proj.weight";

    /// Whether the head is tied then, and the names outside of layers.
    fn settled(tied: bool, names: &[&str], same: bool, listed: &[&str]) -> Result<(bool, Vec<String>)> {
        let checkpoint = pollster::block_on(open(&store(tied, names, same, listed), None))?;
        let names = checkpoint.tensors.iter().map(|tensor| tensor.name.clone());
        Ok((is_tied(&checkpoint.config), names.filter(|name| !name.contains("layers")).collect()))
    }

    #[test]
    fn a_head_is_tied_to_what_is_there_and_kept_where_it_differs() {
        let (both, one, head) = ([EMBEDDINGS, HEAD, OTHER], [EMBEDDINGS, OTHER], [HEAD, OTHER]);
        for (context, tied, names, same, listed, expected) in [
            ("both, the same", true, &both[..], true, &both[..], (true, vec![HEAD, EMBEDDINGS])),
            ("both, another head", true, &both, false, &both, (false, vec![HEAD, EMBEDDINGS])),
            ("no head", true, &one, false, &one, (true, vec![EMBEDDINGS])),
            ("no head, and the index lists it", true, &one, false, &both, (true, vec![EMBEDDINGS])),
            ("only the head", true, &head, false, &head, (true, vec![EMBEDDINGS])),
            ("only the head, and the index lists both", true, &head, false, &both, (true, vec![EMBEDDINGS])),
            ("untied, the same", false, &both, true, &both, (false, vec![HEAD, EMBEDDINGS])),
        ] {
            let (is_tied, mut found) = settled(tied, names, same, listed).expect(context);
            found.sort();
            assert_eq!((is_tied, found.iter().map(String::as_str).collect::<Vec<_>>()), expected, "{context}");
        }
        for (context, names) in [("an index that lists a head", &one), ("an index that lists embeddings", &head)] {
            let error = settled(false, names, false, &both).expect_err(context);
            assert_eq!(error.kind(), ErrorKind::Missing, "{context}: {error}");
        }
    }
}
