//! How a trace went over time: what the report's sums do not say.
//!
//! In: each event, with the model after it has taken the event in (and its journal). Out: a [`History`]: for every eventpoll its
//! ready list, waits and deliveries cell by cell, latencies and the items that were busiest; for every source its wakeups; and the
//! moments worth looking at. Memory is bounded: rows have [`buckets::MAX_CELLS`] cells however long the trace, and what goes
//! beyond the numbers below is counted.

pub(crate) mod buckets;
mod cells;
mod eventpoll;
mod items;
mod moments;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use tracer_common::events::{Wake, WakeCause};

pub use cells::{EventpollCell, Gauge, SourceCell};
pub use eventpoll::EventpollHistory;
pub use items::ItemHistory;
pub use moments::{Moment, What};
pub use source::SourceHistory;

use self::buckets::{Buckets, joined, width_for};
use self::cells::Sum;
use self::eventpoll::EventpollWatch;
use self::items::ItemsWatch;
use self::source::SourceWatch;
use super::steps::Steps;
use crate::event::{Event, TraceInfo};
use crate::model::{EpId, FileId, Model};

/// Eventpolls and sources (each) that are followed over time: those that come first.
const MAX_FOLLOWED: usize = 512;

/// How a trace went over time.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Nanoseconds from the origin to the end.
    pub duration_ns: u64,
    /// Nanoseconds of one cell.
    pub cell_ns: u64,
    /// The eventpolls, the busiest first.
    pub eventpolls: Vec<EventpollHistory>,
    /// Eventpolls that were not followed.
    pub more_eventpolls: usize,
    /// The sources that called back, listening ones first; sockets of one address are one.
    pub sources: Vec<SourceHistory>,
    /// Moments worth looking at, by time.
    pub moments: Vec<Moment>,
    /// Events that were lost, by the cell they were counted in.
    pub lost: Vec<u64>,
}

impl History {
    /// Makes the cells wider until one is `cell_ns`, so that two histories can stand side by side.
    pub fn widen(&mut self, cell_ns: u64) {
        while self.cell_ns < cell_ns {
            self.cell_ns = self.cell_ns.max(1).saturating_mul(2);
            for eventpoll in &mut self.eventpolls {
                eventpoll.cells = joined(&eventpoll.cells);
            }
            for source in &mut self.sources {
                source.cells = joined(&source.cells);
            }
            self.lost =
                self.lost.chunks(2).map(|pair| pair.iter().fold(0_u64, |sum, n| sum.saturating_add(*n))).collect();
        }
    }
}

/// Watches the fold of a trace.
#[derive(Debug, Default)]
pub struct Watch {
    steps: Steps,
    eventpolls: BTreeMap<EpId, EventpollWatch>,
    more_eventpolls: usize,
    sources: BTreeMap<FileId, SourceWatch>,
    items: ItemsWatch,
    lost: Buckets<Sum>,
    first_loss: Option<(u64, u64)>,
}

impl Watch {
    /// Watches nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what an event was and what it changed; `model` keeps its journal and has just taken the event in.
    pub fn see(&mut self, event: &Event, model: &Model) {
        let now = event.ts_ns().saturating_sub(model.span().origin());
        for ep in self.steps.of(event, model) {
            if let Some(eventpoll) = self.eventpoll(ep) {
                eventpoll.step(event, now);
            }
        }
        match event {
            Event::Callback(callback) => self.items.callback(callback, model),
            Event::Wake(wake) => self.wake(wake, now, model),
            Event::Loss(loss) if loss.reason.loses_events(loss.hook) => {
                let cell = self.lost.at(now);
                cell.0 = cell.0.saturating_add(loss.count);
                self.first_loss.get_or_insert((now, loss.count));
            }
            _ => {}
        }
        self.take_journal(model, event.ts_ns());
    }

    /// A callback woke a task of a wait.
    fn wake(&mut self, wake: &Wake, now: u64, model: &Model) {
        if let Some(ep) = model.eventpolls().last_at(wake.ep).map(|ep| ep.id).and_then(|ep| self.eventpoll(ep))
            && wake.ret != 0
        {
            ep.cells.at(now).woken += 1;
        }
        if wake.ret == 0 || wake.cause != WakeCause::Callback as u32 {
            return;
        }
        if let Some(task) = model.tasks().live_at(wake.woken_tid) {
            self.items.wake(wake, task.id);
        }
    }

    /// What the journal says of the last event.
    fn take_journal(&mut self, model: &Model, ts_ns: u64) {
        let origin = model.span().origin();
        let now = ts_ns.saturating_sub(origin);
        let journal = model.journal();
        for moved in journal.moves {
            if let Some(eventpoll) = self.eventpoll(moved.ep) {
                eventpoll.moved(moved, now);
            }
        }
        for stay in journal.stays {
            self.items.stay(stay);
            if let Some(eventpoll) = self.eventpoll(stay.ep) {
                eventpoll.stay_ended(stay, stay.since_ns.saturating_sub(origin), now);
            }
        }
        for took in journal.returns {
            if let Some(eventpoll) = self.eventpoll(took.ep) {
                eventpoll.latencies.add(took);
            }
        }
        for wake in journal.wakes {
            self.items.settled(wake);
        }
        for wakeup in journal.wakeups {
            if self.sources.len() < MAX_FOLLOWED || self.sources.contains_key(&wakeup.file) {
                self.sources.entry(wakeup.file).or_default().finished(wakeup, wakeup.at_ns.saturating_sub(origin));
            }
        }
    }

    fn eventpoll(&mut self, ep: EpId) -> Option<&mut EventpollWatch> {
        if !self.eventpolls.contains_key(&ep) {
            if self.eventpolls.len() >= MAX_FOLLOWED {
                return None;
            }
            self.eventpolls.insert(ep, EventpollWatch::default());
        }
        self.eventpolls.get_mut(&ep)
    }

    /// What was seen; the model has been finished, and its journal is that of its end.
    #[must_use]
    pub fn finish(mut self, model: &Model, info: &TraceInfo) -> History {
        let duration_ns = model.span().duration().max(1);
        self.take_journal(model, model.span().last);
        self.more_eventpolls = model.eventpolls().iter().count().saturating_sub(self.eventpolls.len());
        let cell_ns = width_for(duration_ns);
        let mut items = self.items.finish(model, info);
        let mut eventpolls: Vec<EventpollHistory> = self
            .eventpolls
            .into_iter()
            .map(|(id, watch)| watch.finish(id, model, (cell_ns, duration_ns), items.remove(&id).unwrap_or_default()))
            .collect();
        eventpolls.sort_by_key(|ep| (std::cmp::Reverse(ep.steps), ep.id));
        let sources = source::finish(self.sources, model, info, (cell_ns, duration_ns));
        let lost = self.lost.finish(cell_ns, duration_ns).into_iter().map(|cell| cell.0).collect();
        let moments = moments::find(&eventpolls, &sources, self.first_loss, model.span().origin());
        History { duration_ns, cell_ns, eventpolls, more_eventpolls: self.more_eventpolls, sources, moments, lost }
    }
}
