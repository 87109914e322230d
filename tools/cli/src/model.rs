//! From a MODEL argument to a loaded model.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tilestream::internals::gpu::kernels::{InputType, KvType};
use tilestream::internals::model::CancelToken;
use tilestream::internals::source;
use tilestream::store::ReadMode;
use tilestream::{
    AutoModel, Error, ErrorKind, GenerateOptions, GrammarSource, LoadOptions, ModelFiles, ProfileReport, Result,
    SamplerOptions, TemplateArguments, Trace,
};
use tilestream_split::Reporter;

use crate::args::{Activations, GenerationArgs, Io, Kv, ModelArgs};

/// U+FEFF in UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Opens the split model that MODEL stands for: at a web address, in a folder, or made of a checkpoint first, which may
/// lie on a hub.
pub async fn open(args: &ModelArgs, stop: &Arc<AtomicBool>) -> Result<ModelFiles> {
    let mut reporter = Reporter::new("splitting", Arc::clone(stop));
    let mut update = |progress: tilestream::internals::shard::Progress<'_>| reporter.update(progress);
    let options = args.hub.options(args.shards_dir.as_deref());
    let files = source::open(&args.model, &options, &tilestream_split::say, &mut update);
    tilestream_split::stoppable(stop, files).await
}

/// The same, with what its chat template is told.
pub async fn open_for_chat(args: &ModelArgs, chat: &GenerationArgs, stop: &Arc<AtomicBool>) -> Result<ModelFiles> {
    let arguments = TemplateArguments::new(chat.template_args.iter().cloned())?;
    let files = open(args, stop).await?.with_date(chat.date).with_template_arguments(arguments);
    with_chat_template(files, chat.chat_template.as_deref())
}

/// The model with the chat template of a file, where one is given.
pub fn with_chat_template(files: ModelFiles, path: Option<&Path>) -> Result<ModelFiles> {
    let Some(path) = path else { return Ok(files) };
    let template = files.with_chat_template(&read_text(path)?);
    template.map_err(|error| error.file(path.display().to_string()))
}

/// MODEL, where it is a web address.
pub fn web_address(args: &ModelArgs) -> Option<&str> {
    source::address_of(&args.model)
}

/// Load options of the arguments. `needed`: positions that are going to be used, over all sequences.
pub fn load_options(args: &ModelArgs, needed: Option<u32>) -> LoadOptions {
    let inputs = match args.activations {
        Activations::F32 => InputType::F32,
        Activations::I8 => InputType::I8,
    };
    let usual = LoadOptions::default().budget_bytes(args.budget).ram_bytes(args.ram);
    let mut options = usual.inputs(inputs).kv(kv_type(args.kv)).tune(!args.no_tune);
    options.io = match args.io {
        Io::Auto => None,
        Io::Buffered => Some(ReadMode::Buffered),
        Io::Direct => Some(ReadMode::Direct),
        Io::Uring => Some(ReadMode::Uring),
    };
    options.adapter = args.adapter.clone();
    options.context = needed.or(args.context);
    options.context_limit = args.context;
    options.prefill_chunk = args.prefill_chunk;
    options
}

/// The kernels' name of a storage of keys and values.
pub fn kv_type(kv: Kv) -> KvType {
    match kv {
        Kv::F32 => KvType::F32,
        Kv::F16 => KvType::F16,
    }
}

/// Options of one answer: what the arguments say, and `own` for the rest. Temperature 0 is the best token whatever else the
/// checkpoint recommends.
pub fn generate_options(args: &GenerationArgs, own: &SamplerOptions) -> GenerateOptions {
    let greedy = SamplerOptions::default().seed(own.seed);
    let own = if args.temperature == Some(0.0) { &greedy } else { own };
    let sampler = SamplerOptions::default()
        .temperature(args.temperature.unwrap_or(own.temperature))
        .top_k(args.top_k.map_or(own.top_k, |top_k| top_k as usize))
        .top_p(args.top_p.unwrap_or(own.top_p))
        .min_p(args.min_p.unwrap_or(own.min_p))
        .repetition_penalty(args.repetition_penalty.unwrap_or(own.repetition_penalty))
        .seed(args.seed.unwrap_or(own.seed));
    let options = GenerateOptions::default().max_tokens(args.max_tokens).sampler(sampler);
    options.stop(args.stop.clone()).ignore_eos(args.ignore_eos)
}

