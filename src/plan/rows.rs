//! Which rows of a checkpoint's tensor are the rows of ours: fused matrices are cut, and heads whose pairs lie next to
//! each other are put in halves.

use serde::{Deserialize, Serialize};

/// Row `r` of ours is row `first + r / run * stride + r % run` of the source; within each head the rows that rotate are
/// taken as [`RotaryRows`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowMap {
    pub first: u64,
    pub run: u64,
    pub stride: u64,
    pub rotary: Option<RotaryRows>,
}

/// Heads whose pairs (2 i, 2 i + 1) rotate: they become pairs (i, i + half), the form that the kernels know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotaryRows {
    /// Rows of a head.
    pub head: u64,
    /// Where in the head the rows lie that rotate; they move to its front.
    pub first: u64,
    /// How many they are.
    pub count: u64,
}

impl RowMap {
    /// Every row, as it is.
    pub const ALL: Self = Self { first: 0, run: u64::MAX, stride: u64::MAX, rotary: None };

    /// The rows from `first` on.
    pub fn from_row(first: u64) -> Self {
        Self { first, ..Self::ALL }
    }

    /// The same rows, with heads of `head` rows put in halves.
    pub fn in_halves(self, head: u64, count: u64) -> Self {
        Self { rotary: Some(RotaryRows { head, first: 0, count }), ..self }
    }

    /// The source's row that holds row `row` of ours.
    pub fn source(&self, row: u64) -> u64 {
        let row = self.rotary.map_or(row, |rotary| rotary.source(row));
        self.start_of(row)
    }

    /// The source's row of `row`, as if heads were in halves already.
    pub fn start_of(&self, row: u64) -> u64 {
        self.first.saturating_add((row / self.run).saturating_mul(self.stride)).saturating_add(row % self.run)
    }

    /// One past the last source row that `rows` rows of ours need.
    pub fn end(&self, rows: u64) -> u64 {
        rows.checked_sub(1).map_or(0, |last| self.start_of(last).saturating_add(1))
    }

    /// Whether heads divide `rows` and the runs into whole ones, and their rotating rows into pairs.
    pub fn fits(&self, rows: u64) -> bool {
        let whole = |rotary: RotaryRows| {
            let divides = |rows: u64| rows.checked_rem(rotary.head) == Some(0);
            let inside = rotary.first.checked_add(rotary.count).is_some_and(|end| end <= rotary.head);
            divides(rows) && (self.run == u64::MAX || divides(self.run)) && rotary.count.is_multiple_of(2) && inside
        };
        self.run > 0 && self.rotary.is_none_or(whole)
    }
}

impl RotaryRows {
    fn source(&self, row: u64) -> u64 {
        let (head, inside) = (row / self.head * self.head, row % self.head);
        let half = self.count / 2;
        let inside = match inside.checked_sub(self.count) {
            None => self.first + 2 * (inside % half) + inside / half,
            Some(rest) if rest < self.first => rest,
            Some(rest) => rest + self.count,
        };
        head + inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(map: RowMap, rows: u64) -> Vec<u64> {
        assert!(map.fits(rows));
        (0..rows).map(|row| map.source(row)).collect()
    }

    #[test]
    fn rows_are_cut_out_grouped_and_put_in_halves() {
        assert_eq!(sources(RowMap::ALL, 3), [0, 1, 2]);
        assert_eq!(sources(RowMap::from_row(5), 3), [5, 6, 7]);
        // Two rows of each group of five, from the fourth on.
        let grouped = RowMap { first: 3, run: 2, stride: 5, rotary: None };
        assert_eq!(sources(grouped, 6), [3, 4, 8, 9, 13, 14]);
        assert_eq!(sources(RowMap::ALL.in_halves(4, 4), 8), [0, 2, 1, 3, 4, 6, 5, 7]);
        assert_eq!(sources(RowMap::ALL.in_halves(6, 4), 6), [0, 2, 1, 3, 4, 5]);
        let behind = RotaryRows { head: 6, first: 2, count: 4 };
        assert_eq!(sources(RowMap { rotary: Some(behind), ..RowMap::ALL }, 6), [2, 4, 3, 5, 0, 1]);
        let both = RowMap { first: 1, run: 4, stride: 8, ..RowMap::ALL.in_halves(4, 4) };
        assert_eq!(sources(both, 8), [1, 3, 2, 4, 9, 11, 10, 12]);
        assert_eq!(both.end(8), 13);
        assert_eq!(RowMap::ALL.end(0), 0);
    }

    #[test]
    fn maps_that_do_not_fit_are_told() {
        assert!(!RowMap::ALL.in_halves(4, 4).fits(6), "half a head");
        assert!(!RowMap::ALL.in_halves(4, 3).fits(4), "half a pair");
        assert!(!RowMap::ALL.in_halves(4, 6).fits(4), "more than the head");
        assert!(!RowMap { run: 6, stride: 6, ..RowMap::ALL.in_halves(4, 4) }.fits(12), "a run cuts a head");
        assert!(!RowMap { run: 0, ..RowMap::ALL }.fits(1));
        assert!(!RowMap::ALL.in_halves(0, 0).fits(4));
    }
}
