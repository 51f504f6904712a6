//! What text and Markdown have in common: the lines of a report before they are dressed.

use std::fmt::Write as _;

use super::ready_list;
use crate::analysis::{AuditRow, Comparison, HerdRow, Report, Side, Spread, TaskRow};

/// The most rows of a table; JSON has them all.
pub(crate) const MAX_ROWS: usize = 24;

/// The most values of a distribution that are written out.
const MAX_VALUES: usize = 8;

/// A table: headings, rows, and how many rows were left out.
#[derive(Debug, Clone, Default)]
pub(super) struct Grid {
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
    pub(super) more: usize,
}

impl Grid {
    pub(super) fn new<T>(head: &[&'static str], rows: &[T], row: impl Fn(&T) -> Vec<String>) -> Self {
        Self {
            head: head.to_vec(),
            rows: rows.iter().take(MAX_ROWS).map(row).collect(),
            more: rows.len().saturating_sub(MAX_ROWS),
        }
    }
}

/// What is missing, in sentences; empty when nothing is.
pub(super) fn alarms(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for row in &report.lost.by {
        let hook = row.hook.unwrap_or("an unknown hook");
        let cpu = row.cpu.map_or_else(|| "an unknown CPU".to_owned(), |cpu| format!("CPU {cpu}"));
        let what = if row.loses_events { "LOST" } else { "not in full" };
        lines.push(format!("{what}: {} from {hook} on {cpu} ({})", count(row.count, "event"), row.reason));
    }
    if lines.len() > MAX_ROWS {
        let more = lines.len() - MAX_ROWS;
        lines.truncate(MAX_ROWS);
        lines.push(format!("LOST: {more} more places, {} in all", count(report.lost.total, "event")));
    }
    if report.exceeded.touches_numbers() {
        lines.push(format!("NOT FOLLOWED, numbers may be too small: {}", exceeded(report)));
    }
    lines
}

fn exceeded(report: &Report) -> String {
    let e = &report.exceeded;
    let parts = [
        (e.eventpolls, "eventpolls"),
        (e.items, "items"),
        (e.files, "files"),
        (e.tasks, "tasks"),
        (e.wakeups, "wakeups"),
        (e.pairs, "pairs"),
        (e.cpus, "callbacks on further CPUs"),
        (e.walk_entries, "wait queue entries"),
        (e.batches, "scans"),
    ];
    let parts = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
    parts.collect::<Vec<_>>().join(", ")
}

/// Name and value of the facts that head a report.
pub(super) fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let hooks = report.hooks.iter().filter(|hook| !hook.backend.is_empty()).count();
    let mut facts = vec![
        ("kernel", format!("{} {}", report.kernel, report.machine)),
        ("target", report.target.clone()),
        ("hooks", format!("{hooks} of {} attached, backend {}", report.hooks.len(), report.backend)),
        ("started", report.started.clone()),
        ("duration", seconds(report.duration_ns)),
        ("events", report.events.to_string()),
    ];
    facts.retain(|(_, value)| !value.trim().is_empty());
    facts
}

/// Sentences on what cannot be seen or excluded, and on hooks that are not attached.
pub(super) fn remarks(report: &Report) -> Vec<String> {
    let missing = report.hooks.iter().filter(|hook| hook.backend.is_empty() && !hook.missing.is_empty());
    let missing = missing.map(|hook| format!("Hook {} is not attached: {}", hook.hook, hook.missing));
    report.limits.iter().cloned().chain(missing).take(MAX_ROWS).collect()
}

/// Who waits where.
pub(super) fn herd_size(row: &HerdRow) -> String {
    let mut size = format!(
        "{}, {}, {}, {}, {} accepted, {} EAGAIN",
        count_of(row.sockets, "socket"),
        count_of(row.workers, "worker"),
        count_of(row.eventpolls, "eventpoll"),
        count(row.wakeups, "source wakeup"),
        row.accepts,
        row.accept_eagain,
    );
    let further = [
        (row.swallowed, "swallowed inside epoll_wait"),
        (row.chained, "woken by the wake chain"),
        (row.already_running, "already running"),
        (row.unfinished, "unfinished at the end"),
    ];
    for (number, what) in further.into_iter().filter(|(number, _)| *number > 0) {
        let _ = write!(size, ", {number} {what}");
    }
    size
}

