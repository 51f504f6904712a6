//! The step that opens exports with the tools they are for: `DuckDB`, pandas, and Perfetto's own messages.
//!
//! In: a real recording that stands beside eptrace's tests. Out: what `exports.py` found of each format, against the report.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{Tally, native};
use crate::exec;
use crate::setup::guest_build::workspace;
use crate::setup::python;

/// The recording that is exported.
const RECORDING: &str = "tracer/tests/data/herd-lt.eptrace";

pub(super) fn tests() -> Result<Tally> {
    let python = match python::python() {
        Ok(python) => python,
        Err(why) => {
            println!("skipped: exports in data tools: {why:#}");
            return Ok(Tally::SKIPPED);
        }
    };
    let eptrace = native::programs()?.join("eptrace");
    let recording = workspace().join(RECORDING);
    let work = tempfile::tempdir().context("cannot create a temporary directory")?;
    for (format, name) in
        [("perfetto", "run.pftrace"), ("parquet", "run.parquet"), ("jsonl", "run.jsonl"), ("csv", "run.csv")]
    {
        let out = work.path().join(name);
        exec::run(Command::new(&eptrace).arg("export").arg(&recording).args(["--format", format, "-o"]).arg(out))?;
    }
    for format in ["json", "text"] {
        let report = exec::output(Command::new(&eptrace).args(["report", "--format", format]).arg(&recording))?;
        let path = work.path().join("report").with_extension(format);
        std::fs::write(&path, report).with_context(|| format!("cannot write {}", path.display()))?;
    }
    judge(&python, work.path())
}

fn judge(python: &Path, work: &Path) -> Result<Tally> {
    let script = workspace().join("xtask/src/commands/test/exports.py");
    let done = exec::captured(Command::new(python).arg(script).arg(workspace().join("README.md")).current_dir(work))?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let mut tally = Tally::default();
    for line in said.lines() {
        println!("{line}");
        if line.starts_with("ok ") {
            tally.add(Tally::PASSED);
        } else if line.starts_with("FAILED ") {
            tally.add(Tally::FAILED);
        }
    }
    if tally == Tally::default() || (!done.status.success() && tally.failed == 0) {
        let errors = String::from_utf8_lossy(&done.stderr).into_owned();
        bail!("the exports were not judged ({}):\n{}", done.status, exec::last_lines(&errors, 20));
    }
    Ok(tally)
}
