//! A device that is lost in the middle of an answer: a new one goes on with it.

mod common;

use std::sync::Arc;

use common::{block_on, split_small};
use tilestream::{AutoModel, GenerateOptions, LoadOptions, ModelFiles};

async fn load() -> AutoModel {
    let files = split_small("gqa", "config.json").await;
    let options = LoadOptions { budget_bytes: 16 << 20, ..Default::default() };
    ModelFiles::open(Arc::clone(&files.store) as _).await.expect("opens").load(&options).await.expect("loads")
}

/// The ids of an answer; `lose_at` names the tokens after which the device is destroyed.
async fn answer(model: &mut AutoModel, lose_at: &[usize]) -> tilestream::Result<Vec<u32>> {
    let mut device = model.engine().gpu().device.clone();
    let options = GenerateOptions { max_tokens: 12, ignore_eos: true, ..Default::default() };
    let mut generation = model.generate(vec![3, 1, 4, 1, 5], options)?;
    let mut ids = Vec::new();
    while let Some(piece) = generation.next().await? {
        ids.extend(piece.id);
        if lose_at.contains(&ids.len()) {
            device.destroy();
            device = generation.model().engine().gpu().device.clone();
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
