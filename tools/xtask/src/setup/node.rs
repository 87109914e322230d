//! Node.js with npm, for building the web package and for tests in a browser; and a browser to test in.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::{packages, say};
use crate::process::{command, find_program, output_of, root, run};

/// The oldest Node.js that the tools of web/ run on.
const OLDEST_MAJOR: u32 = 18;
const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Makes sure of Node.js and of what web/package-lock.json lists.
///
/// # Errors
/// Without Node.js where none can be installed; without network.
pub fn set_up() -> Result<()> {
    if node().is_err() {
        let Some(manager) = packages::manager() else { return node().map(|_| ()) };
        say(&format!("Node.js: installing nodejs and npm with {}", manager.program));
        manager.install(&["nodejs", "npm"])?;
    }
    node()?;
    let web = root().join("web");
    let (lock, stamp) = (web.join("package-lock.json"), web.join("node_modules/installed-lock.json"));
    let wanted = std::fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    say("web: installing what web/package-lock.json lists");
    run(command(npm()?).args(["ci", "--no-fund", "--no-audit"]).current_dir(&web))?;
    std::fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Node.js, recent enough.
///
/// # Errors
/// With what to do.
pub fn node() -> Result<PathBuf> {
    let node = find_program(&["node", "nodejs"]).context("no Node.js is here; install it (with npm) and try again")?;
    let version = output_of(command(&node).arg("--version")).unwrap_or_default();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(OLDEST_MAJOR..) => Ok(node),
        _ => bail!("Node.js {version} is too old; install {OLDEST_MAJOR} or later"),
    }
}

/// npm.
///
/// # Errors
/// Where there is none.
pub fn npm() -> Result<PathBuf> {
    find_program(&["npm"]).context("no npm is here; install it and try again")
}

/// A Chromium to test in; installed with the system's package manager where there is none.
///
/// # Errors
/// Where there is none and none can be installed.
pub fn browser() -> Result<PathBuf> {
    if let Some(browser) = std::env::var_os("CHROME").map(PathBuf::from).or_else(|| find_program(BROWSERS)) {
        return Ok(browser);
    }
    let missing = "no Chromium is here; install it, or name one in the variable CHROME";
    let Some(manager) = packages::manager() else { bail!(missing) };
    say(&format!("browser: installing chromium with {}", manager.program));
    manager.install(&["chromium"])?;
    find_program(BROWSERS).context(missing)
}
