//! `cargo xtask bench`: the same model in other programs, on this machine.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::process::{cache, command, find_program, root, run};
use crate::setup::{self, python};

/// Repeats a comparison with another program: the same weights, the same prompt, this machine.
///
/// Runs tools/bench/NAME in an environment of its own below cache/. Benchmarks never gate a test; they print what
/// they ran on.
#[derive(clap::Args)]
pub struct Args {
    /// What to compare with
    #[arg(value_enum)]
    with: Rival,
    /// Arguments for the script
    #[arg(last = true)]
    more: Vec<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Rival {
    /// llama.cpp with its Vulkan backend, on the same adapter
    Llamacpp,
    /// AirLLM on the CPU, the same weights in bf16
    Airllm,
}

pub fn main(args: &Args) -> Result<()> {
    let name = match args.with {
        Rival::Llamacpp => "llamacpp",
        Rival::Airllm => "airllm",
    };
    setup::vulkan::set_up()?;
    let model = setup::model::set_up()?;
    let folder = root().join("tools/bench").join(name);
    let (python_script, node_script) = (folder.join("main.py"), folder.join("main.mjs"));
    let mut script = if python_script.is_file() {
        let mut script = command(python::environment(name, Some(&folder.join("requirements.txt")))?);
        script.arg(python_script);
        script
    } else if node_script.is_file() {
        let installed = node_packages(name, &folder)?;
        let mut script = command("node");
        script.arg(installed.join("main.mjs"));
        script
    } else {
        bail!("{} has neither main.py nor main.mjs", folder.display());
    };
    run(script.arg(model).args(&args.more))
}

/// Copies a Node script and its package list below `cache/`, where its packages may lie beside it.
fn node_packages(name: &str, folder: &Path) -> Result<std::path::PathBuf> {
    let npm = find_program(&["npm", "npm.cmd"]).context("no npm is here; install Node.js")?;
    let place = cache().join("npm").join(name);
    std::fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    for entry in folder.read_dir()?.flatten().filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), place.join(entry.file_name())).context("cannot copy the script")?;
    }
    run(command(npm).args(["install", "--no-audit", "--no-fund"]).current_dir(&place))?;
    Ok(place)
}
