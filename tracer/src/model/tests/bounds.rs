//! Memory that depends on what lives, and what is said of the rest.

use tracer_common::events::{callback_flags, scan_flags};

use crate::event::Event;
use crate::model::testing::{Item, LT, PID, Trace, ep};
use crate::model::{Limits, Model};

fn folded(trace: &Trace, limits: Limits) -> Model {
    let mut model = Model::with_limits(limits);
    for event in &trace.events {
        model.apply(event);
    }
    model
}

/// Items of eventpoll 1, each of its own file.
fn items<const COUNT: usize>() -> [Item; COUNT] {
    std::array::from_fn(|at| {
        let n = u64::try_from(at).unwrap();
        let fd = 10 + i32::try_from(at).unwrap();
        Item { ep: ep(1), epi: 0x2_0000 + n * 0x100, file: 0xf100 + n * 0x100, fd, data: n, events: LT }
    })
}

#[test]
fn all_of_a_long_overflow_list_comes_to_the_ready_list() {
    let mut trace = Trace::new();
    let all = items::<6>();
    for item in all {
        trace.add(PID, item);
    }
    for item in &all[..3] {
        trace.first(*item);
    }
    for item in &all[3..] {
        trace.callback(*item, callback_flags::FIRST | callback_flags::SCANNING, 0);
    }
    trace.callback(all[0], callback_flags::FIRST | callback_flags::LINKED, 0);
    let model = folded(&trace, Limits { batch: 2, ..Limits::default() });
    let ep = model.eventpolls().iter().next().unwrap().id;
    assert_eq!(model.list_lengths(ep), (6, 0));
}

#[test]
fn items_that_do_not_fit_a_scan_are_counted_and_the_order_is_no_longer_known() {
    for in_wait in [true, false] {
        let mut trace = Trace::new();
        for item in items::<3>() {
            trace.add(PID, item);
            trace.first(item);
        }
        trace.scan(101, ep(1), 0, 0);
        if let Some(Event::Scan(scan)) = trace.events.last_mut()
            && !in_wait
        {
            scan.flags &= !scan_flags::IN_WAIT;
        }
        let model = folded(&trace, Limits { batch: 2, ..Limits::default() });
        assert_eq!(model.exceeded().batches, 1);
        assert!(model.exceeded().touches_numbers(), "stays that did not end are not counted");
        let ep = model.eventpolls().iter().next().unwrap().id;
        assert!(!model.lists(ep, 10).unwrap().ordered);
    }
}

#[test]
fn items_that_were_put_back_count_among_those_of_scans() {
    let mut trace = Trace::new();
    let all = items::<4>();
    for item in all {
        trace.add(PID, item);
    }
    trace.enter(101, ep(1));
    trace.scan(101, ep(1), 4, scan_flags::REQUEUED);
    trace.leave(101, ep(1), Ok(&all));
    let last = trace.events.pop();
    let mut model = folded(&trace, Limits { all_batches: 2, ..Limits::default() });
    assert_eq!((model.batched, model.exceeded().batches), (2, 1));
    model.apply(&last.unwrap());
    assert_eq!((model.batched, model.exceeded().batches), (0, 2));
    assert_eq!(model.ready_list().went.delivered, 4, "what is delivered is known all the same");
}
