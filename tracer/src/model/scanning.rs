//! What a scan makes of the ready list, and how the end of its wait shows it. What the words mean stands in [`super::ready`].

use std::collections::BTreeMap;

use tracer_common::EP_PRIVATE_BITS;
use tracer_common::events::{DELIVERED_UNKNOWN, Returned, Scan, scan_flags};

use super::Model;
use super::ids::{EpId, ItemId, TaskId};
use super::item::{Item, level_triggered};
use super::limits::bump;
use super::outcome::EPOLLONESHOT;
use super::ready::{Batch, Came, Overflow, Stay, Taken, Went};
use super::task::Task;

/// The most items with the same data that are told apart.
const MAX_SAME_DATA: usize = 16;

/// Ranks that are kept free for what came during a scan and is told after it.
const RANKS_BETWEEN: u64 = 1 << 16;

/// What a scan is known to have done with the items it took.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "what is known of one scan, each by itself")]
struct Fate {
    task: TaskId,
    /// When it was told.
    at_ns: u64,
    /// What was shown of an item's place before this may have changed unseen.
    lost_ns: u64,
    /// Items from this rank on were not reached.
    left_from: Option<u64>,
    /// A wait may have returned what was reached.
    delivers: bool,
    /// A level-triggered item that was reached may have been put back.
    requeues: bool,
    /// It is known how far the scan came.
    reach_known: bool,
    /// The order of the list is known.
    order_known: bool,
}

/// What became of one item in a scan.
enum Moved {
    /// The scan came to it; how its stay ended shows when the wait returns.
    Reached(Taken),
    /// It was found not ready, if it was there.
    NotReady(Stay, Went),
    /// Nothing that ends a stay.
    Kept,
}

impl Model {
    /// A scan takes the ready list; at its end it has put back what is level-triggered and what came meanwhile.
    pub(super) fn take_ready(&mut self, task: TaskId, ep: EpId, scan: &Scan) {
        self.merge_earlier(ep, self.since_ns(task), scan);
        let room = self.limits.all_batches.saturating_sub(self.batched).min(self.limits.batch);
        let (ids, all) = self.scanned(ep, room);
        let overflowed = self.rank_requeues(ep, &ids);
        let fate = self.fate(task, scan);
        let mut taken = BTreeMap::new();
        for id in ids {
            match self.items.change(id, |item| moved(item, &fate)) {
                Some(Moved::Reached(item)) => {
                    taken.insert(id, item);
                }
                Some(Moved::NotReady(stay, went)) => self.end_stay((ep, id), stay, went),
                Some(Moved::Kept) | None => {}
            }
        }
        self.batched = self.batched.saturating_add(taken.len());
        self.order_after(ep, scan, &fate, all);
        let has = |flag: u32| scan.flags & flag != 0;
        if let Some(task) = self.tasks.get_mut(task) {
            task.batch = Batch {
                taken,
                ep: Some(ep),
                at_ns: fate.at_ns,
                delivered: scan.delivered,
                reach_known: fate.reach_known,
                order_known: fate.order_known,
                left_over: has(scan_flags::LEFT_OVER),
                overflowed,
                ..Batch::default()
            };
        }
    }

    /// A poll of an eventpoll that is watched itself: it drops items that are not ready until it finds one that is, and delivers
    /// nothing (`__ep_eventpoll_poll`; 5.10: `ep_read_events_proc`).
    pub(super) fn nested_scan(&mut self, task: TaskId, ep: EpId, scan: &Scan) {
        self.merge_earlier(ep, self.since_ns(task), scan);
        let (ids, all) = self.scanned(ep, self.limits.batch);
        self.rank_requeues(ep, &ids);
        let fate = self.fate(TaskId(0), scan);
        for id in ids {
            if let Some(Moved::NotReady(stay, went)) = self.items.change(id, |item| moved(item, &fate)) {
                self.end_stay((ep, id), stay, went);
            }
        }
        self.order_after(ep, scan, &fate, all);
    }

    /// After what a scan by this task began: its wait, or being woken from it. `None` outside of waits.
    fn since_ns(&self, task: TaskId) -> Option<u64> {
        let task = self.tasks.get(task)?;
        let woken = task.held.map_or(0, |held| held.at_ns);
        Some(task.wait?.since_ns.max(woken))
    }

