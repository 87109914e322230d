//! `cargo xtask golden`: makes the reference data again.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::process::{command, root, run};
use crate::setup::{self, python};

/// Makes the golden data of the parity tests again, with the reference implementation (`transformers`).
///
/// Runs the scripts of tools/golden in a Python environment of their own (cache/venv/golden, filled from
/// tools/golden/requirements.txt; a few GB the first time). The tests do not need this: the data is committed. Look
/// at what changed before you commit it.
#[derive(clap::Args)]
pub struct Args {
    /// What to make [default: all of it]
    #[arg(value_parser = SCRIPTS.iter().map(|script| script.name).collect::<Vec<_>>())]
    what: Option<String>,
    /// Arguments for the script, such as `--only NAME`
    #[arg(last = true)]
    more: Vec<String>,
}

struct Script {
    name: &'static str,
    file: &'static str,
    /// Sets up the model whose path it takes.
    model: Option<fn() -> Result<PathBuf>>,
}

const SCRIPTS: &[Script] = &[
    Script { name: "small", file: "make_small.py", model: None },
    Script { name: "pytorch", file: "make_pytorch.py", model: None },
    Script { name: "small-gguf", file: "make_small_gguf.py", model: None },
    Script { name: "gguf-blocks", file: "make_gguf_blocks.py", model: None },
    Script { name: "families", file: "make_families.py", model: None },
    Script { name: "seeded", file: "make_seeded.py", model: None },
    Script { name: "quantized", file: "make_quantized.py", model: None },
    Script { name: "airllm", file: "make_airllm.py", model: None },
    Script { name: "converted", file: "make_converted.py", model: None },
    Script { name: "families-gguf", file: "make_families_gguf.py", model: None },
    Script { name: "mapping", file: "walk_mapping.py", model: None },
    Script { name: "gemma3", file: "make_gemma3.py", model: Some(setup::model::set_up_gemma3) },
    Script { name: "smollm2", file: "make_smollm2.py", model: Some(setup::model::set_up) },
    Script { name: "text", file: "make_text.py", model: None },
    Script { name: "templates", file: "make_templates.py", model: None },
    Script { name: "tokenizers", file: "make_tokenizers.py", model: None },
];

pub fn main(args: &Args) -> Result<()> {
    if args.what.is_none() && !args.more.is_empty() {
        bail!("arguments for a script need the script's name before them");
    }
    let folder = root().join("tools/golden");
    let python = python::environment("golden", Some(&folder.join("requirements.txt")))?;
    for script in SCRIPTS.iter().filter(|script| args.what.as_deref().is_none_or(|name| name == script.name)) {
        let mut make = command(&python);
        make.arg(folder.join(script.file));
        if let Some(set_up) = script.model {
            make.arg(set_up()?);
        }
        run(make.args(&args.more))?;
    }
    println!("golden: done; `git status tests/data` shows what changed");
    Ok(())
}
