//! What a measurement says: as JSON that can be understood later, and as a table for people.

use std::collections::BTreeMap;

use serde::Serialize;
use tilestream_split::size::show_size;

use super::disk::Disk;
use super::limit::{Limit, Machine, Spread, Work};
use super::measure::Measured;

/// Others on the machine are spoken of from this many cores on.
const OTHERS_MATTER: f64 = 0.1;

/// Everything.
#[derive(Debug, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub model: ModelFacts,
    pub adapter: AdapterFacts,
    pub host: HostFacts,
    pub options: Options,
    pub disk: Disk,
    /// Of plain copies to the GPU; none where shaders read the windows themselves.
    pub upload_bytes_per_s: Option<f64>,
    pub streamed: SideReport,
    pub resident: Option<SideReport>,
    pub cost_of_streaming: Option<Cost>,
}

#[derive(Debug, Serialize)]
pub struct ModelFacts {
    pub name: String,
    pub family: String,
    pub weights: String,
    pub layers: usize,
    pub hidden: u32,
    pub vocab: u32,
    pub bytes: u64,
    /// Bytes of each encoding.
    pub encodings: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
pub struct AdapterFacts {
    pub name: String,
    pub kind: String,
    pub backend: String,
    pub driver: String,
    /// Shaders run on the processor.
    pub is_cpu: bool,
    /// Shaders read what was read, where it lies.
    pub reads_windows: bool,
}

#[derive(Debug, Serialize)]
pub struct HostFacts {
    pub os: &'static str,
    pub arch: &'static str,
    pub cores: usize,
}

#[derive(Debug, Serialize)]
pub struct Options {
    pub prompt_tokens: u32,
    pub tokens: u32,
    pub repeats: u32,
    pub seed: u64,
    pub context: u32,
    pub kv: &'static str,
    pub budget_bytes: u64,
    pub ram_bytes: u64,
    /// What matrices are multiplied with.
    pub activations: &'static str,
    /// Of tiles that stay on the GPU, on the streamed side; none where only the budget limits them.
    pub most_pinned_bytes: Option<u64>,
    /// Whether both sides were open at once and took turns; none where there is only one.
    pub interleaved: Option<bool>,
}

/// One side.
#[derive(Debug, Serialize)]
pub struct SideReport {
    pub budget_bytes: u64,
    pub prefill_tokens_per_s: f64,
    pub decode_tokens_per_s: f64,
    /// Seconds of a whole prompt.
    pub prefill_s: Spread,
    pub sweep_s: Spread,
    pub streamed_bytes_per_sweep: u64,
    /// Of them those that came from the host's memory (`--ram`).
    pub ram_bytes_per_sweep: u64,
    pub disk_bytes_per_sweep: Option<u64>,
    pub pinned_bytes: u64,
    pub ram_bytes: u64,
    /// Rows of a sweep at most.
    pub prefill_chunk: u32,
    pub peak_gpu_bytes: u64,
    pub peak_process_bytes: Option<u64>,
    /// Cores that other programs used meanwhile, on average.
    pub other_cores: Option<f64>,
    /// Cores that a hypervisor kept from this machine meanwhile, on average.
    pub stolen_cores: Option<f64>,
    /// Of a prompt.
    pub prefill_limit: Limit,
    /// Of a sweep of one token.
    pub decode_limit: Limit,
}

/// How many times as long things take as with everything resident.
#[derive(Debug, Serialize)]
pub struct Cost {
    pub prefill: f64,
    pub decode: f64,
    /// The same of CPU seconds, which other programs disturb less.
    pub prefill_cpu: Option<f64>,
    pub decode_cpu: Option<f64>,
}

impl SideReport {
    /// Of what was measured on a machine, with so many tokens a prompt.
    pub fn new(measured: &Measured, machine: &Machine, prompt_tokens: u32) -> Self {
        let (prefill, decode) = (Work::sum(&measured.prefills), Work::sum(&measured.decodes));
        let seconds = |works: &[Work]| Spread::of(&works.iter().map(|work| work.seconds).collect::<Vec<_>>());
        let rate = |tokens: usize, work: &Work| if work.seconds > 0.0 { tokens as f64 / work.seconds } else { 0.0 };
        let all = measured.work();
        let cores = |cpu_s: f64| cpu_s / all.seconds.max(1e-9);
        let sweeps = decode.sweeps.max(1);
        Self {
            budget_bytes: measured.profile.budget_bytes,
            prefill_tokens_per_s: rate(measured.prefills.len() * prompt_tokens as usize, &prefill),
            decode_tokens_per_s: rate(measured.decodes.len(), &decode),
            prefill_s: seconds(&measured.prefills),
            sweep_s: seconds(&measured.decodes),
            streamed_bytes_per_sweep: decode.streamed_bytes / sweeps,
            ram_bytes_per_sweep: decode.ram_bytes / sweeps,
            disk_bytes_per_sweep: decode.disk_bytes.map(|bytes| bytes / sweeps),
            pinned_bytes: measured.profile.pinned_bytes,
            ram_bytes: measured.profile.ram_bytes,
            prefill_chunk: measured.rows,
            peak_gpu_bytes: measured.profile.peak_gpu_bytes,
            peak_process_bytes: measured.peak_process_bytes,
            other_cores: all.other_cpu_s.map(cores),
            stolen_cores: all.stolen_cpu_s.map(cores),
            prefill_limit: Limit::of_each(&measured.prefills, machine),
            decode_limit: Limit::of_each(&measured.decodes, machine),
        }
    }
}

impl Cost {
    /// Of streaming against resident.
    pub fn of(streamed: &SideReport, resident: &SideReport) -> Self {
        let cpu = |of: fn(&SideReport) -> &Limit| Some(of(streamed).cpu_s? / of(resident).cpu_s?.max(1e-12));
        Self {
            prefill: resident.prefill_tokens_per_s / streamed.prefill_tokens_per_s.max(1e-12),
            decode: resident.decode_tokens_per_s / streamed.decode_tokens_per_s.max(1e-12),
            prefill_cpu: cpu(|side| &side.prefill_limit),
            decode_cpu: cpu(|side| &side.decode_limit),
        }
    }
}

/// Seconds in the unit that suits them.
pub fn show_seconds(seconds: f64) -> String {
    match seconds {
        0.0 => "0".to_owned(),
        s if s < 0.9995 => format!("{:.*} ms", if s < 0.01 { 2 } else { 1 }, s * 1e3),
        s => format!("{s:.2} s"),
    }
}

fn known(value: Option<impl Into<String>>) -> String {
    value.map_or("-".to_owned(), Into::into)
}

/// A row of the table: a name, and a cell for each side.
type Row = (&'static str, Vec<String>);

impl Report {
    fn sides(&self) -> impl Iterator<Item = &SideReport> {
        [&self.streamed].into_iter().chain(&self.resident)
    }

    fn row(&self, name: &'static str, cell: impl Fn(&SideReport) -> String) -> Row {
        (name, self.sides().map(cell).collect())
    }

    /// What was measured, and on what.
    pub fn title(&self) -> [String; 3] {
        let Self { model, adapter, host, options, .. } = self;
        let encodings: Vec<&str> = model.encodings.keys().map(String::as_str).collect();
        let pin = options.most_pinned_bytes.map_or(String::new(), |most| format!("; --pin {}", show_size(most)));
        let rounded = if options.activations == "i8" { "; --activations i8" } else { "" };
        let comma = if adapter.driver.is_empty() { "" } else { ", " };
        [
            format!("{} ({}; {}), {}", model.name, model.family, encodings.join(", "), show_size(model.bytes)),
            format!("{} ({}{comma}{}), {} cores", adapter.name, adapter.backend, adapter.driver, host.cores),
            format!(
                "a prompt of {} tokens and {} more; passes: {}{pin}{rounded}",
                options.prompt_tokens, options.tokens, options.repeats
            ),
        ]
    }

    fn figures(&self) -> Vec<Row> {
        let size = |bytes: Option<u64>| known(bytes.map(show_size));
        let spread = |spread: &Spread| {
            format!("{} ({} to {})", show_seconds(spread.median), show_seconds(spread.min), show_seconds(spread.max))
        };
        let mut rows = vec![
            self.row("budget", |side| show_size(side.budget_bytes)),
            self.row("prefill", |side| format!("{:.1} tokens/s", side.prefill_tokens_per_s)),
            self.row("decoding", |side| format!("{:.2} tokens/s", side.decode_tokens_per_s)),
            self.row("sweep of a token", |side| spread(&side.sweep_s)),
            self.row("streamed a sweep", |side| show_size(side.streamed_bytes_per_sweep)),
            self.row("read from the disk", |side| size(side.disk_bytes_per_sweep)),
            self.row("stays on the GPU", |side| show_size(side.pinned_bytes)),
            self.row("peak of the GPU", |side| show_size(side.peak_gpu_bytes)),
            self.row("peak of the process", |side| size(side.peak_process_bytes)),
        ];
        if self.options.ram_bytes > 0 {
            rows.insert(5, self.row("  of it from --ram", |side| show_size(side.ram_bytes_per_sweep)));
        }
        rows
    }

    fn limit(&self, of: impl Fn(&SideReport) -> &Limit) -> Vec<Row> {
        let seconds = |part: Option<f64>| known(part.map(show_seconds));
        let percent = |side: &SideReport| {
            let limit = of(side);
            let least = if limit.disk_s.is_none() { "at least " } else { "" };
            let best = known(limit.best_percent.map(|percent| format!("{percent:.0} %")));
            known(limit.reached_percent.map(|percent| format!("{least}{percent:.0} % (at best {best})")))
        };
        let mut rows = vec![self.row("  disk", |side| seconds(of(side).disk_s))];
        if !self.adapter.is_cpu {
            rows.push(self.row("  upload", |side| seconds(Some(of(side).upload_s))));
            rows.push(self.row("  GPU computes", |side| seconds(of(side).gpu_compute_s)));
        }
        let cpu = if self.adapter.is_cpu { "  CPU, all cores" } else { "  (CPU, all cores)" };
        rows.push(self.row(cpu, |side| seconds(of(side).cpu_s)));
        rows.push(self.row("  limit", |side| {
            let limit = of(side);
            known(limit.limit_s.zip(limit.bound_by).map(|(limit, part)| format!("{} ({part})", show_seconds(limit))))
        }));
        rows.push(self.row("  reached on average", percent));
        let of_left = |side: &SideReport| of(side).reached_of_left_percent;
        if self.lost_cores(|side| side.stolen_cores).is_some() && self.sides().any(|side| of_left(side).is_some()) {
            let percent = |percent: f64| format!("{percent:.0} %");
            rows.push(self.row("  of what was left", |side| known(of_left(side).map(percent))));
        }
        rows
    }

    /// The most of some cores that were lost on a side, where it matters.
    fn lost_cores(&self, of: impl Fn(&SideReport) -> Option<f64>) -> Option<f64> {
        self.sides().filter_map(of).reduce(f64::max).filter(|cores| *cores > OTHERS_MATTER)
    }

    /// How plain reads and copies did.
    fn rates(&self) -> String {
        let Disk { cold_bytes_per_s, warm_bytes_per_s, share_in_page_cache, .. } = &self.disk;
        let rate = |rate: &Option<f64>| known(rate.map(|rate| format!("{}/s", show_size(rate as u64))));
        let share = match share_in_page_cache {
            Some(share) => format!("it held {:.0} % of what a sweep streams", 100.0 * share),
            None => "page cache unknown".to_owned(),
        };
        let mut text = format!(
            "plain reads          {} from the disk, {} from the page cache ({share}); {} at a time, up to {} each\n",
            rate(cold_bytes_per_s),
            rate(warm_bytes_per_s),
            self.disk.reads_in_flight,
            show_size(self.disk.largest_read_bytes)
        );
        if self.upload_bytes_per_s.is_some() {
            text += &format!("plain copies         {} to the GPU\n", rate(&self.upload_bytes_per_s));
        }
        text
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = self.title().join("\n") + "\n\n";
        if self.resident.is_some() {
            text += &line("", &["streamed".to_owned(), "resident".to_owned()]);
        }
        let mut add = |rows: Vec<Row>| rows.iter().for_each(|(name, cells)| text += &line(name, cells));
        add(self.figures());
        add(vec![("limit of a sweep", Vec::new())]);
        add(self.limit(|side| &side.decode_limit));
        add(vec![("limit of a prompt", Vec::new())]);
        add(self.limit(|side| &side.prefill_limit));
        text += "\n";
        text += &self.rates();
        if let Some(Cost { prefill, decode, prefill_cpu, decode_cpu }) = &self.cost_of_streaming {
            let times = |times: &Option<f64>| known(times.map(|times| format!("{times:.2}")));
            text += &format!(
                "cost of streaming    prefill takes {prefill:.2} times as long as resident, decoding {decode:.2}; in CPU \
                 seconds {} and {}\n",
                times(prefill_cpu),
                times(decode_cpu)
            );
        }
        let cores = self.host.cores;
        if let Some(others) = self.lost_cores(|side| side.other_cores) {
            text += &format!(
                "note: other programs used {others:.1} of {cores} cores meanwhile, and times are longer for it; see what was \
                 reached at best\n"
            );
        }
        if let Some(stolen) = self.lost_cores(|side| side.stolen_cores) {
            text += &format!(
                "note: the hypervisor kept {stolen:.1} of {cores} cores for itself and others meanwhile: reading the disk costs \
                 it time\n"
            );
        }
        if self.disk.cold_bytes_per_s.is_none() && self.streamed.disk_bytes_per_sweep != Some(0) {
            text += "note: what the disk does could not be measured here; the limit leaves it out\n";
        }
        text
    }
}

/// A line of the table.
fn line(name: &str, cells: &[String]) -> String {
    let cells: String = cells.iter().map(|cell| format!(" {cell:<32}")).collect();
    format!("{name:<20}{cells}").trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_a_unit_that_suits_them() {
        let shown = [0.0, 0.00123, 0.0456, 0.9, 0.9996, 61.5].map(show_seconds);
        assert_eq!(shown, ["0", "1.23 ms", "45.6 ms", "900.0 ms", "1.00 s", "61.50 s"]);
    }

    #[test]
    fn lines_are_as_long_as_they_need_be() {
        assert_eq!(line("a", &["b".into(), "c".into()]), format!("a{}b{}c\n", " ".repeat(20), " ".repeat(32)));
        assert_eq!(line("limit", &[]), "limit\n");
    }
}
