//! Rust source as tokens: just enough to tell code from comments, strings and tests.

/// What a rule may look at. Comments and lifetimes are gone, a number is a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    Word(String),
    Text(String),
    Mark(char),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    pub line: usize,
    pub token: Token,
}

impl At {
    pub fn is_mark(&self, mark: char) -> bool {
        self.token == Token::Mark(mark)
    }

    pub fn is_word(&self, word: &str) -> bool {
        self.word() == Some(word)
    }

    pub fn word(&self) -> Option<&str> {
        match &self.token {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// Splits source into tokens. What does not parse is passed over: the compiler says so better.
pub fn tokens(source: &str) -> Vec<At> {
    let mut reader = Reader { rest: source, line: 1 };
    let mut found = Vec::new();
    while let Some((line, token)) = reader.next() {
        found.push(At { line, token });
    }
    found
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(usize, Token)> {
        loop {
            self.take(self.rest.len() - self.rest.trim_start().len());
            let first = self.rest.chars().next()?;
            if self.rest.starts_with("//") {
                self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
                continue;
            }
            if self.rest.starts_with("/*") {
                self.take(block_comment(self.rest));
                continue;
            }
            let line = self.line;
            if let Some(text) = self.string() {
                return Some((line, Token::Text(text)));
            }
            if first == '\'' {
                let len = quote(self.rest);
                self.take(len);
                continue;
            }
            let word = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
            if word > 0 {
                return Some((line, Token::Word(self.take(word).to_owned())));
            }
            self.take(first.len_utf8());
            return Some((line, Token::Mark(first)));
        }
    }

    /// A string literal of any kind, without its quotes.
    fn string(&mut self) -> Option<String> {
        let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
            let after = self.rest.strip_prefix(prefix).unwrap_or_default();
            let after = if prefix.ends_with('r') { after.trim_start_matches('#') } else { after };
            after.starts_with('"')
        })?;
        let body = &self.rest[prefix.len()..];
        let hashes = body.len() - body.trim_start_matches('#').len();
        let open = prefix.len() + hashes + 1;
        let close = format!("\"{}", "#".repeat(hashes));
        let len = if prefix.ends_with('r') {
            self.rest[open..].find(&close).unwrap_or(self.rest.len() - open)
        } else {
            escaped_len(&self.rest[open..], '"')
        };
        let text = self.rest[open..open + len].to_owned();
        self.take((open + len + close.len()).min(self.rest.len()));
        Some(text)
    }

    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(len);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }
}

/// Length of a comment that may hold others.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Length up to the closing quote, which a backslash may hide.
fn escaped_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at,
            _ => {}
        }
    }
    text.len()
}

/// Length of a character literal with its quotes, or of a lifetime's mark.
fn quote(text: &str) -> usize {
    let mut chars = text[1..].char_indices();
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => (escaped_len(&text[1..], '\'') + 2).min(text.len()),
        (Some(_), Some((at, '\''))) => at + 2,
        _ => 1,
    }
}

/// Source without its tests, and the files that only tests include.
pub struct WithoutTests {
    pub tokens: Vec<At>,
    /// `mod name;` under `#[cfg(test)]`: the name, or what its `#[path]` says.
    pub test_modules: Vec<TestModule>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum TestModule {
    Named(String),
    AtPath(String),
}

/// Takes out every item that `#[test]` or a `#[cfg]` on `test` marks.
pub fn without_tests(tokens: &[At]) -> WithoutTests {
    let mut kept = Vec::new();
    let mut test_modules = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let Some(end) = attribute_end(tokens, at) else {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        };
        if !marks_test(&tokens[at..end]) {
            kept.extend_from_slice(&tokens[at..end]);
            at = end;
            continue;
        }
        let item_end = item_end(tokens, end);
        test_modules.extend(test_module(&tokens[at..item_end]));
        at = item_end;
    }
    WithoutTests { tokens: kept, test_modules }
}

