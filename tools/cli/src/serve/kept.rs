//! Responses that are kept, for others to go on from.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::asked::told_back;
use super::failure::Failure;

/// Responses that are kept to go on from, and bytes of their texts in all.
const MOST_KEPT: usize = 256;
const MOST_KEPT_BYTES: usize = 32 << 20;

/// A response, and all items of its text.
pub struct Kept {
    pub response: Value,
    items: Vec<Value>,
    bytes: usize,
}

/// Responses that others may go on from, as long as there is room; the oldest goes first.
#[derive(Default)]
pub struct Responses(Mutex<Shelf>);

#[derive(Default)]
struct Shelf {
    kept: HashMap<String, Kept>,
    order: VecDeque<String>,
    bytes: usize,
}

impl Shelf {
    fn remove(&mut self, id: &str) -> bool {
        self.order.retain(|other| other != id);
        let removed = self.kept.remove(id);
        self.bytes -= removed.as_ref().map_or(0, |kept| kept.bytes);
        removed.is_some()
    }
}

impl Responses {
    pub fn keep(&self, id: &str, response: Value, items: Vec<Value>) {
        let bytes = response.to_string().len() + items.iter().map(|item| item.to_string().len()).sum::<usize>();
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while shelf.kept.len() >= MOST_KEPT || shelf.bytes + bytes > MOST_KEPT_BYTES {
            let Some(oldest) = shelf.order.front().cloned() else { return };
            shelf.remove(&oldest);
        }
        shelf.bytes += bytes;
        shelf.order.push_back(id.to_owned());
        shelf.kept.insert(id.to_owned(), Kept { response, items, bytes });
    }

    pub fn with<T>(&self, id: &str, look: impl FnOnce(&Kept) -> T) -> Result<T, Failure> {
        let shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.kept.get(id).map(look).ok_or_else(|| Failure::no_response(&told_back(id)))
    }

    /// All items of a response's text, its own output among them.
    pub fn items(&self, id: &str) -> Result<Vec<Value>, Failure> {
        self.with(id, |kept| kept.items.clone())
    }

    pub fn remove(&self, id: &str) -> Result<(), Failure> {
        let removed = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        removed.then_some(()).ok_or_else(|| Failure::no_response(&told_back(id)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_oldest_response_goes_where_there_is_no_room() {
        let responses = Responses::default();
        for number in 0..MOST_KEPT + 1 {
            responses.keep(&number.to_string(), json!({ "id": number }), vec![json!("x")]);
        }
        assert!(responses.items("0").is_err() && responses.items("1").is_ok());
        responses.keep("large", json!({}), vec!["x".repeat(MOST_KEPT_BYTES - 1000).into()]);
        assert!(responses.items("1").is_err() && responses.items("large").is_ok());
        responses.keep("too large", json!({}), vec!["x".repeat(MOST_KEPT_BYTES).into()]);
        assert!(responses.items("too large").is_err());
        responses.keep("small", json!({}), Vec::new());
        assert!(responses.remove("small").is_ok() && responses.remove("small").is_err());
    }
}
