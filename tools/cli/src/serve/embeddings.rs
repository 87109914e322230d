//! `/v1/embeddings` and `/api/embed`: a vector of length one for each text.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Server;
use super::asked::Fields;
use super::failure::Failure;
use super::texts::Given;

/// Texts in one request at most, as in OpenAI's API.
const MOST_TEXTS: usize = 2048;

/// How the numbers are written.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Written {
    #[default]
    Float,
    /// f32, little-endian.
    Base64,
}

impl Written {
    fn vector(self, vector: &[f32]) -> Value {
        match self {
            Self::Float => vector.into(),
            Self::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                BASE64_STANDARD.encode(bytes).into()
            }
        }
    }
}

/// OpenAI's way.
pub async fn create(State(server): State<Arc<Server>>, request: Request<Body>) -> Result<Json<Value>, Failure> {
    let mut fields = Fields::read(&server, request).await?;
    let name = server.take_name(&mut fields)?;
    let written: Written = fields.take("encoding_format")?.unwrap_or_default();
    let Vectors { vectors, tokens } = Vectors::make(&server, fields, false).await?;
    let one = |(index, vector): (usize, &Vec<f32>)| json!({ "object": "embedding", "index": index, "embedding": written.vector(vector) });
    let data: Vec<_> = vectors.iter().enumerate().map(one).collect();
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    Ok(Json(json!({ "object": "list", "data": data, "model": name, "usage": usage })))
}

/// Ollama's way: what is too long is cut, unless the request says otherwise.
pub async fn embed(State(server): State<Arc<Server>>, request: Request<Body>) -> Result<Json<Value>, Failure> {
    let asked = Instant::now();
    let mut fields = Fields::read(&server, request).await?;
    let name = super::ollama::take_name(&server, &mut fields)?;
    let cuts = fields.take("truncate")?.unwrap_or(true);
    let Vectors { vectors, tokens } = Vectors::make(&server, fields, cuts).await?;
    let total = u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Ok(Json(json!({
        "model": name, "embeddings": vectors, "total_duration": total, "load_duration": 0, "prompt_eval_count": tokens,
    })))
}

/// Vectors of length one, and the tokens of their texts.
struct Vectors {
    vectors: Vec<Vec<f32>>,
    tokens: usize,
}

impl Vectors {
    async fn make(server: &Arc<Server>, mut fields: Fields, cuts: bool) -> Result<Self, Failure> {
        let given: Given = fields.need("input")?;
        let dimensions: Option<usize> = fields.take("dimensions")?;
        let hidden = server.handle.files().spec().hidden as usize;
        if let Some(asked) = dimensions.filter(|asked| !(1..=hidden).contains(asked)) {
            let message = format!("'dimensions' is {asked}; the vectors of this model have {hidden} numbers");
            return Err(Failure::request("dimensions", message));
        }
        let _held = fields.end()?;
        let count = given.count();
        if !(1..=MOST_TEXTS).contains(&count) {
            return Err(Failure::request("input", format!("{count} texts; 1 to {MOST_TEXTS} can be given")));
        }
        let texts = server.in_background(move |server| server.texts_to_embed(given, cuts)).await?;
        let tokens = texts.iter().map(Vec::len).sum();
        let mut vectors = server.read_each(texts, |ids| server.handle.embed(ids, server.pooling)).await?;
        for vector in &mut vectors {
            vector.truncate(dimensions.unwrap_or(hidden));
            normalize(vector);
        }
        Ok(Self { vectors, tokens })
    }
}

impl Server {
    /// What `read` gives for each of these texts, in their order; as many of them are read at once as share sweeps.
    pub async fn read_each<F: Future<Output = tilestream::Result<Vec<f32>>>>(
        &self,
        texts: Vec<Vec<u32>>,
        read: impl Fn(Vec<u32>) -> F,
    ) -> Result<Vec<Vec<f32>>, Failure> {
        let at_once = texts.len().min(self.parallel);
        let _places = self.take_places(at_once)?;
        let _counting = self.counters.begin(texts.iter().map(Vec::len).sum());
        Ok(stream::iter(texts).map(read).buffered(at_once).try_collect().await?)
    }

    /// The ids of texts; `cuts`: those that are too long are cut, in front of what the tokenizer ends them with.
    fn texts_to_embed(&self, given: Given, cuts: bool) -> Result<Vec<Vec<u32>>, Failure> {
        let mut texts: Vec<Vec<u32>> = self.plain_prompts(given)?.into_iter().map(|(_, ids)| ids).collect();
        let most = self.positions as usize - 1;
        for ids in &mut texts {
            if let Some(last) = ids.last().copied().filter(|_| cuts && ids.len() > most) {
                ids.truncate(most - 1);
                ids.push(last);
            }
            if ids.is_empty() {
                return Err(Failure::request("input", "a text has no token"));
            }
            self.check_ids(ids)?;
        }
        Ok(texts)
    }
}

/// Gives a vector the length one, unless it is zero.
fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_the_length_one() {
        let mut vector = [3.0, 0.0, -4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, 0.0, -0.8]);
        let mut nothing = [0.0; 2];
        normalize(&mut nothing);
        assert_eq!(nothing, [0.0; 2]);
    }

    #[test]
    fn numbers_are_written_as_bytes() {
        assert_eq!(Written::Base64.vector(&[1.0, -2.0]), "AACAPwAAAMA=");
    }
}
