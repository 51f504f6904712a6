//! Addresses, tids and descriptors that are used again.

use tracer_common::Hook;
use tracer_common::events::ctl_flags;

use crate::event::Event;
use crate::model::testing::{ET, Item, LISTENER, LT, PID, RING_FULL, Trace, ep};

#[test]
fn a_del_that_is_told_after_the_next_add_leaves_what_was_added() {
    let mut trace = Trace::new();
    let old = Item::socket(1, LISTENER, LT);
    let new = Item { epi: 0x2_0000, ..old };
    trace.add(PID, old);
    trace.hooked(101, new);
    trace.finds(101, 1, new, 0);
    trace.finds(PID, 2, new, 0);
    let model = trace.model();
    assert_eq!(model.items().iter().map(|item| item.epi).collect::<Vec<_>>(), [new.epi]);
}

#[test]
fn an_add_that_is_told_while_another_task_adds_the_same_again_leaves_that_one_alone() {
    let mut trace = Trace::new();
    let old = Item::socket(1, LISTENER, LT);
    let new = Item { epi: 0x2_0000, ..old };
    trace.hooked(PID, old);
    trace.ctl(102, 2, old, 0);
    trace.hooked(101, new);
    trace.finds(PID, 1, new, 0);
    trace.finds(101, 1, new, ctl_flags::LINKED);
    let model = trace.model();
    let items: Vec<_> = model.items().iter().map(|item| (item.epi, item.adding)).collect();
    assert_eq!(items, [(new.epi, None)]);
    assert_eq!(model.eventpolls().iter().map(|ep| ep.items_ever).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_mask_that_another_mod_has_replaced_is_not_the_items() {
    let mut trace = Trace::new();
    let item = Item::socket(1, LISTENER, LT);
    trace.add(PID, item);
    trace.ctl(101, 3, Item { events: ET, ..item }, 0);
    trace.finds(PID, 3, item, ctl_flags::SUPERSEDED);
    let model = trace.model();
    assert_eq!(model.items().iter().map(|item| (item.events, item.mods)).collect::<Vec<_>>(), [(ET, 2)]);
}

/// `old` is deleted, and another file comes to live at the address of its file: the ADD of `new` tells so.
fn another_file(old: Item, new: Item) -> Trace {
    let mut trace = Trace::new();
    trace.describes(old.file, 0x6000);
    trace.add(PID, old);
    trace.ctl(PID, 2, old, 0);
    trace.hooked(101, new);
    let header = *trace.events.last().and_then(Event::header).unwrap();
    trace.describes(new.file, 0x7000);
    if let Some(Event::FileInfo(info)) = trace.events.last_mut() {
        info.header = header;
    }
    trace
}

#[test]
fn an_item_stays_when_its_add_tells_that_another_file_was_at_the_address_before() {
    let old = Item::socket(1, LISTENER, LT);
    let new = Item { epi: 0x2_0000, fd: 9, ..old };
    let model = another_file(old, new).model();
    let items: Vec<_> = model.items().iter().map(|item| (item.epi, item.fd, item.adding)).collect();
    assert_eq!(items, [(new.epi, 9, Some(101))]);
    let files: Vec<_> = model.files().iter().map(|file| (file.alive, file.info.map(|info| info.f_op))).collect();
    assert_eq!(files, [(false, Some(0x6000)), (true, Some(0x7000))]);
    let flags: Vec<_> = model.files().iter().map(|file| (file.stats.flags.items, file.fd)).collect();
    assert_eq!(flags, [(1, Some(old.fd)), (1, Some(new.fd))], "each file has had one item");
    assert_eq!(model.eventpolls().iter().map(|ep| (ep.items, ep.items_ever)).collect::<Vec<_>>(), [(1, 2)]);
}

#[test]
fn an_eventpoll_of_the_file_that_now_has_an_address_is_none_of_the_file_that_had_it() {
    for now in [ep(1), ep(2)] {
        let old = Item::socket(1, LISTENER, LT);
        let new = Item { ep: now, epi: 0x2_0000, fd: 9, ..old };
        let model = another_file(old, new).model();
        let address = |id| model.eventpolls().get(id).unwrap().address;
        let registered: Vec<Vec<u64>> =
            model.files().iter().map(|file| model.registered(file.id).map(address).collect()).collect();
        assert_eq!(registered, [[ep(1)], [now]]);
    }
}

#[test]
fn an_eventpoll_address_that_is_used_again_is_another_eventpoll() {
    let mut trace = Trace::new();
    trace.add(PID, Item::socket(1, LISTENER, LT));
    trace.eventpoll_gone(ep(1));
    trace.add(PID, Item::socket(1, LISTENER, LT));
    let model = trace.model();
    let lives: Vec<_> = model.eventpolls().iter().map(|ep| (ep.generation, ep.alive, ep.items)).collect();
    assert_eq!(lives, [(1, false, 0), (2, true, 1)]);
}

#[test]
fn a_del_by_a_file_without_an_item_is_of_the_one_item_with_its_descriptor() {
    let left = |also: Option<Item>, lost: bool| {
        let mut trace = Trace::new();
        let item = Item::socket(1, LISTENER, LT);
        trace.add(PID, item);
        if let Some(other) = also {
            trace.add(PID, other);
        }
        if lost {
            trace.lost(Hook::Ctl, RING_FULL, 1);
        }
        trace.ctl(PID, 2, Item { file: item.file + 0x1000, ..item }, 0);
        let model = trace.model();
        let mut items: Vec<_> = model.items().iter().map(|item| (item.epi, item.doubt)).collect();
        items.sort_unstable();
        items
    };
    let item = Item::socket(1, LISTENER, LT);
    let other = Item { fd: item.fd + 1, epi: 0x2_0000, data: 2, ..item };
    assert_eq!(left(None, false), []);
    assert_eq!(left(Some(other), false), [(other.epi, false)]);
    assert_eq!(left(None, true), [(item.epi, true)]);
    let same = Item { fd: item.fd, file: item.file + 0x2000, ..other };
    let mut both = [(item.epi, true), (same.epi, true)];
    both.sort_unstable();
    assert_eq!(left(Some(same), false), both);
}

#[test]
fn what_is_told_of_an_eventpoll_after_its_end_begins_no_other() {
    let mut trace = Trace::new();
    let item = Item::socket(1, LISTENER, LT);
    trace.add(PID, item);
    trace.enter(PID, item.ep);
    trace.eventpoll_gone(item.ep);
    trace.first(item);
    trace.ctl(PID, 2, item, 0);
    trace.leave(PID, item.ep, Ok(&[]));
    let told = |trace: &Trace| {
        let model = trace.model();
        model.eventpolls().iter().map(|ep| (ep.items, ep.items_ever, ep.alive)).collect::<Vec<_>>()
    };
    assert_eq!(told(&trace), [(0, 1, false)]);
    // That somebody calls it, or adds to it, does.
    trace.ctl(PID, 1, item, -1);
    trace.eventpoll_gone(item.ep);
    trace.add(PID, item);
    assert_eq!(told(&trace), [(0, 1, false), (0, 0, false), (1, 1, true)]);
}

#[test]
fn a_file_address_that_is_used_again_is_another_source() {
    let mut trace = Trace::new();
    let item = Item::socket(1, LISTENER, LT);
    trace.listens(LISTENER, 8080);
    trace.add(PID, item);
    trace.first(item);
    trace.file_gone(LISTENER);
    trace.listens(LISTENER, 9090);
    trace.add(PID, item);
    trace.first(item);
    let model = trace.model();
    let wakeups: Vec<_> = model.files().iter().map(|file| (file.alive, file.stats.wakeups)).collect();
    assert_eq!(wakeups, [(false, 1), (true, 1)]);
}

#[test]
fn an_item_address_of_another_key_is_another_item() {
    let mut trace = Trace::new();
    let item = Item::socket(1, LISTENER, LT);
    trace.add(PID, item);
    trace.add(PID, Item { file: 0xf100, fd: 4, data: 4, ..item });
    let model = trace.model();
    assert_eq!(model.items().count(), 1, "the first has ended unseen");
    assert_eq!(model.items().iter().next().unwrap().fd, 4);
}

#[test]
fn an_item_is_learned_from_its_callback() {
    let mut trace = Trace::new();
    trace.first(Item::socket(1, LISTENER, LT));
    let model = trace.model();
    let item = model.items().iter().next().unwrap();
    assert_eq!((item.fd, item.events, item.data), (3, LT, 3));
}

#[test]
fn an_add_that_failed_after_its_hook_leaves_nothing() {
    let mut trace = Trace::new();
    let item = Item::socket(1, LISTENER, LT);
    trace.hooked(PID, item);
    trace.ctl(PID, 1, item, -28);
    let model = trace.model();
    assert_eq!(model.items().count(), 0);
    assert_eq!((model.totals().ctl_add, model.totals().ctl_failed), (1, 1));
}

#[test]
fn an_add_that_failed_because_the_item_exists_leaves_it() {
    let mut trace = Trace::new();
    let item = Item::socket(1, LISTENER, LT);
    trace.add(PID, item);
    trace.ctl(PID, 1, item, -17);
    assert_eq!(trace.model().items().count(), 1);
}

#[test]
fn del_and_close_remove_items() {
    let mut trace = Trace::new();
    let other = Item { file: 0xf100, fd: 4, ..Item::socket(2, 0, LT) };
    trace.add(PID, Item::socket(1, LISTENER, LT));
    trace.add(PID, other);
    trace.ctl(PID, 2, Item::socket(1, LISTENER, LT), 0);
    trace.file_gone(0xf100);
    let model = trace.model();
    assert_eq!(model.items().count(), 0);
    assert!(model.eventpolls().iter().all(|ep| ep.items == 0 && ep.items_ever == 1));
}

#[test]
fn a_tid_that_is_used_again_is_another_task() {
    let mut trace = Trace::new();
    trace.enter(101, ep(1));
    trace.exit(101, "first");
    trace.fork(PID, PID, 101, "second");
    trace.enter(101, ep(1));
    let model = trace.model();
    let tasks: Vec<_> = model.tasks().iter().filter(|task| task.tid == 101).map(|task| task.comm.as_str()).collect();
    assert_eq!(tasks, ["first", "second"]);
    assert_eq!(model.totals().waits_open, 2);
}
