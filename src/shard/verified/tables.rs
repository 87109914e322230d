//! Tables of checksums in memory.

use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of checksum tables kept in memory; one of a 6.4 GB layer has 781 KiB.
const MAX_TABLE_BYTES: usize = 8 << 20;

/// Checksum tables in memory, the one used last at the back.
#[derive(Default)]
pub(super) struct Tables {
    loaded: VecDeque<(u32, Arc<[u64]>)>,
    bytes: usize,
}

impl Tables {
    pub(super) fn touch(&mut self, file: u32) -> Option<Arc<[u64]>> {
        let at = self.loaded.iter().position(|(loaded, _)| *loaded == file)?;
        let entry = self.loaded.remove(at)?;
        let table = Arc::clone(&entry.1);
        self.loaded.push_back(entry);
        Some(table)
    }

    pub(super) fn add(&mut self, file: u32, table: &Arc<[u64]>) {
        self.forget(file);
        self.bytes += size_of_val(&**table);
        self.loaded.push_back((file, Arc::clone(table)));
        while self.bytes > MAX_TABLE_BYTES && self.loaded.len() > 1 {
            let Some((_, oldest)) = self.loaded.pop_front() else { break };
            self.bytes -= size_of_val(&*oldest);
        }
    }

    pub(super) fn forget(&mut self, file: u32) {
        if let Some(at) = self.loaded.iter().position(|(loaded, _)| *loaded == file)
            && let Some((_, table)) = self.loaded.remove(at)
        {
            self.bytes -= size_of_val(&*table);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_in_memory_are_bounded_and_the_oldest_goes_first() {
        let table: Arc<[u64]> = vec![0; MAX_TABLE_BYTES / 8 / 4].into();
        let mut tables = Tables::default();
        for file in 0..4 {
            tables.add(file, &table);
        }
        assert!(tables.touch(0).is_some(), "four fit");
        tables.add(4, &table);
        assert!(tables.touch(1).is_none() && tables.touch(0).is_some(), "file 1 was used longest ago");
        assert!(tables.bytes <= MAX_TABLE_BYTES);
        tables.add(5, &vec![0; MAX_TABLE_BYTES].into());
        assert_eq!(tables.loaded.len(), 1, "a table larger than the bound stays alone");
        tables.forget(5);
        assert_eq!(tables.bytes, 0);
    }
}
