//! What is registered where: `epoll_ctl`, the hooks it installs, what files are, and the ends of files and eventpolls.

use tracer_common::events::{Callback, Ctl, EventpollSeen, FileInfo, Hooked, ItemSeen, ctl_flags, item_flags};

use super::Model;
use super::counts::op;
use super::ids::{EpId, FileId, ItemId};
use super::item::{Item, Sighting, kept_mask};
use super::journal::Registered;
use super::ready::{Armed, Came, Stay, Went};

/// Items of an eventpoll that are looked at when one of them was deleted, and not by its file.
const MAX_LOOKED_AT: usize = 4_096;

impl Model {
    pub(super) fn on_ctl(&mut self, ctl: &Ctl) {
        self.totals.ctl(ctl);
        if let Some(task) = self.task_of(&ctl.header) {
            self.count(task, |counts| counts.ctl(ctl));
        }
        let Some(ep) = self.called_on(ctl) else {
            return;
        };
        self.eventpolls.name(ep, ctl.header.tgid, ctl.epfd);
        if ctl.ret < 0 {
            if ctl.op == op::ADD {
                self.undo_add(ep, ctl);
            }
            return;
        }
        let file = self.files.at(ctl.file, &self.limits, &mut self.exceeded);
        if file == FileId(0) {
            return;
        }
        let known = self.items.find((ep, file, ctl.fd), 0);
        match (ctl.op, known) {
            (op::DEL, Some(item)) if !self.stands(item, ctl) => self.remove_item(item, Went::Deleted),
            (op::ADD, Some(item)) => {
                let tid = ctl.header.tid;
                let mine = self.items.change(item, |item| item.adding.take_if(|adding| *adding == tid)).flatten();
                if mine.is_some() || self.stands(item, ctl) {
                    self.ctl_shows(item, ctl, Armed::Add);
                } else {
                    self.remove_item(item, Went::Unknown);
                    self.add_from_ctl(ep, file, ctl, Armed::Add);
                }
            }
            (op::ADD, None) => self.add_from_ctl(ep, file, ctl, Armed::Add),
            (op::MOD, Some(item)) => self.modify(item, ctl),
            (op::MOD, None) => self.add_from_ctl(ep, file, ctl, Armed::Mod),
            (op::DEL, None) if epi_of(ctl) == 0 => self.delete_other(ep, ctl),
            _ => {}
        }
    }

    /// The eventpoll of a call. One that failed may be all that is told of it; one that succeeded was on an eventpoll that has been told.
    pub(super) fn called_on(&mut self, ctl: &Ctl) -> Option<EpId> {
        let (limits, exceeded) = (&self.limits, &mut self.exceeded);
        if ctl.ret < 0 {
            self.eventpolls.at(ctl.ep, limits, exceeded)
        } else {
            self.eventpolls.unless_ended(ctl.ep, limits, exceeded)
        }
    }

    /// A DEL succeeded, and there was no such item: when the kernel looked, the descriptor stood for another file than when the call began. It was
    /// the item of that descriptor, if there is one alone.
    fn delete_other(&mut self, ep: EpId, ctl: &Ctl) {
        let of_fd = |id: &ItemId| self.items.get(*id).is_some_and(|item| item.fd == ctl.fd);
        let found: Vec<ItemId> = self.items.first_of_ep(ep, MAX_LOOKED_AT).filter(of_fd).collect();
        if let [item] = found[..]
            && self.losses.events() == 0
        {
            self.remove_item(item, Went::Deleted);
            return;
        }
        for item in found {
            self.items.change(item, |item| item.doubt = true);
        }
    }

    /// Whether this item is what the end of a call found. After a DEL it is one that another task has added since: the item that was
    /// deleted has made room for it already.
    fn stands(&self, id: ItemId, ctl: &Ctl) -> bool {
        let epi = epi_of(ctl);
        epi != 0 && self.items.get(id).is_some_and(|item| item.epi == epi)
    }

    /// An ADD that failed after its hook was installed leaves nothing behind.
    fn undo_add(&mut self, ep: EpId, ctl: &Ctl) {
        let Some(file) = self.files.live_at(ctl.file).map(|file| file.id) else {
            return;
        };
        let Some(id) = self.items.find((ep, file, ctl.fd), 0) else {
            return;
        };
        if self.items.get(id).is_some_and(|item| item.adding == Some(ctl.header.tid)) {
            self.remove_item(id, Went::Unknown);
        }
    }

    fn add_from_ctl(&mut self, ep: EpId, file: FileId, ctl: &Ctl, armed: Armed) {
        if ctl.flags & ctl_flags::HAS_EVENT == 0 {
            return;
        }
        let epi = epi_of(ctl);
        let seen = Sighting { key: (ep, file, ctl.fd), epi, events: kept_mask(ctl.events), data: ctl.data };
        self.make_room(&seen);
        let how = if ctl.op == op::ADD { Registered::Added } else { Registered::Found };
        if let Some(id) = self.add_item(&seen, how) {
            self.ctl_shows(id, ctl, armed);
        }
    }

