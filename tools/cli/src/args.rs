//! The command line as typed: what exists, what it means, what its defaults are.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::Value;
use tilestream::TemplateArguments;
use tilestream_split::HubArgs;
use tilestream_split::size::{parse_memory, parse_size};

/// Runs language models that are larger than the GPU's memory, by streaming their weights through it in tiles.
#[derive(Debug, Parser)]
#[command(name = "tilestream", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "\
MODEL is a split model's folder, its address on a web server (https://host/model/), a Hugging Face checkpoint folder, a \
GGUF file, or a model on the Hugging Face Hub (ORG/NAME or ORG/NAME@REVISION, unless a local path has that name). The \
last three are split on first use into a cache folder (or --shards-dir) and found there the next time; what is fetched \
from a server is kept there too. HF_ENDPOINT names a mirror of the Hub, HF_TOKEN a token for gated and private models.

Sizes take KB, KiB, MB, MiB, GB, GiB; a number alone is bytes. Results go to stdout, messages to stderr.

Examples:
  tilestream run model.gguf --prompt 'What is a tile?' --budget 256MiB
  echo 'What is a tile?' | tilestream run model.gguf
  tilestream chat model.gguf
  tilestream chat Qwen/Qwen2.5-7B-Instruct
  tilestream split checkpoint/ model/ --weights q4
  tilestream inspect model/
  tilestream serve model/
  tilestream host models/")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Say more on stderr (-v: information, -vv: everything).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Split a checkpoint into a model: tiles in sweep order, checksummed.
    Split(tilestream_split::SplitArgs),
    /// Generate text for one prompt, or for many that share each sweep.
    Run(RunArgs),
    /// Talk with a model. Ctrl-C stops the answer, Ctrl-D ends the chat.
    Chat(ChatArgs),
    /// Measure tokens a second, memory and bytes, and how near they come to what this machine allows.
    Bench(BenchArgs),
    /// Mean negative log-likelihood of a text, as JSON.
    Score(ScoreArgs),
    /// What a model is made of, the smallest budget, and what to expect of this disk.
    Inspect(InspectArgs),
    /// Check every checksum; name each bad block and its tensors.
    Verify(tilestream_split::VerifyArgs),
    /// Write a model of random weights in a published shape, to measure with.
    Synth(tilestream_split::SynthArgs),
    /// Host split models and the web page on this machine, for browsers to stream from.
    Host(HostArgs),
    /// Serve a model to programs that speak OpenAI's API.
    Serve(ServeArgs),
    /// List adapters with the features and limits that matter.
    Devices(DevicesArgs),
}

/// Where the model comes from and what it may use.
#[derive(Clone, Debug, Args)]
pub struct ModelArgs {
    /// A split model's folder or web address, a Hugging Face checkpoint folder, a GGUF file, or ORG/NAME on the Hub.
    pub model: PathBuf,
    /// GPU memory for everything: weights, KV cache, activations, staging.
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = parse_memory)]
    pub budget: u64,
    /// Memory of the host for weights that do not fit the budget: read once, they stay there, and the disk has less to do.
    /// Worth it where the model is larger than what the system's file cache holds.
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_memory)]
    pub ram: u64,
    /// How the model's files are read. auto: through the system's cache where it can hold what a sweep reads, else in the way
    /// that was fastest when the disk was measured, for up to 1.5 s (steady figures are remembered); buffered: through the
    /// cache; direct: past it; io_uring: past it, each read in pieces of which several are in flight (Linux).
    #[arg(long, value_enum, default_value = "auto", hide_possible_values = true)]
    #[arg(value_name = "auto|buffered|direct|io_uring")]
    pub io: Io,
    /// What matrices are multiplied with: f32, activations as they are; i8, rounded to 8 bits where the weights are whole
    /// numbers (q8_0, i8, q4_0, q4_1, q4_z, q4_k, q6_k), which is faster, and less exact (see `tilestream score`).
    #[arg(long, value_enum, default_value = "f32", hide_possible_values = true, value_name = "f32|i8")]
    pub activations: Activations,
    /// Positions that a text may take, prompt and answer; what does not fit is refused, and an answer ends there [default: as
    /// many as the model has, of which those are reserved that the prompt and --max-tokens need].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub context: Option<u32>,
    /// Storage of keys and values.
    #[arg(long, value_enum, default_value = "f32")]
    pub kv: Kv,
    /// Rows of a sweep at most: the chunk in which a prompt is read [default: what the budget allows].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub prefill_chunk: Option<u32>,
    /// Use the adapter whose name contains this (see `tilestream devices`).
    #[arg(long, value_name = "NAME")]
    pub adapter: Option<String>,
    /// Use the usual kernel shapes of this kind of adapter, whatever is known to be faster; search for none.
    #[arg(long)]
    pub no_tune: bool,
    /// Where a checkpoint is split to on first use, instead of the cache folder.
    #[arg(long, value_name = "DIR")]
    pub shards_dir: Option<PathBuf>,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// How files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Io {
    Auto,
    Buffered,
    Direct,
    #[value(name = "io_uring")]
    Uring,
}

