//! `cargo xtask bench`: the same model in other programs, on this machine.

use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{cache, command, find_program, release_build, root, run};
use crate::setup::{self, python};
use crate::web;

/// Repeats a comparison with another program: the same weights, the same prompt, this machine.
///
/// Builds the `tilestream` command, installs the other program below cache/, and runs the script of tools/bench. A
/// table goes to stderr, and one JSON object closes stdout. Benchmarks never gate a test; they print what they ran on.
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
    /// llama.cpp with its Vulkan backend, on the same adapter; needs Node.js with npm
    Llamacpp,
    /// llama.cpp's best next tokens on Gemma 3 270M with those of transformers in f32; needs Node.js with npm
    Agreement,
    /// wllama in Chromium, and what a browser costs: downloads and reads; needs Node.js with npm
    Browser,
    /// AirLLM on the CPU, the same weights in bf16; needs Python, a few GB the first time
    Airllm,
}

pub fn main(args: &Args) -> Result<()> {
    setup::vulkan::set_up()?;
    let mut script = match args.with {
        Rival::Llamacpp => llamacpp("llamacpp.mjs")?,
        Rival::Agreement => llamacpp("agreement.mjs")?,
        Rival::Airllm => airllm()?,
        Rival::Browser => browser()?,
    };
    match args.with {
        Rival::Agreement => script.arg(setup::model::set_up_gemma3()?),
        _ => script.arg(setup::model::set_up()?).env("TILESTREAM", release_build()?),
    };
    run(script.args(&args.more))
}

fn llamacpp(name: &str) -> Result<Command> {
    let node = find_program(&["node"]).context("no Node.js is here; install it (with npm) and try again")?;
    let mut script = command(node);
    script.arg(root().join("tools/bench").join(name)).arg("--modules").arg(cache().join("npm/llamacpp"));
    Ok(script)
}

fn browser() -> Result<Command> {
    web::build(false)?;
    let node = find_program(&["node"]).context("no Node.js is here; install it (with npm) and try again")?;
    let mut script = command(node);
    script.arg(root().join("tools/bench/browser.mjs")).arg("--modules").arg(cache().join("npm/browser"));
    script.env("CHROME", setup::node::browser()?);
    Ok(script)
}

fn airllm() -> Result<Command> {
    let folder = root().join("tools/bench");
    let mut script = command(python::environment("airllm", Some(&folder.join("requirements.txt")))?);
    script.arg(folder.join("airllm.py")).arg("--folder").arg(cache().join("models/airllm"));
    Ok(script)
}
