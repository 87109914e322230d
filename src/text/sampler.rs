//! From logits to one token id.
//!
//! The order is that of Hugging Face transformers (`GenerationMixin._get_logits_processor`): repetition penalty,
//! temperature, top-k, top-p, min-p; each filter sees the distribution that the one before it left, renormalized. The penalties
//! and biases of OpenAI's API come behind the repetition penalty: they are added to the logits.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{Error, ErrorKind, Result};

/// How to choose a token. The default is greedy.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SamplerOptions {
    /// Divides the logits; 0 takes the best token and ignores every filter below. 0 to 100.
    pub temperature: f32,
    /// Keeps the best k tokens; 0 keeps all. Of equal ones the lower id stays.
    pub top_k: usize,
    /// Keeps the smallest set of best tokens whose probabilities sum to at least this; 1 keeps all. Above 0, to 1.
    pub top_p: f32,
    /// Drops tokens less likely than this times the best one; 0 keeps all. 0 to 1.
    pub min_p: f32,
    /// Divides the positive and multiplies the negative logits of tokens seen before (Keskar et al. 2019,
    /// arXiv:1909.05858); 1 changes nothing. 0.01 to 100.
    pub repetition_penalty: f32,
    /// Taken from the logits of tokens that the answer has already. -2 to 2.
    pub presence_penalty: f32,
    /// The same for each time that the answer has them. -2 to 2.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens. -100 to 100.
    pub logit_bias: BTreeMap<u32, f32>,
    /// Fixes the random numbers of a sequence.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            seed: 0,
        }
    }
}

/// What the reference takes where a `generation_config.json` samples and says no other `top_k`.
const USUAL_TOP_K: u64 = 50;

impl SamplerOptions {
    crate::options::setters!(
        temperature: f32, top_k: usize, top_p: f32, min_p: f32, repetition_penalty: f32, presence_penalty: f32,
        frequency_penalty: f32, logit_bias: BTreeMap<u32, f32>, seed: u64;
        some
    );

    /// The sampling that a checkpoint recommends in its `generation_config.json`: greedy, unless that says `do_sample`. Fields
    /// that are absent are as in transformers' `GenerationConfig`; values out of range make it greedy.
    pub fn from_generation_config(config: &Value) -> Self {
        if config.get("do_sample").and_then(Value::as_bool) != Some(true) {
            return Self::default();
        }
        let number = |name: &str, usual: f32| config.get(name).and_then(Value::as_f64).map_or(usual, |n| n as f32);
        let sampling = Self {
            temperature: number("temperature", 1.0),
            top_k: config.get("top_k").and_then(Value::as_u64).unwrap_or(USUAL_TOP_K) as usize,
            top_p: number("top_p", 1.0),
            min_p: number("min_p", 0.0),
            repetition_penalty: number("repetition_penalty", 1.0),
            ..Self::default()
        };
        if sampling.validate().is_ok() { sampling } else { Self::default() }
    }

    /// # Errors
    /// [`ErrorKind::Argument`] with the allowed range.
    pub fn validate(&self) -> Result<()> {
        let check = |name: &str, value: f32, ok: bool, range: &str| match ok {
            true => Ok(()),
            false => {
                Err(Error::new(ErrorKind::Argument, format!("{name} is {value}")).remedy(format!("it must be {range}")))
            }
        };
        let (t, p, m, r) = (self.temperature, self.top_p, self.min_p, self.repetition_penalty);
        check("temperature", t, (0.0..=100.0).contains(&t), "from 0 to 100")?;
        check("top-p", p, p > 0.0 && p <= 1.0, "above 0 and at most 1")?;
        check("min-p", m, (0.0..=1.0).contains(&m), "from 0 to 1")?;
        check("repetition penalty", r, (0.01..=100.0).contains(&r), "from 0.01 to 100")?;
        for (name, penalty) in
            [("presence penalty", self.presence_penalty), ("frequency penalty", self.frequency_penalty)]
        {
            check(name, penalty, (-2.0..=2.0).contains(&penalty), "from -2 to 2")?;
        }
        for (id, bias) in &self.logit_bias {
            check(&format!("the bias of token {id}"), *bias, (-100.0..=100.0).contains(bias), "from -100 to 100")?;
        }
        Ok(())
    }
}

