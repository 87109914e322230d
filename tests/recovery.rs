//! Answers that were interrupted go on: with a new device after the old one was lost, and from their own tokens. Of other
//! errors none does.

use std::sync::Arc;

use crate::common::{Files, block_on, data, split_folder, split_small};
use tilestream::internals::text::SamplerOptions;
use tilestream::{AutoModel, ErrorKind, GenerateOptions, LoadOptions, ModelFiles, Request};

async fn load() -> AutoModel {
    open(&split_small("gqa", "config.json").await).await
}

async fn open(files: &Files) -> AutoModel {
    let options = LoadOptions::default().budget_bytes(16 << 20);
    ModelFiles::open(Arc::clone(&files.store) as _).await.expect("opens").load(&options).await.expect("loads")
}

/// The ids of an answer; `lose_at` names the tokens after which the device is destroyed.
async fn answer(model: &mut AutoModel, lose_at: &[usize]) -> tilestream::Result<Vec<u32>> {
    let mut device = model.engine().gpu().shared_device().clone();
    let options = GenerateOptions::default().max_tokens(12).ignore_eos(true);
    let mut generation = model.generate(vec![3, 1, 4, 1, 5], options)?;
    let mut ids = Vec::new();
    while let Some(piece) = generation.next().await? {
        ids.extend(piece.id);
        if lose_at.contains(&ids.len()) {
            device.lose();
            device = generation.model().engine().gpu().shared_device().clone();
        }
    }
    Ok(ids)
}

#[test]
fn an_answer_goes_on_after_its_device_was_lost() {
    block_on(async {
        let expected = answer(&mut load().await, &[]).await.expect("answers");
        let mut model = load().await;
        assert_eq!(answer(&mut model, &[4]).await.expect("goes on"), expected);
        assert_eq!(answer(&mut model, &[]).await.expect("answers again"), expected);
        assert_eq!(answer(&mut model, &[1, 11]).await.expect("goes on"), expected);
        let budget = model.profile().budget_bytes;
        model.reopen(true).await.expect("opens with less");
        assert!(model.profile().budget_bytes < budget);
        assert_eq!(answer(&mut model, &[]).await.expect("answers"), expected);
    });
}

/// The error that an answer ends with, and how often a new device went on before.
async fn failed_answer(model: &mut AutoModel) -> (ErrorKind, u32) {
    let options = GenerateOptions::default().max_tokens(4).ignore_eos(true);
    let mut generation = model.generate(vec![3, 1, 4], options).expect("begins");
    loop {
        match generation.next().await {
            Ok(piece) => assert!(piece.is_some(), "it came to its end"),
            Err(error) => return (error.kind(), generation.devices_lost()),
        }
    }
}

#[test]
fn commands_that_a_device_refuses_are_a_fault_and_no_loss() {
    block_on(async {
        let mut model = load().await;
        let gpu = model.engine().gpu().clone();
        let buffer = gpu.buffer("small", 4, wgpu::BufferUsages::COPY_DST).await.expect("fits");
        gpu.queue.write_buffer(&buffer, 0, &[0; 8]);
        assert_eq!(gpu.check().expect_err("refused").kind(), ErrorKind::Internal);
        assert_eq!(failed_answer(&mut model).await, (ErrorKind::Internal, 0));
        gpu.lose();
        assert_eq!(gpu.check().expect_err("the first fault stays").kind(), ErrorKind::Internal);
        model.reopen(false).await.expect("who asks for it gets a new device");
        answer(&mut model, &[]).await.expect("answers");
    });
}

#[test]
fn a_lost_device_says_so() {
    block_on(async {
        let mut model = load().await;
        let gpu = model.engine().gpu().clone();
        gpu.lose();
        let score = model.score(&[3, 1, 4], |_, _| Ok(())).await;
        assert_eq!(score.expect_err("lost").kind(), ErrorKind::DeviceLost);
        assert_eq!(gpu.check().expect_err("lost").kind(), ErrorKind::DeviceLost);
    });
}

/// The small model with numbers that are none in the norm before its head.
async fn broken() -> Files {
    let (folder, small) = (tempfile::tempdir().expect("a folder"), data("small/gqa"));
    std::fs::copy(small.join("config.json"), folder.path().join("config.json")).expect("copies");
    let mut bytes = std::fs::read(small.join("model.safetensors")).expect("reads");
    let (len, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("safetensors");
    let norm = header.info("model.norm.weight").expect("a norm").data_offsets;
    let data = len + 8;
    bytes[data + norm.0..data + norm.1].fill(0xff);
    std::fs::write(folder.path().join("model.safetensors"), bytes).expect("writes");
    split_folder("broken", folder.path()).await.expect("splits")
}

#[test]
fn numbers_that_are_none_are_told_and_not_computed_again() {
    block_on(async {
        let mut model = open(&broken().await).await;
        assert_eq!(failed_answer(&mut model).await, (ErrorKind::NotFinite, 0));
        model.engine().gpu().check().expect("the device works");
    });
}

#[test]
fn an_answer_goes_on_from_its_own_tokens() {
    block_on(async {
        const PROMPT: [u32; 5] = [3, 1, 4, 1, 5];
        let drawn = SamplerOptions::default().temperature(1.0).seed(7);
        let penalized = SamplerOptions::default().repetition_penalty(1.5);
        let mut model = load().await;
        for sampler in [SamplerOptions::default(), drawn, penalized] {
            let options = |max_tokens| {
                GenerateOptions::default().max_tokens(max_tokens).sampler(sampler.clone()).ignore_eos(true)
            };
            let mut whole = Vec::new();
            let mut generation = model.generate(PROMPT.to_vec(), options(12)).expect("begins");
            while let Some(piece) = generation.next().await.expect("answers") {
                whole.extend(piece.id);
            }
            drop(generation);
            for at in [1, 5, 11] {
                let (before, expected) = whole.split_at(at);
                let more = options(12 - at as u32);
                let mut generation = model.continue_answer(PROMPT.to_vec(), before, more).expect("goes on");
                let mut after = Vec::new();
                while let Some(piece) = generation.next().await.expect("answers") {
                    after.extend(piece.id);
                }
                assert_eq!(after, expected, "{sampler:?} after {at}");
            }
        }
        let mut nothing = Request::new(vec![1, 2, 3], GenerateOptions::default());
        nothing.answered = 3;
        let error = model.generate_all(vec![nothing]).err().expect("an answer to nothing");
        assert_eq!(error.kind(), ErrorKind::Argument);
    });
}
