//! Steps and what was traced of them, side by side.
//!
//! In: a story, and the events of its trace. Out: for every step the counts of the trace, and where they are not the step's own.
//! The times of a step say which events are its.

use serde_json::{Map, Value, json};

use crate::demos::story::{Step, Story};

/// What a demo counts of its calls, as in its truth.
const CALLS: [&str; 12] = [
    "ctl_add",
    "ctl_mod",
    "ctl_del",
    "ctl_failed",
    "waits",
    "waits_returned",
    "events",
    "timeouts",
    "interrupted",
    "wait_errors",
    "accepts",
    "accept_eagain",
];

/// A count that is not what it should be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    pub(crate) place: String,
    pub(crate) what: String,
    pub(crate) should: Value,
    pub(crate) traced: Value,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} should be {}, traced {}", self.place, self.what, self.should, self.traced)
    }
}

/// When an event happened.
pub(crate) fn time(event: &Value) -> u64 {
    event["ts_ns"].as_u64().unwrap_or(0)
}

/// The events that happened during a step, of events in the order of time.
pub(crate) fn within<'a>(step: &Step, events: &'a [Value]) -> std::slice::Iter<'a, Value> {
    let begin = events.partition_point(|event| time(event) < step.from_ns);
    let end = events.partition_point(|event| time(event) <= step.to_ns);
    events.get(begin..end).unwrap_or_default().iter()
}

/// What the kernel did, under the keys that a step's `kernel` has.
pub(crate) fn kernel<'a>(events: impl Iterator<Item = &'a Value>) -> Map<String, Value> {
    let mut counts = Map::new();
    let mut count = |key: &str, number: u64| {
        let sum = counts.get(key).and_then(Value::as_u64).unwrap_or(0) + number;
        counts.insert(key.to_owned(), json!(sum));
    };
    for event in events {
        match event["event"].as_str().unwrap_or_default() {
            "hooked" => count("hooked", 1),
            "callback" => {
                count(
                    match event["outcome"].as_str().unwrap_or_default() {
                        "linked" => "linked",
                        "already linked" => "already_linked",
                        "disabled" => "disabled",
                        "filtered" => "filtered",
                        _ => "overflow",
                    },
                    1,
                );
                count("nested", u64::from(!event["parent_ts_ns"].is_null()));
            }
            "wake" if event["already_running"] == false => count("woken", 1),
            "scan" => count("scans", u64::from(!outside(event))),
            "wait-exit" => count("events", event["ret"].as_u64().unwrap_or(0)),
            _ => {}
        }
    }
    counts
}

/// Whether the scan is not one of a wait, but of an eventpoll that is watched.
fn outside(scan: &Value) -> bool {
    scan["notes"].as_array().is_some_and(|notes| notes.iter().any(|note| note == "outside a wait of it"))
}

/// The calls of a task, or of several, as a demo counts them.
fn calls<'a>(events: impl Iterator<Item = &'a Value>) -> Map<String, Value> {
    let mut counts: Map<String, Value> = CALLS.iter().map(|&key| (key.to_owned(), json!(0))).collect();
    let mut count = |key: &str, number: u64| {
        if let Some(value) = counts.get_mut(key) {
            *value = json!(value.as_u64().unwrap_or(0) + number);
        }
    };
    for event in events {
        let ret = event["ret"].as_i64().unwrap_or(0);
        match event["event"].as_str().unwrap_or_default() {
            "ctl" => {
                count(
                    match event["op"].as_str().unwrap_or_default() {
                        "EPOLL_CTL_ADD" => "ctl_add",
                        "EPOLL_CTL_MOD" => "ctl_mod",
                        _ => "ctl_del",
                    },
                    1,
                );
                count("ctl_failed", u64::from(ret < 0));
            }
            "wait-exit" => {
                count("waits", 1);
                match u64::try_from(ret) {
                    Ok(0) => count("timeouts", 1),
                    Ok(events) => {
                        count("waits_returned", 1);
                        count("events", events);
                    }
                    Err(_) if event["errno"] == "EINTR" => count("interrupted", 1),
                    Err(_) => count("wait_errors", 1),
                }
            }
            "accept" if ret >= 0 => count("accepts", 1),
            "accept" if event["errno"] == "EAGAIN" => count("accept_eagain", 1),
            _ => {}
        }
    }
    counts
}

/// What waits returned, as a step lists it.
fn delivered<'a>(events: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    events
        .filter(|event| event["event"] == "returned" || (event["event"] == "wait-exit" && !event["data"].is_null()))
        .map(|event| {
            let digits = event["data"].as_str().unwrap_or_default().trim_start_matches("0x");
            json!({"data": u64::from_str_radix(digits, 16).ok(), "events": event["events"]})
        })
        .collect()
}

/// Whether a count is as a step wants it: a number, at least a number, or any.
fn fits(should: &Value, traced: u64) -> bool {
    match should {
        Value::Null => true,
        Value::Object(bounds) => bounds.get("at_least").and_then(Value::as_u64).is_some_and(|least| traced >= least),
        exactly => exactly.as_u64() == Some(traced),
    }
}

