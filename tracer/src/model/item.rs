//! Items (epitems) by address and generation, verified by eventpoll, file and descriptor.

use std::collections::BTreeSet;

use super::ids::{EpId, FileId, ItemId, Ranged as _, Sequence, TaskId};
use super::journal::Move;
use super::limits::{Exceeded, Limits, bump};
use super::outcome::{ALWAYS_POLLED, EPOLLET, EPOLLONESHOT};
use super::ready::{Armed, Came, Overflow, Stay};
use ahash::AHashMap;

/// One life of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its identity.
    pub id: ItemId,
    /// Its eventpoll.
    pub ep: EpId,
    /// The file it watches.
    pub file: FileId,
    /// The descriptor it was registered with.
    pub fd: i32,
    /// Its address in the kernel; 0 while it is not known.
    pub epi: u64,
    /// Its event mask.
    pub events: u32,
    /// Its data.
    pub data: u64,
    /// The task whose ADD has not ended yet.
    pub(crate) adding: Option<u32>,
    /// The place it has if that ADD found it ready.
    pub(crate) adding_rank: Option<u64>,
    /// An ADD or MOD after which no callback came: the item may have been ready then.
    pub(crate) armed: Option<Armed>,
    /// Its present stay on the ready list.
    pub(crate) stay: Option<Stay>,
    /// The place that the last scan gave it, should it have put the item back.
    pub(crate) requeue_rank: u64,
    /// The task whose scan decides a tentative stay, or whether the item is still on the list because the scan did not come to it.
    pub(crate) pending: Option<TaskId>,
    /// Whether a walk found the item on the list (or not) while its stay was tentative, and when.
    pub(crate) observed: Option<(u64, bool)>,
    /// Whether it is on the list cannot be said: its last callback raced with another change.
    pub(crate) doubt: bool,
    /// When its place was shown last; 0 before that.
    pub(crate) shown_ns: u64,
    /// Its file is ending: any moment now it leaves its eventpoll.
    pub(crate) ending: bool,
    /// MODs.
    pub(crate) mods: u64,
    /// Its place on the overflow list, if it is there.
    pub(crate) overflow: Option<Overflow>,
}

impl Item {
    /// Whether it goes back to the ready list after each delivery.
    #[must_use]
    pub const fn is_level_triggered(&self) -> bool {
        level_triggered(self.events)
    }

    /// Whether its place may have changed unseen: it was shown before something was lost.
    pub(crate) const fn is_stale(&self, lost_ns: u64) -> bool {
        self.shown_ns < lost_ns
    }

    /// Why it must have come that is found ready without a callback.
    pub(crate) const fn came_unseen(&self, lost_ns: u64) -> Came {
        Armed::came(if self.is_stale(lost_ns) { None } else { self.armed })
    }
}

/// What identifies an item to the program: eventpoll, file and descriptor.
pub(crate) type Key = (EpId, FileId, i32);

/// What was seen of an item.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighting {
    pub(crate) key: Key,
    pub(crate) epi: u64,
    pub(crate) events: u32,
    pub(crate) data: u64,
}

/// All live items, with the ways to find them.
#[derive(Debug, Clone, Default)]
pub struct Items {
    all: AHashMap<ItemId, Item>,
    by_epi: AHashMap<u64, ItemId>,
    by_key: AHashMap<Key, ItemId>,
    by_data: BTreeSet<(EpId, u64, ItemId)>,
    by_ep: BTreeSet<(EpId, ItemId)>,
    by_file: BTreeSet<(FileId, ItemId)>,
    /// Items that stay on a ready list, or on an overflow list.
    waiting: BTreeSet<(EpId, ItemId)>,
    /// Those of them on an overflow list.
    overflowed: BTreeSet<(EpId, ItemId)>,
    /// How many items of an eventpoll stay on its ready list; none is no entry.
    ready: AHashMap<EpId, u64>,
    /// What came to lists and went from them with the last event, when that is asked for.
    pub(crate) moves: Option<Vec<Move>>,
    sequence: Sequence,
}

impl Items {
    /// The item at this address if eventpoll, file and descriptor agree, else the one that has these.
    pub(crate) fn find(&self, key: Key, epi: u64) -> Option<ItemId> {
        let at = self.by_epi.get(&epi).filter(|_| epi != 0).copied();
        at.filter(|id| self.all.get(id).is_some_and(|item| (item.ep, item.file, item.fd) == key))
            .or_else(|| self.by_key.get(&key).copied())
    }

