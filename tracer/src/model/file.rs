//! Watched files by address and generation: the sources of wakeups.

use std::collections::{BTreeMap, VecDeque};

use ahash::AHashMap;
use tracer_common::events::FileInfo;

use super::by_id::ById;
use super::histogram::Histogram;
use super::ids::{FileId, Sequence};
use super::limits::{Exceeded, Limits, bump};
use super::outcome::{EPOLLET, EPOLLEXCLUSIVE, EPOLLONESHOT, Outcomes};
use super::wakeup::Wakeup;

/// `TCP_LISTEN` (`include/net/tcp_states.h`).
const TCP_LISTEN: u8 = 10;

/// The most kinds of ended files that are told apart.
const MAX_ENDED_KINDS: usize = 1_024;

/// What is known of all wakeups of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceStats {
    /// Source wakeups that are finished.
    pub wakeups: u64,
    /// What its callbacks did.
    pub outcomes: Outcomes,
    /// Items called back, per source wakeup.
    pub called: Histogram,
    /// Tasks woken, per source wakeup.
    pub woken: Histogram,
    /// Waits that ended with events, per source wakeup.
    pub returned: Histogram,
    /// Waits after which the task accepted a connection of this source, per source wakeup.
    pub useful: Histogram,
    /// Woken and not useful, per source wakeup.
    pub wasted: Histogram,
    /// Wakes after which the task slept on inside the same wait.
    pub swallowed: u64,
    /// Wakes that came through the wake chain of level-triggered items (`ep_done_scan`).
    pub chained: u64,
    /// Tasks that were taken off the wait queue while running anyway.
    pub already_running: u64,
    /// Callbacks of outer eventpolls inside its walks.
    pub nested: u64,
    /// Wakes whose task had not shown what it found when the trace ended.
    pub unfinished: u64,
    /// Connections accepted after its wakes.
    pub gained: u64,
    /// Connections accepted from it.
    pub accepts: u64,
    /// Accepts that found none.
    pub accept_eagain: u64,
    /// Items registered on it.
    pub flags: ItemFlags,
}

impl SourceStats {
    /// Adds a finished source wakeup.
    pub(crate) fn fold(&mut self, wakeup: &Wakeup) {
        bump(&mut self.wakeups);
        self.called.add(wakeup.called);
        self.woken.add(wakeup.woken);
        self.returned.add(wakeup.returned);
        self.useful.add(wakeup.useful);
        self.wasted.add(wakeup.woken.saturating_sub(wakeup.useful));
        self.swallowed = self.swallowed.saturating_add(wakeup.swallowed);
        self.chained = self.chained.saturating_add(wakeup.chained);
        self.already_running = self.already_running.saturating_add(wakeup.already_running);
        self.nested = self.nested.saturating_add(wakeup.nested);
        self.unfinished = self.unfinished.saturating_add(wakeup.unfinished);
        self.gained = self.gained.saturating_add(wakeup.gained);
    }

    /// Adds another source's numbers.
    pub fn merge(&mut self, other: &Self) {
        self.wakeups = self.wakeups.saturating_add(other.wakeups);
        self.outcomes.merge(&other.outcomes);
        self.called.merge(&other.called);
        self.woken.merge(&other.woken);
        self.returned.merge(&other.returned);
        self.useful.merge(&other.useful);
        self.wasted.merge(&other.wasted);
        let sums = [
            (&mut self.swallowed, other.swallowed),
            (&mut self.chained, other.chained),
            (&mut self.already_running, other.already_running),
            (&mut self.nested, other.nested),
            (&mut self.unfinished, other.unfinished),
            (&mut self.gained, other.gained),
            (&mut self.accepts, other.accepts),
            (&mut self.accept_eagain, other.accept_eagain),
            (&mut self.flags.items, other.flags.items),
            (&mut self.flags.exclusive, other.flags.exclusive),
            (&mut self.flags.et, other.flags.et),
            (&mut self.flags.oneshot, other.flags.oneshot),
        ];
        for (mine, theirs) in sums {
            *mine = mine.saturating_add(theirs);
        }
    }
}

/// Items by the flags of their last known mask, removed ones included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct ItemFlags {
    /// All items.
    pub items: u64,
    /// With `EPOLLEXCLUSIVE`.
    pub exclusive: u64,
    /// With `EPOLLET`.
    pub et: u64,
    /// With `EPOLLONESHOT`.
    pub oneshot: u64,
}

impl ItemFlags {
    /// Counts a new item.
    pub(crate) const fn add(&mut self, events: u32) {
        bump(&mut self.items);
        self.set(events, true);
    }

    /// Takes back that an item was counted.
    pub(crate) const fn remove(&mut self, events: u32) {
        self.items = self.items.saturating_sub(1);
        self.set(events, false);
    }

    /// Counts an item whose mask changed.
    pub(crate) const fn change(&mut self, old: u32, new: u32) {
        self.set(old, false);
        self.set(new, true);
    }

    const fn set(&mut self, events: u32, more: bool) {
        Self::step(&mut self.exclusive, events & EPOLLEXCLUSIVE != 0, more);
        Self::step(&mut self.et, events & EPOLLET != 0, more);
        Self::step(&mut self.oneshot, events & EPOLLONESHOT != 0, more);
    }