/// The fan-out of a listening socket.
pub(super) fn fan_out(row: &HerdRow) -> Grid {
    let spreads = [
        ("called", &row.called),
        ("woken", &row.woken),
        ("returned", &row.returned),
        ("useful", &row.useful),
        ("wasted", &row.wasted),
    ];
    Grid::new(&["per wakeup", "total", "mean", "max", "distribution"], &spreads, |(name, spread)| {
        let mean = format!("{:.2}", spread.mean);
        vec![(*name).to_owned(), spread.total.to_string(), mean, spread.max.to_string(), distribution(spread)]
    })
}

/// The tasks of a listening socket.
pub(super) fn herd_tasks(row: &HerdRow) -> Grid {
    Grid::new(&["task", "woken", "returned", "useful", "wasted", "accepts", "EAGAIN"], &row.tasks, |task| {
        let numbers = [task.woken, task.returned, task.useful, task.wasted, task.accepts, task.accept_eagain];
        labelled(task_name(&task.comm, task.pid, task.tid), &numbers)
    })
}

/// All tasks.
pub(super) fn tasks(report: &Report) -> Grid {
    let head = ["task", "waits", "returned", "events", "timeouts", "woken", "wasted", "swallowed", "accepts", "EAGAIN"];
    Grid::new(&head, &report.tasks, |task| {
        let c = &task.counts;
        let numbers = [
            c.waits,
            c.waits_returned,
            c.events,
            c.timeouts,
            c.woken,
            task.wasted,
            c.swallowed,
            c.accepts,
            c.accept_eagain,
        ];
        labelled(task_in_namespace(task), &numbers)
    })
}

/// All eventpolls.
pub(super) fn eventpolls(report: &Report) -> Grid {
    Grid::new(&["eventpoll", "life", "items", "items ever", "tasks", "open"], &report.eventpolls, |ep| {
        let open = if ep.alive { "yes" } else { "no" };
        let numbers = [ep.generation, ep.items, ep.items_ever, u64::try_from(ep.tasks).unwrap_or(u64::MAX)];
        let mut row = labelled(ep.name.clone(), &numbers);
        row.push(open.to_owned());
        row
    })
}

/// All sources: what their wakeups came to.
pub(super) fn sources(report: &Report) -> Grid {
    Grid::new(&["source", "wakeups", "called", "woken", "returned", "wasted"], &report.sources, |source| {
        let numbers = [source.wakeups, source.called.total, source.woken.total, source.returned.total];
        let mut row = labelled(source.name.clone(), &numbers);
        row.push(source.wasted.as_ref().map_or_else(|| "not observed".to_owned(), |wasted| wasted.total.to_string()));
        row
    })
}

/// All sources: what their callbacks did.
pub(super) fn callbacks(report: &Report) -> Grid {
    let head = ["callbacks of", "linked", "overflow", "already", "filtered", "disabled"];
    Grid::new(&head, &report.sources, |source| {
        let c = &source.callbacks;
        let already = c.already_linked.saturating_add(c.already_ovflist);
        let numbers = [c.linked, c.ovflist, already, c.filtered, c.disabled];
        labelled(source.name.clone(), &numbers)
    })
}

/// Totals, as sentences.
pub(super) fn totals(report: &Report) -> Vec<String> {
    let t = &report.totals;
    let c = &t.counts;
    let mut lines = vec![
        format!("epoll_ctl: {} ADD, {} MOD, {} DEL, {} failed", c.ctl_add, c.ctl_mod, c.ctl_del, c.ctl_failed),
        format!(
            "epoll_wait: {} ended, {} with {}, {} timed out, {} interrupted, {} failed, {} not ended",
            c.waits,
            c.waits_returned,
            count(c.events, "event"),
            c.timeouts,
            c.interrupted,
            c.wait_errors,
            c.waits_open,
        ),
        format!("accept: {} accepted, {} EAGAIN, {} failed", c.accepts, c.accept_eagain, c.accept_failed),
        format!(
            "wakes: {}, {} tasks woken, {} wasted, {} swallowed, {} already running, {} without a source",
            count(t.wakeups, "source wakeup"),
            c.woken,
            t.wasted,
            c.swallowed,
            c.already_running,
            c.other_wakes,
        ),
    ];
    lines.extend(ready_list::lines(&report.ready_list));
    if c.uring_waits > 0 {
        lines.insert(2, format!("io_uring EPOLL_WAIT: {} ended with events or an error", c.uring_waits));
    }
    if let Some(audit) = &report.audit {
        lines.extend(audit_lines(audit, !report.complete || !report.limits.is_empty()));
    }
    lines
}

