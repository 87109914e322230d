//! What streaming must not change, and what it must do: bits, budget, overlap.

mod changed;

use crate::common::{self, Files, Golden, all_logits, bits, block_on, engine_config, load, smallest, split_small};
use tilestream::internals::gpu::Upload;
use tilestream::internals::model::batch::{self, Sequence};
use tilestream::internals::model::inputs::Want;
use tilestream::internals::model::memory::{EngineConfig, MemoryPlan};
use tilestream::internals::model::readback::Output;
use tilestream::internals::stream::Stage;

async fn smallest_for(files: &Files, rows: Option<u32>) -> u64 {
    smallest(files, &EngineConfig { rows, ..engine_config() }).await
}

#[test]
fn the_smallest_budget_gives_the_same_bits_as_a_resident_model() {
    block_on(async {
        for name in ["gqa", "attention-bias", "tied", "mistral-window"] {
            let (files, golden) = (split_small(name, "config.json").await, Golden::read(name));
            let mut resident = load(&files, None, None).await;
            let mut tight = load(&files, Some(smallest_for(&files, None).await), None).await;
            assert_eq!(resident.residency().1, 0, "nothing streams where everything fits");
            assert!(tight.residency().1 > 0, "something streams at the smallest budget");
            let expected = all_logits(&mut resident, &golden.ids).await;
            // Twice: the first sweep brings every tile, later ones only those that are not pinned.
            for _ in 0..2 {
                assert_eq!(bits(&all_logits(&mut tight, &golden.ids).await), bits(&expected), "{name}");
            }
            assert_eq!(bits(&all_logits(&mut resident, &golden.ids).await), bits(&expected), "{name}, resident again");
        }
    });
}

#[test]
fn the_ring_gives_the_same_bits_as_mapped_windows() {
    block_on(async {
        for name in ["gqa", "tied"] {
            let (files, golden) = (split_small(name, "config.json").await, Golden::read(name));
            let expected = all_logits(&mut load(&files, None, None).await, &golden.ids).await;
            let config = EngineConfig { direct: false, ..engine_config() };
            let least = smallest(&files, &config).await;
            for budget_bytes in [least, least + 100_000, config.budget_bytes] {
                let gpu = common::gpu(budget_bytes).await.with_upload(Upload::Copy);
                assert!(!gpu.uploads_directly());
                let mut model =
                    common::open(&files, gpu, EngineConfig { budget_bytes, ..config }).await.expect("opens");
                for _ in 0..2 {
                    assert_eq!(bits(&all_logits(&mut model, &golden.ids).await), bits(&expected), "{name}");
                }
                let (_, streamed) = model.residency();
                assert_eq!(streamed == 0, budget_bytes == config.budget_bytes, "{name}: {streamed} bytes stream");
                assert!(model.profile().figures().upload_busy_s > 0.0, "nothing was copied");
            }
        }
    });
}

#[test]
fn chunks_and_batch_mates_do_not_change_a_bit() {
    block_on(async {
        let (files, golden) = (split_small("gqa", "config.json").await, Golden::read("gqa"));
        let expected = all_logits(&mut load(&files, None, Some(8)).await, &golden.ids).await;
        for rows in [1, 3] {
            let other = all_logits(&mut load(&files, None, Some(rows)).await, &golden.ids).await;
            assert_eq!(bits(&other), bits(&expected), "in chunks of {rows}");
        }
        let mut model = load(&files, None, Some(16)).await;
        let prompts = [&golden.ids[..5], &golden.ids[..], &golden.ids[3..4]];
        let mut sequences: Vec<_> = prompts.iter().map(|ids| Sequence::new(ids.to_vec())).collect();
        for sequence in &mut sequences {
            assert!(model.kv().reserve(&mut sequence.state, 32));
        }
        let vocab = model.spec().vocab as usize;
        let mut last = vec![None; 3];
        while last.iter().any(Option::is_none) {
            let mut waiting: Vec<_> =
                sequences.iter_mut().enumerate().filter(|(_, sequence)| sequence.waiting() > 0).collect();
            let mut sharing: Vec<_> = waiting.iter_mut().map(|(_, sequence)| &mut **sequence).collect();
            let results = batch::sweep(&mut model, &mut sharing, Want::Logits).await.expect("sweeps");
            for ((index, _), next) in waiting.into_iter().zip(results) {
                if let Some(Output::Logits(logits)) = next {
                    last[index] = Some(logits);
                }
            }
        }
        let together = |index: usize| bits(last[index].as_ref().expect("logits"));
        let from = (golden.ids.len() - 1) * vocab;
        assert_eq!(together(0), bits(&expected[4 * vocab..5 * vocab]), "the short prompt");
        assert_eq!(together(1), bits(&expected[from..]), "the long prompt");
    });
}

