//! An eventpoll as it stands at this moment: its lists in their order, and the tasks that wait on it.

use super::Model;
use super::ids::{EpId, ItemId, TaskId};
use super::item::Item;

/// The items on an eventpoll's lists, in the order of the lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    /// On the ready list.
    pub ready: Vec<ItemId>,
    /// On the overflow list, the first to come first. (The kernel's own list is linked the other way round.)
    pub overflow: Vec<ItemId>,
    /// The order of the ready list is certain.
    pub ordered: bool,
}

/// A task inside a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// The task.
    pub task: TaskId,
    /// When its wait began, nanoseconds of `CLOCK_MONOTONIC`.
    pub since_ns: u64,
    /// It was taken off the wait queue, and has not scanned the ready list since.
    pub woken: bool,
}

impl Model {
    /// The lists of an eventpoll; `None` when they hold more than `cap` items.
    #[must_use]
    pub fn lists(&self, ep: EpId, cap: usize) -> Option<Lists> {
        let ids = self.items.waiting(ep, cap.saturating_add(1));
        if ids.len() > cap {
            return None;
        }
        let items = || ids.iter().filter_map(|id| self.items.get(*id));
        let mut ready: Vec<_> = items().filter_map(|item| Some((item.stay?.rank, item.id))).collect();
        let mut overflow: Vec<_> = items().filter_map(|item| Some((item.overflow?.rank, item.id))).collect();
        ready.sort_unstable();
        overflow.sort_unstable();
        let second = |pairs: Vec<(u64, ItemId)>| pairs.into_iter().map(|(_, id)| id).collect();
        Some(Lists {
            ready: second(ready),
            overflow: second(overflow),
            ordered: self.eventpolls.get(ep).is_some_and(|ep| !ep.disorder)
                && items().all(|item| !item.is_stale(self.losses.lists_ns)),
        })
    }

    /// How many items are on an eventpoll's ready list, and on its overflow list.
    #[must_use]
    pub fn list_lengths(&self, ep: EpId) -> (u64, u64) {
        let overflow = self.items.overflowed(ep).count();
        (self.items.ready(ep), u64::try_from(overflow).unwrap_or(u64::MAX))
    }

    /// The item that lives at this address of an epitem.
    #[must_use]
    pub fn item_at(&self, epi: u64) -> Option<&Item> {
        self.items.at(epi).and_then(|id| self.items.get(id))
    }

    /// The items of an eventpoll that were registered first, at most `cap`.
    pub fn first_items(&self, ep: EpId, cap: usize) -> impl Iterator<Item = &Item> {
        self.items.first_of_ep(ep, cap).filter_map(|id| self.items.get(id))
    }

    /// Tasks whose wait on this eventpoll has not ended: the latest to begin first, as the kernel puts each before those that sleep
    /// already (`__add_wait_queue_exclusive`, include/linux/wait.h, 5.10 to 7.3).
    #[must_use]
    pub fn waiting_tasks(&self, ep: EpId) -> Vec<Waiter> {
        let mut waiters: Vec<Waiter> = self
            .waiters(ep)
            .filter_map(|id| self.tasks.get(id))
            .filter_map(|task| {
                let wait = task.wait.filter(|wait| wait.ep == Some(ep))?;
                let woken = task.held.is_some_and(|held| held.at_ns >= wait.since_ns && !held.scanned);
                Some(Waiter { task: task.id, since_ns: wait.since_ns, woken })
            })
            .collect();
        waiters.sort_by_key(|waiter| (std::cmp::Reverse(waiter.since_ns), waiter.task));
        waiters
    }
}
