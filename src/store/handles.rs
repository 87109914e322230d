//! A bounded set of open files: a model may have more of them than a process may have open.

use std::collections::HashMap;
use std::sync::Arc;

/// Handles kept open: enough for the readers' files of a sweep, and far below the 256 that some systems allow a process.
pub(super) const MAX_OPEN: usize = 64;

/// Open files by name; the one that was used longest ago makes room for another, those first that nobody holds. Who holds a
/// handle may go on using it.
#[derive(Debug)]
pub(super) struct Handles<F> {
    /// Each with the tick of its last use.
    files: HashMap<String, (Arc<F>, u64)>,
    tick: u64,
}

impl<F> Default for Handles<F> {
    fn default() -> Self {
        Self { files: HashMap::new(), tick: 0 }
    }
}

impl<F> Handles<F> {
    /// The handle of a file, if it is open.
    pub(super) fn get(&mut self, name: &str) -> Option<Arc<F>> {
        self.tick += 1;
        let (file, used) = self.files.get_mut(name)?;
        *used = self.tick;
        Some(Arc::clone(file))
    }

    /// Closes a handle where one more would be too many.
    pub(super) fn make_room(&mut self) {
        if self.files.len() >= MAX_OPEN {
            let order = |(_, (file, used)): &(&String, &(Arc<F>, u64))| (Arc::strong_count(file) > 1, *used);
            let oldest = self.files.iter().min_by_key(order).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.files.remove(&oldest));
        }
    }

    /// Keeps a handle that was just opened.
    pub(super) fn insert(&mut self, name: &str, file: Arc<F>) {
        self.make_room();
        self.tick += 1;
        self.files.insert(name.to_owned(), (file, self.tick));
    }

    /// Closes the handle of a file.
    pub(super) fn remove(&mut self, name: &str) {
        self.files.remove(name);
    }

    /// Handles that are open.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Closes all handles.
    pub(super) fn clear(&mut self) {
        self.files.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handle_that_was_used_longest_ago_makes_room() {
        let mut handles = Handles::default();
        for name in 0..MAX_OPEN {
            handles.insert(&name.to_string(), Arc::new(name));
        }
        assert_eq!(handles.get("0").as_deref(), Some(&0));
        handles.insert("another", Arc::new(99));
        assert!(handles.get("1").is_none() && handles.get("0").is_some() && handles.get("another").is_some());
        assert_eq!(handles.len(), MAX_OPEN);
    }

    #[test]
    fn a_handle_that_somebody_holds_stays_open_where_another_can_go() {
        let mut handles = Handles::default();
        for name in 0..MAX_OPEN {
            handles.insert(&name.to_string(), Arc::new(name));
        }
        let held = (0..MAX_OPEN - 1).map(|name| handles.get(&name.to_string())).collect::<Vec<_>>();
        handles.insert("another", Arc::new(99));
        assert!(handles.get(&(MAX_OPEN - 1).to_string()).is_none());
        assert!((0..MAX_OPEN - 1).all(|name| handles.get(&name.to_string()).is_some()), "{} are held", held.len());
    }
}
