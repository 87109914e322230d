//! `cargo xtask soak`: attacks on the real command and on the real page.

use anyhow::{Result, bail};

use crate::process::{command, release_build, root, run, without_desktop};
use crate::{checks, setup, web};

/// Attacks the real command: kills, flipped bits, hosts that misbehave, hostile files.
///
/// Nothing may be silent, panic, hang, or take more than 20 s and 2 GiB. Every attack follows from its seed, so a fault
/// comes back with the same arguments. All of them take about ten minutes on two cores, once everything is built;
/// `--share 0.1` does a tenth. Servers that go silent are given up after a minute, and have a bound of their own.
#[derive(clap::Args)]
pub struct Args {
    /// Only these attacks [default: all]
    #[arg(value_enum)]
    attacks: Vec<Attack>,
    /// What the attacks follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A part of each attack, such as 0.1
    #[arg(long, default_value_t = 1.0)]
    share: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Attack {
    /// 100 kills of a split, of a first use, and of a fetch from a web server
    Kills,
    /// 450 flipped bits in a model on disk and in the cache of one from a web server
    Flips,
    /// 60 web servers that misbehave
    Hosts,
    /// 300 hostile checkpoints, GGUF files, tokenizers and chat templates
    Hostile,
    /// 50 flipped bits in what a browser keeps; builds the page
    Opfs,
}

const OPFS_FLIPS: f64 = 50.0;

pub fn main(args: &Args) -> Result<()> {
    let every = <Attack as clap::ValueEnum>::value_variants();
    let chosen = if args.attacks.is_empty() { every } else { &args.attacks };
    setup::vulkan::set_up()?;
    let mut failed = Vec::new();
    let native: Vec<_> = chosen.iter().filter(|attack| **attack != Attack::Opfs).map(name).collect();
    if !native.is_empty() {
        let mut script = command(setup::python::python()?);
        script.arg(root().join("tests/soak/soak.py")).args(native).env("TILESTREAM", release_build()?);
        script.args(["--seed", &args.seed.to_string(), "--share", &args.share.to_string()]);
        failed.extend(run(without_desktop(&mut script)).err());
    }
    if chosen.contains(&Attack::Opfs) {
        web::build(false)?;
        let mut script = command(setup::node::node()?);
        let flips = (OPFS_FLIPS * args.share).ceil();
        script.arg(root().join("tests/soak/opfs.mjs")).args([flips.to_string(), args.seed.to_string()]);
        checks::browser_variables(&mut script)?;
        failed.extend(run(without_desktop(&mut script)).err());
    }
    for error in &failed {
        println!("{error:#}");
    }
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("something is silent, panics, hangs or is unbounded: see FAULT above")
    }
}

/// As the script calls it.
fn name(attack: &Attack) -> String {
    format!("{attack:?}").to_lowercase()
}
