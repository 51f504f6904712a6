//! `eptrace lint` on the demos: each pitfall is found, its correct twin is clean, and so is every other demo.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::skipped;
use crate::herd::outcome::json;
use crate::vm::plan::Job;
use crate::vm::session::JobResult;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 120;

/// Every pitfall that the first of [`TWINS`] has.
const PITFALLS: [&str; 14] = [
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
    "oneshot-not-rearmed",
    "self-pipe",
    "small-maxevents",
    "zero-timeout-spin",
];

/// A command of the shell, the rules that must find something in it, and those that may.
struct Run {
    command: &'static str,
    must: &'static [&'static str],
    may: &'static [&'static str],
}

static TWINS: [Run; 2] = [
    Run { command: "demos pitfalls; demos blocking-et", must: &PITFALLS, may: &[] },
    Run { command: "demos pitfalls --correct", must: &[], may: &[] },
];

static OTHERS: [Run; 3] = [
    Run { command: "demos herd --mode lt --connections 100", must: &["thundering-herd"], may: &[] },
    Run { command: "demos herd --mode exclusive --connections 100", must: &["exclusive-imbalance"], may: &[] },
    // One after another: to begin and to end a trace takes longer than most of them.
    Run {
        command: "set -e; demos herd --mode oneshot --connections 100; demos cycle --iterations 1000
            for demo in life drain accept-once epollout closed wakeup trigger nested structures ready stalled reactor
            do demos $demo; done; demos churn --operations 500",
        must: &[],
        // What `churn` does at random: it closes descriptors whose duplicates live.
        may: &["closed-registered"],
    },
];

pub(super) fn cases() -> Vec<Case> {
    vec![pitfalls("fentry"), pitfalls("kprobe")]
}

/// Rules see events, whatever they came by: one backend must do.
pub(super) fn others() -> Case {
    case("lint finds the herds, and nothing in any other demo".to_owned(), "fentry", &OTHERS)
}

fn pitfalls(backend: &'static str) -> Case {
    case(format!("lint finds each demo's pitfall, and nothing in its correct twin, with {backend}"), backend, &TWINS)
}

fn case(name: String, backend: &'static str, runs: &'static [Run]) -> Case {
    let job = |run: &Run| {
        let lint = ["eptrace", "lint", "--json", "--backend", backend, "--", "sh", "-c", run.command];
        Job::new(&format!("lint of {}", run.command), &lint, TIMEOUT_S)
    };
    Case {
        name,
        jobs: runs.iter().map(job).collect(),
        check: Box::new(move |results| {
            ensure!(results.len() == runs.len(), "{} commands have {} results", runs.len(), results.len());
            for (result, run) in results.iter().zip(runs) {
                judge(result, run).with_context(|| run.command)?;
            }
            Ok(())
        }),
    }
}

fn judge(result: &JobResult, run: &Run) -> Result<()> {
    let mut report = json(result, "eptrace lint --json")?;
    if let Some(findings) = report["findings"].as_array_mut() {
        findings.retain(|finding| !run.may.iter().any(|may| finding["rule"] == *may));
    }
    finds(&report, run.must)?;
    if run.must == PITFALLS { shows_stacks(&report) } else { Ok(()) }
}

/// Each finding says from where in its program the call was made, or why that is not known.
fn shows_stacks(report: &Value) -> Result<()> {
    for finding in report["findings"].as_array().context("the report has no findings")? {
        let stack = &finding["stack"];
        let frames = stack["frames"].as_array().with_context(|| format!("nothing is said of a stack: {finding}"))?;
        ensure!(!frames.is_empty() || stack["missing"].is_string(), "no stack and no reason: {finding}");
    }
    Ok(())
}

/// Just these rules find something, but for those that cannot be judged because the kernel skipped a record.
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
    let may_lose = skipped::skips(report) || skipped::has_few_instances(report);
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
    use super::{finds, shows_stacks};
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
    fn only_what_the_kernel_skipped_excuses_a_rule() {
        assert!(finds(&report("7.3.4", 2, &[], &["a"]), &["a"]).is_ok());
        assert!(finds(&report("7.3.4", 2, &[], &[]), &["a"]).is_err());
        assert!(finds(&report("6.1.0", 2, &[], &["a"]), &["a"]).is_err());
        assert!(finds(&report("6.1.0", 2, &["a"], &[]), &["a"]).is_err());
        let mut interrupted = report("6.12.0", 2, &[], &["a"]);
        interrupted["backend"] = json!("kprobe");
        assert!(finds(&interrupted, &["a"]).is_ok());
    }

    #[test]
    fn a_finding_without_a_stack_and_without_a_reason_is_a_failure() {
        let with = |stack: Value| shows_stacks(&json!({"findings": [{"rule": "a", "stack": stack}]}));
        assert!(with(json!({"frames": [{"address": "0x1"}], "missing": null})).is_ok());
        assert!(with(json!({"frames": [], "missing": "why"})).is_ok());
        assert!(with(json!({"frames": [], "missing": null})).is_err());
        assert!(with(Value::Null).is_err());
    }
}
