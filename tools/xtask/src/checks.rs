//! `cargo xtask test`: every check, timed, with a table at the end.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{cargo, command, display, root, run, without_desktop};
use crate::setup::toolchain::{self, Way};
use crate::{borders, deny, driver, package, setup};

/// Sets up what is missing and runs every check; what CI calls.
///
/// The checks, in order: set-up (see `cargo xtask setup --help`); formatting; module borders (see `cargo xtask borders
/// --help`); licences and sources of dependencies; packages; lints and documentation, where a warning is an error; all tests (unit,
/// integration, parity, shaders, examples in the documentation); a build of the engine for wasm32; the page and the npm package, and their tests in a browser; a type check for the other hosts (Windows, Apple silicon, Linux)
/// as far as the toolchain allows.
///
/// A second Vulkan driver takes minutes more, and is asked for by name or by --nightly.
///
/// Stops at the first failure and says what to do. Nothing is skipped silently: what could not be checked is named in
/// the table at the end.
#[derive(clap::Args)]
pub struct Args {
    /// Run all the checks even after one has failed
    #[arg(long)]
    keep_going: bool,
    /// Run only these checks
    #[arg(long, value_name = "CHECK", num_args = 1.., value_parser = names())]
    only: Vec<String>,
    /// Look up dependencies in the database of security advisories too, which is fetched
    #[arg(long)]
    advisories: bool,
    /// Run the checks too that take longer than a change should wait for
    #[arg(long)]
    nightly: bool,
    /// Leave out these checks
    #[arg(long, value_name = "CHECK", num_args = 1.., value_parser = names())]
    skip: Vec<String>,
}

struct Check {
    name: &'static str,
    about: &'static str,
    /// What to do when it fails.
    remedy: &'static str,
    run: fn(&Args) -> Result<Report>,
}

/// What a check has to say in the table.
type Report = String;

const CHECKS: &[Check] = &[
    Check {
        name: "setup",
        about: "a Vulkan driver, the test model, a wasm toolchain, Node.js, a browser",
        remedy: "follow the message above; `cargo xtask setup` repeats only this",
        run: |_| setup::everything().map(|()| Report::new()),
    },
    Check { name: "fmt", about: "formatting", remedy: "run `cargo fmt --all`", run: |_| formatting() },
    Check {
        name: "borders",
        about: "module borders, file sizes, reasons of lint exceptions, links of the pages",
        remedy: "each line names the rule and why it is there; `cargo xtask borders --help` lists them",
        run: |_| borders::check(&root()).map(|files| format!("{files} files")),
    },
    Check {
        name: "deny",
        about: "licences, sources and bans of dependencies",
        remedy: "deny.toml has the rules and their reasons; choose another dependency, or give a reason there",
        run: |args| deny::check(args.advisories),
    },
    Check {
        name: "package",
        about: "the crates pack, and are small enough to publish",
        remedy: "the `include` of a Cargo.toml says what is packed; without a network, set CARGO_NET_OFFLINE=true",
        run: |_| package::check(),
    },
    Check {
        name: "clippy",
        about: "lints on all targets, warnings are errors",
        remedy: "`cargo clippy --workspace --all-targets --fix` mends some; an exception needs `reason = \"…\"`",
        run: |_| lints(),
    },
    Check {
        name: "doc",
        about: "the documentation of the library builds without warnings",
        remedy: "`RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps` repeats only this",
        run: |_| documentation(),
    },
    Check {
        name: "test",
        about: "unit, integration, parity and documentation tests",
        remedy: "run one alone with `cargo test --workspace --test engine PATH`; where no adapter is found, `cargo xtask setup vulkan`",
        run: |_| tests(),
    },
    Check {
        name: "driver",
        about: "kernels, parity and streaming on a second Vulkan driver, under Khronos' validation layer",
        remedy: "the suites run alone with the variables that src/driver.rs of tools/xtask sets",
        run: |_| driver::check(),
    },
    Check {
        name: "wasm",
        about: "the engine builds for wasm32-unknown-unknown",
        remedy: "something in the engine or a dependency needs a host that wasm is not; see src/platform",
        run: |_| wasm(),
    },
    Check {
        name: "web",
        about: "the page and the npm package build, and are small enough to load",
        remedy: "`cargo xtask web` repeats only this",
        run: |_| crate::web::build(false),
    },
    Check {
        name: "browser",
        about: "the package and the page in a real Chromium, through WebGPU",
        remedy: "web/tests/support.mjs names the variables with which `node --test` runs a single file",
        run: |_| browser(),
    },
    Check {
        name: "hosts",
        about: "the workspace type-checks for the other hosts",
        remedy: "the code is not portable to the named target, or a dependency is not",
        run: |_| other_hosts(),
    },
];

