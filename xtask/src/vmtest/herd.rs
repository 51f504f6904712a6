//! The herd demo in every mode, backend and kind of worker: all counts are the demo's own, and in the step rhythm, where
//! the kernel has no choice, the fan-out of every single wakeup is exact.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::herd::outcome::Outcome;
use crate::herd::spec::{Backend, Mode, Rhythm, Spec, word};
use crate::vm::plan::Job;
use crate::vmtest::Case;
use crate::vmtest::again::{self, Run};

/// Each mode meets both backends, one in each rhythm. Where bpftrace looks on in the step rhythm (`independent.rs`), that backend is
/// the one that meets the burst here.
const BURSTS: [(Mode, Backend); 5] = [
    (Mode::Lt, Backend::Kprobe),
    (Mode::Et, Backend::Kprobe),
    (Mode::Exclusive, Backend::Fentry),
    (Mode::Oneshot, Backend::Kprobe),
    (Mode::Reuseport, Backend::Fentry),
];
const TIMEOUT_S: u64 = 180;

pub(super) fn cases() -> Vec<Case> {
    let both = |(mode, burst)| {
        let step = if burst == Backend::Kprobe { Backend::Fentry } else { Backend::Kprobe };
        // Each backend meets both kinds of workers: one in each rhythm.
        [(burst, Rhythm::Burst), (step, Rhythm::Step)].map(|(backend, rhythm)| {
            let processes = (backend == Backend::Fentry) == (rhythm == Rhythm::Burst);
            case(mode, backend, rhythm, processes)
        })
    };
    BURSTS.into_iter().flat_map(both).collect()
}

fn case(mode: Mode, backend: Backend, rhythm: Rhythm, processes: bool) -> Case {
    let (workers, connections) = match rhythm {
        Rhythm::Step => (4, 200),
        Rhythm::Burst => (8, 2000),
    };
    let spec = Spec { mode, backend, rhythm, workers, connections, processes };
    let [mut record, _, report] = spec.jobs(TIMEOUT_S);
    // The file is read in the guest; only a failure would make it worth the way.
    record.returns.clear();
    Case {
        name: format!(
            "herd {} {} of {} {}: {}",
            word(mode),
            word(rhythm),
            workers,
            if processes { "processes" } else { "threads" },
            match rhythm {
                Rhythm::Step => format!("counts and fan-out are exact with {}", word(backend)),
                Rhythm::Burst => format!("counts are exact with {}", word(backend)),
            }
        ),
        jobs: again::jobs(1, 1, |_| vec![record.clone(), report.clone(), remove(&spec)]),
        check: Box::new(move |results| {
            again::judge(results, |run| {
                let (outcome, report) = Outcome::of(&run[0], &run[1])?;
                used(&outcome, backend)?;
                Run::of(&report, || {
                    counts_are_exact(&outcome)?;
                    if rhythm == Rhythm::Step { fan_out_is_exact(&spec, &report) } else { Ok(()) }
                })
            })
        }),
    }
}

/// Traces are not to fill the guest's memory.
fn remove(spec: &Spec) -> Job {
    Job::new("the removal", &["rm", "-f", &spec.trace()], 10)
}

pub(super) fn counts_are_exact(outcome: &Outcome) -> Result<()> {
    ensure!(outcome.equal, "the counts are not the demo's own:\n{}", outcome.differences().join("\n"));
    Ok(())
}

/// A backend that was asked for and silently replaced would make its tests worthless.
fn used(outcome: &Outcome, backend: Backend) -> Result<()> {
    ensure!(outcome.backend == word(backend), "the report says backend {}, not {}", outcome.backend, word(backend));
    Ok(())
}

/// What each of `connections` wakeups must have done.
pub(super) fn fan_out_is_exact(spec: &Spec, report: &Value) -> Result<()> {
    let rows = report.get("herd").and_then(Value::as_array).context("the report has no herd")?;
    let [row] = rows.as_slice() else { bail!("the report has {} listening sockets, not one: {rows:?}", rows.len()) };
    let each = match spec.mode {
        Mode::Lt | Mode::Et => u64::from(spec.workers),
        Mode::Exclusive | Mode::Oneshot | Mode::Reuseport => 1,
    };
    let wakeups = u64::from(spec.connections);
    ensure!(row.get("wakeups").and_then(Value::as_u64) == Some(wakeups), "not {wakeups} wakeups: {row}");
    for (what, expected) in [("called", each), ("woken", each), ("useful", 1), ("wasted", each - 1)] {
        let found = histogram(row, what)?;
        ensure!(
            found == BTreeMap::from([(expected, wakeups)]),
            "{what} is not {expected} in each of {wakeups} wakeups but {found:?} (value: wakeups)"
        );
    }
    every_wake_has_an_end(row)
}

/// Each woken task either came back with events or slept on inside the same call, where no syscall shows it.
pub(super) fn every_wake_has_an_end(row: &Value) -> Result<()> {
    let number = |path: &str| {
        row.pointer(path).and_then(Value::as_u64).with_context(|| format!("the report has no herd[0]{path}: {row}"))
    };
    let (woken, returned) = (number("/woken/total")?, number("/returned/total")?);
    let (swallowed, unfinished) = (number("/swallowed")?, number("/unfinished")?);
    ensure!(
        woken == returned + swallowed + unfinished,
        "{woken} woken are not {returned} returned, {swallowed} that slept on and {unfinished} unfinished"
    );
    Ok(())
}

pub(super) fn histogram(row: &Value, what: &str) -> Result<BTreeMap<u64, u64>> {
    let histogram = row
        .get(what)
        .and_then(|spread| spread.get("histogram"))
        .with_context(|| format!("the report has no herd[0].{what}.histogram"))?;
    serde_json::from_value(histogram.clone()).with_context(|| format!("herd[0].{what}.histogram is {histogram}"))
}

#[cfg(test)]
mod tests {
    use super::fan_out_is_exact;
    use crate::herd::spec::{Backend, Mode, Rhythm, Spec};
    use serde_json::{Value, json};

    fn spec(mode: Mode) -> Spec {
        let (backend, rhythm) = (Backend::Kprobe, Rhythm::Step);
        Spec { mode, backend, rhythm, workers: 4, connections: 200, processes: false }
    }

    fn report(woken: &Value) -> Value {
        let spread = |histogram: &Value| json!({"total": 800, "histogram": histogram});
        json!({"herd": [{"wakeups": 200, "swallowed": 585, "unfinished": 0,
            "returned": {"total": 215}, "called": spread(&json!({"4": 200})), "woken": spread(woken),
            "useful": spread(&json!({"1": 200})), "wasted": spread(&json!({"3": 200}))}]})
    }

    #[test]
    fn every_single_wakeup_counts() {
        assert!(fan_out_is_exact(&spec(Mode::Lt), &report(&json!({"4": 200}))).is_ok());
        let error = fan_out_is_exact(&spec(Mode::Lt), &report(&json!({"3": 1, "4": 199}))).unwrap_err();
        assert!(error.to_string().contains("woken is not 4"), "{error}");
        let mut lost = report(&json!({"4": 200}));
        lost["herd"][0]["swallowed"] = json!(584);
        assert!(fan_out_is_exact(&spec(Mode::Lt), &lost).is_err());
        assert!(fan_out_is_exact(&spec(Mode::Exclusive), &report(&json!({"4": 200}))).is_err());
        assert!(fan_out_is_exact(&spec(Mode::Lt), &json!({"herd": []})).is_err());
    }
}
