//! RoPE scaling: from GGUF's keys and tensor to the config's `rope_scaling`.

use serde_json::{Map, Value, json};

use super::architecture::{LONG_FACTORS, ROPE_FACTORS, SHORT_FACTORS};
use super::metadata::Metadata;
use super::{Header, TensorInfo};
use crate::checkpoint::read::read_range;
use crate::encoding::{Encoding, plain};
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

/// Heads of more values than this do not exist; it bounds the read of the factors.
const HEAD_DIM_CAP: u64 = 1 << 16;

/// Factors that divide the frequencies, `[rotated / 2]` each.
#[derive(Debug, Default)]
pub(super) struct Factors {
    /// For all contexts.
    all: Option<Vec<f32>>,
    /// LongRoPE's, for contexts within the trained one and beyond it.
    short_long: Option<(Vec<f32>, Vec<f32>)>,
}

/// Reads the factors that the file has, for heads of which `rotated` values rotate.
///
/// # Errors
/// [`ErrorKind::Malformed`] for another shape, type, or a factor that is not positive; [`ErrorKind::Missing`] for one of
/// LongRoPE's without the other; the store's.
pub(super) async fn read_factors(
    store: &dyn Store,
    files: &[(String, u64)],
    header: &Header,
    rotated: u64,
) -> Result<Factors> {
    let all = read_tensor(store, files, header, rotated, ROPE_FACTORS).await?;
    let short = read_tensor(store, files, header, rotated, SHORT_FACTORS).await?;
    let long = read_tensor(store, files, header, rotated, LONG_FACTORS).await?;
    let missing = |name: &str| {
        let error = Error::new(ErrorKind::Missing, "this tensor is missing").file(store.describe(&files[0].0));
        error.tensor(name).remedy("convert the model again")
    };
    let short_long = match (short, long) {
        (None, None) => None,
        (Some(short), Some(long)) => Some((short, long)),
        (None, Some(_)) => return Err(missing(SHORT_FACTORS)),
        (Some(_), None) => return Err(missing(LONG_FACTORS)),
    };
    Ok(Factors { all, short_long })
}

async fn read_tensor(
    store: &dyn Store,
    files: &[(String, u64)],
    header: &Header,
    rotated: u64,
    name: &'static str,
) -> Result<Option<Vec<f32>>> {
    let Some(tensor) = header.tensors.iter().find(|tensor| tensor.name == name) else { return Ok(None) };
    let file = &files[tensor.file].0;
    let named = |error: Error| error.file(store.describe(file)).tensor(name);
    check_factors(tensor, rotated).map_err(named)?;
    let bytes = read_range(store, file, tensor.offset_bytes, tensor.len_bytes).await?;
    let mut factors = vec![0.0; (rotated / 2) as usize];
    plain::widen(Encoding::F32, &bytes, &mut factors).map_err(named)?;
    if let Some(bad) = factors.iter().find(|factor| !(factor.is_finite() && **factor > 0.0)) {
        return Err(named(Error::new(ErrorKind::Malformed, format!("the factor {bad} is not positive"))));
    }
    Ok(Some(factors))
}

fn check_factors(tensor: &TensorInfo, rotated: u64) -> Result<()> {
    if rotated > HEAD_DIM_CAP {
        return Err(Error::new(ErrorKind::Malformed, format!("a head of {rotated} values is too large")));
    }
    if tensor.encoding != Encoding::F32 || tensor.shape != [rotated / 2] {
        let message = format!("{} {:?} where f32 [{}] is needed", tensor.encoding.name(), tensor.shape, rotated / 2);
        return Err(Error::new(ErrorKind::Malformed, message));
    }
    Ok(())
}

fn list(factors: &[f32]) -> Vec<f64> {
    factors.iter().map(|factor| f64::from(*factor)).collect()
}

