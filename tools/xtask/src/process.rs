//! Running other programs: what is run is printed, and a failure says what to run by hand.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The workspace's root, wherever `cargo xtask` was called.
pub fn root() -> PathBuf {
    // `cargo run` says where this package lies now; the path at compile time serves a binary that is run by hand.
    let package = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let package = if package.ends_with("tools/xtask") { package } else { env!("CARGO_MANIFEST_DIR").into() };
    package.ancestors().nth(2).map_or_else(|| ".".into(), Path::to_path_buf)
}

/// What is downloaded or made for tests and benchmarks; ignored by git.
pub fn cache() -> PathBuf {
    root().join("cache")
}

/// A command that runs in the workspace's root.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The cargo that runs this program, without the variables that describe this package: build scripts that look at
/// them would run again for nothing.
pub fn cargo() -> Command {
    let mut cargo = command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_BIN_") {
            cargo.env_remove(&key);
        }
    }
    cargo
}

/// The command as one would type it, with the variables that it sets.
pub fn display(command: &Command) -> String {
    let variables = command
        .get_envs()
        .filter_map(|(key, value)| Some(format!("{}={}", key.to_string_lossy(), quote(&value?.to_string_lossy()))));
    let program = Path::new(command.get_program());
    let program = if program.is_absolute() && program.file_stem().is_some_and(|stem| stem == "cargo") {
        "cargo".into()
    } else {
        program.strip_prefix(root()).unwrap_or(program).to_string_lossy()
    };
    let arguments = command.get_args().map(|argument| quote(&argument.to_string_lossy()));
    variables.chain([quote(&program)]).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=./:,+@%~\\".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let first_line = word.lines().next().unwrap_or_default();
    let more = if word.lines().count() > 1 { " …" } else { "" };
    format!("'{first_line}{more}'")
}

/// Prints and runs a command with this program's own input and output.
///
/// # Errors
/// Where it cannot be started or does not succeed.
pub fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", display(command));
    let status = command.status().with_context(|| format!("cannot start `{}`", display(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", display(command));
    }
    Ok(())
}

/// Builds the `tilestream` command as users get it; where it lies.
///
/// # Errors
/// Where it does not build.
pub fn release_build() -> Result<PathBuf> {
    run(cargo().args(["build", "--release", "--package", "tilestream-cli", "--locked"]))?;
    let folder = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Ok(root().join(folder).join("release").join(format!("tilestream{}", env::consts::EXE_SUFFIX)))
}

/// Whether the command starts and succeeds; nothing is printed.
pub fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// The trimmed output of a command that succeeds.
pub fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The first of these programs that PATH has.
pub fn find_program(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let directories: Vec<PathBuf> = env::split_paths(&path).collect();
    names.iter().find_map(|name| {
        let file = format!("{name}{}", env::consts::EXE_SUFFIX);
        directories.iter().map(|directory| directory.join(&file)).find(|file| file.is_file())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_holds_the_workspace() {
        assert!(root().join("Cargo.lock").is_file());
        assert!(root().join("tools/xtask/Cargo.toml").is_file());
    }

    #[test]
    fn commands_are_shown_as_typed() {
        let mut shown = Command::new("tool");
        shown.env("KEY", "a b").args(["--flag", "two words", ""]);
        assert_eq!(display(&shown), "KEY='a b' tool --flag 'two words' ''");
    }

    #[test]
    fn programs_are_looked_up_in_order() {
        assert!(find_program(&["no-such-program-here"]).is_none());
        let shell = if cfg!(windows) { "cmd" } else { "sh" };
        assert!(find_program(&["no-such-program-here", shell]).is_some());
    }
}
