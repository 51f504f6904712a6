//! The scene `waits` of the demo `life`: every wait has the descriptor, the time and the room that the program gave it, and the end that
//! it had.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::again::{self, Run};
use crate::herd::outcome::{Outcome, json as line, lines};
use crate::vm::plan::Job;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 60;
const TRACE: &str = "waits.arrow";
/// io_uring's is none of these.
const OF_A_WAIT: [&str; 3] = ["epfd", "timeout_ns", "maxevents"];

pub(super) fn cases() -> Vec<Case> {
    ["fentry", "kprobe"].map(case).into()
}

fn case(backend: &'static str) -> Case {
    let demo = ["demos", "life", "--only", "waits", "--json"];
    let record = [&["eptrace", "record", "--backend", backend, "-o", TRACE, "--"][..], &demo].concat();
    Case {
        name: format!("every wait has the time that the program gave it and ends as it did with {backend}"),
        jobs: again::jobs(1, 1, |_| {
            vec![
                Job::new("the recorded demo", &record, TIMEOUT_S),
                Job::new("the report", &["eptrace", "report", "--json", TRACE], TIMEOUT_S),
                Job::new("the events", &["eptrace", "export", "--format", "jsonl", TRACE], TIMEOUT_S),
                Job::new("the removal", &["rm", "-f", TRACE], 10),
            ]
        }),
        check: Box::new(move |results| {
            again::judge(results, |results| {
                let (outcome, report) = Outcome::of(&results[0], &results[1])?;
                ensure!(outcome.backend == backend, "the report says backend {}", outcome.backend);
                let demo = line(&results[0], "the recorded demo")?;
                let events = lines(&results[2], "the events")?;
                Run::of(&report, || judge(&demo, &events))
            })
        }),
    }
}

fn judge(demo: &Value, events: &[Value]) -> Result<()> {
    let made = demo["waits"].as_array().filter(|waits| !waits.is_empty()).context("the demo says nothing of waits")?;
    let traced = waits(events)?;
    ensure!(traced.len() == made.len(), "{} waits were traced, {} were made", traced.len(), made.len());
    for (traced, made) in traced.iter().zip(made) {
        ensure!(traced == made, "the demo's wait {made} was traced as {traced}");
    }
    Ok(())
}

/// What was asked and what was answered, wait by wait, of one task.
fn waits(events: &[Value]) -> Result<Vec<Value>> {
    let of = |kind: &'static str| events.iter().filter(move |event| event["event"] == kind);
    ensure!(of("wait-enter").count() == of("wait-exit").count(), "waits began that did not end");
    let pairs = of("wait-enter").zip(of("wait-exit"));
    let wait = |(enter, exit): (&Value, &Value)| {
        let mut wait = json!({"ret": exit["ret"]});
        for key in OF_A_WAIT {
            wait[key] = enter[key].clone();
        }
        wait
    };
    Ok(pairs.map(wait).collect())
}

#[cfg(test)]
mod tests {
    use super::judge;
    use serde_json::json;

    #[test]
    fn a_wait_with_another_time_or_another_end_is_a_failure() {
        let demo = json!({"waits": [
            {"epfd": 3, "timeout_ns": 700_001, "maxevents": 1, "ret": -4},
            {"epfd": 3, "timeout_ns": -1, "maxevents": 1, "ret": 1}]});
        let enter =
            |timeout: i64| json!({"event": "wait-enter", "epfd": 3, "timeout_ns": timeout, "maxevents": 1, "tid": 5});
        let exit = |ret: i64| json!({"event": "wait-exit", "ret": ret, "tid": 5});
        assert!(judge(&demo, &[enter(700_001), exit(-4), enter(-1), exit(1)]).is_ok());
        assert!(judge(&demo, &[enter(700_000), exit(-4), enter(-1), exit(1)]).is_err());
        assert!(judge(&demo, &[enter(700_001), exit(0), enter(-1), exit(1)]).is_err());
        assert!(judge(&demo, &[enter(700_001), exit(-4), enter(-1)]).is_err());
        assert!(judge(&demo, &[enter(700_001), exit(-4)]).is_err());
        assert!(judge(&json!({"waits": []}), &[]).is_err());
    }
}
