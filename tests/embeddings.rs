//! Vectors of texts, and how likely the tokens of a prompt were: both come of the rows in which it is read.

use std::sync::Arc;

use crate::common::{self, block_on, split_small};
use tilestream::store::Window;
use tilestream::{AutoModel, ErrorKind, Event, GenerateOptions, LoadOptions, ModelFiles, Pooling, Request, StopReason};

async fn load(files: &common::Files, sequences: u32) -> AutoModel {
    let options = LoadOptions::default().budget_bytes(32 << 20).sequences(sequences).context(64 * sequences);
    ModelFiles::open(Arc::clone(&files.store) as _).await.expect("opens").load(&options).await.expect("loads")
}

fn texts() -> [Vec<u32>; 3] {
    [40, 1, 17].map(|len| (0..len).map(|at| (11 * at + len) % 250).collect())
}

async fn logits(model: &mut AutoModel, ids: &[u32]) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    let visit = |_, logits: &[f32]| {
        all.push(logits.to_vec());
        Ok(())
    };
    model.score(ids, visit).await.expect("is scored");
    all
}

#[test]
fn the_last_hidden_state_is_the_one_that_logits_are_made_of() {
    block_on(async {
        let files = split_small("tied", "config.json").await;
        let mut model = load(&files, 1).await;
        let (vocab, hidden) = (model.files().spec().vocab as usize, model.files().spec().hidden as usize);
        let mut packed = vec![0; vocab * hidden * 2];
        let rows = 0..vocab as u64;
        let window = &mut Window::from_slice(&mut packed);
        model.files().model().read_rows("model.embed_tokens.weight", rows, window).await.expect("is read");
        let matrix: Vec<f32> =
            packed.chunks_exact(2).map(|value| half::bf16::from_le_bytes([value[0], value[1]]).to_f32()).collect();
        let text = texts()[0].clone();
        let expected = logits(&mut model, &text).await.pop().expect("logits");
        let vector = model.embed(vec![text], Pooling::Last).await.expect("a vector").remove(0);
        assert_eq!(vector.len(), hidden);
        let dot = |row: &[f32]| row.iter().zip(&vector).map(|(a, b)| a * b).sum::<f32>();
        let product: Vec<f32> = matrix.chunks_exact(hidden).map(dot).collect();
        assert!(common::relative_error(&product, &expected) < 1e-4);
    });
}

#[test]
fn a_mean_is_that_of_all_positions_and_the_same_in_a_crowd() {
    block_on(async {
        let files = split_small("gqa", "config.json").await;
        let mut model = load(&files, 1).await;
        let mut expected = Vec::new();
        for text in texts() {
            let mut sums = vec![0.0; 64];
            for len in 1..=text.len() {
                let last = model.embed(vec![text[..len].to_vec()], Pooling::Last).await.expect("a vector");
                sums.iter_mut().zip(&last[0]).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            expected.push(sums.iter().map(|sum| (sum / text.len() as f64) as f32).collect::<Vec<_>>());
        }
        let alone = model.embed(texts().to_vec(), Pooling::Mean).await.expect("vectors");
        for (vector, expected) in alone.iter().zip(&expected) {
            assert!(common::relative_error(vector, expected) < 1e-5);
        }
        let crowd = load(&files, 4).await.into_handle().expect("a thread");
        let mut answer = crowd.submit(Request::new(vec![1, 2, 3], GenerateOptions::default())).expect("is taken");
        let vectors = futures::future::join_all(texts().map(|text| crowd.embed(text, Pooling::Mean))).await;
        for (vector, alone) in vectors.into_iter().zip(&alone) {
            assert_eq!(common::bits(&vector.expect("a vector")), common::bits(alone));
        }
        assert!(answer.next().await.expect("goes on").is_some());
        let error = crowd.embed(Vec::new(), Pooling::Last).await.expect_err("no token");
        assert_eq!(error.kind(), ErrorKind::Argument);
    });
}

/// Whoever asks for one thing does not take what others wait for.
#[test]
fn what_comes_of_other_requests_waits_for_who_asks_for_it() {
    block_on(async {
        let files = split_small("gqa", "config.json").await;
        let mut model = load(&files, 2).await;
        let options = GenerateOptions::default().max_tokens(6).ignore_eos(true);
        let mut alone = Vec::new();
        let mut generation = model.generate(vec![1, 2, 3], options.clone()).expect("begins");
        while let Some(delta) = generation.next().await.expect("goes on") {
            alone.extend(delta.id);
        }
        drop(generation);
        let other = model.submit(Request::new(vec![1, 2, 3], options.clone())).expect("is taken");
        let vector = model.embed(vec![texts()[0].clone()], Pooling::Mean).await.expect("a vector").remove(0);
        assert_eq!(vector.len(), 64);
        let mut generation = model.generate(vec![7; 30], options).expect("begins");
        let mut count = 0;
        while let Some(delta) = generation.next().await.expect("goes on") {
            assert_eq!(generation.requests(), [delta.request]);
            count += usize::from(delta.id.is_some());
        }
        drop(generation);
        let mut ids = Vec::new();
        while let Some(event) = model.next_event().await.expect("goes on") {
            let Event::Delta(delta) = event else { panic!("{event:?}") };
            assert_eq!(delta.request, other);
            ids.extend(delta.id);
        }
        assert_eq!((count, ids.len(), ids), (6, 6, alone));
        assert!(model.is_idle());
    });
}

#[test]
fn tokens_of_a_prompt_are_as_likely_as_their_scores_say() {
    block_on(async {
        let files = split_small("gqa", "config.json").await;
        let mut model = load(&files, 1).await;
        let text = texts()[0].clone();
        let scores = logits(&mut model, &text).await;
        let told = async |model: &mut AutoModel, new: u32| {
            let options = GenerateOptions::default().max_tokens(new).prompt_logprobs(3).ignore_eos(true);
            let mut answer = model.generate(text.clone(), options).expect("is taken");
            let first = answer.next().await.expect("goes on").expect("a delta");
            let mut ids: Vec<u32> = first.id.into_iter().collect();
            let mut stop = first.stop;
            while let Some(delta) = answer.next().await.expect("goes on") {
                assert!(delta.prompt_logprobs.is_empty());
                ids.extend(delta.id);
                stop = delta.stop;
            }
            assert_eq!(stop, Some(StopReason::MaxTokens));
            (first.prompt_logprobs, ids)
        };
        // What is known of the text already does not shorten what is told of it.
        for new in [5, 0, 5] {
            let (logprobs, ids) = told(&mut model, new).await;
            assert_eq!(logprobs.len(), text.len() - 1);
            for ((logprobs, logits), next) in logprobs.iter().zip(&scores).zip(&text[1..]) {
                let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
                let expected = f64::from(logits[*next as usize]) - sum.ln();
                assert!((f64::from(logprobs.chosen) - expected).abs() < 1e-4, "{} {expected}", logprobs.chosen);
                assert!(logprobs.top.len() == 3 && logprobs.top[0].1 >= logprobs.chosen);
            }
            let mut plain = model
                .generate(text.clone(), GenerateOptions::default().max_tokens(5).ignore_eos(true))
                .expect("is taken");
            let mut expected = Vec::new();
            while let Some(delta) = plain.next().await.expect("goes on") {
                expected.extend(delta.id);
            }
            assert_eq!(ids, expected[..new as usize]);
        }
    });
}
