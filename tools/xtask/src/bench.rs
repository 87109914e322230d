//! `cargo xtask bench`: the same model in other programs, on this machine.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{cache, cargo, command, find_program, release_build, root, run};
use crate::setup;
use crate::web;

/// Repeats a comparison: the same weights and prompt in another program, on this machine, in turns.
///
/// Builds the `tilestream` command, installs the other program below cache/, and runs the script of tools/bench. A
/// table goes to stdout, and `-- --json FILE` keeps the figures. `cargo xtask bench NAME -- --help` tells what a
/// comparison does, what it needs and how long it takes. Benchmarks never gate a test; they print what they ran on.
#[derive(clap::Args)]
pub struct Args {
    /// What to compare with
    #[arg(value_enum)]
    with: Rival,
    /// Arguments for the script, such as `--tokens 32 --budget 30MiB`
    #[arg(last = true)]
    more: Vec<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Rival {
    /// llama.cpp with its Vulkan backend, on the same adapter, and on the CPU; needs Node.js with npm
    Llamacpp,
    /// AirLLM on the CPU, the same weights in bf16; needs Python, a few GB the first time
    Airllm,
    /// PyTorch on the CPU, all weights resident, in bf16 and f32; needs Python, a few GB the first time
    Pytorch,
    /// A plain reader of the same files, or fio where it is installed; needs 1.2 GB of disk
    Disk,
    /// Tilestream itself with all weights resident
    Resident,
    /// llama.cpp's best next tokens on Gemma 3 270M with those of transformers in f32; needs Node.js with npm
    Agreement,
    /// wllama in Chromium, and what a browser costs: downloads and reads; needs Node.js with npm
    Browser,
}

pub fn main(args: &Args) -> Result<()> {
    if args.more.iter().any(|argument| argument == "--help" || argument == "-h") {
        return run(args.with.script(false)?.arg("--help"));
    }
    setup::vulkan::set_up()?;
    let mut script = args.with.script(true)?;
    match args.with {
        Rival::Agreement => script.arg(setup::model::set_up_gemma3()?),
        Rival::Disk => script.env("TILESTREAM", build()?),
        _ => script.arg(setup::model::set_up()?).env("TILESTREAM", build()?),
    };
    run(script.args(&args.more))
}

impl Rival {
    /// The call of the script, with what it needs installed if `set_up`.
    fn script(self, set_up: bool) -> Result<Command> {
        match self {
            Self::Llamacpp => python("llamacpp.py", false),
            Self::Disk => python("disk.py", false),
            Self::Resident => python("resident.py", false),
            Self::Airllm => python("airllm.py", set_up),
            Self::Pytorch => python("pytorch.py", set_up),
            Self::Agreement => node("agreement.mjs", "npm/llamacpp"),
            Self::Browser => browser(set_up),
        }
    }
}

/// A script in Python: the system's, or one with torch and what else tools/bench/requirements.txt lists.
fn python(name: &str, packages: bool) -> Result<Command> {
    let folder = root().join("tools/bench");
    let python = match packages {
        true => setup::python::environment("airllm", Some(&folder.join("requirements.txt")))?,
        false => setup::python::python()?,
    };
    let mut script = command(python);
    script.arg(folder.join(name));
    Ok(script)
}

/// A script for Node.js, with packages in a folder below cache/.
fn node(name: &str, modules: &str) -> Result<Command> {
    let node = find_program(&["node"]).context("no Node.js is here; install it (with npm) and try again")?;
    let mut script = command(node);
    script.arg(root().join("tools/bench").join(name)).arg("--modules").arg(cache().join(modules));
    Ok(script)
}

fn browser(set_up: bool) -> Result<Command> {
    let mut script = node("browser.mjs", "npm/browser")?;
    if set_up {
        web::build(false)?;
        script.env("CHROME", setup::node::browser()?);
    }
    Ok(script)
}

/// The command as users get it, and beside it the program that answers requests for the comparisons.
fn build() -> Result<PathBuf> {
    run(cargo().args(["build", "--release", "--package", "tilestream-cli", "--example", "answer_lines", "--locked"]))?;
    release_build()
}
