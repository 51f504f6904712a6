//! A hundred thousand items in one eventpoll and ten thousand eventpolls: every count is exact and memory is bounded; with bounds
//! that are too small, what does not fit is counted.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::again::{self, Run};
use super::herd::counts_are_exact;
use crate::herd::outcome::{Outcome, json};
use crate::vm::plan::Job;
use crate::vm::session::JobResult;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 180;
const TRACE: &str = "many.arrow";
/// Items of the one eventpoll, and eventpolls with one item each.
const ITEMS: u32 = 100_000;
const EPOLLS: u32 = 10_000;
/// Address space of a recorder or a report, KiB: it fails to get more.
const ADDRESS_SPACE_KIB: &str = "786432";

/// What is bounded is the same with both backends, and on each kernel: a tenth of all that.
pub(super) fn cases() -> Vec<Case> {
    vec![case("kprobe", ITEMS / 10, EPOLLS / 10)]
}

/// All of that.
pub(super) fn most() -> Case {
    case("fentry", ITEMS, EPOLLS)
}

fn case(backend: &'static str, items: u32, epolls: u32) -> Case {
    let bounded = |what: &str, command: &str| {
        let script = format!("ulimit -v {ADDRESS_SPACE_KIB}; exec {command}");
        Job::new(what, &["sh", "-c", &script], TIMEOUT_S)
    };
    let demo = format!("demos many --json --items {items} --epolls {epolls}");
    Case {
        name: format!("{items} items and {epolls} eventpolls are traced exactly within bounded memory with {backend}"),
        jobs: again::jobs(1, 1, |_| {
            vec![
                bounded("the recorded demo", &format!("eptrace record --backend {backend} -o {TRACE} -- {demo}")),
                bounded("the report", &format!("eptrace report --json {TRACE}")),
                bounded("the report with small bounds", &format!("eptrace report --json --max-live 500 {TRACE}")),
                Job::new("the removal", &["rm", "-f", TRACE], 10),
            ]
        }),
        check: Box::new(|results| again::judge(results, many)),
    }
}

fn many(results: &[JobResult]) -> Result<Run> {
    let (outcome, report) = Outcome::of(&results[0], &results[1])?;
    ensure!(exceeded(&report, "items")? == 0, "items did not fit: {}", report["exceeded"]);
    ensure!(exceeded(&report, "eventpolls")? == 0, "eventpolls did not fit: {}", report["exceeded"]);
    let small = json(&results[2], "the report with small bounds")?;
    for what in ["files", "eventpolls"] {
        ensure!(exceeded(&small, what)? > 0, "nothing is said of {what} beyond the bound: {}", small["exceeded"]);
    }
    ensure!(small["totals"] == report["totals"], "the totals depend on the bound");
    Run::of(&report, || counts_are_exact(&outcome))
}

/// How often something was not followed.
fn exceeded(report: &Value, what: &str) -> Result<u64> {
    let count = report.pointer(&format!("/exceeded/{what}")).and_then(Value::as_u64);
    count.with_context(|| format!("the report has no exceeded.{what}"))
}
