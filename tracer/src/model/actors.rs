//! Whether a comparison that did not agree was of an eventpoll that one task acts on, or several. What several do at the same time can be
//! told in another order than the kernel did it, since a record is made before or after what it tells of, and what comes of that may
//! show long after: a walk sees items only while they are ready. Where one task alone acts there is no other order.
//!
//! Tasks act by calls: `epoll_ctl`, waits, the close of a file. A call is told when it has ended, so one that is told after a walk may have
//! acted before it, if the task's call before that had ended by then. A callback is nobody's: it is told when it begins, what it found
//! is in doubt when something else ran at the same time, and no walk says anything during which one ran.

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

/// The tasks that acted on an eventpoll.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Actors {
    /// None yet.
    #[default]
    None,
    /// The one with this tid.
    One(u32),
    /// Several.
    Several,
}

impl Actors {
    const fn and(self, tid: u32) -> Self {
        match self {
            Self::None => Self::One(tid),
            Self::One(one) if one == tid => self,
            _ => Self::Several,
        }
    }
}

/// A difference that only one task is known to have to do with so far.
#[derive(Debug, Clone, Copy)]
struct Watched {
    ep: EpId,
    actors: Actors,
    /// When the list was walked, nanoseconds.
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
            Event::Ctl(e) => {
                let ep = self.called_on(e);
                self.acts(ep, tid, begun);
            }
            Event::Hooked(e) => self.acts_at(e.ep, tid, begun),
            Event::Scan(e) => self.acts_at(e.ep, tid, begun),
            Event::FileGone(e) => {
                let items = self.files.live_at(e.file).map(|file| self.items.of_file(file.id)).unwrap_or_default();
                for id in items {
                    let ep = self.items.get(id).map(|item| item.ep);
                    self.acts(ep, tid, begun);
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
    fn acts_at(&mut self, address: u64, tid: u32, begun: u64) {
        let ep = self.eventpolls.at(address, &self.limits, &mut self.exceeded);
        self.acts(ep, tid, begun);
    }

    fn acts(&mut self, ep: Option<EpId>, tid: u32, begun: u64) {
        let Some(id) = ep else { return };
        if let Some(ep) = self.eventpolls.get_mut(id) {
            ep.actors = ep.actors.and(tid);
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

    /// Watches a difference that a walk by this task found at this time, and that is kept there.
    pub(super) fn watch_difference(&mut self, ep: EpId, (tid, ts_ns): (u32, u64), kept: Option<usize>) {
        let actors = self.eventpolls.get(ep).map(|ep| ep.actors).unwrap_or_default().and(tid);
        if actors == Actors::Several {
            self.audit.is_contended(kept);
        } else if self.watch.watched.len() < WATCHED {
            self.watch.watched.push(Watched { ep, actors, ts_ns, kept });
        }
    }
}
