//! `cargo xtask`: set-up, checks, demo, golden data, benchmarks and fuzzing of this workspace.

mod bench;
mod borders;
mod checks;
mod demo;
mod deny;
mod driver;
mod fuzz;
mod golden;
mod package;
mod process;
mod setup;
mod soak;
mod web;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up, checks, demo, golden data, benchmarks and fuzzing of this workspace.
///
/// Start with `cargo xtask demo` to see a model answer, and with `cargo xtask test` before you send a change. Both do
/// the set-up they need and say what they do before they do it. Everything they download or make lies in `cache/`
/// and `target/`, which git ignores; only system packages (a Vulkan driver, a wasm toolchain) go elsewhere.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 110)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Setup(setup::Args),
    Test(checks::Args),
    Borders(borders::Args),
    Demo(demo::Args),
    Golden(golden::Args),
    Bench(bench::Args),
    Fuzz(fuzz::Args),
    Soak(soak::Args),
    Web(web::Args),
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Setup(args) => setup::main(&args),
        Command::Test(args) => checks::main(&args),
        Command::Borders(args) => borders::main(&args),
        Command::Demo(args) => demo::main(&args),
        Command::Golden(args) => golden::main(&args),
        Command::Bench(args) => bench::main(&args),
        Command::Fuzz(args) => fuzz::main(&args),
        Command::Soak(args) => soak::main(&args),
        Command::Web(args) => web::main(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