    fn modify(&mut self, id: ItemId, ctl: &Ctl) {
        // Of two MODs at the same time the one whose mask stands may be told first.
        if ctl.flags & (ctl_flags::HAS_EVENT | ctl_flags::SUPERSEDED) == ctl_flags::HAS_EVENT
            && let Some(item) = self.items.get(id)
        {
            let key = (item.ep, item.file, item.fd);
            let epi = if item.epi == 0 { epi_of(ctl) } else { item.epi };
            let seen = Sighting { key, epi, events: kept_mask(ctl.events), data: ctl.data };
            self.update_item(id, &seen);
        }
        self.items.change(id, |item| item.mods = item.mods.saturating_add(1));
        self.ctl_shows(id, ctl, Armed::Mod);
    }

    pub(super) fn on_hooked(&mut self, hooked: &Hooked) {
        self.last_hooked = Some(*hooked);
        let Some(ep) = self.eventpolls.at(hooked.ep, &self.limits, &mut self.exceeded) else {
            return;
        };
        let file = self.files.at(hooked.file, &self.limits, &mut self.exceeded);
        if file == FileId(0) {
            return;
        }
        let key = (ep, file, hooked.fd);
        let seen = Sighting { key, epi: hooked.epi, events: hooked.events, data: hooked.data };
        let tid = hooked.header.tid;
        if let Some(id) = self.items.find(key, hooked.epi)
            && self.items.get(id).is_some_and(|item| item.adding == Some(tid) && item.epi == hooked.epi)
        {
            // The second wait queue of one ADD.
            self.update_item(id, &seen);
            return;
        }
        self.make_room(&seen);
        if let Some(id) = self.add_item(&seen, Registered::Added) {
            let (rank, now) = (self.next_rank(), self.span.last);
            self.items.change(id, |item| {
                item.adding_rank = Some(rank);
                item.adding = Some(tid);
                item.shown_ns = now;
                item.armed = Some(Armed::Add);
            });
        }
    }

    /// The item of a callback, learned from it when it was not known.
    pub(super) fn item_of(&mut self, callback: &Callback, ep: EpId, file: FileId) -> Option<ItemId> {
        if file == FileId(0) {
            return None;
        }
        let key = (ep, file, callback.fd);
        let seen = Sighting { key, epi: callback.epi, events: callback.events, data: callback.data };
        let known = self.items.find(key, callback.epi);
        if let Some(id) = known
            && self.items.get(id).is_some_and(|item| item.epi == 0 || item.epi == callback.epi)
        {
            if self.items.at(callback.epi).is_some_and(|other| other != id) {
                self.make_room(&Sighting { key: (ep, FileId(0), -1), ..seen });
            }
            self.update_item(id, &seen);
            return Some(id);
        }
        self.make_room(&seen);
        self.add_item(&seen, Registered::Found)
    }

    /// Removes whoever has the address or the key of an item that is about to be made: it has ended unseen.
    fn make_room(&mut self, seen: &Sighting) {
        for stale in [self.items.at(seen.epi), self.items.find(seen.key, 0)].into_iter().flatten() {
            self.remove_item(stale, Went::Unknown);
        }
    }

    fn add_item(&mut self, seen: &Sighting, how: Registered) -> Option<ItemId> {
        let id = self.items.insert(seen, &self.limits, &mut self.exceeded)?;
        let (ep, ..) = seen.key;
        self.note_registration(ep, id, how);
        if let Some(eventpoll) = self.eventpolls.get_mut(ep) {
            eventpoll.items = eventpoll.items.saturating_add(1);
            eventpoll.items_ever = eventpoll.items_ever.saturating_add(1);
        }
        self.give_to_file(id);
        Some(id)
    }

    fn update_item(&mut self, id: ItemId, seen: &Sighting) {
        let Some(old) = self.items.get(id).map(|item| item.events) else {
            return;
        };
        if self.items.update(id, seen) {
            self.files.stats(seen.key.1).flags.change(old, seen.events);
        }
    }

    fn remove_item(&mut self, id: ItemId, went: Went) {
        let Some(item) = self.items.remove(id) else {
            return;
        };
        let how = if went == Went::Unknown { Registered::Missed } else { Registered::Removed };
        self.note_registration(item.ep, id, how);
        if let Some(stay) = item.stay
            && !stay.tentative
        {
            self.end_stay((item.ep, id), stay, went.if_not(item.is_stale(self.losses.lists_ns)));
        }
        if let Some(eventpoll) = self.eventpolls.get_mut(item.ep) {
            eventpoll.items = eventpoll.items.saturating_sub(1);
        }
    }

