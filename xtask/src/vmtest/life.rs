//! The demo `life` under audit: whatever ordinary life does to eventpolls, every count is the demo's own and every list the
//! kernel's.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::again::{self, Run};
use super::version;
use crate::herd::outcome::{Outcome, json};
use crate::vm::plan::Job;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 120;
const TRACE: &str = "life.arrow";

pub(super) fn cases() -> Vec<Case> {
    ["fentry", "kprobe"].map(case).into()
}

fn case(backend: &'static str) -> Case {
    let record = ["eptrace", "record", "--audit", "--backend", backend, "-o", TRACE, "--", "demos", "life", "--json"];
    Case {
        name: format!("ordinary life of eventpolls: counts and lists are exact with {backend}"),
        jobs: again::jobs(1, 1, |_| {
            vec![
                Job::new("the recorded demo", &record, TIMEOUT_S),
                Job::new("the report", &["eptrace", "report", "--json", TRACE], TIMEOUT_S),
                Job::new("the removal", &["rm", "-f", TRACE], 10),
            ]
        }),
        check: Box::new(move |results| {
            again::judge(results, |results| {
                let (outcome, report) = Outcome::of(&results[0], &results[1])?;
                ensure!(outcome.backend == backend, "the report says backend {}", outcome.backend);
                whole(&json(&results[0], "the recorded demo")?, &outcome.kernel)?;
                Run::of(&report, || {
                    ensure!(outcome.equal, "the counts are not the demo's own:\n{}", outcome.differences().join("\n"));
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

fn audited(report: &Value) -> Result<()> {
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
    use super::{audited, whole};
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
    fn a_difference_or_no_comparison_is_a_failure() {
        let report = |comparisons: u64, differences: u64| json!({"audit": {"comparisons": comparisons, "differences": differences}});
        assert!(audited(&report(10, 0)).is_ok());
        assert!(audited(&report(10, 1)).is_err());
        assert!(audited(&report(0, 0)).is_err());
        assert!(audited(&json!({})).is_err());
    }
}
