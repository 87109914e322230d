//! `cargo xtask fuzz`: hostile input for every parser.

use anyhow::{Context, Result, bail};

use crate::process::{cargo, root, run, succeeds};

/// Feeds hostile input to every parser, with cargo-fuzz and libFuzzer.
///
/// Runs each target of fuzz/ a number of times, starting from its corpus, which `cargo xtask test` replays. A crash
/// is kept in fuzz/artifacts: add it to the corpus together with the fix. Works with a stable compiler.
#[derive(clap::Args)]
pub struct Args {
    /// Run only these targets [default: all of them]
    targets: Vec<String>,
    /// Executions of each target
    #[arg(long, default_value_t = 1_000_000)]
    runs: u64,
    /// Longest input in bytes
    #[arg(long, default_value_t = 65_536)]
    max_len: u32,
}

pub fn main(args: &Args) -> Result<()> {
    if !succeeds(cargo().args(["fuzz", "--version"])) {
        bail!("cargo-fuzz is not here; install it with `cargo install cargo-fuzz` and try again");
    }
    let known = targets()?;
    if let Some(unknown) = args.targets.iter().find(|name| !known.contains(name)) {
        bail!("there is no fuzz target `{unknown}`; there are {}", known.join(", "));
    }
    let chosen = if args.targets.is_empty() { &known } else { &args.targets };
    for target in chosen {
        println!("\n━━ fuzz {target}: {} executions", args.runs);
        let mut fuzz = cargo();
        // Sanitizers and coverage are unstable options, which this variable allows a stable compiler.
        fuzz.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", "run", target, "--"]);
        fuzz.arg(format!("-runs={}", args.runs)).arg(format!("-max_len={}", args.max_len));
        run(&mut fuzz).with_context(|| format!("{target} found something; see fuzz/artifacts/{target}"))?;
    }
    println!("\nfuzz: {} targets, {} executions each, nothing found", chosen.len(), args.runs);
    Ok(())
}

/// The fuzz targets, by name.
fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "rs"));
    let mut names: Vec<_> = paths.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}
