//! The steps that need nothing but cargo.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::Tally;
use crate::exec;
use crate::setup::guest_build::{cargo, target, workspace};
use crate::setup::tools::{CHROMIUM, find_or_install};

/// `cargo fmt --check`, here and in the probes' own workspace.
pub(super) fn formatting() -> Result<Tally> {
    exec::run(cargo().args(["fmt", "--all", "--check"]))?;
    exec::run(cargo().args(["fmt", "--check"]).current_dir(workspace().join("tracer-ebpf")))?;
    Ok(Tally::PASSED)
}

/// Clippy with warnings denied.
pub(super) fn clippy() -> Result<Tally> {
    exec::run(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    Ok(Tally::PASSED)
}

/// `cargo test` of the whole workspace. Every step that needs a program of it builds by this: of one package alone, cargo would compile
/// libraries once more with the fewer features that this package asks for.
fn cargo_test() -> Command {
    let mut command = cargo();
    command.args(["test", "--workspace", "--locked"]);
    command
}

/// All native tests, or those whose name contains `filter`, with every line passed on.
pub(super) fn tests(filter: &str) -> Result<Tally> {
    let mut command = cargo_test();
    command.arg("--no-fail-fast");
    if !filter.is_empty() {
        // An empty filter would be one all the same.
        command.args(["--", filter]);
    }
    counted(command)
}

/// The folder of the programs that the native tests test, built.
pub(super) fn programs() -> Result<PathBuf> {
    exec::run(cargo_test().args(["--no-run", "--quiet"]))?;
    Ok(target().join("debug"))
}

/// The pages in a real browser.
pub(super) fn browser(filter: &str) -> Result<Tally> {
    let chromium = find_or_install(&CHROMIUM, ", or leave out what needs it: --no-vm")?;
    let mut command = cargo_test();
    command.args(["--test", "browser", "--"]);
    // Two browsers at once are enough for two processors.
    command.args(["--test-threads", "2"]).args(Some(filter).filter(|filter| !filter.is_empty()));
    command.env("EPTRACE_CHROMIUM", chromium);
    counted(command)
}

/// Runs tests, passes their lines on, and counts.
fn counted(mut command: Command) -> Result<Tally> {
    let line = exec::shown(&command);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run `{line}`"))?;
    let stdout = child.stdout.take().context("the child has a stdout")?;
    let mut tally = Tally::default();
    for said in BufReader::new(stdout).lines() {
        let said = said.with_context(|| format!("cannot read what `{line}` prints"))?;
        println!("{said}");
        if let Some(more) = tally_of(&said) {
            tally.add(more);
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
    if !status.success() && tally.failed == 0 {
        // It did not get as far as a test's verdict.
        tally.add(Tally::FAILED);
    }
    Ok(tally)
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; ...`.
fn tally_of(line: &str) -> Option<Tally> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |word: &str| counts.split("; ").find_map(|part| part.strip_suffix(word)?.trim().parse::<u64>().ok());
    Some(Tally { passed: count(" passed")?, failed: count(" failed")?, skipped: count(" ignored")? })
}

#[cfg(test)]
mod tests {
    use super::tally_of;
    use crate::commands::test::Tally;

    #[test]
    fn result_lines_are_counted_and_others_are_not() {
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 5 filtered out; finished in 0.00s";
        assert_eq!(tally_of(line), Some(Tally { passed: 3, failed: 1, skipped: 2 }));
        assert_eq!(tally_of("test it ... ok"), None);
        assert_eq!(tally_of("running 3 tests"), None);
    }
}
