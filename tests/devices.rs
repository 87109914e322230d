//! Several engines on one device, each in a budget of its own.

use std::sync::Arc;

use crate::common::{self, Files, Golden, all_logits, bits, block_on, engine_config, smallest, split_small};
use tilestream::internals::encoding::Encoding;
use tilestream::internals::gpu::kernels::{Kernel, KernelId};
use tilestream::internals::gpu::tuning::{Shape, Tuning, plain_product};
use tilestream::internals::gpu::{Device, Gpu};
use tilestream::internals::model::Engine;
use tilestream::internals::model::batch::{self, Sequence};
use tilestream::internals::model::inputs::Want;
use tilestream::internals::model::memory::EngineConfig;
use tilestream::internals::model::readback::Output;
use tilestream::{AutoModel, ErrorKind, GenerateOptions, LoadOptions, ModelFiles};

const MIB: u64 = 1 << 20;

/// A device for a test that loses it, or that looks at its memory.
async fn device(cap_bytes: Option<u64>) -> Device {
    Device::open(None, cap_bytes).await.expect("an adapter; set-up installs one in software")
}

async fn engine(files: &Files, gpu: Gpu) -> Engine {
    let config = EngineConfig { budget_bytes: gpu.budget_bytes(), ..engine_config() };
    common::open(files, gpu, config).await.expect("loads")
}

/// The two models of these tests, with what each is asked.
async fn models() -> [(Files, Golden); 2] {
    let model = async |name: &str| (split_small(name, "config.json").await, Golden::read(name));
    [model("gqa").await, model("tied").await]
}

/// A text that grows by the id with the largest logit.
struct Text {
    sequence: Sequence,
    logits: Vec<u32>,
}

impl Text {
    fn new(engine: &mut Engine, ids: &[u32]) -> Self {
        let mut sequence = Sequence::new(ids.to_vec());
        assert!(engine.kv().reserve(&mut sequence.state, 64));
        Self { sequence, logits: Vec::new() }
    }

    async fn grow(&mut self, engine: &mut Engine) {
        let logits = loop {
            let mut results = batch::sweep(engine, &mut [&mut self.sequence], Want::Logits).await.expect("sweeps");
            // A long prompt takes several sweeps.
            if let Some(Some(Output::Logits(logits))) = results.pop() {
                break logits;
            }
        };
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).expect("logits");
        self.sequence.ids.push(best as u32);
        self.logits.extend(bits(&logits));
    }

    async fn grow_by(&mut self, engine: &mut Engine, ids: usize) {
        for _ in 0..ids {
            self.grow(engine).await;
        }
    }

    /// All ids, and the bits of the logits that they came from; the pages go back to the engine.
    fn end(mut self, engine: &mut Engine) -> (Vec<u32>, Vec<u32>) {
        engine.kv().truncate(&mut self.sequence.state, 0);
        (self.sequence.ids, self.logits)
    }
}

const IDS: usize = 8;

async fn alone(files: &Files, golden: &Golden) -> (Vec<u32>, Vec<u32>) {
    let mut engine = engine(files, Gpu::open(None, 256 * MIB).await.expect("a device")).await;
    let mut text = Text::new(&mut engine, &golden.ids);
    text.grow_by(&mut engine, IDS).await;
    text.end(&mut engine)
}

#[test]
fn engines_of_a_device_give_what_each_gives_alone() {
    block_on(async {
        let [target, draft] = models().await;
        let expected = [alone(&target.0, &target.1).await, alone(&draft.0, &draft.1).await];
        let device = device(Some(256 * MIB)).await;
        // One streams all the time, the other is resident.
        let least = smallest(&target.0, &engine_config()).await;
        let mut first = engine(&target.0, device.budget(least).await.expect("fits")).await;
        let mut second = engine(&draft.0, device.budget(128 * MIB).await.expect("fits")).await;
        assert!(first.residency().1 > 0 && second.residency().1 == 0);

        let mut texts = (Text::new(&mut first, &target.1.ids), Text::new(&mut second, &draft.1.ids));
        for _ in 0..IDS {
            texts.0.grow(&mut first).await;
            texts.1.grow(&mut second).await;
        }
        assert!([texts.0.end(&mut first), texts.1.end(&mut second)] == expected, "by turns");

        let mut texts = (Text::new(&mut first, &target.1.ids), Text::new(&mut second, &draft.1.ids));
        futures::join!(texts.0.grow_by(&mut first, IDS), texts.1.grow_by(&mut second, IDS));
        assert!([texts.0.end(&mut first), texts.1.end(&mut second)] == expected, "on one thread");

        let mut texts = (Text::new(&mut first, &target.1.ids), Text::new(&mut second, &draft.1.ids));
        std::thread::scope(|scope| {
            scope.spawn(|| block_on(texts.0.grow_by(&mut first, IDS)));
            scope.spawn(|| block_on(texts.1.grow_by(&mut second, IDS)));
        });
        assert!([texts.0.end(&mut first), texts.1.end(&mut second)] == expected, "on two threads");
    });
}

