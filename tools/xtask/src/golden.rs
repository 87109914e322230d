//! `cargo xtask golden`: makes the reference data again.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::process::{command, root, run};
use crate::setup::{self, python};

/// Makes the golden data of the parity tests again, with the reference implementation (`transformers`).
///
/// Runs the scripts of tools/golden in a Python environment of their own (cache/venv/golden, filled from
/// tools/golden/requirements.txt; a few GB the first time). The tests do not need this: the data is committed. Look
/// at what changed before you commit it.
#[derive(clap::Args)]
pub struct Args {
    /// Run only this script [default: all of them]
    script: Option<String>,
    /// Arguments for the script
    #[arg(last = true)]
    more: Vec<String>,
}

pub fn main(args: &Args) -> Result<()> {
    setup::model::set_up()?;
    let folder = root().join("tools/golden");
    let mut scripts = scripts(&folder)?;
    if let Some(name) = &args.script {
        let known: Vec<_> = scripts.iter().filter_map(|path| path.file_stem()?.to_str()).map(str::to_owned).collect();
        scripts.retain(|path| path.file_stem().is_some_and(|stem| stem == name.trim_end_matches(".py")));
        if scripts.is_empty() {
            bail!("tools/golden has no script `{name}`; it has {}", known.join(", "));
        }
    }
    let python = python::environment("golden", Some(&folder.join("requirements.txt")))?;
    for script in scripts {
        run(command(&python).arg(&script).args(&args.more))?;
    }
    println!("golden: done; `git diff --stat` shows what changed");
    Ok(())
}

/// Every script of the folder that makes something; the others are what they share.
fn scripts(folder: &std::path::Path) -> Result<Vec<PathBuf>> {
    let entries = folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))?;
    let is_script = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("make_") && name.ends_with(".py")
    };
    let mut scripts: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_script).collect();
    scripts.sort();
    Ok(scripts)
}
