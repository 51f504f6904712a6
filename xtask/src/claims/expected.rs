//! The verdicts that `docs/claims.json` has, and those of another run.
//!
//! In: a run of the demos alone. Out: an error where a statement's verdict has changed, so that the document does not say what kernels
//! no longer do.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::claims::facts::{Facts, NOT_TOLD};
use crate::claims::judge::Verdict;
use crate::claims::record::{OnKernel, Record};
use crate::claims::{How, judges, runs};
use crate::demos::story::Run;
use crate::setup::guest_build;

pub(crate) const DOCUMENT: &str = "docs/claims.json";
/// So many statements at least are judged by the demos alone.
const FEWEST: usize = 50;

/// The verdicts as they were written down.
pub(crate) fn record() -> Result<Record> {
    let path = guest_build::workspace().join(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("understand {DOCUMENT}; `cargo xtask claims` writes it"))
}

/// Judges what demos alone can show, and compares.
pub(crate) fn check(run: &Run) -> Result<()> {
    let record = record()?;
    let measured = runs::of_run(run);
    // A line that the document does not know is taken as its newest.
    let place = record.kernels.iter().position(|kernel| line(&kernel.release) == line(&run.kernel));
    let place = place.or(record.kernels.len().checked_sub(1)).context("docs/claims.json has no kernel")?;
    let mut judged = 0;
    let mut changed = Vec::new();
    for claim in judges::all().filter(|claim| matches!(claim.how, How::Run { .. })) {
        let now = OnKernel::of(claim, Facts::of(&measured));
        if now.not_run.as_deref().is_some_and(|why| why.starts_with(NOT_TOLD)) {
            continue;
        }
        judged += 1;
        let then =
            record.claims.iter().find(|written| written.id == claim.id).and_then(|written| written.kernels.get(place));
        let then = then.map_or(Verdict::NotRun, |then| then.verdict);
        if now.verdict != then {
            let points: Vec<String> = now
                .points
                .iter()
                .map(|point| format!("{}: stated {}, found {}", point.what, point.stated, point.found))
                .collect();
            let why = now.not_run.unwrap_or_else(|| points.join("; "));
            changed.push(format!("{} is {}, not {then} ({why})", claim.id, now.verdict));
        }
    }
    ensure!(judged >= FEWEST, "only {judged} statements could be judged");
    ensure!(
        changed.is_empty(),
        "verdicts are not those of docs/claims.json on {}:\n{}",
        run.kernel,
        changed.join("\n")
    );
    Ok(())
}

/// The first two numbers of a release.
fn line(release: &str) -> Vec<&str> {
    release.split(['.', '-', '+']).take(2).collect()
}
