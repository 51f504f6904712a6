//! How stays on the ready list begin: callbacks, ADD, MOD, and what the inventory found. What scans make of them stands in
//! [`super::scanning`], what the words mean in [`super::ready`].

use tracer_common::events::{Callback, Ctl, FileEnds, Raced, Scan, callback_flags, ctl_flags, scan_flags};

use super::Model;
use super::ids::{EpId, ItemId};
use super::outcome::Outcome;
use super::ready::{Armed, Came, Overflow, Stay, Went};

impl Model {
    /// The place behind everything that is on any list.
    pub(super) const fn next_rank(&mut self) -> u64 {
        self.ranks = self.ranks.saturating_add(1);
        self.ranks
    }

    /// A callback moves an item, or shows where it is.
    pub(super) fn callback_moves(&mut self, id: ItemId, callback: &Callback, outcome: Outcome) {
        let rank = self.next_rank();
        let scanning = callback.flags & callback_flags::SCANNING != 0;
        let linked = callback.flags & callback_flags::LINKED != 0;
        let ep = self.items.get(id).map(|item| item.ep);
        let (now, lost_ns) = (self.span.last, self.losses.lists_ns);
        let overflowed = matches!(outcome, Outcome::Overflow | Outcome::AlreadyOverflow);
        if let Some(ep) = ep.and_then(|ep| self.eventpolls.get_mut(ep)) {
            let over = ep.overflow && !scanning;
            ep.overflow = overflowed || (ep.overflow && scanning);
            if over {
                let ep = ep.id;
                self.merge_overflow(ep);
            }
        }
        let mut misplaced = false;
        let ended = self.items.change(id, |item| {
            if overflowed {
                item.overflow.get_or_insert(Overflow { rank, called_ns: now });
                return None;
            }
            if scanning {
                return None;
            }
            // No scan runs: where the item is says what its stay is.
            item.doubt = false;
            item.observed = None;
            let gone = if linked {
                misplaced = item.is_stale(lost_ns);
                let came = item.came_unseen(lost_ns);
                item.armed = None;
                item.stay.get_or_insert(Stay::new(came, rank, now)).tentative = false;
                None
            } else {
                item.stay.take().filter(|stay| !stay.tentative)
            };
            if outcome == Outcome::Linked {
                item.armed = None;
                item.stay = Some(Stay::new(Came::Callback, rank, now));
            }
            item.shown_ns = now;
            gone
        });
        if misplaced && let Some(ep) = ep.and_then(|ep| self.eventpolls.get_mut(ep)) {
            ep.disorder = true;
        }
        if let (Some(stay), Some(ep)) = (ended.flatten(), ep) {
            // It is no longer where the model had it, and nobody said why.
            self.end_stay((ep, id), stay, Went::Unknown);
        }
    }

    /// No scan runs: what came during the last one is on the ready list, also what came after its end was told.
    pub(super) fn merge_overflow(&mut self, ep: EpId) {
        self.merge_where(ep, |_| Some(true));
    }

    /// What came before this scan began is on the ready list: the scan before was told a while before it was over, and a callback that came
    /// meanwhile found it running. The scan began after `since_ns`. What came before that is of this kind, and so is what is not on the
    /// overflow list at the end of this scan, unless it found this one running and came when it was over. Only both together are certain,
    /// for a callback is told a while before it looks whether a scan runs.
    pub(super) fn merge_earlier(&mut self, ep: EpId, since_ns: Option<u64>, scan: &Scan) {
        let empty = scan.flags & (scan_flags::LISTS_KNOWN | scan_flags::OVERFLOW) == scan_flags::LISTS_KNOWN;
        self.merge_where(ep, |overflow| {
            let before = since_ns.is_some_and(|since_ns| overflow.called_ns < since_ns);
            (before || empty).then_some(before && empty)
        });
    }

