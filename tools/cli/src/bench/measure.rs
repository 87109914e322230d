//! One side of a measurement: a model on a GPU, passes of a prompt and some tokens, and what each pass took.

use tilestream::internals::platform::{cpu_s, disk_read_bytes, now_s, peak_memory_bytes};
use tilestream::internals::stream::{Profile, Stage, Tile};
use tilestream::monitor::Interval;
use tilestream::{
    AutoModel, Error, ErrorKind, GenerateOptions, LoadOptions, ModelFiles, ProfileReport, Result, TileMonitor,
};

use super::disk::Range;
use super::limit::{Spread, Work, queue_seconds};
use super::machine::ProcessorTimes;

/// Events kept of a pass: some sweeps of the largest model.
const EVENTS: usize = 4 << 20;

/// What is asked of each pass.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    pub prompt_tokens: u32,
    pub tokens: u32,
    pub seed: u64,
}

impl Task {
    /// Random ids (SplitMix64), others in each pass: what the cache holds of the last one is of no use.
    fn prompt(&self, pass: u64, vocab: u32) -> Vec<u32> {
        let mut state = self.seed ^ pass.wrapping_mul(0xd134_2543_de82_ef95);
        let mut id = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut bits = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((bits ^ bits >> 31) % u64::from(vocab.max(1))) as u32
        };
        (0..self.prompt_tokens).map(|_| id()).collect()
    }
}

/// What was counted at one moment.
#[derive(Clone, Copy)]
struct Counters {
    time_s: f64,
    cpu_s: Option<f64>,
    processors: Option<ProcessorTimes>,
    disk_bytes: Option<u64>,
    streamed_bytes: u64,
    ram_bytes: u64,
    sweeps: u64,
}

impl Counters {
    fn now(profile: &Profile) -> Self {
        let figures = profile.figures();
        Self {
            time_s: now_s(),
            cpu_s: cpu_s(),
            processors: ProcessorTimes::now(),
            disk_bytes: disk_read_bytes(),
            streamed_bytes: figures.bytes_read + figures.bytes_from_ram,
            ram_bytes: figures.bytes_from_ram,
            sweeps: figures.sweeps,
        }
    }

    /// What was done from then to now.
    fn since(&self, then: &Self, log: &Log) -> Work {
        let less = |now: Option<f64>, then: Option<f64>| Some((now? - then?).max(0.0));
        let cpu_s = less(self.cpu_s, then.cpu_s);
        let processors = |of: fn(ProcessorTimes) -> f64| less(self.processors.map(of), then.processors.map(of));
        let seconds = self.time_s - then.time_s;
        let (compute_s, copy_s) = queue_seconds(&log.intervals, then.time_s, self.time_s);
        // What the log has lost is taken to be like the rest.
        let logged_s = self.time_s - then.time_s.max(log.from_s);
        let scale = if logged_s > 0.0 { seconds / logged_s } else { 0.0 };
        Work {
            seconds,
            sweeps: self.sweeps - then.sweeps,
            cpu_s,
            other_cpu_s: less(processors(|times| times.busy_s), cpu_s),
            stolen_cpu_s: processors(|times| times.stolen_s),
            disk_bytes: self.disk_bytes.and_then(|now| now.checked_sub(then.disk_bytes?)),
            streamed_bytes: self.streamed_bytes - then.streamed_bytes,
            ram_bytes: self.ram_bytes - then.ram_bytes,
            compute_s: compute_s * scale,
            copy_s: copy_s * scale,
        }
    }
}

/// What happened in a pass.
struct Log {
    /// By their begin.
    intervals: Vec<Interval>,
    /// What came before was lost.
    from_s: f64,
}

/// What happened in one decode sweep.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    pub begin_s: f64,
    pub end_s: f64,
    pub intervals: Vec<Interval>,
}

impl Timeline {
    /// The sweep that took as long as most, of those that the log still holds.
    fn of(log: Log, spans: &[(f64, f64)]) -> Self {
        let seconds: Vec<f64> = spans.iter().map(|(begin_s, end_s)| end_s - begin_s).collect();
        let median = Spread::of(&seconds).median;
        let far = |span: &(f64, f64)| (span.1 - span.0 - median).abs();
        let logged = spans.iter().copied().filter(|span| span.0 >= log.from_s);
        let Some((begin_s, end_s)) = logged.min_by(|a, b| far(a).total_cmp(&far(b))) else {
            return Self::default();
        };
        let mut intervals = log.intervals;
        intervals.retain(|interval| interval.end_s > begin_s && interval.begin_s < end_s);
        Self { begin_s, end_s, intervals }
    }
}

/// What all passes of a side came to.
pub struct Measured {
    pub profile: ProfileReport,
    /// Rows of a sweep at most.
    pub rows: u32,
    /// After the pass that does not count; later this process may hold other things too.
    pub peak_process_bytes: Option<u64>,
    /// Of each pass.
    pub prefills: Vec<Work>,
    /// Of each token, which takes one sweep.
    pub decodes: Vec<Work>,
    pub timeline: Timeline,
}