/// What matrices are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Activations {
    F32,
    I8,
}

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kv {
    F32,
    F16,
}

/// What is shown of a model's reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShowReasoning {
    Show,
    Hide,
    Only,
}

/// How the states of a text's tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PoolingArg {
    /// That of the last token.
    Last,
    /// Their mean.
    Mean,
}

impl From<PoolingArg> for tilestream::Pooling {
    fn from(pooling: PoolingArg) -> Self {
        match pooling {
            PoolingArg::Last => Self::Last,
            PoolingArg::Mean => Self::Mean,
        }
    }
}

/// How the next token is chosen, and when to stop.
#[derive(Clone, Debug, Args)]
pub struct GenerationArgs {
    /// The system prompt.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub system: Option<String>,
    /// The date that chat templates tell, if they do [default: today's, in UTC]. With a fixed date, the same options and seed
    /// give the same text on any day.
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub date: Option<tilestream::internals::text::Date>,
    /// A file with the chat template, in place of the model's own: Jinja, as checkpoints have it in chat_template.jinja.
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// A value for a variable of the chat template, such as enable_thinking=false; may be given several times. VALUE is JSON, or
    /// a text where it is none.
    #[arg(long = "template-arg", value_name = "KEY=VALUE", value_parser = template_argument, allow_hyphen_values = true)]
    pub template_args: Vec<(String, Value)>,
    /// Tokens to generate at most.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: u32,
    /// 0 takes the best token every time [default: what the checkpoint recommends in its generation_config.json, as for the next
    /// four, where that says do_sample; else 0].
    #[arg(long, value_name = "T")]
    pub temperature: Option<f32>,
    /// Only the K best tokens (0: all).
    #[arg(long, value_name = "K")]
    pub top_k: Option<u32>,
    /// Only the best tokens that together have this probability.
    #[arg(long, value_name = "P")]
    pub top_p: Option<f32>,
    /// Only tokens with at least this share of the best one's probability.
    #[arg(long, value_name = "P")]
    pub min_p: Option<f32>,
    /// Above 1 makes tokens that stand in the text already less likely.
    #[arg(long, value_name = "R")]
    pub repetition_penalty: Option<f32>,
    /// Same seed, same text [default: a new one each time, which is told; with --prompts 0].
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Stop before this text, or at this token (such as '<|im_end|>'); may be given several times.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub stop: Vec<String>,
    /// The answer is JSON that the schema in this file describes: no token is chosen that would break it.
    #[arg(long, value_name = "FILE", group = "format", help_heading = "What an answer has to be")]
    pub json_schema: Option<PathBuf>,
    /// The answer is a text that this regular expression matches as a whole.
    #[arg(
        long,
        value_name = "REGEX",
        group = "format",
        allow_hyphen_values = true,
        help_heading = "What an answer has to be"
    )]
    pub regex: Option<String>,
    /// The answer meets the grammar in this file, in the notation of Lark.
    #[arg(long, value_name = "FILE", group = "format", help_heading = "What an answer has to be")]
    pub grammar: Option<PathBuf>,
    /// What the model thinks before it answers: show it on stderr, hide it, or show only it (on stdout).
    #[arg(long, value_enum, default_value = "show", hide_possible_values = true, value_name = "show|hide|only")]
    pub reasoning: ShowReasoning,
    /// Go on after the end of the turn.
    #[arg(long)]
    pub ignore_eos: bool,
    /// Show figures at the end, on stderr.
    #[arg(long)]
    pub profile: bool,
    /// Write what happened when, every read, upload, submit, dispatch and wait, as a Chrome trace (see
    /// https://ui.perfetto.dev), and show the GPU's seconds by kernel at the end, on stderr.
    #[arg(long, value_name = "FILE.json")]
    pub trace: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("input"))]
