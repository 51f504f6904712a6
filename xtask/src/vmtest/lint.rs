//! `eptrace lint` on the demos: each pitfall is found, its correct twin is clean, and so is every other demo.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::preempted;
use crate::herd::outcome::json;
use crate::vm::plan::Job;
use crate::vm::session::JobResult;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 120;

/// Every pitfall that one of [`RUNS`] has, beside those of a herd.
const PITFALLS: [&str; 13] = [
    "accept-fails",
    "closed-registered",
    "ctl-churn",
    "ctl-fails",
    "epollout-always-ready",
    "et-accept-once",
    "et-blocking",
    "et-not-drained",
    "hangup-ignored",
    "level-ignored",
    "self-pipe",
    "small-maxevents",
    "zero-timeout-spin",
];

/// Commands of the shell, and the rules that must find something in them.
const RUNS: [(&str, &[&str]); 5] = [
    ("demos pitfalls", &PITFALLS),
    ("demos pitfalls --correct", &[]),
    ("demos herd --mode lt --connections 100", &["thundering-herd"]),
    ("demos herd --mode exclusive --connections 100", &["exclusive-imbalance"]),
    // One after another: to begin and to end a trace takes longer than most of them.
    (
        "set -e; demos herd --mode oneshot --connections 100; demos cycle --iterations 1000; demos churn --operations 500
         for demo in life drain accept-once epollout blocking-et closed wakeup trigger nested structures ready stalled reactor
         do demos $demo; done",
        &[],
    ),
];

pub(super) fn cases() -> Vec<Case> {
    ["fentry", "kprobe"].map(case).into()
}

fn case(backend: &'static str) -> Case {
    let job = |(command, _): &(&str, &[&str])| {
        let lint = ["eptrace", "lint", "--json", "--backend", backend, "--", "sh", "-c"];
        Job::new(&format!("lint of {command}"), &[&lint[..], &[command]].concat(), TIMEOUT_S)
    };
    Case {
        name: format!("lint finds each demo's pitfall, and nothing else, with {backend}"),
        jobs: RUNS.iter().map(job).collect(),
        check: Box::new(|results| {
            ensure!(results.len() == RUNS.len(), "{} commands have {} results", RUNS.len(), results.len());
            for (result, (command, expected)) in results.iter().zip(RUNS) {
                judge(result, expected).with_context(|| command.to_owned())?;
            }
            Ok(())
        }),
    }
}

fn judge(result: &JobResult, expected: &[&str]) -> Result<()> {
    finds(&json(result, "eptrace lint --json")?, expected)
}

/// Just these rules find something, but for those that cannot be judged because preemption lost a record.
pub(super) fn finds(report: &Value, expected: &[&str]) -> Result<()> {
    let rules = |key: &str| -> Result<BTreeSet<&str>> {
        let rows = report.get(key).and_then(Value::as_array).with_context(|| format!("the report has no {key}"))?;
        rows.iter().map(|row| row["rule"].as_str().with_context(|| format!("no rule in {row}"))).collect()
    };
    let (found, unjudged) = (rules("findings")?, rules("unjudged")?);
    let lost = report["lost"].as_u64().context("the report does not say what was lost")?;
    let expected: BTreeSet<&str> = expected.iter().copied().collect();
    if let Some(wrong) = found.difference(&expected).next() {
        bail!("{wrong} accuses: {}", report["findings"]);
    }
    let may_lose = preempted::preempts(report) || preempted::has_few_instances(report);
    for missed in expected.difference(&found) {
        let excused = lost > 0 && unjudged.contains(missed) && may_lose;
        ensure!(excused, "{missed} found nothing; {}", report["unjudged"]);
    }
    ensure!(lost > 0 || unjudged.is_empty(), "nothing was lost, but not everything is judged: {}", report["unjudged"]);
    ensure!(lost == 0 || may_lose, "{lost} events were lost");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::finds;
    use serde_json::{Value, json};

    fn report(kernel: &str, lost: u64, found: &[&str], unjudged: &[&str]) -> Value {
        let rows = |rules: &[&str]| rules.iter().map(|rule| json!({"rule": rule})).collect::<Vec<_>>();
        json!({"kernel": kernel, "lost": lost, "findings": rows(found), "unjudged": rows(unjudged)})
    }

    #[test]
    fn a_pitfall_that_is_missed_and_an_accusation_too_many_are_failures() {
        assert!(finds(&report("6.1.0", 0, &["a"], &[]), &["a"]).is_ok());
        assert!(finds(&report("6.1.0", 0, &[], &[]), &["a"]).is_err());
        assert!(finds(&report("6.1.0", 0, &["a", "b"], &[]), &["a"]).is_err());
        assert!(finds(&report("6.1.0", 0, &["a"], &["b"]), &["a"]).is_err());
        assert!(finds(&json!({}), &[]).is_err());
    }

    #[test]
    fn only_what_preemption_lost_excuses_a_rule() {
        assert!(finds(&report("7.3.4", 2, &[], &["a"]), &["a"]).is_ok());
        assert!(finds(&report("7.3.4", 2, &[], &[]), &["a"]).is_err());
        assert!(finds(&report("6.1.0", 2, &[], &["a"]), &["a"]).is_err());
        assert!(finds(&report("6.1.0", 2, &["a"], &[]), &["a"]).is_err());
    }
}
