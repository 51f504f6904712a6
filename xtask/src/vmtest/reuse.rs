//! The scene `reuse` of the demo `life`: eventpolls whose numbers come back, and whose addresses the kernel uses again. Each is one of its
//! own.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::again::{self, Run};
use crate::herd::outcome::{Outcome, lines};
use crate::vm::plan::Job;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 60;
const TRACE: &str = "reuse.arrow";
/// How many eventpolls the scene makes, one after another.
const EVENTPOLLS: usize = 2_000;

pub(super) fn cases() -> Vec<Case> {
    ["fentry", "kprobe"].map(case).into()
}

fn case(backend: &'static str) -> Case {
    let demo = ["demos", "life", "--only", "reuse", "--json"];
    let ends = format!("eptrace export --format jsonl {TRACE} | grep '\"eventpoll-gone\"'");
    let record = [&["eptrace", "record", "--audit", "--backend", backend, "-o", TRACE, "--"][..], &demo].concat();
    Case {
        name: format!("eventpolls at the same address, one after another, are told apart with {backend}"),
        jobs: again::jobs(1, 1, |_| {
            vec![
                Job::new("the recorded demo", &record, TIMEOUT_S),
                Job::new("the report", &["eptrace", "report", "--json", TRACE], TIMEOUT_S),
                Job::new("the ends", &["sh", "-c", &ends], TIMEOUT_S),
                Job::new("the removal", &["rm", "-f", TRACE], 10),
            ]
        }),
        check: Box::new(move |results| {
            again::judge(results, |results| {
                let (outcome, report) = Outcome::of(&results[0], &results[1])?;
                ensure!(outcome.backend == backend, "the report says backend {}", outcome.backend);
                let ends = lines(&results[2], "the ends")?;
                Run::of(&report, || {
                    ensure!(outcome.equal, "the counts are not the demo's own:\n{}", outcome.differences().join("\n"));
                    judge(&report, &ends)
                })
            })
        }),
    }
}

/// An item each, an end each, fewer addresses than eventpolls, and no list that differs.
fn judge(report: &Value, ends: &[Value]) -> Result<()> {
    ensure!(ends.len() == EVENTPOLLS, "{} eventpolls ended, not {EVENTPOLLS}", ends.len());
    let addresses: BTreeSet<&str> = ends.iter().filter_map(|end| end["ep"].as_str()).collect();
    ensure!(
        !addresses.is_empty() && addresses.len() < EVENTPOLLS,
        "{} addresses of {EVENTPOLLS} eventpolls: none was used again",
        addresses.len()
    );
    let told = report["eventpolls"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(told.len() == EVENTPOLLS, "the report tells of {} eventpolls, not of {EVENTPOLLS}", told.len());
    for eventpoll in told {
        let one = eventpoll["items_ever"] == 1 && eventpoll["items"] == 0 && eventpoll["alive"] == false;
        ensure!(one, "an eventpoll had one item and ended, and the report says {eventpoll}");
    }
    let audit = &report["audit"];
    ensure!(audit["comparisons"].as_u64().is_some_and(|comparisons| comparisons > 0), "nothing was compared: {audit}");
    ensure!(audit["differences"] == 0, "the lists differ: {audit}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{EVENTPOLLS, judge};
    use serde_json::{Value, json};

    fn report(eventpolls: usize, items_ever: u64, differences: u64) -> Value {
        let one = json!({"items": 0, "items_ever": items_ever, "alive": false});
        json!({"eventpolls": vec![one; eventpolls], "audit": {"comparisons": 9, "differences": differences}})
    }

    #[test]
    fn eventpolls_that_are_taken_for_one_and_addresses_that_never_come_back_are_failures() {
        let gone = |number: usize, addresses: usize| -> Vec<Value> {
            (0..number).map(|n| json!({"event": "eventpoll-gone", "ep": format!("{:#x}", n % addresses)})).collect()
        };
        assert!(judge(&report(EVENTPOLLS, 1, 0), &gone(EVENTPOLLS, 3)).is_ok());
        assert!(judge(&report(EVENTPOLLS, 1, 0), &gone(EVENTPOLLS, EVENTPOLLS)).is_err());
        assert!(judge(&report(EVENTPOLLS, 1, 0), &gone(EVENTPOLLS - 1, 3)).is_err());
        assert!(judge(&report(3, 1, 0), &gone(EVENTPOLLS, 3)).is_err());
        assert!(judge(&report(EVENTPOLLS, 2, 0), &gone(EVENTPOLLS, 3)).is_err());
        assert!(judge(&report(EVENTPOLLS, 1, 1), &gone(EVENTPOLLS, 3)).is_err());
    }
}
