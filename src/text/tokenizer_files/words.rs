//! A vocabulary under construction: texts and ids, and which of them are looked for in a text.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use super::super::stop::token_text;
use crate::checkpoint::TokenizerFiles;
use crate::{Error, ErrorKind, Result};

/// The fields of special tokens, in the order in which transformers numbers those that have no id yet.
const SPECIALS: &[&str] = &["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Lists of more, or tokens by name.
const MORE_SPECIALS: &[&str] = &["additional_special_tokens", "extra_special_tokens"];
/// Ids stay below this, as in every tokenizer.
const MOST_IDS: u32 = 1 << 24;

/// A token that is looked for in a text before anything else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Added {
    special: bool,
    normalized: bool,
    lstrip: bool,
    rstrip: bool,
    single_word: bool,
}

impl Added {
    /// Looked for in the text as it is.
    pub(super) const TEXT: Self =
        Self { special: false, normalized: false, lstrip: false, rstrip: false, single_word: false };
    /// No part of the text that is shown.
    pub(super) const SPECIAL: Self = Self { special: true, ..Self::TEXT };
    /// Looked for when the text has been normalized.
    pub(super) const NORMALIZED: Self = Self { normalized: true, ..Self::TEXT };
}

/// Texts and ids, each unique.
#[derive(Debug, Default)]
pub(super) struct Words {
    ids: HashMap<String, u32>,
    texts: BTreeMap<u32, String>,
    added: BTreeMap<u32, Added>,
}

impl Words {
    pub(super) fn new(words: impl IntoIterator<Item = (String, u32)>) -> Self {
        let mut result = Self::default();
        for (text, id) in words {
            result.put(text, id);
        }
        result
    }

    /// Gives an id to a text. What either of them had before goes, and nothing is looked for.
    pub(super) fn put(&mut self, text: String, id: u32) {
        if let Some(old) = self.texts.remove(&id) {
            self.ids.remove(&old);
            self.added.remove(&id);
        }
        if let Some(old) = self.ids.insert(text.clone(), id) {
            self.texts.remove(&old);
            self.added.remove(&old);
        }
        self.texts.insert(id, text);
    }

    /// Looks for a token in texts.
    pub(super) fn look_for(&mut self, id: u32, added: Added) {
        self.added.insert(id, added);
    }

    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    pub(super) fn text(&self, id: u32) -> Option<&str> {
        self.texts.get(&id).map(String::as_str)
    }

    /// One more than the greatest id.
    pub(super) fn next_id(&self) -> u32 {
        self.texts.last_key_value().map_or(0, |(id, _)| id + 1)
    }

    /// Texts by id, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.texts.iter().map(|(id, text)| (*id, text.as_str()))
    }

    /// Texts of the tokens that are looked for in a normalized text.
    pub(super) fn normalized(&self) -> impl Iterator<Item = &str> {
        self.added.iter().filter(|(_, added)| added.normalized).filter_map(|(id, _)| self.text(*id))
    }

    /// `vocab` of a BPE.
    pub(super) fn to_json(&self) -> Value {
        Value::Object(self.iter().map(|(id, text)| (text.to_owned(), json!(id))).collect())
    }

    /// `added_tokens`.
    pub(super) fn added_json(&self) -> Vec<Value> {
        let entry = |(id, added): (&u32, &Added)| {
            let content = self.text(*id)?;
            Some(json!({
                "id": id, "content": content, "single_word": added.single_word, "lstrip": added.lstrip,
                "rstrip": added.rstrip, "normalized": added.normalized, "special": added.special,
            }))
        };
        self.added.iter().filter_map(entry).collect()
    }

    /// Takes over what the files beside a vocabulary list, as transformers does: `added_tokens_decoder` of
    /// `tokenizer_config.json`, or `added_tokens.json` of before that was; then the special tokens, of which those without
    /// an id get the next ones. All are looked for in the text as it is.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for ids that are none.
    pub(super) fn add_listed(&mut self, files: &TokenizerFiles, config: &Value) -> Result<()> {
        let listed = config.get("added_tokens_decoder").filter(|listed| !listed.is_null());
        for (text, id) in object(files.added_tokens.as_ref().filter(|_| listed.is_none())) {
            let id = id.as_u64().and_then(checked_id).ok_or_else(|| wrong_id(text, id))?;
            self.put(text.clone(), id);
            self.look_for(id, Added::TEXT);
        }
        for (id, token) in object(listed) {
            let wrong = || wrong_id(id, token);
            let number = id.parse().ok().and_then(checked_id).ok_or_else(wrong)?;
            self.put(token_text(token).ok_or_else(wrong)?.to_owned(), number);
            self.look_for(number, flags(token));
        }
        let no_tokens = Value::Null;
        let older = files.special_tokens.as_ref().filter(|_| listed.is_none());
        for source in [config, older.unwrap_or(&no_tokens)] {
            for name in SPECIALS {
                self.add_special(source.get(name));
            }
            for more in MORE_SPECIALS.iter().filter_map(|name| source.get(name)) {
                more.as_array().into_iter().flatten().for_each(|token| self.add_special(Some(token)));
                object(Some(more)).for_each(|(_, token)| self.add_special(Some(token)));
            }
        }
        Ok(())
    }

    fn add_special(&mut self, token: Option<&Value>) {
        let Some(text) = token.and_then(token_text).filter(|text| !text.is_empty()) else { return };
        let id = self.id(text).unwrap_or_else(|| {
            let id = self.next_id();
            self.put(text.to_owned(), id);
            id
        });
        let added = self.added.entry(id).or_insert_with(|| token.map_or(Added::TEXT, flags));
        added.special = true;
        added.normalized = false;
    }
}

/// The fields of an object; of anything else there are none.
fn object(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

fn checked_id(id: u64) -> Option<u32> {
    u32::try_from(id).ok().filter(|id| *id < MOST_IDS)
}

fn wrong_id(text: &str, value: &Value) -> Error {
    let message = format!("the added token {text:?}: {value} is no token with an id below {MOST_IDS}");
    Error::new(ErrorKind::Malformed, message).remedy("get the tokenizer's files again")
}

/// How a token is looked for, of an `AddedToken` object.
fn flags(token: &Value) -> Added {
    let flag = |name: &str| token.get(name).and_then(Value::as_bool).unwrap_or(false);
    Added {
        special: flag("special"),
        normalized: false,
        lstrip: flag("lstrip"),
        rstrip: flag("rstrip"),
        single_word: flag("single_word"),
    }
}
