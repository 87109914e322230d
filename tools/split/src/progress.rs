//! Progress on stderr: a bar on a terminal, a line every few seconds elsewhere.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use tilestream::internals::shard::Progress;

use crate::size::show_size;

/// Time between two lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Shows how far long work is, and asks it to stop when a flag is raised.
pub struct Reporter {
    /// What is being done: `splitting`.
    verb: &'static str,
    stop: Arc<AtomicBool>,
    bar: Option<ProgressBar>,
    start: Instant,
    /// What was done when this began: it took no time.
    before_bytes: Option<u64>,
    last_line: Instant,
}

impl Reporter {
    /// A reporter that ends the work when `stop` becomes true.
    pub fn new(verb: &'static str, stop: Arc<AtomicBool>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{prefix} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left  {msg}";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::no_length().with_style(style.progress_chars("=> ")).with_prefix(verb)
        });
        let now = Instant::now();
        Self { verb, stop, bar, start: now, before_bytes: None, last_line: now }
    }

    /// Takes the news; to be called by the work.
    pub fn update(&mut self, progress: Progress<'_>) -> ControlFlow<()> {
        let is_first = self.before_bytes.is_none();
        let before_bytes = *self.before_bytes.get_or_insert(progress.done_bytes);
        if let Some(bar) = &self.bar {
            bar.set_length(progress.total_bytes);
            bar.set_position(progress.done_bytes);
            if is_first {
                bar.reset_eta();
            }
            if bar.message() != progress.file {
                bar.set_message(progress.file.to_owned());
            }
        } else if self.last_line.elapsed() >= BETWEEN_LINES {
            self.last_line = Instant::now();
            eprintln!("{}", line(self.verb, progress, before_bytes, self.start.elapsed()));
        }
        if self.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `before_bytes` were done before the time began.
fn line(verb: &str, progress: Progress<'_>, before_bytes: u64, elapsed: Duration) -> String {
    let Progress { done_bytes, total_bytes, file } = progress;
    let percent = done_bytes as f64 / total_bytes.max(1) as f64 * 100.0;
    let now_bytes = done_bytes.saturating_sub(before_bytes);
    let speed = (now_bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    let (done, total, speed) = (show_size(done_bytes), show_size(total_bytes), show_size(speed));
    let left = match now_bytes {
        0 => String::new(),
        now_bytes => {
            let seconds = total_bytes.saturating_sub(done_bytes) as f64 / now_bytes as f64 * elapsed.as_secs_f64();
            format!(", {} left", HumanDuration(Duration::from_secs(seconds as u64)))
        }
    };
    format!("{verb}: {percent:.0} %, {done} of {total}, {speed}/s{left}, {file}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Progress<'_> = Progress { done_bytes: 1 << 20, total_bytes: 2 << 20, file: "f" };

    #[test]
    fn a_line_says_how_far_and_how_fast() {
        for (before_bytes, says) in [
            (0, "1.0 MiB of 2.0 MiB, 512.0 KiB/s, 2 seconds left, f"),
            (512 << 10, "1.0 MiB of 2.0 MiB, 256.0 KiB/s, 4 seconds left, f"),
            (1 << 20, "1.0 MiB of 2.0 MiB, 0 bytes/s, f"),
        ] {
            let line = line("splitting", HALF, before_bytes, Duration::from_secs(2));
            assert_eq!(line, format!("splitting: 50 %, {says}"));
        }
        line("splitting", Progress { total_bytes: 0, ..HALF }, 0, Duration::ZERO);
    }

    #[test]
    fn the_flag_stops_the_work() {
        let stop = Arc::new(AtomicBool::new(false));
        let mut reporter = Reporter::new("splitting", Arc::clone(&stop));
        assert_eq!(reporter.update(HALF), ControlFlow::Continue(()));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(reporter.update(HALF), ControlFlow::Break(()));
    }
}
