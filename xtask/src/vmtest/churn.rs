//! The demo that does everything at random, under audit: the reconstructed ready lists are compared with the kernel's own.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::skipped;
use crate::herd::outcome::Outcome;
use crate::vm::plan::Job;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 120;
const TRACE: &str = "/tmp/churn.eptrace";
const BACKENDS: [&str; 2] = ["fentry", "kprobe"];

/// One run.
#[derive(Clone, Copy)]
struct Churn {
    backend: &'static str,
    threads: u32,
    operations: u32,
    seed: u32,
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for backend in BACKENDS {
        // One thread: nothing races, so that nothing may differ, and everything can be compared.
        cases.push(case(Churn { backend, threads: 1, operations: 10_000, seed: 11 }));
        cases.push(case(Churn { backend, threads: 4, operations: 2_500, seed: 12 }));
    }
    cases
}

fn case(churn: Churn) -> Case {
    let Churn { backend, threads, seed, .. } = churn;
    // Where the kernel may skip a kprobe and not count it, one run that is not exact says nothing.
    let seeds = if backend == "kprobe" { vec![seed, seed + 10] } else { vec![seed] };
    Case {
        name: format!("churn of {threads} thread(s): the model is what the kernel's lists are with {backend}"),
        jobs: seeds.into_iter().flat_map(|seed| jobs(Churn { seed, ..churn })).collect(),
        check: Box::new(move |results| {
            let runs = results.chunks(JOBS).map(|run| Outcome::of(&run[0], &run[1])).collect::<Result<Vec<_>>>()?;
            let uncounted = runs.iter().any(|(_, report)| skipped::uncounted(report));
            let verdicts = runs.iter().map(|(outcome, report)| exact(outcome, report, churn));
            if uncounted { verdicts.reduce(Result::or).unwrap_or(Ok(())) } else { verdicts.collect() }
        }),
    }
}

/// How many jobs a run has.
const JOBS: usize = 3;

fn jobs(churn: Churn) -> [Job; JOBS] {
    let Churn { backend, threads, operations, seed } = churn;
    let [threads, operations, seed] = [threads, operations, seed].map(|number| number.to_string());
    let record = ["eptrace", "record", "--audit", "--backend", backend, "--buffer", "64", "-o", TRACE, "--"];
    let demo = ["demos", "churn", "--json", "--threads", &threads, "--operations", &operations, "--seed", &seed];
    [
        Job::new("the recorded churn", &[&record[..], &demo[..]].concat(), TIMEOUT_S),
        Job::new("the report", &["eptrace", "report", "--format", "json", TRACE], TIMEOUT_S),
        Job::new("the removal", &["rm", "-f", TRACE], 10),
    ]
}

/// The counts are the demo's own and the lists the kernel's, unless the kernel skipped probes.
fn exact(outcome: &Outcome, report: &Value, churn: Churn) -> Result<()> {
    // A list that changes while it is walked may not be readable: such a walk is counted, and loses no event.
    if skipped::lost(report)? > 0 {
        let interrupted = report["backend"] == "kprobe";
        ensure!(churn.threads > 1 || interrupted, "nothing races, and events were lost: {}", report["lost"]);
        return Ok(());
    }
    ensure!(outcome.equal, "the counts are not the demo's own:\n{}", outcome.differences().join("\n"));
    audited(report, churn)
}

/// Where one task acts on an eventpoll nothing may differ. Where several do, a change on another CPU can slip in between what a probe
/// reads and what the kernel does, without either being seen to overlap: at most one comparison in two thousand.
fn audited(report: &Value, churn: Churn) -> Result<()> {
    let audit = report.get("audit").context("the report has no audit")?;
    let number = |key: &str| audit.get(key).and_then(Value::as_u64).with_context(|| format!("no audit.{key}: {audit}"));
    let (comparisons, differences) = (number("comparisons")?, number("differences")?);
    let first = audit.get("first").map_or_else(String::new, Value::to_string);
    ensure!(number("incomplete")? == 0, "walks are incomplete: {audit}");
    if churn.threads == 1 {
        // Not every operation changes a list, and kprobes tell fewer moments apart.
        ensure!(comparisons >= u64::from(churn.operations) / 2, "{comparisons} comparisons are too few: {audit}");
        ensure!(differences == 0, "{differences} of {comparisons} comparisons differ: {first}");
    }
    let alone = differences.saturating_sub(number("contended")?);
    ensure!(alone == 0, "{alone} of {comparisons} comparisons differ where one task acted: {first}");
    ensure!(comparisons >= 1_000, "{comparisons} comparisons are too few: {audit}");
    ensure!(differences * 2_000 <= comparisons, "{differences} of {comparisons} comparisons differ: {first}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Churn, audited};
    use serde_json::json;

    #[test]
    fn one_difference_is_one_too_many_where_nothing_races() {
        let report = |differences: u64, contended: u64| json!({"audit": {"comparisons": 30_000, "differences": differences, "contended": contended, "incomplete": 0, "first": []}});
        let churn = |threads| Churn { backend: "fentry", threads, operations: 10_000, seed: 1 };
        assert!(audited(&report(0, 0), churn(1)).is_ok());
        assert!(audited(&report(1, 0), churn(1)).is_err());
        assert!(audited(&report(1, 1), churn(1)).is_err());
        assert!(audited(&report(15, 15), churn(4)).is_ok());
        assert!(audited(&report(15, 14), churn(4)).is_err());
        assert!(audited(&report(16, 16), churn(4)).is_err());
        assert!(audited(&json!({}), churn(4)).is_err());
    }
}
