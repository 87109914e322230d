//! `cargo xtask borders`: reads the source and holds it to the table of borders.

mod judge;
mod links;
mod paths;
mod rules;
mod tokens;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::process::root;
use judge::{Source, Violation, judge};
use paths::ReExports;
use rules::RULES;
use tokens::TestModule;

/// Checks the borders between modules: who may use what, file sizes, reasons of lint exceptions; and the links of the pages.
///
/// Reads the source, not the compiled code, so it takes no time. Comments do not count, and tests may cross borders;
/// only file sizes and lint exceptions hold for them too. The rules are a table in
/// tools/xtask/src/borders/rules.rs.
#[derive(clap::Args)]
pub struct Args {
    /// Print the rules and their reasons, and check nothing
    #[arg(long)]
    list: bool,
}

pub fn main(args: &Args) -> Result<()> {
    if args.list {
        for rule in RULES {
            println!("{}\n  holds in {}\n  {}", rule.name, rule.within.join(", "), rule.why);
            if !rule.except.is_empty() {
                println!("  except in {}", rule.except.join(", "));
            }
        }
        return Ok(());
    }
    let files = check(&root())?;
    println!("borders: {files} files keep {} rules", RULES.len());
    Ok(())
}

/// Checks all source below a folder, printing each violation; how many files were read.
///
/// # Errors
/// With the number of violations.
pub fn check(root: &Path) -> Result<usize> {
    let sources = sources(root)?;
    let violations = violations(&sources);
    for Violation { file, line, what, rule } in &violations {
        println!("{file}:{line}: {what} [{}: {}]", rule.name, rule.why);
    }
    let broken = links::broken(root)?;
    for links::Broken { page, line, what } in &broken {
        println!("{page}:{line}: {what}");
    }
    match violations.len() + broken.len() {
        0 => Ok(sources.len()),
        1 => bail!("a border is crossed"),
        crossed => bail!("borders are crossed in {crossed} places"),
    }
}

fn violations(sources: &[Source]) -> Vec<Violation> {
    let library = sources.iter().find(|source| source.file == "src/lib.rs");
    let re_exports = library.map_or_else(ReExports::new, |library| paths::re_exports(&library.tokens));
    let tests = test_files(sources);
    sources.iter().flat_map(|source| judge(source, tests.contains(&source.file), &re_exports)).collect()
}

/// Files that only tests include, and those below a folder of tests.
fn test_files(sources: &[Source]) -> BTreeSet<String> {
    let mut bases = Vec::new();
    for source in sources {
        let folder = source.file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let is_root = ["mod.rs", "lib.rs", "main.rs"].iter().any(|name| source.file.ends_with(&format!("/{name}")));
        let children = if is_root { folder } else { source.file.trim_end_matches(".rs") };
        for module in &source.test_modules {
            match module {
                TestModule::Named(name) => bases.push(format!("{children}/{name}")),
                TestModule::AtPath(path) => bases.push(format!("{folder}/{}", path.trim_end_matches(".rs"))),
            }
        }
    }
    let is_test = |file: &str| {
        let belongs =
            |base: &String| file.strip_prefix(base.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'));
        file.split('/').any(|part| matches!(part, "tests" | "benches")) || bases.iter().any(belongs)
    };
    sources.iter().map(|source| source.file.clone()).filter(|file| is_test(file)).collect()
}

/// Every source file of the workspace, in order.
fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut files = Vec::new();
    for folder in ["src", "tools", "tests", "shaders", "fuzz"] {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
        Ok(Source::new(&name, &text))
    };
    files.iter().map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Build output, packages of a comparison, and hidden folders are not ours.
        let skipped =
            ["target", "node_modules", "corpus", "artifacts"].contains(&name.as_ref()) || name.starts_with('.');
        if path.is_dir() && !skipped {
            collect(&path, files)?;
        } else if [".rs", ".wgsl", ".py"].iter().any(|ending| name.ends_with(ending)) {
            files.push(path);
        }
    }
    Ok(())
}
