//! What a trace is made of: what the probes saw, what was lost, and the facts that hold for the whole trace.
//!
//! In: nothing. Out: the types that `decode` and `trace_file` produce and `model` consumes. Everything here was seen; what is
//! derived from it (identity, generation, state) is the model's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tracer_common::Hook;
pub use tracer_common::events::{
    Accept, Audited, AuditedItem, Callback, Ctl, EventpollGone, EventpollSeen, FileEnds, FileGone, FileInfo, Fork,
    Frame, Hooked, Io, ItemSeen, Path, Raced, Returned, Scan, Stack, Symbol, TaskExit, TaskName, TaskPid, WaitEnter,
    WaitExit, Wake, WakeCause,
};
pub use tracer_common::{Header, Miss};

/// One row of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// `epoll_ctl` ended.
    Ctl(Ctl),
    /// An ADD installed a wait queue hook.
    Hooked(Hooked),
    /// A source called back.
    Callback(Callback),
    /// An eventpoll's waiter was taken off its wait queue.
    Wake(Wake),
    /// A wait began.
    WaitEnter(WaitEnter),
    /// A wait ended.
    WaitExit(WaitExit),
    /// One event of the wait that ended just before, on the same CPU and task.
    Returned(Returned),
    /// A ready list was scanned.
    Scan(Scan),
    /// `accept` ended.
    Accept(Accept),
    /// A call on a watched file ended, or will sleep, or closes it.
    Io(Io),
    /// A task that a callback woke is on a CPU.
    Path(Path),
    /// With which user stack the call that follows was made.
    Stack(Stack),
    /// One address of a user stack.
    Frame(Frame),
    /// What an address of a process stands for.
    Symbol(Symbol),
    /// A task was made.
    Fork(Fork),
    /// A task's name became known.
    TaskName(TaskName),
    /// A task has other numbers in its own pid namespace.
    TaskPid(TaskPid),
    /// A task ended.
    TaskExit(TaskExit),
    /// A watched file is gone.
    FileGone(FileGone),
    /// An eventpoll is gone.
    EventpollGone(EventpollGone),
    /// What a registered file is.
    FileInfo(FileInfo),
    /// An eventpoll that was open before tracing began.
    EventpollSeen(EventpollSeen),
    /// An item that an eventpoll had before tracing began.
    ItemSeen(ItemSeen),
    /// A callback's state is not certain.
    Raced(Raced),
    /// A walk of the kernel's lists is over.
    Audited(Audited),
    /// One item of the walk that is over next.
    AuditedItem(AuditedItem),
    /// A watched file begins to end.
    FileEnds(FileEnds),
    /// Something was lost.
    Loss(Loss),
    /// Tracing began or ended.
    Mark(Mark),
}

impl Event {
    /// When it happened: nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn ts_ns(&self) -> u64 {
        match self.header() {
            Some(header) => header.ts_ns,
            None => match self {
                Self::Loss(loss) => loss.ts_ns,
                Self::Mark(mark) => mark.ts_ns,
                _ => 0,
            },
        }
    }

    /// The hook that saw it; `None` for rows that the collector made.
    #[must_use]
    pub const fn hook(&self) -> Option<Hook> {
        match self {
            Self::Ctl(_) => Some(Hook::Ctl),
            Self::Hooked(_) | Self::FileInfo(_) => Some(Hook::Hooked),
            Self::Callback(_) => Some(Hook::Callback),
            Self::Wake(_) => Some(Hook::Wake),
            Self::WaitEnter(_) => Some(Hook::WaitEnter),
            Self::WaitExit(_) | Self::Returned(_) => Some(Hook::WaitExit),
            Self::Scan(_) => Some(Hook::Scan),
            Self::Accept(_) => Some(Hook::Accept),
            Self::Io(_) => Some(Hook::Io),
            Self::Path(_) => Some(Hook::Path),
            Self::Stack(_) | Self::Frame(_) | Self::Symbol(_) => Some(Hook::Stack),
            Self::Fork(_) | Self::TaskName(_) | Self::TaskPid(_) | Self::TaskExit(_) => Some(Hook::Lifecycle),
            Self::FileGone(_) | Self::EventpollGone(_) => Some(Hook::Release),
            Self::EventpollSeen(_) | Self::ItemSeen(_) => Some(Hook::Inventory),
            Self::Raced(_) | Self::Audited(_) | Self::AuditedItem(_) | Self::FileEnds(_) => Some(Hook::Audit),
            Self::Loss(_) | Self::Mark(_) => None,
        }
    }

    /// The probe's header; `None` for rows that the collector made.
    #[must_use]
    pub const fn header(&self) -> Option<&Header> {
        match self {
            Self::Ctl(e) => Some(&e.header),
            Self::Hooked(e) => Some(&e.header),
            Self::Callback(e) => Some(&e.header),
            Self::Wake(e) => Some(&e.header),
            Self::WaitEnter(e) => Some(&e.header),
            Self::WaitExit(e) => Some(&e.header),
            Self::Returned(e) => Some(&e.header),
            Self::Scan(e) => Some(&e.header),
            Self::Accept(e) => Some(&e.header),
            Self::Io(e) => Some(&e.header),
            Self::Path(e) => Some(&e.header),
            Self::Stack(e) => Some(&e.header),
            Self::Frame(e) => Some(&e.header),
            Self::Symbol(e) => Some(&e.header),
            Self::Fork(e) => Some(&e.header),
            Self::TaskName(e) => Some(&e.header),
            Self::TaskPid(e) => Some(&e.header),
            Self::TaskExit(e) => Some(&e.header),
            Self::FileGone(e) => Some(&e.header),
            Self::EventpollGone(e) => Some(&e.header),
            Self::FileInfo(e) => Some(&e.header),
            Self::EventpollSeen(e) => Some(&e.header),
            Self::ItemSeen(e) => Some(&e.header),
            Self::Raced(e) => Some(&e.header),
            Self::Audited(e) => Some(&e.header),
            Self::AuditedItem(e) => Some(&e.header),
            Self::FileEnds(e) => Some(&e.header),
            Self::Loss(_) | Self::Mark(_) => None,
        }
    }
}

