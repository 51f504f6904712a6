//! Which tasks acted on an eventpoll around a comparison that did not agree. What several do to it at the same time can be told in
//! another order than the kernel did it, since a record is made before or after what it tells of; where one task alone acted there
//! is no other order.
//!
//! A call is told when it has ended, so one that is told after a walk may have acted before it, if the task's call before that had ended
//! by then. A callback is told when it begins; no walk during which one ran says anything. One in an interrupt counts as its task's.

use ahash::AHashMap;

use super::Model;
use super::ids::EpId;
use crate::event::Event;

/// Differences that are watched at the same time: beyond them the newest is judged by what came before it.
const WATCHED: usize = 128;
/// Tasks whose last call is remembered; what another does may have been under way at any time.
const TASKS: usize = 65_536;
/// A trace with walks has one among so many events at its beginning.
const UNTIL_A_WALK: u64 = 4_096;

/// Tasks that acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Actors {
    One(u32),
    Several,
}

impl Actors {
    const fn and(self, tid: u32) -> Self {
        match self {
            Self::One(one) if one == tid => self,
            _ => Self::Several,
        }
    }
}

/// A task that acted, and when it did last, nanoseconds.
type Act = (u32, u64);

/// Who acted on an eventpoll, as far back as a walk can ask, and when its whole list was compared last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Acted {
    latest: Option<Act>,
    /// The latest of all other tasks.
    other: Option<Act>,
    walked_ns: u64,
}

impl Acted {
    fn acts(&mut self, tid: u32, ts_ns: u64) {
        if let Some(before) = self.latest.filter(|(task, _)| *task != tid) {
            self.other = Some(before);
        }
        self.latest = Some((tid, ts_ns));
    }

    /// When the whole list was compared last; 0 before that.
    pub(crate) const fn walked_ns(&self) -> u64 {
        self.walked_ns
    }

    /// The whole list is compared.
    pub(super) const fn walked(&mut self, ts_ns: u64) {
        self.walked_ns = ts_ns;
    }

    /// This task and those that acted since then.
    fn since(&self, ts_ns: u64, tid: u32) -> Actors {
        let acts = [self.latest, self.other].into_iter().flatten().filter(|(_, at_ns)| *at_ns >= ts_ns);
        acts.fold(Actors::One(tid), |actors, (tid, _)| actors.and(tid))
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
    /// When each task's last call ended, or it began, or the wait that it is in, nanoseconds.
    last: AHashMap<u32, u64>,
    watched: Vec<Watched>,
}

impl Watch {
    /// What this task does from here on was not under way before.
    fn begins(&mut self, tid: u32, ts_ns: u64) {
        if self.last.len() < TASKS || self.last.contains_key(&tid) {
            self.last.insert(tid, ts_ns);
        }
    }
}

/// A walk that found a difference.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    /// Who walked.
    pub(super) tid: u32,
    /// When, nanoseconds.
    pub(super) ts_ns: u64,
    /// Since when what was done can have made the difference, nanoseconds.
    pub(super) since_ns: u64,
}

impl Model {
    /// Notes who acts, in a trace with walks.
    pub(super) fn note_actor(&mut self, event: &Event) {
        if !self.audit.has_walks() && self.events > UNTIL_A_WALK {
            return;
        }
        let Some(header) = event.header() else { return };
        let (tid, ts_ns) = (header.tid, header.ts_ns);
        let begun = self.watch.last.get(&tid).copied().unwrap_or(0);
        match event {
            Event::Callback(e) => self.acts(e.ep, (tid, ts_ns), ts_ns),
            Event::Raced(e) => self.acts(e.ep, (tid, ts_ns), e.callback_ts),
            Event::Ctl(e) => self.acts(e.ep, (tid, ts_ns), begun),
            Event::Hooked(e) => self.acts(e.ep, (tid, ts_ns), begun),
            Event::Scan(e) => self.acts(e.ep, (tid, ts_ns), begun),
            Event::FileGone(e) => {
                let items = self.files.live_at(e.file).map(|file| self.items.of_file(file.id)).unwrap_or_default();
                for id in items {
                    let ep = self.items.get(id).and_then(|item| self.eventpolls.get(item.ep));
                    let Some(address) = ep.map(|ep| ep.address) else { continue };
                    self.acts(address, (tid, ts_ns), begun);
                }
            }
            Event::EventpollGone(e) => {
                if let Some(id) = self.eventpolls.live_at(e.ep).map(|ep| ep.id) {
                    self.watch.watched.retain(|watched| watched.ep != id);
                }
            }
            Event::Fork(e) => self.watch.begins(e.child_tid, ts_ns),
            Event::TaskExit(_) => _ = self.watch.last.remove(&tid),
            _ => {}
        }
        if matches!(event, Event::Ctl(_) | Event::WaitEnter(_) | Event::WaitExit(_)) {
            self.watch.begins(tid, ts_ns);
        }
    }

    /// A task does something to the eventpoll at this address, which may have been under way since `begun`.
    fn acts(&mut self, address: u64, (tid, ts_ns): Act, begun: u64) {
        let Some(id) = self.eventpolls.live_at(address).map(|ep| ep.id) else { return };
        if let Some(ep) = self.eventpolls.get_mut(id) {
            ep.acted.acts(tid, ts_ns);
        }
        let audit = &mut self.audit;
        self.watch.watched.retain_mut(|watched| {
            if watched.ep == id && begun <= watched.ts_ns {
                watched.actors = watched.actors.and(tid);
            }
            let alone = watched.actors != Actors::Several;
            if !alone {
                audit.is_contended(watched.kept);
            }
            alone
        });
    }

    /// Watches a difference that is kept there.
    pub(super) fn watch_difference(&mut self, ep: EpId, walk: Walk, kept: Option<usize>) {
        let acted = self.eventpolls.get(ep).map(|ep| ep.acted).unwrap_or_default();
        let actors = acted.since(walk.since_ns, walk.tid);
        if actors == Actors::Several {
            self.audit.is_contended(kept);
        } else if self.watch.watched.len() < WATCHED {
            self.watch.watched.push(Watched { ep, actors, ts_ns: walk.ts_ns, kept });
        }
    }
}