    /// An item that was there before tracing.
    pub(super) fn on_item_seen(&mut self, seen: &ItemSeen) {
        let Some(ep) = self.eventpolls.at(seen.ep, &self.limits, &mut self.exceeded) else {
            return;
        };
        let file = self.files.at(seen.file, &self.limits, &mut self.exceeded);
        if file == FileId(0) {
            return;
        }
        let key = (ep, file, seen.fd);
        if self.items.find(key, seen.epi).is_some_and(|id| self.items.get(id).is_some_and(|item| item.epi == seen.epi))
        {
            return;
        }
        let sighting = Sighting { key, epi: seen.epi, events: seen.events, data: seen.data };
        self.make_room(&sighting);
        let (rank, now) = (self.next_rank(), self.span.last);
        if let Some(id) = self.add_item(&sighting, Registered::Found) {
            let linked = seen.flags & item_flags::LINKED != 0;
            // Items are told in the order of the tree; which of the ready ones came first is not told.
            if linked
                && self.items.ready(ep) > 0
                && let Some(ep) = self.eventpolls.get_mut(ep)
            {
                ep.disorder = true;
            }
            self.items.change(id, |item| {
                item.shown_ns = now;
                item.stay = linked.then(|| Stay::new(Came::Before, rank, now));
            });
        }
    }

    pub(super) fn on_file_info(&mut self, info: &FileInfo) {
        let mut added = None;
        if self.files.contradicts(info) {
            added = self.just_added(info);
            if let Some(item) = added {
                self.take_from_file(item);
            }
            self.end_file_but(info.file, Went::Unknown, added);
        }
        let id = self.files.at(info.file, &self.limits, &mut self.exceeded);
        self.files.learn(id, info);
        if let Some(item) = added {
            self.items.refile(item, id);
            self.give_to_file(item);
        }
    }

    /// An ADD tells its hook first, and then what the file is: that item is of this file, and not of the one that was here before.
    fn just_added(&self, info: &FileInfo) -> Option<ItemId> {
        let told_by = |hooked: &Hooked| {
            (hooked.file, hooked.header.ts_ns, hooked.header.tid) == (info.file, info.header.ts_ns, info.header.tid)
        };
        let hooked = self.last_hooked.filter(told_by)?;
        let file = self.files.live_at(info.file)?.id;
        let item = self.items.at(hooked.epi).and_then(|id| self.items.get(id))?;
        (item.file == file && item.adding == Some(hooked.header.tid)).then_some(item.id)
    }

    /// Counts an item among those of its file.
    fn give_to_file(&mut self, id: ItemId) {
        let Some(&Item { ep, file, fd, events, .. }) = self.items.get(id) else { return };
        if let Some(file) = self.files.get_mut(file) {
            file.fd.get_or_insert(fd);
        }
        self.files.stats(file).flags.add(events);
        if let Some(items) = self.registered.note((file, ep), self.limits.pairs, &mut self.exceeded.pairs) {
            *items = items.saturating_add(1);
        }
    }

    /// The item is of another file.
    fn take_from_file(&mut self, id: ItemId) {
        let Some(&Item { ep, file, events, .. }) = self.items.get(id) else { return };
        self.files.stats(file).flags.remove(events);
        let Some(items) = self.registered.get_mut((file, ep)) else { return };
        *items = items.saturating_sub(1);
        if *items == 0 {
            self.registered.remove((file, ep));
        }
    }

    pub(super) fn on_eventpoll_seen(&mut self, seen: &EventpollSeen) {
        if let Some(ep) = self.eventpolls.at(seen.ep, &self.limits, &mut self.exceeded) {
            self.eventpolls.name(ep, seen.owner_tgid, seen.epfd);
        }
    }

    /// A file ends, and its items with it.
    pub(super) fn end_file(&mut self, address: u64, went: Went) {
        self.end_file_but(address, went, None);
    }

    /// The same, but for one item that is not of it.
    fn end_file_but(&mut self, address: u64, went: Went, kept: Option<ItemId>) {
        let Some(id) = self.files.live_at(address).map(|file| file.id) else {
            return;
        };
        for item in self.items.of_file(id).into_iter().filter(|item| Some(*item) != kept) {
            self.remove_item(item, went);
        }
        if let Some(dropped) = self.files.end(address, &self.limits, &mut self.exceeded) {
            self.registered.remove_first(dropped);
            self.shares.remove_first(dropped);
        }
    }

    /// An eventpoll ends, and its items with it.
    pub(super) fn end_eventpoll(&mut self, address: u64) {
        let Some(id) = self.eventpolls.live_at(address).map(|ep| ep.id) else {
            return;
        };
        for item in self.items.of_ep(id) {
            self.remove_item(item, Went::Closed);
        }
        if let Some(dropped) = self.eventpolls.end(address, &self.limits, &mut self.exceeded) {
            self.waiters.remove_first(dropped);
            for file in self.registered.remove_second(dropped) {
                if let Some(file) = self.files.get_mut(file) {
                    file.eventpolls_gone = file.eventpolls_gone.saturating_add(1);
                }
            }
            self.latencies.remove(&dropped);
        }
    }
}

/// The address that the end of an `epoll_ctl` found, 0 if none.
const fn epi_of(ctl: &Ctl) -> u64 {
    if ctl.flags & ctl_flags::FOUND != 0 { ctl.epi } else { 0 }
}
