//! Which tiles stay on the GPU of sections that only some sweeps use: those of the sections that are used most.
//!
//! Within a sweep every layer has its turn before one comes again, so what was used last is no guide: with less room than
//! a sweep needs, the least recently used section is the very one that comes next. Uses are counted instead, old ones for
//! less, and a section gives way only to one that is used clearly more.

/// Rows of sweeps after which a use counts half.
const HALF_LIFE_ROWS: f64 = 256.0;
/// A section gives way to one that is worth so many times as much; less would have equals push each other out.
const MARGIN: f64 = 1.5;
/// New uses count for more and more instead of old ones for less; all are scaled down here.
const LARGEST_USE: f64 = 1e100;

/// A tile gets a slot, which held another one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub tile: usize,
    pub slot: usize,
    pub evicted: Option<usize>,
}

/// Slots of one tile each, and the uses of sections.
#[derive(Clone, Debug, Default)]
pub struct LfuCache {
    free: Vec<usize>,
    /// (tile, slot) of each section.
    held: Vec<Vec<(usize, usize)>>,
    /// Uses of each section.
    worth: Vec<f64>,
    /// What a use counts now.
    one_use: f64,
}

impl LfuCache {
    /// An empty cache for `sections` sections.
    pub fn new(sections: usize, slots: usize) -> Self {
        Self {
            free: (0..slots).rev().collect(),
            held: vec![Vec::new(); sections],
            worth: vec![0.0; sections],
            one_use: 1.0,
        }
    }

    /// `rows` rows of a sweep use `section`.
    pub fn used(&mut self, section: usize, rows: u32) {
        if let Some(worth) = self.worth.get_mut(section) {
            *worth += f64::from(rows) * self.one_use;
        }
    }

    /// A sweep of `rows` rows begins.
    pub fn begin_sweep(&mut self, rows: u32) {
        self.one_use *= (f64::from(rows) / HALF_LIFE_ROWS).exp2();
        if self.one_use > LARGEST_USE {
            self.worth.iter_mut().for_each(|worth| *worth /= self.one_use);
            self.one_use = 1.0;
        }
    }

    /// Gives slots to tiles of the sections in use, the most used first, as far as there are free ones or others are used
    /// clearly less. `missing` names the tiles of a section that have no slot.
    pub fn admit(&mut self, in_use: &[usize], missing: impl Fn(usize) -> Vec<usize>) -> Vec<Change> {
        let mut wanted = in_use.to_vec();
        wanted.sort_by(|a, b| self.worth[*b].total_cmp(&self.worth[*a]));
        // The least used one at the end; found only when the free slots are out.
        let mut victims: Option<Vec<usize>> = None;
        let mut changes = Vec::new();
        for section in wanted {
            for tile in missing(section) {
                let (slot, evicted) = match self.free.pop() {
                    Some(slot) => (slot, None),
                    None => {
                        let victims = victims.get_or_insert_with(|| self.victims(in_use));
                        match Self::evict(&mut self.held, &self.worth, victims, self.worth[section]) {
                            Some((tile, slot)) => (slot, Some(tile)),
                            None => return changes,
                        }
                    }
                };
                self.held[section].push((tile, slot));
                changes.push(Change { tile, slot, evicted });
            }
        }
        changes
    }

    /// Sections that hold slots and are not in use, the least used last.
    fn victims(&self, in_use: &[usize]) -> Vec<usize> {
        let holds = |section: &usize| !self.held[*section].is_empty() && !in_use.contains(section);
        let mut victims: Vec<usize> = (0..self.held.len()).filter(holds).collect();
        victims.sort_by(|a, b| self.worth[*b].total_cmp(&self.worth[*a]));
        victims
    }

    /// Takes a slot from the least used victim, if it is worth clearly less than `worth`.
    fn evict(
        held: &mut [Vec<(usize, usize)>],
        worths: &[f64],
        victims: &mut Vec<usize>,
        worth: f64,
    ) -> Option<(usize, usize)> {
        loop {
            let victim = *victims.last()?;
            if worths[victim] * MARGIN >= worth {
                return None;
            }
            if let Some(taken) = held[victim].pop() {
                return Some(taken);
            }
            victims.pop();
        }
    }