#[test]
fn the_budget_holds_and_what_is_left_is_used() {
    block_on(async {
        let (files, golden) = (split_small("gqa", "config.json").await, Golden::read("gqa"));
        let least = smallest_for(&files, None).await;
        for extra in [0, 20_000, 60_000, 200_000] {
            let budget = least + extra;
            let config = EngineConfig { budget_bytes: budget, ..engine_config() };
            let mut model = common::open(&files, common::own_gpu(budget).await, config).await.expect("loads");
            all_logits(&mut model, &golden.ids).await;
            let reserved = model.gpu().reserved_bytes().expect("this backend tells");
            let counted = model.gpu().accountant().peak_bytes();
            assert!(counted <= budget && reserved <= budget, "{counted} counted, {reserved} reserved of {budget}");
            assert!(reserved.abs_diff(counted) <= 8 << 20, "{reserved} reserved, {counted} counted");
            let (pinned, streamed) = model.residency();
            assert!(extra == 0 || pinned > 0 || streamed == 0, "{extra} bytes more pin nothing");
        }
    });
}

#[test]
fn a_limit_of_what_stays_leaves_the_windows_as_they_are() {
    block_on(async {
        let (files, golden) = (split_small("gqa", "config.json").await, Golden::read("gqa"));
        let mut ample = load(&files, None, None).await;
        let (expected, free) = (all_logits(&mut ample, &golden.ids).await, ample.memory());
        let all = ample.model_bytes();
        for most in [0, 1, all / 2, u64::MAX] {
            let config = EngineConfig { most_pinned_bytes: Some(most), ..engine_config() };
            let gpu = common::gpu(config.budget_bytes).await;
            let mut model = common::open(&files, gpu, config).await.expect("loads");
            let pinned_bytes = free.pinned_bytes.min(most);
            assert_eq!(model.memory(), MemoryPlan { pinned_bytes, ..free }, "at most {most}");
            for _ in 0..2 {
                assert_eq!(bits(&all_logits(&mut model, &golden.ids).await), bits(&expected), "at most {most}");
            }
            let (stays, streamed) = model.residency();
            assert!(stays <= most && (stays > 0) == (most > 1), "{stays} bytes stay, at most {most}");
            assert!(stays + streamed >= all, "{stays} bytes stay and {streamed} stream of {all}");
        }
    });
}

#[test]
fn a_budget_that_is_too_small_is_refused_with_the_smallest_that_works() {
    block_on(async {
        let files = split_small("gqa", "config.json").await;
        let least = smallest_for(&files, None).await;
        let (config, gpu) = (EngineConfig { budget_bytes: least - 1, ..engine_config() }, common::gpu(least - 1).await);
        let opened = common::open(&files, gpu, config).await;
        let error = opened.err().expect("refused");
        assert_eq!(error.kind(), tilestream::ErrorKind::Budget);
        assert!(error.to_string().contains(&least.to_string()), "{error}");
    });
}

