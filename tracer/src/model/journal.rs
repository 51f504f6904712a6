//! What one event changed, for whoever watches the fold as it goes on: the counts keep only sums.
//!
//! Kept only when it is asked for ([`Model::keep_journal`]), and forgotten with the next event.

use super::Model;
use super::ids::{EpId, FileId, ItemId, TaskId};
use super::ready::{Came, Stay, Went};
use super::returning::Took;
use super::wakeup::Wakeup;

/// An item came to a list of its eventpoll, or went from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The eventpoll.
    pub ep: EpId,
    /// The item.
    pub item: ItemId,
    /// On the ready list: before and after.
    pub ready: (bool, bool),
    /// On the overflow list: before and after.
    pub overflow: (bool, bool),
}

/// An item came to its eventpoll, or left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    /// The eventpoll.
    pub ep: EpId,
    /// The item.
    pub item: ItemId,
    /// What happened.
    pub what: Registered,
}

/// How an item came to its eventpoll, or left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// An ADD made it.
    Added,
    /// It was there before, or its ADD was not seen.
    Found,
    /// It was removed: a DEL, the end of its file or of its eventpoll.
    Removed,
    /// It must have been removed some time before, unseen.
    Missed,
}

/// A stay on the ready list is over: its reasons are known now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedStay {
    /// The eventpoll.
    pub ep: EpId,
    /// The item.
    pub item: ItemId,
    /// Why it came.
    pub came: Came,
    /// When, nanoseconds of `CLOCK_MONOTONIC`.
    pub since_ns: u64,
    /// Scans that left it over.
    pub carried: u64,
    /// Why it went.
    pub went: Went,
}

/// A task's last wake is settled: what came of it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettledWake {
    /// The task.
    pub task: TaskId,
    /// The callback that woke it, by its CPU and its time; `None` when a scan did, or its own call.
    pub callback: Option<(u32, u64)>,
    /// The source that woke it, if it was one.
    pub file: Option<FileId>,
    /// Its wait ended with events.
    pub returned: bool,
    /// It accepted a connection of the source.
    pub useful: bool,
    /// It slept on inside the same wait.
    pub swallowed: bool,
}

/// What the last event changed.
#[derive(Debug, Clone, Copy)]
pub struct Journal<'a> {
    /// Items that came to lists and went from them, in order.
    pub moves: &'a [Move],
    /// Items that came to eventpolls and left them, in order.
    pub registrations: &'a [Registration],
    /// Stays that are over.
    pub stays: &'a [EndedStay],
    /// Waits that returned items, and waits of woken tasks that returned: how long that took.
    pub returns: &'a [Took],
    /// Wakes of which it is known what came of them.
    pub wakes: &'a [SettledWake],
    /// Source wakeups that are finished.
    pub wakeups: &'a [Wakeup],
}

/// The parts of a journal that the model itself writes.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes {
    pub(super) registrations: Vec<Registration>,
    pub(super) stays: Vec<EndedStay>,
    pub(super) returns: Vec<Took>,
    pub(super) wakes: Vec<SettledWake>,
}

impl Model {
    /// From now on [`Model::journal`] says what each event changed.
    pub fn keep_journal(&mut self) {
        self.notes = Some(Notes::default());
        self.items.moves = Some(Vec::new());
        self.wakeups.finished = Some(Vec::new());
    }

    /// What the last event changed, or the end of the trace; nothing unless [`Model::keep_journal`] was called before.
    #[must_use]
    pub fn journal(&self) -> Journal<'_> {
        Journal {
            moves: self.items.moves.as_deref().unwrap_or_default(),
            registrations: self.notes.as_ref().map_or(&[], |notes| &notes.registrations),
            stays: self.notes.as_ref().map_or(&[], |notes| &notes.stays),
            returns: self.notes.as_ref().map_or(&[], |notes| &notes.returns),
            wakes: self.notes.as_ref().map_or(&[], |notes| &notes.wakes),
            wakeups: self.wakeups.finished.as_deref().unwrap_or_default(),
        }
    }

    /// Forgets what the event before changed.
    pub(super) fn turn_page(&mut self) {
        let Some(notes) = &mut self.notes else { return };
        notes.registrations.clear();
        notes.stays.clear();
        notes.returns.clear();
        notes.wakes.clear();
        if let Some(moves) = &mut self.items.moves {
            moves.clear();
        }
        if let Some(finished) = &mut self.wakeups.finished {
            finished.clear();
        }
    }

    /// An item came to its eventpoll, or left it.
    pub(super) fn note_registration(&mut self, ep: EpId, item: ItemId, what: Registered) {
        if let Some(notes) = &mut self.notes {
            notes.registrations.push(Registration { ep, item, what });
        }
    }

    /// A stay of an item is over.
    pub(super) fn note_stay(&mut self, (ep, item): (EpId, ItemId), stay: Stay, went: Went) {
        if let Some(notes) = &mut self.notes {
            let Stay { came, since_ns, carried, .. } = stay;
            notes.stays.push(EndedStay { ep, item, came, since_ns, carried, went });
        }
    }

    /// A wait returned.
    pub(super) fn note_return(&mut self, took: Took) {
        if let Some(notes) = &mut self.notes {
            notes.returns.push(took);
        }
    }
}
