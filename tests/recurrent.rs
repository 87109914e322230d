//! Layers that keep a recurrent state of a sequence: it is carried over chunks and sweeps, belongs to its sequence alone,
//! and starts anew where it would have to be cut back.

use crate::common::{
    self, Files, Golden, all_logits, alone, bits, block_on, engine_config, finish, load, relative_error, smallest,
    split_family,
};
use tilestream::ErrorKind;
use tilestream::internals::model::batch::{self, Sequence};
use tilestream::internals::model::inputs::Want;
use tilestream::internals::model::memory::EngineConfig;

const NAME: &str = "qwen3-next";
/// Relative error against the reference.
const TOLERANCE: f64 = 1e-4;

async fn files() -> (Files, Golden) {
    let golden = Golden::read_file(&common::data("families").join(NAME).join("golden.safetensors"));
    (split_family(NAME).await.expect("splits"), golden)
}

#[test]
fn chunks_and_the_smallest_budget_do_not_change_a_bit() {
    block_on(async {
        let (files, golden) = files().await;
        let expected = all_logits(&mut load(&files, None, Some(8)).await, &golden.ids).await;
        for rows in [1, 2, 3, 7] {
            let other = all_logits(&mut load(&files, None, Some(rows)).await, &golden.ids).await;
            assert_eq!(bits(&other), bits(&expected), "in chunks of {rows}");
        }
        let least = smallest(&files, &engine_config()).await;
        let config = EngineConfig { budget_bytes: least, ..engine_config() };
        let mut tight = common::open(&files, common::own_gpu(least).await, config).await.expect("loads");
        for _ in 0..2 {
            assert_eq!(bits(&all_logits(&mut tight, &golden.ids).await), bits(&expected), "streamed");
        }
        let reserved = tight.gpu().reserved_bytes().expect("this backend tells");
        assert!(reserved <= least, "{reserved} bytes reserved of {least}");
    });
}

#[test]
fn each_sequence_of_a_batch_has_its_own_state() {
    block_on(async {
        let (files, golden) = files().await;
        let prompts = [&golden.ids[..5], &golden.ids[..], &golden.ids[3..4], &golden.ids[2..19]];
        let mut model = load(&files, None, Some(11)).await;
        let mut sequences: Vec<_> = prompts.iter().map(|ids| Sequence::new(ids.to_vec())).collect();
        for sequence in &mut sequences {
            assert!(model.kv().reserve(&mut sequence.state, 32));
        }
        // Each goes on by some ids after its prompt.
        for more in [&golden.greedy[..0], &golden.greedy[..1], &golden.greedy[1..3]] {
            sequences.iter_mut().for_each(|sequence| sequence.ids.extend(more));
            let mut sharing: Vec<_> = sequences.iter_mut().collect();
            let together = finish(&mut model, &mut sharing).await.expect("sweeps");
            for (sequence, logits) in sequences.iter().zip(&together) {
                assert_eq!(bits(logits), bits(&alone(&files, &sequence.ids).await), "after {} ids", sequence.ids.len());
            }
        }
    });
}

#[test]
fn a_history_that_changes_is_computed_from_its_start() {
    block_on(async {
        let (files, golden) = files().await;
        let mut model = load(&files, None, Some(6)).await;
        let mut sequence = Sequence::new(golden.ids.clone());
        assert!(model.kv().reserve(&mut sequence.state, 64));
        let after = finish(&mut model, &mut [&mut sequence]).await.expect("sweeps").remove(0);
        assert!(relative_error(&after, golden.logits(golden.ids.len() - 1)) < TOLERANCE);

        let longer = [&golden.ids[..], &golden.greedy[..3]].concat();
        let edited = [&golden.ids[..10], &golden.greedy[..5], &golden.ids[15..]].concat();
        let shorter = golden.ids[..9].to_vec();
        for (ids, kept) in [(longer, golden.ids.len()), (edited, 0), (shorter.clone(), 0), (shorter, 0)] {
            sequence.replace(model.kv(), ids);
            assert_eq!(sequence.state.len as usize, kept, "what was only added to is kept");
            assert!(model.kv().reserve(&mut sequence.state, 64));
            let logits = finish(&mut model, &mut [&mut sequence]).await.expect("sweeps").remove(0);
            assert_eq!(bits(&logits), bits(&alone(&files, &sequence.ids).await), "{} ids", sequence.ids.len());
        }
    });
}

#[test]
fn a_sequence_whose_sweep_failed_starts_anew() {
    block_on(async {
        let (files, golden) = files().await;
        let mut model = load(&files, None, Some(6)).await;
        let mut sequence = Sequence::new(golden.ids.clone());
        assert!(model.kv().reserve(&mut sequence.state, 64));
        for _ in 0..2 {
            batch::sweep(&mut model, &mut [&mut sequence], Want::Logits).await.expect("sweeps");
        }
        assert_eq!(sequence.state.len, 12);
        // An id that does not exist is found when the sweep is under way.
        sequence.ids[15] = u32::MAX;
        let error = batch::sweep(&mut model, &mut [&mut sequence], Want::Logits).await.expect_err("no such id");
        assert_eq!(error.kind(), ErrorKind::Argument);
        sequence.ids[15] = golden.ids[15];
        let logits = finish(&mut model, &mut [&mut sequence]).await.expect("sweeps").remove(0);
        assert_eq!(bits(&logits), bits(&alone(&files, &golden.ids).await));
    });
}

#[test]
fn there_is_a_state_for_each_sequence_and_the_budget_knows_it() {
    block_on(async {
        let (files, golden) = files().await;
        let files = &files;
        let least = async |sequences| smallest(files, &EngineConfig { sequences, ..engine_config() }).await;
        let state: u64 =
            files.spec.layers.iter().filter_map(|layer| layer.recurrent).map(|state| u64::from(state.floats())).sum();
        assert!(state > 0);
        assert!(least(3).await - least(2).await >= 4 * state, "a sequence more needs a state more");

        let two = EngineConfig { sequences: 2, ..engine_config() };
        let mut model = common::open(files, common::gpu(two.budget_bytes).await, two).await.expect("opens");
        let mut sequences: Vec<_> = (0..3).map(|_| Sequence::new(golden.ids.clone())).collect();
        let reserved = sequences.iter_mut().map(|sequence| model.kv().reserve(&mut sequence.state, 24));
        assert_eq!(reserved.collect::<Vec<_>>(), [true, true, false]);
        assert!(sequences[2].state.tables.is_empty(), "nothing is taken where not all is there");
        model.kv().truncate(&mut sequences[0].state, 0);
        assert!(model.kv().reserve(&mut sequences[2].state, 24));
        let logits = finish(&mut model, &mut [&mut sequences[2]]).await.expect("sweeps").remove(0);
        assert!(relative_error(&logits, golden.logits(golden.ids.len() - 1)) < TOLERANCE);
    });
}

#[test]
fn a_sweep_has_no_more_rows_than_a_driver_counts_turns_of_a_loop() {
    block_on(async {
        let (files, _) = files().await;
        let model = load(&files, None, Some(1000)).await;
        assert!(model.memory().rows <= 128, "{} rows", model.memory().rows);
    });
}
