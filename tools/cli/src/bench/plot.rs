//! A decode sweep as a picture: how long it takes beside the parts of its limit, and what happens in it when.

use std::fmt::Write;

use tilestream::internals::stream::Stage;
use tilestream::monitor::Interval;
use tilestream_split::size::show_size;

use super::limit::Limit;
use super::measure::Timeline;
use super::report::{Report, SideReport, show_seconds};

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 24.0;
/// Where bars begin, and where they end at most; their numbers stand behind them.
const LEFT: f64 = 170.0;
const RIGHT: f64 = 800.0;
const ROW: f64 = 24.0;
const BAR: f64 = 14.0;
/// About as wide as a small letter is.
const SMALL_LETTER: f64 = 5.8;
/// Marks that lie nearer to each other than this are drawn as one.
const APART: f64 = 0.75;
/// Letters of a title: more do not fit.
const MOST_LETTERS: usize = 125;

/// Colours for paper and for the night: Okabe and Ito's, which people with any colour vision tell apart.
const STYLE: &str = "\
.back{fill:#fff}text{fill:#1f2328;font:13px system-ui,sans-serif}.small{font-size:11px}.faint{fill:#59636e}\
.title{font-size:16px;font-weight:600}.grid{stroke:#d1d9e0}.limit{stroke:#1f2328;stroke-dasharray:4 3}\
.range{stroke:#1f2328;stroke-width:1.5}.lane{fill:#f0f2f4}\
.sweep{fill:#999}.read{fill:#0072b2}.upload{fill:#d55e00}.compute{fill:#009e73}.wait{fill:#cc79a7}\
@media(prefers-color-scheme:dark){.back{fill:#0d1117}text{fill:#f0f6fc}.faint{fill:#9198a1}.grid{stroke:#3d444d}\
.limit,.range{stroke:#f0f6fc}.lane{fill:#1b2129}.sweep{fill:#888}.read{fill:#56b4e9}.upload{fill:#e69f00}\
.compute{fill:#2bc59a}.wait{fill:#e39cc4}}";

/// The picture, a whole SVG file.
pub fn svg(report: &Report, timeline: &Timeline) -> String {
    let mut page = Page { body: String::new(), y: MARGIN };
    let [model, machine, task] = report.title();
    page.text(MARGIN, 16.0, "title", &model);
    page.text(MARGIN, 22.0, "small faint", &machine);
    page.text(MARGIN, 16.0, "small faint", &task);
    page.y += 8.0;
    let resident = report.resident.as_ref().map(|side| ("everything resident", side));
    let sides: Vec<_> = [("streamed", &report.streamed)].into_iter().chain(resident).collect();
    let longest = sides.iter().map(|(_, side)| longest(side)).fold(0.0, f64::max);
    let scale = Scale::of(longest);
    for (name, side) in &sides {
        page.side(name, side, report.adapter.is_cpu, &scale);
    }
    page.axis(&scale, "of a sweep for one token: the median, and from the shortest to the longest");
    page.timeline(timeline);
    page.finish()
}

fn longest(side: &SideReport) -> f64 {
    let Limit { disk_s, upload_s, gpu_compute_s, cpu_s, .. } = &side.decode_limit;
    [disk_s, gpu_compute_s, cpu_s].into_iter().flatten().copied().fold(side.sweep_s.median.max(*upload_s), f64::max)
}

/// Seconds along the page.
struct Scale {
    end_s: f64,
    step_s: f64,
}

impl Scale {
    /// From zero to a little more than `longest_s`, with four to ten steps of a round length.
    fn of(longest_s: f64) -> Self {
        let end_s = if longest_s.is_finite() && longest_s > 0.0 { longest_s * 1.05 } else { 1.0 };
        let power = 10_f64.powf((end_s / 4.0).log10().floor());
        let steps = [5.0, 2.0, 1.0].map(|factor| factor * power);
        let step_s = steps.into_iter().find(|step| end_s / step >= 4.0).unwrap_or(power);
        Self { end_s, step_s }
    }

    /// Where a time lies; those beyond the end lie at the end.
    fn x(&self, seconds: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * (seconds / self.end_s).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let count = (self.end_s / self.step_s).floor() as u32;
        (0..=count).map(|tick| f64::from(tick) * self.step_s)
    }
}

/// What is drawn so far, and where it goes on.
struct Page {
    body: String,
    y: f64,
}

impl Page {
    /// A line of text, `down` below what there is.
    fn text(&mut self, x: f64, down: f64, class: &str, text: &str) {
        self.y += down;
        self.label(x, self.y, class, text);
    }

