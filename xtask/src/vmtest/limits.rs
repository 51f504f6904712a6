//! A hundred thousand items in one eventpoll and ten thousand eventpolls: every count is exact and memory is bounded; with bounds
//! that are too small, what does not fit is counted.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::again::{self, Run};
use super::herd::counts_are_exact;
use super::{loss, skipped};
use crate::herd::outcome::{Outcome, json, succeeded};
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
    ["fentry", "kprobe"].map(|backend| case(backend, ITEMS / 10, EPOLLS / 10)).into()
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

/// Processes that are killed with watched files open, more than fit into the probes' tables at once: each must leave nothing behind.
pub(super) fn dying() -> Vec<Case> {
    ["fentry", "kprobe"]
        .map(|backend| {
            let record =
                ["eptrace", "record", "--backend", backend, "--max-tracked", &TRACKED.to_string(), "-o", TRACE, "--"]
                    .map(str::to_owned);
            let record: Vec<&str> = record.iter().map(String::as_str).chain(["sh", "-c", DYING]).collect();
            Case {
                name: format!("{DEATHS} processes that are killed leave no room taken with {backend}"),
                jobs: vec![
                    Job::new("the recorded processes", &record, TIMEOUT_S),
                    Job::new("the report", &["eptrace", "report", "--json", TRACE], TIMEOUT_S),
                    Job::new("the removal", &["rm", "-f", TRACE], 10),
                ],
                check: Box::new(|results| {
                    succeeded(&results[0], "the recorded processes")?;
                    let report = json(&results[1], "the report")?;
                    let skipped = skipped::lost(&report)?;
                    let added = report["totals"]["ctl_add"].as_u64().context("the report has no totals.ctl_add")?;
                    ensure!(
                        added + skipped >= DEATHS && added <= DEATHS,
                        "{added} of {DEATHS} items were seen to come"
                    );
                    Ok(())
                }),
            }
        })
        .into()
}

const DEATHS: u64 = 80;

/// Each is killed when it has stopped in the middle of its work.
const DYING: &str = r#"
i=0
while [ $i -lt 80 ]; do
  demos cycle --iterations 2 --stop-after 1 > said & demo=$!
  until grep -q "^State:.T" /proc/$demo/status; do kill -0 $demo || exit 1; usleep 1000; done
  kill -9 $demo
  wait $demo 2> ended
  i=$((i + 1))
done
"#;

/// The smallest bound of the probes' own tables, and more eventpolls than that: what does not fit is counted by the probes, and the
/// report says that it is not complete.
pub(super) fn beyond() -> Case {
    let demo = ["demos", "many", "--json", "--items", "100", "--epolls", "500"];
    let record = ["eptrace", "record", "--max-tracked", &TRACKED.to_string(), "-o", TRACE, "--"].map(str::to_owned);
    let record: Vec<&str> = record.iter().map(String::as_str).chain(demo).collect();
    Case {
        name: format!("eventpolls beyond --max-tracked {TRACKED} are counted as lost, and the report is incomplete"),
        jobs: vec![
            Job::new(loss::ON_PURPOSE, &record, TIMEOUT_S),
            Job::new("the report", &["eptrace", "report", "--json", TRACE], TIMEOUT_S),
            Job::new("the removal", &["rm", "-f", TRACE], 10),
        ],
        check: Box::new(|results| {
            let (outcome, report) = Outcome::of(&results[0], &results[1])?;
            counted_beyond(&outcome.truth, &report)
        }),
    }
}

/// The smallest `--max-tracked` there is.
const TRACKED: u64 = 64;

/// Every call on an eventpoll that did not fit is lost and counted, and no other.
fn counted_beyond(truth: &Value, report: &Value) -> Result<()> {
    ensure!(report["complete"] == false, "a report with losses says that it is complete");
    let rows = report.pointer("/lost/by").and_then(Value::as_array).context("the report does not say what was lost")?;
    let full = rows.iter().filter(|row| row["reason"] == "map-full" && row["loses_events"] == true);
    let lost: u64 = full.filter(|row| row["hook"] == "ctl").filter_map(|row| row["count"].as_u64()).sum();
    let number = |from: &Value, key: &str| from[key].as_u64().with_context(|| format!("no {key} in {from}"));
    let (made, seen) = (number(truth, "ctl_add")?, number(&report["totals"], "ctl_add")?);
    ensure!(lost > 0, "nothing is said to be lost for want of room: {}", report["lost"]);
    ensure!(seen + lost == made, "{seen} calls seen and {lost} lost are not {made}: {}", report["lost"]);
    let known = report["eventpolls"].as_array().map_or(0, Vec::len) as u64;
    ensure!(known <= TRACKED, "{known} eventpolls were followed, and {TRACKED} were to be");
    Ok(())
}

/// How often something was not followed.
fn exceeded(report: &Value, what: &str) -> Result<u64> {
    let count = report.pointer(&format!("/exceeded/{what}")).and_then(Value::as_u64);
    count.with_context(|| format!("the report has no exceeded.{what}"))
}

#[cfg(test)]
mod tests {
    use super::counted_beyond;
    use serde_json::json;

    #[test]
    fn what_did_not_fit_must_be_counted_call_by_call_and_said() {
        let report = |seen: u64, lost: u64, complete: bool| {
            json!({"complete": complete, "totals": {"ctl_add": seen}, "eventpolls": [], "lost": {"by": [
                {"hook": "ctl", "reason": "map-full", "count": lost, "loses_events": true}]}})
        };
        let truth = json!({"ctl_add": 600});
        assert!(counted_beyond(&truth, &report(163, 437, false)).is_ok());
        assert!(counted_beyond(&truth, &report(163, 437, true)).is_err());
        assert!(counted_beyond(&truth, &report(163, 436, false)).is_err());
        assert!(counted_beyond(&truth, &report(600, 0, false)).is_err());
    }
}