#[test]
fn an_error_of_one_engine_leaves_the_other_as_it_was() {
    block_on(async {
        let [(files, golden), (other_files, other_golden)] = models().await;
        let device = device(Some(256 * MIB)).await;
        let least = smallest(&files, &engine_config()).await;
        let mut failing = engine(&files, device.budget(least).await.expect("fits")).await;
        let mut other = engine(&other_files, device.budget(128 * MIB).await.expect("fits")).await;
        let expected = bits(&all_logits(&mut failing, &golden.ids).await);
        let mut text = Text::new(&mut other, &other_golden.ids);

        text.grow_by(&mut other, IDS / 2).await;
        let mut refused = None;
        for _ in 0..64 {
            refused = refused.or(failing.grow_kv(1).await.err());
        }
        assert_eq!(refused.expect("the device has room, the budget has none").kind(), ErrorKind::Budget);
        text.grow(&mut other).await;
        failing.cancel_token().cancel();
        let stopped = batch::score(&mut failing, &golden.ids, |_, _| Ok(())).await;
        assert_eq!(stopped.expect_err("cancelled").kind(), ErrorKind::Cancelled);
        text.grow_by(&mut other, IDS / 2 - 1).await;
        assert!(text.end(&mut other) == alone(&other_files, &other_golden).await);
        failing.cancel_token().reset();
        assert!(bits(&all_logits(&mut failing, &golden.ids).await) == expected);
        failing.gpu().check().expect("the device works");
    });
}

#[test]
fn the_driver_never_reserves_more_than_the_cap() {
    block_on(async {
        let [first, second] = models().await;
        let least = [smallest(&first.0, &engine_config()).await, smallest(&second.0, &engine_config()).await];
        let cap = least[0] + least[1];
        let device = device(Some(cap)).await;
        let open = async |index: usize| {
            let (files, golden) = if index == 0 { &first } else { &second };
            let mut engine = engine(files, device.budget(least[index]).await.expect("the other's is not taken")).await;
            all_logits(&mut engine, &golden.ids).await;
            let reserved = device.reserved_bytes().expect("this backend tells");
            assert!(reserved <= cap, "{reserved} bytes reserved of {cap}");
            assert!(reserved >= device.buffer_bytes());
            engine
        };
        let mut engines = [open(0).await, open(1).await];
        assert_eq!(device.free_bytes(), Some(0));
        for turn in [0, 1, 1, 0, 0, 1] {
            let gone = device.budget(1).await.expect_err("nothing is left");
            assert!(gone.kind() == ErrorKind::Budget && gone.to_string().contains(": 0 of"), "{gone}");
            // The old one has to go before another of its size fits.
            let other = engines.into_iter().enumerate().find(|(index, _)| *index != turn).expect("two").1;
            let again = open(turn).await;
            engines = if turn == 0 { [again, other] } else { [other, again] };
        }
        drop(engines);
        assert_eq!((device.free_bytes(), device.buffer_bytes()), (Some(cap), 0));
    });
}

#[test]
fn a_budget_lasts_as_long_as_its_handles_and_buffers() {
    block_on(async {
        let device = device(Some(64 * MIB)).await;
        let gpu = device.budget(40 * MIB).await.expect("fits");
        assert_eq!(device.free_bytes(), Some(24 * MIB), "nobody takes what is left unasked");
        let refused = device.budget(24 * MIB + 1).await.expect_err("does not fit");
        assert_eq!(refused.kind(), ErrorKind::Budget);
        assert!(refused.to_string().contains(&format!("{} of", 24 * MIB)), "{refused}");
        let buffer = gpu.buffer("one", 30 * MIB, wgpu::BufferUsages::STORAGE).await.expect("fits");
        let too_much = gpu.buffer("two", 3 * MIB, wgpu::BufferUsages::STORAGE).await;
        assert_eq!(too_much.expect_err("8 MiB of the budget are the allocator's").kind(), ErrorKind::Budget);
        drop(gpu);
        device.budget(64 * MIB).await.expect_err("the buffer is there yet");
        drop(buffer);
        let all = device.budget(64 * MIB).await.expect("all of it is back");
        let reserved = device.reserved_bytes().expect("this backend tells");
        assert!(reserved < 8 * MIB, "the driver has {reserved} bytes yet");
        drop(all);
        let without_cap = self::device(None).await;
        let budgets =
            [without_cap.budget(1 << 50).await.expect("no cap"), without_cap.budget(1).await.expect("no cap")];
        assert_eq!((budgets.len(), without_cap.free_bytes()), (2, None));
    });
}

