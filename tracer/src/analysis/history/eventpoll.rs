//! One eventpoll over time.

use tracer_common::events::BY_IO_URING;

use super::buckets::Buckets;
use super::cells::EventpollCell;
use super::items::ItemHistory;
use crate::analysis::eventpoll_name;
use crate::event::Event;
use crate::model::{EndedStay, EpId, Latencies, Model, Move};

/// One life of an eventpoll over time.
#[derive(Debug, Clone)]
pub struct EventpollHistory {
    /// Its identity.
    pub id: EpId,
    /// `comm/pid:epfd`; not a string to trust.
    pub name: String,
    /// Which life of its address, from 1.
    pub generation: u64,
    /// Events that touched it.
    pub steps: u64,
    /// Items it has had in all.
    pub items_ever: u64,
    /// Tasks that waited on it.
    pub tasks: usize,
    /// Stretch by stretch.
    pub cells: Vec<EventpollCell>,
    /// The longest that its ready list was, and when, nanoseconds since the origin.
    pub longest: (u64, u64),
    /// How long its returns took.
    pub latencies: Latencies,
    /// The items that were busiest in one way or another.
    pub items: Vec<ItemHistory>,
    /// Items that are not among them.
    pub more_items: usize,
}

/// An eventpoll while the trace goes on.
#[derive(Debug, Default)]
pub(crate) struct EventpollWatch {
    pub(crate) cells: Buckets<EventpollCell>,
    pub(crate) latencies: Latencies,
    steps: u64,
    ready: u64,
    longest: (u64, u64),
}

impl EventpollWatch {
    /// An event that touched it.
    pub(crate) fn step(&mut self, event: &Event, now: u64) {
        self.steps = self.steps.saturating_add(1);
        if let Event::WaitExit(exit) = event {
            let cell = self.cells.at(now);
            // The report counts io_uring's waits by themselves.
            cell.waits = cell.waits.saturating_add(u64::from(exit.epfd != BY_IO_URING));
            cell.returned = cell.returned.saturating_add(u64::try_from(exit.ret).unwrap_or(0));
        }
    }

    /// An item came to its ready list or went.
    pub(crate) fn moved(&mut self, moved: &Move, now: u64) {
        let before = self.ready;
        match moved.ready {
            (false, true) => self.ready = self.ready.saturating_add(1),
            (true, false) => self.ready = self.ready.saturating_sub(1),
            _ => return,
        }
        self.cells.at(now).ready.set(before, self.ready);
        if self.ready > self.longest.0 {
            self.longest = (self.ready, now);
        }
    }

    /// A stay is over: now its reasons are known.
    pub(crate) fn stay_ended(&mut self, stay: &EndedStay, came: u64, went: u64) {
        self.cells.at(came).came.count(stay.came);
        let cell = self.cells.at(went);
        cell.went.count(stay.went);
        cell.came.carried_over = cell.came.carried_over.saturating_add(stay.carried);
        cell.went.carried_over = cell.went.carried_over.saturating_add(stay.carried);
    }

    pub(crate) fn finish(
        self,
        id: EpId,
        model: &Model,
        (cell_ns, duration_ns): (u64, u64),
        (items, more_items): (Vec<ItemHistory>, usize),
    ) -> EventpollHistory {
        let eventpoll = model.eventpolls().get(id);
        EventpollHistory {
            id,
            name: eventpoll.map_or_else(|| "an eventpoll that is gone".to_owned(), |ep| eventpoll_name(model, ep)),
            generation: eventpoll.map_or(1, |ep| ep.generation),
            steps: self.steps,
            items_ever: eventpoll.map_or(0, |ep| ep.items_ever),
            tasks: model.waiters_ever(id),
            cells: self.cells.finish(cell_ns, duration_ns),
            longest: self.longest,
            latencies: self.latencies,
            items,
            more_items,
        }
    }
}
