//! What happens at each eventpoll, counted beside the model: the model counts by task and by source.
//!
//! What a wake came to is taken from the model itself: what changes in its counts of a task with an event belongs to the eventpoll
//! of that event.

use ahash::AHashMap;
use tracer_common::events::{WaitExit, Wake, WakeCause};

use super::Latencies;
use crate::event::Event;
use crate::model::{Counts, EpId, ItemId, Model};

/// Items of one eventpoll whose callbacks are counted beyond those it has.
const SPARE_ITEMS: usize = 1_024;

/// What happened at an eventpoll.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// Items called back.
    pub callbacks: u64,
    /// Waits that ended.
    pub waits: u64,
    /// Waits that ended with events.
    pub waits_returned: u64,
    /// Events that waits returned.
    pub events: u64,
    /// Tasks woken.
    pub woken: u64,
    /// Wakes of sources after which the wait ended with events.
    pub returned: u64,
    /// Wakes of sources after which the task accepted.
    pub useful: u64,
}

impl Flow {
    /// Adds another's numbers.
    pub fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.callbacks, other.callbacks),
            (&mut self.waits, other.waits),
            (&mut self.waits_returned, other.waits_returned),
            (&mut self.events, other.events),
            (&mut self.woken, other.woken),
            (&mut self.returned, other.returned),
            (&mut self.useful, other.useful),
        ];
        for (mine, theirs) in sums {
            *mine = mine.saturating_add(theirs);
        }
    }
}

/// What happened at an eventpoll since it was asked last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    /// How often.
    pub flow: Flow,
    /// From a callback to the return of the task it woke.
    pub latency: Latencies,
    /// Callbacks by item.
    pub items: AHashMap<ItemId, u64>,
    /// Somebody accepted, or tried to: so it is known which wakes were useful.
    pub accepts: bool,
}

/// The model, and what happens at each eventpoll.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    model: Model,
    windows: AHashMap<EpId, Window>,
    /// By tid: the callback that woke a task first in its wait.
    woken_ns: AHashMap<u32, u64>,
    /// By tid: where a task waited last.
    waited: AHashMap<u32, EpId>,
}

impl Meter {
    /// Counts beside this model.
    #[must_use]
    pub fn new(model: Model) -> Self {
        Self { model, ..Self::default() }
    }

    /// The model.
    #[must_use]
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// What happened at each eventpoll since the last call.
    pub fn take(&mut self) -> AHashMap<EpId, Window> {
        std::mem::take(&mut self.windows)
    }

    /// Takes in the next event.
    pub fn apply(&mut self, event: &Event) {
        let tid = match event {
            Event::Wake(e) => Some(e.woken_tid),
            Event::WaitExit(e) => Some(e.header.tid),
            Event::Accept(e) => Some(e.header.tid),
            _ => None,
        };
        let before = tid.map(|tid| self.counts(tid));
        self.model.apply(event);
        let ep = self.eventpoll(event, tid);
        self.count(event, ep);
        if let (Some(ep), Some(tid), Some(before)) = (ep, tid, before) {
            let after = self.counts(tid);
            let window = self.windows.entry(ep).or_default();
            window.flow.add(&Flow {
                woken: after.woken.saturating_sub(before.woken),
                returned: after.returned.saturating_sub(before.returned),
                useful: after.useful.saturating_sub(before.useful),
                ..Flow::default()
            });
        }
    }

    fn counts(&self, tid: u32) -> Counts {
        self.model.tasks().live_at(tid).map(|task| task.counts).unwrap_or_default()
    }

    /// The eventpoll that an event belongs to.
    fn eventpoll(&self, event: &Event, tid: Option<u32>) -> Option<EpId> {
        let address = match event {
            Event::Callback(e) => e.ep,
            Event::Wake(e) => e.ep,
            Event::WaitExit(e) => e.ep,
            Event::Accept(_) => return tid.and_then(|tid| self.waited.get(&tid).copied()),
            _ => return None,
        };
        self.model.eventpolls().live_at(address).map(|ep| ep.id)
    }

    fn count(&mut self, event: &Event, ep: Option<EpId>) {
        match event {
            Event::Callback(e) => {
                let Some(ep) = ep else { return };
                let item = self.model.items().at(e.epi);
                let kept = self.model.eventpolls().get(ep).map_or(0, |ep| ep.items);
                let room = usize::try_from(kept).unwrap_or(usize::MAX).saturating_add(SPARE_ITEMS);
                let window = self.windows.entry(ep).or_default();
                window.flow.callbacks = window.flow.callbacks.saturating_add(1);
                if let Some(item) = item
                    && (window.items.len() < room || window.items.contains_key(&item))
                {
                    let count = window.items.entry(item).or_default();
                    *count = count.saturating_add(1);
                }
            }
            Event::Wake(e) => self.wakes(e),
            Event::WaitExit(e) => self.exits(e, ep),
            Event::Accept(_) => {
                if let Some(ep) = ep {
                    self.windows.entry(ep).or_default().accepts = true;
                }
            }
            Event::TaskExit(e) => {
                self.woken_ns.remove(&e.header.tid);
                self.waited.remove(&e.header.tid);
            }
            Event::EventpollGone(_) => {
                let model = &self.model;
                self.windows.retain(|ep, _| model.eventpolls().get(*ep).is_some_and(|ep| ep.alive));
            }
            _ => {}
        }
    }

    fn wakes(&mut self, e: &Wake) {
        // Tasks beyond the model's limit have no place here either.
        let known = self.model.tasks().live_at(e.woken_tid).is_some();
        if known && e.ret != 0 && e.cause == WakeCause::Callback as u32 {
            self.woken_ns.entry(e.woken_tid).or_insert(e.cause_ts);
        }
    }

    fn exits(&mut self, e: &WaitExit, ep: Option<EpId>) {
        let woken_ns = self.woken_ns.remove(&e.header.tid);
        let Some(ep) = ep else { return };
        if self.model.tasks().live_at(e.header.tid).is_some() {
            self.waited.insert(e.header.tid, ep);
        }
        let window = self.windows.entry(ep).or_default();
        let events = u64::try_from(e.ret).unwrap_or(0);
        window.flow.add(&Flow { waits: 1, waits_returned: u64::from(events > 0), events, ..Flow::default() });
        if let Some(woken_ns) = woken_ns.filter(|_| events > 0) {
            window.latency.add(e.header.ts_ns.saturating_sub(woken_ns));
        }
    }
}
