//! Which tasks acted on an eventpoll around a comparison that did not agree. What several do to it at the same time can be told in
//! another order than the kernel did it, since a record is made before or after what it tells of; where one task alone acted there
//! is no other order.
//!
//! What a record tells of may have been under way since the task's last call ended, so a record after a walk counts if that was before
//! the walk. A callback in an interrupt counts as its task's.

use ahash::AHashMap;
use tracer_common::Header;

use super::Model;
use super::ids::EpId;
use crate::event::Event;

/// Differences that are watched at the same time: beyond them the newest is judged by what came before it.
const WATCHED: usize = 128;
/// Tasks whose last call is remembered; what another does may have been under way at any time.
const TASKS: usize = 65_536;

/// Tasks that acted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Actors {
    #[default]
    Nobody,
    One(u32),
    Several,
}

impl Actors {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (actors, Self::Nobody) | (Self::Nobody, actors) => actors,
            (Self::One(one), Self::One(other)) if one == other => self,
            _ => Self::Several,
        }
    }
}

/// Who acted on an eventpoll: before its last whole walk, back to the one before that, and since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Acted {
    before: Actors,
    since: Actors,
}

impl Acted {
    /// The whole list has been compared.
    pub(super) fn turn(&mut self) {
        *self = Self { before: self.since, since: Actors::Nobody };
    }
}

/// A difference that only one task is known to have to do with so far.
#[derive(Debug, Clone, Copy)]
struct Watched {
    ep: EpId,
    actors: Actors,
    /// When the list was walked.
    ts_ns: u64,
    /// Its place among the differences that are kept.
    kept: Option<usize>,
}

/// What is needed to tell who acted.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    /// When each task's last call ended, or the wait began that it is in, nanoseconds.
    last: AHashMap<u32, u64>,
    watched: Vec<Watched>,
}

impl Watch {
    /// Since when what this task does may have been under way; 0 when that is not known.
    fn begun(&self, tid: u32) -> u64 {
        self.last.get(&tid).copied().unwrap_or(0)
    }

    /// What this task does from here on was not under way before.
    fn begins(&mut self, header: &Header) {
        if self.last.len() < TASKS || self.last.contains_key(&header.tid) {
            self.last.insert(header.tid, header.ts_ns);
        }
    }
}

impl Model {
    /// Notes who acts, in a trace with walks.
    pub(super) fn note_actor(&mut self, event: &Event) {
        let Some(header) = event.header().filter(|_| self.audit.has_walks()) else { return };
        let (tid, begun) = (header.tid, self.watch.begun(header.tid));
        match event {
            Event::Ctl(e) => self.acts(e.ep, tid, begun),
            Event::Hooked(e) => self.acts(e.ep, tid, begun),
            Event::Callback(e) => self.acts(e.ep, tid, begun),
            Event::Raced(e) => self.acts(e.ep, tid, begun),
            Event::Scan(e) => self.acts(e.ep, tid, begun),
            Event::FileGone(e) => {
                let items = self.files.live_at(e.file).map(|file| self.items.of_file(file.id)).unwrap_or_default();
                for id in items {
                    let ep = self.items.get(id).and_then(|item| self.eventpolls.get(item.ep));
                    let Some(address) = ep.map(|ep| ep.address) else { continue };
                    self.acts(address, tid, begun);
                }
            }
            _ => {}
        }
        if matches!(event, Event::Ctl(_) | Event::WaitEnter(_) | Event::WaitExit(_)) {
            self.watch.begins(header);
        }
    }

    fn acts(&mut self, address: u64, tid: u32, begun: u64) {
        let Some(id) = self.eventpolls.live_at(address).map(|ep| ep.id) else { return };
        if let Some(ep) = self.eventpolls.get_mut(id) {
            ep.acted.since = ep.acted.since.and(Actors::One(tid));
        }
        let audit = &mut self.audit;
        self.watch.watched.retain_mut(|watched| {
            if watched.ep == id && begun <= watched.ts_ns {
                watched.actors = watched.actors.and(Actors::One(tid));
            }
            let alone = watched.actors != Actors::Several;
            if !alone {
                audit.is_contended(watched.kept);
            }
            alone
        });
    }

    /// Watches a difference that a walk by this task found, and that is kept there.
    pub(super) fn watch_difference(&mut self, ep: EpId, walker: u32, ts_ns: u64, kept: Option<usize>) {
        let acted = self.eventpolls.get(ep).map(|ep| ep.acted).unwrap_or_default();
        let actors = acted.before.and(acted.since).and(Actors::One(walker));
        if actors == Actors::Several {
            self.audit.is_contended(kept);
        } else if self.watch.watched.len() < WATCHED {
            self.watch.watched.push(Watched { ep, actors, ts_ns, kept });
        }
    }
}
