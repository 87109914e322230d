//! The fields of a request that say how to answer: those of all APIs have the same names and meanings.

use serde::Deserialize;
use tilestream::{GenerateOptions, SamplerOptions};

use super::asked::Fields;
use super::failure::Failure;
use crate::model;

/// Answers to one prompt at most.
const MOST_ANSWERS: u32 = 16;

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a text or a list of texts")]
enum Stop {
    One(String),
    Many(Vec<String>),
}

#[derive(Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// Texts that end an answer, and their bytes in all: each token is looked through for them.
const MOST_STOPS: usize = 64;
const MOST_STOP_BYTES: usize = 4096;
/// Tokens of which a request may be told at each place how likely they are.
const MOST_LOGPROBS: usize = 20;

/// How to answer.
pub struct Sampling {
    /// Of each of the answers that were asked for.
    pub options: Vec<GenerateOptions>,
    pub stream: bool,
    /// Whether a stream ends with the count of its tokens.
    pub stream_usage: bool,
}

impl Sampling {
    /// Takes the fields. `own`: what the checkpoint recommends; `max_tokens`: where the request says none.
    pub fn take(fields: &mut Fields, own: &SamplerOptions, max_tokens: u32) -> Result<Self, Failure> {
        let [completion, plain] = ["max_completion_tokens", "max_tokens"].map(|name| (name, fields.take::<i64>(name)));
        let (plain_name, plain) = (plain.0, plain.1?);
        let (name, most) = completion.1?.map_or((plain_name, plain), |most| (completion.0, Some(most)));
        let most = match most {
            // Other servers take a negative number for none.
            None | Some(..0) => max_tokens,
            Some(0) => {
                return Err(Failure::request(name, format!("'{name}' is 0; a request takes at least one token")));
            }
            Some(most) => u32::try_from(most).unwrap_or(u32::MAX),
        };
        let temperature = fields.take("temperature")?;
        // The best token every time, whatever else is recommended.
        let own = if temperature == Some(0.0) { &SamplerOptions::default() } else { own };
        let seed = fields.take::<i64>("seed")?.map_or_else(model::new_seed, |seed| seed as u64);
        let sampler = SamplerOptions::default()
            .temperature(temperature.unwrap_or(own.temperature))
            .top_k(fields.take::<i64>("top_k")?.map_or(own.top_k, |top_k| usize::try_from(top_k).unwrap_or(0)))
            .top_p(fields.take("top_p")?.unwrap_or(own.top_p))
            .min_p(fields.take("min_p")?.unwrap_or(own.min_p))
            .repetition_penalty(fields.take("repetition_penalty")?.unwrap_or(own.repetition_penalty))
            .presence_penalty(fields.take("presence_penalty")?.unwrap_or(own.presence_penalty))
            .frequency_penalty(fields.take("frequency_penalty")?.unwrap_or(own.frequency_penalty))
            .logit_bias(fields.take("logit_bias")?.unwrap_or_default());
        sampler.validate()?;
        let stop = match fields.take("stop")? {
            None => Vec::new(),
            Some(Stop::One(text)) => vec![text],
            Some(Stop::Many(texts)) => texts,
        };
        let stop_bytes: usize = stop.iter().map(String::len).sum();
        if stop.len() > MOST_STOPS || stop_bytes > MOST_STOP_BYTES {
            let most = format!("up to {MOST_STOPS} texts, of {MOST_STOP_BYTES} bytes in all");
            return Err(Failure::request("stop", format!("'stop' has {} texts; it may have {most}", stop.len())));
        }
        let ignore_eos = fields.take("ignore_eos")?.unwrap_or(false);
        let answers = fields.take("n")?.unwrap_or(1);
        if !(1..=MOST_ANSWERS).contains(&answers) {
            return Err(Failure::request(
                "n",
                format!("'n' is {answers}; 1 to {MOST_ANSWERS} answers can be asked for"),
            ));
        }
        let options = GenerateOptions::default().max_tokens(most).stop(stop).ignore_eos(ignore_eos);
        // Each answer draws numbers of its own; the first one those that it draws alone.
        let of = |answer: u32| options.clone().sampler(sampler.clone().seed(seed.wrapping_add(u64::from(answer))));
        let stream_usage = fields.take::<StreamOptions>("stream_options")?.unwrap_or_default().include_usage;
        let stream = fields.take("stream")?.unwrap_or(false);
        Ok(Self { options: (0..answers).map(of).collect(), stream, stream_usage })
    }

    /// Asks for how likely each token was, and so many of the most likely ones. `field` says how many.
    pub fn tell_logprobs(&mut self, field: &str, top: usize) -> Result<(), Failure> {
        if top > MOST_LOGPROBS {
            return Err(Failure::request(field, format!("'{field}' is {top}; up to {MOST_LOGPROBS} can be told")));
        }
        self.options.iter_mut().for_each(|options| options.logprobs = Some(top));
        Ok(())
    }
}