    /// What a scan takes: so many items of the lists, and whether those are all.
    fn scanned(&mut self, ep: EpId, room: usize) -> (Vec<ItemId>, bool) {
        let mut ids = self.items.waiting(ep, room.saturating_add(1));
        let all = ids.len() <= room;
        if !all {
            bump(&mut self.exceeded.batches);
            ids.truncate(room);
        }
        (ids, all)
    }

    /// Items that were not followed through a scan are no longer where they were. After a scan that leaves nothing on the kernel's lists the
    /// order of what comes from then on is told.
    fn order_after(&mut self, ep: EpId, scan: &Scan, fate: &Fate, all: bool) {
        let filled = scan_flags::REQUEUED | scan_flags::LEFT_OVER | scan_flags::OVERFLOW;
        let empty = scan.flags & (scan_flags::LISTS_KNOWN | filled) == scan_flags::LISTS_KNOWN;
        if (!all || (empty && !fate.order_known))
            && let Some(ep) = self.eventpolls.get_mut(ep)
        {
            ep.disorder = !all;
        }
    }

    fn fate(&self, task: TaskId, scan: &Scan) -> Fate {
        let has = |flag: u32| scan.flags & flag != 0;
        let lists = has(scan_flags::LISTS_KNOWN);
        let order_known = !self.eventpolls.live_at(scan.ep).is_some_and(|ep| ep.disorder);
        let first_left = self.items.at(scan.first_left).and_then(|id| self.items.get(id));
        let left_over = lists && has(scan_flags::LEFT_OVER);
        let left_from =
            first_left.filter(|_| left_over && order_known).and_then(|item| item.stay).map(|stay| stay.rank);
        Fate {
            task,
            at_ns: self.span.last,
            lost_ns: self.losses.lists_ns,
            left_from,
            reach_known: lists && (!left_over || left_from.is_some()),
            order_known,
            delivers: delivers(scan),
            requeues: delivers(scan) && (!lists || has(scan_flags::REQUEUED)),
        }
    }

    /// Gives what is taken new places behind what came meanwhile, in the old order: `ep_done_scan` puts the overflow list before
    /// what was put back. What is left over keeps its place, which is before both. The place of an item from before a loss is not known.
    /// Returns what is on the overflow list.
    fn rank_requeues(&mut self, ep: EpId, ids: &[ItemId]) -> Vec<ItemId> {
        let overflowed = |item: &Item| item.overflow.map(|overflow| (overflow, item.id));
        let mut overflow: Vec<_> = ids.iter().filter_map(|id| self.items.get(*id)).filter_map(overflowed).collect();
        overflow.sort_unstable_by_key(|(overflow, id)| (overflow.rank, *id));
        for (overflow, id) in &overflow {
            let rank = self.next_rank();
            self.items.change(*id, |item| item.overflow = Some(Overflow { rank, ..*overflow }));
        }
        let between = self.ranks.saturating_add(1)..self.ranks.saturating_add(RANKS_BETWEEN);
        self.ranks = between.end;
        if let Some(ep) = self.eventpolls.get_mut(ep) {
            ep.between = between;
        }
        let (lost_ns, mut stale) = (self.losses.lists_ns, false);
        let stays = |item: &Item| {
            stale |= item.is_stale(lost_ns);
            item.stay.map(|stay| (stay.rank, item.id))
        };
        let mut listed: Vec<_> = ids.iter().filter_map(|id| self.items.get(*id)).filter_map(stays).collect();
        if stale && let Some(ep) = self.eventpolls.get_mut(ep) {
            ep.disorder = true;
        }
        listed.sort_unstable();
        for (_, id) in listed {
            let rank = self.next_rank();
            self.items.change(id, |item| item.requeue_rank = rank);
        }
        overflow.into_iter().map(|(_, id)| id).collect()
    }

