//! Programs of the host that Debian packages bring: QEMU, bpftrace, strace.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};

use crate::{exec, progress};

/// A program and the Debian package that holds it.
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

pub(crate) const QEMU: Tool = Tool { program: "qemu-system-x86_64", package: "qemu-system-x86" };

pub(crate) const BPFTRACE: Tool = Tool { program: "bpftrace", package: "bpftrace" };
pub(crate) const STRACE: Tool = Tool { program: "strace", package: "strace" };
pub(crate) const TMUX: Tool = Tool { program: "tmux", package: "tmux" };
pub(crate) const PYTHON: Tool = Tool { program: "python3", package: "python3" };
/// Shows the pages, for their tests and pictures.
pub(crate) const CHROMIUM: Tool = Tool { program: "chromium", package: "chromium" };
/// Rust links with it as well.
pub(crate) const CC: Tool = Tool { program: "cc", package: "gcc" };

/// Finds a tool on `PATH`, or installs its package when this user may; else says what to type.
pub(crate) fn find_or_install(tool: &Tool, otherwise: &str) -> Result<PathBuf> {
    if let Some(path) = exec::on_path(tool.program) {
        return Ok(path);
    }
    let by_hand = format!(
        "{} is not installed: run `sudo apt-get install --no-install-recommends {}`{otherwise}",
        tool.program, tool.package
    );
    if exec::on_path("apt-get").is_none() {
        bail!("{by_hand}");
    }
    install_package(tool.package).with_context(|| by_hand.clone())?;
    exec::on_path(tool.program).with_context(|| by_hand)
}

/// Installs a package of Debian, when this user may.
pub(crate) fn install_package(package: &str) -> Result<()> {
    let Some(prefix) = root_prefix() else { bail!("only root may install the package {package}") };
    progress::timed(&format!("installing the package {package}"), || {
        // A fresh image has no package lists at all: only then, or when the first try fails, are they fetched.
        if install(prefix, package).is_err() {
            refresh_lists()?;
            install(prefix, package)?;
        }
        Ok(())
    })
}

/// Does `apt-get update`, when this user may.
pub(crate) fn refresh_lists() -> Result<()> {
    let Some(prefix) = root_prefix() else { bail!("only root may do that") };
    apt_get(prefix, &["update", "-q"])
}

fn install(prefix: &[&str], package: &str) -> Result<()> {
    apt_get(prefix, &["install", "-y", "-q", "--no-install-recommends", package])
}

/// One at a time: a second one would not wait for the first but fail.
fn apt_get(prefix: &[&str], arguments: &[&str]) -> Result<()> {
    static RUNNING: Mutex<()> = Mutex::new(());
    let _alone = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let line = [&["apt-get"], arguments].concat();
    exec::output(as_root(prefix, &line).env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
}

/// How to become root without asking: nothing, `sudo -n`, or no way at all.
fn root_prefix() -> Option<&'static [&'static str]> {
    if nix::unistd::geteuid().is_root() {
        return Some(&[]);
    }
    let may = exec::captured(Command::new("sudo").args(["-n", "true"])).is_ok_and(|done| done.status.success());
    may.then_some(&["sudo", "-n"])
}

fn as_root(prefix: &[&str], line: &[&str]) -> Command {
    let words: Vec<&str> = prefix.iter().chain(line).copied().collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}
