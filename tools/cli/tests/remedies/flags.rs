//! Every option and command that a text of the sources or the documentation names is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tokens::{Token, tokens, without_tests};

/// The options of each command, as its own help has them.
type Options = BTreeMap<String, BTreeSet<String>>;

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tilestream")).args(arguments).arg("--help").output();
    String::from_utf8(output.expect("starts").stdout).expect("UTF-8")
}

fn options() -> Options {
    let text = help(&[]);
    let (_, commands) = text.split_once("Commands:\n").expect("commands");
    let names = commands.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    let names = names.filter(|name| *name != "help");
    let with_options = |name: &str| {
        // A definition stands at the beginning of its line.
        let defined = |line: &str| {
            let words = line.trim_start().split([' ', ',']).filter(|word| !word.is_empty());
            let words = words.take_while(|word| word.starts_with('-')).collect::<Vec<_>>();
            words.into_iter().find_map(|word| Some(word.strip_prefix("--")?.trim_end_matches('.').to_owned()))
        };
        (name.to_owned(), help(&[name]).lines().filter_map(defined).collect())
    };
    let found: Options = names.map(with_options).collect();
    assert!(found.len() >= 10 && found["run"].contains("ids-file") && found["split"].contains("weights"), "{found:?}");
    found
}

/// The options that a text names: `--name`, not within a word or a rule.
fn named(text: &str) -> Vec<&str> {
    let starts = text.match_indices("--").filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
    });
    let name = |(at, _): (usize, &str)| {
        let rest = &text[at + 2..];
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '-').unwrap_or(rest.len());
        rest[..end].trim_end_matches('-')
    };
    starts.map(name).filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())).collect()
}

/// What a text names that is not there: options of no command, and commands or options behind `tilestream`.
fn unknown(text: &str, options: &Options) -> Vec<String> {
    let anywhere = |name: &str| options.values().any(|of| of.contains(name));
    let mut found: Vec<_> =
        named(text).into_iter().filter(|name| !anywhere(name)).map(|name| format!("--{name}")).collect();
    for part in text.split('`').skip(1).step_by(2) {
        let Some(line) = part.strip_prefix("tilestream ") else { continue };
        found.extend(unknown_of_line(line, options));
    }
    found
}

/// The same of what is typed behind `tilestream`.
fn unknown_of_line(line: &str, options: &Options) -> Vec<String> {
    let command = line.split_whitespace().next().unwrap_or_default();
    if command.starts_with("--") || command == "COMMAND" {
        return Vec::new();
    }
    let Some(own) = options.get(command) else { return vec![format!("tilestream {command}")] };
    let missing = named(line).into_iter().filter(|name| !own.contains(*name));
    missing.map(|name| format!("tilestream {command} --{name}")).collect()
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Files below a folder, in order.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
}

/// Files that only tests include.
fn is_test(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.ends_with("_tests.rs") || name == "tests.rs" || name == "testing.rs"
}

#[test]
fn every_option_that_a_message_names_is_there() {
    let (options, mut sources) = (options(), Vec::new());
    for folder in ["src", "tools/cli/src", "tools/split/src"] {
        files(&workspace().join(folder), ".rs", &mut sources);
    }
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for path in sources.iter().filter(|path| !is_test(path)) {
        let text = fs::read_to_string(path).expect("reads");
        for at in without_tests(&tokens(&text)).tokens {
            let Token::Text(text) = at.token else { continue };
            seen += named(&text).len();
            wrong.extend(unknown(&text, &options).iter().map(|name| format!("{}:{}: {name}", path.display(), at.line)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 40, "the sources name {seen} options");
}

#[test]
fn every_option_that_a_help_or_a_page_names_is_there() {
    let (options, mut pages) = (options(), vec![workspace().join("README.md")]);
    let mut wrong = Vec::new();
    for command in options.keys() {
        wrong.extend(unknown(&help(&[command]), &options).iter().map(|name| format!("{command} --help: {name}")));
    }
    files(&workspace().join("docs"), ".md", &mut pages);
    for page in &pages {
        let text = fs::read_to_string(page).expect("reads");
        // Pages name options of other programs too; those of this one stand behind its name.
        let typed = text.lines().filter_map(|line| line.trim_start().strip_prefix("tilestream "));
        let typed = typed.map(|line| line.split(" # ").next().unwrap_or_default());
        let quoted = text.split('`').filter_map(|part| part.strip_prefix("tilestream "));
        for line in typed.chain(quoted) {
            let line = line.lines().next().unwrap_or_default();
            wrong.extend(unknown_of_line(line, &options).iter().map(|name| format!("{}: {name}", page.display())));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_option_that_is_not_there_is_found() {
    let options = options();
    for (text, wrong) in [
        ("give --ids-files", "--ids-files"),
        ("use `tilestream run --weights q4`", "tilestream run --weights"),
        ("run `tilestream check`", "tilestream check"),
    ] {
        assert_eq!(unknown(text, &options), [wrong]);
    }
    let right = "--kv f16 halves that; models--org--name; `tilestream run --raw`; (--hf-token, …); ---";
    assert!(unknown(right, &options).is_empty());
}
