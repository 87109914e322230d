//! In which order attention finds the pages of several sequences, whatever parts of the cache they lie in.

/// A run of pages, counted from the start of a text, and the segment in which a dispatch finds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRun {
    pub begin: u32,
    pub end: u32,
    pub segment: usize,
}

/// Runs that follow each other in one segment, as one.
pub(super) fn joined(runs: impl Iterator<Item = PageRun>) -> Vec<PageRun> {
    let mut joined: Vec<PageRun> = Vec::new();
    for run in runs {
        match joined.last_mut() {
            Some(last) if last.segment == run.segment && last.end == run.begin => last.end = run.end,
            _ => joined.push(run),
        }
    }
    joined
}

/// The runs of several sequences as dispatches, which all sequences share: each finds its pages in the order of its runs.
pub(super) fn in_order(sequences: &[Vec<PageRun>], span: u32) -> Vec<PageRun> {
    let mut borders: Vec<u32> = sequences.iter().flatten().flat_map(|run| [run.begin, run.end]).collect();
    borders.sort_unstable();
    borders.dedup();
    // From one border to the next each sequence has one segment, or none.
    let mut stretches: Vec<(u32, u32, Vec<Option<usize>>)> = Vec::new();
    for pair in borders.windows(2) {
        let here = |run: &&PageRun| run.begin <= pair[0] && pair[0] < run.end;
        let segments: Vec<_> = sequences.iter().map(|runs| runs.iter().find(here).map(|run| run.segment)).collect();
        if segments.iter().all(Option::is_none) {
            continue;
        }
        match stretches.last_mut() {
            Some((_, end, before)) if *end == pair[0] && agree(before, &segments) => {
                *end = pair[1];
                before.iter_mut().zip(segments).for_each(|(before, now)| *before = before.or(now));
            }
            _ => stretches.push((pair[0], pair[1], segments)),
        }
    }
    let mut runs = Vec::new();
    for (begin, end, segments) in stretches {
        let mut segments: Vec<usize> = segments.into_iter().flatten().collect();
        segments.sort_unstable();
        segments.dedup();
        for begin in (begin..end).step_by(span.max(1) as usize) {
            let end = end.min(begin + span);
            runs.extend(segments.iter().map(|segment| PageRun { begin, end, segment: *segment }));
        }
    }
    runs
}

/// Whether no sequence changes its segment from one stretch to the next.
fn agree(before: &[Option<usize>], now: &[Option<usize>]) -> bool {
    before.iter().zip(now).all(|(before, now)| before.is_none() || now.is_none() || before == now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(begin: u32, end: u32, segment: usize) -> PageRun {
        PageRun { begin, end, segment }
    }

    #[test]
    fn sequences_find_their_pages_in_order_whatever_segments_they_lie_in() {
        // One sequence, and the spans of a long one.
        assert_eq!(in_order(&[vec![run(0, 3, 0)]], 32), [run(0, 3, 0)]);
        assert_eq!(in_order(&[vec![run(0, 70, 0)]], 32), [run(0, 32, 0), run(32, 64, 0), run(64, 70, 0)]);
        // A later page lies in an earlier segment.
        let ring = [vec![run(4, 6, 1), run(6, 8, 0)]];
        assert_eq!(in_order(&ring, 32), [run(4, 6, 1), run(6, 8, 0)]);
        // Several sequences of different lengths share dispatches as long as none changes its segment.
        let alike = [vec![run(0, 5, 0)], vec![run(0, 9, 0)], vec![run(2, 3, 1)]];
        assert_eq!(in_order(&alike, 32), [run(0, 9, 0), run(0, 9, 1)]);
        let apart = [vec![run(0, 2, 0), run(2, 4, 1)], vec![run(0, 4, 1)]];
        assert_eq!(in_order(&apart, 32), [run(0, 2, 0), run(0, 2, 1), run(2, 4, 1)]);
        // Nobody sees what lies between.
        assert_eq!(in_order(&[vec![run(0, 2, 0)], vec![run(90, 91, 0)]], 32), [run(0, 2, 0), run(90, 91, 0)]);
    }
}
