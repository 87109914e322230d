//! `cargo package`: the crates pack, and stay smaller than crates.io takes them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, root, run};

/// The largest package that crates.io takes.
const MOST_BYTES: u64 = 10 << 20;

/// Packs each crate of the workspace. What is packed is not built again: that takes minutes, and publishing does it.
///
/// # Errors
/// Where a crate does not pack, or is too large.
pub fn check() -> Result<String> {
    let target = root().join("target/packages");
    // What an earlier version packed is no news.
    let _ = fs::remove_dir_all(&target);
    let mut package = cargo();
    package.args(["package", "--workspace", "--no-verify", "--allow-dirty", "--locked", "--quiet", "--target-dir"]);
    run(package.arg(&target))?;
    judge(&sizes(&target.join("package"))?)
}

/// The packages in a folder, with their bytes.
fn sizes(folder: &Path) -> Result<Vec<(String, u64)>> {
    let mut sizes = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cargo made no {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".crate") {
            sizes.push((name, entry.metadata()?.len()));
        }
    }
    Ok(sizes)
}

fn judge(sizes: &[(String, u64)]) -> Result<String> {
    let Some((name, bytes)) = sizes.iter().max_by_key(|(_, bytes)| bytes) else { bail!("cargo packed nothing") };
    if *bytes >= MOST_BYTES {
        bail!("{name} has {bytes} bytes; crates.io takes fewer than {MOST_BYTES}");
    }
    Ok(format!("{} packages, the largest has {} KiB", sizes.len(), bytes >> 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_is_too_large_is_named() {
        let of = |bytes| judge(&[("a.crate".to_owned(), 2048), ("b.crate".to_owned(), bytes)]);
        assert_eq!(of(3 << 10).expect("small"), "2 packages, the largest has 3 KiB");
        assert!(of(MOST_BYTES).expect_err("too large").to_string().starts_with("b.crate has 10485760 bytes"));
        assert!(judge(&[]).is_err());
    }
}
