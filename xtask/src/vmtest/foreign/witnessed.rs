//! What an independent witness counted for each thread, beside the report's rows for the same threads.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The columns of a report's task that every witness knows.
pub(super) const EPOLL: [&str; 12] = [
    "ctl_add",
    "ctl_mod",
    "ctl_del",
    "ctl_other",
    "ctl_failed",
    "waits",
    "waits_returned",
    "events",
    "timeouts",
    "interrupted",
    "wait_errors",
    "waits_open",
];
/// Those of programs that accept connections.
pub(super) const ACCEPT: [&str; 3] = ["accepts", "accept_eagain", "accept_failed"];

/// Counts by column.
pub(super) type Counts = BTreeMap<String, u64>;

/// A thread as the witness saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Thread {
    pub(super) tid: u64,
    pub(super) counts: Counts,
}

impl Thread {
    pub(super) fn count(&self, column: &str) -> u64 {
        self.counts.get(column).copied().unwrap_or(0)
    }
}

/// A number of a report's row.
pub(super) fn number(row: &Value, column: &str) -> Result<u64> {
    row.get(column).and_then(Value::as_u64).with_context(|| format!("no number `{column}` in {row}"))
}

/// The report's rows by thread. Thread numbers do not come back within one boot, for far fewer than `pid_max` are used.
pub(super) fn rows(report: &Value) -> Result<BTreeMap<u64, &Value>> {
    let tasks = report.get("tasks").and_then(Value::as_array).context("the report has no tasks")?;
    let rows: BTreeMap<u64, &Value> = tasks.iter().map(|row| Ok((number(row, "tid")?, row))).collect::<Result<_>>()?;
    ensure!(rows.len() == tasks.len(), "a thread has two rows in the report");
    Ok(rows)
}

/// A count that differs: by how much, and in words.
pub(super) type Difference = (u64, String);

/// Every count of every thread, on both sides.
pub(super) fn differences(threads: &[Thread], report: &Value, columns: &[&str]) -> Result<Vec<Difference>> {
    ensure!(!threads.is_empty(), "the witness saw no thread");
    let rows = rows(report)?;
    let mut found = Vec::new();
    for thread in threads {
        for &column in columns {
            let told = rows.get(&thread.tid).map_or(Ok(0), |row| number(row, column))?;
            let seen = thread.count(column);
            if seen != told {
                let words = format!("thread {}: {column}: witness {seen}, report {told}", thread.tid);
                found.push((seen.abs_diff(told), words));
            }
        }
    }
    let known: BTreeSet<u64> = threads.iter().map(|thread| thread.tid).collect();
    for (tid, row) in rows.iter().filter(|(tid, _)| !known.contains(tid)) {
        for &column in columns {
            let told = number(row, column)?;
            if told != 0 {
                found.push((told, format!("thread {tid}: {column}: unknown to the witness, report {told}")));
            }
        }
    }
    Ok(found)
}

/// Nothing is lost, and every count is the witness's.
pub(super) fn equal(threads: &[Thread], report: &Value, columns: &[&str]) -> Result<()> {
    nothing_lost(report)?;
    let found = differences(threads, report, columns)?;
    ensure!(found.is_empty(), "the counts are not the witness's:\n{}", words(&found));
    Ok(())
}

/// The differences, a line each.
pub(super) fn words(found: &[Difference]) -> String {
    found.iter().map(|(_, words)| words.as_str()).collect::<Vec<_>>().join("\n")
}

pub(super) fn nothing_lost(report: &Value) -> Result<()> {
    let lost = report.get("lost").context("the report has no losses")?;
    ensure!(number(lost, "events")? == 0, "events were lost: {lost}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Thread, differences, equal};
    use serde_json::{Value, json};

    fn thread(tid: u64, waits: u64) -> Thread {
        Thread { tid, counts: [("waits".to_owned(), waits)].into() }
    }

    fn report(rows: &Value) -> Value {
        json!({"lost": {"events": 0}, "tasks": rows})
    }

    #[test]
    fn a_thread_may_be_missing_on_neither_side() {
        let one = report(&json!([{"tid": 1, "waits": 3}]));
        assert!(equal(&[thread(1, 3)], &one, &["waits"]).is_ok());
        assert!(equal(&[thread(1, 2)], &one, &["waits"]).is_err());
        assert!(equal(&[thread(1, 3), thread(2, 1)], &one, &["waits"]).is_err());
        assert_eq!(differences(&[thread(2, 0)], &one, &["waits"]).unwrap().len(), 1);
        assert!(equal(&[], &one, &["waits"]).is_err());
    }

    #[test]
    fn threads_that_did_nothing_need_no_row() {
        assert!(equal(&[thread(1, 0)], &report(&json!([])), &["waits"]).is_ok());
        assert!(equal(&[thread(1, 0)], &report(&json!([{"tid": 2, "waits": 0}])), &["waits"]).is_ok());
    }

    #[test]
    fn a_loss_or_a_missing_column_is_an_error() {
        let lossy = json!({"lost": {"events": 1}, "tasks": []});
        assert!(equal(&[thread(1, 0)], &lossy, &["waits"]).is_err());
        assert!(equal(&[thread(1, 0)], &report(&json!([{"tid": 1}])), &["waits"]).is_err());
    }
}