/// Every count that is not the demo's own: of each step, of each worker, of the whole.
pub(crate) fn differences(story: &Story, events: &[Value]) -> Vec<Difference> {
    let mut found = Vec::new();
    for (number, step) in (1..).zip(&story.steps) {
        of_step(story, step, number, events, &mut found);
    }
    let mine: Vec<&Value> = events.iter().filter(|event| event["pid"] == story.pid).collect();
    let place = format!("{}, the whole", story.demo);
    of_calls(&place, &story.truth, &calls(mine.iter().copied()), &mut found);
    for worker in story.truth.get("workers").and_then(Value::as_array).into_iter().flatten() {
        let tid = &worker["tid"];
        let traced = calls(mine.iter().copied().filter(|event| event["tid"] == *tid));
        if let Some(worker) = worker.as_object() {
            of_calls(&format!("{}, task {tid}", story.demo), worker, &traced, &mut found);
        }
    }
    found
}

fn of_step(story: &Story, step: &Step, number: u32, events: &[Value], found: &mut Vec<Difference>) {
    let place = format!("{} step {number} ({}: {})", story.demo, step.scene, step.did);
    let traced = kernel(within(step, events));
    for (key, should) in &step.kernel {
        let number = traced.get(key).and_then(Value::as_u64).unwrap_or(0);
        if !fits(should, number) {
            let what = format!("kernel.{key}");
            found.push(Difference { place: place.clone(), what, should: should.clone(), traced: json!(number) });
        }
    }
    let own = || within(step, events).filter(|event| event["tid"] == story.tid);
    let mut saw: Map<String, Value> = CALLS.iter().map(|&key| (key.to_owned(), json!(0))).collect();
    saw.extend(step.saw.iter().filter(|(key, _)| CALLS.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())));
    of_calls(&place, &saw, &calls(own()), found);
    if let Some(listed) = step.saw.get("delivered") {
        let traced = Value::from(delivered(own()));
        if *listed != traced {
            found.push(Difference { place, what: "delivered".to_owned(), should: listed.clone(), traced });
        }
    }
}

/// The keys of the truth that are counts of calls.
fn of_calls(place: &str, truth: &Map<String, Value>, traced: &Map<String, Value>, found: &mut Vec<Difference>) {
    for (key, should) in truth.iter().filter(|(key, _)| CALLS.contains(&key.as_str())) {
        let number = traced.get(key).cloned().unwrap_or(Value::Null);
        if *should != number {
            let what = key.clone();
            found.push(Difference { place: place.to_owned(), what, should: should.clone(), traced: number });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::differences;
    use crate::demos::story::Story;
    use serde_json::{Value, json};

    fn story() -> Story {
        serde_json::from_value(json!({"demo": "d", "pid": 5, "tid": 5, "options": {}, "missing": [],
            "steps": [
                {"scene": "s", "did": "write", "from_ns": 10, "to_ns": 20, "saw": {"written": 1},
                    "kernel": {"linked": 1, "already_linked": {"at_least": 1}, "scans": null, "events": 0}},
                {"scene": "s", "did": "wait", "from_ns": 21, "to_ns": 30,
                    "saw": {"waits": 1, "events": 1, "waits_returned": 1, "delivered": [{"data": 7, "events": "EPOLLIN"}]},
                    "kernel": {"linked": 0, "events": 1, "woken": 0}}],
            "truth": {"waits": 1, "events": 1, "workers": [{"tid": 5, "waits": 1}]}}))
        .unwrap()
    }

    fn events() -> Vec<Value> {
        vec![
            json!({"event": "callback", "ts_ns": 10, "pid": 5, "tid": 5, "outcome": "linked", "parent_ts_ns": null}),
            json!({"event": "callback", "ts_ns": 12, "pid": 5, "tid": 5, "outcome": "already linked", "parent_ts_ns": null}),
            json!({"event": "scan", "ts_ns": 22, "pid": 5, "tid": 5, "notes": []}),
            json!({"event": "wait-exit", "ts_ns": 23, "pid": 5, "tid": 5, "ret": 1, "data": "0x7", "events": "EPOLLIN"}),
        ]
    }

    #[test]
    fn a_trace_that_is_the_story_has_no_differences() {
        assert_eq!(differences(&story(), &events()), []);
    }

    #[test]
    fn whatever_is_missing_or_too_much_is_a_difference() {
        let place = |events: &[Value]| -> Vec<String> {
            differences(&story(), events).into_iter().map(|found| found.what).collect()
        };
        assert_eq!(place(&events()[1..]), ["kernel.linked"]);
        let mut fewer = events();
        fewer.remove(1);
        assert_eq!(place(&fewer), ["kernel.already_linked"]);
        // A wait that nobody saw is missing from its step, from the whole, and from its task.
        let all = place(&events()[..3]);
        assert!(
            all.iter().filter(|what| *what == "waits").count() == 3 && all.contains(&"delivered".to_owned()),
            "{all:?}"
        );
        let mut woken = events();
        woken.push(json!({"event": "wake", "ts_ns": 24, "pid": 5, "tid": 5, "already_running": false}));
        assert_eq!(place(&woken), ["kernel.woken"]);
        let mut other = events();
        other[3]["data"] = json!("0x8");
        assert_eq!(place(&other), ["delivered"]);
    }
}
