//! What a kernel itself skips. One that preempts a task inside a probe skips the probes that run meanwhile on the same CPU (7.x with
//! lazy preemption). Any kernel skips a kprobe that is hit in an interrupt of another, since both are handled by one guard
//! (`trace_call_bpf`, `kernel/trace/bpf_trace.c`; `kprobe_ftrace_handler`, `arch/x86/kernel/kprobes/ftrace.c`), and a callback can come in
//! an interrupt. A few records are lost, which the report counts from 6.7 on, with the reason `recursion` or `skipped`. And a kernel
//! that has few instances of a kretprobe (5.10) loses ends of scans and of files beyond them, with the reason `no-exit`.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// At most one record in so many may be lost this way, and a few in any case.
const ONE_IN: u64 = 500;
const FEW: u64 = 8;
/// The first of Debian's kernels that preempts.
const FIRST: u32 = 7;
/// What the kernel itself skipped; nothing else is forgiven.
pub(super) const REASONS: [&str; 2] = ["recursion", "skipped"];

/// How many events the kernel skipped; an error when others were lost, or too many.
pub(super) fn lost(report: &Value) -> Result<u64> {
    let lost = report.get("lost").context("the report has no losses")?;
    let by = lost.get("by").and_then(Value::as_array).context("the report does not say where losses are")?;
    let number = |row: &Value, key: &str| {
        row.get(key)
            .and_then(Value::as_u64)
            .with_context(|| format!("no number `{key}` in the report's losses: {lost}"))
    };
    let beyond: u64 =
        by.iter().filter(|row| beyond_instances(report, row)).map(|row| number(row, "count")).sum::<Result<_>>()?;
    let events = number(lost, "events")?.saturating_sub(beyond);
    let all = number(report, "events")?;
    let skipped = by
        .iter()
        .filter(|row| row["loses_events"] == true && !beyond_instances(report, row))
        .all(|row| row["reason"].as_str().is_some_and(|reason| REASONS.contains(&reason)));
    let kernel = report["kernel"].as_str().unwrap_or_default();
    ensure!(events == 0 || skips(report), "events were lost on {kernel}, which skips no such probe: {lost}");
    ensure!(skipped, "events were lost that the kernel did not skip: {lost}");
    ensure!(events <= (all / ONE_IN).max(FEW), "the kernel skipped {events} of {all} events: {lost}");
    Ok(events)
}

/// Whether the kernel of a report is one that preempts, or its probes are such that an interrupt makes the kernel skip one.
pub(super) fn skips(report: &Value) -> bool {
    let kernel = report["kernel"].as_str().unwrap_or_default();
    let major = kernel.split('.').next().and_then(|major| major.parse().ok());
    report["backend"] == "kprobe" || major.is_some_and(|major: u32| major >= FIRST)
}

/// Whether the kernel may have skipped kprobes without counting them, which the report says: before 6.7.
pub(super) fn uncounted(report: &Value) -> bool {
    let mut limits = report["limits"].as_array().into_iter().flatten().filter_map(Value::as_str);
    limits.any(|limit| limit.contains("cannot count the kprobes that it skips"))
}

/// Whether events are missing that the kernel skipped, or may be.
pub(super) fn may_have_skipped(report: &Value) -> bool {
    uncounted(report) || report["lost"]["events"].as_u64() != Some(0)
}

/// Whether ends of scans and of files may be lost for want of instances: without preemption 5.10 has as many as processors
/// (`register_kretprobe`, kernel/kprobes.c), two here. Scans are inside each other where eventpolls are, and the end of a file sleeps.
pub(super) fn has_few_instances(report: &Value) -> bool {
    report["kernel"].as_str().is_some_and(|kernel| kernel.starts_with("5.10."))
}

fn beyond_instances(report: &Value, row: &Value) -> bool {
    has_few_instances(report) && (row["hook"] == "scan" || row["hook"] == "release") && row["reason"] == "no-exit"
}

/// Losses are there, they are few or those of a kernel with few instances, and the report says so.
pub(super) fn lost_little(report: &Value) -> Result<()> {
    lost(report)?;
    let events = report["lost"]["events"].as_u64().unwrap_or(0);
    ensure!(events > 0, "no event is said to be lost: {}", report["lost"]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{lost, lost_little, uncounted};
    use serde_json::{Value, json};

    fn report(events: u64, reason: &str) -> Value {
        json!({"kernel": "7.2.12+deb13-cloud-amd64", "backend": "fentry", "events": 10_000, "lost": {"events": events, "by": [
            {"reason": reason, "count": events, "loses_events": events > 0}]}})
    }

    #[test]
    fn only_a_few_records_may_be_lost_and_only_those_that_the_kernel_skips() {
        assert_eq!(lost(&report(0, "recursion")).unwrap(), 0);
        assert_eq!(lost(&report(20, "skipped")).unwrap(), 20);
        assert!(lost(&report(21, "recursion")).is_err());
        let mut short = report(8, "recursion");
        short["events"] = json!(100);
        assert_eq!(lost(&short).unwrap(), 8);
        assert!(lost(&report(1, "ring-full")).is_err());
        assert!(lost_little(&report(1, "recursion")).is_ok());
        assert!(lost_little(&report(0, "recursion")).is_err());
        let mut older = report(1, "recursion");
        older["kernel"] = json!("6.12.117+deb13-cloud-amd64");
        assert!(lost(&older).is_err());
        older["backend"] = json!("kprobe");
        assert_eq!(lost(&older).unwrap(), 1);
        assert!(lost(&json!({})).is_err());
    }

    #[test]
    fn a_report_says_whether_skipped_kprobes_are_counted() {
        let limit =
            "Linux 6.1 cannot count the kprobes that it skips (6.7 and later can): an event cannot be excluded.";
        assert!(uncounted(&json!({"limits": ["a", limit]})));
        assert!(!uncounted(&json!({"limits": ["a"]})));
        assert!(!uncounted(&json!({})));
    }

    #[test]
    fn only_a_kernel_with_few_instances_may_lose_ends_of_scans() {
        let report = |kernel: &str, hook: &str| {
            json!({"kernel": kernel, "events": 10_000, "lost": {"events": 6, "by": [
                {"hook": hook, "reason": "no-exit", "count": 6, "loses_events": true}]}})
        };
        assert_eq!(lost(&report("5.10.0-46-cloud-amd64", "scan")).unwrap(), 0);
        assert!(lost_little(&report("5.10.0-46-cloud-amd64", "scan")).is_ok());
        assert_eq!(lost(&report("5.10.0-46-cloud-amd64", "release")).unwrap(), 0);
        assert!(lost(&report("5.10.0-46-cloud-amd64", "ctl")).is_err());
        assert!(lost(&report("6.1.0-56-cloud-amd64", "scan")).is_err());
    }
}
