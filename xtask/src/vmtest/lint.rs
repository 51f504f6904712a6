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

/// Findings of [`PITFALLS`] whose calls come half a second after the first of their kind: by then it is known how their callers are
/// found. And the function of libc that makes the system call.
const CALLERS: [(&str, &str); 3] =
    [("epollout-always-ready", "epoll_wait"), ("level-ignored", "epoll_wait"), ("self-pipe", "read")];

/// A command of the shell, the rules that must find something in it, and those that may.
struct Run {
    command: &'static str,
    must: &'static [&'static str],
    may: &'static [&'static str],
}

static RUNS: [Run; 5] = [
    Run { command: "demos pitfalls; demos blocking-et", must: &PITFALLS, may: &[] },
    Run { command: "demos pitfalls --correct", must: &[], may: &[] },
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
    // Rules see events, whatever they came by: with kprobes the pitfalls and their twins are enough.
    vec![case("fentry", &RUNS), case("kprobe", &RUNS[..2])]
}

fn case(backend: &'static str, runs: &'static [Run]) -> Case {
    let job = |run: &Run| {
        let lint = ["eptrace", "lint", "--json", "--backend", backend, "--", "sh", "-c", run.command];
        Job::new(&format!("lint of {}", run.command), &lint, TIMEOUT_S)
    };
    Case {
        name: format!("lint finds each demo's pitfall, and nothing else, with {backend}"),
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
    if run.must == PITFALLS { shows_callers(&report) } else { Ok(()) }
}

/// Each finding says from where in its program the call was made, or why that is not known; those of [`CALLERS`] name the function of
/// the demos that called libc.
fn shows_callers(report: &Value) -> Result<()> {
    let findings = report["findings"].as_array().context("the report has no findings")?;
    for finding in findings {
        let (rule, stack) = (finding["rule"].as_str().context("no rule")?, &finding["stack"]);
        let frames =
            stack["frames"].as_array().with_context(|| format!("{rule} says nothing of a stack: {finding}"))?;
        ensure!(!frames.is_empty() || stack["missing"].is_string(), "{rule} has no stack and no reason: {finding}");
        let Some((_, call)) = CALLERS.into_iter().find(|(known, _)| *known == rule) else { continue };
        let function = |frame: &Value| frame["function"].as_str().unwrap_or_default().to_owned();
        let innermost = frames.first().with_context(|| format!("{rule} has no stack: {stack}"))?;
        ensure!(
            function(innermost) == call
                && innermost["module"] == "demos"
                && innermost["function_offset"].as_u64() > Some(0),
            "{rule} accuses a call of {call}, which is not the innermost frame: {stack}"
        );
        let caller = frames.iter().any(|frame| function(frame).starts_with("demos::") && frame["module"] == "demos");
        ensure!(caller, "{rule} does not name the function of the demos that called {call}: {stack}");
    }
    Ok(())
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
    use super::{CALLERS, finds, shows_callers};
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

    #[test]
    fn a_finding_whose_stack_does_not_lead_to_the_demo_is_a_failure() {
        let frame = |name: &str| json!({"module": "demos", "function": name, "function_offset": 5});
        let finding = |(rule, call): (&str, &str), caller: &str| json!({"rule": rule, "stack": {"frames": [frame(call), frame(caller)], "missing": null}});
        let all = |caller: &str| json!({"findings": CALLERS.map(|known| finding(known, caller))});
        assert!(shows_callers(&all("demos::pitfalls::calls::spin")).is_ok());
        assert!(shows_callers(&all("main")).is_err());
        let with = |stack: Value, rule: &str| shows_callers(&json!({"findings": [{"rule": rule, "stack": stack}]}));
        assert!(with(json!({"frames": [], "missing": "why"}), "et-blocking").is_ok());
        assert!(with(json!({"frames": [], "missing": null}), "et-blocking").is_err());
        assert!(with(Value::Null, "et-blocking").is_err());
        assert!(with(json!({"frames": [], "missing": "why"}), CALLERS[0].0).is_err());
        assert!(with(json!({"frames": [frame("read"), frame("demos::a")], "missing": null}), CALLERS[0].0).is_err());
    }
}