    const fn step(counter: &mut u64, applies: bool, more: bool) {
        if applies {
            *counter = if more { counter.saturating_add(1) } else { counter.saturating_sub(1) };
        }
    }
}

/// One life of a watched file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its identity.
    pub id: FileId,
    /// Its address in the kernel.
    pub address: u64,
    /// The descriptor it was first registered with.
    pub fd: Option<i32>,
    /// What it is, once it was told.
    pub info: Option<FileInfo>,
    /// Whether someone accepts connections from it.
    pub listening: bool,
    /// What is known of its wakeups.
    pub stats: SourceStats,
    /// Eventpolls that it was registered in and that are no longer shown one by one.
    pub eventpolls_gone: usize,
    /// Whether it is open.
    pub alive: bool,
}

/// All watched files, and some that have ended.
#[derive(Debug, Clone, Default)]
pub struct Files {
    live: AHashMap<u64, FileId>,
    all: ById<FileId, File>,
    retired: VecDeque<FileId>,
    retired_listening: VecDeque<FileId>,
    /// Ended files that are no longer shown one by one: `f_op` → how many, and their numbers together.
    ended: BTreeMap<u64, (u64, SourceStats)>,
    sequence: Sequence,
}

impl Files {
    /// The file that lives at this address, made now if there is none; number 0 beyond the limit and for address 0.
    pub(crate) fn at(&mut self, address: u64, limits: &Limits, exceeded: &mut Exceeded) -> FileId {
        if let Some(&id) = self.live.get(&address) {
            return id;
        }
        if address == 0 {
            return FileId(0);
        }
        if self.live.len() >= limits.files {
            bump(&mut exceeded.files);
            return FileId(0);
        }
        let id = FileId(self.sequence.next());
        self.live.insert(address, id);
        let stats = SourceStats::default();
        let file = File { id, address, fd: None, info: None, listening: false, stats, eventpolls_gone: 0, alive: true };
        self.all.insert(id, file);
        id
    }

    /// Notes what a file is.
    pub(crate) fn learn(&mut self, id: FileId, info: &FileInfo) {
        if let Some(file) = self.all.get_mut(&id) {
            file.info = Some(*info);
            file.listening |= info.state == TCP_LISTEN && info.family != 0;
        }
    }

    /// Whether what was told before of the file at this address contradicts `info`: then it is another file.
    pub(crate) fn contradicts(&self, info: &FileInfo) -> bool {
        let known = self.live.get(&info.file).and_then(|id| self.all.get(id)).and_then(|file| file.info);
        known.is_some_and(|known| (known.f_op, known.ino) != (info.f_op, info.ino))
    }

    /// Ends the life at this address; names an older one that is no longer kept because of it.
    pub(crate) fn end(&mut self, address: u64, limits: &Limits, exceeded: &mut Exceeded) -> Option<FileId> {
        let id = self.live.remove(&address)?;
        let file = self.all.get_mut(&id)?;
        file.alive = false;
        let queue = if file.listening { &mut self.retired_listening } else { &mut self.retired };
        queue.push_back(id);
        let dropped = if queue.len() > limits.retired { queue.pop_front() } else { None };
        if let Some(oldest) = dropped.and_then(|id| self.all.remove(&id)) {
            bump(&mut exceeded.ended_files);
            let (files, stats) = self.ended_kind(oldest.info.map_or(0, |info| info.f_op));
            bump(files);
            stats.merge(&oldest.stats);
        }
        dropped
    }

    /// The numbers of a file; of all that are not kept when it is not.
    pub(crate) fn stats(&mut self, id: FileId) -> &mut SourceStats {
        let Self { all, ended, .. } = self;
        match all.get_mut(&id) {
            Some(file) => &mut file.stats,
            None => &mut ended.entry(0).or_default().1,
        }
    }

    pub(crate) fn get_mut(&mut self, id: FileId) -> Option<&mut File> {
        self.all.get_mut(&id)
    }

    fn ended_kind(&mut self, f_op: u64) -> &mut (u64, SourceStats) {
        let full = self.ended.len() >= MAX_ENDED_KINDS && !self.ended.contains_key(&f_op);
        self.ended.entry(if full { 0 } else { f_op }).or_default()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: FileId) -> Option<&File> {
        self.all.get(&id)
    }

    /// The file that lives at this address.
    #[must_use]
    pub fn live_at(&self, address: u64) -> Option<&File> {
        self.live.get(&address).and_then(|id| self.all.get(id))
    }

    /// All of them, in the order in which they were first seen.
    pub fn iter(&self) -> impl Iterator<Item = &File> {
        self.all.values()
    }

    /// Ended files that are no longer shown one by one: address of their `file_operations`, how many, their numbers.
    pub fn ended(&self) -> impl Iterator<Item = (u64, u64, &SourceStats)> {
        self.ended.iter().map(|(&f_op, (files, stats))| (f_op, *files, stats))
    }

    /// How many are open.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.live.len()
    }
}