/// The config's `rope_scaling`, or `None` for plain RoPE. `prefix` is the architecture's name.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a scaling or a parameter that Tilestream does not know, [`ErrorKind::Malformed`] for
/// numbers that make no sense.
pub(super) fn scaling(metadata: &Metadata, prefix: &str, factors: &Factors) -> Result<Option<Value>> {
    let keys = Keys { metadata, prefix };
    let linear = keys.factor("rope.scale_linear")?;
    let kind = match metadata.string(&keys.name("rope.scaling.type"))? {
        Some("none") => None,
        // Before the type had a key of its own, a scale meant linear.
        None => linear.map(|_| "linear"),
        kind => kind,
    };
    match (kind, &factors.all, &factors.short_long) {
        (None, None, None) => Ok(None),
        (None, Some(factors), None) => Ok(Some(json!({ "rope_type": "factors", "factors": list(factors) }))),
        (None | Some("longrope"), None, Some((short, long))) => {
            let attention = keys.factor("rope.scaling.attn_factor")?.unwrap_or(1.0);
            let (short, long) = (list(short), list(long));
            Ok(Some(json!({
                "rope_type": "longrope", "short_factor": short, "long_factor": long, "attention_factor": attention,
            })))
        }
        (Some("linear"), None, None) => {
            let factor = keys.factor("rope.scaling.factor")?.or(linear).unwrap_or(1.0);
            Ok(Some(json!({ "rope_type": "linear", "factor": factor })))
        }
        (Some("yarn"), None, None) => keys.yarn().map(Some),
        (Some(kind), None, None) => {
            Err(Error::new(ErrorKind::Unsupported, format!("the RoPE scaling '{kind}' is not supported")))
        }
        (kind, ..) => {
            let kind = kind.unwrap_or("none");
            let tensors = "the RoPE factors that the file has as tensors";
            let message = format!("the RoPE scaling '{kind}' together with {tensors} is not supported");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
    }
}

struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'a str,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn f64(&self, key: &str) -> Result<Option<f64>> {
        self.metadata.f64(&self.name(key))
    }

    /// A factor that is positive; GGUF writes 0 for one that is not set.
    fn factor(&self, key: &str) -> Result<Option<f64>> {
        let factor = self.f64(key)?.filter(|factor| *factor != 0.0);
        if factor.is_some_and(|factor| factor < 0.0) {
            return Err(Error::new(ErrorKind::Malformed, format!("'{}' is negative", self.name(key))));
        }
        Ok(factor)
    }

    /// YaRN (<https://arxiv.org/abs/2309.00071>).
    ///
    /// `yarn_attn_factor` is Hugging Face's `attention_factor`, which takes the place of YaRN's own `0.1 ln(factor) + 1`;
    /// `attn_factor` is multiplied with either.
    fn yarn(&self) -> Result<Value> {
        if self.f64("rope.scaling.yarn_ext_factor")?.is_some_and(|factor| factor != 1.0 && factor >= 0.0) {
            let message = format!("'{}' other than 1 is not supported", self.name("rope.scaling.yarn_ext_factor"));
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let factor = self.factor("rope.scaling.factor")?.unwrap_or(1.0);
        let mut fields = Map::new();
        fields.insert("rope_type".into(), "yarn".into());
        fields.insert("factor".into(), factor.into());
        let original = self.metadata.u64(&self.name("rope.scaling.original_context_length"))?;
        let original = match original {
            None => self.metadata.u64(&self.name("context_length"))?,
            original => original,
        };
        if let Some(original) = original {
            fields.insert("original_max_position_embeddings".into(), original.into());
        }
        for key in ["beta_fast", "beta_slow"] {
            if let Some(beta) = self.factor(&format!("rope.scaling.yarn_{key}"))? {
                fields.insert(key.into(), beta.into());
            }
        }
        // The converter writes a tenth of `mscale_all_dim`. llama.cpp takes `mscale` for the same, as it is where published.
        let grown = self.factor("rope.scaling.yarn_log_multiplier")?;
        if let Some(mscale) = grown.map(|tenth| 10.0 * tenth) {
            fields.insert("mscale".into(), mscale.into());
            fields.insert("mscale_all_dim".into(), mscale.into());
        }
        let whole = self.factor("rope.scaling.yarn_attn_factor")?;
        let more = self.factor("rope.scaling.attn_factor")?.filter(|factor| *factor != 1.0);
        if (whole.is_some() || more.is_some()) && grown.is_some() {
            let message = "YaRN's log multiplier together with an attention factor is not supported";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if whole.is_some() || more.is_some() {
            let whole = whole.unwrap_or_else(|| 0.1 * factor.ln() + 1.0);
            fields.insert("attention_factor".into(), (whole * more.unwrap_or(1.0)).into());
        }
        Ok(Value::Object(fields))
    }
}