#[test]
fn reads_run_ahead_of_the_gpu_across_layers_and_tokens() {
    block_on(async {
        let (files, golden) = (split_small("gqa", "config.json").await, Golden::read("gqa"));
        let mut model = load(&files, Some(smallest_for(&files, None).await + (1 << 20) / 4), None).await;
        model.profile().keep_events(usize::MAX);
        let mut sequence = Sequence::new(golden.ids.clone());
        assert!(model.kv().reserve(&mut sequence.state, 64));
        for id in &golden.greedy {
            batch::sweep(&mut model, &mut [&mut sequence], Want::Best).await.expect("sweeps");
            sequence.ids.push(*id);
        }
        let events = model.profile().events();
        let (mut begun, mut submits, mut ahead, mut other_sweep) = (0, 0, 0, 0);
        let mut reading_sweep = 0;
        for event in &events {
            match (event.stage, event.begins) {
                (Stage::Read, true) => {
                    begun = begun.max(event.load + 1);
                    reading_sweep = reading_sweep.max(event.sweep);
                }
                (Stage::Compute, true) => {
                    submits += 1;
                    ahead += u64::from(begun > event.load + 1);
                    other_sweep += u64::from(reading_sweep > event.sweep);
                }
                _ => {}
            }
        }
        println!("{submits} submits, {ahead} with a later read begun, {other_sweep} with one of the next token");
        assert!(submits > 20);
        // How many depends on who gets the cores: a driver in software computes on those that read. Without reading ahead
        // none would.
        assert!(ahead * 10 >= submits, "{ahead} of {submits} submits had later reads begun");
        assert!(other_sweep > 0, "no read crossed the border between tokens");
    });
}

#[test]
fn kv_pages_grow_by_giving_up_pinned_tiles() {
    block_on(async {
        let (files, golden) = (split_small("gqa", "config.json").await, Golden::read("gqa"));
        let mut ample = load(&files, None, None).await;
        let expected = all_logits(&mut ample, &golden.ids).await;
        let least = smallest_for(&files, None).await;
        let mut model = load(&files, Some(least + 350_000), None).await;
        all_logits(&mut model, &golden.ids).await;
        let before = model.residency();
        assert!(before.0 > 0);
        let mut pages = 0;
        while pages < 8 && model.grow_kv(1).await.is_ok() {
            pages += 1;
        }
        assert!(pages > 0 && model.residency().0 < before.0, "{pages} pages, {:?} after {before:?}", model.residency());
        assert_eq!(bits(&all_logits(&mut model, &golden.ids).await), bits(&expected));
    });
}

#[test]
fn a_cache_of_many_segments_fits_into_submits() {
    block_on(async {
        let (files, golden) = (split_small("gqa", "config.json").await, Golden::read("gqa"));
        // Many sequences could fill many pages.
        let config = EngineConfig { sequences: 64, ..engine_config() };
        let mut model = common::open(&files, common::gpu(config.budget_bytes).await, config).await.expect("loads");
        let expected = all_logits(&mut model, &golden.ids).await;
        // Each is a dispatch of the ops that write and read keys and values.
        for _ in 0..100 {
            model.grow_kv(1).await.expect("there is room");
        }
        assert_eq!(bits(&all_logits(&mut model, &golden.ids).await), bits(&expected));
    });
}

#[test]
fn a_cancelled_sweep_leaves_the_model_usable() {
    block_on(async {
        let (files, golden) = (split_small("gqa", "config.json").await, Golden::read("gqa"));
        let mut model = load(&files, Some(smallest_for(&files, None).await), None).await;
        let expected = all_logits(&mut model, &golden.ids).await;
        let cancel = model.cancel_token().clone();
        cancel.cancel();
        let stopped = batch::score(&mut model, &golden.ids, |_, _| Ok(())).await;
        assert_eq!(stopped.expect_err("cancelled").kind(), tilestream::ErrorKind::Cancelled);
        cancel.reset();
        assert_eq!(bits(&all_logits(&mut model, &golden.ids).await), bits(&expected));
    });
}
