//! Compiling for targets other than this machine's: rustup's targets, or the standard library built from source.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

use super::{packages, say};
use crate::process::{command, find_program, output_of, run};

pub const WASM: &str = "wasm32-unknown-unknown";

/// What is compiled to be checked, or run once, needs no optimizing, macros and build scripts included.
pub const UNOPTIMIZED: &[&str] =
    &["--config", "profile.dev.package.\"*\".opt-level=0", "--config", "profile.dev.opt-level=0"];

/// Debian's newest Rust, and the source of its standard library.
const DEBIAN_RUST: &[&str] = &["rustc-web", "rust-web-src"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// How this machine compiles for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// The compiler has the target's standard library.
    Installed,
    /// The standard library is built from the source that lies beside this compiler.
    FromSource { rustc: PathBuf },
}

impl Way {
    /// The first that works: what is installed, what rustup can fetch, source that is at hand.
    pub fn find(target: &str) -> Option<Self> {
        let default = env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from);
        if has_target(&default, target) || (fetch(target) && has_target(&default, target)) {
            return Some(Self::Installed);
        }
        [default, DEBIAN_RUSTC.into()]
            .into_iter()
            .find(|rustc| has_source(rustc))
            .map(|rustc| Self::FromSource { rustc })
    }

    /// Makes a cargo command compile for the target this way, into a folder of its own: everything that is built
    /// from source shares one, so that build scripts and macros are built once.
    pub fn apply(&self, cargo: &mut Command, target: &str) {
        cargo.args(["--target", target]);
        // The variable would replace the flags of .cargo/config.toml.
        cargo.env_remove("RUSTFLAGS");
        let Self::FromSource { rustc } = self else {
            cargo.args(["--target-dir", "target/cross"]);
            return;
        };
        cargo.args(["-Z", "build-std=std,panic_abort", "--target-dir", "target/cross-from-source"]);
        // Building the standard library is an unstable option, which this variable allows a stable compiler.
        cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", rustc);
        if target == WASM
            && let Some(linker) = wasm_linker(rustc)
        {
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
    }

    /// Where what is compiled this way lies, in the repository.
    pub fn target_dir(&self) -> &'static str {
        match self {
            Self::Installed => "target/cross",
            Self::FromSource { .. } => "target/cross-from-source",
        }
    }

    /// In words, for headings.
    pub fn describe(&self) -> String {
        match self {
            Self::Installed => "with the installed standard library".into(),
            Self::FromSource { rustc } => format!("building the standard library with {}", rustc.display()),
        }
    }
}

/// Makes sure that the engine can be compiled for wasm32.
///
/// # Errors
/// Where it cannot, with the two ways to get there.
pub fn set_up_wasm() -> Result<Way> {
    let way = Way::find(WASM).map_or_else(install_from_debian, Ok)?;
    say(&format!("wasm: compiles {}", way.describe()));
    Ok(way)
}

fn install_from_debian() -> Result<Way> {
    let help = format!("run `rustup target add {WASM}`, or on Debian install {}", DEBIAN_RUST.join(" "));
    let Some(manager) = packages::manager().filter(|manager| manager.program == "apt-get") else {
        bail!("no compiler for {WASM} is here; {help}");
    };
    say(&format!("wasm: installing {} with apt-get", DEBIAN_RUST.join(" ")));
    manager.install(DEBIAN_RUST)?;
    match Way::find(WASM) {
        Some(way) => Ok(way),
        None => bail!("the standard library's source is still missing; {help}"),
    }
}

/// Whether rustup could install the target; once it could not, it is not asked again.
fn fetch(target: &str) -> bool {
    static UNREACHABLE: AtomicBool = AtomicBool::new(false);
    let Some(rustup) = find_program(&["rustup"]).filter(|_| !UNREACHABLE.load(Ordering::Relaxed)) else { return false };
    say(&format!("{target}: asking rustup for its standard library"));
    let added = run(command(rustup)
        .env("RUSTUP_MAX_RETRIES", "1")
        .env_remove("RUST_BACKTRACE")
        .args(["target", "add", target]));
    if let Err(error) = &added {
        say(&format!("{error:#}; looking for another way"));
        UNREACHABLE.store(true, Ordering::Relaxed);
    }
    added.is_ok()
}

fn has_target(rustc: &Path, target: &str) -> bool {
    let folder = output_of(command(rustc).args(["--print", "target-libdir", "--target", target]));
    folder.is_some_and(|folder| Path::new(&folder).is_dir())
}

fn has_source(rustc: &Path) -> bool {
    sysroot(rustc).is_some_and(|root| root.join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file())
}

fn sysroot(rustc: &Path) -> Option<PathBuf> {
    output_of(command(rustc).args(["--print", "sysroot"])).map(PathBuf::from)
}

/// A linker for wasm where the compiler brings none: that of the default toolchain, or LLVM's.
fn wasm_linker(rustc: &Path) -> Option<PathBuf> {
    let host = host()?;
    let linker_of = |rustc: &Path| Some(sysroot(rustc)?.join("lib/rustlib").join(&host).join("bin/rust-lld"));
    if linker_of(rustc).is_some_and(|linker| linker.is_file()) {
        return None;
    }
    linker_of(Path::new("rustc")).filter(|linker| linker.is_file()).or_else(|| find_program(&["rust-lld", "wasm-ld"]))
}

/// The target triple of this machine.
pub fn host() -> Option<String> {
    let version = output_of(command("rustc").arg("-vV"))?;
    version.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_can_be_compiled_for_and_an_unknown_target_cannot() {
        let host = host().unwrap();
        assert!(has_target(Path::new("rustc"), &host));
        assert!(!has_target(Path::new("rustc"), "no-such-target"));
    }

    #[test]
    fn building_from_source_names_its_compiler() {
        let mut cargo = Command::new("cargo");
        Way::FromSource { rustc: "/some/rustc".into() }.apply(&mut cargo, "aarch64-apple-darwin");
        let shown = crate::process::display(&cargo);
        assert!(shown.contains("RUSTC=/some/rustc") && shown.contains("build-std"), "{shown}");
        let mut cargo = Command::new("cargo");
        Way::Installed.apply(&mut cargo, "aarch64-apple-darwin");
        assert!(!crate::process::display(&cargo).contains("build-std"));
    }
}
