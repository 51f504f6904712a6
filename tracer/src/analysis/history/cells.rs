//! What is kept of one stretch of time.

use serde::Serialize;

use super::buckets::Cell;
use crate::model::{CameCounts, WentCounts};

/// A sum.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum(pub(crate) u64);

impl Cell for Sum {
    fn join(&mut self, next: &Self) {
        self.0 = self.0.saturating_add(next.0);
    }
}

/// A length that changes: its least and greatest value, and the last. `None` where nothing was told: then it is as before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Gauge(pub Option<(u64, u64, u64)>);

impl Gauge {
    pub(crate) fn set(&mut self, before: u64, now: u64) {
        let (least, most, _) = self.0.unwrap_or((before, before, before));
        self.0 = Some((least.min(now), most.max(now), now));
    }
}

/// What happened on an eventpoll in one stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct EventpollCell {
    /// Length of the ready list.
    pub ready: Gauge,
    /// Why stays on it began that began here.
    pub came: CameCounts,
    /// Why stays on it ended that ended here.
    pub went: WentCounts,
    /// Waits that ended.
    pub waits: u64,
    /// Events that they returned.
    pub returned: u64,
    /// Tasks that were woken.
    pub woken: u64,
}

impl Cell for EventpollCell {
    fn join(&mut self, next: &Self) {
        self.ready = Gauge(match (self.ready.0, next.ready.0) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1), b.2)),
            (a, b) => b.or(a),
        });
        self.came.add(&next.came);
        self.went.add(&next.went);
        self.waits = self.waits.saturating_add(next.waits);
        self.returned = self.returned.saturating_add(next.returned);
        self.woken = self.woken.saturating_add(next.woken);
    }
}

/// The wakeups of a source that began in one stretch of time, and what came of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SourceCell {
    /// Source wakeups.
    pub wakeups: u64,
    /// Items called back.
    pub called: u64,
    /// Tasks woken.
    pub woken: u64,
    /// Waits that ended with events.
    pub returned: u64,
    /// Waits after which the task got a connection.
    pub useful: u64,
}

impl SourceCell {
    /// Woken and not useful.
    #[must_use]
    pub const fn wasted(&self) -> u64 {
        self.woken.saturating_sub(self.useful)
    }
}

impl Cell for SourceCell {
    fn join(&mut self, next: &Self) {
        self.wakeups = self.wakeups.saturating_add(next.wakeups);
        self.called = self.called.saturating_add(next.called);
        self.woken = self.woken.saturating_add(next.woken);
        self.returned = self.returned.saturating_add(next.returned);
        self.useful = self.useful.saturating_add(next.useful);
    }
}
