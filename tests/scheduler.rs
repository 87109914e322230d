//! Requests that share a model: whatever company one has, its ids and texts are those that it has alone.

use std::sync::Arc;

use crate::common::{self, block_on, split_family, split_small};
use tilestream::internals::gpu::kernels::PAGE_TOKENS;
use tilestream::{
    AutoModel, ErrorKind, Event, GenerateOptions, LoadOptions, ModelFiles, ModelHandle, Request, RequestId,
    SamplerOptions, StopReason,
};

async fn load_files(files: common::Files, sequences: u32, context: u32) -> AutoModel {
    let options = LoadOptions::default().budget_bytes(32 << 20).sequences(sequences).context(context);
    ModelFiles::open(Arc::clone(&files.store) as _).await.expect("opens").load(&options).await.expect("loads")
}

async fn load(sequences: u32, context: u32) -> AutoModel {
    load_files(split_small("gqa", "config.json").await, sequences, context).await
}

/// Some sample, some do not; none ends before its last token.
fn request(number: u32, prompt: &[u32], max_tokens: u32) -> Request {
    let temperature = if number.is_multiple_of(2) { 0.0 } else { 1.2 };
    let sampler = SamplerOptions::default().temperature(temperature).seed(u64::from(number));
    let options = GenerateOptions::default().max_tokens(max_tokens).sampler(sampler).ignore_eos(true);
    Request::new(prompt.to_vec(), options)
}

fn requests() -> Vec<Request> {
    let prompt = |number: u32, len: u32| (0..len).map(|at| (7 * number + 3 * at) % 250).collect::<Vec<_>>();
    let sizes = [(4, 40), (20, 30), (9, 50), (33, 20), (1, 44)];
    (0..).zip(sizes).map(|(number, (len, new))| request(number, &prompt(number, len), new)).collect()
}

/// The ids of requests that ended, by request; `meanwhile` is called before each event.
async fn ids_of(
    model: &mut AutoModel,
    ids: &mut Vec<(RequestId, Vec<u32>)>,
    mut meanwhile: impl FnMut(&mut AutoModel, &mut Vec<(RequestId, Vec<u32>)>),
) -> Vec<(RequestId, ErrorKind)> {
    let mut failed = Vec::new();
    loop {
        meanwhile(model, ids);
        match model.next_event().await.expect("goes on") {
            None => return failed,
            Some(Event::Delta(delta)) => {
                let answer = ids.iter_mut().find(|(id, _)| *id == delta.request).expect("a request of ours");
                answer.1.extend(delta.id);
            }
            Some(Event::Failed { request, error }) => failed.push((request, error.kind())),
            Some(other) => panic!("{other:?}"),
        }
    }
}

async fn alone(requests: &[Request]) -> Vec<Vec<u32>> {
    let mut answers = Vec::new();
    for request in requests {
        let mut model = load(1, 64).await;
        let mut ids = vec![(model.submit(request.clone()).expect("is taken"), Vec::new())];
        assert!(ids_of(&mut model, &mut ids, |_, _| ()).await.is_empty());
        assert_eq!(ids[0].1.len(), request.options.max_tokens as usize);
        answers.push(ids.remove(0).1);
    }
    answers
}

#[test]
fn a_request_has_the_same_ids_alone_in_a_crowd_and_after_it_was_preempted() {
    block_on(async {
        let requests = requests();
        let expected = alone(&requests).await;
        // Room for all; for two of the long ones; and for one, so that every other one has to give its pages back, unless the
        // cache may grow.
        let mut sweeps = Vec::new();
        for (sequences, context, grows) in
            [(5, 5 * 64, false), (4, 4 * PAGE_TOKENS, false), (5, 2 * PAGE_TOKENS, false), (5, 2 * PAGE_TOKENS, true)]
        {
            let mut model = load(sequences, context).await;
            let gpu = model.engine().gpu();
            let free = if grows { 16 } else { gpu.accountant().free_bytes() / 4 * 4 };
            let taken = gpu.buffer("what is free", free, wgpu::BufferUsages::STORAGE).await.expect("is free");
            let submit = |request: &Request| (model.submit(request.clone()).expect("is taken"), Vec::new());
            let mut ids: Vec<_> = requests.iter().map(submit).collect();
            assert!(ids_of(&mut model, &mut ids, |_, _| ()).await.is_empty());
            let answers: Vec<_> = ids.into_iter().map(|(_, ids)| ids).collect();
            assert_eq!(answers, expected, "{sequences} sequences in {context} positions");
            sweeps.push(model.profile().sweeps);
            drop(taken);
        }
        assert!(sweeps[0] < sweeps[1] && sweeps[1] < sweeps[2], "{sweeps:?}");
        assert_eq!(sweeps[3], sweeps[0]);
    });
}