/// Test programs that a report names, the slowest first.
const SLOWEST: usize = 8;

/// Checks that are asked for.
const NIGHTLY: &[&str] = &["driver"];

/// Targets that must work and that no build on this machine would notice breaking.
const HOSTS: &[&str] = &["x86_64-unknown-linux-gnu", "x86_64-pc-windows-msvc", "aarch64-apple-darwin"];

fn names() -> Vec<&'static str> {
    CHECKS.iter().map(|check| check.name).collect()
}

pub fn main(args: &Args) -> Result<()> {
    let listed = |list: &[String], check: &Check| list.iter().any(|name| name == check.name);
    let usual = |check: &Check| args.only.is_empty() && (args.nightly || !NIGHTLY.contains(&check.name));
    let wanted = |check: &&Check| (usual(check) || listed(&args.only, check)) && !listed(&args.skip, check);
    let mut done = Vec::new();
    for check in CHECKS.iter().filter(wanted) {
        println!("\n━━ {}: {}", check.name, check.about);
        let started = Instant::now();
        let result = (check.run)(args);
        if let Err(error) = &result {
            println!("\n{} failed: {error:#}\nwhat to do: {}", check.name, check.remedy);
        }
        let failed = result.is_err();
        done.push((check.name, result, started.elapsed()));
        if failed && !args.keep_going {
            break;
        }
    }
    let left_out: Vec<_> = names().into_iter().filter(|name| done.iter().all(|(done, ..)| done != name)).collect();
    print!("\n{}", table(&done, &left_out));
    match done.iter().filter(|(_, result, _)| result.is_err()).count() {
        0 => Ok(()),
        1 => bail!("a check failed"),
        failed => bail!("{failed} checks failed"),
    }
}

/// The summary: one line a check, with its time.
fn table(done: &[(&str, Result<Report>, Duration)], left_out: &[&str]) -> String {
    let mut text = format!("{:<9} {:<7} {:>8}  notes\n", "check", "result", "seconds");
    for (name, result, time) in done {
        let (word, note) = match result {
            Ok(note) => ("ok", note.clone()),
            Err(error) => ("FAILED", error.to_string().lines().next().unwrap_or_default().to_owned()),
        };
        let line = format!("{name:<9} {word:<7} {:>8.1}  {note}", time.as_secs_f64());
        text += line.trim_end();
        text.push('\n');
    }
    for name in left_out {
        text += &format!("{name:<9} not run\n");
    }
    let total: Duration = done.iter().map(|(.., time)| *time).sum();
    let passed = done.iter().filter(|(_, result, _)| result.is_ok()).count();
    let seconds = total.as_secs();
    text + &format!(
        "{passed} of {} checks passed in {} min {} s\n",
        done.len() + left_out.len(),
        seconds / 60,
        seconds % 60
    )
}

fn formatting() -> Result<Report> {
    run(cargo().args(["fmt", "--all", "--check"])).map(|()| Report::new())
}

fn lints() -> Result<Report> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    run(cargo().args(arguments)).map(|()| Report::new())
}

fn documentation() -> Result<Report> {
    let arguments = ["doc", "--workspace", "--no-deps", "--locked"];
    run(cargo().args(arguments).env("RUSTDOCFLAGS", "-Dwarnings")).map(|()| Report::new())
}

