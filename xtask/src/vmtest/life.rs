//! The demo `life` under audit: whatever ordinary life does to eventpolls, every count is the demo's own and every list the
//! kernel's.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::again::{self, Run};
use super::recorded::{MORE, REPORT, Said, TRACE, audited, equal, jobs, said};
use super::version;
use crate::herd::outcome::succeeded;
use crate::vm::plan::Job;
use crate::vm::session::JobResult;
use crate::vmtest::Case;

pub(super) fn cases() -> Vec<Case> {
    ["fentry", "kprobe"].map(case).into()
}

fn case(backend: &'static str) -> Case {
    Case {
        name: format!("ordinary life of eventpolls: counts and lists are exact with {backend}"),
        jobs: again::jobs(1, REPORT, |_| jobs(backend, &["--audit"], &["demos", "life", "--json"], [unnamed()])),
        check: Box::new(move |results| {
            again::judge(results, |results| {
                let Said { demo, report, outcome } = said(results, backend)?;
                whole(&demo, &outcome.kernel)?;
                Run::of(&report, || {
                    equal(&outcome)?;
                    all_gone(&report)?;
                    named(&results[MORE])?;
                    audited(&report)
                })
            })
        }),
    }
}

/// What the demo does without on an older kernel, and the version that brought it. Everything else each kernel must have.
const SINCE: [(&str, (u32, u32)); 3] =
    [("epoll_pwait2", (5, 11)), ("busy polling of one eventpoll", (6, 9)), ("epoll_wait through io_uring", (6, 15))];

/// The demo did all that there is on its kernel, and went without what there is not.
fn whole(demo: &Value, kernel: &str) -> Result<()> {
    let missing = demo["missing"].as_array().context("the demo does not say what is missing")?;
    let missing: BTreeSet<&str> = missing.iter().filter_map(Value::as_str).collect();
    let version = version(kernel)?;
    let expected: BTreeSet<&str> = SINCE.iter().filter(|(_, since)| version < *since).map(|(what, _)| *what).collect();
    ensure!(missing == expected, "{kernel} should be without {expected:?}, and the demo went without {missing:?}");
    Ok(())
}

/// Counts the calls of `epoll_ctl` whose eventpoll has no number. The demo has none such, through io_uring neither.
fn unnamed() -> Job {
    let script = format!(
        "eptrace export --format jsonl {TRACE} > lines || exit 1\n\
         grep -F '\"event\":\"ctl\"' lines | grep -c -F '\"epfd\":-1'; rm lines"
    );
    Job::new("calls of an eventpoll without a number", &["sh", "-c", &script], 120)
}

fn named(counted: &JobResult) -> Result<()> {
    succeeded(counted, "counting calls of an eventpoll without a number")?;
    let number = counted.out();
    ensure!(number.trim() == "0", "{} calls are said to be of an eventpoll without a number", number.trim());
    Ok(())
}

/// The recording ended when the demo had: every task that it shows has ended.
fn all_gone(report: &Value) -> Result<()> {
    let tasks = report["tasks"].as_array().filter(|tasks| !tasks.is_empty()).context("the report has no tasks")?;
    let left: Vec<&Value> = tasks.iter().filter(|task| task["alive"] != false).collect();
    ensure!(left.is_empty(), "tasks are said to be alive that are not: {left:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{all_gone, whole};
    use serde_json::json;

    #[test]
    fn what_a_kernel_has_may_not_be_left_out_nor_be_there_before_its_time() {
        let demo = |missing: &[&str]| json!({"missing": missing});
        let old = ["epoll_pwait2", "busy polling of one eventpoll", "epoll_wait through io_uring"];
        assert!(whole(&demo(&old), "5.10.0-46-cloud-amd64").is_ok());
        assert!(whole(&demo(&old[1..]), "5.10.0-46-cloud-amd64").is_err());
        assert!(whole(&demo(&old[1..]), "6.1.0-56-cloud-amd64").is_ok());
        assert!(whole(&demo(&old[2..]), "6.12.118+deb13-cloud-amd64").is_ok());
        assert!(whole(&demo(&[]), "7.3.4+deb13-cloud-amd64").is_ok());
        assert!(whole(&demo(&["io_uring"]), "7.3.4+deb13-cloud-amd64").is_err());
        assert!(whole(&json!({}), "7.3.4+deb13-cloud-amd64").is_err());
    }

    #[test]
    fn a_task_that_is_said_to_be_alive_is_a_failure() {
        let report = |alive: bool| json!({"tasks": [{"alive": false}, {"alive": alive}]});
        assert!(all_gone(&report(false)).is_ok());
        assert!(all_gone(&report(true)).is_err());
        assert!(all_gone(&json!({"tasks": []})).is_err());
    }
}