/// The same with what answers have to be.
///
/// # Errors
/// Those of the file that says it; [`ErrorKind::Argument`] for what cannot be held.
pub fn with_format(options: GenerateOptions, args: &GenerationArgs, files: &ModelFiles) -> Result<GenerateOptions> {
    let (source, file) = match (&args.json_schema, &args.regex, &args.grammar) {
        (Some(file), ..) => {
            let schema = serde_json::from_str(&read_text(file)?).map_err(|error| {
                let error = Error::new(ErrorKind::Argument, format!("is no JSON: {error}"));
                error.file(file.display().to_string()).remedy("write a JSON schema into it")
            })?;
            (GrammarSource::JsonSchema(schema), Some(file))
        }
        (_, Some(regex), _) => (GrammarSource::Regex(regex.clone()), None),
        (_, _, Some(file)) => (GrammarSource::Lark(read_text(file)?), Some(file)),
        _ => return Ok(options),
    };
    let named = |error: Error| match file {
        Some(file) => error.file(file.display().to_string()),
        None => error,
    };
    Ok(options.grammar(files.grammar(source).map_err(named)?))
}

/// Refuses sampling options that are out of range, before a model is opened.
pub fn check_sampling(args: &GenerationArgs) -> Result<()> {
    generate_options(args, &SamplerOptions::default()).sampler.validate()
}

/// The checkpoint's own sampling, with a seed that nobody has had.
pub fn own_sampling(files: &ModelFiles) -> SamplerOptions {
    files.sampling().seed(new_seed())
}

/// A seed that nobody has had.
pub fn new_seed() -> u64 {
    // What keys the hash maps of a process is random; 32 bits are easily typed again.
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0_u64) >> 32
}

/// Says on stderr how tokens are chosen, where that is left to chance.
pub fn tell_sampling(sampler: &SamplerOptions) {
    if sampler.temperature > 0.0 {
        let SamplerOptions { temperature, top_k, top_p, min_p, repetition_penalty, seed, .. } = sampler;
        eprintln!(
            "sampling: temperature {temperature}, top-k {top_k}, top-p {top_p}, min-p {min_p}, repetition penalty \
             {repetition_penalty}, seed {seed}"
        );
    }
}

/// Loads the model; the stop flag ends that, and what it does later.
pub async fn load(files: ModelFiles, options: &LoadOptions, stop: &Arc<AtomicBool>) -> Result<AutoModel> {
    watch_stop(stop, options.cancel.clone())?;
    let mut model = files.load(options).await?;
    log::info!("{}", model.reads());
    for (kernel, shape) in &model.engine().tuning().found {
        log::info!("{kernel:?}: {shape}");
    }
    let used = model.profile().budget_bytes;
    if used < options.budget_bytes {
        let mib = |bytes: u64| bytes >> 20;
        eprintln!("the GPU has no memory for {} MiB: {} MiB are used", mib(options.budget_bytes), mib(used));
    }
    if options.inputs == InputType::I8 && !model.engine().rounds_inputs() {
        eprintln!("no matrix of this model takes rounded activations (--activations i8): they stay f32");
    }
    Ok(model)
}

/// Cancels the token whenever the flag is raised.
pub fn watch_stop(stop: &Arc<AtomicBool>, token: CancelToken) -> Result<()> {
    let stop = Arc::downgrade(stop);
    // The flag is set by a signal handler, which may do no more than that.
    let watch = move || {
        while let Some(stop) = stop.upgrade() {
            if stop.load(std::sync::atomic::Ordering::Relaxed) {
                token.cancel();
            }
            drop(stop);
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let thread = std::thread::Builder::new().name("stop-watcher".into()).spawn(watch);
    thread.map_err(|error| Error::io(error, "a thread that watches for Ctrl-C"))?;
    Ok(())
}

/// Reads a text file: UTF-8, with or without a byte order mark.
pub fn read_text(path: &Path) -> Result<String> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Error::io(error, name.clone()))?;
    utf8(bytes).map_err(|error| error.file(name))
}

/// Bytes as text, without the byte order mark that some editors put before it: it is no part of what was written.
pub fn utf8(bytes: Vec<u8>) -> Result<String> {
    let utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    String::from_utf8(without_bom(bytes)).map_err(|error| {
        let message = if utf16 { "is UTF-16, not UTF-8 text" } else { "is not UTF-8 text" };
        Error::new(ErrorKind::Argument, message).remedy("save it as UTF-8").source(error)
    })
}

/// Bytes without a byte order mark at their beginning.
pub fn without_bom(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.starts_with(BOM) {
        bytes.drain(..BOM.len());
    }
    bytes
}

/// Reads a JSON array of token ids.
pub fn read_ids(path: &Path) -> Result<Vec<u32>> {
    serde_json::from_str(&read_text(path)?).map_err(|error| {
        Error::new(ErrorKind::Argument, format!("is not a JSON array of token ids: {error}"))
            .file(path.display().to_string())
    })
}