    fn label(&mut self, x: f64, y: f64, class: &str, text: &str) {
        // A String takes whatever is written to it.
        let _ = writeln!(self.body, r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{}</text>"#, escaped(text));
    }

    fn bar(&mut self, from: f64, to: f64, y: f64, class: &str) {
        let width = (to - from).max(0.5);
        let _ = writeln!(
            self.body,
            r#"<rect x="{from:.1}" y="{y:.1}" width="{width:.1}" height="{BAR}" class="{class}"/>"#
        );
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(self.body, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#);
    }

    /// A sweep of one side, and the parts of its limit below it.
    fn side(&mut self, name: &str, side: &SideReport, on_cpu: bool, scale: &Scale) {
        let limit = &side.decode_limit;
        let bytes = show_size(side.streamed_bytes_per_sweep);
        let title = format!("{name}: {:.2} tokens/s, {bytes} a sweep", side.decode_tokens_per_s);
        self.text(MARGIN, 24.0, "", &title);
        self.y += 4.0;
        let (top, spread) = (self.y, side.sweep_s);
        let middle = self.y + ROW / 2.0;
        self.part("sweep", (Some(spread.median), spread.max), &show_seconds(spread.median), "sweep", scale);
        self.line((scale.x(spread.min), middle), (scale.x(spread.max), middle), "range");
        self.y += ROW;
        let mut parts = vec![("disk", limit.disk_s, "read")];
        if on_cpu {
            parts.push(("CPU, all cores", limit.cpu_s, "compute"));
        } else {
            parts.push(("upload", Some(limit.upload_s), "upload"));
            parts.push(("GPU computes", limit.gpu_compute_s, "compute"));
            parts.push(("(CPU, all cores)", limit.cpu_s, "sweep"));
        }
        for (name, seconds, class) in parts {
            let shown = seconds.map_or("not known".to_owned(), show_seconds);
            self.part(name, (seconds, 0.0), &shown, class, scale);
            self.y += ROW;
        }
        if let (Some(limit_s), Some(percent)) = (limit.limit_s, limit.reached_percent) {
            let x = scale.x(limit_s);
            self.line((x, top), (x, self.y), "limit");
            let best = limit.best_percent.unwrap_or(percent);
            let text = format!("limit {}: {percent:.0} % reached, at best {best:.0} %", show_seconds(limit_s));
            // Behind the line, or as far to the left as it must be to end on the page.
            let last = WIDTH - MARGIN - text.chars().count() as f64 * SMALL_LETTER;
            self.label((x + 5.0).min(last), self.y + 11.0, "small", &text);
            self.y += 14.0;
        }
    }

    /// One bar with its name before it and its number behind it, and behind `clear_s`.
    fn part(&mut self, name: &str, (seconds, clear_s): (Option<f64>, f64), shown: &str, class: &str, scale: &Scale) {
        let base = self.y + ROW / 2.0 + 4.5;
        self.label(MARGIN + 8.0, base, "", name);
        let end = scale.x(seconds.unwrap_or(0.0));
        if seconds.is_some_and(|seconds| seconds > 0.0) {
            self.bar(LEFT, end, self.y + (ROW - BAR) / 2.0, class);
        }
        self.label(end.max(scale.x(clear_s)) + 6.0, base, "small", shown);
    }

    /// A scale below what it belongs to.
    fn axis(&mut self, scale: &Scale, of_what: &str) {
        self.y += 8.0;
        self.line((LEFT, self.y), (RIGHT, self.y), "grid");
        for tick in scale.ticks() {
            let x = scale.x(tick);
            self.line((x, self.y), (x, self.y + 4.0), "grid");
            self.label(x - 8.0, self.y + 17.0, "small faint", &tick_name(tick, scale.step_s));
        }
        let unit = if scale.step_s < 0.1 { "milliseconds" } else { "seconds" };
        self.label(LEFT, self.y + 33.0, "small faint", &format!("{unit} {of_what}"));
        self.y += 40.0;
    }

    /// What waits, computes, uploads and reads in one sweep, each on a line of its own.
    fn timeline(&mut self, timeline: &Timeline) {
        let length_s = timeline.end_s - timeline.begin_s;
        if length_s <= 0.0 {
            return;
        }
        let scale = Scale { end_s: length_s, ..Scale::of(length_s) };
        self.text(MARGIN, 24.0, "", "one streamed sweep");
        self.y += 4.0;
        for (name, class, intervals) in lanes(&timeline.intervals) {
            let top = self.y + (ROW - BAR) / 2.0;
            self.label(MARGIN + 8.0, self.y + ROW / 2.0 + 4.5, "", &name);
            self.bar(LEFT, RIGHT, top, "lane");
            let spans = intervals.iter().map(|interval| {
                (scale.x(interval.begin_s - timeline.begin_s), scale.x(interval.end_s - timeline.begin_s))
            });
            for (from, to) in merged(spans) {
                self.bar(from, to, top, class);
            }
            self.y += ROW;
        }
        self.axis(&scale, "since the token before");
    }

    fn finish(self) -> String {
        let height = self.y + MARGIN / 2.0;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
             height=\"{height:.0}\" role=\"img\">\n<style>{STYLE}</style>\n\
             <rect width=\"100%\" height=\"100%\" class=\"back\"/>\n{}</svg>\n",
            self.body
        )
    }
}

fn tick_name(tick_s: f64, step_s: f64) -> String {
    let (value, step) = if step_s < 0.1 { (tick_s * 1e3, step_s * 1e3) } else { (tick_s, step_s) };
    let decimals = if step < 0.999 { (-step.log10()).ceil().min(6.0) as usize } else { 0 };
    format!("{value:.decimals$}")
}

/// A line of the timeline: its name, the class of its marks, and what lies on it by its begin.
type Lane<'a> = (String, &'static str, Vec<&'a Interval>);

/// One line for each stage, and for reads as many as there were at once.
fn lanes(intervals: &[Interval]) -> Vec<Lane<'_>> {
    let of = |stage: Stage| {
        let mut chosen: Vec<&Interval> = intervals.iter().filter(|interval| interval.stage == stage).collect();
        chosen.sort_by(|a, b| a.begin_s.total_cmp(&b.begin_s));
        chosen
    };
    let mut lanes: Vec<Lane<'_>> = vec![
        ("engine waits".to_owned(), "wait", of(Stage::Stall)),
        ("shaders".to_owned(), "compute", of(Stage::Compute)),
        ("uploads".to_owned(), "upload", of(Stage::Upload)),
    ];
    lanes.retain(|(_, class, intervals)| *class == "compute" || !intervals.is_empty());
    let mut reads: Vec<Vec<&Interval>> = Vec::new();
    for read in of(Stage::Read) {
        let free = |line: &&mut Vec<&Interval>| line.last().is_none_or(|last| last.end_s <= read.begin_s);
        match reads.iter_mut().find(free) {
            Some(line) => line.push(read),
            None => reads.push(vec![read]),
        }
    }
    lanes.extend((1..).zip(reads).map(|(number, reads)| (format!("reads {number}"), "read", reads)));
    lanes
}

