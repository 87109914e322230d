//! A command that gets no memory says so and ends with 1: it does not crash.
#![cfg(target_os = "linux")]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

mod shell;

use shell::Shell;

/// The command with so much address space, which is all that the system can refuse by number.
fn within(mib: u64, arguments: &[&str]) -> Output {
    let line = format!("ulimit -v {}; exec \"$0\" \"$@\"", mib << 10);
    let mut command = Command::new("sh");
    command.args(["-c", &line, env!("CARGO_BIN_EXE_tilestream")]).args(arguments);
    command.output().expect("a shell")
}

#[test]
fn a_refusal_of_memory_is_told() {
    let shell = Shell::new();
    // Read before a driver is opened: what drivers do without memory is theirs.
    let ids = shell.write("ids.json", &format!("[{}1]", "1,".repeat(8_000_000)));
    let mut told = 0;
    for mib in (40..160).step_by(4) {
        if !within(mib, &["--version"]).status.success() {
            continue;
        }
        let output = within(mib, &["run", "./nowhere", "--ids-file", &ids]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.status.signal()), (Some(1), None), "{mib} MiB: {text}");
        told += usize::from(text.contains("tilestream: not enough memory"));
    }
    assert!(told > 0, "none of these sizes was too small");
}