pub struct RunArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The prompt, put through the model's chat template (see --raw) [default: what comes on standard input].
    #[arg(short, long, value_name = "TEXT", group = "input", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// A file with the prompt; - reads standard input.
    #[arg(short = 'f', long, value_name = "FILE", group = "input")]
    pub prompt_file: Option<PathBuf>,
    /// A file with a JSON array of token ids: the prompt as it is.
    #[arg(long, value_name = "FILE", group = "input")]
    pub ids_file: Option<PathBuf>,
    /// Many prompts, one JSON object a line, that share each sweep: {"prompt": "…"}, {"messages": […]} or {"ids": […]}; also
    /// "id", "system", "max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed" and "stop". What a
    /// line does not say is as the command's options are. - reads standard input.
    #[arg(long, value_name = "FILE.jsonl", group = "input", requires = "out")]
    pub prompts: Option<PathBuf>,
    /// Where the answers to --prompts go, each as soon as it is done: a line with the "index" of its prompt's line, from 1, and
    /// its "id". The same command again goes on with what has no answer yet. Lines that cannot be answered get an "error", the
    /// others go on, and the command ends with exit code 1. - writes to standard output, where nothing is found again.
    #[arg(long, value_name = "FILE.jsonl", requires = "prompts")]
    pub out: Option<PathBuf>,
    /// Take the prompt as it is, without the chat template.
    #[arg(long)]
    pub raw: bool,
    /// Print one JSON object with ids, text, reasoning, stop_reason and profile, instead of the text as it comes.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub generation: GenerationArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Lines that begin with a slash are commands; /help lists them. \"\"\" begins a message of several lines, which ends with \
\"\"\"; several lines that are pasted are one message. Where standard input is no terminal, each of its lines is a message.")]
pub struct ChatArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub generation: GenerationArgs,
    /// What happens when a message does not fit the context any more. refuse: it is not sent, and the conversation stays as
    /// it is; drop-oldest: the oldest messages are left out, the system prompt stays.
    #[arg(long, value_enum, default_value = "refuse", hide_possible_values = true, value_name = "refuse|drop-oldest")]
    pub when_full: WhenFull,
    /// Do not keep what is typed for later chats.
    #[arg(long)]
    pub no_history: bool,
}

/// What a chat does when its context is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhenFull {
    Refuse,
    DropOldest,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("input").required(true))]
pub struct ScoreArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// A file with the text; no special tokens are added.
    #[arg(long, value_name = "FILE", group = "input")]
    pub text_file: Option<PathBuf>,
    /// A file with a JSON array of token ids.
    #[arg(long, value_name = "FILE", group = "input")]
    pub ids_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A limit says what a perfect engine would take on this machine for the same bytes and the same arithmetic: on a GPU the \
longer of reading from the disk and of uploading and computing, on a processor the longer of reading from the disk and \
of all CPU seconds divided by the cores. Its parts are measured in the same run: plain reads of the same ranges, as \
large and as many at a time, from the disk (the page cache is asked to drop them) and from the page cache; plain \
copies to the GPU; and what GPU and processors worked during the sweeps. Only what really came from the disk counts \
for the disk.

Other programs that use the machine make times longer and the limit not, so the percentage falls; the report says how \
many cores they took, and what the sweep reached that was disturbed least.

Examples:
  tilestream bench model/ --budget 256MiB
  tilestream bench model/ --budget 2GiB --resident --plot sweep.svg
  tilestream bench model/ --json --out today.json --repeats 5")]
pub struct BenchArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Tokens of the prompt: random ids.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub prompt_tokens: u32,
    /// Decode sweeps to time after it, one token each.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub tokens: u32,
    /// How often, after a first time that does not count.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeats: u32,
    /// Same seed, same prompts.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Copy weights to memory of the GPU's own, also where shaders could read them as they arrive: what does that cost?
    #[arg(long)]
    pub copy: bool,
    /// The most bytes of weights that stay on the GPU, however large the budget: with 0 each sweep streams them all [default:
    /// what the budget leaves].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub pin: Option<u64>,
    /// Measure the same with every weight on the GPU, in turns with the other, and tell what streaming costs.
    #[arg(long)]
    pub resident: bool,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Write the JSON object to a file as well.
    #[arg(long, value_name = "FILE.json")]
    pub out: Option<PathBuf>,
    /// Draw a sweep beside its limit's parts, and what happened in it when.
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Files are handed out with byte ranges, ETags and leave for other origins (CORS), never compressed, and always revalidated. \
There are no directory listings; hidden files, and links that leave FOLDER, are not served. /models.json lists the split \
models, unless FOLDER has a file of that name.

