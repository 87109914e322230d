//! The companion by itself: `tilestream-split split|synth|verify`, without the engine.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Parser, Subcommand};
use tilestream_split::{SplitArgs, SynthArgs, VerifyArgs, exit_code, run_split, run_synth, run_verify, told};

/// Splits, verifies and synthesizes models for Tilestream.
#[derive(Parser)]
#[command(name = "tilestream-split", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Exit code of work that was stopped, as shells count it.
const INTERRUPTED: i32 = 130;
/// Time in which work may end by itself.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Subcommand)]
enum Command {
    Split(SplitArgs),
    Synth(SynthArgs),
    Verify(VerifyArgs),
}

fn main() -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    // Without a handler Ctrl-C kills at once, which a split survives as well.
    let _ = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
        // A wait for a slow host looks at no flag.
        std::thread::spawn(|| {
            std::thread::sleep(GRACE);
            std::process::exit(INTERRUPTED);
        });
    });
    let result = match Arguments::parse().command {
        Command::Split(args) => run_split(&args, &stop),
        Command::Synth(args) => run_synth(&args, &stop),
        Command::Verify(args) => run_verify(&args, &stop),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", told(&error));
            ExitCode::from(exit_code(&error))
        }
    }
}
