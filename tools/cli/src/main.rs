//! The native `tilestream` command: flags -> checked values -> the library; results to stdout, messages to stderr.

mod args;
mod bench;
mod chat;
mod devices;
mod inspect;
mod model;
mod prompts;
mod run;
mod score;
mod serve;
mod turns;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use tilestream::{Result, source};
use tilestream_split::exit_code;

use args::{Cli, Command};

/// Exit code after a second Ctrl-C, as shells count it.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    quiet_vulkan();
    let cli = Cli::parse();
    start_log(cli.verbose);
    let stop = Arc::new(AtomicBool::new(false));
    let mut result = run(&cli.command, &stop);
    if let Err(error) = &result
        && may_start_again(&cli.command)
        && source::will_be_repaired(error)
        && !run::has_shown()
    {
        eprintln!("{error}");
        result = run(&cli.command, &stop);
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tilestream: {error}");
            ExitCode::from(exit_code(&error))
        }
    }
}

/// Whether a command that has printed nothing can be begun anew.
fn may_start_again(command: &Command) -> bool {
    match command {
        // What came from standard input is gone.
        Command::Run(args) => args.prompts.as_deref() != Some(Path::new("-")),
        command => matches!(command, Command::Bench(_) | Command::Score(_) | Command::Inspect(_)),
    }
}

fn run(command: &Command, stop: &Arc<AtomicBool>) -> Result<()> {
    if !matches!(command, Command::Chat(_) | Command::Serve(_)) {
        stop_on_interrupt(stop);
    }
    match command {
        Command::Split(args) => tilestream_split::run_split(args, stop),
        Command::Verify(args) => tilestream_split::run_verify(args, stop),
        Command::Synth(args) => tilestream_split::run_synth(args, stop),
        Command::Run(args) => run::run(args, stop),
        Command::Chat(args) => chat::chat(args, stop),
        Command::Bench(args) => bench::bench(args, stop),
        Command::Score(args) => score::score(args, stop),
        Command::Inspect(args) => inspect::inspect(args, stop),
        Command::Serve(args) => serve::serve(args),
        Command::Devices(args) => devices::devices(args),
    }
}

/// The first Ctrl-C asks the work to stop at a clean point; the second ends the process.
fn stop_on_interrupt(stop: &Arc<AtomicBool>) {
    let stop = Arc::clone(stop);
    let handler = move || {
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
    };
    // Without a handler Ctrl-C just ends the process, and all work on disk can be continued after that too.
    let _ = ctrlc::set_handler(handler);
}

/// Mesa's layer that sorts adapters asks a window system which is not there, and complains about it on stderr at every
/// start. Tilestream chooses its adapter itself.
fn quiet_vulkan() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: no other thread has started yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

fn start_log(verbose: u8) {
    let level = match verbose {
        0 => log::LevelFilter::Error,
        1 => log::LevelFilter::Info,
        _ => log::LevelFilter::Debug,
    };
    env_logger::Builder::new().filter_level(level).parse_default_env().init();
}