    /// Whoever lives at this address.
    pub(crate) fn at(&self, epi: u64) -> Option<ItemId> {
        self.by_epi.get(&epi).filter(|_| epi != 0).copied()
    }

    /// Makes an item; the caller has removed whoever had the address or the key before.
    pub(crate) fn insert(&mut self, seen: &Sighting, limits: &Limits, exceeded: &mut Exceeded) -> Option<ItemId> {
        if self.all.len() >= limits.items {
            bump(&mut exceeded.items);
            return None;
        }
        let id = ItemId(self.sequence.next());
        let (ep, file, fd) = seen.key;
        let item = Item {
            id,
            ep,
            file,
            fd,
            epi: seen.epi,
            events: seen.events,
            data: seen.data,
            adding: None,
            adding_rank: None,
            armed: None,
            stay: None,
            requeue_rank: 0,
            pending: None,
            observed: None,
            doubt: false,
            shown_ns: 0,
            ending: false,
            mods: 0,
            overflow: None,
        };
        if seen.epi != 0 {
            self.by_epi.insert(seen.epi, id);
        }
        self.by_key.insert(seen.key, id);
        self.by_data.insert((ep, seen.data, id));
        self.by_ep.insert((ep, id));
        self.by_file.insert((file, id));
        self.all.insert(id, item);
        Some(id)
    }

    /// Takes an item out of every index.
    pub(crate) fn remove(&mut self, id: ItemId) -> Option<Item> {
        let item = self.all.remove(&id)?;
        if self.by_epi.get(&item.epi) == Some(&id) {
            self.by_epi.remove(&item.epi);
        }
        let key = (item.ep, item.file, item.fd);
        if self.by_key.get(&key) == Some(&id) {
            self.by_key.remove(&key);
        }
        self.by_data.remove(&(item.ep, item.data, id));
        self.by_ep.remove(&(item.ep, id));
        self.by_file.remove(&(item.file, id));
        self.waiting.remove(&(item.ep, id));
        let before = places(&item);
        if before.0 {
            self.leaves(item.ep);
        }
        if before.1 {
            self.overflowed.remove(&(item.ep, id));
        }
        if before != (false, false)
            && let Some(moves) = &mut self.moves
        {
            moves.push(movement(&item, before, (false, false)));
        }
        Some(item)
    }

    /// The file that an item watches is another one than was thought.
    pub(crate) fn refile(&mut self, id: ItemId, file: FileId) {
        let Some(item) = self.all.get_mut(&id) else { return };
        let old = std::mem::replace(&mut item.file, file);
        let key = (item.ep, old, item.fd);
        if self.by_key.get(&key) == Some(&id) {
            self.by_key.remove(&key);
        }
        self.by_key.insert((item.ep, file, item.fd), id);
        self.by_file.remove(&(old, id));
        self.by_file.insert((file, id));
    }

    /// Writes down what was seen of a known item; `true` when its mask changed.
    pub(crate) fn update(&mut self, id: ItemId, seen: &Sighting) -> bool {
        let Some(item) = self.all.get_mut(&id) else {
            return false;
        };
        if seen.epi != 0 && item.epi != seen.epi {
            if self.by_epi.get(&item.epi) == Some(&id) {
                self.by_epi.remove(&item.epi);
            }
            item.epi = seen.epi;
            self.by_epi.insert(seen.epi, id);
        }
        if item.data != seen.data {
            self.by_data.remove(&(item.ep, item.data, id));
            item.data = seen.data;
            self.by_data.insert((item.ep, seen.data, id));
        }
        let changed = item.events != seen.events;
        item.events = seen.events;
        changed
    }

