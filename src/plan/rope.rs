//! Rotary position embeddings: every kind of scaling ends as a list of inverse frequencies and one factor.
//!
//! The arithmetic follows the reference implementation step by step in f32, so that frequencies agree to the last bits.

use serde_json::Value;

use super::fields::Fields;
use super::harmless::ROPE;
use super::{RopeSpec, Temperature};
use crate::{Error, ErrorKind, Result};

/// What the config says elsewhere and scaling needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct RopeContext {
    /// Values of a head that rotate: twice the pairs.
    pub rotary_dim: u32,
    /// The same of layers with a window.
    pub local_rotary_dim: u32,
    /// Those are whole heads: where fewer values rotate, the others are pairs that stand still.
    pub whole_heads: bool,
    pub max_positions: u32,
    /// Base of the frequencies, where the scaling's own object has none.
    pub theta: f64,
    /// Base of the frequencies of layers with a window, where they have their own.
    pub local_theta: Option<f64>,
}

/// The tables of a config: `rope_parameters` of transformers 5 (with `rope_theta` inside), or `rope_scaling` beside
/// `rope_theta`. Where layers with a window have their own, it comes second. `original` says that the trained positions
/// may stand beside the scaling, as LongRoPE has them.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for an unknown type, [`ErrorKind::Missing`] and [`ErrorKind::Malformed`] naming the field.
pub(super) fn rope_specs(config: &Fields<'_>, context: RopeContext, original: bool) -> Result<Vec<RopeSpec>> {
    let specs = unchecked(config, context, original)?;
    match specs.iter().all(has_angles) {
        true => Ok(specs),
        false => {
            let message = "rope_theta and the rope scaling come to rotations that are no finite numbers";
            Err(Error::new(ErrorKind::Malformed, message).file("config.json"))
        }
    }
}

/// Whether each position that can be has angles.
fn has_angles(spec: &RopeSpec) -> bool {
    let long = spec.long.iter().flat_map(|(_, frequencies)| frequencies);
    let mut frequencies = spec.inverse_frequencies.iter().chain(long);
    spec.attention_factor.is_finite() && frequencies.all(|frequency| (frequency * u32::MAX as f32).is_finite())
}

/// The same, whatever numbers come of it.
fn unchecked(config: &Fields<'_>, context: RopeContext, original: bool) -> Result<Vec<RopeSpec>> {
    let original = if original { config.count("original_max_position_embeddings", u32::MAX)? } else { None };
    // transformers reads the new spelling first, and old files never have it.
    let old = config.get("rope_scaling");
    let new = config.get("rope_parameters");
    let (value, name) = if new.is_some() { (new, "rope_parameters") } else { (old, "rope_scaling") };
    let of_windows = |theta| RopeContext { theta, rotary_dim: context.local_rotary_dim, ..context };
    if let Some((full, windowed)) =
        value.and_then(|value| value.get("full_attention").zip(value.get("sliding_attention")))
    {
        let local = of_windows(context.local_theta.unwrap_or(context.theta));
        let all = config.inside(value.unwrap_or(full), name)?;
        let kind = |value, kind, context| scaled(&all.inside(value, kind)?, context, original);
        return Ok(vec![kind(full, "full_attention", context)?, kind(windowed, "sliding_attention", local)?]);
    }
    let mut specs = vec![match value {
        Some(value) => scaled(&config.inside(value, name)?, context, original)?,
        None => plain(context.theta, context.rotary_dim),
    }];
    specs.extend(context.local_theta.map(|theta| plain(theta, context.local_rotary_dim)));
    Ok(specs)
}

/// Ministral 3: queries grow with the position, in steps of the positions that were trained first.
///
/// # Errors
/// [`ErrorKind::Missing`] and [`ErrorKind::Malformed`] naming the field.
pub(super) fn scaling_temperature(config: &Fields<'_>) -> Result<Option<Temperature>> {
    let Some(scaling) = config.get("rope_parameters").or_else(|| config.get("rope_scaling")) else { return Ok(None) };
    let scaling = Fields::new(scaling, "config.json: rope scaling")?;
    let Some(strength) = scaling.positive("llama_4_scaling_beta")? else { return Ok(None) };
    let positions = scaling.needed_count("original_max_position_embeddings", u32::MAX)?;
    Ok(Some(Temperature { positions, strength: strength as f32, ahead: 0 }))
}

/// Whether the reference's base grows with positions past the first ones, which no table of a plan does.
pub(super) fn base_grows(config: &Fields<'_>) -> bool {
    let scaling = config.get("rope_parameters").or_else(|| config.get("rope_scaling"));
    let kind = scaling.and_then(|scaling| scaling.get("rope_type").or_else(|| scaling.get("type")));
    kind.and_then(Value::as_str) == Some("dynamic")
}

