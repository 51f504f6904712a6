//! The demo that does everything at random, under audit: the reconstructed ready lists are compared with the kernel's own.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::again::{self, Run};
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
    let sure = if backend == "kprobe" { 2 } else { 1 };
    Case {
        name: format!("churn of {threads} thread(s): the model is what the kernel's lists are with {backend}"),
        jobs: again::jobs(sure, REPORT, |run| jobs(Churn { seed: seed + SEEDS[run], ..churn })),
        check: Box::new(move |results| {
            again::judge(results, |run| {
                let (outcome, report) = Outcome::of(&run[0], &run[REPORT])?;
                judged(&outcome, &report, churn)
            })
        }),
    }
}

/// What each run adds to the seed.
const SEEDS: [u32; again::RUNS] = [0, 10, 20];
/// Which job of a run prints its report.
const REPORT: usize = 1;

fn jobs(churn: Churn) -> Vec<Job> {
    let Churn { backend, threads, operations, seed } = churn;
    let [threads, operations, seed] = [threads, operations, seed].map(|number| number.to_string());
    let record = ["eptrace", "record", "--audit", "--backend", backend, "--buffer", "64", "-o", TRACE, "--"];
    let demo = ["demos", "churn", "--json", "--threads", &threads, "--operations", &operations, "--seed", &seed];
    vec![
        Job::new("the recorded churn", &[&record[..], &demo[..]].concat(), TIMEOUT_S),
        Job::new("the report", &["eptrace", "report", "--format", "json", TRACE], TIMEOUT_S),
        Job::new("the removal", &["rm", "-f", TRACE], 10),
    ]
}

/// Whether the counts are the demo's own and the lists the kernel's. An error when the run cannot be judged for another reason than
/// that the kernel skipped probes.
fn judged(outcome: &Outcome, report: &Value, churn: Churn) -> Result<Run> {
    let run = Run::of(report, || {
        ensure!(outcome.equal, "the counts are not the demo's own:\n{}", outcome.differences().join("\n"));
        differs_little(report, churn)
    })?;
    if matches!(run, Run::Skipped(_)) {
        // A list that changes while it is walked may not be readable: such a walk is counted, and loses no event.
        let interrupted = report["backend"] == "kprobe";
        ensure!(churn.threads > 1 || interrupted, "nothing races, and events were lost: {}", report["lost"]);
    } else {
        walked(report, churn)?;
    }
    Ok(run)
}

fn number(report: &Value, key: &str) -> Result<u64> {
    let audit = report.get("audit").context("the report has no audit")?;
    audit.get(key).and_then(Value::as_u64).with_context(|| format!("no audit.{key}: {audit}"))
}

/// There are enough walks, and whole ones.
fn walked(report: &Value, churn: Churn) -> Result<()> {
    let (comparisons, audit) = (number(report, "comparisons")?, &report["audit"]);
    ensure!(number(report, "incomplete")? == 0, "walks are incomplete: {audit}");
    // Not every operation changes a list, and kprobes tell fewer moments apart.
    let least = if churn.threads == 1 { u64::from(churn.operations) / 2 } else { 1_000 };
    ensure!(comparisons >= least, "{comparisons} comparisons are too few: {audit}");
    Ok(())
}

/// With one thread nothing may differ, and neither where one task alone acts on the eventpoll: the report calls that a mistake. With
/// several a change on another CPU can slip in between what a probe reads and what the kernel does, without either being seen to
/// overlap: at most one comparison in ten thousand.
fn differs_little(report: &Value, churn: Churn) -> Result<()> {
    let (comparisons, differences) = (number(report, "comparisons")?, number(report, "differences")?);
    let alone = differences.saturating_sub(number(report, "contended")?);
    let races = churn.threads > 1;
    let few = differences.saturating_mul(10_000) <= comparisons && alone == 0;
    let first = report["audit"].get("first").map_or_else(String::new, Value::to_string);
    ensure!(
        differences == 0 || (races && few),
        "{differences} of {comparisons} comparisons differ, {alone} of them where one task acts: {first}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Churn, differs_little, walked};
    use serde_json::json;

    #[test]
    fn one_difference_is_one_too_many_where_nothing_races() {
        let exact = |threads, differences: u64, contended: u64| {
            let churn = Churn { backend: "fentry", threads, operations: 10_000, seed: 1 };
            let audit = json!({"comparisons": 30_000, "differences": differences, "contended": contended});
            differs_little(&json!({"audit": audit}), churn).is_ok()
        };
        assert!(exact(1, 0, 0));
        assert!(!exact(1, 1, 1));
        assert!(exact(4, 3, 3));
        assert!(!exact(4, 4, 4));
        assert!(!exact(4, 3, 2));
    }

    #[test]
    fn a_run_without_enough_whole_walks_is_an_error() {
        let churn = Churn { backend: "fentry", threads: 1, operations: 10_000, seed: 1 };
        let audit = |comparisons: u64, incomplete: u64| json!({"audit": {"comparisons": comparisons, "incomplete": incomplete}});
        assert!(walked(&audit(5_000, 0), churn).is_ok());
        assert!(walked(&audit(4_999, 0), churn).is_err());
        assert!(walked(&audit(5_000, 1), churn).is_err());
        assert!(walked(&json!({}), churn).is_err());
    }
}
