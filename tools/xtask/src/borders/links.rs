//! Links of the pages: what they lead to within the repository is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

/// A link that leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    pub page: String,
    pub line: usize,
    pub what: String,
}

/// Every link of the pages that leads nowhere.
///
/// # Errors
/// Where a page cannot be read.
pub fn broken(root: &Path) -> Result<Vec<Broken>> {
    let mut pages = BTreeMap::new();
    for folder in ["", "docs", "web"] {
        let entries = fs::read_dir(root.join(folder)).with_context(|| format!("cannot list {folder}"))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                pages.insert(path.strip_prefix(root).unwrap_or(&path).to_path_buf(), text);
            }
        }
    }
    Ok(broken_of(&pages, &|path| root.join(path).exists()))
}

fn broken_of(pages: &BTreeMap<PathBuf, String>, exists: &dyn Fn(&Path) -> bool) -> Vec<Broken> {
    let anchors: BTreeMap<_, _> = pages.iter().map(|(path, text)| (path, anchors(text))).collect();
    let mut found = Vec::new();
    for (page, text) in pages {
        for (line, link) in links(text) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let to = if path.is_empty() { page.clone() } else { beside(page, path) };
            let what = if !exists(&to) {
                format!("the link to {link} leads to no file")
            } else if !anchor.is_empty() && anchors.get(&to).is_some_and(|anchors| !anchors.contains(anchor)) {
                format!("the link to {link} leads to no heading of {}", to.display())
            } else {
                continue;
            };
            found.push(Broken { page: page.display().to_string(), line, what });
        }
    }
    found
}

/// A path as it is written in a page, from the root.
fn beside(page: &Path, path: &str) -> PathBuf {
    let mut whole = page.parent().unwrap_or(Path::new("")).to_path_buf();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            Component::Normal(name) => whole.push(name),
            _ => {}
        }
    }
    whole
}

/// Lines of text, without blocks of code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        (!fence && !in_code).then_some((index + 1, line))
    })
}

/// Links into the repository: `[text](target)` and `[name]: target`, not in code, with the numbers of their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let inline = plain.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        let named = plain.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target.trim());
        for target in inline.chain(named) {
            if !target.contains("://") && !target.starts_with("mailto:") {
                found.push((number, target.to_owned()));
            }
        }
    }
    found
}

/// What links may name of a page: its headings, as hosts of repositories spell them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, line) in prose(text) {
        let Some(heading) = line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')) else {
            continue;
        };
        let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let name: String = kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect();
        let mut unique = name.clone();
        for number in 1.. {
            if found.insert(unique) {
                break;
            }
            unique = format!("{name}-{number}");
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let readme = "# One `run`: two!\n[a](docs/a.md) [b](docs/b.md)\n```\n[code](gone.md)\n```\n`[x](gone.md)` \
                      [c](docs/a.md#part-1) [d](docs/a.md#part-2)\n[e](#one-run-two) [f](https://host/x#y)\n[g]: gone.md";
        let a = "# Part\n## Part\n[up](../README.md#one-run-two) [up](../gone/README.md)";
        let pages =
            [("README.md", readme), ("docs/a.md", a)].map(|(path, text)| (PathBuf::from(path), text.to_owned()));
        let pages = BTreeMap::from(pages);
        let broken = broken_of(&pages, &|path| pages.contains_key(path));
        let found: Vec<_> =
            broken.iter().map(|broken| (broken.page.as_str(), broken.line, broken.what.as_str())).collect();
        let expected = [
            ("README.md", 2, "the link to docs/b.md leads to no file"),
            ("README.md", 6, "the link to docs/a.md#part-2 leads to no heading of docs/a.md"),
            ("README.md", 8, "the link to gone.md leads to no file"),
            ("docs/a.md", 3, "the link to ../gone/README.md leads to no file"),
        ];
        assert_eq!(found, expected);
    }
}
