//! Python with the data tools that exports are opened with, in an environment of its own in the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::tools::{self, install_package};
use crate::{cache, exec, progress};

/// `DuckDB`, pandas on Arrow, and Perfetto's messages as Perfetto publishes them. Whoever changes the list changes
/// [`PLACE`].
const PACKAGES: [&str; 4] = ["duckdb", "pandas", "pyarrow", "perfetto"];
/// Where they are kept.
const PLACE: &str = "python-1";

/// The Python that has the data tools.
pub(crate) fn python() -> Result<PathBuf> {
    let base = tools::find_or_install(&tools::PYTHON, "")?;
    let has_venv = |base: &Path| {
        exec::captured(Command::new(base).args(["-c", "import ensurepip, venv"]))
            .is_ok_and(|done| done.status.success())
    };
    let place = cache::directory(PLACE, |fresh| {
        if !has_venv(&base) {
            // Debian's Python comes without.
            install_package("python3-venv")?;
        }
        progress::timed("installing DuckDB, pandas and Perfetto's messages (once, about a minute)", || {
            exec::output(Command::new(&base).args(["-m", "venv"]).arg(fresh))?;
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
            exec::output(Command::new(fresh.join("bin/python")).args(pip).args(PACKAGES)).map(drop)
        })
    });
    Ok(place.context("Python's data tools cannot be had")?.join("bin/python"))
}