#[test]
fn a_request_that_joins_late_or_begins_like_another_has_the_same_ids() {
    block_on(async {
        let all = requests();
        let long: Vec<u32> = (0..40).map(|at| (at * 11) % 250).collect();
        // The second and the third share a page with the first, and the third goes on otherwise.
        let mut other = long.clone();
        other.truncate(36);
        other.extend([9, 8, 7]);
        let requests = [request(0, &long, 20), request(1, &long, 18), request(3, &other, 20), all[2].clone()];
        let expected = alone(&requests).await;
        let mut model = load(4, 4 * 64).await;
        let mut ids = Vec::new();
        let mut left = requests.iter();
        let mut events = 0;
        let failed = ids_of(&mut model, &mut ids, |model, ids| {
            // One more every three tokens.
            if events % 3 == 0
                && let Some(request) = left.next()
            {
                ids.push((model.submit(request.clone()).expect("is taken"), Vec::new()));
            }
            events += 1;
        })
        .await;
        assert!(failed.is_empty());
        assert_eq!(ids.into_iter().map(|(_, ids)| ids).collect::<Vec<_>>(), expected);
    });
}

#[test]
fn what_is_cancelled_or_refused_leaves_the_others_as_they_are() {
    block_on(async {
        let requests = requests();
        let expected = alone(&requests).await;
        let mut model = load(3, 3 * 64).await;
        let mut ids: Vec<_> =
            requests.iter().map(|request| (model.submit(request.clone()).expect("is taken"), Vec::new())).collect();
        let refused = [request(0, &[], 4), request(0, &[260], 4), request(0, &[1; 65], 4), request(0, &[1], 0)];
        for request in refused {
            assert_eq!(model.submit(request).expect_err("is refused").kind(), ErrorKind::Argument);
        }
        let (running, waiting) = (ids[1].0, ids[4].0);
        let mut events = 0;
        let failed = ids_of(&mut model, &mut ids, |model, _| {
            events += 1;
            if events == 10 {
                model.cancel(running);
                model.cancel(waiting);
            }
        })
        .await;
        assert!(failed.is_empty() && model.is_idle());
        for (index, ((_, ids), expected)) in ids.iter().zip(&expected).enumerate() {
            match index {
                1 => assert!(ids.len() < expected.len() && expected.starts_with(ids), "{ids:?}"),
                4 => assert!(ids.is_empty()),
                _ => assert_eq!(ids, expected, "request {index}"),
            }
        }
    });
}

#[test]
fn an_edited_text_goes_on_from_what_it_shares_also_behind_a_window() {
    block_on(async {
        // Windows shorter than the text, and layers that see everything.
        for family in ["gemma3", "gpt-oss", "qwen3-next"] {
            let load = async |sequences, context| {
                load_files(split_family(family).await.expect("splits"), sequences, context).await
            };
            let text: Vec<u32> = (0..40).map(|at| (at * 5) % 60).collect();
            let mut edited = text[..30].to_vec();
            edited.extend([3, 1, 4]);
            let mut once = load(2, 128).await;
            for prompt in [&text, &edited, &text, &text[..12].to_vec()] {
                let asked = request(0, prompt, 6);
                let mut fresh = load(1, 64).await;
                let mut expected = vec![(fresh.submit(asked.clone()).expect("is taken"), Vec::new())];
                ids_of(&mut fresh, &mut expected, |_, _| ()).await;
                let mut ids = vec![(once.submit(asked).expect("is taken"), Vec::new())];
                ids_of(&mut once, &mut ids, |_, _| ()).await;
                assert_eq!(ids[0].1, expected[0].1, "{family}, a prompt of {}", prompt.len());
            }
        }
    });
}