fn audit_lines(audit: &AuditRow, may_miss: bool) -> Vec<String> {
    let mut lines = vec![format!(
        "audit: {}, {}, {} raced, {} cut short, {} incomplete, {} in doubt",
        count(audit.comparisons, "comparison"),
        count(audit.differences, "difference"),
        count(audit.raced, "walk"),
        audit.truncated,
        audit.incomplete,
        count(audit.doubtful, "item"),
    )];
    for row in &audit.first {
        let list = |items: &[String]| if items.is_empty() { "nothing".to_owned() } else { items.join(", ") };
        lines.push(format!(
            "audit: {}.{:06} s, {} of {}, {}: only the kernel has {}; only the model has {}",
            row.at_ns / 1_000_000_000,
            row.at_ns % 1_000_000_000 / 1_000,
            row.what,
            row.eventpoll,
            if row.contended { "where several tasks act" } else { "where one task acts" },
            list(&row.missing),
            list(&row.surplus),
        ));
    }
    if audit.contended > 0 {
        lines.push(format!("audit: {} {AUDIT_CONTENDED}", of_differences(audit.contended)));
    }
    let alone = audit.differences.saturating_sub(audit.contended);
    if alone > 0 {
        let why = if may_miss { AUDIT_MISSING } else { AUDIT_MISTAKE };
        lines.push(format!("audit: {} {AUDIT_ALONE}: {why}", of_differences(alone)));
    }
    lines
}

fn of_differences(number: u64) -> String {
    format!("{number} {}", if number == 1 { "difference is" } else { "differences are" })
}

/// What a difference means where several tasks act.
const AUDIT_CONTENDED: &str = "where several tasks act on the eventpoll: what they do at the same time can be told in another order than the \
    kernel did it";
/// What a difference means where one task acts.
const AUDIT_ALONE: &str = "where one task alone acts on the eventpoll";
const AUDIT_MISTAKE: &str = "a mistake of eptrace, please report it";
const AUDIT_MISSING: &str =
    "a mistake of eptrace, or of events that are missing (lost, or not to be seen on this kernel)";

/// Before and after, number by number.
pub(super) fn comparison(before: &Side, after: &Side) -> Grid {
    let numbers = |name: &str, left: (u64, f64), right: (u64, f64)| {
        let mean = |value: f64| format!("{value:.2}");
        vec![name.to_owned(), left.0.to_string(), mean(left.1), right.0.to_string(), mean(right.1)]
    };
    let plain =
        |name: &str, left: String, right: String| vec![name.to_owned(), left, String::new(), right, String::new()];
    Grid {
        head: vec!["per wakeup", "before", "mean", "after", "mean"],
        rows: vec![
            plain("verdict", before.verdict.name().to_owned(), after.verdict.name().to_owned()),
            plain("workers", before.workers.to_string(), after.workers.to_string()),
            plain("wakeups", before.wakeups.to_string(), after.wakeups.to_string()),
            numbers("called", before.called, after.called),
            numbers("woken", before.woken, after.woken),
            numbers("returned", before.returned, after.returned),
            numbers("useful", before.useful, after.useful),
            numbers("wasted", before.wasted, after.wasted),
            plain("accepts", before.accepts.to_string(), after.accepts.to_string()),
        ],
        more: 0,
    }
}

/// What the head of a comparison warns of.
pub(super) fn comparison_alarms(comparison: &Comparison) -> Vec<String> {
    let sides = [("before", comparison.lost_before), ("after", comparison.lost_after)];
    let lost = sides.into_iter().filter(|(_, lost)| *lost > 0);
    let mut lines: Vec<String> = lost.map(|(side, lost)| format!("LOST {side}: {}", count(lost, "event"))).collect();
    if lines.is_empty() && !comparison.complete {
        lines.push("NOT FOLLOWED: the model had no room for everything, numbers may be too small".to_owned());
    }
    lines
}

