//! Demos that are told in steps: what the kernel must do during each step, it does, and nothing else; and every call of the demo is
//! in the trace; and the statements that the demos decide have the verdicts of `docs/claims.json`. One trace serves several demos,
//! since attaching takes longer than they do.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{again, skipped};
use crate::claims::expected;
use crate::demos::story::{Run, Story, job};
use crate::demos::{ALL, Kind};
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 300;
/// In how many counts one lost record can show: its step's, its task's, the whole's, and each of them by more than one name.
const SHOWS: usize = 9;

/// How the names of these cases begin.
pub(super) const NAME: &str = "demos in steps";

pub(super) fn cases() -> Vec<Case> {
    ["fentry", "kprobe"].map(case).into()
}

fn case(backend: &'static str) -> Case {
    let demos = || ALL.iter().filter(|demo| demo.kind == Kind::Steps);
    let argvs: Vec<Vec<String>> = demos().map(|demo| demo.argv(&[])).collect();
    let names: Vec<&str> = demos().map(|demo| demo.name).collect();
    Case {
        name: format!("{NAME}: the kernel does what each step says, with {backend} ({})", names.join(", ")),
        jobs: again::jobs(1, 0, |_| vec![job(backend, &[], &argvs, TIMEOUT_S)]),
        check: Box::new(move |results| again::judge(results, |results| judge(&Run::of(&results[0])?, backend, &names))),
    }
}

fn judge(run: &Run, backend: &str, names: &[&str]) -> Result<again::Run> {
    ensure!(run.backend == backend, "the trace says backend {}", run.backend);
    ensure!(run.stories.len() == names.len(), "{} of {} demos told their truth", run.stories.len(), names.len());
    let mut differences = Vec::new();
    for (story, name) in run.stories.iter().zip(names) {
        ensure!(story.demo == *name, "{} told its truth in place of {name}", story.demo);
        ensure!(!story.steps.is_empty(), "{name} has no steps");
        headline(story).with_context(|| format!("{name} on {}", run.kernel))?;
        differences.extend(run.differences(story));
    }
    let losses = run.losses();
    let lost = skipped::lost(&losses)?;
    let allowed = usize::try_from(lost).unwrap_or(0) * SHOWS;
    let shown: Vec<String> = differences.iter().take(20).map(ToString::to_string).collect();
    ensure!(
        differences.len() <= allowed,
        "{} differences ({lost} events were lost):\n{}",
        differences.len(),
        shown.join("\n")
    );
    // A record that is missing can be one that a verdict rests on.
    again::Run::of(&losses, || expected::check(run))
}