/// Events that are missing from the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// When it was counted, nanoseconds of `CLOCK_MONOTONIC`: the loss happened before this, and after the last such row.
    pub ts_ns: u64,
    /// Where; `None` when it cannot be said (a record that could not be read).
    pub hook: Option<Hook>,
    /// On which CPU; `None` when it cannot be said.
    pub cpu: Option<u32>,
    /// Why.
    pub reason: LossReason,
    /// How many since the last such row.
    pub count: u64,
}

/// Why events are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LossReason {
    /// The probe ran and could not report.
    Probe(Miss),
    /// The kernel skipped the probe: kprobe `missed`, kretprobe instances exhausted.
    Skipped,
    /// The kernel skipped the program: BPF recursion.
    Recursion,
    /// The record came too late to be put in order; it is left out.
    Late,
    /// The record was of an unknown kind.
    UnknownKind,
    /// The record was shorter than its kind, or its fields made no sense.
    Malformed,
}

impl LossReason {
    /// Every reason, in a fixed order.
    pub const ALL: [Self; 12] = [
        Self::Probe(Miss::RingFull),
        Self::Probe(Miss::MapFull),
        Self::Probe(Miss::ReadFailed),
        Self::Probe(Miss::NoEntry),
        Self::Probe(Miss::Truncated),
        Self::Probe(Miss::TooDeep),
        Self::Probe(Miss::NoExit),
        Self::Skipped,
        Self::Recursion,
        Self::Late,
        Self::UnknownKind,
        Self::Malformed,
    ];

    /// The name that outputs and trace files use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Probe(miss) => miss.name(),
            Self::Skipped => "skipped",
            Self::Recursion => "recursion",
            Self::Late => "late",
            Self::UnknownKind => "unknown-kind",
            Self::Malformed => "malformed",
        }
    }

    /// Whether it means, at this hook, that an event itself is missing, rather than a detail of one.
    ///
    /// `NoEntry` is a call that began before tracing did, but for a wake-up, which is too short for that; `Truncated` a wait whose
    /// number of events is exact. A walk of the audit that could not be read is a comparison that was not made. A call without its user
    /// stack is a call all the same.
    #[must_use]
    pub fn loses_events(self, hook: Option<Hook>) -> bool {
        match self {
            _ if hook == Some(Hook::Stack) => false,
            Self::Probe(Miss::NoEntry) => hook == Some(Hook::Wake),
            Self::Probe(Miss::ReadFailed) => hook != Some(Hook::Audit),
            Self::Probe(Miss::Truncated) => false,
            _ => true,
        }
    }
}

/// A moment of the tracer itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub ts_ns: u64,
    /// Which moment.
    pub what: MarkKind,
}

/// The moments of the tracer itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MarkKind {
    /// All probes were on.
    Started,
    /// The probes were switched off; everything before was collected.
    Stopped,
}

/// The facts that hold for a whole trace; they stand in the trace file's metadata as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TraceInfo {
    /// Version of eptrace that recorded it.
    pub eptrace: String,
    /// `uname -r`
    pub kernel: String,
    /// `uname -m`
    pub machine: String,
    /// CPUs that the kernel may use.
    pub cpus: u32,
    /// What was traced, in words: `-- nginx -c x`, `pid 12, 13`, `every process`.
    pub target: String,
    /// Wall clock at `monotonic_ns`, nanoseconds since 1970.
    pub realtime_ns: u64,
    /// `CLOCK_MONOTONIC` at the same moment, nanoseconds.
    pub monotonic_ns: u64,
    /// Every hook: how it was attached, or why not.
    pub hooks: Vec<HookInfo>,
    /// Addresses of `struct file_operations` and the kind of file they stand for: `socket`, `eventfd`, `pipe`.
    pub file_kinds: BTreeMap<u64, String>,
    /// Whether the user stacks of calls were asked for.
    pub stacks: bool,
    /// What cannot be seen, or not be excluded, on this kernel: whole sentences.
    pub limits: Vec<String>,
}

/// A name of a record without the zeros behind it.
pub(crate) fn unpadded(name: &[u8]) -> &[u8] {
    let len = name.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    name.get(..len).unwrap_or_default()
}

/// How one hook was attached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HookInfo {
    /// [`Hook::name`]
    pub hook: String,
    /// `fentry`, `kprobe` (with the tracepoints that stand for kretprobes of calls that sleep), `raw-tracepoint`, `tracepoint`, `iter`, or empty
    /// when it could not be attached.
    pub backend: String,
    /// The kernel symbols or tracepoints that it sits on.
    pub targets: Vec<String>,
    /// Why it could not be attached, and what is lost without it; empty when it is attached.
    pub missing: String,
}

impl TraceInfo {
    /// `fentry`, `kprobe`, or `mixed`: what the hooks that can be either are.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        let has = |backend: &str| self.hooks.iter().any(|hook| hook.backend == backend);
        match (has("fentry"), has("kprobe")) {
            (true, true) => "mixed",
            (false, true) => "kprobe",
            (true, false) => "fentry",
            (false, false) => "none",
        }
    }
}
