//! The step that plays a recording with `eptrace top` in a real terminal: tmux presses the keys and looks at the screen.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Tally, native};
use crate::exec;
use crate::setup::guest_build::workspace;
use crate::setup::tools;
use crate::vmtest::terminal::SCRIPT;

/// The recording that is played.
const RECORDING: &str = "tracer/tests/data/herd-lt.eptrace";
/// It lasts a second or two.
const SPEED: &str = "0.05";

pub(super) fn tests() -> Result<Tally> {
    if let Err(why) = tools::find_or_install(&tools::TMUX, "") {
        println!("skipped: top in a terminal: {why:#}");
        return Ok(Tally::SKIPPED);
    }
    let programs = native::programs()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(programs).chain(std::env::split_paths(&path)))
        .context("the build folder's name has a colon")?;
    let work = tempfile::tempdir().context("cannot create a temporary directory")?;
    let mut script = Command::new("sh");
    script.args(["-c", SCRIPT]).current_dir(work.path()).env("PATH", path).env("TMUX_TMPDIR", work.path());
    // Slowly, so that it has not ended before all keys are pressed.
    let top = format!("--speed {SPEED} {}", workspace().join(RECORDING).display());
    script.env("TOP", top).env("SHOWS", "demos/").env("TRIES", "600");
    let done = exec::captured(&mut script)?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    print!("{said}");
    let held = said.lines().filter(|line| line.starts_with("ok ")).count();
    let mut tally = Tally { passed: u64::try_from(held).unwrap_or_default(), ..Tally::default() };
    if !done.status.success() {
        print!("{}", String::from_utf8_lossy(&done.stderr));
        tally.add(Tally::FAILED);
    }
    Ok(tally)
}