    /// A wait returned an event.
    pub(super) fn deliver(&mut self, task: TaskId, ep: EpId, returned: &Returned) {
        let Some(id) = self.which_item(task, ep, returned) else {
            return;
        };
        let rank = self.next_rank();
        let (now, lost_ns) = (self.span.last, self.losses.lists_ns);
        let Some(batch) = self.tasks.get_mut(task).map(|task| &mut task.batch) else {
            return;
        };
        let taken = batch.taken.remove(&id);
        let scanned = batch.ep.is_some();
        if let Some(taken) = taken {
            self.batched = self.batched.saturating_sub(1);
            batch.last_delivered = batch.last_delivered.max(taken.stay.rank);
        }
        let mask = taken.map(|taken| taken.events).or_else(|| self.items.get(id).map(|item| item.events));
        if scanned && mask.is_some_and(level_triggered) && !batch.requeued.contains(&id) {
            if self.batched < self.limits.all_batches {
                batch.requeued.insert(id);
                self.batched = self.batched.saturating_add(1);
            } else {
                // What the scan put back is not known in full.
                batch.truncated = true;
                bump(&mut self.exceeded.batches);
            }
        }
        let ended = self.items.change(id, |item| {
            let events = taken.map_or(item.events, |taken| taken.events);
            // Not in the batch: nobody saw it come, or it was taken for left over.
            let stay = taken.map(|taken| taken.stay).or_else(|| if scanned { None } else { item.stay.take() });
            let stay = stay.unwrap_or_else(|| Stay::new(item.came_unseen(lost_ns), rank, now));
            item.armed = None;
            if events & EPOLLONESHOT != 0 {
                if taken.is_none_or(|taken| taken.mods == item.mods) {
                    item.events &= EP_PRIVATE_BITS;
                }
                return (stay, Went::OneShot);
            }
            if level_triggered(events) {
                put_back(item, task, taken, (rank, now));
            }
            (stay, Went::Delivered)
        });
        match (ended, taken) {
            (Some((stay, went)), _) => self.end_stay((ep, id), stay, went),
            // It was removed between the scan and the end of the wait.
            (None, Some(taken)) => self.end_stay((ep, id), taken.stay, Went::Delivered),
            (None, None) => {}
        }
    }

    /// Which item an event belongs to: known by its data, as far as that says.
    fn which_item(&mut self, task: TaskId, ep: EpId, returned: &Returned) -> Option<ItemId> {
        let batch = self.tasks.get_mut(task).map(|task| &mut task.batch)?;
        // Nearly all waits return one event, of few items taken.
        let mut fitting = batch.taken.iter().filter(|(_, taken)| {
            taken.data == returned.data && (taken.events & returned.events != 0 || taken.events & !EP_PRIVATE_BITS == 0)
        });
        let first = fitting.next().map(|(id, _)| *id);
        if first.is_some() && fitting.next().is_none() {
            return first;
        }
        let found = self.items.with_data(ep, returned.data, MAX_SAME_DATA);
        match (first, found.as_slice()) {
            (None, []) => bump(&mut self.ready.unmatched),
            (None, [only]) => return Some(*only),
            _ => {
                batch.truncated = true;
                bump(&mut self.ready.ambiguous);
            }
        }
        None
    }

    /// The items that a scan took and its wait did not return: found not ready, left over, or not known.
    pub(super) fn settle(&mut self, task: TaskId) {
        self.settle_where(task, |_| false);
    }

