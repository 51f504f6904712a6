//! What the events mean: a pure fold of a trace into eventpolls, items, tasks, waits, and source wakeups with their fan-out.
//!
//! In: [`Event`]s in the order of their time. Out: tables to be asked by `analysis`. Nothing here looks at a clock, a kernel or a
//! file, and nothing that a trace says can make it panic or grow beyond its [`Limits`].

mod actors;
mod audit;
mod by_id;
mod counts;
mod eventpoll;
mod fanout;
mod file;
mod histogram;
mod ids;
mod item;
mod journal;
mod latency;
mod lifecycle;
mod limits;
mod lists;
mod loss;
mod membership;
mod outcome;
mod pairs;
mod ready;
mod registration;
mod returning;
mod scanning;
mod task;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod waiting;
mod wakeup;
mod waking;
mod walk;

pub use audit::{Audit, Difference};
pub use counts::Counts;
pub(crate) use counts::op;
pub use eventpoll::{Eventpoll, Eventpolls};
pub use file::{File, Files, ItemFlags, SourceStats};
pub use histogram::Histogram;
pub(crate) use ids::Ranged;
pub use ids::{EpId, FileId, ItemId, TaskId, WakeupId};
pub use item::{Item, Items};
pub use journal::{EndedStay, Journal, Move, Registered, Registration, SettledWake};
pub use latency::{Latency, Slowest};
pub use limits::{Exceeded, Limits};
pub use lists::{Lists, Waiter};
pub use loss::{LossKey, Losses};
pub(crate) use outcome::{EPOLLET, EPOLLONESHOT};
pub use outcome::{Outcome, Outcomes};
pub use ready::{Came, CameCounts, Memberships, Went, WentCounts};
pub use returning::{Latencies, Took, Way};
pub use task::{OpenWait, Task, Tasks, comm};
pub use wakeup::{Wakeup, Wakeups};

use crate::event::{Event, Hooked, MarkKind};
use limits::bump;
use pairs::Pairs;

/// When the trace began and ended, nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// The first event of all.
    pub first: Option<u64>,
    /// The last event of all.
    pub last: u64,
    /// All probes were on.
    pub started: Option<u64>,
    /// The probes were switched off.
    pub stopped: Option<u64>,
}

impl Span {
    /// The moment that times are counted from: when all probes were on, else the first event.
    #[must_use]
    pub fn origin(&self) -> u64 {
        self.started.or(self.first).unwrap_or(0)
    }

    /// Nanoseconds from [`Span::origin`] to the end.
    #[must_use]
    pub fn duration(&self) -> u64 {
        self.stopped.unwrap_or(self.last).saturating_sub(self.origin())
    }
}

/// What one task had of one source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Times the source woke it.
    pub woken: u64,
    /// Wakes after which its wait ended with events.
    pub returned: u64,
    /// Wakes after which it accepted.
    pub useful: u64,
    /// Wakes after which it slept on inside the same wait.
    pub swallowed: u64,
    /// Connections it accepted, woken or not.
    pub accepts: u64,
    /// Accepts of it that found none.
    pub accept_eagain: u64,
}

/// Everything that a trace has told so far.
#[derive(Debug, Clone, Default)]
pub struct Model {
    limits: Limits,
    exceeded: Exceeded,
    span: Span,
    events: u64,
    scans: u64,
    nested: u64,
    last_hooked: Option<Hooked>,
    batched: usize,
    totals: Counts,
    ready: Memberships,
    latencies: returning::ByEventpoll,
    ranks: u64,
    audit: Audit,
    open_walks: audit::OpenWalks,
    strangers: audit::Strangers,
    watch: actors::Watch,
    losses: Losses,
    eventpolls: Eventpolls,
    items: Items,
    files: Files,
    tasks: Tasks,
    wakeups: Wakeups,
    walks: walk::Walks,
    waiters: Pairs<EpId, TaskId>,
    /// With how many items there have been.
    registered: Pairs<FileId, EpId, u64>,
    shares: Pairs<FileId, TaskId, Share>,
    notes: Option<journal::Notes>,
}