/// All tests.
fn tests() -> Result<Report> {
    let mut command = cargo();
    run_tests(without_desktop(command.args(["test", "--workspace", "--locked", "--no-fail-fast"])))
}

/// Runs a command of `cargo test`; the counts that each test program closes with are added up.
///
/// # Errors
/// Where a test fails.
pub fn run_tests(command: &mut Command) -> Result<Report> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    println!("$ {}", display(command));
    let mut child = command.spawn().context("cannot start cargo")?;
    let output = child.stdout.take().expect("stdout was asked to be piped");
    let errors = child.stderr.take().expect("stderr was asked to be piped");
    // Cargo names a program on one stream, and the program closes on the other.
    let counts = Mutex::new(Counts::default());
    let take = |line: &str| counts.lock().unwrap_or_else(PoisonError::into_inner).add(line);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            each_line(errors, |line| {
                eprintln!("{line}");
                take(line);
            });
        });
        each_line(output, |line| {
            println!("{line}");
            take(line);
        });
    });
    let status = child.wait().context("cannot wait for cargo")?;
    let counts = counts.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !status.success() {
        bail!("{counts}; `{}`: {status}", display(command));
    }
    Ok(counts.to_string())
}

fn each_line(stream: impl Read, mut take: impl FnMut(&str)) {
    for line in BufReader::new(stream).split(b'\n').map_while(std::result::Result::ok) {
        take(&String::from_utf8_lossy(&line));
    }
}

#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
    ignored: usize,
    /// The program that runs.
    program: String,
    /// Seconds of each program that closed.
    seconds: Vec<(f64, String)>,
}

impl Counts {
    /// Takes a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …; finished in 1.50s`, or `Running tests/x.rs (…)`.
    fn add(&mut self, line: &str) {
        if let Some(program) = line.trim_start().strip_prefix("Running ") {
            program.split(" (").next().unwrap_or_default().clone_into(&mut self.program);
        }
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        if let Some(seconds) =
            rest.rsplit("finished in ").next().and_then(|time| time.trim_end_matches('s').parse().ok())
        {
            self.seconds.push((seconds, self.program.clone()));
        }
        for part in rest.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(what)) = (words.next().map(str::parse::<usize>), words.next()) else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tests passed, {} failed, {} ignored", self.passed, self.failed, self.ignored)?;
        let mut slowest = self.seconds.clone();
        slowest.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        for (index, (seconds, program)) in slowest.iter().take(SLOWEST).enumerate() {
            write!(f, "{} {program} {seconds:.0} s", if index == 0 { "; slowest:" } else { "," })?;
        }
        Ok(())
    }
}

fn wasm() -> Result<Report> {
    crate::web::compile_unoptimized().map(|way| way.describe())
}

/// The tests of web/tests, on what the check before built.
fn browser() -> Result<Report> {
    let mut tests = command(setup::node::node()?);
    tests.args(["--test", "--test-concurrency=2"]).args(web_tests()?).current_dir(root().join("web"));
    browser_variables(&mut tests)?;
    run(without_desktop(&mut tests)).map(|()| Report::new())
}

/// Builds and sets up what the variables of web/tests/support.mjs name.
pub fn browser_variables(script: &mut Command) -> Result<()> {
    let chrome = setup::node::browser()?;
    // The command as the tests use it: a build of this package alone would compile all that it depends on once more.
    run(cargo().args(["test", "--workspace", "--locked", "--no-run", "--quiet"]))?;
    let tilestream = root().join("target/debug").join(format!("tilestream{}", std::env::consts::EXE_SUFFIX));
    let smollm2 = split(&tilestream, &setup::model::set_up()?, "smollm2")?;
    let gemma3 = split(&tilestream, &setup::model::set_up_gemma3()?, "gemma3")?;
    script.env("TILESTREAM_KERNELS", crate::web::kernel_table()?);
    script.env("CHROME", chrome).env("TILESTREAM", tilestream);
    script.env("TILESTREAM_SMOLLM2", smollm2).env("TILESTREAM_GEMMA3", gemma3);
    Ok(())
}

