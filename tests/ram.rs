//! Tiles that stay in the host's memory: the same bits, and as much less to read.

use crate::common::{Files, Golden, block_on, data, engine_config, gpu, open, smallest, split_family, split_small};
use tilestream::internals::model::Engine;
use tilestream::internals::model::batch::{self, Sequence};
use tilestream::internals::model::inputs::Want;
use tilestream::internals::model::memory::EngineConfig;
use tilestream::internals::model::readback::Output;

/// An engine at the smallest budget.
async fn tight(files: &Files) -> Engine {
    let config = EngineConfig { kv_pages: 2, rows: Some(1), ..engine_config() };
    let budget_bytes = smallest(files, &config).await;
    open(files, gpu(budget_bytes).await, EngineConfig { budget_bytes, ..config }).await.expect("loads")
}

/// Bytes of each sweep over `ids`, read and from memory, and the logits of the last one.
async fn sweeps(engine: &mut Engine, ids: &[u32]) -> (Vec<(u64, u64)>, Vec<Option<Output>>) {
    let mut sequence = Sequence::new(ids[..1].to_vec());
    assert!(engine.kv().reserve(&mut sequence.state, ids.len() as u32));
    let (mut bytes, mut last) = (Vec::new(), Vec::new());
    for id in &ids[1..] {
        let before = engine.profile().figures();
        last = batch::sweep(engine, &mut [&mut sequence], Want::Logits).await.expect("sweeps");
        let after = engine.profile().figures();
        bytes.push((after.bytes_read - before.bytes_read, after.bytes_from_ram - before.bytes_from_ram));
        sequence.ids.push(*id);
    }
    (bytes, last)
}

#[test]
fn what_stays_in_memory_is_read_once() {
    block_on(async {
        let (files, golden) = (split_small("gqa", "config.json").await, Golden::read("gqa"));
        let ids = &golden.ids[..6];
        let mut plain = tight(&files).await;
        let streamed = plain.residency().1;
        let (bytes, expected) = sweeps(&mut plain, ids).await;
        assert!(bytes.iter().all(|bytes| *bytes == (streamed, 0)), "{bytes:?} of {streamed}");
        for share in [streamed / 3, streamed] {
            let mut engine = tight(&files).await;
            engine.keep_in_ram(share);
            let (bytes, logits) = sweeps(&mut engine, ids).await;
            assert_eq!(logits, expected, "the same bits");
            let kept = engine.ram_bytes();
            assert!(kept <= share && kept > share / 2, "{kept} of {share}");
            // The head is read ahead for the next sweep, so the second may still bring a tile that stays.
            assert!(
                bytes[3..].iter().all(|(read, ram)| read + ram == streamed && ram.abs_diff(kept) < 4096),
                "{bytes:?}"
            );
        }
    });
}

#[test]
fn experts_that_are_used_most_stay_in_memory() {
    block_on(async {
        let (files, name) = (split_family("mixtral").await.expect("splits"), "mixtral");
        let golden = Golden::read_file(&data("families").join(name).join("golden.safetensors"));
        let mut plain = tight(&files).await;
        let (_, expected) = sweeps(&mut plain, &golden.ids[..12]).await;
        let mut engine = tight(&files).await;
        let dense: u64 = plain.residency().1;
        engine.keep_in_ram(dense);
        let (bytes, logits) = sweeps(&mut engine, &golden.ids[..12]).await;
        assert_eq!(logits, expected, "the same bits");
        assert!(engine.ram_bytes() <= dense);
        let (first, last) = (bytes[0], bytes[bytes.len() - 1]);
        assert!(first.1 == 0 && last.1 > last.0, "most comes from memory in the end: {bytes:?}");
    });
}