    /// Changes an item and keeps the list of those on a ready or overflow list.
    pub(crate) fn change<R>(&mut self, id: ItemId, change: impl FnOnce(&mut Item) -> R) -> Option<R> {
        let item = self.all.get_mut(&id)?;
        let before = places(item);
        let result = change(item);
        let (ep, after) = (item.ep, places(item));
        if before != after
            && let Some(moves) = &mut self.moves
        {
            moves.push(movement(item, before, after));
        }
        match (before.0 || before.1, after.0 || after.1) {
            (false, true) => _ = self.waiting.insert((ep, id)),
            (true, false) => _ = self.waiting.remove(&(ep, id)),
            (false, false) | (true, true) => {}
        }
        match (before.1, after.1) {
            (false, true) => _ = self.overflowed.insert((ep, id)),
            (true, false) => _ = self.overflowed.remove(&(ep, id)),
            (false, false) | (true, true) => {}
        }
        match (before.0, after.0) {
            (false, true) => bump(self.ready.entry(ep).or_default()),
            (true, false) => self.leaves(ep),
            (false, false) | (true, true) => {}
        }
        Some(result)
    }

    /// An item is no longer on a ready list.
    fn leaves(&mut self, ep: EpId) {
        if let Some(length) = self.ready.get_mut(&ep) {
            *length = length.saturating_sub(1);
            if *length == 0 {
                self.ready.remove(&ep);
            }
        }
    }

    /// How many items are on the ready list of an eventpoll, as far as that is known.
    #[must_use]
    pub fn ready(&self, ep: EpId) -> u64 {
        self.ready.get(&ep).copied().unwrap_or_default()
    }

    /// Items of an eventpoll that are on its ready list or overflow list, at most `cap`.
    pub(crate) fn waiting(&self, ep: EpId, cap: usize) -> Vec<ItemId> {
        self.waiting_of(ep).take(cap).collect()
    }

    /// All of these.
    pub(crate) fn waiting_of(&self, ep: EpId) -> impl Iterator<Item = ItemId> + '_ {
        let (least, greatest) = ItemId::ALL;
        self.waiting.range((ep, least)..=(ep, greatest)).map(|&(_, id)| id)
    }

    /// Items of an eventpoll that are on its overflow list.
    pub(crate) fn overflowed(&self, ep: EpId) -> impl Iterator<Item = ItemId> + '_ {
        let (least, greatest) = ItemId::ALL;
        self.overflowed.range((ep, least)..=(ep, greatest)).map(|&(_, id)| id)
    }

    /// Every item of an eventpoll.
    pub(crate) fn of_ep(&self, ep: EpId) -> Vec<ItemId> {
        let (least, greatest) = ItemId::ALL;
        self.by_ep.range((ep, least)..=(ep, greatest)).map(|&(_, id)| id).collect()
    }

    /// Items of an eventpoll, the first to be registered first, at most `cap`.
    pub(crate) fn first_of_ep(&self, ep: EpId, cap: usize) -> impl Iterator<Item = ItemId> + '_ {
        let (least, greatest) = ItemId::ALL;
        self.by_ep.range((ep, least)..=(ep, greatest)).take(cap).map(|&(_, id)| id)
    }

    /// Every item that watches a file.
    pub(crate) fn of_file(&self, file: FileId) -> Vec<ItemId> {
        let (least, greatest) = ItemId::ALL;
        self.by_file.range((file, least)..=(file, greatest)).map(|&(_, id)| id).collect()
    }

    /// Items of an eventpoll that carry this data, at most `cap`.
    pub(crate) fn with_data(&self, ep: EpId, data: u64, cap: usize) -> Vec<ItemId> {
        let (least, greatest) = ItemId::ALL;
        self.by_data.range((ep, data, least)..=(ep, data, greatest)).take(cap).map(|&(_, _, id)| id).collect()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: ItemId) -> Option<&Item> {
        self.all.get(&id)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Item> {
        self.all.values()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.len()
    }
}

/// Whether an item is on the ready list, and whether on the overflow list.
const fn places(item: &Item) -> (bool, bool) {
    (item.stay.is_some(), item.overflow.is_some())
}

const fn movement(item: &Item, before: (bool, bool), after: (bool, bool)) -> Move {
    Move { ep: item.ep, item: item.id, ready: (before.0, after.0), overflow: (before.1, after.1) }
}

/// Whether an item with this mask goes back to the ready list after each delivery.
pub(crate) const fn level_triggered(events: u32) -> bool {
    events & (EPOLLET | EPOLLONESHOT) == 0
}

/// The mask that the kernel keeps of the one a program gave.
pub(crate) const fn kept_mask(events: u32) -> u32 {
    events | ALWAYS_POLLED
}