/// A model of the tests, split into cache/models unless it is there.
fn split(tilestream: &Path, checkpoint: &Path, name: &str) -> Result<PathBuf> {
    let folder = root().join("cache/models").join(name);
    if !folder.join("manifest.json").is_file() {
        run(command(tilestream).arg("split").arg(checkpoint).arg(&folder))?;
    }
    Ok(folder)
}

/// Node's runner finds tests by itself only in some versions.
fn web_tests() -> Result<Vec<PathBuf>> {
    let folder = root().join("web/tests");
    let entries = folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".test.mjs"));
    files.sort();
    Ok(files)
}

/// An archiver that makes empty archives.
const EMPTY_ARCHIVER: &str = "#!/bin/sh\nfor argument; do case $argument in\n-[oO][uU][tT]:* | /[oO][uU][tT]:*) : > \"${argument#*:}\" ;;\n*.a | *.lib) : > \"$argument\" ;;\nesac; done\n";

/// Lets build scripts that compile C for another target pass: a type check links nothing, and needs no C compiler for
/// that target.
#[cfg(unix)]
fn without_c(cargo: &mut Command, target: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let archiver = root().join("target/empty-archiver.sh");
    std::fs::write(&archiver, EMPTY_ARCHIVER).with_context(|| format!("cannot write {}", archiver.display()))?;
    std::fs::set_permissions(&archiver, std::fs::Permissions::from_mode(0o755))?;
    let target = target.replace('-', "_");
    cargo.env(format!("CC_{target}"), "true").env(format!("AR_{target}"), archiver);
    Ok(())
}

#[cfg(not(unix))]
fn without_c(_cargo: &mut Command, _target: &str) -> Result<()> {
    Ok(())
}

fn other_hosts() -> Result<Report> {
    let this = toolchain::host();
    let (mut checked, mut failed, mut not_checked) = (Vec::new(), Vec::new(), Vec::new());
    for &target in HOSTS.iter().filter(|target| this.as_deref() != Some(**target)) {
        let Some(way) = Way::find(target) else {
            println!("{target}: NOT CHECKED, neither its standard library nor the source of one is to be had");
            not_checked.push(target);
            continue;
        };
        println!("{target}: {}", way.describe());
        let mut command = cargo();
        command.args(["check", "--workspace", "--locked"]).args(toolchain::UNOPTIMIZED);
        way.apply(&mut command, target);
        without_c(&mut command, target)?;
        match run(&mut command) {
            Ok(()) => checked.push(target),
            Err(error) => {
                println!("{error:#}");
                failed.push(target);
            }
        }
    }
    if !failed.is_empty() {
        bail!("{} does not type-check", failed.join(", "));
    }
    let mut report = checked.join(", ");
    if !not_checked.is_empty() {
        report += &format!("; NOT CHECKED: {}", not_checked.join(", "));
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_over_test_programs() {
        let mut counts = Counts::default();
        counts.add("     Running unittests src/lib.rs (target/debug/deps/x-1)");
        counts.add("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s");
        counts.add("     Running tests/main.rs (target/debug/deps/engine-1)");
        counts.add("test some::name ... ok");
        counts
            .add("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 91.60s");
        let slowest = "; slowest: tests/main.rs 92 s, unittests src/lib.rs 0 s";
        assert_eq!(counts.to_string(), format!("13 tests passed, 2 failed, 1 ignored{slowest}"));
    }

    #[test]
    fn the_table_names_failures_and_what_was_not_run() {
        let done = [
            ("fmt", Ok(Report::new()), Duration::from_secs(2)),
            ("clippy", Err(anyhow::anyhow!("two lints")), Duration::from_secs(61)),
        ];
        let table = table(&done, &["test"]);
        assert!(table.contains("fmt       ok           2.0\n"), "{table}");
        assert!(table.contains("clippy    FAILED      61.0  two lints\n"), "{table}");
        assert!(table.contains("test      not run\n"), "{table}");
        assert!(table.ends_with("1 of 3 checks passed in 1 min 3 s\n"), "{table}");
    }
}