    /// Slots from `first` on are gone. Returns the tiles that they held.
    pub fn lose_slots(&mut self, first: usize) -> Vec<usize> {
        self.free.retain(|slot| *slot < first);
        let mut lost = Vec::new();
        for held in &mut self.held {
            lost.extend(held.iter().filter(|(_, slot)| *slot >= first).map(|(tile, _)| *tile));
            held.retain(|(_, slot)| *slot < first);
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: usize = 6;
    const EXPERTS: usize = 32;
    const CHOSEN: usize = 4;

    /// Numbers in 0..1, the same in every run.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    /// A layer's choice: expert i is the more likely the closer it is to `favourite`, by a power law.
    fn choose(dice: &mut Dice, favourite: usize) -> Vec<usize> {
        let shares: Vec<f64> = (0..EXPERTS).map(|i| 1.0 / (1.0 + ((i + favourite) % EXPERTS) as f64)).collect();
        let total: f64 = shares.iter().sum();
        let mut chosen = Vec::new();
        while chosen.len() < CHOSEN {
            let mut rest = dice.roll() * total;
            let pick = shares.iter().position(|share| {
                rest -= share;
                rest < 0.0
            });
            let pick = pick.unwrap_or(EXPERTS - 1);
            if !chosen.contains(&pick) {
                chosen.push(pick);
            }
        }
        chosen
    }

    /// Share of hits in the second half of `tokens` tokens, one tile a section.
    fn hit_rate(cache: &mut LfuCache, dice: &mut Dice, favourites: [usize; LAYERS], tokens: usize) -> (f64, f64) {
        let mut resident = [false; LAYERS * EXPERTS];
        cache.held.iter().flatten().for_each(|(tile, _)| resident[*tile] = true);
        let mut counts = [0_usize; LAYERS * EXPERTS];
        let (mut hits, mut all) = (0, 0);
        for token in 0..tokens {
            cache.begin_sweep(1);
            for (layer, favourite) in favourites.iter().enumerate() {
                let sections: Vec<_> =
                    choose(dice, *favourite).into_iter().map(|expert| layer * EXPERTS + expert).collect();
                for section in &sections {
                    cache.used(*section, 1);
                    if token >= tokens / 2 {
                        hits += usize::from(resident[*section]);
                        all += 1;
                        counts[*section] += 1;
                    }
                }
                let missing = |section: usize| if resident[section] { vec![] } else { vec![section] };
                for change in cache.admit(&sections, missing) {
                    resident[change.tile] = true;
                    change.evicted.into_iter().for_each(|tile| resident[tile] = false);
                }
            }
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let slots = resident.iter().filter(|here| **here).count();
        let best: usize = counts[..slots].iter().sum();
        (hits as f64 / all as f64, best as f64 / all as f64)
    }

    #[test]
    fn what_is_used_most_stays_even_when_a_sweep_needs_more_than_there_is_room() {
        // Twelve slots, and a token uses 24.
        let (mut cache, mut dice) = (LfuCache::new(LAYERS * EXPERTS, 12), Dice(1));
        let (rate, best) = hit_rate(&mut cache, &mut dice, [0, 5, 10, 15, 20, 25], 2000);
        assert!(best > 0.25, "the best fixed choice: {best}");
        assert!(rate > 0.9 * best, "{rate} of {best}");
        // The text turns to something else, and the cache follows.
        let (rate, best) = hit_rate(&mut cache, &mut dice, [16, 21, 26, 31, 4, 9], 4000);
        assert!(rate > 0.9 * best, "{rate} of {best} after a change");
    }

    #[test]
    fn sections_in_use_and_those_used_as_much_keep_their_slots() {
        let mut cache = LfuCache::new(4, 3);
        cache.used(0, 1);
        let three = |section: usize| vec![10 * section, 10 * section + 1];
        let change = |tile, slot, evicted| Change { tile, slot, evicted };
        assert_eq!(cache.admit(&[0], three), [change(0, 0, None), change(1, 1, None)]);
        cache.used(1, 1);
        assert_eq!(cache.admit(&[1], three), [change(10, 2, None)], "as much as section 0 is not more");
        cache.used(1, 1);
        assert_eq!(cache.admit(&[0, 1], |section| if section == 1 { vec![11] } else { vec![] }), []);
        assert_eq!(cache.admit(&[1], |_| vec![11]), [change(11, 1, Some(1))], "the last of the least used one");
        assert_eq!(cache.lose_slots(1), [10, 11]);
        cache.used(3, 9);
        assert_eq!(cache.admit(&[3], three), [change(30, 0, Some(0))], "slots that are lost do not come back");
    }

    #[test]
    fn counts_stay_finite() {
        let mut cache = LfuCache::new(2, 1);
        for _ in 0..10_000 {
            cache.used(0, 128);
            cache.begin_sweep(128);
        }
        assert!(cache.worth[0].is_finite() && cache.worth[0] > 0.0);
        assert!(cache.one_use <= LARGEST_USE);
    }
}
