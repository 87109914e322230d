//! Python, with pip: for the test model's package, the golden data and the comparisons.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{packages, say};
use crate::process::{cache, command, find_program, run, succeeds};

/// A Python 3 of this machine.
///
/// # Errors
/// Where there is none.
pub fn python() -> Result<PathBuf> {
    // On Windows `python3` may be a stub that opens a shop window, so each is tried and not only found.
    ["python3", "python", "py"]
        .into_iter()
        .filter_map(|name| find_program(&[name]))
        .find(|program| succeeds(command(program).args(["-c", "import sys; assert sys.version_info >= (3, 8)"])))
        .context("no Python 3.8 or later is here; install it (with pip) and try again")
}

/// A Python that has pip: the system's own, or that of an environment in `cache/`.
///
/// # Errors
/// Where there is neither pip nor `venv`.
pub fn python_with_pip() -> Result<PathBuf> {
    let python = python()?;
    if succeeds(command(&python).args(["-m", "pip", "--version"])) {
        return Ok(python);
    }
    environment("tools", None)
}

/// The Python of an environment in `cache/venv/NAME`, with the packages that a requirements file lists.
///
/// # Errors
/// Where it cannot be made or filled.
pub fn environment(name: &str, requirements: Option<&Path>) -> Result<PathBuf> {
    let folder = cache().join("venv").join(name);
    let python_in = if cfg!(windows) { folder.join("Scripts/python.exe") } else { folder.join("bin/python") };
    if !succeeds(command(&python_in).args(["-m", "pip", "--version"])) {
        say(&format!("Python: making an environment in cache/venv/{name}"));
        make(&folder)?;
    }
    if let Some(requirements) = requirements {
        fill(&python_in, requirements, &folder.join("requirements-installed.txt"))?;
    }
    Ok(python_in)
}

fn make(folder: &Path) -> Result<()> {
    let python = python()?;
    let venv = |folder: &Path| run(command(&python).args(["-m", "venv", "--clear"]).arg(folder));
    let Err(error) = venv(folder) else { return Ok(()) };
    // Debian keeps `venv` in a package of its own.
    match packages::manager().filter(|manager| manager.program == "apt-get") {
        Some(manager) => {
            say("Python: `venv` is missing, installing python3-venv");
            manager.install(&["python3-venv"])?;
            venv(folder)
        }
        None => bail!("{error:#}; install Python's `venv` and pip"),
    }
}

/// Installs what the requirements list, unless the very same list is installed.
fn fill(python: &Path, requirements: &Path, stamp: &Path) -> Result<()> {
    let wanted =
        std::fs::read_to_string(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    if std::fs::read_to_string(stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    say(&format!("Python: installing what {} lists", requirements.display()));
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    run(command(python).args(install).arg(requirements))?;
    std::fs::write(stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}
