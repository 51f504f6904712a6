//! Addresses, tids and descriptors that are used again.

use crate::model::testing::{Item, LISTENER, LT, PID, Trace, ep};

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
