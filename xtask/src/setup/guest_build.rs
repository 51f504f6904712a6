//! Programs of this workspace, built without shared libraries for the guest.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::{exec, progress};

/// The target is named so that build scripts and macros keep their own flags.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const PROFILE: &str = "guest";

/// The top folder of this checkout.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The folder that cargo builds into.
pub(crate) fn target() -> PathBuf {
    workspace().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The cargo that started us, or the one on `PATH`.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// The packages whose programs the guest runs.
const PACKAGES: [&str; 3] = ["xtask", "eptrace", "demos"];

/// Builds the guest's programs, static, and returns the folder that holds them. Always all of them: for fewer packages, cargo would
/// compile the libraries that they share once more with fewer features.
pub(crate) fn programs() -> Result<PathBuf> {
    let selection: Vec<&str> = PACKAGES.iter().flat_map(|package| ["--package", package]).collect();
    build_selected(&PACKAGES.join(", "), &selection)
}

/// Builds an example of a package as a static program and returns its path.
pub(crate) fn build_example(package: &str, example: &str) -> Result<PathBuf> {
    let folder = build_selected(example, &["--package", package, "--example", example])?;
    Ok(folder.join("examples").join(example))
}

fn build_selected(what: &str, selection: &[&str]) -> Result<PathBuf> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the virtual machine is x86-64 only so far: run on an x86-64 machine, or use --host");
    }
    let mut command = cargo();
    command.args(["build", "--quiet", "--locked", "--profile", PROFILE, "--target", TARGET]).args(selection);
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    progress::timed(&format!("building {what} for the guest"), || exec::run(&mut command))?;
    Ok(target().join(TARGET).join(PROFILE))
}
