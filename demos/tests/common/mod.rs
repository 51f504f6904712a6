//! Runs the `demos` binary for the tests.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

use serde_json::Value;

/// A demo that takes this many seconds hangs: the kernel ends it with SIGALRM, and the test fails.
const HANGS_AFTER: u32 = 120;

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demos"));
    command.args(args);
    // SAFETY: the closure makes two system calls, whose effects survive exec.
    unsafe {
        command.pre_exec(|| {
            // A shell that puts the tests into the background has them, and what they start, ignore it.
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            libc::alarm(HANGS_AFTER);
            Ok(())
        });
    }
    command
}

pub(crate) fn run(args: &[&str]) -> Output {
    command(args).output().expect("start demos")
}

/// What a demo printed that must succeed with one line of JSON and nothing on stderr.
pub(crate) fn json(args: &[&str]) -> Value {
    let output = run(args);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}: {}\n{err}", output.status);
    assert_eq!(err, "", "{args:?}");
    assert_eq!(out.lines().count(), 1, "{args:?}: {out}");
    serde_json::from_str(&out).expect("one line of JSON")
}

pub(crate) fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {value}"))
}
