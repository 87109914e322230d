//! Files beside a tokenizer that list tokens, from before `tokenizer_config.json` did: `added_tokens.json` and
//! `special_tokens_map.json`. As transformers reads them (`PreTrainedTokenizerBase._from_pretrained`), they count only where
//! the config has no `added_tokens_decoder`, and the map then goes before the config.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::read::json_if_there;
use crate::Result;
use crate::store::Store;

/// What the config calls its list: tokens by id.
pub(super) const LISTED: &str = "added_tokens_decoder";
/// More special tokens, by the newer name and the older one.
const MORE: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];

/// The config with what the older files say. One without tokens gets an empty list: all that there is to know has been read.
///
/// # Errors
/// Those of reading the files.
pub(super) async fn merged(store: &dyn Store, config: Option<Value>) -> Result<Option<Value>> {
    if config.as_ref().is_some_and(|config| config.get(LISTED).is_some_and(Value::is_object) || !config.is_object()) {
        return Ok(config);
    }
    let special = json_if_there(store, "special_tokens_map.json").await?;
    let added = json_if_there(store, "added_tokens.json").await?;
    if config.is_none() && special.is_none() && added.is_none() {
        return Ok(None);
    }
    let mut fields = match config {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    if let Some(Value::Object(special)) = special {
        special.into_iter().for_each(|(name, value)| put_special(&mut fields, name, value));
    }
    let named = special_texts(&fields);
    let mut listed = Map::new();
    for (text, id) in added.as_ref().and_then(Value::as_object).into_iter().flatten() {
        let special = named.contains(text);
        let flags = json!({
            "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": !special, "special": special,
        });
        listed.insert(id.to_string(), flags);
    }
    fields.insert(LISTED.into(), Value::Object(listed));
    Ok(Some(Value::Object(fields)))
}

/// Lists are joined, everything else takes the place of what the config says.
fn put_special(fields: &mut Map<String, Value>, name: String, value: Value) {
    match (fields.get_mut(&name), value) {
        (Some(Value::Array(known)), Value::Array(more)) => {
            more.into_iter().for_each(|token| {
                if !known.contains(&token) {
                    known.push(token)
                }
            });
        }
        (_, value) => {
            fields.insert(name, value);
        }
    }
}

/// Texts of all tokens that the fields name.
fn special_texts(fields: &Map<String, Value>) -> HashSet<String> {
    let text = |value: &Value| value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned);
    let single = fields.iter().filter(|(name, _)| name.ends_with("_token")).filter_map(|(_, value)| text(value));
    let lists = MORE.iter().filter_map(|name| fields.get(*name)?.as_array()).flatten().filter_map(text);
    single.chain(lists).collect()
}
