//! Traces of which events are missing: what was not seen is not claimed.

use tracer_common::Hook;
use tracer_common::events::{DELIVERED_UNKNOWN, callback_flags, scan_flags};

use crate::event::Event;
use crate::model::testing::{ET, Item, LISTENER, LT, PID, RING_FULL, Trace, ep, pair, so_far};
use crate::model::{Memberships, Model};

/// Two items of one eventpoll, both called back.
fn two(trace: &mut Trace, events: u32) -> (Item, Item) {
    let (first, second) = pair(events);
    for item in [first, second] {
        trace.add(PID, item);
        trace.first(item);
    }
    (first, second)
}

/// A wait that is told to end, of which these events are lost.
fn leave_without(trace: &mut Trace, items: &[Item], lost: impl Fn(&Event) -> bool) {
    let at = trace.events.len();
    trace.leave(101, ep(1), Ok(items));
    let told: Vec<Event> = trace.events.drain(at..).filter(|event| !lost(event)).collect();
    trace.events.extend(told);
}

/// Delivered, found not ready, not known.
fn went(model: &Model) -> [u64; 3] {
    let Memberships { went, .. } = model.ready_list();
    [went.delivered, went.not_ready, went.unknown]
}

/// Of the item with this descriptor: whether it is on the ready list, and whether that is in doubt.
fn stands(model: &Model, fd: i32) -> (bool, bool) {
    let item = model.items().iter().find(|item| item.fd == fd).unwrap();
    (item.stay.is_some(), item.doubt)
}

#[test]
fn what_a_wait_took_is_not_known_when_its_end_is_missing() {
    let model = so_far(|trace| {
        let (first, _) = two(trace, LT);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 1, scan_flags::REQUEUED);
        leave_without(trace, &[first], |event| matches!(event, Event::WaitExit(_)));
        trace.enter(101, ep(1));
    });
    assert_eq!(went(&model), [0, 0, 2]);
    assert_eq!((stands(&model, 3), stands(&model, 4)), ((true, true), (true, true)));
}

#[test]
fn what_a_wait_took_is_not_known_when_the_hook_cannot_know_what_it_delivered() {
    let model = so_far(|trace| {
        let (first, _) = two(trace, ET);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), DELIVERED_UNKNOWN, 0);
        leave_without(trace, &[first], |event| matches!(event, Event::WaitExit(_)));
        trace.enter(101, ep(1));
    });
    assert_eq!(went(&model), [0, 0, 2]);
}

#[test]
fn what_one_of_the_events_would_have_told_is_not_known() {
    let model = so_far(|trace| {
        let (first, second) = two(trace, LT);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 2, scan_flags::REQUEUED);
        leave_without(trace, &[first, second], |event| matches!(event, Event::Returned(_)));
        trace.enter(101, ep(1));
    });
    assert_eq!(went(&model), [1, 0, 1]);
    assert_eq!((stands(&model, 3), stands(&model, 4)), ((true, false), (true, true)));
}

#[test]
fn what_the_first_event_would_have_told_is_not_known() {
    let model = so_far(|trace| {
        let (first, second) = two(trace, ET);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 2, 0);
        leave_without(trace, &[first, second], |event| matches!(event, Event::WaitExit(_)));
        trace.enter(101, ep(1));
    });
    assert_eq!(went(&model), [1, 0, 1]);
}

#[test]
fn a_scan_that_delivered_was_the_last_of_its_wait() {
    let model = so_far(|trace| {
        two(trace, ET);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 1, 0);
        trace.scan(101, ep(1), 0, 0);
    });
    assert_eq!(went(&model), [0, 0, 2]);
}

#[test]
fn a_scan_after_an_event_that_is_missing_says_nothing_of_the_wait_before() {
    let model = so_far(|trace| {
        let (first, second) = two(trace, ET);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), DELIVERED_UNKNOWN, 0);
        leave_without(trace, &[first, second], |event| matches!(event, Event::Returned(_)));
        trace.scan(101, ep(1), 0, 0);
    });
    assert_eq!(went(&model), [1, 0, 1]);
}

#[test]
fn a_second_scan_of_a_wait_shows_that_the_first_delivered_nothing() {
    let model = so_far(|trace| {
        two(trace, ET);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), DELIVERED_UNKNOWN, 0);
        trace.scan(101, ep(1), 0, 0);
    });
    assert_eq!(went(&model), [0, 2, 0]);
}

#[test]
fn a_wait_that_returned_another_number_of_events_is_another_wait() {
    let model = so_far(|trace| {
        let (first, _) = two(trace, ET);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 2, 0);
        trace.leave(101, ep(1), Ok(&[]));
        trace.first(first);
    });
    assert_eq!(went(&model), [0, 0, 2]);
}

#[test]
fn how_far_a_scan_came_is_not_known_when_the_end_of_its_wait_is_missing() {
    let model = so_far(|trace| {
        two(trace, ET);
        trace.enter_with(101, ep(1), -1, 1);
        trace.scan(101, ep(1), DELIVERED_UNKNOWN, 0);
        if let Some(Event::Scan(scan)) = trace.events.last_mut() {
            scan.flags = scan_flags::IN_WAIT;
        }
        trace.enter(101, ep(1));
    });
    assert_eq!(went(&model), [0, 0, 2]);
    assert_eq!((stands(&model, 3), stands(&model, 4)), ((false, true), (false, true)));
}

