//! Files and folders that look like a checkpoint and are something else: each is said for what it is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::gguf::Metadata;
use super::read::{json_if_there, read_range};
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

/// What a pointer of Git LFS begins with, and the longest that one is.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
const MAX_POINTER_BYTES: u64 = 1024;
/// The config that stands beside the weights of an adapter, and how these are called.
const ADAPTER_CONFIG: &str = "adapter_config.json";
const ADAPTER: &str = "adapter_model.";
/// Shards that an error lists at most.
const MOST_SHOWN: usize = 8;

/// Refuses the pointer that a clone without Git LFS has in place of a file.
pub(super) fn refuse_pointer(bytes: &[u8]) -> Result<()> {
    if !bytes.starts_with(POINTER) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_POINTER_BYTES as usize)]);
    let size = text.lines().find_map(|line| line.strip_prefix("size ")).unwrap_or("unknown");
    let error =
        Error::new(ErrorKind::Malformed, format!("is a Git LFS pointer to a file of {size} bytes, not the file"));
    Err(error.remedy("run `git lfs pull` in the folder, or download the file"))
}

/// The same of an object of `len_bytes`, of which only the beginning is read.
pub(super) async fn refuse_pointer_at(store: &dyn Store, name: &str, len_bytes: u64) -> Result<()> {
    if len_bytes > MAX_POINTER_BYTES {
        return Ok(());
    }
    let bytes = read_range(store, name, 0, len_bytes).await?;
    refuse_pointer(&bytes).map_err(|error| error.file(store.describe(name)))
}

/// Refuses a folder of an adapter (LoRA and its like), which is only the difference to a model.
pub(super) async fn refuse_adapter(store: &dyn Store, names: &[String]) -> Result<()> {
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let is_model =
        |name: &String| name.starts_with("model") || name.starts_with("pytorch_model") || name.ends_with(".gguf");
    if !has(ADAPTER_CONFIG) || names.iter().filter(|name| !name.ends_with(".json")).any(is_model) {
        return Ok(());
    }
    let config = json_if_there(store, ADAPTER_CONFIG).await?.unwrap_or_default();
    let field = |name: &str| config.get(name).and_then(Value::as_str).map(str::to_owned);
    let kind = field("peft_type").unwrap_or_else(|| "LoRA".into());
    let base = field("base_model_name_or_path").map_or_else(String::new, |base| format!(" of {base}"));
    let message = format!("holds an adapter ({kind}){base}, which is no model by itself");
    let error = Error::new(ErrorKind::Unsupported, message).file(store.describe(""));
    Err(error.remedy("merge it into its base (`merge_and_unload` of peft), save that, and open the result"))
}

/// Whether a file is called like the weights of an adapter.
pub(super) fn is_adapter(name: &str) -> bool {
    name.starts_with(ADAPTER)
}

/// Refuses what MLX quantized: its packed words have no published layout here.
pub(super) fn refuse_mlx(config: &Value) -> Result<()> {
    let quantization = config.get("quantization").filter(|quantization| quantization.get("group_size").is_some());
    let is_other = config.get("quantization_config").is_some_and(|other| other.get("quant_method").is_some());
    let Some(bits) = quantization.filter(|_| !is_other).map(|quantization| quantization.get("bits")) else {
        return Ok(());
    };
    let bits = bits.map_or_else(String::new, |bits| format!(" to {bits} bits"));
    let error = Error::new(ErrorKind::Unsupported, format!("this is a model that MLX quantized{bits}"));
    Err(error.remedy("open the checkpoint that it was made from, or a GGUF file of it"))
}

/// Refuses GGUF files that hold something else than a model: adapters, projectors, importance matrices.
pub(super) fn refuse_gguf(metadata: &Metadata) -> Result<()> {
    let kind = metadata.string("general.type")?.unwrap_or("model");
    let (what, remedy) = match kind {
        "adapter" => {
            ("an adapter (LoRA), which is no model by itself", "merge it into its base (llama.cpp's llama-export-lora)")
        }
        "mmproj" => ("a projector of images or sound, not the language model", "name the model's own GGUF file"),
        "imatrix" => ("an importance matrix, not a model", "name the model's own GGUF file"),
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::Unsupported, format!("holds {what}")).remedy(remedy))
}

/// The files of a folder that has no index, where all of them are shards of one checkpoint: `STEM-00001-of-00003.END`.
///
/// # Errors
/// [`ErrorKind::NotFound`] where some of them are missing.
pub(super) fn shards(store: &dyn Store, names: &[&String]) -> Result<Option<Vec<String>>> {
    let mut there: BTreeMap<(&str, usize, &str), BTreeSet<usize>> = BTreeMap::new();
    for name in names {
        let Some((stem, number, count, end)) = shard_of(name) else { return Ok(None) };
        there.entry((stem, count, end)).or_default().insert(number);
    }
    let Some(((stem, count, end), numbers)) = there.pop_first().filter(|_| there.is_empty()) else { return Ok(None) };
    let name = |number: &usize| format!("{stem}-{number:05}-of-{count:05}.{end}");
    let missing: Vec<usize> = (1..=count).filter(|number| !numbers.contains(number)).collect();
    let Some(first) = missing.first() else { return Ok(Some(numbers.iter().map(name).collect())) };
    let shown = missing.iter().take(MOST_SHOWN).map(name).collect::<Vec<_>>().join(", ");
    let more = if missing.len() > MOST_SHOWN { " …" } else { "" };
    let message = format!("{} of {count} shards of the checkpoint are missing: {shown}{more}", missing.len());
    let error = Error::new(ErrorKind::NotFound, message).file(store.describe(&name(first)));
    Err(error.remedy("download the checkpoint again"))
}

