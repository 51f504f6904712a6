//! The report of a trace: a plain tree, which every output format prints.

use serde::Serialize;

use super::herd::HerdRow;
use super::latency::LatencyRow;
use super::spread::Spread;
use super::verdict::Verdict;
use crate::event::HookInfo;
use crate::model::{Counts, Exceeded, ItemFlags, Memberships, Outcomes};

/// The version of [`Report`] and of what is printed as JSON. Fields may be added; a change of meaning raises it.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything that a trace says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`]
    pub schema_version: u32,
    /// `report`
    pub kind: &'static str,
    /// Version of eptrace that recorded the trace.
    pub eptrace: String,
    /// `uname -r`
    pub kernel: String,
    /// `uname -m`
    pub machine: String,
    /// What was traced, in words.
    pub target: String,
    /// `fentry`, `kprobe`, `mixed` or `none`.
    pub backend: String,
    /// When tracing began, RFC 3339; empty when it cannot be said.
    pub started: String,
    /// How long it went on, nanoseconds.
    pub duration_ns: u64,
    /// Every hook: how it was attached, or why not.
    pub hooks: Vec<HookInfo>,
    /// What cannot be seen, or not be excluded: whole sentences.
    pub limits: Vec<String>,
    /// Whether nothing is missing: nothing lost, nothing that did not fit the model.
    pub complete: bool,
    /// What was lost.
    pub lost: Lost,
    /// What did not fit the model.
    pub exceeded: Exceeded,
    /// Events in the trace.
    pub events: u64,
    /// Counts of the whole trace.
    pub totals: Totals,
    /// The fan-out of every listening socket.
    pub herd: Vec<HerdRow>,
    /// Every task that did something.
    pub tasks: Vec<TaskRow>,
    /// Every eventpoll.
    pub eventpolls: Vec<EventpollRow>,
    /// Every source.
    pub sources: Vec<SourceRow>,
    /// Stays on ready lists by their reasons.
    pub ready_list: Memberships,
    /// What came of comparing the model with the kernel's own lists; `None` without `--audit`.
    pub audit: Option<AuditRow>,
}

impl Report {
    /// Whether a listening socket has this verdict.
    #[must_use]
    pub fn has(&self, verdict: Verdict) -> bool {
        self.herd.iter().any(|row| row.verdict == verdict)
    }
}

/// The model against the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditRow {
    /// Walks of the kernel's lists that the model was compared with.
    pub comparisons: u64,
    /// Comparisons that did not agree.
    pub differences: u64,
    /// Those of them where several tasks act on the eventpoll, so that the order in which it is told may not be the kernel's.
    /// The others are mistakes of eptrace, or of
    /// lost events.
    pub contended: u64,
    /// Walks during which another CPU changed the lists: they say nothing.
    pub raced: u64,
    /// Walks that saw only the beginning of a long list.
    pub truncated: u64,
    /// Walks of which records are missing.
    pub incomplete: u64,
    /// Items left out of a comparison: their last callback raced with another change, so that its outcome is not known.
    pub doubtful: u64,
    /// The first differences, in full.
    pub first: Vec<DifferenceRow>,
}

/// One comparison that did not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DifferenceRow {
    /// Nanoseconds since tracing began.
    pub at_ns: u64,
    /// The eventpoll.
    pub eventpoll: String,
    /// What was compared.
    pub what: &'static str,
    /// Whether several tasks act on the eventpoll.
    pub contended: bool,
    /// Items that the kernel has and the model has not.
    pub missing: Vec<String>,
    /// Items that the model has and the kernel has not.
    pub surplus: Vec<String>,
}

/// What is missing from the trace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Everything, details of events included.
    pub total: u64,
    /// Events that are missing as a whole.
    pub events: u64,
    /// Where and why.
    pub by: Vec<LostRow>,
}

/// Losses of one place and reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostRow {
    /// The hook; `None` when it cannot be said.
    pub hook: Option<&'static str>,
    /// The CPU; `None` when it cannot be said.
    pub cpu: Option<u32>,
    /// Why.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
    /// Whether events are missing, not only details of them.
    pub loses_events: bool,
}

/// Counts of the whole trace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// What was counted of all tasks.
    #[serde(flatten)]
    pub counts: Counts,
    /// Wakes by listening sockets that were not useful.
    pub wasted: u64,
    /// Source wakeups.
    pub wakeups: u64,
    /// Callbacks.
    pub callbacks: u64,
    /// Callbacks inside callbacks.
    pub nested: u64,
    /// Scans of ready lists.
    pub scans: u64,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskRow {
    /// Its thread group.
    pub pid: u32,
    /// Its number.
    pub tid: u32,
    /// Its name; not a string to trust.
    pub comm: String,
    /// Its thread group's number in its own pid namespace, where that is not the initial one.
    pub ns_pid: Option<u32>,
    /// Its own number there.
    pub ns_tid: Option<u32>,
    /// Whether it lived when the trace ended.
    pub alive: bool,
    /// What it did.
    #[serde(flatten)]
    pub counts: Counts,
    /// Wakes by listening sockets that were not useful.
    pub wasted: u64,
}

/// One life of an eventpoll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventpollRow {
    /// `comm/pid:epfd`; not a string to trust.
    pub name: String,
    /// Which life of its address, from 1.
    pub generation: u64,
    /// Whether it was open when the trace ended.
    pub alive: bool,
    /// Items at the end.
    pub items: u64,
    /// Items it has had in all.
    pub items_ever: u64,
    /// Tasks that waited on it.
    pub tasks: usize,
    /// From the callback that put an item on the ready list to the end of the wait that returned it.
    pub callback_to_return: LatencyRow,
    /// From the callback that woke a task until it was awake.
    pub callback_to_wake: LatencyRow,
    /// From the wake of a task by a callback to the end of its wait with events.
    pub woken_to_return: LatencyRow,
}

/// One source of wakeups.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceRow {
    /// What it is called.
    pub name: String,
    /// What kind of file it is.
    pub kind: String,
    /// Whether connections are accepted from it.
    pub listening: bool,
    /// Whether it was open when the trace ended.
    pub alive: bool,
    /// Files that are taken together.
    pub files: usize,
    /// Source wakeups.
    pub wakeups: u64,
    /// What its callbacks did.
    pub callbacks: Outcomes,
    /// Items called back per source wakeup.
    pub called: Spread,
    /// Tasks woken per source wakeup.
    pub woken: Spread,
    /// Waits that ended with events, per source wakeup.
    pub returned: Spread,
    /// Waits after which the task got something; `None`: not observed for this kind of source.
    pub useful: Option<Spread>,
    /// Woken and not useful; `None`: not observed.
    pub wasted: Option<Spread>,
    /// Wakes after which the task slept on inside the same wait.
    pub swallowed: u64,
    /// Wakes by the wake chain of level-triggered items.
    pub chained: u64,
    /// Tasks taken off the wait queue while running anyway.
    pub already_running: u64,
    /// Callbacks of outer eventpolls inside its walks.
    pub nested: u64,
    /// Items by their flags.
    pub flags: ItemFlags,
}
