//! Tokens that `tokenizer_config.json` lists or names, beside those of `tokenizer.json`: the turn marks of a fine-tune often
//! stand only there.
//!
//! As transformers adds them (`TokenizersBackend.__init__`): the list first, in the order of its ids, then each named token
//! that is not there yet. One that is no word of the vocabulary gets the next free id, whatever id the list has.

use std::collections::HashMap;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::stop::token_text;
use super::tokenizer_check::{MOST_IDS, check_added_size};
use crate::{Error, ErrorKind, Result};

const FILE: &str = "tokenizer_config.json";
const LISTED: &str = "added_tokens_decoder";
/// Names that come first, in this order.
const NAMED: &[&str] = &["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// A list of more, or more by name; the older name counts where the newer one is not there.
const MORE: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];

/// What a config says of tokens.
pub(super) struct Listed {
    listed: Vec<AddedToken>,
    /// Special tokens by name, as objects or texts.
    named: Vec<AddedToken>,
}

impl Listed {
    /// Reads a config; none where it has no list, as the configs that are made for GGUF files.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] for entries that are no tokens with ids, and for more or longer ones than any tokenizer has.
    pub(super) fn read(config: &Value) -> Result<Option<Self>> {
        let (Some(fields), Some(list)) = (config.as_object(), config.get(LISTED).and_then(Value::as_object)) else {
            return Ok(None);
        };
        let mut listed =
            list.iter().map(|(id, token)| Ok((checked_id(id)?, object(token)?))).collect::<Result<Vec<_>>>()?;
        listed.sort_by_key(|(id, _)| *id);
        let listed: Vec<AddedToken> = listed.into_iter().map(|(_, token)| token).collect();
        let named: Vec<AddedToken> = names(fields).filter_map(named).collect();
        let texts = listed.iter().chain(&named).map(|token| token.content.as_str());
        check_added_size(texts).map_err(|error| error.file(FILE))?;
        Ok(Some(Self { listed, named }))
    }

    /// What is to be added to the tokens that are `known`: first those of the list and the new names, then all names again, as
    /// special ones.
    pub(super) fn additions<'a>(
        &self,
        known: impl Iterator<Item = &'a AddedToken>,
    ) -> (Vec<AddedToken>, Vec<AddedToken>) {
        let mut known: HashMap<&str, &AddedToken> = known.map(|token| (token.content.as_str(), token)).collect();
        let is_named = |token: &AddedToken| self.named.iter().any(|named| named.content == token.content);
        let mut first = Vec::new();
        for token in &self.listed {
            let mut token = token.clone();
            // Where a text is normalized is for `tokenizer.json` to say, which knows the normalizer.
            token.normalized = known.get(token.content.as_str()).map_or(token.normalized, |known| known.normalized);
            token.special |= is_named(&token);
            if known.get(token.content.as_str()).is_none_or(|known| !same(known, &token)) {
                first.push(token);
            }
        }
        known.extend(self.listed.iter().map(|token| (token.content.as_str(), token)));
        let mut special = Vec::new();
        for named in &self.named {
            let found = known.get(named.content.as_str());
            let token = AddedToken { special: true, ..found.map_or(named, |found| *found).clone() };
            if found.is_none() && !first.iter().any(|other| other.content == token.content) {
                first.push(token.clone());
            }
            special.push(token);
        }
        (first, special)
    }
}

fn same(a: &AddedToken, b: &AddedToken) -> bool {
    let flags = |t: &AddedToken| [t.single_word, t.lstrip, t.rstrip, t.normalized, t.special];
    a.content == b.content && flags(a) == flags(b)
}

fn wrong(what: String) -> Error {
    Error::new(ErrorKind::Text, format!("{LISTED}: {what}")).file(FILE).remedy("get the tokenizer's files again")
}

fn checked_id(id: &str) -> Result<u64> {
    id.parse().ok().filter(|id| *id < MOST_IDS).ok_or_else(|| wrong(format!("{id:?} is no id below {MOST_IDS}")))
}

/// A token with its flags.
fn object(token: &Value) -> Result<AddedToken> {
    let content = token_text(token).filter(|_| token.is_object());
    let content = content.ok_or_else(|| wrong(format!("{token} is no token")))?;
    let flag = |name: &str| token.get(name).and_then(Value::as_bool);
    let special = flag("special").unwrap_or(false);
    Ok(AddedToken {
        content: content.to_owned(),
        single_word: flag("single_word").unwrap_or(false),
        lstrip: flag("lstrip").unwrap_or(false),
        rstrip: flag("rstrip").unwrap_or(false),
        normalized: flag("normalized").unwrap_or(!special),
        special,
    })
}

/// A special token, as an object or a text.
fn named(token: &Value) -> Option<AddedToken> {
    let text = token_text(token).filter(|text| !text.is_empty())?;
    let plain = || AddedToken::from(text.to_owned(), true);
    Some(AddedToken { special: true, ..object(token).unwrap_or_else(|_| plain()) })
}

/// The values that name special tokens.
fn names(fields: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let first = NAMED.iter().filter_map(|name| fields.get(*name));
    let own = fields.iter().filter(|(name, _)| name.ends_with("_token") && !NAMED.contains(&name.as_str()));
    let more = MORE.iter().find_map(|name| fields.get(*name).filter(|more| !more.is_null()));
    let list = more.and_then(Value::as_array).into_iter().flatten();
    let by_name = more.and_then(Value::as_object).into_iter().flat_map(Map::values);
    first.chain(own.map(|(_, value)| value)).chain(by_name).chain(list)
}

#[cfg(test)]
#[path = "added_tokens_tests.rs"]
mod tests;