impl Model {
    /// An empty model with the usual [`Limits`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty model that remembers more or less.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes in the next event.
    pub fn apply(&mut self, event: &Event) {
        self.turn_page();
        let ts_ns = event.ts_ns();
        self.span.first.get_or_insert(ts_ns);
        self.span.last = self.span.last.max(ts_ns);
        bump(&mut self.events);
        self.note_actor(event);
        match event {
            Event::Ctl(e) => self.on_ctl(e),
            Event::Hooked(e) => self.on_hooked(e),
            Event::Callback(e) => self.on_callback(e),
            Event::Wake(e) => self.on_wake(e),
            Event::WaitEnter(e) => self.on_wait_enter(e),
            Event::WaitExit(e) => self.on_wait_exit(e),
            Event::Returned(e) => self.on_returned(e),
            Event::Scan(e) => self.on_scan(e),
            Event::Accept(e) => self.on_accept(e),
            Event::Fork(e) => self.on_fork(e),
            Event::TaskName(e) => self.on_task_name(e),
            Event::TaskPid(e) => self.on_task_pid(e),
            Event::TaskExit(e) => self.on_task_exit(e),
            Event::FileGone(e) => self.end_file(e.file, Went::Closed),
            Event::EventpollGone(e) => self.end_eventpoll(e.ep),
            Event::FileInfo(e) => self.on_file_info(e),
            Event::EventpollSeen(e) => self.on_eventpoll_seen(e),
            Event::ItemSeen(e) => self.on_item_seen(e),
            Event::Raced(e) => self.on_raced(e),
            Event::Audited(e) => self.on_walk(e),
            Event::AuditedItem(e) => {
                self.doubt_found(e.epi);
                self.on_audited_item(e);
            }
            Event::FileEnds(e) => self.on_file_ends(e),
            // For the rules of lint alone.
            Event::Io(_) | Event::Path(_) | Event::Stack(_) | Event::Frame(_) | Event::Symbol(_) => {}
            Event::Loss(e) => self.losses.add(e, self.span.last, self.limits.losses),
            Event::Mark(mark) => match mark.what {
                MarkKind::Started => {
                    self.span.started.get_or_insert(mark.ts_ns);
                }
                MarkKind::Stopped => self.span.stopped = Some(mark.ts_ns),
            },
        }
    }

    /// Ends the trace: waits, wakes and stays that have not ended are counted as such, source wakeups are finished.
    ///
    /// For a report in the middle of a trace, finish a clone.
    pub fn finish(&mut self) {
        self.turn_page();
        for tid in self.tasks.live_tids() {
            self.end_of_trace_for(tid);
        }
        for wakeup in self.walks.finish() {
            self.wakeups.change(wakeup, &mut self.files, |wakeup| wakeup.open = false);
        }
        self.wakeups.finish(&mut self.files);
        self.end_stays();
    }

    /// When the trace began and ended.
    #[must_use]
    pub const fn span(&self) -> &Span {
        &self.span
    }

    /// How many events were taken in.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Scans of ready lists, nested polls included.
    #[must_use]
    pub const fn scans(&self) -> u64 {
        self.scans
    }

    /// Callbacks inside callbacks: an eventpoll watched by an eventpoll.
    #[must_use]
    pub const fn nested(&self) -> u64 {
        self.nested
    }

    /// What was counted of the whole trace.
    #[must_use]
    pub const fn totals(&self) -> &Counts {
        &self.totals
    }

    /// Stays on ready lists by their reasons.
    #[must_use]
    pub const fn ready_list(&self) -> &Memberships {
        &self.ready
    }

    /// What came of comparing the model with the kernel's own lists.
    #[must_use]
    pub const fn audit(&self) -> &Audit {
        &self.audit
    }

    /// What is missing from the trace.
    #[must_use]
    pub const fn losses(&self) -> &Losses {
        &self.losses
    }

    /// What did not fit into the [`Limits`].
    #[must_use]
    pub const fn exceeded(&self) -> &Exceeded {
        &self.exceeded
    }

    /// All eventpolls.
    #[must_use]
    pub const fn eventpolls(&self) -> &Eventpolls {
        &self.eventpolls
    }

    /// All live items.
    #[must_use]
    pub const fn items(&self) -> &Items {
        &self.items
    }

    /// All watched files.
    #[must_use]
    pub const fn files(&self) -> &Files {
        &self.files
    }

    /// All tasks.
    #[must_use]
    pub const fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Source wakeups that are not finished.
    #[must_use]
    pub const fn wakeups(&self) -> &Wakeups {
        &self.wakeups
    }

    /// Tasks that have waited on an eventpoll, but for those that are no longer shown one by one.
    pub fn waiters(&self, ep: EpId) -> impl Iterator<Item = TaskId> + '_ {
        self.waiters.of(ep).map(|(task, ())| task)
    }

    /// How many tasks have waited on an eventpoll.
    #[must_use]
    pub fn waiters_ever(&self, ep: EpId) -> usize {
        let gone = self.eventpolls.get(ep).map_or(0, |ep| ep.waiters_gone);
        self.waiters(ep).count().saturating_add(gone)
    }

    /// Whether several tasks have waited on an eventpoll.
    #[must_use]
    pub fn shared(&self, ep: EpId) -> bool {
        let gone = self.eventpolls.get(ep).map_or(0, |ep| ep.waiters_gone);
        self.waiters(ep).take(2).count().saturating_add(gone) > 1
    }

    /// Eventpolls that a file has been registered in, but for those that are no longer shown one by one.
    pub fn registered(&self, file: FileId) -> impl Iterator<Item = EpId> + '_ {
        self.registered.of(file).map(|(ep, _)| ep)
    }

    /// How many eventpolls a file has been registered in.
    #[must_use]
    pub fn registered_ever(&self, file: FileId) -> usize {
        let gone = self.files.get(file).map_or(0, |file| file.eventpolls_gone);
        self.registered(file).count().saturating_add(gone)
    }

    /// What each task had of a file.
    pub fn shares(&self, file: FileId) -> impl Iterator<Item = (TaskId, &Share)> {
        self.shares.of(file)
    }

    /// Whether events are missing that were to be seen.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.losses.events() == 0
    }
}
