//! Programs of the host: run, and answered for with their name, arguments and last words.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// The command line as a person would type it, for messages.
pub(crate) fn shown(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// Runs a command to its end with its output captured; a failure carries the last lines it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = captured(command)?;
    if !done.status.success() {
        let said = [done.stdout.as_slice(), done.stderr.as_slice()].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        bail!("`{}` failed ({}):\n{}", shown(command), done.status, last_lines(&said, 20));
    }
    String::from_utf8(done.stdout).with_context(|| format!("the output of `{}` is not UTF-8", shown(command)))
}

/// Runs a command to its end with its output captured, whatever its exit status.
pub(crate) fn captured(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{}`", shown(command)))
}

/// Runs a command whose output goes to stderr, where progress belongs.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot run `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// Where a program lies on `PATH`, if it does.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The last `count` lines of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::{last_lines, output};
    use std::process::Command;

    #[test]
    fn a_failing_command_is_named_with_its_arguments_and_last_words() {
        let error = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("sh -c"), "{text}");
        assert!(text.contains("why"), "{text}");
    }

    #[test]
    fn last_lines_keeps_the_end() {
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
        assert_eq!(last_lines("a", 5), "a");
        assert_eq!(last_lines("", 5), "");
    }
}
