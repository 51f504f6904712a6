//! `eptrace top` and `eptrace record` in a real terminal, tracing: tmux presses the keys and looks at the screen (`terminal.sh`).

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use crate::herd::outcome::succeeded;
use crate::setup::tools;
use crate::vm::plan::Job;
use crate::vmtest::Case;

/// Also driven on this machine, with a recording: `commands/test/terminal.rs`.
pub(crate) const SCRIPT: &str = include_str!("terminal.sh");
/// tmux does not start where UTF-8 is not known.
const CTYPE: &str = "/usr/lib/locale/C.utf8/LC_CTYPE";
const NAME: &str = "eptrace top in a terminal follows keys and sizes, and gives the terminal back however it ends";

pub(super) fn cases() -> Vec<Case> {
    // Slowly, and with the probes that are on soonest: what is looked at is the terminal, and an emulated processor has enough to
    // do with that.
    let herd = "demos herd --mode lt --rhythm step --workers 4 --connections 1000000 --pause 200";
    let mut job = Job::new("top", &["sh", "-c", SCRIPT], 180);
    job.env =
        [("TOP", &*format!("--backend kprobe -- {herd}")), ("RECORD", herd), ("SHOWS", "demos/"), ("TRIES", "600")]
            .map(|(name, value)| (name.into(), value.into()))
            .into();
    vec![Case {
        name: NAME.to_owned(),
        jobs: vec![job],
        check: Box::new(|results| -> Result<()> {
            succeeded(&results[0], "the terminal").map_err(|error| anyhow!("{error:#}\n{}", results[0].out()))
        }),
    }]
}

fn wanted(cases: &[&Case]) -> bool {
    cases.iter().any(|case| case.name == NAME)
}

/// The program of this machine that the case needs in the guest.
pub(crate) fn programs(cases: &[&Case]) -> Result<Vec<PathBuf>> {
    wanted(cases).then(|| tools::find_or_install(&tools::TMUX, "")).into_iter().collect()
}

/// What else it needs there.
pub(crate) fn files(cases: &[&Case]) -> Vec<(PathBuf, String)> {
    let files = wanted(cases).then(|| (PathBuf::from(CTYPE), CTYPE.to_owned()));
    files.into_iter().collect()
}
