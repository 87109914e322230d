//! Holds one file to the rules.

use super::paths::{ReExports, module_of, paths};
use super::rules::{Forbids, RULES, Rule};
use super::tokens::{self, At, TestModule, Token, attribute_end, group_end, without_tests};

/// A file, read.
pub struct Source {
    /// From the workspace's root, with `/`.
    pub file: String,
    lines: usize,
    /// All of it.
    pub tokens: Vec<At>,
    /// Without its tests.
    code: Vec<At>,
    pub test_modules: Vec<TestModule>,
}

/// A place where a rule is broken.
pub struct Violation {
    pub file: String,
    pub line: usize,
    pub what: String,
    pub rule: &'static Rule,
}

impl Source {
    pub fn new(file: &str, text: &str) -> Self {
        let tokens = if file.ends_with(".rs") { tokens::tokens(text) } else { Vec::new() };
        let split = without_tests(&tokens);
        let lines = text.lines().count();
        Self { file: file.into(), lines, tokens, code: split.tokens, test_modules: split.test_modules }
    }
}

/// Every violation in a file.
pub fn judge(source: &Source, is_test: bool, re_exports: &ReExports) -> Vec<Violation> {
    let mut found = Vec::new();
    for rule in RULES.iter().filter(|rule| holds(rule, &source.file)) {
        let whole = matches!(rule.forbids, Forbids::LinesAbove(_) | Forbids::LintsWithoutReason);
        if is_test && !whole {
            continue;
        }
        for (line, what) in broken(&rule.forbids, source, re_exports) {
            found.push(Violation { file: source.file.clone(), line, what, rule });
        }
    }
    found.sort_by_key(|violation| violation.line);
    found
}

fn holds(rule: &Rule, file: &str) -> bool {
    // `src/text` means the folder and `src/text.rs`, and not `src/texture.rs`.
    let below = |prefix: &&str| match file.strip_prefix(*prefix) {
        Some(rest) => prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/') || rest == ".rs",
        None => false,
    };
    rule.within.iter().any(below) && !rule.except.iter().any(below)
}

fn broken(forbids: &Forbids, source: &Source, re_exports: &ReExports) -> Vec<(usize, String)> {
    let code = &source.code;
    match forbids {
        Forbids::Paths { paths: forbidden, but } => named_paths(source, forbidden, but, re_exports),
        Forbids::Words(words) => code
            .iter()
            .filter_map(|at| Some((at.line, at.word().filter(|word| words.contains(word))?)))
            .map(|(line, word)| (line, format!("`{word}` is used")))
            .collect(),
        Forbids::Calls { methods, macros } => calls(code, methods, macros),
        Forbids::CfgOn(words) => cfgs(code, words),
        Forbids::Strings(parts) => code
            .iter()
            .filter(|at| matches!(&at.token, Token::Text(text) if parts.iter().any(|part| text.contains(part))))
            .map(|at| (at.line, "a string that does not belong here".into()))
            .collect(),
        Forbids::Flags => code
            .iter()
            .filter(|at| matches!(&at.token, Token::Text(text) if names_a_flag(text)))
            .map(|at| (at.line, "a string names an option of a command".into()))
            .collect(),
        Forbids::LinesAbove(most) if source.lines > *most => {
            vec![(source.lines, format!("{} lines, at most {most}", source.lines))]
        }
        Forbids::LinesAbove(_) => Vec::new(),
        Forbids::LintsWithoutReason => lints_without_reason(&source.tokens),
    }
}

/// Whether a word of a text begins like `--budget`.
fn names_a_flag(text: &str) -> bool {
    text.match_indices("--").any(|(at, dashes)| {
        let is_within = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '-');
        !is_within && text[at + dashes.len()..].starts_with(|c: char| c.is_ascii_lowercase())
    })
}

fn named_paths(source: &Source, forbidden: &[&str], but: &[&str], re_exports: &ReExports) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for named in paths(&source.code, &module_of(&source.file), re_exports) {
        let hit = forbidden.iter().any(|path| covers(path, &named.segments));
        let excused = but.iter().any(|path| starts_with(path, &named.segments));
        if hit && !excused {
            found.push((named.line, format!("`{}` is used", named.segments.join("::"))));
        }
    }
    found
}

fn starts_with(path: &str, segments: &[String]) -> bool {
    let wanted: Vec<_> = path.split("::").collect();
    segments.len() >= wanted.len() && wanted.iter().zip(segments).all(|(wanted, segment)| wanted == segment)
}

/// Whether naming `segments` brings in what lies at `path`: itself, something in it, or a glob above it.
fn covers(path: &str, segments: &[String]) -> bool {
    let glob = segments.last().is_some_and(|last| last == "*");
    let above = glob && format!("{path}::").starts_with(&format!("{}::", segments[..segments.len() - 1].join("::")));
    above || starts_with(path, segments)
}

fn calls(code: &[At], methods: &[&str], macros: &[&str]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for window in code.windows(3) {
        let Some(word) = window[1].word() else { continue };
        let is_method = window[0].is_mark('.') && window[2].is_mark('(') && methods.contains(&word);
        if is_method {
            found.push((window[1].line, format!("`.{word}()` is called")));
        }
    }
    for pair in code.windows(2) {
        let Some(word) = pair[0].word().filter(|word| pair[1].is_mark('!') && macros.contains(word)) else { continue };
        found.push((pair[0].line, format!("`{word}!` is called")));
    }
    found
}

fn cfgs(code: &[At], words: &[&str]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, token) in code.iter().enumerate() {
        let open = match token.word() {
            Some("cfg" | "cfg_attr") if code.get(at + 1).is_some_and(|next| next.is_mark('!')) => at + 2,
            Some("cfg" | "cfg_attr") => at + 1,
            _ => continue,
        };
        if !code.get(open).is_some_and(|next| next.is_mark('(')) {
            continue;
        }
        let inside = &code[open..group_end(code, open)];
        if let Some(word) = inside.iter().filter_map(At::word).find(|word| words.contains(word)) {
            found.push((token.line, format!("cfg on `{word}`")));
        }
    }
    found
}

fn lints_without_reason(tokens: &[At]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let Some(end) = attribute_end(tokens, at) else { continue };
        let attribute = &tokens[at..end];
        for (inner, pair) in attribute.windows(2).enumerate() {
            let Some(word @ ("allow" | "expect")) = pair[0].word() else { continue };
            let inside = &attribute[inner + 1..group_end(attribute, inner + 1)];
            if pair[1].is_mark('(') && !inside.iter().any(|token| token.is_word("reason")) {
                found.push((pair[0].line, format!("`{word}` of a lint without a reason")));
            }
        }
    }
    found
}