/// The sampling state of one sequence: its random numbers, and the tokens it has seen.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplerOptions,
    random: SplitMix64,
    seen: BTreeSet<u32>,
    /// How often each token was chosen.
    chosen: BTreeMap<u32, u32>,
}

/// A token that may still be chosen; `weight` is its probability up to a common factor, 1 for the best.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    id: u32,
    logit: f64,
    weight: f64,
}

impl Sampler {
    /// # Errors
    /// [`ErrorKind::Argument`] where an option is out of its range.
    pub fn new(options: SamplerOptions) -> Result<Self> {
        options.validate()?;
        let random = SplitMix64(options.seed);
        Ok(Self { options, random, seen: BTreeSet::new(), chosen: BTreeMap::new() })
    }

    /// The options it was made with.
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Whether the logits have to leave the GPU. Where they need not, the id of the greatest logit is the answer (the
    /// lowest id of equal ones).
    pub fn needs_logits(&self) -> bool {
        self.options.temperature > 0.0 || self.penalizes()
    }

    /// Tells the sampler about the tokens of the prompt.
    pub fn observe(&mut self, ids: &[u32]) {
        if self.penalizes() {
            self.seen.extend(ids);
        }
    }

    /// Tells the sampler about tokens of the answer that were chosen elsewhere, where nothing is drawn.
    pub fn choose(&mut self, ids: &[u32]) {
        self.observe(ids);
        if self.penalizes() {
            ids.iter().for_each(|id| *self.chosen.entry(*id).or_default() += 1);
        }
    }

    /// Tells the sampler about tokens of the answer that were chosen before: their random numbers are passed over.
    pub fn go_on(&mut self, ids: &[u32]) {
        self.choose(ids);
        if self.options.temperature > 0.0 {
            for _ in ids {
                self.random.next();
            }
        }
    }

    /// Chooses the next token from `logits` (`[vocabulary]`) and remembers it.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where a logit is NaN or infinite: the weights or the kernel that made it are broken, and
    /// any choice would hide that. [`ErrorKind::Argument`] where there are no logits.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32> {
        self.sample_among(logits, |_| true)
    }

    /// The same among the tokens that are `allowed`.
    ///
    /// # Errors
    /// As [`Sampler::sample`]; [`ErrorKind::Text`] where none is allowed.
    pub fn sample_among(&mut self, logits: &[f32], allowed: impl Fn(u32) -> bool) -> Result<u32> {
        check_finite(logits)?;
        let mut candidates: Vec<Candidate> =
            (0u32..).zip(logits).map(|(id, &logit)| Candidate { id, logit: f64::from(logit), weight: 0.0 }).collect();
        self.penalize(&mut candidates);
        candidates.retain(|candidate| allowed(candidate.id));
        if candidates.is_empty() {
            return Err(Error::new(ErrorKind::Text, "no token of the model fits here"));
        }
        let id = match self.options.temperature {
            0.0 => best(&candidates).id,
            _ => {
                self.filter(&mut candidates);
                draw(&candidates, self.random.next_unit())
            }
        };
        self.choose(&[id]);
        Ok(id)
    }

    /// The distribution that [`Sampler::sample`] would draw from, as (id, probability) pairs in no particular order; one
    /// pair for a greedy sampler.
    ///
    /// # Errors
    /// Those of [`Sampler::sample`].
    pub fn distribution(&self, logits: &[f32]) -> Result<Vec<(u32, f64)>> {
        check_finite(logits)?;
        let mut candidates: Vec<Candidate> =
            (0u32..).zip(logits).map(|(id, &logit)| Candidate { id, logit: f64::from(logit), weight: 0.0 }).collect();
        self.penalize(&mut candidates);
        if self.options.temperature == 0.0 {
            return Ok(vec![(best(&candidates).id, 1.0)]);
        }
        self.filter(&mut candidates);
        let sum = total(&candidates);
        Ok(candidates.iter().map(|c| (c.id, c.weight / sum)).collect())
    }

    fn penalizes(&self) -> bool {
        let options = &self.options;
        options.repetition_penalty != 1.0
            || options.presence_penalty != 0.0
            || options.frequency_penalty != 0.0
            || !options.logit_bias.is_empty()
    }

