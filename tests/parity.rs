//! Small random checkpoints against the logits of their reference implementation, through the whole engine: split,
//! streamed at the smallest budget and resident, in other chunks and in a batch.

use crate::common::{self, Golden, block_on, load, relative_error, small_checkpoints, split_small};
use tilestream::internals::model::batch::{self, Sequence};
use tilestream::internals::model::inputs::Want;
use tilestream::internals::model::readback::Output;
use tilestream::internals::shard::FORMATS;
use tilestream::{AutoModel, GenerateOptions};

/// Relative error of each position's logits, ‖a−b‖/‖b‖.
const TOLERANCE: f64 = 1e-3;

#[test]
fn logits_match_the_reference_at_every_position() {
    for (name, config) in small_checkpoints() {
        block_on(async {
            let (files, golden) = (split_small(&name, &config).await, Golden::read(&name));
            let mut model = load(&files, None, Some(7)).await;
            let mut worst = 0.0_f64;
            batch::score(&mut model, &golden.ids, |position, logits| {
                worst = worst.max(relative_error(logits, golden.logits(position)));
                Ok(())
            })
            .await
            .expect("scores");
            println!("{name} {config}: {worst:.2e}");
            assert!(worst < TOLERANCE, "{name} {config}: relative error {worst}");
            assert!(worst > 0.0, "two implementations never agree to the last bit of every logit");
        });
    }
}

#[test]
fn greedy_ids_are_those_of_the_reference() {
    for (name, config) in small_checkpoints() {
        block_on(async {
            let (files, golden) = (split_small(&name, &config).await, Golden::read(&name));
            let mut model = load(&files, None, None).await;
            let mut sequence = Sequence::new(golden.ids.clone());
            assert!(model.kv().reserve(&mut sequence.state, 64));
            for (step, (expected, margin)) in golden.greedy.iter().zip(&golden.margins).enumerate() {
                let next = batch::sweep(&mut model, &mut [&mut sequence], Want::Best).await.expect("sweeps");
                // Only a tie of the reference may be broken the other way; it is then forced, and compared on.
                if next != [Some(Output::Best(*expected))] {
                    assert!(*margin < 1e-3, "{name} step {step}: {next:?} instead of {expected}, margin {margin}");
                }
                sequence.ids.push(*expected);
            }
        });
    }
}

/// `tilestream synth tiny.json tests/data/formats/1 --weights q8 --seed 1` made the first, when its format was the newest; the ids
/// are what the build of that day answered.
#[test]
fn a_model_of_every_format_that_is_read_opens_and_answers() {
    for format in FORMATS {
        block_on(async {
            let folder = common::data("formats").join(format.to_string());
            let mut model = AutoModel::from_pretrained(folder).budget(32 << 20).load().await.expect("opens");
            let options = GenerateOptions::default().max_tokens(12).ignore_eos(true);
            let (mut answer, mut ids) = (model.generate(vec![1, 2, 3], options).expect("begins"), Vec::new());
            while let Some(delta) = answer.next().await.expect("goes on") {
                ids.extend(delta.id);
            }
            assert_eq!(ids, [57, 74, 26, 87, 68, 84, 33, 57, 74, 26, 94, 28], "format {format}");
        });
    }
}
