//! A shell and the small tools for the guest: Debian's static busybox, unpacked into the cache.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::setup::apt::{self, Suite};
use crate::{cache, exec, progress};

/// A static busybox and the names it answers to.
pub(crate) struct Busybox {
    pub(crate) program: PathBuf,
    pub(crate) applets: Vec<String>,
}

/// Fetches busybox once.
pub(crate) fn busybox() -> Result<Busybox> {
    let place = cache::directory("busybox", |into| {
        let suite = Suite::open(&apt::machine_suite()?, apt::INDEX_AGE)?;
        progress::timed("fetching a static busybox for the guest", || suite.unpack("busybox-static", into))
    })?;
    let program = ["bin/busybox", "usr/bin/busybox"]
        .iter()
        .map(|path| place.join(path))
        .find(|path| path.is_file())
        .with_context(|| format!("the package busybox-static holds no busybox: look into {}", place.display()))?;
    let applets = exec::output(Command::new(&program).arg("--list"))?;
    Ok(Busybox { program, applets: applets.lines().map(str::to_owned).collect() })
}