    fn penalize(&self, candidates: &mut [Candidate]) {
        let penalty = f64::from(self.options.repetition_penalty);
        for &id in &self.seen {
            if let Some(c) = candidates.get_mut(id as usize) {
                c.logit = if c.logit < 0.0 { c.logit * penalty } else { c.logit / penalty };
            }
        }
        let [presence, frequency] = [self.options.presence_penalty, self.options.frequency_penalty].map(f64::from);
        for (&id, &times) in &self.chosen {
            if let Some(c) = candidates.get_mut(id as usize) {
                c.logit -= presence + frequency * f64::from(times);
            }
        }
        for (&id, &bias) in &self.options.logit_bias {
            if let Some(c) = candidates.get_mut(id as usize) {
                c.logit += f64::from(bias);
            }
        }
    }

    /// Temperature, top-k, top-p, min-p. Leaves at least the best candidate.
    fn filter(&self, candidates: &mut Vec<Candidate>) {
        let max = best(candidates).logit;
        let temperature = f64::from(self.options.temperature);
        for c in candidates.iter_mut() {
            c.weight = ((c.logit - max) / temperature).exp();
        }
        if self.options.top_k > 0 && self.options.top_k < candidates.len() {
            keep_best(candidates, self.options.top_k);
        }
        if self.options.top_p < 1.0 {
            keep_nucleus(candidates, f64::from(self.options.top_p));
        }
        // The best weight is 1, so min-p is a plain threshold.
        let threshold = f64::from(self.options.min_p);
        candidates.retain(|c| c.weight >= threshold);
    }
}

fn check_finite(logits: &[f32]) -> Result<()> {
    if logits.is_empty() {
        return Err(Error::new(ErrorKind::Argument, "there are no logits to choose from"));
    }
    match logits.iter().position(|logit| !logit.is_finite()) {
        None => Ok(()),
        Some(id) => Err(Error::new(ErrorKind::Malformed, format!("the logit of token {id} is {}", logits[id]))
            .remedy("verify the model's checksums; if they hold, its numbers overflow")),
    }
}

/// Better first; of equal ones the lower id.
fn order(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

fn best(candidates: &[Candidate]) -> Candidate {
    *candidates.iter().min_by(|a, b| order(a, b)).expect("the logits were checked not to be empty")
}

fn total(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|c| c.weight).sum()
}

/// Moves the best `count` to the front, sorted, and drops the others.
fn keep_best(candidates: &mut Vec<Candidate>, count: usize) {
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, order);
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(order);
}

/// Top-p (Holtzman et al. 2019, arXiv:1904.09751). The nucleus is nearly always small, so the best few are sorted first and
/// the whole vocabulary only where they do not suffice.
fn keep_nucleus(candidates: &mut Vec<Candidate>, top_p: f64) {
    let needed = top_p * total(candidates);
    let mut sorted = 256.min(candidates.len());
    loop {
        if sorted < candidates.len() {
            candidates.select_nth_unstable_by(sorted, order);
        }
        candidates[..sorted].sort_unstable_by(order);
        let mut sum = 0.0;
        let enough = candidates[..sorted].iter().position(|c| {
            sum += c.weight;
            sum >= needed
        });
        match enough {
            Some(last) => return candidates.truncate(last + 1),
            // Rounding may leave the sum of all a hair below.
            None if sorted == candidates.len() => return,
            None => sorted = (sorted * 8).min(candidates.len()),
        }
    }
}

/// `unit` in [0, 1) picks a point of the candidates' summed weights.
fn draw(candidates: &[Candidate], unit: f64) -> u32 {
    let mut rest = unit * total(candidates);
    for c in candidates {
        rest -= c.weight;
        if rest < 0.0 {
            return c.id;
        }
    }
    // Rounding may use up the list: the last one that has any weight.
    let last = candidates.iter().rfind(|c| c.weight > 0.0);
    last.expect("the best candidate has weight 1").id
}

/// SplitMix64 (Steele, Lea, Flood 2014): one word of state, every seed is a good seed, the same everywhere.
#[derive(Clone, Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1), 53 bits.
    fn next_unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