    /// Moves items from the overflow list to the ready list, where they have been since they were called back or soon after: those of which
    /// `certain` says whether it is certain that they are there.
    fn merge_where(&mut self, ep: EpId, certain: impl Fn(&Overflow) -> Option<bool>) {
        let found = |id| {
            let overflow = self.items.get(id)?.overflow?;
            Some((overflow, id, !certain(&overflow)?))
        };
        let mut merged: Vec<_> = self.items.overflowed(ep).filter_map(found).collect();
        if merged.is_empty() {
            return;
        }
        merged.sort_unstable_by_key(|(overflow, id, _)| (overflow.rank, *id));
        for (overflow, id, doubt) in merged {
            let overflow = self.place(ep, overflow);
            if doubt && let Some(ep) = self.eventpolls.get_mut(ep) {
                ep.disorder = true;
            }
            self.items.change(id, |item| {
                item.overflow = None;
                item.doubt |= doubt;
                item.shown_ns = item.shown_ns.max(overflow.called_ns);
                // That the scan put it back is not known yet: if it did, it is there.
                let stay = item.stay.filter(|stay| !stay.tentative);
                item.stay = stay.or_else(|| Some(Stay::overflowed(overflow, overflow.called_ns)));
            });
        }
    }

    /// `ep_done_scan` puts what came meanwhile before what the scan put back, also what was told after it.
    fn place(&mut self, ep: EpId, overflow: Overflow) -> Overflow {
        let between = self.eventpolls.get_mut(ep).map(|ep| &mut ep.between);
        match between.filter(|between| overflow.rank >= between.end).and_then(Iterator::next) {
            Some(rank) => Overflow { rank, ..overflow },
            None => overflow,
        }
    }

    /// The end of an ADD or a MOD shows whether the item is ready: no callback says so (`ep_insert`, `ep_modify`, fs/eventpoll.c).
    pub(super) fn ctl_shows(&mut self, id: ItemId, ctl: &Ctl, armed: Armed) {
        if let Some(ep) = self.items.get(id).map(|item| item.ep)
            && ctl.flags & ctl_flags::RACED == 0
        {
            // The call had the mutex that scans hold: the last one was over.
            self.merge_overflow(ep);
        }
        let next = self.next_rank();
        let Some(item) = self.items.get(id) else { return };
        let rank = item.adding_rank.unwrap_or(next);
        let now = self.span.last;
        let linked = ctl.flags & (ctl_flags::FOUND | ctl_flags::LINKED) == ctl_flags::FOUND | ctl_flags::LINKED;
        let absent = ctl.flags & (ctl_flags::FOUND | ctl_flags::LINKED | ctl_flags::RACED) == ctl_flags::FOUND;
        let misplaced = ctl.flags & ctl_flags::RACED != 0 || (linked && item.is_stale(self.losses.lists_ns));
        if misplaced && let Some(ep) = self.eventpolls.get_mut(item.ep) {
            ep.disorder = true;
        }
        self.items.change(id, |item| {
            item.adding_rank = None;
            if linked {
                let came = Armed::came(Some(armed));
                item.stay.get_or_insert(Stay::new(came, rank, now)).tentative = false;
                item.armed = None;
                item.observed = None;
                item.shown_ns = now;
            } else {
                // Not found, or not ready any more: with another change at the same time that says nothing.
                item.doubt |= ctl.flags & ctl_flags::RACED != 0;
                if item.stay.is_none() {
                    item.armed = Some(armed);
                    item.shown_ns = if absent { now } else { item.shown_ns };
                }
            }
        });
    }

    /// A callback's outcome is not certain: another change ran at the same time.
    pub(super) fn on_raced(&mut self, raced: &Raced) {
        let Some(id) = self.items.at(raced.epi) else { return };
        let ep = self.items.change(id, |item| {
            item.doubt = true;
            item.ep
        });
        if let Some(ep) = ep.and_then(|ep| self.eventpolls.get_mut(ep)) {
            ep.disorder = true;
        }
    }

    /// A file's items leave their eventpolls between now and the file's end.
    pub(super) fn on_file_ends(&mut self, ends: &FileEnds) {
        let Some(file) = self.files.live_at(ends.file).map(|file| file.id) else { return };
        for id in self.items.of_file(file) {
            self.items.change(id, |item| item.ending = true);
        }
    }

    /// The trace ends: what is on a ready list stays there.
    pub(super) fn end_stays(&mut self) {
        let lost_ns = self.losses.lists_ns;
        let mut ids: Vec<ItemId> = self.items.iter().filter(|item| item.stay.is_some()).map(|item| item.id).collect();
        ids.sort_unstable();
        for id in ids {
            let ended = self.items.change(id, |item| {
                item.stay.take().map(|stay| (item.ep, stay, Went::Stays.if_not(item.is_stale(lost_ns))))
            });
            if let Some((ep, stay, went)) = ended.flatten() {
                self.end_stay((ep, id), stay, went);
            }
        }
    }
}
