//! The native `tilestream` command: flags -> checked values -> the library; results to stdout, messages to stderr.

mod args;
mod bench;
mod chat;
mod connections;
mod devices;
mod fetching;
mod host;
mod hosts;
mod inspect;
mod memory;
mod model;
mod prompts;
mod run;
mod score;
mod serve;
mod signals;
mod turns;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use tilestream::Result;
use tilestream::internals::source;
use tilestream_split::{exit_code, told};

use args::{Cli, Command};

#[global_allocator]
static MEMORY: memory::Memory = memory::Memory;

fn main() -> ExitCode {
    memory::tell_of_aborts();
    quiet_vulkan();
    let cli = Cli::parse();
    start_log(cli.verbose);
    if !matches!(cli.command, Command::Host(_) | Command::Serve(_)) {
        signals::end_with_the_reader();
    }
    let stop = Arc::new(AtomicBool::new(false));
    if !matches!(cli.command, Command::Chat(_) | Command::Host(_) | Command::Serve(_)) {
        signals::stop_on_signals(&stop);
    }
    let mut result = run(&cli.command, &stop);
    if let Err(error) = &result
        && may_start_again(&cli.command)
        && source::will_be_repaired(error)
        && !run::has_shown()
    {
        eprintln!("{}", told(error));
        result = run(&cli.command, &stop);
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if signals::is_closed_output(&error) {
                return ExitCode::SUCCESS;
            }
            eprintln!("tilestream: {}", told(&error));
            for cause in causes(&error) {
                eprintln!("  because: {cause}");
            }
            ExitCode::from(exit_code(&error))
        }
    }
}

/// Whether a command that has printed nothing can be begun anew.
fn may_start_again(command: &Command) -> bool {
    match command {
        // What came from standard input is gone.
        Command::Run(args) => !run::reads_stdin(args),
        command => matches!(command, Command::Bench(_) | Command::Score(_) | Command::Inspect(_)),
    }
}

/// What lies behind an error, one line each, as far as its own line does not say it.
fn causes(error: &tilestream::Error) -> Vec<String> {
    let mut said = told(error);
    let mut causes = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let text = cause.downcast_ref().map_or_else(|| cause.to_string(), told);
        if !said.contains(text.trim()) {
            said += &text;
            causes.push(text.trim().to_owned());
        }
        next = cause.source();
    }
    causes
}

fn run(command: &Command, stop: &Arc<AtomicBool>) -> Result<()> {
    match command {
        Command::Split(args) => tilestream_split::run_split(args, stop),
        Command::Verify(args) => tilestream_split::run_verify(args, stop),
        Command::Synth(args) => tilestream_split::run_synth(args, stop),
        Command::Run(args) => run::run(args, stop),
        Command::Chat(args) => chat::chat(args, stop),
        Command::Bench(args) => bench::bench(args, stop),
        Command::Score(args) => score::score(args, stop),
        Command::Inspect(args) => inspect::inspect(args, stop),
        Command::Host(args) => host::host(args),
        Command::Serve(args) => serve::serve(args, stop),
        Command::Devices(args) => devices::devices(args),
    }
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

#[cfg(test)]
mod tests {
    use tilestream::{Error, ErrorKind};

    use super::causes;

    #[test]
    fn causes_are_told_once() {
        let driver =
            Error::new(ErrorKind::Adapter, "the driver refused: no memory").source(std::io::Error::other("no memory"));
        let error = Error::new(ErrorKind::Adapter, "the adapter gave no device").source(driver);
        assert_eq!(causes(&error), ["the driver refused: no memory"]);
        let error = Error::io(std::io::Error::other("broken"), "a file");
        assert!(causes(&error).is_empty());
    }
}
