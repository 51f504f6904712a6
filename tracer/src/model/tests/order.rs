//! When the order of a ready list is known, and what it says of a scan that leaves items over.

use tracer_common::events::{ItemSeen, item_flags, scan_flags};

use crate::event::Event;
use crate::model::Model;
use crate::model::testing::{ET, Item, LISTENER, LT, Trace, ep, pair, so_far};

/// Two items of one eventpoll, both ready when they were found; which of them is before the other was not told.
fn found(trace: &mut Trace, events: u32) -> (Item, Item) {
    let (first, second) = pair(events);
    for item in [first, second] {
        seen(trace, item, item_flags::LINKED);
    }
    (first, second)
}

fn seen(trace: &mut Trace, item: Item, flags: u32) {
    let header = trace.header(1);
    let Item { ep, epi, file, fd, events, data } = item;
    trace.events.push(Event::ItemSeen(ItemSeen { header, ep, epi, file, data, events, fd, flags, pad: 0 }));
}

/// A wait with room for one event, whose scan leaves over the item that is not delivered.
fn takes_one(trace: &mut Trace, delivered: Item, left: Item) {
    trace.enter_with(101, ep(1), -1, 1);
    trace.scan_leaving(101, ep(1), 1, scan_flags::LEFT_OVER, left.epi);
    trace.leave(101, ep(1), Ok(&[delivered]));
}

fn ordered(model: &Model) -> bool {
    let ep = model.eventpolls().last_at(ep(1)).unwrap().id;
    model.lists(ep, 10).unwrap().ordered
}

#[test]
fn items_found_ready_may_be_on_the_list_in_another_order_than_they_were_told() {
    let model = so_far(|trace| {
        let (first, second) = found(trace, ET);
        takes_one(trace, second, first);
    });
    let ready = model.ready_list();
    assert_eq!((ready.came.before, ready.came.unknown, ready.went.delivered), (1, 0, 1));
    let on: Vec<(i32, bool)> =
        model.items().iter().filter(|item| item.stay.is_some()).map(|item| (item.fd, item.doubt)).collect();
    assert_eq!(on, [(3, true)]);
}

#[test]
fn an_item_found_ready_alone_has_its_place() {
    let model = so_far(|trace| {
        let (first, second) = (Item::socket(1, LISTENER, ET), Item::socket(2, LISTENER, ET));
        seen(trace, first, item_flags::LINKED);
        seen(trace, second, item_flags::LINKED);
        seen(trace, Item { epi: 0x2_0000, file: 0xf100, fd: 4, ..first }, 0);
    });
    assert!(ordered(&model));
}

#[test]
fn an_item_found_ready_may_have_been_there_before_one_that_was_called_back() {
    let model = so_far(|trace| {
        let item = Item::socket(1, LISTENER, ET);
        trace.first(item);
        seen(trace, Item { epi: 0x2_0000, file: 0xf100, fd: 4, ..item }, item_flags::LINKED);
    });
    assert!(!ordered(&model));
}

/// The order after a scan that delivered so many of two items found ready.
fn ordered_after(events: u32, delivered: i32, flags: u32) -> bool {
    let model = so_far(|trace| {
        let (first, second) = found(trace, events);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), delivered, flags);
        let items = [first, second];
        trace.leave(101, ep(1), Ok(&items[..usize::try_from(delivered).unwrap()]));
    });
    ordered(&model)
}

#[test]
fn a_scan_that_leaves_the_list_empty_makes_its_order_known() {
    assert!(ordered_after(ET, 2, 0));
    assert!(!ordered_after(LT, 2, scan_flags::REQUEUED));
    assert!(!ordered_after(ET, 1, scan_flags::LEFT_OVER));
    assert!(!ordered_after(ET, 1, scan_flags::OVERFLOW));
}

#[test]
fn what_is_left_over_is_known_again_once_the_order_is() {
    let model = so_far(|trace| {
        let (first, second) = found(trace, ET);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 2, 0);
        trace.leave(101, ep(1), Ok(&[first, second]));
        trace.first(second);
        trace.first(first);
        takes_one(trace, second, first);
    });
    let left = model.items().iter().find(|item| item.fd == 3).unwrap();
    assert_eq!((left.stay.map(|stay| stay.carried), left.doubt), (Some(1), false));
}