/// Where the attribute that starts here ends.
pub fn attribute_end(tokens: &[At], at: usize) -> Option<usize> {
    if !tokens.get(at)?.is_mark('#') {
        return None;
    }
    let open = if tokens.get(at + 1)?.is_mark('!') { at + 2 } else { at + 1 };
    tokens.get(open)?.is_mark('[').then(|| group_end(tokens, open))
}

fn marks_test(attribute: &[At]) -> bool {
    let has = |word: &str| attribute.iter().any(|token| token.is_word(word));
    let only_word = attribute.len() == 4 && has("test");
    only_word || (attribute.get(2).is_some_and(|token| token.is_word("cfg")) && has("test") && !has("not"))
}

/// One past the bracket that closes the one at `open`.
pub fn group_end(tokens: &[At], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::Mark('(' | '[' | '{') => depth += 1,
            Token::Mark(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// One past the item that starts here: its block, or its semicolon.
fn item_end(tokens: &[At], start: usize) -> usize {
    let mut at = start;
    while at < tokens.len() {
        match tokens[at].token {
            Token::Mark(';') => return at + 1,
            Token::Mark('{') => return group_end(tokens, at),
            Token::Mark('(' | '[') => at = group_end(tokens, at),
            _ => at += 1,
        }
    }
    at
}

fn test_module(item: &[At]) -> Option<TestModule> {
    let at = item.iter().position(|token| token.is_word("mod"))?;
    item.get(at + 2)?.is_mark(';').then_some(())?;
    let path = item[..at].windows(3).find_map(|window| match (&window[0], &window[1], &window[2].token) {
        (name, equals, Token::Text(path)) if name.is_word("path") && equals.is_mark('=') => Some(path.clone()),
        _ => None,
    });
    Some(path.map_or_else(|| TestModule::Named(item[at + 1].word().unwrap_or_default().to_owned()), TestModule::AtPath))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        tokens(source).iter().filter_map(|at| at.word().map(str::to_owned)).collect()
    }

    #[test]
    fn comments_strings_and_characters_are_not_code() {
        let source = r##"
            // wgpu
            /* wgpu /* wgpu */ wgpu */
            /// wgpu
            let a = "wgpu \" wgpu"; let b = r#"wgpu " wgpu"#; let c = b"wgpu"; let d = '"'; let e = '\''; let f: &'wgpu u8;
            real
        "##;
        let found = words(source);
        assert!(found.contains(&"real".to_owned()), "{found:?}");
        assert_eq!(found.iter().filter(|word| *word == "wgpu").count(), 1, "only the lifetime's name: {found:?}");
    }

    #[test]
    fn lines_count_through_comments_and_strings() {
        let found = tokens("/* \n */ a \"x\ny\" b // c\nd");
        let lines: Vec<_> = found.iter().map(|at| at.line).collect();
        assert_eq!(lines, [2, 2, 3, 4]);
    }

    #[test]
    fn tests_are_taken_out_and_their_files_named() {
        let source = r#"
            fn kept() {}
            #[cfg(test)] mod tests { fn gone() { } }
            #[cfg(test)] #[path = "x_tests.rs"] mod elsewhere;
            #[cfg(test)] mod testing;
            #[test] fn gone_too() {}
            #[cfg(not(test))] fn stays() {}
            #[must_use] fn stays_too() {}
        "#;
        let split = without_tests(&tokens(source));
        let names: Vec<_> = split.tokens.iter().filter_map(At::word).collect();
        for kept in ["kept", "stays", "stays_too"] {
            assert!(names.contains(&kept), "{kept}: {names:?}");
        }
        for gone in ["gone", "gone_too", "elsewhere"] {
            assert!(!names.contains(&gone), "{gone}: {names:?}");
        }
        let expected = [TestModule::AtPath("x_tests.rs".into()), TestModule::Named("testing".into())];
        assert_eq!(split.test_modules, expected);
    }
}
