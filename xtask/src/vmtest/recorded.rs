//! A demo under `eptrace record` and the report of its trace: the jobs that many cases begin with, and what they say.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::again::{self, Run};
use crate::herd::outcome::{Outcome, json, lines};
use crate::vm::plan::Job;
use crate::vm::session::JobResult;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 120;
/// Where the trace lies for the jobs in between.
pub(super) const TRACE: &str = "recorded.arrow";
/// The place of the report among the jobs.
pub(super) const REPORT: usize = 1;
/// The place of the first job in between.
pub(super) const MORE: usize = 2;

/// A case for each backend: the counts are the demo's own, and what demo, report and events say is as `judge` will have it. The events are
/// those that `grep` finds, or all.
pub(super) fn cases(
    what: &'static str,
    (options, demo): (&'static [&'static str], &'static [&'static str]),
    grep: Option<&'static str>,
    judge: fn(&Said, &[Value]) -> Result<()>,
) -> Vec<Case> {
    let case = |backend: &'static str| Case {
        name: format!("{what} with {backend}"),
        jobs: again::jobs(1, REPORT, |_| jobs(backend, options, demo, [events(grep)])),
        check: Box::new(move |results| {
            again::judge(results, |results| {
                let said = said(results, backend)?;
                let events = lines(&results[MORE], "the events")?;
                Run::of(&said.report, || {
                    equal(&said.outcome)?;
                    judge(&said, &events)
                })
            })
        }),
    };
    ["fentry", "kprobe"].map(case).into()
}

/// The recorded demo, its report, `more`, and the trace's end.
pub(super) fn jobs(backend: &str, options: &[&str], demo: &[&str], more: impl IntoIterator<Item = Job>) -> Vec<Job> {
    let record = ["eptrace", "record", "--backend", backend, "-o", TRACE];
    let mut jobs = vec![
        Job::new("the recorded demo", &[&record, options, &["--"], demo].concat(), TIMEOUT_S),
        Job::new("the report", &["eptrace", "report", "--json", TRACE], TIMEOUT_S),
    ];
    jobs.extend(more);
    jobs.push(Job::new("the removal", &["rm", "-f", TRACE], 10));
    jobs
}

/// A job in between: the events as lines of JSON, those alone that `grep` finds where it is given.
pub(super) fn events(grep: Option<&str>) -> Job {
    let export = format!("eptrace export --format jsonl {TRACE}");
    let script = grep.map_or_else(|| export.clone(), |words| format!("{export} | grep -F '{words}'"));
    Job::new("the events", &["sh", "-c", &script], TIMEOUT_S)
}

/// What the demo and the report say.
pub(super) struct Said {
    pub(super) demo: Value,
    pub(super) report: Value,
    pub(super) outcome: Outcome,
}

/// Reads it off the results of [`jobs`].
pub(super) fn said(results: &[JobResult], backend: &str) -> Result<Said> {
    let [demo, report, ..] = results else { anyhow::bail!("no demo and no report") };
    let (outcome, report) = Outcome::of(demo, report)?;
    ensure!(outcome.backend == backend, "the report says backend {}", outcome.backend);
    Ok(Said { demo: json(demo, "the recorded demo")?, report, outcome })
}

/// The trace's counts are the demo's own.
pub(super) fn equal(outcome: &Outcome) -> Result<()> {
    ensure!(outcome.equal, "the counts are not the demo's own:\n{}", outcome.differences().join("\n"));
    Ok(())
}

/// Lists were compared with the kernel's, and none differs.
pub(super) fn audited(report: &Value) -> Result<()> {
    let number = |key: &str| {
        let path = format!("/audit/{key}");
        report.pointer(&path).and_then(Value::as_u64).with_context(|| format!("the report has no {path}"))
    };
    ensure!(number("comparisons")? > 0, "nothing was compared: {}", report["audit"]);
    ensure!(number("differences")? == 0, "the lists differ: {}", report["audit"]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{MORE, REPORT, audited, events, jobs};
    use serde_json::json;

    #[test]
    fn the_report_and_what_comes_after_it_have_their_places() {
        let jobs = jobs("kprobe", &["--audit"], &["demos", "life"], [events(Some("\"scan\""))]);
        assert_eq!(jobs[0].argv[2..].join(" "), "--backend kprobe -o recorded.arrow --audit -- demos life");
        assert_eq!(jobs[REPORT].name, "the report");
        assert!(jobs[MORE].argv[2].ends_with("| grep -F '\"scan\"'"));
        assert_eq!(jobs.len(), 4);
    }

    #[test]
    fn a_difference_or_no_comparison_is_a_failure() {
        let report = |comparisons: u64, differences: u64| json!({"audit": {"comparisons": comparisons, "differences": differences}});
        assert!(audited(&report(10, 0)).is_ok());
        assert!(audited(&report(10, 1)).is_err());
        assert!(audited(&report(0, 0)).is_err());
        assert!(audited(&json!({})).is_err());
    }
}
