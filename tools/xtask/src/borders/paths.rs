//! Every path that code names, with `use` groups spelled out and `self`, `super` and re-exports resolved.

use std::collections::BTreeMap;

use super::tokens::{At, Token};

/// A path such as `crate::gpu::Device`, by its segments; `*` for a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub line: usize,
    pub segments: Vec<String>,
}

/// Names that `lib.rs` re-exports, with the path they come from: `Error` -> `crate::error::Error`.
pub type ReExports = BTreeMap<String, Vec<String>>;

/// All paths that code names. `module` is the module's own path, starting with `crate`.
pub fn paths(tokens: &[At], module: &[String], re_exports: &ReExports) -> Vec<Named> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let continues = at > 0 && (tokens[at - 1].is_mark('.') || follows_segment(tokens, at));
        if tokens[at].word().is_some() && !continues {
            at = path(tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    for named in &mut found {
        resolve(&mut named.segments, module, re_exports);
    }
    found
}

/// The re-exports of `lib.rs`.
pub fn re_exports(tokens: &[At]) -> ReExports {
    let mut names = ReExports::new();
    for at in 0..tokens.len().saturating_sub(2) {
        if !(tokens[at].is_word("pub") && tokens[at + 1].is_word("use")) {
            continue;
        }
        let mut found = Vec::new();
        path(tokens, at + 2, &[], &mut found);
        for named in found {
            let mut segments = named.segments;
            if !matches!(segments[0].as_str(), "crate" | "self") {
                segments.insert(0, "crate".into());
            }
            segments[0] = "crate".into();
            names.insert(segments.last().cloned().unwrap_or_default(), segments);
        }
    }
    names
}

/// Reads one path or `use` tree that continues `start`; returns where it ends.
fn path(tokens: &[At], mut at: usize, start: &[String], found: &mut Vec<Named>) -> usize {
    let mut segments = start.to_vec();
    let line = tokens.get(at).map_or(0, |token| token.line);
    loop {
        match tokens.get(at).map(|token| &token.token) {
            Some(Token::Word(word)) => segments.push(word.clone()),
            Some(Token::Mark('*')) => segments.push("*".into()),
            Some(Token::Mark('{')) => return group(tokens, at + 1, &segments, found),
            _ => break,
        }
        at += 1;
        if !is_separator(tokens, at) || is_keyword(&tokens[at - 1]) {
            break;
        }
        at += 2;
    }
    // `{self}` names what stands before the braces.
    if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
        segments.pop();
    }
    found.push(Named { line, segments });
    at
}

/// Reads the trees of `{a, b::c}`; returns where the brace closes.
fn group(tokens: &[At], mut at: usize, start: &[String], found: &mut Vec<Named>) -> usize {
    while let Some(token) = tokens.get(at) {
        match &token.token {
            Token::Mark('}') => return at + 1,
            Token::Word(word) if word == "as" => at += 2,
            Token::Word(_) | Token::Mark('{' | '*') => at = path(tokens, at, start, found),
            _ => at += 1,
        }
    }
    at
}

/// Whether the word here continues a path: `a::here`, `<T>::here`, and not `use ::here`.
fn follows_segment(tokens: &[At], at: usize) -> bool {
    let before = at.checked_sub(3).map(|before| &tokens[before]);
    let ends_segment = |token: &At| token.is_mark('>') || token.word().is_some() && !is_keyword(token);
    at >= 2 && is_separator(tokens, at - 2) && before.is_some_and(ends_segment)
}

/// Keywords that may stand before a path that starts with `::`.
fn is_keyword(token: &At) -> bool {
    token.word().is_some_and(|word| ["use", "as", "dyn", "else", "for", "impl", "in", "mut", "return"].contains(&word))
}

fn is_separator(tokens: &[At], at: usize) -> bool {
    let mark = |at: usize| tokens.get(at).is_some_and(|token| token.is_mark(':'));
    mark(at) && mark(at + 1)
}

fn resolve(segments: &mut Vec<String>, module: &[String], re_exports: &ReExports) {
    let supers = segments.iter().take_while(|segment| *segment == "super").count();
    let own = segments.first().is_some_and(|first| first == "self") && segments.len() > 1;
    if supers > 0 || own {
        let base = module.len().saturating_sub(supers).max(1);
        let skip = if own { 1 } else { supers };
        let rest = segments.split_off(skip);
        *segments = [&module[..base], &rest].concat();
    }
    if segments.first().is_some_and(|first| first == "crate")
        && let Some(source) = segments.get(1).and_then(|name| re_exports.get(name))
    {
        let rest = segments.split_off(2);
        *segments = [source.as_slice(), &rest].concat();
    }
}

/// The module's path of a file below `src/`: `src/gpu/device.rs` is `crate::gpu::device`.
pub fn module_of(file: &str) -> Vec<String> {
    let below = file.strip_prefix("src/").unwrap_or(file).trim_end_matches(".rs");
    let parts = below.split('/').filter(|part| !matches!(*part, "mod" | "lib"));
    ["crate"].into_iter().chain(parts).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::*;

    fn found(source: &str, file: &str) -> Vec<String> {
        let names = re_exports(&tokens("pub use gpu::Device; pub use error::{Error, Result};"));
        paths(&tokens(source), &module_of(file), &names).into_iter().map(|named| named.segments.join("::")).collect()
    }

    #[test]
    fn modules_of_files() {
        for (file, module) in [
            ("src/lib.rs", "crate"),
            ("src/gpu/mod.rs", "crate::gpu"),
            ("src/gpu/device.rs", "crate::gpu::device"),
            ("src/generate.rs", "crate::generate"),
        ] {
            assert_eq!(module_of(file).join("::"), module, "{file}");
        }
    }

    #[test]
    fn paths_are_spelled_out() {
        let cases = [
            ("use crate::gpu;", "src/text/mod.rs", "crate::gpu"),
            ("use crate::{error::Error, gpu::{self, Device}};", "src/text/mod.rs", "crate::gpu::Device"),
            ("use crate::{a as b, gpu};", "src/text/mod.rs", "crate::gpu"),
            ("fn f(d: &crate::gpu::Device) {}", "src/text/mod.rs", "crate::gpu::Device"),
            ("use super::super::gpu::Device;", "src/text/stop.rs", "crate::gpu::Device"),
            ("use super::gpu;", "src/text/mod.rs", "crate::gpu"),
            ("use self::parts::x;", "src/text/mod.rs", "crate::text::parts::x"),
            ("use crate::Device;", "src/text/mod.rs", "crate::gpu::Device"),
            ("use crate::*;", "src/text/mod.rs", "crate::*"),
            ("use ::wgpu::Buffer;", "src/text/mod.rs", "wgpu::Buffer"),
            ("x.map(wgpu::Buffer::size)", "src/text/mod.rs", "wgpu::Buffer::size"),
        ];
        for (source, file, expected) in cases {
            let found = found(source, file);
            assert!(found.iter().any(|path| path == expected), "{source}: {found:?}");
        }
    }

    #[test]
    fn fields_and_later_segments_are_not_paths_of_their_own() {
        let found = found("self.wgpu.x(); other::wgpu::y();", "src/text/mod.rs");
        assert!(!found.iter().any(|path| path.starts_with("wgpu")), "{found:?}");
    }
}
