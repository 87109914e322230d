//! Beginnings of texts that are kept in a folder: another process goes on behind them, to the same bits.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::common::{block_on, split_family};
use tilestream::internals::gpu::kernels::PAGE_TOKENS;
use tilestream::store::PrefixFiles;
use tilestream::{AutoModel, GenerateOptions, LoadOptions, ModelFiles};

const MIB: u64 = 1 << 20;

async fn open(family: &str) -> ModelFiles {
    let files = split_family(family).await.expect("splits");
    ModelFiles::open(Arc::clone(&files.store) as _).await.expect("opens")
}

/// A process of its own, but for the device.
async fn load(files: &ModelFiles, folder: Option<&Path>, rows: u32) -> AutoModel {
    let options = LoadOptions::default().budget_bytes(32 * MIB).context(512).prefill_chunk(rows);
    let mut model = files.clone().load(&options).await.expect("loads");
    if let Some(folder) = folder {
        model.keep_prefixes(Box::new(PrefixFiles::open(folder, 64 * MIB).expect("a folder")));
    }
    model
}

/// What an answer says, and what was known of its prompt.
#[derive(Debug, PartialEq)]
struct Said {
    ids: Vec<u32>,
    /// Bits of how likely each was.
    logprobs: Vec<u32>,
}

async fn answer(model: &mut AutoModel, prompt: &[u32]) -> (Said, u32) {
    let options = GenerateOptions::default().max_tokens(6).logprobs(1).ignore_eos(true);
    let mut said = Said { ids: Vec::new(), logprobs: Vec::new() };
    let mut known = 0;
    let mut answer = model.generate(prompt.to_vec(), options).expect("is taken");
    while let Some(delta) = answer.next().await.expect("goes on") {
        said.ids.extend(delta.id);
        said.logprobs.extend(delta.logprobs.map(|logprobs| logprobs.chosen.to_bits()));
        known += delta.cached_tokens;
    }
    (said, known)
}

fn blocks(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all: Vec<_> = fs::read_dir(folder).expect("lists").flatten().map(|entry| entry.path()).collect();
    all.sort();
    all
}

#[test]
fn another_process_goes_on_behind_what_was_read_and_says_the_same() {
    block_on(async {
        // Layers that see everything, windows, and keys that are rotated otherwise in long texts.
        for (family, len) in [("qwen3", 57), ("gemma3", 57), ("gpt-oss", 50), ("phi3-longrope-long", 150)] {
            let files = open(family).await;
            let folder = tempfile::tempdir().expect("a folder");
            let text: Vec<u32> = (0..len).map(|at| (at * 7 + 3) % 60).collect();
            let mut edited = text.clone();
            edited[45] = 1;
            let mut plain = load(&files, None, 8).await;
            let mut first = load(&files, Some(folder.path()), 8).await;
            assert_eq!(answer(&mut first, &text).await.1, 0, "{family}");
            let there = blocks(folder.path()).len();
            assert!(there >= (len / PAGE_TOKENS) as usize, "{family}: {there} blocks");
            drop(first);
            for (prompt, rows, expected) in
                [(&text, 8, (len - 1) / PAGE_TOKENS), (&edited, 3, 1), (&text, 64, (len - 1) / PAGE_TOKENS)]
            {
                let (alone, _) = answer(&mut plain, prompt).await;
                let mut model = load(&files, Some(folder.path()), rows).await;
                let (said, known) = answer(&mut model, prompt).await;
                assert_eq!(said, alone, "{family}, in chunks of {rows}");
                assert_eq!(known, expected * PAGE_TOKENS, "{family}, in chunks of {rows}");
            }
        }
    });
}

#[test]
fn blocks_that_are_damaged_or_gone_are_computed_anew() {
    block_on(async {
        let files = open("phi3-longrope-long").await;
        let folder = tempfile::tempdir().expect("a folder");
        let text: Vec<u32> = (0..150).map(|at| (at * 7 + 3) % 60).collect();
        let mut model = load(&files, Some(folder.path()), 16).await;
        let (alone, _) = answer(&mut model, &text).await;
        let all = blocks(folder.path());
        assert_eq!(all.len(), 4);
        let mut known_after = Vec::new();
        for (index, path) in all.iter().enumerate() {
            let whole = fs::read(path).expect("reads");
            if index % 2 == 0 {
                let mut flipped = whole.clone();
                flipped[whole.len() / 2] ^= 1;
                fs::write(path, flipped).expect("writes");
            } else {
                fs::remove_file(path).expect("is removed");
            }
            let mut model = load(&files, Some(folder.path()), 16).await;
            let (said, known) = answer(&mut model, &text).await;
            assert_eq!(said, alone, "block {index}");
            known_after.push(known);
            // What was computed anew is there again.
            assert_eq!(fs::read(path).expect("reads"), whole);
        }
        // Each of the four was the first that lacked once.
        known_after.sort_unstable();
        assert_eq!(known_after, [0, PAGE_TOKENS, 2 * PAGE_TOKENS, 3 * PAGE_TOKENS]);
        // Another model has other blocks.
        let other = open("phi3-longrope-short").await;
        let mut model = load(&other, Some(folder.path()), 16).await;
        assert_eq!(answer(&mut model, &text[..60]).await.1, 0);
    });
}