fn scaled(scaling: &Fields<'_>, context: RopeContext, original: Option<u32>) -> Result<RopeSpec> {
    let theta = scaling.positive("rope_theta")?.unwrap_or(context.theta);
    // Both keys may stand there; they say the same.
    let old_kind = scaling.text("type")?;
    let kind = scaling.text("rope_type")?.or(old_kind).unwrap_or("default");
    let base = plain(theta, context.rotary_dim);
    let spec = match kind {
        // Text has the same position in each of the sections that "mrope" cuts a head into.
        "default" | "mrope" => Ok(base),
        "proportional" if context.whole_heads => proportional(scaling, base),
        other if context.whole_heads => Err(unknown(scaling, other)),
        // The base grows only past the positions that the plan allows.
        // With a strength it is another base, the same everywhere.
        "dynamic" if scaling.get("alpha").is_some() => ntk(scaling, theta, context.rotary_dim),
        "dynamic" => needed(scaling, "factor").map(|_| base),
        "linear" => linear(scaling, base),
        "llama3" => llama3(scaling, base),
        "yarn" => yarn(scaling, base, theta, context),
        "longrope" | "su" => longrope(scaling, base, context, original),
        "factors" => factors(scaling, base),
        other => Err(unknown(scaling, other)),
    }?;
    // Read elsewhere: see `scaling_temperature`.
    scaling.note_others(&[ROPE, &["llama_4_scaling_beta"]]);
    Ok(spec)
}

fn unknown(scaling: &Fields<'_>, kind: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("rope type '{kind}' is not known")).file(scaling.place())
}

/// Gemma 4: of all pairs of a head the first ones rotate, as if all did.
fn proportional(fields: &Fields<'_>, mut spec: RopeSpec) -> Result<RopeSpec> {
    let part = fields.positive("partial_rotary_factor")?.unwrap_or(1.0);
    let factor = fields.positive("factor")?.unwrap_or(1.0) as f32;
    let pairs = spec.inverse_frequencies.len();
    if part > 1.0 {
        return Err(fields.wrong("partial_rotary_factor", format_args!("is {part}; at most 1 is needed")));
    }
    let rotating = (part * (2 * pairs) as f64 / 2.0).floor() as usize;
    spec.inverse_frequencies[rotating..].fill(0.0);
    spec.inverse_frequencies.iter_mut().for_each(|frequency| *frequency /= factor);
    Ok(spec)
}

/// `1 / theta^(2i / dim)`.
fn plain(theta: f64, rotary_dim: u32) -> RopeSpec {
    let theta = theta as f32;
    let exponent = |pair: u32| (2 * pair) as f32 / rotary_dim as f32;
    let inverse_frequencies = (0..rotary_dim / 2).map(|pair| 1.0 / theta.powf(exponent(pair))).collect();
    RopeSpec { inverse_frequencies, long: None, attention_factor: 1.0, temperature: None }
}

/// NTK-aware scaling with a fixed strength, as Hunyuan has it: the base grows with `alpha`, and nothing else counts.
fn ntk(fields: &Fields<'_>, theta: f64, rotary_dim: u32) -> Result<RopeSpec> {
    let alpha = needed(fields, "alpha")?;
    for beside in ["factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"] {
        fields.get(beside);
    }
    let dim = f64::from(rotary_dim);
    Ok(plain(theta * alpha.powf(dim / (dim - 2.0)), rotary_dim))
}

fn needed(fields: &Fields<'_>, name: &str) -> Result<f64> {
    let missing =
        || Error::new(ErrorKind::Missing, format!("rope scaling needs the field '{name}'")).file("config.json");
    fields.positive(name)?.ok_or_else(missing)
}

/// Position interpolation (Chen et al. 2023): all positions shrink by one factor.
fn linear(fields: &Fields<'_>, mut spec: RopeSpec) -> Result<RopeSpec> {
    let factor = needed(fields, "factor")? as f32;
    spec.inverse_frequencies.iter_mut().for_each(|frequency| *frequency /= factor);
    Ok(spec)
}

/// Llama 3.1: long waves shrink by the factor, short ones stay, those between are blended.
fn llama3(fields: &Fields<'_>, mut spec: RopeSpec) -> Result<RopeSpec> {
    let factor = needed(fields, "factor")? as f32;
    let low = needed(fields, "low_freq_factor")? as f32;
    let high = needed(fields, "high_freq_factor")? as f32;
    let original = needed(fields, "original_max_position_embeddings")? as f32;
    if high < low {
        return Err(fields.wrong("high_freq_factor", "must not be below low_freq_factor"));
    }
    for frequency in &mut spec.inverse_frequencies {
        let wavelength = std::f32::consts::TAU / *frequency;
        if wavelength > original / low {
            *frequency /= factor;
        } else if wavelength >= original / high && high > low {
            let smooth = (original / wavelength - low) / (high - low);
            *frequency = (1.0 - smooth) * *frequency / factor + smooth * *frequency;
        }
    }
    Ok(spec)
}