/// `comm/pid/tid`
pub(crate) fn task_name(comm: &str, pid: u32, tid: u32) -> String {
    let comm = if comm.is_empty() { "?" } else { comm };
    if pid == tid { format!("{comm}/{pid}") } else { format!("{comm}/{pid}/{tid}") }
}

/// `comm/pid/tid`, and the numbers in the task's own pid namespace where it has one.
fn task_in_namespace(task: &TaskRow) -> String {
    let name = task_name(&task.comm, task.pid, task.tid);
    match (task.ns_pid, task.ns_tid) {
        (Some(pid), Some(tid)) if pid == tid => format!("{name} (in its namespace {pid})"),
        (Some(pid), Some(tid)) => format!("{name} (in its namespace {pid}/{tid})"),
        _ => name,
    }
}

/// Nanoseconds as seconds, microseconds kept.
pub(super) fn seconds(ns: u64) -> String {
    format!("{}.{:06} s", ns / 1_000_000_000, ns % 1_000_000_000 / 1_000)
}

fn labelled(name: String, numbers: &[u64]) -> Vec<String> {
    std::iter::once(name).chain(numbers.iter().map(u64::to_string)).collect()
}

fn distribution(spread: &Spread) -> String {
    let mut values: Vec<String> = spread.histogram.iter().map(|(value, times)| format!("{value}: {times}×")).collect();
    if values.len() > MAX_VALUES {
        values.truncate(MAX_VALUES);
        values.push("…".to_owned());
    }
    values.join(", ")
}

pub(super) fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn count_of(number: usize, what: &str) -> String {
    count(u64::try_from(number).unwrap_or(u64::MAX), what)
}

/// That nothing is missing, as far as this kernel can tell.
pub(super) fn nothing_lost(report: &Report) -> &'static str {
    if report.limits.is_empty() {
        "complete: nothing was lost"
    } else {
        "nothing was counted as lost; the notes say what this kernel cannot show"
    }
}

#[cfg(test)]
mod tests {
    use super::{AUDIT_ALONE, AUDIT_CONTENDED, AUDIT_MISSING, AUDIT_MISTAKE, audit_lines};
    use crate::analysis::{AuditRow, DifferenceRow};

    #[test]
    fn a_difference_is_told_in_full_and_explained() {
        let mut audit = AuditRow {
            comparisons: 9,
            differences: 0,
            contended: 0,
            raced: 2,
            truncated: 0,
            incomplete: 0,
            doubtful: 1,
            first: Vec::new(),
        };
        let head = "audit: 9 comparisons, 0 differences, 2 walks raced, 0 cut short, 0 incomplete, 1 item in doubt";
        assert_eq!(audit_lines(&audit, false), [head]);
        audit.differences = 1;
        audit.first.push(DifferenceRow {
            at_ns: 2_000_003_000,
            eventpoll: "demo/7:3".to_owned(),
            what: "the ready list",
            contended: false,
            missing: vec!["fd 5".to_owned()],
            surplus: Vec::new(),
        });
        let only = |who: &str| {
            format!(
                "audit: 2.000003 s, the ready list of demo/7:3, where {who}: only the kernel has fd 5; only the model has nothing"
            )
        };
        let alone = |why: &str| format!("audit: 1 difference is {AUDIT_ALONE}: {why}");
        assert_eq!(audit_lines(&audit, false)[1..], [only("one task acts"), alone(AUDIT_MISTAKE)]);
        assert_eq!(audit_lines(&audit, true)[1..], [only("one task acts"), alone(AUDIT_MISSING)]);
        audit.differences = 3;
        audit.contended = 2;
        audit.first[0].contended = true;
        let contended = format!("audit: 2 differences are {AUDIT_CONTENDED}");
        assert_eq!(audit_lines(&audit, false)[1..], [only("several tasks act"), contended, alone(AUDIT_MISTAKE)]);
    }
}
