//! What the rows of the view hold, and how they are ordered.

use super::{Flow, Window};
use crate::model::{Counts, EpId, ItemId, Task, TaskId};
use crate::output::task_name;

/// What rows are sorted by: the most first, names from A.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// Callbacks a second.
    #[default]
    Callbacks,
    /// Waits a second.
    Waits,
    /// Tasks woken a second.
    Woken,
    /// The length of the ready list.
    Ready,
    /// The 99th percentile from callback to return.
    Latency,
    /// The name.
    Name,
}

impl Sort {
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Callbacks => Self::Waits,
            Self::Waits => Self::Woken,
            Self::Woken => Self::Ready,
            Self::Ready => Self::Latency,
            Self::Latency => Self::Name,
            Self::Name => Self::Callbacks,
        }
    }

    /// What it is called on the screen.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Callbacks => "callbacks",
            Self::Waits => "waits",
            Self::Woken => "woken",
            Self::Ready => "ready list",
            Self::Latency => "p99",
            Self::Name => "name",
        }
    }
}

/// What happened in a second.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates {
    /// Items called back a second.
    pub callbacks: f64,
    /// Waits that ended a second.
    pub waits: f64,
    /// Tasks woken a second.
    pub woken: f64,
    /// Events for each wait that returned some; `None` when none did.
    pub events_per_wait: Option<f64>,
    /// Of the woken, those that got something, in percent: a connection where somebody accepts, else events. `None` when nobody
    /// was woken.
    pub got: Option<f64>,
    /// From callback to return, nanoseconds: half of them were faster.
    pub p50: Option<u64>,
    /// All but one in a hundred were faster.
    pub p99: Option<u64>,
}

#[expect(clippy::cast_precision_loss, reason = "rates are shown with three digits")]
impl Rates {
    pub(super) fn of(window: &Window, seconds: f64) -> Self {
        let Flow { callbacks, waits, waits_returned, events, woken, returned, useful } = window.flow;
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        Self {
            callbacks: rate(callbacks),
            waits: rate(waits),
            woken: rate(woken),
            events_per_wait: ratio(events, waits_returned),
            got: ratio(if window.accepts { useful } else { returned }, woken).map(|ratio| (ratio * 100.0).min(100.0)),
            p50: window.latency.percentile(50),
            p99: window.latency.percentile(99),
        }
    }
}

/// An eventpoll, or the sum of a process's.
#[derive(Debug, Clone, PartialEq)]
pub struct EventpollRow {
    /// `comm/pid:epfd`, or `comm/pid`.
    pub name: String,
    /// Items now.
    pub items: u64,
    /// The length of the ready list now.
    pub ready: u64,
    /// What happens.
    pub rates: Rates,
}

/// An item of an eventpoll.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemRow {
    /// Its descriptor.
    pub fd: i32,
    /// Its mask by names.
    pub events: String,
    /// Whether it is on the ready list.
    pub ready: bool,
    /// Callbacks a second.
    pub callbacks: f64,
}

/// A task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRow {
    /// `comm/pid/tid`
    pub name: String,
    /// Whether it waits now.
    pub waits: bool,
    /// Its counts since tracing began: those of the report.
    pub counts: Counts,
}

/// One row of what is shown.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// A process: the sum of its eventpolls.
    Process(u32, EventpollRow),
    /// An eventpoll.
    Eventpoll(EpId, EventpollRow),
    /// An item.
    Item(ItemId, ItemRow),
    /// A task.
    Task(TaskId, TaskRow),
}

/// Which row it is, however the rows are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Process(u32),
    Eventpoll(EpId),
    Item(ItemId),
    Task(TaskId),
}

impl Row {
    pub(super) const fn key(&self) -> Key {
        match self {
            Self::Process(pid, _) => Key::Process(*pid),
            Self::Eventpoll(id, _) => Key::Eventpoll(*id),
            Self::Item(id, _) => Key::Item(*id),
            Self::Task(id, _) => Key::Task(*id),
        }
    }
}

pub(super) fn task_row(task: &Task) -> Row {
    let name = task_name(&task.comm, task.pid, task.tid);
    Row::Task(task.id, TaskRow { name, waits: task.wait.is_some(), counts: task.counts })
}

pub(super) fn name_of(row: &Row) -> &str {
    match row {
        Row::Process(_, row) | Row::Eventpoll(_, row) => &row.name,
        Row::Item(..) => "",
        Row::Task(_, row) => &row.name,
    }
}

pub(super) const fn number_of(row: &Row) -> i32 {
    match row {
        Row::Item(_, row) => row.fd,
        Row::Process(..) | Row::Eventpoll(..) | Row::Task(..) => 0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "only the order counts")]
pub(super) fn measure(row: &Row, sort: Sort) -> f64 {
    match (row, sort) {
        (Row::Process(_, row) | Row::Eventpoll(_, row), Sort::Callbacks) => row.rates.callbacks,
        (Row::Process(_, row) | Row::Eventpoll(_, row), Sort::Waits) => row.rates.waits,
        (Row::Process(_, row) | Row::Eventpoll(_, row), Sort::Woken) => row.rates.woken,
        (Row::Process(_, row) | Row::Eventpoll(_, row), Sort::Ready) => row.ready as f64,
        (Row::Process(_, row) | Row::Eventpoll(_, row), Sort::Latency) => row.rates.p99.unwrap_or_default() as f64,
        (Row::Item(_, row), Sort::Ready) => f64::from(u8::from(row.ready)),
        (Row::Item(_, row), _) => row.callbacks,
        (Row::Task(_, row), Sort::Waits) => row.counts.waits as f64,
        (Row::Task(_, row), _) => row.counts.woken as f64,
        (Row::Process(..) | Row::Eventpoll(..), Sort::Name) => 0.0,
    }
}