Examples:
  tilestream host models/
  tilestream host models/ --page web/dist --port 0
  tilestream host models/ --host 0.0.0.0      (for the whole network)")]
pub struct HostArgs {
    /// The folder: split models, each in a folder of its own, and perhaps a page.
    pub folder: PathBuf,
    /// The port to listen at; 0 finds a free one.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// The address to listen at. The default is for this machine only.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: String,
    /// A folder whose files are served where FOLDER has none [default: the page built in this repository, if any].
    #[arg(long, value_name = "DIR")]
    pub page: Option<PathBuf>,
    /// A name by which browsers may reach it, besides localhost and addresses. Requests that name another host are refused:
    /// so no site that lets its name point to this machine can read what is served.
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// Close a connection that sends or takes nothing for this time.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: u32,
    /// Connections at once; beyond them the one that was silent longest is closed.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Requests join the next sweep, and each answer has the bits that it has alone. A client that hangs up ends its answer. \
Where --parallel answers are under way and --queue wait, requests are told to come back (429). Ctrl-C or SIGTERM takes no \
more requests and gives answers --grace seconds to end; once more ends at once.

Examples:
  tilestream serve model/
  tilestream serve Qwen/Qwen2.5-7B-Instruct --budget 6GiB --alias gpt-4o
  curl http://127.0.0.1:8080/v1/chat/completions -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'")]
pub struct ServeArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The port to listen at; 0 finds a free one.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// The address to listen at. The default is for this machine only.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: String,
    /// A file whose first line requests must bring: Authorization: Bearer KEY.
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// A file with the chat template, in place of the model's own: Jinja, as checkpoints have it in chat_template.jinja. With one
    /// that takes tools, a model whose own takes none can call functions.
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// Another name by which requests may ask for the model; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub alias: Vec<String>,
    /// How the states of a text's tokens become the vector of /v1/embeddings [default: last]
    #[arg(long, value_enum)]
    pub pooling: Option<PoolingArg>,
    /// Disk that the beginnings of texts may take: a prompt that begins like one before, also before a restart, goes on behind it
    /// [default: none]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub prefix_cache: Option<u64>,
    /// Where they lie [default: tilestream/prefixes in the user's cache folder]
    #[arg(long, value_name = "FOLDER", requires = "prefix_cache")]
    pub prefix_cache_dir: Option<PathBuf>,
    /// Answers that are made at once, where the budget allows; more wait.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub parallel: u32,
    /// Answers that may wait.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub queue: u32,
    /// A name by which clients may reach it, besides localhost and addresses. Requests that name another host are refused.
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// A web page's origin, such as http://localhost:3000, whose scripts may ask; may be given several times.
    #[arg(long, value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,
    /// Seconds that answers under way have to end, after Ctrl-C or SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub grace: u32,
    /// Close a connection that sends or takes nothing for this time.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: u32,
    /// Connections at once; beyond them the one that was silent longest is closed.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("task").args(["measure", "tune"]))]
pub struct DevicesArgs {
    /// Measure one adapter: what a plain copy moves, and what matrix products in each encoding make of it.
    #[arg(long)]
    pub measure: bool,
    /// Search for the fastest kernel shapes of one adapter, for these encodings [default: all], and keep them for later runs.
    /// (On a GPU `run` does so for what a model needs. A processor takes minutes.)
    #[arg(long, value_name = "ENCODING", num_args = 0.., value_delimiter = ',')]
    pub tune: Option<Vec<String>>,
    /// Columns of the matrix that the search multiplies with.
    #[arg(long, value_name = "N", default_value_t = 4096, requires = "tune", value_parser = clap::value_parser!(u32).range(32..=65536))]
    pub columns: u32,
    /// The adapter to measure, by a part of its name [default: the best].
    #[arg(long, value_name = "NAME", requires = "task")]
    pub adapter: Option<String>,
}

/// A variable of a chat template, and its value.
fn template_argument(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("is not of the form KEY=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    let argument = (name.to_owned(), value);
    TemplateArguments::new([argument.clone()]).map_err(|error| error.to_string())?;
    Ok(argument)
}