/// Stem, number, count and ending of a shard's name.
fn shard_of(name: &str) -> Option<(&str, usize, usize, &str)> {
    let number = |text: &str| if text.len() == 5 { text.parse::<usize>().ok() } else { None };
    let (rest, end) = name.rsplit_once('.')?;
    let (rest, count) = rest.rsplit_once("-of-")?;
    let (stem, at) = rest.rsplit_once('-')?;
    let (at, count) = (number(at)?, number(count)?);
    (1..=count).contains(&at).then_some((stem, at, count, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::pytorch::testing::{archive, dict, storage, tensor};
    use crate::checkpoint::testing::{Memory, safetensors, small_llama};
    use crate::checkpoint::{Checkpoint, open};

    /// A name with what the file holds.
    type File<'a> = (&'a str, &'a [u8]);

    fn one(name: &str) -> Vec<u8> {
        safetensors(&format!(r#"{{"{name}":{{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}}}"#), 4)
    }

    fn bin(name: &str) -> Vec<u8> {
        archive(&dict(&[(name, tensor(&storage("BFloat16Storage", "0", 4), 1, &[3], &[1]))]), &[b"01234567"]).write()
    }

    fn folder(objects: &[(&str, &[u8])]) -> Memory {
        let mut store = Memory::new([("config.json", br#"{"model_type":"llama"}"#.to_vec())]);
        store.objects.extend(objects.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())));
        store
    }

    fn opened(objects: &[(&str, &[u8])], name: Option<&str>) -> Result<Checkpoint> {
        pollster::block_on(open(&folder(objects), name))
    }

    const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";

    #[test]
    fn what_is_no_checkpoint_is_said_for_what_it_is() {
        let (a, adapter) = (one("a"), br#"{"peft_type":"LORA","base_model_name_or_path":"org/base"}"#);
        let mlx = br#"{"model_type":"llama","quantization":{"group_size":64,"bits":4}}"#;
        let gguf = |kind: &str| small_llama(1).string("general.type", kind).write();
        let (lora, projector) = (gguf("adapter"), gguf("mmproj"));
        let shard = ("model-00001-of-00003.safetensors", &a[..]);
        let cases: [(&[File], &[&str]); 12] = [
            (
                &[("adapter_config.json", adapter), ("adapter_model.safetensors", &a)],
                &["adapter (LORA) of org/base", "merge"],
            ),
            (&[("adapter_config.json", adapter), ("adapter_model.bin", b"x")], &["adapter (LORA) of org/base"]),
            (
                &[("model.safetensors", LFS)],
                &["model.safetensors", "Git LFS pointer to a file of 12345 bytes", "git lfs pull"],
            ),
            (&[("pytorch_model.bin", LFS)], &["pytorch_model.bin", "Git LFS pointer"]),
            (&[("model.gguf", LFS)], &["model.gguf", "Git LFS pointer"]),
            (&[("model.safetensors", &a), ("tokenizer.json", LFS)], &["tokenizer.json", "Git LFS pointer"]),
            (&[("model.safetensors", &a), ("config.json", LFS)], &["config.json", "Git LFS pointer"]),
            (&[("model.safetensors", &a), ("config.json", mlx)], &["MLX quantized to 4 bits", "config.json"]),
            (&[("model.gguf", &lora)], &["model.gguf", "adapter", "llama-export-lora"]),
            (&[("mmproj.gguf", &projector)], &["projector"]),
            (
                &[shard, ("model-00003-of-00003.safetensors", &a)],
                &["1 of 3 shards", "model-00002-of-00003.safetensors"],
            ),
            (&[shard, ("other.safetensors", &a)], &["several .safetensors files"]),
        ];
        for (objects, says) in cases {
            let error = opened(objects, None).expect_err(says[0]).to_string();
            assert!(says.iter().all(|part| error.contains(part)), "{error} lacks one of {says:?}");
        }
        let named = opened(
            &[("adapter_config.json", adapter), ("adapter_model.safetensors", &a)],
            Some("adapter_model.safetensors"),
        );
        assert!(named.expect_err("an adapter").to_string().contains("adapter"));
    }

    #[test]
    fn shards_and_whole_files_need_no_index() {
        let (a, b) = (one("a"), one("b"));
        let index = br#"{"weight_map":{"a":"model-00001-of-00002.safetensors"}}"#;
        let (bin_a, bin_b) = (bin("a"), bin("b"));
        let bins: [(&str, &[u8]); 2] =
            [("pytorch_model-00001-of-00002.bin", &bin_a[..]), ("pytorch_model-00002-of-00002.bin", &bin_b[..])];
        let cases: [(&str, Vec<File>, usize); 5] = [
            (
                "shards",
                vec![("model-00002-of-00002.safetensors", &b[..]), ("model-00001-of-00002.safetensors", &a[..])],
                2,
            ),
            ("shards of PyTorch", bins.to_vec(), 2),
            ("an index left beside", [&bins[..], &[("model.safetensors.index.json", &index[..])]].concat(), 2),
            (
                "beside one file",
                vec![("pytorch_model.bin", &bin_a[..]), ("model.safetensors.index.json", &index[..])],
                1,
            ),
            (
                "an adapter's config beside a model",
                vec![("model.safetensors", &a[..]), ("adapter_config.json", &b"{}"[..])],
                1,
            ),
        ];
        for (context, objects, tensors) in cases {
            assert_eq!(opened(&objects, None).expect(context).tensors.len(), tensors, "{context}");
        }
        let error = opened(&[("model.safetensors.index.json", &index[..])], None).expect_err("nothing else is there");
        assert!(error.to_string().contains("model-00001-of-00002.safetensors"), "{error}");
    }
}