/// Marks in order of their begin, those that touch drawn as one: a sweep may have a hundred thousand of them.
fn merged(spans: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut merged: Vec<(f64, f64)> = Vec::new();
    for (from, to) in spans {
        match merged.last_mut() {
            Some(last) if from - last.1 < APART => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// A text as XML has it, shortened to what fits; characters that XML does not allow become question marks.
fn escaped(text: &str) -> String {
    let short = text.chars().count() <= MOST_LETTERS;
    let shown = text.chars().take(if short { MOST_LETTERS } else { MOST_LETTERS - 1 });
    let mut out = String::new();
    for c in shown.chain((!short).then_some('…')) {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_xml_whatever_they_hold() {
        assert_eq!(escaped("a<b>&\"c\"\u{1}"), "a&lt;b&gt;&amp;\"c\"?");
        assert_eq!(escaped(&"ä".repeat(MOST_LETTERS)).chars().count(), MOST_LETTERS);
        let long = escaped(&"ä".repeat(MOST_LETTERS + 1));
        assert!(long.ends_with('…') && long.chars().count() == MOST_LETTERS);
    }

    #[test]
    fn scales_have_some_round_steps() {
        for (longest, step, count) in
            [(1.0, 0.2, 6), (0.09, 0.02, 5), (0.0042, 0.001, 5), (47.0, 10.0, 5), (0.0, 0.2, 6), (f64::NAN, 0.2, 6)]
        {
            let scale = Scale::of(longest);
            assert!((scale.step_s / step - 1.0).abs() < 1e-9, "{longest}: {}", scale.step_s);
            assert_eq!(scale.ticks().count(), count, "{longest}");
        }
        assert_eq!([tick_name(0.04, 0.02), tick_name(0.4, 0.2), tick_name(0.0005, 0.0005)], ["40", "0.4", "0.5"]);
        assert_eq!([Scale::of(1.0).x(-1.0), Scale::of(1.0).x(9.0)], [LEFT, RIGHT]);
    }

    #[test]
    fn marks_that_touch_are_one() {
        let spans = [(0.0, 1.0), (1.5, 2.0), (1.6, 1.7), (4.0, 5.0)];
        assert_eq!(merged(spans.into_iter()), [(0.0, 2.0), (4.0, 5.0)]);
    }

    #[test]
    fn reads_at_the_same_time_lie_on_lines_of_their_own() {
        let at = |stage, begin_s, end_s| Interval { stage, sweep: 0, load: 0, begin_s, end_s };
        let read = Stage::Read;
        let intervals = [
            at(read, 2.0, 4.0),
            at(read, 0.0, 2.0),
            at(read, 1.0, 3.0),
            at(Stage::Stall, 0.0, 1.0),
            at(read, 3.0, 5.0),
        ];
        let shown: Vec<_> = lanes(&intervals).into_iter().map(|(name, _, lane)| (name, lane.len())).collect();
        let expected = [("engine waits", 1), ("shaders", 0), ("reads 1", 2), ("reads 2", 2)];
        assert_eq!(shown, expected.map(|(name, count)| (name.to_owned(), count)));
    }
}
