//! Which callbacks belong to one walk of a wait queue.
//!
//! A walk (`__wake_up_common`, kernel/sched/wait.c, 5.10 to 7.3) runs on one CPU under the queue's lock and calls each entry once.
//! So a callback goes on with the open walk of its CPU when queue and key are the same, unless it is the queue's first entry
//! or an entry that this walk has called before. Entries of others (poll, select, bookmarks) may lie between.

use std::collections::VecDeque;

use ahash::{AHashMap, AHashSet};
use tracer_common::events::{Callback, callback_flags};

use super::ids::WakeupId;
use super::limits::{Exceeded, Limits, bump};

/// Callbacks of one CPU that a wake may still name as its cause. Nesting ends at 6 and a wake follows its callback at once.
const RECENT_CALLBACKS: usize = 64;

/// Where a callback belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It goes on with the open walk of its CPU.
    Continues(WakeupId),
    /// It begins a walk; the one that was open on its CPU is over.
    Begins(Option<WakeupId>),
    /// It is nested in a callback of this walk, if that is known.
    Nested(Option<WakeupId>),
}

#[derive(Debug, Clone)]
struct Walk {
    wakeup: WakeupId,
    whead: u64,
    key: u32,
    /// The entry that it called last.
    last: u64,
    /// Those that it called before that one: none for most walks.
    called: AHashSet<u64>,
}

#[derive(Debug, Clone, Default)]
struct Cpu {
    walk: Option<Walk>,
    recent: VecDeque<(u64, WakeupId)>,
}

/// The open walks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Walks {
    cpus: AHashMap<u32, Cpu>,
    remembered: usize,
}

impl Walks {
    /// Says where a callback belongs.
    pub(crate) fn place(&self, callback: &Callback) -> Place {
        let cpu = self.cpus.get(&callback.header.cpu);
        if callback.parent_ts != 0 {
            return Place::Nested(self.caused_by(callback.header.cpu, callback.parent_ts));
        }
        let Some(walk) = cpu.and_then(|cpu| cpu.walk.as_ref()) else {
            return Place::Begins(None);
        };
        let same = walk.whead == callback.whead && walk.key == callback.key;
        let first = callback.flags & callback_flags::FIRST != 0;
        let again = callback.wait == walk.last || walk.called.contains(&callback.wait);
        if same && !first && !again { Place::Continues(walk.wakeup) } else { Place::Begins(Some(walk.wakeup)) }
    }

    /// Notes that a callback belongs to a source wakeup; `false` when its CPU cannot be followed.
    pub(crate) fn note(
        &mut self,
        callback: &Callback,
        wakeup: WakeupId,
        place: Place,
        limits: &Limits,
        exceeded: &mut Exceeded,
    ) -> bool {
        if self.cpus.len() >= limits.cpus && !self.cpus.contains_key(&callback.header.cpu) {
            bump(&mut exceeded.cpus);
            return false;
        }
        let cpu = self.cpus.entry(callback.header.cpu).or_default();
        if cpu.recent.len() >= RECENT_CALLBACKS {
            cpu.recent.pop_front();
        }
        cpu.recent.push_back((callback.header.ts_ns, wakeup));
        if matches!(place, Place::Begins(_)) {
            self.remembered = self.remembered.saturating_sub(cpu.walk.as_ref().map_or(0, |walk| walk.called.len()));
            let (whead, key, last) = (callback.whead, callback.key, callback.wait);
            cpu.walk = Some(Walk { wakeup, whead, key, last, called: AHashSet::new() });
        }
        if let Some(walk) = cpu.walk.as_mut()
            && matches!(place, Place::Continues(_))
        {
            let before = std::mem::replace(&mut walk.last, callback.wait);
            if walk.called.len() >= limits.walk_entries || self.remembered >= limits.all_walk_entries {
                bump(&mut exceeded.walk_entries);
            } else if walk.called.insert(before) {
                self.remembered += 1;
            }
        }
        true
    }

    /// The source wakeup of the callback that began at this time on this CPU.
    pub(crate) fn caused_by(&self, cpu: u32, ts_ns: u64) -> Option<WakeupId> {
        let recent = &self.cpus.get(&cpu)?.recent;
        recent.iter().rev().find(|(ts, _)| *ts == ts_ns).map(|&(_, wakeup)| wakeup)
    }

    /// Ends every walk.
    pub(crate) fn finish(&mut self) -> Vec<WakeupId> {
        self.remembered = 0;
        std::mem::take(&mut self.cpus).into_values().filter_map(|cpu| cpu.walk).map(|walk| walk.wakeup).collect()
    }

    #[cfg(test)]
    /// CPUs, and wait queue entries remembered of all walks.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.cpus.len(), self.remembered)
    }
}