#[test]
fn what_cannot_be_cut_back_goes_on_from_a_snapshot_of_its_prompt() {
    block_on(async {
        const NEW: u32 = 18;
        for family in ["gemma3", "gpt-oss", "qwen3-next"] {
            let options = LoadOptions::default().budget_bytes(32 << 20).sequences(2).context(256).prefill_chunk(8);
            let files = split_family(family).await.expect("splits");
            let files = ModelFiles::open(Arc::clone(&files.store) as _).await.expect("opens");
            let text: Vec<u32> = (0..44).map(|at| (at * 5) % 60).collect();
            let edited = |end: u32| [&text[..42], &[3, 1, end]].concat();
            let asked = [text.clone(), edited(4), edited(5), text.clone()].map(|ids| request(0, &ids, NEW));
            let mut expected = Vec::new();
            for request in &asked {
                let mut fresh = files.clone().load(&options).await.expect("loads");
                let mut ids = vec![(fresh.submit(request.clone()).expect("is taken"), Vec::new())];
                ids_of(&mut fresh, &mut ids, |_, _| ()).await;
                expected.push(ids.remove(0).1);
            }
            let mut model = files.clone().load(&options).await.expect("loads");
            assert!(model.engine().memory().snapshots > 0, "{family}");
            // One after the other: the first 40 positions are computed once, and then each prompt takes one sweep.
            for (index, (request, expected)) in asked.iter().zip(&expected).enumerate() {
                let before = model.profile().sweeps;
                let mut ids = vec![(model.submit(request.clone()).expect("is taken"), Vec::new())];
                ids_of(&mut model, &mut ids, |_, _| ()).await;
                assert_eq!(ids[0].1, *expected, "{family}, request {index}");
                let sweeps = model.profile().sweeps - before;
                assert_eq!(sweeps, u64::from(NEW) + if index == 0 { 5 } else { 0 }, "{family}, request {index}");
            }
            // The text whose snapshot the second goes on from is still under way.
            let mut model = files.clone().load(&options).await.expect("loads");
            let mut ids = vec![(model.submit(asked[0].clone()).expect("is taken"), Vec::new())];
            let mut events = 0;
            ids_of(&mut model, &mut ids, |model, ids| {
                events += 1;
                if events == 5 {
                    ids.push((model.submit(asked[1].clone()).expect("is taken"), Vec::new()));
                }
            })
            .await;
            let answers: Vec<_> = ids.into_iter().map(|(_, ids)| ids).collect();
            assert_eq!(answers, expected[..2], "{family}, side by side");
        }
    });
}

/// Asserted when this is compiled: the model may go to another thread, and handles may be shared.
const fn is_send<T: Send>() {}
const fn is_shared<T: Send + Sync>() {}
const _: () = is_send::<AutoModel>();
const _: () = is_shared::<ModelHandle>();

#[test]
fn a_handle_is_asked_by_many_threads_and_each_gets_its_own_answer() {
    let requests = requests();
    let expected = block_on(alone(&requests));
    let handle = block_on(load(3, 2 * 64)).into_handle().expect("starts");
    let threads: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let handle = handle.clone();
            std::thread::spawn(move || {
                block_on(async {
                    let (mut answer, mut ids, mut stop) = (handle.submit(request)?, Vec::new(), None);
                    while let Some(delta) = answer.next().await? {
                        ids.extend(delta.id);
                        stop = delta.stop;
                    }
                    Ok::<_, tilestream::Error>((ids, stop))
                })
            })
        })
        .collect();
    let answers: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("ends").expect("answers")).collect();
    assert!(answers.iter().all(|(_, stop)| *stop == Some(StopReason::MaxTokens)));
    assert_eq!(answers.into_iter().map(|(ids, _)| ids).collect::<Vec<_>>(), expected);
    block_on(async {
        // What is cancelled, dropped or refused ends alone; the model goes on.
        let mut cancelled = handle.submit(request(0, &[1, 2], 60)).expect("is taken");
        assert!(cancelled.next().await.expect("begins").is_some());
        cancelled.cancel();
        let error = loop {
            match cancelled.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it came to its end"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        drop(handle.submit(request(0, &[1, 2], 60)).expect("is taken"));
        let mut refused = handle.submit(request(0, &[999], 1)).expect("is taken");
        assert_eq!(refused.next().await.expect_err("no such token").kind(), ErrorKind::Argument);
        let mut last = handle.submit(request(2, &[5], 3)).expect("is taken");
        let mut count = 0;
        while last.next().await.expect("answers").is_some() {
            count += 1;
        }
        assert_eq!(count, 3);
        assert!(handle.with_model(|model| model.profile().sweeps).await.expect("is there") > 3);
    });
}

#[test]
fn an_answer_cancelled_at_its_very_end_stops_no_other() {
    let handle = block_on(load(2, 2 * 64)).into_handle().expect("starts");
    for turn in 0..60 {
        block_on(async {
            let mut ends = handle.submit(request(0, &[1, 2], 1)).expect("is taken");
            // Now before its sweep, now in it, now after it.
            std::thread::sleep(std::time::Duration::from_micros(100 * turn));
            ends.cancel();
            let _ = ends.next().await;
            let mut next = handle.submit(request(0, &[3], 2)).expect("is taken");
            while next.next().await.expect("goes on").is_some() {}
        });
    }
}