impl Measured {
    /// Of all passes.
    pub fn work(&self) -> Work {
        Work::sum(&[Work::sum(&self.prefills), Work::sum(&self.decodes)])
    }
}

/// A model on a GPU, being measured.
pub struct Side {
    model: AutoModel,
    profile: Profile,
    watch: TileMonitor,
    task: Task,
    passes: u64,
    measured: Measured,
}

impl Side {
    /// Opens a model and makes the pass that does not count: tiles come to stay, and the driver compiles.
    ///
    /// # Errors
    /// Those of loading and of sweeps.
    pub async fn open(files: &ModelFiles, options: &LoadOptions, task: Task) -> Result<Self> {
        let mut model = files.clone().load(options).await?;
        let (profile, watch, rows) = (model.engine().profile().clone(), model.monitor(), model.engine().memory().rows);
        let measured = Measured {
            profile: model.profile(),
            rows,
            peak_process_bytes: None,
            prefills: Vec::new(),
            decodes: Vec::new(),
            timeline: Timeline::default(),
        };
        let mut side = Self { model, profile, watch, task, passes: 0, measured };
        side.generate().await?;
        side.measured.peak_process_bytes = peak_memory_bytes();
        Ok(side)
    }

    /// The model as it is now.
    pub fn model(&mut self) -> &mut AutoModel {
        &mut self.model
    }

    /// What is asked of each pass.
    pub fn task(&self) -> Task {
        self.task
    }

    /// A prompt and its tokens: what was counted before the first token, after it, and so on.
    async fn generate(&mut self) -> Result<Vec<Counters>> {
        let prompt = self.task.prompt(self.passes, self.model.files().spec().vocab);
        self.passes += 1;
        self.profile.keep_events(EVENTS);
        // The first token is the prompt's.
        let options = GenerateOptions::default().max_tokens(self.task.tokens + 1).ignore_eos(true);
        let mut counters = vec![Counters::now(&self.profile)];
        let mut answer = self.model.generate(prompt, options)?;
        while let Some(delta) = answer.next().await? {
            if delta.id.is_some() {
                counters.push(Counters::now(&self.profile));
            }
        }
        if answer.devices_lost() > 0 {
            let message = "the GPU device was lost on the way, so the times mean nothing";
            return Err(Error::new(ErrorKind::DeviceLost, message));
        }
        if counters.len() != self.task.tokens as usize + 2 {
            let message = format!("the text ended after {} tokens, for want of KV cache", counters.len() - 1);
            return Err(Error::new(ErrorKind::Budget, message).remedy("raise the budget, or ask for fewer tokens"));
        }
        Ok(counters)
    }

    /// One pass that counts.
    ///
    /// # Errors
    /// Those of sweeps.
    pub async fn pass(&mut self) -> Result<()> {
        let counters = self.generate().await?;
        let log = self.log();
        let mut works = counters.windows(2).map(|pair| pair[1].since(&pair[0], &log));
        self.measured.prefills.extend(works.next());
        self.measured.decodes.extend(works);
        let spans: Vec<_> = counters.windows(2).skip(1).map(|pair| (pair[0].time_s, pair[1].time_s)).collect();
        self.measured.timeline = Timeline::of(log, &spans);
        Ok(())
    }

    fn log(&self) -> Log {
        let mut intervals = self.watch.intervals();
        intervals.sort_by(|a, b| a.begin_s.total_cmp(&b.begin_s));
        let oldest = intervals.first().filter(|_| self.profile.events().len() >= EVENTS);
        let from_s = oldest.map_or(f64::NEG_INFINITY, |oldest| oldest.begin_s);
        Log { intervals, from_s }
    }

    /// What the last sweep read, in its order; the tiles of the model where it read nothing.
    pub fn ranges(&mut self) -> Vec<Range> {
        let intervals = self.watch.intervals();
        let last = intervals.iter().filter(|interval| interval.stage == Stage::Compute).map(|i| i.sweep).max();
        let reads = intervals.iter().filter(|interval| interval.stage == Stage::Read && Some(interval.sweep) == last);
        let mut loads: Vec<u64> = reads.map(|read| read.load).collect();
        loads.sort_unstable();
        let brought = self.profile.loads();
        let table = self.model.engine().tiles().0;
        let of_load = |load: &u64| {
            let brought = brought.get(load)?;
            let Tile { file, offset_bytes, .. } = table.tile(brought.first_tile);
            Some(Range { file, offset_bytes, len_bytes: brought.len_bytes })
        };
        let ranges: Vec<Range> = loads.iter().filter_map(of_load).collect();
        if !ranges.is_empty() {
            return ranges;
        }
        let of_tile = |index: usize| {
            let Tile { file, offset_bytes, len_bytes, .. } = table.tile(index);
            Range { file, offset_bytes, len_bytes }
        };
        (0..table.len()).map(of_tile).collect()
    }

    /// Closes the model.
    pub fn finish(self) -> Measured {
        Measured { profile: self.model.profile(), ..self.measured }
    }
}
