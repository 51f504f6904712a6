//! Why items come to the ready list and go.

use tracer_common::events::{callback_flags, scan_flags};

use crate::model::Memberships;
use crate::model::testing::{ET, Item, LISTENER, LT, PID, Trace, ep, lt};

fn ready(build: impl Fn(&mut Trace)) -> Memberships {
    let mut trace = Trace::new();
    build(&mut trace);
    *trace.model().ready_list()
}

fn returns(trace: &mut Trace, item: Item) {
    trace.enter(101, item.ep);
    trace.scan(101, item.ep, 1, 0);
    trace.leave(101, item.ep, Ok(&[item]));
}

#[test]
fn callback_delivery_requeue_and_not_ready_add_up() {
    let ready = *lt().model().ready_list();
    assert_eq!((ready.came.callback, ready.came.requeue, ready.came.unknown), (12, 6, 0));
    assert_eq!((ready.went.delivered, ready.went.not_ready, ready.went.unknown), (6, 12, 0));
    assert_eq!(ready.went.still_there, 0);
}

#[test]
fn an_edge_triggered_item_is_not_requeued() {
    let ready = ready(|trace| {
        let item = Item::socket(1, LISTENER, ET);
        trace.add(PID, item);
        trace.first(item);
        returns(trace, item);
    });
    assert_eq!((ready.came.callback, ready.came.requeue, ready.went.delivered), (1, 0, 1));
}

#[test]
fn delivered_without_a_callback_was_ready_when_added_or_modified() {
    let ready = ready(|trace| {
        let item = Item::socket(1, LISTENER, ET);
        trace.add(PID, item);
        returns(trace, item);
        trace.ctl(PID, 3, item, 0);
        returns(trace, item);
    });
    assert_eq!((ready.came.ready_at_add, ready.came.ready_at_mod, ready.came.unknown), (1, 1, 0));
    assert_eq!(ready.went.delivered, 2);
}

#[test]
fn a_new_callback_before_the_wait_returned_is_another_stay() {
    let ready = ready(|trace| {
        let item = Item::socket(1, LISTENER, ET);
        trace.add(PID, item);
        trace.first(item);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 1, 0);
        trace.first(item);
        trace.leave(101, ep(1), Ok(&[item]));
    });
    assert_eq!(ready.came.callback, 2);
    assert_eq!((ready.went.delivered, ready.went.not_ready, ready.went.still_there), (1, 0, 1));
}

#[test]
fn an_item_called_back_during_a_scan_comes_by_the_overflow_list() {
    let ready = ready(|trace| {
        let item = Item::socket(1, LISTENER, ET);
        trace.add(PID, item);
        trace.first(item);
        trace.enter(101, ep(1));
        trace.callback(item, callback_flags::FIRST | callback_flags::SCANNING, 0);
        trace.callback(item, callback_flags::FIRST | callback_flags::SCANNING | callback_flags::ON_OVFLIST, 0);
        trace.scan(101, ep(1), 1, scan_flags::OVERFLOW);
        trace.leave(101, ep(1), Ok(&[item]));
        returns(trace, item);
    });
    assert_eq!((ready.came.callback, ready.came.overflow, ready.went.delivered), (1, 1, 2));
}

#[test]
fn what_maxevents_left_over_is_carried_over() {
    let ready = ready(|trace| {
        let first = Item::socket(1, LISTENER, ET);
        let second = Item { epi: 0x2_0000, file: 0xf100, fd: 4, data: 4, ..first };
        for item in [first, second] {
            trace.add(PID, item);
            trace.first(item);
        }
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 1, scan_flags::LEFT_OVER);
        trace.leave(101, ep(1), Ok(&[first]));
        returns(trace, second);
    });
    assert_eq!((ready.came.callback, ready.came.carried_over), (2, 1));
    assert_eq!((ready.went.delivered, ready.went.carried_over), (2, 1));
}

#[test]
fn data_that_two_items_share_says_nothing() {
    let ready = ready(|trace| {
        let first = Item::socket(1, LISTENER, ET);
        let second = Item { epi: 0x2_0000, file: 0xf100, fd: 4, ..first };
        for item in [first, second] {
            trace.add(PID, item);
            trace.first(item);
        }
        returns(trace, first);
    });
    assert_eq!((ready.ambiguous, ready.went.delivered, ready.went.unknown), (1, 0, 2));
}

#[test]
fn data_that_two_items_share_is_enough_when_only_one_was_ready() {
    let ready = ready(|trace| {
        let first = Item::socket(1, LISTENER, ET);
        let second = Item { epi: 0x2_0000, file: 0xf100, fd: 4, ..first };
        trace.add(PID, first);
        trace.add(PID, second);
        trace.first(second);
        returns(trace, second);
    });
    assert_eq!((ready.ambiguous, ready.went.delivered, ready.came.callback), (0, 1, 1));
}

#[test]
fn deleted_and_closed_items_go_as_such() {
    let ready = ready(|trace| {
        let first = Item::socket(1, LISTENER, LT);
        let second = Item { epi: 0x2_0000, file: 0xf100, fd: 4, ..first };
        for item in [first, second] {
            trace.add(PID, item);
            trace.first(item);
        }
        trace.ctl(PID, 2, first, 0);
        trace.eventpoll_gone(ep(1));
    });
    assert_eq!((ready.came.callback, ready.went.deleted, ready.went.closed), (2, 1, 1));
}