    /// The same, of a scan of which more should have been told, or where more is missing that would tell what it delivered: then that
    /// stays unknown. After a loss the end of its wait and the begin of the next may be missing.
    pub(super) fn settle_where(&mut self, task: TaskId, missing: impl FnOnce(&Task) -> bool) {
        let lost_ns = self.losses.lists_ns;
        let batch = self.tasks.get_mut(task).map(|task| {
            if task.batch.expected > 0 || task.batch.at_ns < lost_ns || missing(task) {
                task.batch.cut_off();
            }
            std::mem::take(&mut task.batch)
        });
        let Some(batch) = batch else { return };
        self.batched = self.batched.saturating_sub(batch.taken.len()).saturating_sub(batch.requeued.len());
        self.compare_requeued(task, &batch);
        // A batch without an eventpoll has taken nothing.
        let ep = batch.ep.unwrap_or(EpId(0));
        for (id, taken) in &batch.taken {
            let carried = !batch.reach_known && batch.left_over && taken.stay.rank > batch.last_delivered;
            let ended = self.items.change(*id, |item| {
                let mine = item.pending == Some(task) && item.stay.is_some_and(|stay| stay.tentative);
                if batch.truncated {
                    item.doubt |= mine || (!batch.reach_known && batch.left_over);
                    return Some(Went::Unknown);
                }
                if !batch.reach_known && !batch.order_known && batch.left_over {
                    // Not ready, or not reached.
                    item.doubt = true;
                    item.stay = item.stay.or(Some(Stay { tentative: false, ..taken.stay }));
                    return None;
                }
                if carried && (mine || item.stay.is_none()) {
                    let carried = taken.stay.carried.saturating_add(1);
                    item.stay = Some(Stay { tentative: false, carried, ..taken.stay });
                    return None;
                }
                if mine {
                    item.stay = None;
                    item.pending = None;
                }
                // Of one that is delivered it is the mask that says where it went, and that may have changed unseen, too.
                item.shown_ns = item.shown_ns.max(batch.at_ns);
                Some(Went::NotReady.if_not(taken.stale))
            });
            match ended {
                Some(Some(went)) => self.end_stay((ep, *id), taken.stay, went),
                Some(None) => {}
                // It was removed between the scan and the end of the wait.
                None if batch.truncated => self.end_stay((ep, *id), taken.stay, Went::Unknown),
                None => self.end_stay((ep, *id), taken.stay, Went::NotReady.if_not(taken.stale)),
            }
        }
        self.compare_observed(task, &batch);
    }
}

/// Whether a scan's events go to a wait. `DELIVERED_UNKNOWN` is negative, too.
const fn delivers(scan: &Scan) -> bool {
    scan.delivered > 0 || (scan.flags & scan_flags::IN_WAIT != 0 && scan.delivered == DELIVERED_UNKNOWN)
}

/// What a scan does with one item of the ready or overflow list.
fn moved(item: &mut Item, fate: &Fate) -> Moved {
    item.observed = None;
    let stale = item.doubt || item.is_stale(fate.lost_ns);
    let overflow = item.overflow.take();
    if let Some(overflow) = overflow {
        item.shown_ns = item.shown_ns.max(overflow.called_ns);
    }
    let Some(stay) = item.stay.take() else {
        item.stay = overflow.map(|overflow| Stay::overflowed(overflow, fate.at_ns));
        return Moved::Kept;
    };
    if fate.left_from.is_some_and(|rank| stay.rank >= rank) {
        item.stay = Some(Stay { tentative: false, carried: stay.carried.saturating_add(1), ..stay });
        return Moved::Kept;
    }
    let level = level_triggered(item.events);
    if let Some(overflow) = overflow {
        item.stay = Some(Stay::overflowed(overflow, fate.at_ns));
    } else if fate.requeues && level {
        item.stay = Some(Stay { tentative: true, ..Stay::new(Came::Requeue, item.requeue_rank, fate.at_ns) });
        item.pending = Some(fate.task);
    }
    if !fate.delivers && !fate.reach_known {
        item.doubt = true;
        item.stay = Some(stay);
        return Moved::Kept;
    }
    if !fate.delivers {
        item.shown_ns = fate.at_ns;
        return if stay.tentative { Moved::Kept } else { Moved::NotReady(stay, Went::NotReady.if_not(stale)) };
    }
    if !fate.reach_known {
        item.pending = Some(fate.task);
    }
    Moved::Reached(Taken { stay, data: item.data, events: item.events, mods: item.mods, stale })
}

/// A delivered level-triggered item is back on the list at once.
fn put_back(item: &mut Item, task: TaskId, taken: Option<Taken>, (rank, now): (u64, u64)) {
    item.stay = match item.stay {
        // Another scan has it by now.
        None if taken.is_some() => None,
        None => Some(Stay::new(Came::Requeue, rank, now)),
        // Put back by the delivery, so the scan's end did not put it there.
        Some(stay) if stay.tentative && (item.pending == Some(task) || taken.is_none()) => {
            Some(Stay { tentative: false, ..stay })
        }
        // And stays there: what came meanwhile is moved only from no list.
        Some(stay) if stay.came == Came::Overflow && taken.is_some() => {
            Some(Stay { came: Came::Requeue, rank: item.requeue_rank, ..stay })
        }
        other => other,
    };
}
