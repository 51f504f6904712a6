//! Truth and trace side by side.
//!
//! In: the line of JSON that the demo printed, and the JSON report of its trace. Out: both with the same keys, so that
//! equality is plain equality.

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::exec;
use crate::vm::plan::Ending;
use crate::vm::session::JobResult;

/// One run, compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Outcome {
    pub(crate) demo: String,
    pub(crate) mode: String,
    pub(crate) kernel: String,
    pub(crate) backend: String,
    pub(crate) truth: Value,
    pub(crate) traced: Value,
    pub(crate) lost: u64,
    pub(crate) equal: bool,
}

impl Outcome {
    /// Reads the outcome off the results of recording and JSON report.
    pub(crate) fn of(record: &JobResult, report: &JobResult) -> Result<(Self, Value)> {
        let truth = json(record, "the recorded demo")?;
        let report = json(report, "eptrace report --json")?;
        Ok((Self::compare(&truth, &report)?, report))
    }

    /// Sets the demo's line beside the report.
    pub(crate) fn compare(demo: &Value, report: &Value) -> Result<Self> {
        let truth = demo.get("truth").context("the demo printed no truth")?.clone();
        let traced = traced(&truth, report)?;
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let lost = report.pointer("/lost/total").and_then(Value::as_u64).context("the report has no lost.total")?;
        Ok(Self {
            demo: text(demo, "demo"),
            mode: text(demo, "mode"),
            kernel: text(report, "kernel"),
            backend: text(report, "backend"),
            equal: truth == traced,
            truth,
            traced,
            lost,
        })
    }

    /// The counts that differ, one line each.
    pub(crate) fn differences(&self) -> Vec<String> {
        let mut lines = Vec::new();
        differences("", &self.truth, &self.traced, &mut lines);
        lines
    }
}

/// What a job printed, as JSON; a job that failed is an error with its last words.
pub(crate) fn json(result: &JobResult, what: &str) -> Result<Value> {
    succeeded(result, what)?;
    serde_json::from_slice(&result.stdout).with_context(|| {
        format!(
            "{what} printed something that is not one JSON value:\n{}",
            exec::last_lines(&(result.out() + &result.err()), 10)
        )
    })
}

/// The lines of JSON among what a job printed; a job that failed is an error with its last words.
pub(crate) fn lines(result: &JobResult, what: &str) -> Result<Vec<Value>> {
    succeeded(result, what)?;
    let out = result.out();
    let parse = |line: &str| serde_json::from_str(line).with_context(|| format!("{what} printed no JSON: {line}"));
    out.lines().filter(|line| line.starts_with('{')).map(parse).collect()
}

/// Fails unless the job exited with 0.
pub(crate) fn succeeded(result: &JobResult, what: &str) -> Result<()> {
    match result.ending {
        Some(Ending::Exited(0)) => Ok(()),
        Some(ending) => bail!("{what} failed ({ending:?}):\n{}", exec::last_lines(&(result.out() + &result.err()), 20)),
        None => bail!("{what} did not end"),
    }
}

/// The report's counts, with exactly the keys that the truth has.
fn traced(truth: &Value, report: &Value) -> Result<Value> {
    let keys = truth.as_object().context("the truth is no object")?;
    let totals = report.get("totals").context("the report has no totals")?;
    let mut traced = restricted(keys.keys().filter(|key| *key != "workers"), totals);
    if let Some(workers) = keys.get("workers").and_then(Value::as_array) {
        let columns: Vec<String> =
            workers.first().and_then(Value::as_object).map(|row| row.keys().cloned().collect()).unwrap_or_default();
        let mut rows: Vec<&Value> = report
            .get("tasks")
            .and_then(Value::as_array)
            .context("the report has no tasks")?
            .iter()
            .filter(|task| number(task, "waits") > 0)
            .collect();
        rows.sort_by_key(|task| number(task, "tid"));
        let rows = rows.into_iter().map(|task| Value::Object(restricted(columns.iter(), task))).collect();
        traced.insert("workers".to_owned(), Value::Array(rows));
    }
    Ok(Value::Object(traced))
}

fn number(row: &Value, key: &str) -> u64 {
    row.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn restricted<'a>(keys: impl Iterator<Item = &'a String>, from: &Value) -> Map<String, Value> {
    keys.map(|key| (key.clone(), from.get(key).cloned().unwrap_or(Value::Null))).collect()
}

fn differences(path: &str, truth: &Value, traced: &Value, lines: &mut Vec<String>) {
    match (truth, traced) {
        (Value::Object(left), Value::Object(right)) => {
            for (key, value) in left {
                differences(&format!("{path}.{key}"), value, right.get(key).unwrap_or(&Value::Null), lines);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                differences(&format!("{path}[{index}]"), left, right, lines);
            }
        }
        (left, right) if left != right => {
            lines.push(format!("{}: truth {left}, traced {right}", path.trim_start_matches('.')));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, json, succeeded};
    use crate::vm::plan::Ending;
    use crate::vm::session::JobResult;
    use serde_json::{Value, json as value};

    fn demo() -> Value {
        value!({"demo": "herd", "mode": "lt", "pid": 5, "truth": {"ctl_add": 2, "waits": 5, "workers": [
            {"tid": 6, "waits": 3}, {"tid": 7, "waits": 2}]}})
    }

    fn report() -> Value {
        value!({"kernel": "6.1", "backend": "fentry", "lost": {"total": 0},
            "totals": {"ctl_add": 2, "ctl_mod": 0, "waits": 5},
            "tasks": [{"tid": 7, "waits": 2, "comm": "b"}, {"tid": 9, "waits": 0}, {"tid": 6, "waits": 3}]})
    }

    #[test]
    fn equal_counts_are_equal_whatever_else_the_report_says() {
        let outcome = Outcome::compare(&demo(), &report()).unwrap();
        assert!(outcome.equal && outcome.lost == 0, "{outcome:?}");
        assert_eq!(outcome.truth, outcome.traced);
        assert_eq!((outcome.kernel.as_str(), outcome.backend.as_str()), ("6.1", "fentry"));
    }

    #[test]
    fn every_difference_is_named() {
        let mut other = report();
        other["tasks"][0]["waits"] = value!(1);
        other["totals"]["waits"] = Value::Null;
        let outcome = Outcome::compare(&demo(), &other).unwrap();
        assert!(!outcome.equal);
        assert_eq!(outcome.differences(), ["waits: truth 5, traced null", "workers[1].waits: truth 2, traced 1"]);
    }

    #[test]
    fn a_worker_too_many_is_a_difference() {
        let mut other = report();
        other["tasks"][1]["waits"] = value!(1);
        assert!(!Outcome::compare(&demo(), &other).unwrap().equal);
    }

    #[test]
    fn a_report_without_losses_counted_is_an_error() {
        let mut other = report();
        other["lost"] = Value::Null;
        assert!(Outcome::compare(&demo(), &other).is_err());
    }

    #[test]
    fn jobs_that_fail_or_print_no_json_are_errors_with_their_last_words() {
        let result = |ending, out: &str| JobResult { stdout: out.into(), ending, ..JobResult::default() };
        let failed = json(&result(Some(Ending::Exited(2)), "no such hook"), "eptrace").unwrap_err();
        assert!(failed.to_string().contains("no such hook"));
        assert!(json(&result(Some(Ending::Exited(0)), "x"), "eptrace").is_err());
        assert!(succeeded(&result(None, ""), "eptrace").is_err());
    }
}
