//! The scene `inner` of the demo `life`: two threads sleep in an eventpoll, one in another that watches it. Whoever wakes a thread, the
//! wake is told of the eventpoll that the thread sleeps in.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::recorded::{self, Said, audited};
use crate::vmtest::Case;

const DEMO: &[&str] = &["demos", "life", "--only", "inner", "--json"];
/// The demo's own task does not sleep.
const SLEEPERS: usize = 3;

pub(super) fn cases() -> Vec<Case> {
    let what = "a wake is of the eventpoll that the woken task sleeps in";
    recorded::cases(what, (&["--audit"], DEMO), None, |Said { demo, report, .. }, events| {
        audited(report)?;
        judge(events)?;
        within(demo, report)
    })
}

/// Every sleeper was woken, out of the eventpoll that it waited on. One was woken by a scan: the callbacks wake one of each eventpoll.
fn judge(events: &[Value]) -> Result<()> {
    // A wake can be told when the task has returned already.
    let mut sleeps: BTreeMap<u64, &Value> = BTreeMap::new();
    let (mut woken, mut by_scans) = (BTreeSet::new(), 0);
    for event in events {
        let number = |key: &str| event[key].as_u64().with_context(|| format!("no {key} in {event}"));
        match event["event"].as_str() {
            Some("wait-enter") => _ = sleeps.insert(number("tid")?, &event["ep"]),
            Some("wake") => {
                let tid = number("woken_tid")?;
                let place =
                    sleeps.get(&tid).with_context(|| format!("a task was woken that has not waited: {event}"))?;
                ensure!(event["ep"] == **place, "a task was woken out of {}, and slept in {place}", event["ep"]);
                woken.insert(tid);
                by_scans += u64::from(event["cause"] == "scan");
            }
            _ => {}
        }
    }
    ensure!(woken.len() == SLEEPERS, "{} tasks were woken, not {SLEEPERS}", woken.len());
    ensure!(by_scans > 0, "no task was woken by a scan");
    Ok(())
}

/// Callback, wake and return of each eventpoll lie between the demo's write and its last return from there.
fn within(demo: &Value, report: &Value) -> Result<()> {
    let spans = demo["spans"].as_array().filter(|spans| spans.len() == SLEEPERS).context("the demo has other spans")?;
    let told = report["eventpolls"].as_array().context("the report has no eventpolls")?;
    for epfd in spans.iter().map(|span| &span["epfd"]) {
        let longest = spans.iter().filter(|span| span["epfd"] == *epfd).filter_map(|span| span["ns"].as_u64()).max();
        let longest = longest.context("a span without its length")?;
        let name = format!("{}:{epfd}", demo["pid"]);
        let of = |row: &&Value| row["name"].as_str().is_some_and(|row| row.ends_with(&name));
        let row = told.iter().find(of).with_context(|| format!("no eventpoll {name} in the report"))?;
        for what in ["callback_to_return", "callback_to_wake", "woken_to_return"] {
            let found = row[what]["longest_ns"].as_u64().with_context(|| format!("no {what} of {name}: {row}"))?;
            ensure!(0 < found && found <= longest, "{what} of {name} took {found} ns, all of it {longest} ns");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{judge, within};
    use serde_json::{Value, json};

    fn trace(place: &str, cause: &str) -> Vec<Value> {
        let waits = [(1, "0xa"), (2, "0xa"), (3, "0xb")];
        let enter = waits.map(|(tid, ep)| json!({"event": "wait-enter", "tid": tid, "ep": ep}));
        let wake =
            |(tid, ep): (u64, &str), cause: &str| json!({"event": "wake", "woken_tid": tid, "ep": ep, "cause": cause});
        let mut trace = enter.to_vec();
        trace.extend([wake(waits[0], "callback"), wake(waits[2], "callback"), wake((2, place), cause)]);
        trace
    }

    #[test]
    fn a_latency_that_is_longer_than_all_of_it_or_none_is_a_failure() {
        let demo = json!({"pid": 7, "spans": [{"epfd": 3, "ns": 90}, {"epfd": 3, "ns": 80}, {"epfd": 4, "ns": 50}]});
        let judged = |ns: u64| {
            let row = |epfd: u32, ns: u64| {
                let latency = json!({"longest_ns": ns});
                json!({"name": format!("demos/7:{epfd}"), "callback_to_return": latency, "callback_to_wake": latency,
                    "woken_to_return": latency})
            };
            within(&demo, &json!({"eventpolls": [row(3, 90), row(4, ns)]})).is_ok()
        };
        assert!(judged(50));
        assert!(!judged(51));
        assert!(!judged(0));
        assert!(within(&demo, &json!({"eventpolls": []})).is_err());
    }

    #[test]
    fn a_wake_of_another_eventpoll_or_of_nobody_is_a_failure() {
        assert!(judge(&trace("0xa", "scan")).is_ok());
        assert!(judge(&trace("0xb", "scan")).is_err());
        assert!(judge(&trace("0xa", "callback")).is_err());
        assert!(judge(&trace("0xa", "scan")[1..]).is_err());
        assert!(judge(&trace("0xa", "scan")[..5]).is_err());
    }
}
