//! How far the prompts are, on stderr: a bar on a terminal, a line every few seconds elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// Time between two lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Shows how many answers there are.
pub struct Progress {
    bar: Option<ProgressBar>,
    /// Lines of the input; none where it is not known yet.
    total: Option<u64>,
    /// Lines that an earlier run answered.
    before: u64,
    done: u64,
    start: Instant,
    last_line: Instant,
}

impl Progress {
    /// Starts to count.
    pub fn new(total: Option<u64>, before: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| ProgressBar::new_spinner().with_style(style()));
        let now = Instant::now();
        Self { bar, total, before, done: 0, start: now, last_line: now }
    }

    /// One more line is done.
    pub fn line_done(&mut self) {
        self.done += 1;
        let text = line(self.before + self.done, self.total, self.done, self.start.elapsed());
        if let Some(bar) = &self.bar {
            bar.set_message(text);
            bar.tick();
        } else if self.last_line.elapsed() >= BETWEEN_LINES {
            self.last_line = Instant::now();
            eprintln!("{text}");
        }
    }

    /// Says something that stays.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// `now`: lines of this run, which took `elapsed`.
fn line(done: u64, total: Option<u64>, now: u64, elapsed: Duration) -> String {
    let Some(total) = total else { return format!("{done} prompts done") };
    let left = total.saturating_sub(done);
    if left == 0 || now == 0 {
        return format!("{done} of {total} prompts done");
    }
    let left = elapsed.mul_f64(left as f64 / now as f64);
    format!("{done} of {total} prompts done, {} left", HumanDuration(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_and_how_long_it_takes() {
        let minute = Duration::from_secs(60);
        assert_eq!(line(30, Some(60), 10, minute), "30 of 60 prompts done, 3 minutes left");
        assert_eq!(line(60, Some(60), 40, minute), "60 of 60 prompts done");
        assert_eq!(line(61, Some(60), 40, minute), "61 of 60 prompts done");
        assert_eq!(line(3, None, 3, minute), "3 prompts done");
    }
}
