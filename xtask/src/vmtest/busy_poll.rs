//! The demo `busy-poll`, on the guest's network card: a wait polls the card itself, so the waiting task is its own waker, and nobody is
//! woken.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::again::{self, Run};
use super::recorded::{MORE, REPORT, Said, audited, equal, events, jobs, said};
use crate::herd::outcome::{lines, succeeded};
use crate::vm::plan::Job;
use crate::vm::qemu::ECHO_SERVER;
use crate::vmtest::Case;

/// The card is up and interrupts the first processor only. Before 6.9 an eventpoll polls when the whole system is told to; later each is
/// told by itself.
const UP: &str = r"
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up || exit 1
card=$(basename $(readlink /sys/class/net/eth0/device))
set -- $(sed -n s/:.*$card.*//p /proc/interrupts)
[ $# -gt 0 ] || exit 1
for interrupt; do echo 1 > /proc/irq/$interrupt/smp_affinity || exit 1; done
case $(uname -r) in 5.* | 6.[0-8].*) echo 10000000 > /proc/sys/net/core/busy_poll ;; esac";
const DOWN: &str = "echo 0 > /proc/sys/net/core/busy_poll; ifconfig eth0 down";
const TIMEOUT_S: u64 = 10;

pub(super) fn cases() -> Vec<Case> {
    ["fentry", "kprobe"].map(case).into()
}

fn case(backend: &'static str) -> Case {
    // On the other processor: what calls back there in the waiting task's name is no interrupt of the card.
    let demo = ["taskset", "2", "demos", "busy-poll", "--to", ECHO_SERVER, "--json"];
    Case {
        name: format!("a wait that polls a network card is called back by its own task with {backend}"),
        jobs: again::jobs(1, 1 + REPORT, |_| {
            let card = |name: &str, script: &str| Job::new(name, &["sh", "-c", script], TIMEOUT_S);
            let mut all = vec![card("the card", UP)];
            all.extend(jobs(backend, &["--audit"], &demo, [events(None), card("the card's end", DOWN)]));
            all
        }),
        check: Box::new(move |results| {
            again::judge(results, |results| {
                succeeded(&results[0], "setting up the network card")?;
                let Said { demo, report, outcome } = said(&results[1..], backend)?;
                let events = lines(&results[1 + MORE], "the events")?;
                Run::of(&report, || {
                    equal(&outcome)?;
                    audited(&report)?;
                    judge(&demo, &report, &events)
                })
            })
        }),
    }
}

/// The kernel polled, and the waiting task made callbacks while it waited: at most one a round. Nobody slept.
fn judge(demo: &Value, report: &Value, events: &[Value]) -> Result<()> {
    let number = |key: &str| demo[key].as_u64().with_context(|| format!("the demo does not say {key}"));
    let (polled, rounds) = (number("polled")?, number("rounds")?);
    let own = of_the_waiting_task(events);
    ensure!(polled > 0, "the kernel says that nothing was polled");
    ensure!(
        0 < own && own <= rounds,
        "{own} callbacks of {rounds} rounds were made by the task that waited ({polled} polled)"
    );
    let woken = &report["totals"]["woken"];
    ensure!(*woken == 0, "a wait that polls does not sleep, and {woken} were woken");
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
        let judged = |polled: u64, woken: u64, waker: u32| {
            let demo = json!({"polled": polled, "rounds": 1});
            judge(&demo, &json!({"totals": {"woken": woken}}), &trace(waker)).is_ok()
        };
        assert!(judged(1, 0, 5));
        assert!(!judged(1, 0, 0));
        assert!(!judged(0, 0, 5));
        assert!(!judged(1, 1, 5));
    }
}
