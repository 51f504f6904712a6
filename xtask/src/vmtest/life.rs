//! The demo `life` under audit: whatever ordinary life does to eventpolls, every count is the demo's own and every list the
//! kernel's.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::skipped;
use crate::herd::outcome::Outcome;
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
        jobs: vec![
            Job::new("the recorded demo", &record, TIMEOUT_S),
            Job::new("the report", &["eptrace", "report", "--json", TRACE], TIMEOUT_S),
            Job::new("the removal", &["rm", "-f", TRACE], 10),
        ],
        check: Box::new(move |results| {
            let (outcome, report) = Outcome::of(&results[0], &results[1])?;
            ensure!(outcome.backend == backend, "the report says backend {}", outcome.backend);
            if skipped::lost(&report)? > 0 {
                return Ok(());
            }
            ensure!(outcome.equal, "the counts are not the demo's own:\n{}", outcome.differences().join("\n"));
            audited(&report)
        }),
    }
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
    use super::audited;
    use serde_json::json;

    #[test]
    fn a_difference_or_no_comparison_is_a_failure() {
        let report = |comparisons: u64, differences: u64| json!({"audit": {"comparisons": comparisons, "differences": differences}});
        assert!(audited(&report(10, 0)).is_ok());
        assert!(audited(&report(10, 1)).is_err());
        assert!(audited(&report(0, 0)).is_err());
        assert!(audited(&json!({})).is_err());
    }
}