/// What each demo is there to show, by the numbers that the program saw.
fn headline(story: &Story) -> Result<()> {
    let sums = |scene: &str, key: &str| -> u64 {
        let steps = story.steps.iter().filter(|step| step.scene.starts_with(scene));
        steps.filter_map(|step| step.saw.get(key).and_then(Value::as_u64)).sum()
    };
    let last = |scene: &str, key: &str| {
        let mut steps = story.steps.iter().rev().filter(|step| step.scene.starts_with(scene));
        steps.find_map(|step| step.saw.get(key).and_then(Value::as_u64))
    };
    let expect = |what: &str, found: u64, expected: u64| {
        ensure!(found == expected, "{what}: {found}, not {expected}");
        Ok(())
    };
    match story.demo.as_str() {
        "drain" => {
            let wrong = "wrong: one read for each event, a wait after";
            expect("left, interleaved", last(&format!("{wrong} each"), "left").unwrap_or(0), 432)?;
            expect("left, coalesced", last(&format!("{wrong} all"), "left").unwrap_or(0), 944)?;
            expect("events, interleaved", sums(&format!("{wrong} each"), "events"), 3)?;
            expect("events, coalesced", sums(&format!("{wrong} all"), "events"), 1)?;
            expect("left after the right way", last("right: ", "left").unwrap_or(1), 0)?;
            expect("read in all", sums("", "read"), 4 * 1200)
        }
        "epollout" => {
            expect("reports of an idle socket, level-triggered", sums("idle and writable, level", "events"), 10)?;
            expect("reports of an idle socket, edge-triggered", sums("idle and writable, edge", "events"), 1)?;
            expect("EPOLLOUT beside arrivals", sums("bytes arrive", "with_epollout"), 5)
        }
        "accept-once" => {
            expect("accepted, edge-triggered", sums("edge-triggered, accept once", "accepts"), 6)?;
            expect("events, edge-triggered", sums("edge-triggered, accept once", "events"), 2)?;
            expect("events, level-triggered", sums("level-triggered", "events"), 3)
        }
        "reactor" | "echo" => requests(story),
        "oneshot" | "exclusive" | "reuseport" | "shared" => workers(story),
        "blocking-et" => {
            let hung = |scene: &str| {
                let mut steps = story.steps.iter().filter(|step| step.scene == scene);
                steps.any(|step| step.saw.get("hangs") == Some(&Value::Bool(true)))
            };
            ensure!(hung("a blocking descriptor"), "the worker did not hang in read");
            ensure!(!hung("the same, non-blocking"), "the worker hung on a non-blocking descriptor");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Who got the connections that came one by one, and how often nobody found any.
fn workers(story: &Story) -> Result<()> {
    let balance = |scene: &str| -> Option<Vec<u64>> {
        let mut steps =
            story.steps.iter().filter(|step| step.scene.contains(scene) && step.scene.contains("one by one"));
        let listed = steps.find_map(|step| step.saw.get("accepted_by_worker"))?;
        listed.as_array()?.iter().map(Value::as_u64).collect()
    };
    let expect = |scene: &str, expected: [u64; 4]| {
        let found = balance(scene).with_context(|| format!("no balance of {scene}"))?;
        ensure!(found == expected, "{scene}: the workers got {found:?}, not {expected:?}");
        Ok(())
    };
    match story.demo.as_str() {
        // The first that was registered, always: nothing rotates.
        "exclusive" => expect("EPOLLEXCLUSIVE", [20, 0, 0, 0]),
        // The one that went to sleep last: the first in the eventpoll's wait queue.
        "shared" => expect("edge-triggered", [0, 0, 0, 20]),
        "oneshot" => expect("EPOLLONESHOT", [0, 0, 0, 20]),
        _ => {
            let found = balance("SO_REUSEPORT").context("no balance")?;
            ensure!(found.iter().sum::<u64>() == 20, "the workers got {found:?}");
            Ok(())
        }
    }
}

/// The system calls of each server, as the kernel counted them: with one request in flight there is no choice.
fn requests(story: &Story) -> Result<()> {
    let mut servers = 0;
    for step in &story.steps {
        let Some(server) = step.saw.get("server").and_then(Value::as_str) else { continue };
        servers += 1;
        let number =
            |key: &str| step.saw.get(key).and_then(Value::as_u64).with_context(|| format!("{server} tells no {key}"));
        if number("in_flight")? != 1 {
            continue;
        }
        let (requests, connections) = (number("requests")?, number("connections")?);
        let calls = step.saw.get("system_calls").with_context(|| format!("the calls of {server} were not counted"))?;
        let expected = match server {
            "blocking" => {
                json!({"accept4": connections, "close": connections, "read": requests + connections, "write": requests})
            }
            "select" => json!({"pselect6": requests, "read": requests, "write": requests}),
            "poll" => json!({"poll": requests, "read": requests, "write": requests}),
            "epoll-lt" => json!({"epoll_wait": requests, "read": requests, "write": requests}),
            // A request that comes while the loop still reads is part of the same event.
            "epoll-et" => {
                let waits = calls["epoll_wait"].as_u64().unwrap_or(0).min(requests);
                json!({"epoll_wait": waits, "read": requests + waits, "write": requests})
            }
            "epoll-oneshot" => {
                json!({"epoll_ctl": requests, "epoll_wait": requests, "read": requests, "write": requests})
            }
            // With several connections the next request may come together with the end of the answer before it.
            "io-uring" => {
                let made = calls["io_uring_enter"].as_u64().unwrap_or(0);
                let least = if connections == 1 { 2 * requests } else { requests };
                json!({"io_uring_enter": made.clamp(least, 2 * requests)})
            }
            "io-uring-linked" => json!({"io_uring_enter": requests}),
            "io-uring-sqpoll" => {
                let made: u64 = calls.as_object().into_iter().flatten().filter_map(|(_, number)| number.as_u64()).sum();
                ensure!(made * 100 <= requests, "{server} made {calls} for {requests} requests");
                continue;
            }
            other => anyhow::bail!("a server called {other}"),
        };
        ensure!(*calls == expected, "{server} made {calls} for {requests} requests, not {expected}");
        let looks = match server {
            "select" | "poll" => connections * requests,
            _ => calls["epoll_wait"].as_u64().unwrap_or(requests),
        };
        if !server.starts_with("io-uring") && server != "blocking" {
            let scanned = number("descriptors_scanned")?;
            ensure!(scanned == looks, "{server} looked at {scanned} descriptors, not {looks}");
        }
    }
    ensure!(servers > 0, "no server told anything");
    Ok(())
}
