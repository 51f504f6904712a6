//! The demo `busy-poll`, on the guest's network card: a wait polls the card itself, so the waiting task is its own waker, and nobody is
//! woken.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::again::{self, Run};
use crate::herd::outcome::{Outcome, json, lines};
use crate::vm::plan::Job;
use crate::vm::qemu::ECHO_SERVER;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 60;
const TRACE: &str = "busy.arrow";

/// The card is up and interrupts the first processor only, and every eventpoll polls: before 6.9 none can be told by itself.
const UP: &str = r"
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up || exit 1
card=$(basename $(readlink /sys/class/net/eth0/device))
for interrupt in $(sed -n s/:.*$card.*//p /proc/interrupts); do echo 1 > /proc/irq/$interrupt/smp_affinity || exit 1; done
echo 10000000 > /proc/sys/net/core/busy_poll";
const DOWN: &str = "echo 0 > /proc/sys/net/core/busy_poll; ifconfig eth0 down; rm -f busy.arrow";

pub(super) fn cases() -> Vec<Case> {
    ["fentry", "kprobe"].map(case).into()
}

fn case(backend: &'static str) -> Case {
    // On the other processor: what calls back there in the waiting task's name is no interrupt of the card.
    let demo = ["taskset", "2", "demos", "busy-poll", "--to", ECHO_SERVER, "--json"];
    let record = [&["eptrace", "record", "--audit", "--backend", backend, "-o", TRACE, "--"][..], &demo].concat();
    Case {
        name: format!("a wait that polls a network card is called back by its own task with {backend}"),
        jobs: again::jobs(1, 2, |_| {
            vec![
                Job::new("the card", &["sh", "-c", UP], TIMEOUT_S),
                Job::new("the recorded demo", &record, TIMEOUT_S),
                Job::new("the report", &["eptrace", "report", "--json", TRACE], TIMEOUT_S),
                Job::new("the events", &["eptrace", "export", "--format", "jsonl", TRACE], TIMEOUT_S),
                Job::new("the end", &["sh", "-c", DOWN], TIMEOUT_S),
            ]
        }),
        check: Box::new(move |results| {
            again::judge(results, |results| {
                let (outcome, report) = Outcome::of(&results[1], &results[2])?;
                ensure!(outcome.backend == backend, "the report says backend {}", outcome.backend);
                let demo = json(&results[1], "the recorded demo")?;
                let events = lines(&results[3], "the events")?;
                Run::of(&report, || {
                    ensure!(outcome.equal, "the counts are not the demo's own:\n{}", outcome.differences().join("\n"));
                    judge(&demo, &report, &events)
                })
            })
        }),
    }
}

fn judge(demo: &Value, report: &Value, events: &[Value]) -> Result<()> {
    let polled = demo["polled"].as_u64().context("the demo does not say how many packets were polled")?;
    let own = of_the_waiting_task(events);
    ensure!(own > 0, "no callback was made by the task that waited, and the kernel counts {polled} polled packets");
    ensure!(own <= polled, "{own} callbacks were made by the task that waited, of {polled} polled packets");
    ensure!(
        report["totals"]["woken"] == 0,
        "a wait that polls does not sleep, and {} were woken",
        report["totals"]["woken"]
    );
    let audit = &report["audit"];
    ensure!(audit["comparisons"].as_u64().is_some_and(|comparisons| comparisons > 0), "nothing was compared: {audit}");
    ensure!(audit["differences"] == 0, "the lists differ: {audit}");
    Ok(())
}

/// Callbacks by a task between the beginning and the end of its own wait.
fn of_the_waiting_task(events: &[Value]) -> u64 {
    let (mut waiting, mut own) = (None, 0);
    for event in events {
        match event["event"].as_str() {
            Some("wait-enter") => waiting = Some(&event["tid"]),
            Some("wait-exit") => waiting = None,
            Some("callback") if waiting == Some(&event["tid"]) => own += 1,
            _ => {}
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::judge;
    use serde_json::{Value, json};

    fn trace(waker: u32) -> Vec<Value> {
        let event = |kind: &str, tid: u32| json!({"event": kind, "tid": tid});
        vec![event("callback", 5), event("wait-enter", 5), event("callback", waker), event("wait-exit", 5)]
    }

    #[test]
    fn callbacks_that_others_made_and_tasks_that_were_woken_are_failures() {
        let report = |woken: u64, differences: u64| json!({"totals": {"woken": woken}, "audit": {"comparisons": 3, "differences": differences}});
        let demo = json!({"polled": 1});
        assert!(judge(&demo, &report(0, 0), &trace(5)).is_ok());
        assert!(judge(&demo, &report(0, 0), &trace(0)).is_err());
        assert!(judge(&json!({"polled": 0}), &report(0, 0), &trace(5)).is_err());
        assert!(judge(&demo, &report(1, 0), &trace(5)).is_err());
        assert!(judge(&demo, &report(0, 1), &trace(5)).is_err());
    }
}
