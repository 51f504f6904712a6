//! Traces of which events are missing: what was not seen is not claimed.

use tracer_common::events::{DELIVERED_UNKNOWN, scan_flags};

use crate::event::Event;
use crate::model::testing::{ET, Item, LISTENER, LT, PID, Trace, ep};
use crate::model::{Memberships, Model};

/// Two items of one eventpoll, both called back.
fn two(trace: &mut Trace, events: u32) -> (Item, Item) {
    let first = Item::socket(1, LISTENER, events);
    let second = Item { epi: 0x2_0000, file: 0xf100, fd: 4, data: 4, ..first };
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

/// What the model makes of it before its end.
fn so_far(build: impl FnOnce(&mut Trace)) -> Model {
    let mut trace = Trace::new();
    build(&mut trace);
    let mut model = Model::new();
    for event in &trace.events {
        model.apply(event);
    }
    model
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
        let (first, second) = two(trace, LT);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 1, scan_flags::REQUEUED);
        leave_without(trace, &[first], |event| matches!(event, Event::WaitExit(_)));
        trace.enter(101, ep(1));
        assert_ne!(first.fd, second.fd);
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