/// Writes a file that appears when it is whole.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let failed = |error| Error::io(error, path.display().to_string());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let mut out = BufWriter::new(file.as_file_mut());
    write(&mut out).and_then(|()| out.flush()).map_err(failed)?;
    drop(out);
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Writes a trace, if one was asked for, and says on stderr what took the GPU's time.
pub fn write_trace(trace: Option<(Trace, &Path)>) -> Result<()> {
    let Some((trace, path)) = trace else { return Ok(()) };
    write_whole(path, |out| serde_json::to_writer(out, &trace.to_json()).map_err(Into::into))?;
    // Below an answer that has no end of line.
    eprintln!();
    if let Some(why) = trace.without_dispatches() {
        eprintln!("no dispatches in the trace: {why}");
    }
    let kernels = trace.kernels();
    let all: f64 = kernels.iter().map(|kernel| kernel.seconds).sum();
    for time in kernels {
        let (share, gb) = (100.0 * time.seconds / all.max(f64::MIN_POSITIVE), time.weight_bytes as f64 / 1e9);
        let rate =
            if time.weight_bytes > 0 { format!(", {:.2} GB/s of weights", gb / time.seconds) } else { String::new() };
        eprintln!("{:>9.3} s {share:>3.0} %  {} ({} dispatches{rate})", time.seconds, time.kernel, time.dispatches);
    }
    Ok(())
}

/// What a JSON report says of a run.
#[derive(serde::Serialize)]
pub struct RunProfile {
    #[serde(flatten)]
    pub model: ProfileReport,
    pub prompt_tokens: usize,
    pub new_tokens: usize,
    pub time_to_first_token_s: f64,
    pub decode_tokens_per_s: f64,
}

/// Times of the tokens of one answer.
pub struct Stopwatch {
    start: std::time::Instant,
    first_s: Option<f64>,
    last_s: f64,
    tokens: usize,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self { start: std::time::Instant::now(), first_s: None, last_s: 0.0, tokens: 0 }
    }

    /// A token came.
    pub fn token(&mut self) {
        self.last_s = self.start.elapsed().as_secs_f64();
        self.first_s.get_or_insert(self.last_s);
        self.tokens += 1;
    }

    /// The report: decoding is timed from the first token on.
    pub fn report(&self, model: ProfileReport, prompt_tokens: usize) -> RunProfile {
        let first = self.first_s.unwrap_or(0.0);
        let seconds = self.last_s - first;
        let decode = if seconds > 0.0 { (self.tokens - 1) as f64 / seconds } else { 0.0 };
        RunProfile {
            model,
            prompt_tokens,
            new_tokens: self.tokens,
            time_to_first_token_s: first,
            decode_tokens_per_s: decode,
        }
    }
}

impl RunProfile {
    /// The figures for people, on stderr.
    pub fn print(&self) {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let model = &self.model;
        eprintln!("adapter            {}", model.adapter);
        eprintln!(
            "GPU memory         {:.1} MiB at most, of a budget of {:.1} MiB; the weights are {:.1} MiB",
            mib(model.peak_gpu_bytes),
            mib(model.budget_bytes),
            mib(model.model_bytes)
        );
        eprintln!(
            "weights            {:.1} MiB stay on the GPU, {:.1} MiB in memory; {:.1} MiB travel in every sweep",
            mib(model.pinned_bytes),
            mib(model.ram_bytes),
            mib(model.streamed_bytes_per_sweep)
        );
        if let Some(experts) = &model.experts {
            let a_sweep = |bytes: u64| mib(bytes) / model.sweeps.max(1) as f64;
            eprintln!(
                "experts            {:.1} MiB a sweep chosen, {:.0} % of it on the GPU already; whole layers would be {:.1} MiB",
                a_sweep(experts.used_bytes),
                experts.hit_rate * 100.0,
                a_sweep(experts.whole_layer_bytes)
            );
        }
        eprintln!("first token        {:.2} s ({} prompt tokens)", self.time_to_first_token_s, self.prompt_tokens);
        eprintln!("decoding           {:.2} tokens/s ({} tokens)", self.decode_tokens_per_s, self.new_tokens);
        eprintln!(
            "busy               read {:.2} s, upload {:.2} s, compute {:.2} s of {:.2} s; {} sweeps, which waited {:.2} s for reads",
            model.read_busy_s, model.upload_busy_s, model.compute_busy_s, model.wall_s, model.sweeps, model.stall_s
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_text() {
        let text = |bytes: &[u8]| utf8(bytes.to_vec()).map_err(|error| error.to_string());
        for (bytes, expected) in [
            (&b"\xef\xbb\xbfhello"[..], "hello"),
            (b"hello", "hello"),
            (b"", ""),
            (b"\xef\xbb\xbf", ""),
            (b"a\xef\xbb\xbfb", "a\u{feff}b"),
            (b"\xef\xbb\xbf\xef\xbb\xbfa", "\u{feff}a"),
        ] {
            assert_eq!(text(bytes), Ok(expected.to_owned()), "{bytes:?}");
        }
        assert!(text(b"\xff\xfeh\0i\0").is_err_and(|error| error.contains("UTF-16")));
        assert!(text(b"\xffh").is_err_and(|error| error.contains("UTF-8") && !error.contains("UTF-16")));
    }
}
