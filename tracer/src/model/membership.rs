//! How stays on the ready list begin and end, event by event; what the words mean stands in [`super::ready`].

use tracer_common::events::{Returned, Scan, scan_flags};

use super::Model;
use super::ids::{EpId, ItemId, TaskId};
use super::limits::bump;
use super::outcome::{EP_PRIVATE_BITS, EPOLLONESHOT, Outcome};
use super::ready::{Armed, Batch, Came, Stay, Went};

/// The most items with the same data that are told apart.
const MAX_SAME_DATA: usize = 16;

impl Model {
    /// A callback moves an item, or shows where it is.
    pub(super) fn callback_moves(&mut self, id: ItemId, outcome: Outcome) {
        // Without scans in the trace nobody can say what became of an item that is no longer on the list.
        let went = if self.scans > 0 { Went::NotReady } else { Went::Unknown };
        let ended = self.items.change(id, |item| match outcome {
            Outcome::Disabled | Outcome::Filtered => None,
            Outcome::Overflow | Outcome::AlreadyOverflow => {
                item.overflow = true;
                None
            }
            Outcome::Linked => {
                item.armed = None;
                item.stay.replace(Stay::new(Came::Callback)).filter(|stay| !stay.tentative)
            }
            Outcome::Already => {
                let came = Armed::came(item.armed.take());
                item.stay.get_or_insert(Stay::new(came)).tentative = false;
                None
            }
        });
        if let Some(stay) = ended.flatten() {
            self.ready.end(Stay { carried: 0, ..stay }, went);
        }
    }

    /// A scan takes the ready list; at its end it has put back what is level-triggered and what came meanwhile.
    pub(super) fn take_ready(&mut self, task: TaskId, ep: EpId, scan: &Scan) {
        let room = self.limits.all_batches.saturating_sub(self.batched).min(self.limits.batch);
        let ids = self.items.waiting(ep, room.saturating_add(1));
        let complete = ids.len() <= room;
        if !complete {
            bump(&mut self.exceeded.batches);
        }
        let mut batch = Batch { scans: 1, ..Batch::default() };
        for id in ids.into_iter().take(room) {
            let taken = self.items.change(id, |item| {
                let taken = item.stay.take();
                if std::mem::take(&mut item.overflow) {
                    item.stay = Some(Stay::new(Came::Overflow));
                } else if taken.is_some() && scan.delivered != 0 && item.is_level_triggered() && !item.is_disabled() {
                    item.stay = Some(Stay { tentative: true, ..Stay::new(Came::Requeue) });
                }
                taken
            });
            if let Some(stay) = taken.flatten() {
                batch.stays.insert(id, stay);
            }
        }
        batch.left_over = scan.flags & scan_flags::LEFT_OVER != 0;
        self.batched = self.batched.saturating_add(batch.stays.len());
        if let Some(task) = self.tasks.get_mut(task) {
            task.batch = batch;
        }
    }

    /// A wait returned an event.
    pub(super) fn deliver(&mut self, task: TaskId, ep: EpId, returned: &Returned) {
        let Some(id) = self.which_item(task, ep, returned) else {
            return;
        };
        let Some(batch) = self.tasks.get_mut(task).map(|task| &mut task.batch) else {
            return;
        };
        let scanned = batch.scans > 0;
        let taken = batch.stays.remove(&id);
        if taken.is_some() {
            self.batched = self.batched.saturating_sub(1);
        }
        let ended = self.items.change(id, |item| {
            let in_batch = taken.is_some();
            let seen = if scanned { taken } else { item.stay.take() };
            let stay = seen.unwrap_or(Stay::new(Armed::came(item.armed)));
            item.armed = None;
            if item.events & EPOLLONESHOT != 0 {
                item.events &= EP_PRIVATE_BITS;
                return (stay, Went::OneShot);
            }
            if item.is_level_triggered() {
                item.stay = match item.stay {
                    // Another scan has it by now.
                    None if in_batch => None,
                    None => Some(Stay::new(Came::Requeue)),
                    // Put back by the delivery, so the scan's end did not put it there.
                    Some(other) if other.tentative || other.came == Came::Overflow => Some(Stay::new(Came::Requeue)),
                    other => other,
                };
            }
            (stay, Went::Delivered)
        });
        if let Some((stay, went)) = ended {
            self.ready.end(stay, went);
        }
    }

    /// Which item an event belongs to: known by its data, as far as that says.
    fn which_item(&mut self, task: TaskId, ep: EpId, returned: &Returned) -> Option<ItemId> {
        let found = self.items.with_data(ep, returned.data, MAX_SAME_DATA + 1);
        match found.as_slice() {
            [] => {
                bump(&mut self.ready.unmatched);
                return None;
            }
            [only] => return Some(*only),
            _ => {}
        }
        let batch = self.tasks.get_mut(task).map(|task| &mut task.batch)?;
        let fits = |id: &ItemId| {
            batch.stays.contains_key(id) && self.items.get(*id).is_some_and(|item| item.events & returned.events != 0)
        };
        let mut fitting = found.iter().copied().filter(fits);
        let first = fitting.next();
        if found.len() <= MAX_SAME_DATA && first.is_some() && fitting.next().is_none() {
            return first;
        }
        batch.truncated = true;
        bump(&mut self.ready.ambiguous);
        None
    }

    /// The items that a scan took and its wait did not return: found not ready, left over, or not known.
    pub(super) fn settle(&mut self, task: TaskId) {
        let Some(batch) = self.tasks.get_mut(task).map(|task| std::mem::take(&mut task.batch)) else {
            return;
        };
        self.batched = self.batched.saturating_sub(batch.stays.len());
        for (id, stay) in batch.stays {
            let ended = self.items.change(id, |item| {
                let requeued = item.stay.is_some_and(|stay| stay.tentative);
                if batch.truncated {
                    return Some(Went::Unknown);
                }
                if !batch.left_over {
                    item.stay = item.stay.filter(|_| !requeued);
                    return Some(Went::NotReady);
                }
                if item.stay.is_some() && !requeued {
                    return Some(Went::NotReady);
                }
                item.stay = Some(Stay { tentative: false, carried: stay.carried.saturating_add(1), ..stay });
                None
            });
            match ended {
                Some(Some(went)) => self.ready.end(stay, went),
                Some(None) => {}
                None => self.ready.end(stay, Went::Unknown),
            }
        }
    }

    /// The trace ends: what is on a ready list stays there.
    pub(super) fn end_stays(&mut self) {
        let mut ids: Vec<ItemId> = self.items.iter().filter(|item| item.stay.is_some()).map(|item| item.id).collect();
        ids.sort_unstable();
        for id in ids {
            if let Some(stay) = self.items.change(id, |item| item.stay.take()).flatten() {
                self.ready.end(stay, Went::Stays);
            }
        }
    }
}