#[test]
fn a_kernel_is_compiled_once_whoever_prepares_it() {
    let device = block_on(device(None));
    let product = plain_product(Encoding::Q8_0, 1);
    let ids = [KernelId::Norm, KernelId::Argmax, product];
    let prepared = |change: Option<Shape>| {
        let tuning = device.tuning().clone();
        let kernels = device.kernels(change.map_or_else(|| tuning.clone(), |shape| tuning.with(product, shape)));
        block_on(kernels.prepare(&ids)).expect("compiles");
        ids.map(|id| kernels.get(id).expect("prepared"))
    };
    let all: Vec<[Arc<Kernel>; 3]> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| prepared(None))).collect();
        threads.into_iter().map(|thread| thread.join().expect("compiles")).collect()
    });
    let same = |a: &[Arc<Kernel>; 3], b: &[Arc<Kernel>; 3]| [0, 1, 2].map(|index| Arc::ptr_eq(&a[index], &b[index]));
    assert!(all.iter().all(|kernels| same(kernels, &all[0]) == [true; 3]));
    let usual = device.tuning().shape(product);
    let other = prepared(Some(Shape { rows: if usual.rows == 1 { 4 } else { 1 }, ..usual }));
    assert_eq!(same(&other, &all[0]), [true, true, false], "only what the tuning changes is another kernel");
}

#[test]
fn a_shader_that_is_wrong_is_a_fault_with_its_place() {
    let device = block_on(device(None));
    let kernels = device.kernels(Tuning { wide_lanes: 0, ..device.tuning().clone() });
    let error = block_on(kernels.prepare(&[KernelId::Argmax])).expect_err("a workgroup of nobody");
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.file_name().is_some(), "{error}");
    device.check().expect("the device works");
    let kernels = device.kernels(device.tuning().clone());
    block_on(kernels.prepare(&[KernelId::Argmax])).expect("compiles");
}

/// A model that is read to the end of its answer.
async fn answer(model: &mut AutoModel, lose_after: Option<usize>) -> Vec<u32> {
    let device = model.engine().gpu().shared_device().clone();
    let options = GenerateOptions::default().max_tokens(12).ignore_eos(true);
    let mut generation = model.generate(vec![3, 1, 4, 1, 5], options).expect("an answer");
    let mut ids = Vec::new();
    while let Some(piece) = generation.next().await.expect("goes on") {
        ids.extend(piece.id);
        if lose_after == Some(ids.len()) {
            device.lose();
        }
    }
    ids
}

#[test]
fn models_share_a_device_and_the_one_that_takes_its_place() {
    block_on(async {
        let budget_bytes = 16 * MIB;
        let device = device(Some(2 * budget_bytes)).await;
        let [(first, _), (second, _)] = models().await;
        let load = async |files: &Files, device: Option<&Device>| {
            let mut options = LoadOptions::default().budget_bytes(budget_bytes);
            options.device = device.cloned();
            ModelFiles::open(Arc::clone(&files.store) as _).await.expect("opens").load(&options).await
        };
        let mut expected = Vec::new();
        for files in [&first, &second] {
            expected.push(answer(&mut load(files, None).await.expect("loads"), None).await);
        }
        let mut one = load(&first, Some(&device)).await.expect("loads");
        let mut two = load(&second, Some(&device)).await.expect("loads");
        let refused = load(&first, Some(&device)).await.err().expect("two are there");
        assert!(refused.kind() == ErrorKind::Budget && refused.to_string().contains(": 0 of"), "{refused}");
        one.reopen(false).await.expect_err("the device works, and has no room for a second of it");
        assert_eq!(answer(&mut one, Some(4)).await, expected[0]);
        device.check().expect_err("it is lost");
        two.engine().gpu().check().expect_err("for the other one too");
        assert_eq!(answer(&mut two, None).await, expected[1]);
        let [device_of_one, device_of_two] =
            [&mut one, &mut two].map(|model| model.engine().gpu().shared_device().clone());
        assert_eq!(device_of_one.free_bytes(), Some(0), "both are on it");
        assert_eq!(device_of_two.free_bytes(), Some(0));
        drop(one);
        assert_eq!(device_of_two.free_bytes(), Some(budget_bytes), "it is the same device");
        load(&first, Some(&device)).await.err().expect("who asks for the lost one is told");
        let third = device.replacement().await.expect("opens");
        load(&first, Some(&third)).await.expect("the replacement has room");
    });
}
