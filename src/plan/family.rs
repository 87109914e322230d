//! Which row of the table a config belongs to.

use serde_json::{Map, Value, json};

use super::families::{self, Family, When};
use super::fields::Fields;
use super::harmless::{BOOKKEEPING, GENERATION};
use super::shape::Shape;
use crate::words::{Term, Words};
use crate::{Error, ErrorKind, Result};

/// How the names in a body begin that was saved alone.
const BODY: &[&str] = &["layers.", "embed_tokens.", "norm."];

/// The class that a config names.
pub(super) fn class(config: &Value) -> Result<&str> {
    let list = config.get("architectures").and_then(Value::as_array);
    list.and_then(|list| list.first()).and_then(Value::as_str).ok_or_else(|| {
        Error::new(ErrorKind::Missing, "field 'architectures' names no architecture").file("config.json")
    })
}

/// The config of a whole's text part with what the whole says of it, and the field it stands in. `None`: among the whole's
/// own fields, as older files have it.
pub(super) fn text_part(
    whole: &'static families::Whole,
    config: &Value,
    fields: &Fields<'_>,
) -> Result<(Value, Option<&'static str>)> {
    const FIELD: &str = "text_config";
    let nested = fields.get(FIELD);
    let text = match nested {
        Some(text) => fields.inside(text, FIELD)?,
        None if config.get("hidden_size").is_some() => fields.instead(config)?,
        None => return Err(fields.missing(FIELD)),
    };
    let mut merged: Map<String, Value> = serde_json::from_str(whole.defaults).expect("the table holds JSON");
    merged.extend(text.entries());
    if nested.is_some() {
        fields.note_others(&[BOOKKEEPING, GENERATION, whole.harmless()]);
        // The reference ties the head as the whole says.
        if let Some(tied) = fields.get("tie_word_embeddings") {
            merged.insert("tie_word_embeddings".to_owned(), tied.clone());
        }
    }
    Ok((Value::Object(merged), nested.map(|_| FIELD)))
}

/// The refusal of a config whose family is not known.
pub(crate) fn unknown_family(config: &Value) -> Option<Error> {
    let class = class(config).ok()?;
    let refusal = match families::whole(class) {
        Some(whole) => text_family(whole, config.get("text_config")?).err(),
        None => family(class, config).err(),
    };
    refusal.filter(|error| error.kind() == ErrorKind::Unsupported).map(|error| with_nearest(config, error))
}

/// A body that was saved without its head, such as a `Qwen3Model` or `Gemma3TextModel`, is read as the class that puts one on it.
pub(crate) fn settle_class(config: &mut Value) {
    let body = class(config).ok().filter(|class| families::whole(class).is_none());
    let Some(stem) = body.and_then(|class| class.strip_suffix("Model")) else { return };
    let with_head = |stem: &str| {
        Some(format!("{stem}ForCausalLM")).filter(|class| families::families().any(|row| row.class == class))
    };
    if let Some(class) = with_head(stem).or_else(|| with_head(stem.strip_suffix("Text")?)) {
        config["architectures"] = json!([class]);
    }
}

/// Whether a tensor of this name belongs to a body that was saved alone: its names say of no part that it is the body.
pub(crate) fn is_of_body(name: &str) -> bool {
    BODY.iter().any(|start| name.starts_with(start))
}

/// Says in the config of a model that takes more than text whether its head is the embeddings, where it does not say so
/// itself or says both: the reference ties a head only where the checkpoint has none. A body alone has none to say.
pub(crate) fn settle_head(config: &mut Value, has_head: bool, is_body: bool) {
    if is_body && !has_head {
        config["tie_word_embeddings"] = Value::Bool(true);
    }
    if !class(config).is_ok_and(|class| families::whole(class).is_some()) {
        return;
    }
    let said = |place| config.pointer(place).and_then(Value::as_bool);
    let told = match (said("/tie_word_embeddings"), said("/text_config/tie_word_embeddings")) {
        (Some(whole), Some(text)) => whole == text,
        (whole, text) => whole.or(text).is_some(),
    };
    if !told {
        config["tie_word_embeddings"] = Value::Bool(!has_head);
    }
}

/// The row of a whole's text part.
pub(super) fn text_family(whole: &families::Whole, text: &Value) -> Result<&'static Family> {
    let kind = text.get("model_type").and_then(Value::as_str);
    let class = families::text_class(whole, kind).ok_or_else(|| {
        let message =
            format!("the text part of '{}' is '{}', which is not known", whole.class, kind.unwrap_or_default());
        Error::new(ErrorKind::Unsupported, message).file("config.json: text_config")
    })?;
    family(class, text)
}

/// A text without its quotes, or the JSON of another value.
pub(super) fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The row of a class, as far as fields tell rows of one class apart.
pub(super) fn family(class: &str, config: &Value) -> Result<&'static Family> {
    let value = |field: &str| config.get(field).filter(|value| !value.is_null());
    let holds = |(field, when): &(&str, When)| match when {
        When::There => value(field).is_some(),
        When::Absent => value(field).is_none(),
        When::AtLeast(least) => value(field).and_then(Value::as_u64).is_some_and(|number| number >= *least),
        When::Is(expected) => value(field).is_some_and(|value| text_of(value) == *expected),
    };
    let fits = |row: &&Family| row.class == class && row.when.iter().all(holds);
    families::families().find(fits).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, format!("architecture '{class}' is not known")).file("config.json")
    })
}

/// Fields of a config that a message names at most.
const MOST_SHOWN: usize = 8;

/// An error about a class that is not known, with the class whose fields the config's are most like.
pub(super) fn with_nearest(config: &Value, error: Error) -> Error {
    let of_class = |name: &str| families::families().any(|row| row.class == name) || families::whole(name).is_some();
    if !class(config).is_ok_and(|class| !of_class(class)) {
        return error;
    }
    let Some((nearest, unknown)) = nearest(config) else {
        return error.remedy("what is known stands in docs/models.md");
    };
    let differs = match &unknown[..] {
        [] => "which knows all of its fields".to_owned(),
        fields => {
            let more = if fields.len() > MOST_SHOWN { "…" } else { "" };
            let shown = fields.iter().take(MOST_SHOWN).map(|field| format!("'{field}'")).collect::<Vec<_>>().join(", ");
            format!("which does not know {shown}{more}")
        }
    };
    let ignored = if unknown.is_empty() { Words::from("") } else { " and " + Term::IgnoredFields(unknown) };
    let tries = Words::from(format!("its config is most like that of {nearest}, {differs}: "));
    error.remedy(tries + Term::Class(nearest) + ignored + " tries it (look at what it says: it may be wrong)")
}

/// The class under which most fields of a config are known, and those that are not.
fn nearest(config: &Value) -> Option<(&'static str, Vec<String>)> {
    let classes: Vec<&'static str> = match config.get("text_config") {
        Some(_) => families::classes().collect(),
        None => families::families().map(|row| row.class).collect(),
    };
    let unknown = |class: &&'static str| {
        let mut config = config.clone();
        config["architectures"] = json!([class]);
        Shape::noting(&config).ok().map(|(_, fields)| (*class, fields.noted()))
    };
    // The first of several that are as near: the table begins with Llama.
    classes.iter().filter_map(unknown).min_by_key(|(_, unknown)| unknown.len())
}
