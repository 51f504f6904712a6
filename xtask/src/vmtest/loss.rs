//! A buffer that overflows, on purpose: the reader is stopped while the demo goes on. Every event that is lost must be counted, by
//! hook and CPU; what is seen and what is lost together must be the demo's own counts; and when the reader goes on, so must the
//! reconstruction.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::herd::outcome::json;
use crate::vm::plan::Job;
use crate::vmtest::Case;

/// The name of a job that is made to lose events: its counts are not the demo's.
pub(super) const ON_PURPOSE: &str = "the recording that loses on purpose";

/// The demo stops itself twice. Between the two the tracer is stopped, and there are more events than the smallest buffer holds; what
/// comes after the second is so little that the buffer holds it all, once the tracer has emptied it: the file has grown, and the tracer
/// sleeps again.
const CYCLE: &str = r#"
rm -f ready
file=/tmp/loss.eptrace
eptrace record -o $file --audit --backend BACKEND --buffer 1 --ready-file ready -- \
    demos cycle --json --iterations 30300 --stop-after 1000 --stop-after 30000 &
tracer=$!
running() { kill -0 $tracer 2> /dev/null || { echo "eptrace ended too soon" >&2; exit 1; }; }
written() { sed -n 's/^syscw: //p' /proc/$demo/io; }
until_stopped_at() {
    until [ "$(written)" -ge $1 ] && grep -q '^State:.T' /proc/$demo/status; do running; usleep 10000; done
}
size() { stat -c %s $file; }
sleeps() { ! grep -q '^State:.[^S]' /proc/$tracer/task/*/status; }
until [ -e ready ]; do running; usleep 10000; done
until demo=$(pidof demos); do running; usleep 10000; done
until_stopped_at 1000
kill -STOP $tracer
before=$(size)
kill -CONT $demo
until_stopped_at 30000
kill -CONT $tracer
until [ "$(size)" -gt "$before" ] && sleeps; do running; usleep 10000; done
kill -CONT $demo
wait $tracer
"#;

/// Stops the tracer until the whole herd is over: its leader is a zombie that nobody reaps.
const HERD: &str = r#"
rm -f ready
eptrace record -o /tmp/loss.eptrace --backend BACKEND --buffer 1 --ready-file ready -- \
    demos herd --json --mode lt --rhythm burst --workers 8 --connections 4000 &
tracer=$!
running() { kill -0 $tracer 2> /dev/null || { echo "eptrace ended too soon" >&2; exit 1; }; }
until [ -e ready ]; do running; usleep 10000; done
until demo=$(pidof demos) && [ -e /proc/$demo/task ]; do running; usleep 10000; done
kill -STOP $tracer
until grep -q '^State:.Z' /proc/$demo/status; do usleep 10000; done
kill -CONT $tracer
wait $tracer
"#;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for backend in ["fentry", "kprobe"] {
        cases.push(case(
            &format!("what a full buffer loses is counted and the rest is exact with {backend}"),
            CYCLE,
            backend,
            recovered,
        ));
    }
    cases
}

/// What the report says of a loss.
pub(super) fn verdict() -> Case {
    case("a verdict after losses says that it is incomplete", HERD, "fentry", incomplete)
}

fn case(name: &str, script: &str, backend: &str, check: fn(&Value, &Value) -> Result<()>) -> Case {
    Case {
        name: name.to_owned(),
        jobs: vec![
            Job::new(ON_PURPOSE, &["sh", "-c", &script.replace("BACKEND", backend)], 120),
            Job::new("the report", &["eptrace", "report", "--format", "json", "/tmp/loss.eptrace"], 60),
            Job::new("the removal", &["rm", "-f", "ready", "/tmp/loss.eptrace"], 10),
        ],
        check: Box::new(move |results| {
            check(&json(&results[0], "the recorded demo")?, &json(&results[1], "eptrace report --json")?)
        }),
    }
}

fn number(value: &Value, path: &str) -> Result<u64> {
    value.pointer(path).and_then(Value::as_u64).with_context(|| format!("no number {path} in {value}"))
}

/// Events that a hook lost, on all CPUs. Each row must name its CPU and the full buffer.
fn lost_by(report: &Value, hook: &str) -> Result<u64> {
    let rows =
        report.pointer("/lost/by").and_then(Value::as_array).context("the report does not say where losses are")?;
    let mut sum = 0;
    for row in rows.iter().filter(|row| row["hook"] == hook && row["loses_events"] == true) {
        ensure!(
            row["reason"] == "ring-full" && row["cpu"].is_u64(),
            "a loss without its CPU, or for another reason: {row}"
        );
        sum += number(row, "/count")?;
    }
    Ok(sum)
}

/// Each iteration is one callback, one wait and one scan: seen or lost.
fn recovered(demo: &Value, report: &Value) -> Result<()> {
    let waits = number(demo, "/truth/waits")?;
    ensure!(number(report, "/lost/total")? > 0, "nothing was lost, so nothing was tried");
    ensure!(report["complete"] == false, "a report with losses says that it is complete");
    for (hook, seen) in [("callback", "callbacks"), ("wait-exit", "waits"), ("scan", "scans")] {
        let (seen, lost) = (number(report, &format!("/totals/{seen}"))?, lost_by(report, hook)?);
        ensure!(lost > 0, "{hook} lost nothing");
        ensure!(seen + lost == waits, "{hook}: {seen} seen and {lost} lost are not {waits}");
    }
    // The reader went on in time to see the end, and to close what it had not seen end.
    ensure!(lost_by(report, "lifecycle")? == 0, "the end was lost too: {}", report["lost"]);
    ensure!(number(report, "/totals/waits_open")? == 0, "a wait is open for ever: {}", report["totals"]);
    // What it knew before the loss it does not claim after it, and what it claims is so.
    let audit = &report["audit"];
    ensure!(number(report, "/audit/comparisons")? > 0, "nothing was compared: {audit}");
    ensure!(number(report, "/audit/differences")? == 0, "the lists differ after a loss: {audit}");
    Ok(())
}

fn incomplete(_: &Value, report: &Value) -> Result<()> {
    ensure!(number(report, "/lost/total")? > 0, "nothing was lost, so nothing was tried");
    let rows = report.get("herd").and_then(Value::as_array).context("the report has no herd")?;
    let [row] = rows.as_slice() else { bail!("the report has {} listening sockets, not one", rows.len()) };
    ensure!(row.to_string().contains("incomplete"), "the verdict does not say that it is incomplete: {row}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{incomplete, recovered};
    use serde_json::{Value, json};

    fn report(seen: u64, reason: &str, differences: u64) -> Value {
        let row = |hook: &str| json!({"hook": hook, "cpu": 1, "reason": reason, "count": 4, "loses_events": true});
        json!({"complete": false, "totals": {"callbacks": seen, "waits": 6, "scans": 6, "waits_open": 0},
            "audit": {"comparisons": 9, "differences": differences},
            "lost": {"total": 12, "by": [row("callback"), row("wait-exit"), row("scan")]}})
    }

    #[test]
    fn what_is_seen_and_what_is_lost_must_be_all_there_was() {
        let demo = json!({"truth": {"waits": 10}});
        assert!(recovered(&demo, &report(6, "ring-full", 0)).is_ok());
        assert!(recovered(&demo, &report(7, "ring-full", 0)).is_err());
        assert!(recovered(&demo, &report(6, "recursion", 0)).is_err());
        assert!(recovered(&demo, &report(6, "ring-full", 1)).is_err());
    }

    #[test]
    fn a_verdict_that_hides_its_losses_fails() {
        let report = |verdict: &str| json!({"lost": {"total": 1}, "herd": [{"verdict": verdict}]});
        assert!(incomplete(&Value::Null, &report("incomplete")).is_ok());
        assert!(incomplete(&Value::Null, &report("herd")).is_err());
    }
}