/// An item on the ready list, then a loss at this hook.
fn lossy(trace: &mut Trace, hook: Hook) -> (Item, Item) {
    let items = two(trace, ET);
    trace.lost(hook, RING_FULL, 1);
    items
}

#[test]
fn whether_an_item_left_the_list_during_a_loss_is_not_known() {
    let scans = |hook| {
        let model = so_far(|trace| {
            lossy(trace, hook);
            trace.enter(101, ep(1));
            trace.scan(101, ep(1), 0, 0);
        });
        went(&model)
    };
    for hook in [Hook::Scan, Hook::Callback, Hook::Ctl, Hook::Hooked, Hook::WaitExit, Hook::Release] {
        assert_eq!(scans(hook), [0, 0, 2], "{}", hook.name());
    }
    for hook in [Hook::Accept, Hook::Wake, Hook::Lifecycle, Hook::Io] {
        assert_eq!(scans(hook), [0, 2, 0], "{}", hook.name());
    }
}

#[test]
fn a_scan_after_a_loss_may_be_of_another_wait_than_the_scan_before() {
    let model = so_far(|trace| {
        two(trace, ET);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), DELIVERED_UNKNOWN, 0);
        trace.lost(Hook::WaitExit, RING_FULL, 1);
        trace.scan(101, ep(1), 0, 0);
    });
    assert_eq!(went(&model), [0, 0, 2]);
}

#[test]
fn a_callback_shows_after_a_loss_that_its_item_is_on_the_list() {
    let model = so_far(|trace| {
        let (first, _) = lossy(trace, Hook::Scan);
        trace.callback(first, callback_flags::FIRST | callback_flags::LINKED, 0);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 0, 0);
    });
    assert_eq!(went(&model), [0, 1, 1]);
}

#[test]
fn an_item_is_not_claimed_to_have_been_on_the_list_when_it_was_removed_after_a_loss() {
    let mut trace = Trace::new();
    let (first, _) = lossy(&mut trace, Hook::Scan);
    trace.ctl(PID, 2, first, 0);
    let ready = *trace.model().ready_list();
    assert_eq!((ready.went.deleted, ready.went.still_there, ready.went.unknown), (0, 0, 2));
}

#[test]
fn a_delivery_after_a_loss_is_known_and_how_long_it_took_is_not() {
    let mut trace = Trace::new();
    let (first, second) = lossy(&mut trace, Hook::Scan);
    trace.enter(101, ep(1));
    trace.scan(101, ep(1), 2, 0);
    trace.leave(101, ep(1), Ok(&[first, second]));
    let model = trace.model();
    assert_eq!(went(&model), [2, 0, 0]);
    let ep = model.eventpolls().last_at(ep(1)).unwrap().id;
    assert_eq!(model.latencies(ep).map_or(0, |known| known.callback_to_return.samples()), 0);
}

#[test]
fn an_item_whose_callback_may_be_lost_is_not_said_to_have_been_ready_at_its_add() {
    let mut trace = Trace::new();
    let item = Item::socket(1, LISTENER, ET);
    trace.add(PID, item);
    trace.lost(Hook::Callback, RING_FULL, 1);
    trace.enter(101, ep(1));
    trace.scan(101, ep(1), 1, 0);
    trace.leave(101, ep(1), Ok(&[item]));
    let ready = *trace.model().ready_list();
    assert_eq!((ready.came.ready_at_add, ready.came.unknown, ready.went.delivered), (0, 1, 1));
}

#[test]
fn the_order_from_before_a_loss_does_not_say_what_a_scan_left_over() {
    let model = so_far(|trace| {
        let (first, second) = lossy(trace, Hook::Scan);
        trace.enter_with(101, ep(1), -1, 1);
        trace.scan_leaving(101, ep(1), 1, scan_flags::LEFT_OVER, second.epi);
        trace.leave(101, ep(1), Ok(&[first]));
    });
    let second = model.items().iter().find(|item| item.fd == 4).unwrap();
    assert_eq!((went(&model), second.doubt), ([1, 0, 0], true));
    assert_eq!(second.stay.map(|stay| stay.carried), Some(0), "it may have come anew");
}

#[test]
fn an_item_from_before_a_loss_may_be_left_over_with_those_behind_it() {
    let model = so_far(|trace| {
        lossy(trace, Hook::Scan);
        let third = Item { epi: 0x3_0000, fd: 5, data: 5, ..Item::socket(1, 0xf200, ET) };
        let fourth = Item { epi: 0x4_0000, fd: 6, data: 6, ..Item::socket(1, 0xf300, ET) };
        for item in [third, fourth] {
            trace.add(PID, item);
            trace.first(item);
        }
        trace.enter_with(101, ep(1), -1, 1);
        trace.scan_leaving(101, ep(1), 1, scan_flags::LEFT_OVER, fourth.epi);
        trace.leave(101, ep(1), Ok(&[third]));
    });
    assert_eq!(went(&model), [1, 0, 0]);
    assert_eq!([3, 4, 5, 6].map(|fd| stands(&model, fd)), [(true, true), (true, true), (false, false), (true, true)]);
}