/// YaRN (Peng et al. 2023): a ramp between interpolated and plain frequencies, and a factor on attention.
fn yarn(fields: &Fields<'_>, spec: RopeSpec, theta: f64, context: RopeContext) -> Result<RopeSpec> {
    let own_original = fields.count("original_max_position_embeddings", u32::MAX)?;
    let original = f64::from(own_original.unwrap_or(context.max_positions));
    let given = fields.positive("factor")?;
    let factor = match given {
        Some(factor) => factor,
        None if own_original.is_some() => f64::from(context.max_positions) / original,
        None => needed(fields, "factor")?,
    };
    let (mscale, mscale_all) = (fields.positive("mscale")?, fields.positive("mscale_all_dim")?);
    let strength = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
    let attention_factor = match (fields.positive("attention_factor")?, mscale, mscale_all) {
        (Some(given), ..) => given,
        (None, Some(mscale), Some(all)) => strength(mscale) / strength(all),
        _ => strength(1.0),
    };
    let fast = fields.positive("beta_fast")?.unwrap_or(32.0);
    let slow = fields.positive("beta_slow")?.unwrap_or(1.0);
    let truncate = fields.truth("truncate")?.unwrap_or(true);
    let dim = f64::from(context.rotary_dim);
    // The pair whose wave turns `rotations` times over the original length.
    let pair_of = |rotations: f64| dim * (original / (rotations * std::f64::consts::TAU)).ln() / (2.0 * theta.ln());
    let (mut low, mut high) = (pair_of(fast), pair_of(slow));
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, mut high) = (low.max(0.0), high.min(dim - 1.0));
    if low == high {
        high += 0.001;
    }
    let blend = |(pair, plain): (usize, &f32)| {
        let ramp = ((pair as f32 - low as f32) / (high as f32 - low as f32)).clamp(0.0, 1.0);
        let keep = 1.0 - ramp;
        // As the reference has it: 1 / (factor * wave) rather than frequency / factor.
        let interpolated = 1.0 / (factor as f32 * (1.0 / plain));
        interpolated * (1.0 - keep) + plain * keep
    };
    let inverse_frequencies = spec.inverse_frequencies.iter().enumerate().map(blend).collect();
    Ok(RopeSpec { inverse_frequencies, long: None, attention_factor: attention_factor as f32, temperature: None })
}

/// LongRoPE (Ding et al. 2024): a divisor for each pair, one list for contexts as long as the trained ones, another for
/// longer ones.
fn longrope(fields: &Fields<'_>, spec: RopeSpec, context: RopeContext, beside: Option<u32>) -> Result<RopeSpec> {
    let inside = fields.count("original_max_position_embeddings", u32::MAX)?;
    let own = inside.or(beside);
    let original = own.unwrap_or(context.max_positions);
    let given = fields.positive("factor")?;
    let factor = match own {
        Some(original) => f64::from(context.max_positions) / f64::from(original),
        None => given.unwrap_or(1.0),
    };
    let grown = || if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / f64::from(original).ln()).sqrt() };
    let attention_factor = fields.positive("attention_factor")?.unwrap_or_else(grown) as f32;
    let divided = |name: &str| {
        let mut frequencies = spec.inverse_frequencies.clone();
        divide(fields, name, &mut frequencies).map(|()| frequencies)
    };
    let (short, long) = (divided("short_factor")?, divided("long_factor")?);
    Ok(RopeSpec { inverse_frequencies: short, long: Some((original, long)), attention_factor, temperature: None })
}

/// GGUF's `rope_freqs` tensor: a divisor for each pair.
fn factors(fields: &Fields<'_>, mut spec: RopeSpec) -> Result<RopeSpec> {
    divide(fields, "factors", &mut spec.inverse_frequencies)?;
    Ok(spec)
}

fn divide(fields: &Fields<'_>, name: &str, frequencies: &mut [f32]) -> Result<()> {
    let list = fields.get(name).and_then(Value::as_array);
    let list = list.ok_or_else(|| fields.wrong(name, "must be a list of numbers"))?;
    if list.len() != frequencies.len() {
        let message = format!("has {} numbers for {} pairs", list.len(), frequencies.len());
        return Err(fields.wrong(name, message));
    }
    for (frequency, factor) in frequencies.iter_mut().zip(list) {
        let factor = factor.as_f64().filter(|factor| factor.is_finite() && *factor > 0.0);
        *frequency /= factor.ok_or_else(|| fields.wrong(name, "must hold numbers above 0"))? as f32;
    }
    Ok(())
}
