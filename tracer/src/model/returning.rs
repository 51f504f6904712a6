//! How long it took: from the callback that put an item on the ready list to the return of the wait that got it; and on the way from
//! the callback that woke a task to the wake, and from the wake to the return.
//!
//! A wake happens inside its callback (`ep_poll_callback`, fs/eventpoll.c, 5.10 to 7.3), so its record stands at the callback's time
//! and says how long after that the wake was done ([`Wake`](tracer_common::events::Wake)). Traces before format 1.2 do not say: there
//! the wake is taken to be at the callback.

use ahash::AHashMap;

use super::Model;
use super::ids::{EpId, ItemId};
use super::latency::Latency;
use super::limits::bump;
use super::ready::{Came, Stay, Went};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the callback that put an item on the ready list to the end of the wait that returned it.
    CallbackToReturn,
    /// From the callback that woke a task until the task was awake.
    CallbackToWake,
    /// From the wake of a task to the end of its wait with events. Not counted: a wait that nobody woke, and a wake after
    /// which the task slept on.
    WokenToReturn,
}

/// Something came so long after something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    /// The eventpoll.
    pub ep: EpId,
    /// What is measured.
    pub way: Way,
    /// How long it took.
    pub took_ns: u64,
    /// When that was, nanoseconds of `CLOCK_MONOTONIC`.
    pub since_ns: u64,
}

/// How long the returns of one eventpoll took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies {
    /// [`Way::CallbackToReturn`]
    pub callback_to_return: Latency,
    /// [`Way::CallbackToWake`]
    pub callback_to_wake: Latency,
    /// [`Way::WokenToReturn`]
    pub woken_to_return: Latency,
}

impl Latencies {
    /// Adds one.
    pub(crate) fn add(&mut self, took: &Took) {
        let latency = match took.way {
            Way::CallbackToReturn => &mut self.callback_to_return,
            Way::CallbackToWake => &mut self.callback_to_wake,
            Way::WokenToReturn => &mut self.woken_to_return,
        };
        latency.add(took.took_ns, took.since_ns);
    }
}

/// The latencies of those eventpolls that have any.
pub(super) type ByEventpoll = AHashMap<EpId, Latencies>;

impl Model {
    /// How long the returns of an eventpoll took; `None` when it had none.
    #[must_use]
    pub fn latencies(&self, ep: EpId) -> Option<&Latencies> {
        self.latencies.get(&ep)
    }

    /// A stay of an item is over.
    pub(super) fn end_stay(&mut self, (ep, item): (EpId, ItemId), stay: Stay, went: Went) {
        self.ready.end(stay, went);
        // After a loss the item may have gone and come again unseen.
        let called = matches!(stay.came, Came::Callback | Came::Overflow) && stay.called_ns >= self.losses.lists_ns;
        if called && matches!(went, Went::Delivered | Went::OneShot) {
            self.took(ep, Way::CallbackToReturn, (stay.called_ns, self.span.last));
        }
        self.note_stay((ep, item), stay, went);
    }

    /// From the first of these times to the second.
    pub(super) fn took(&mut self, ep: EpId, way: Way, (since_ns, at_ns): (u64, u64)) {
        let took = Took { ep, way, took_ns: at_ns.saturating_sub(since_ns), since_ns };
        if self.latencies.len() < self.limits.latencies || self.latencies.contains_key(&ep) {
            self.latencies.entry(ep).or_default().add(&took);
        } else {
            bump(&mut self.exceeded.latencies);
        }
        self.note_return(took);
    }
}
