use proptest::prelude::*;

use super::*;

fn sampler(change: impl FnOnce(&mut SamplerOptions)) -> Sampler {
    let mut options = SamplerOptions { temperature: 1.0, ..SamplerOptions::default() };
    change(&mut options);
    Sampler::new(options).unwrap()
}

fn ids(distribution: Vec<(u32, f64)>) -> Vec<u32> {
    let mut ids: Vec<u32> = distribution.into_iter().map(|(id, _)| id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn greedy_takes_the_best_and_of_equal_ones_the_lowest() {
    let mut greedy = Sampler::new(SamplerOptions::default()).unwrap();
    for (logits, expected) in
        [(vec![1.0, 3.0, 3.0, 2.0], 1), (vec![-5.0], 0), (vec![0.0, -0.0, 0.0], 0), (vec![-2.0, -1.0], 1)]
    {
        assert_eq!(greedy.sample(&logits).unwrap(), expected, "{logits:?}");
    }
}

#[test]
fn refuses_numbers_that_are_none() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for temperature in [0.0, 1.0] {
            let error = sampler(|o| o.temperature = temperature).sample(&[1.0, bad, 2.0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed);
            assert!(error.to_string().contains("token 1"), "{error}");
        }
    }
    assert_eq!(sampler(|_| ()).sample(&[]).unwrap_err().kind(), ErrorKind::Argument);
}

#[test]
fn options_out_of_range_are_arguments_errors() {
    type Change = fn(&mut SamplerOptions);
    let table: &[(&str, Change)] = &[
        ("temperature", |o| o.temperature = -0.1),
        ("temperature", |o| o.temperature = f32::NAN),
        ("temperature", |o| o.temperature = 101.0),
        ("top-p", |o| o.top_p = 0.0),
        ("top-p", |o| o.top_p = 1.1),
        ("top-p", |o| o.top_p = f32::NAN),
        ("min-p", |o| o.min_p = -0.5),
        ("min-p", |o| o.min_p = 2.0),
        ("repetition penalty", |o| o.repetition_penalty = 0.0),
        ("repetition penalty", |o| o.repetition_penalty = f32::INFINITY),
    ];
    for (name, change) in table {
        let mut options = SamplerOptions::default();
        change(&mut options);
        let error = Sampler::new(options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument);
        let text = error.to_string();
        assert!(text.contains(name) && text.contains("must be"), "{text}");
    }
}

#[test]
fn each_filter_keeps_what_its_definition_says() {
    // Probabilities 0.5, 0.25, 0.125, 0.125.
    let logits = [2f32.ln() * 2.0, 2f32.ln(), 0.0, 0.0];
    type Case<'a> = (&'a str, fn(&mut SamplerOptions), &'a [u32]);
    let table: &[Case<'_>] = &[
        ("nothing", |_| (), &[0, 1, 2, 3]),
        ("top-k 1", |o| o.top_k = 1, &[0]),
        ("top-k cuts ties at the lower id", |o| o.top_k = 3, &[0, 1, 2]),
        ("top-k above the vocabulary", |o| o.top_k = 100, &[0, 1, 2, 3]),
        ("top-p below the best", |o| o.top_p = 0.1, &[0]),
        ("top-p needs two", |o| o.top_p = 0.7, &[0, 1]),
        ("top-p needs three", |o| o.top_p = 0.8, &[0, 1, 2]),
        ("min-p", |o| o.min_p = 0.3, &[0, 1]),
        ("min-p 1 keeps the best", |o| o.min_p = 1.0, &[0]),
        // After top-k 2 the best has 2/3, so top-p 0.6 needs no other.
        ("top-p sees what top-k left", |o| (o.top_k, o.top_p) = (2, 0.6), &[0]),
        // At temperature 0.5 the best has 16/22.
        ("top-p sees the temperature", |o| (o.temperature, o.top_p) = (0.5, 0.7), &[0]),
        ("min-p sees the temperature", |o| (o.temperature, o.min_p) = (0.5, 0.3), &[0]),
    ];
    for (name, change, expected) in table {
        assert_eq!(&ids(sampler(change).distribution(&logits).unwrap()), expected, "{name}");
    }
}

#[test]
fn penalty_lowers_what_was_seen_on_both_sides_of_zero() {
    let mut sampler = sampler(|o| (o.temperature, o.repetition_penalty) = (0.0, 2.0));
    assert_eq!(sampler.sample(&[3.0, 2.0]).unwrap(), 0);
    // 3 / 2 < 2
    assert_eq!(sampler.sample(&[3.0, 2.0]).unwrap(), 1);
    // Both seen: 3 / 2 against 2 / 2.
    assert_eq!(sampler.sample(&[3.0, 2.0]).unwrap(), 0);
    // -1 * 2 is below -1.5 of an unseen token; ids beyond the logits do no harm.
    sampler.observe(&[9]);
    assert_eq!(sampler.sample(&[-1.0, -9.0, -1.5]).unwrap(), 2);
}

#[test]
fn what_the_answer_has_is_penalized_for_being_there_and_for_each_time() {
    let logits = [3.0, 2.0, 0.5];
    let mut present = sampler(|o| (o.temperature, o.presence_penalty) = (0.0, 1.5));
    // The prompt does not count. 3 - 1.5 < 2; then 3 - 1.5 > 2 - 1.5 > 0.5 - 0.
    present.observe(&[0, 1]);
    assert_eq!([(); 3].map(|()| present.sample(&logits).unwrap()), [0, 1, 0]);
    let mut frequent = sampler(|o| (o.temperature, o.frequency_penalty) = (0.0, 0.8));
    // 3, 2.2, 2 (against 1.4), 1.4 (against 1.2), 1.2 (against 0.6), 0.6 (against 0.4 and 0.5).
    assert_eq!([(); 6].map(|()| frequent.sample(&logits).unwrap()), [0, 0, 1, 0, 1, 0]);
    // An answer that goes on is penalized for what it had before.
    let mut resumed = sampler(|o| (o.temperature, o.frequency_penalty) = (0.0, 0.8));
    resumed.go_on(&[0, 0, 1]);
    assert_eq!([(); 3].map(|()| resumed.sample(&logits).unwrap()), [0, 1, 0]);
}

#[test]
fn a_bias_forbids_or_demands_a_token() {
    let biased = |bias: &[(u32, f32)]| {
        let mut sampler = sampler(|o| (o.temperature, o.logit_bias) = (0.0, bias.iter().copied().collect()));
        assert!(sampler.needs_logits());
        sampler.sample(&[3.0, 2.0, -9.0]).unwrap()
    };
    assert_eq!((biased(&[(0, -100.0)]), biased(&[(2, 100.0)]), biased(&[(9, 100.0)])), (1, 2, 0));
    for bad in [101.0, f32::NAN] {
        let options = SamplerOptions::default().logit_bias([(1, bad)].into());
        assert!(options.validate().is_err(), "{bad}");
    }
    assert!(SamplerOptions::default().presence_penalty(2.5).validate().is_err());
}

#[test]
fn the_gpu_argmax_suffices_only_for_plain_greedy() {
    assert!(!sampler(|o| o.temperature = 0.0).needs_logits());
    assert!(!sampler(|o| (o.temperature, o.top_k, o.top_p) = (0.0, 5, 0.5)).needs_logits());
    assert!(sampler(|_| ()).needs_logits());
    assert!(sampler(|o| (o.temperature, o.repetition_penalty) = (0.0, 1.1)).needs_logits());
}

#[test]
fn extreme_numbers_stay_finite() {
    let logits = [f32::MAX, f32::MIN, 0.0];
    let mut sampler = sampler(|o| (o.temperature, o.repetition_penalty) = (f32::MIN_POSITIVE, 100.0));
    sampler.observe(&[1, 2]);
    assert_eq!(sampler.sample(&logits).unwrap(), 0);
}

/// Pearson's chi-squared over many draws with a fixed seed; 5 degrees of freedom, so 30 lies beyond one in 10^4.
#[test]
fn draws_follow_the_probabilities() {
    let logits = [1.0, 0.5, 0.0, -0.5, -1.0, 2.0];
    let draws = 60_000;
    let chi_squared = |expected: &[(u32, f64)]| {
        let mut sampler = sampler(|o| o.seed = 7);
        let mut counts = [0.0; 6];
        for _ in 0..draws {
            counts[sampler.sample(&logits).unwrap() as usize] += 1.0;
        }
        let term =
            |&(id, p): &(u32, f64)| (counts[id as usize] - p * f64::from(draws)).powi(2) / (p * f64::from(draws));
        expected.iter().map(term).sum::<f64>()
    };
    let right = sampler(|_| ()).distribution(&logits).unwrap();
    assert!(chi_squared(&right) < 30.0);
    // The control: a slightly other temperature is told apart.
    let wrong = sampler(|o| o.temperature = 1.1).distribution(&logits).unwrap();
    assert!(chi_squared(&wrong) > 100.0);
}

#[test]
fn seeds_reproduce_and_differ() {
    let logits: Vec<f32> = (0..50).map(|i| (i % 7) as f32).collect();
    let run = |seed| {
        let mut sampler = sampler(|o| o.seed = seed);
        (0..40).map(|_| sampler.sample(&logits).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn random_numbers_are_those_of_splitmix64() {
    // The first outputs for seed 1234567, from the published reference implementation.
    let mut random = SplitMix64(1_234_567);
    assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
}

proptest! {
    #[test]
    fn distributions_are_distributions(
        logits in proptest::collection::vec(-40f32..40.0, 1..600),
        temperature in 0.05f32..5.0,
        top_k in 0usize..20,
        top_p in 0.01f32..=1.0,
        min_p in 0f32..=1.0,
    ) {
        let s = sampler(|o| (o.temperature, o.top_k, o.top_p, o.min_p) = (temperature, top_k, top_p, min_p));
        let distribution = s.distribution(&logits).unwrap();
        prop_assert!((distribution.iter().map(|(_, p)| p).sum::<f64>() - 1.0).abs() < 1e-9);
        prop_assert!(top_k == 0 || distribution.len() <= top_k);
        let kept = ids(distribution.clone());
        let greedy = Sampler::new(SamplerOptions::default()).unwrap().sample(&logits).unwrap();
        prop_assert!(kept.contains(&greedy));
        // Whatever was dropped is not better than what was kept.
        let worst = kept.iter().map(|&id| logits[id as usize]).fold(f32::INFINITY, f32::min);
        let dropped = (0..logits.len() as u32).filter(|id| !kept.contains(id));
        prop_assert!(dropped.into_iter().all(|id| logits[id as usize] <= worst));
        let drawn = s.clone().sample(&logits).unwrap();
        prop_assert!(kept.contains(&drawn));
    }

    #[test]
    fn the_nucleus_equals_that_of_a_full_sort(
        logits in proptest::collection::vec(-1f32..1.0, 1..3000),
        top_p in 0.01f32..0.999,
    ) {
        let all = sampler(|_| ()).distribution(&logits).unwrap();
        let mut sorted = all.clone();
        sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let kept = sampler(|o| o.top_p = top_p).distribution(&logits).unwrap();
        let sum: f64 = sorted[..kept.len()].iter().map(|c| c.1).sum();
        prop_assert!(sum >= f64::from(top_p) - 1e-9);
        prop_assert!(sum - sorted[kept.len() - 1].1 < f64::from(top_p) + 1e-9);
        let expected: BTreeSet<u32> = sorted[..kept.len()].iter().map(|c| c.0).collect();
        prop_assert_eq!(kept.iter().map(|c| c.0).collect::<BTreeSet<_>>(), expected);
    }
}

#[test]
fn a_checkpoint_recommends_how_to_sample() {
    let of = |config: Value| SamplerOptions::from_generation_config(&config);
    let greedy = SamplerOptions::default();
    let full = serde_json::json!({ "do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.1,
        "repetition_penalty": 1.05 });
    let wanted = SamplerOptions {
        temperature: 0.6,
        top_k: 20,
        top_p: 0.95,
        min_p: 0.1,
        repetition_penalty: 1.05,
        ..greedy.clone()
    };
    assert_eq!(of(full), wanted);
    let usual = SamplerOptions { temperature: 1.0, top_k: 50, ..SamplerOptions::default() };
    assert_eq!(of(serde_json::json!({ "do_sample": true })), usual);
    for other in [
        serde_json::json!({ "temperature": 0.6, "top_k": 20 }),
        serde_json::json!({ "do_sample": false, "temperature": 0.6, "repetition_penalty": 1.3 }),
        serde_json::json!({ "do_sample": true, "temperature": -1 }),
        serde_json::json!({ "do_sample": true, "top_p": 1e39 }),
        serde_json::json!({ "do_sample": "yes" }),
        serde_json::json!([true]),
    ] {
        assert_eq!(of(other.clone()), greedy, "{other}");
    }
}
