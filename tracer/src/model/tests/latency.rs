//! How long it took until a wait returned. Each event of these traces comes a microsecond after the one before it.

use tracer_common::events::{WakeCause, callback_flags, scan_flags};

use crate::event::Event;
use crate::model::testing::{EAGAIN, ET, Item, LISTENER, LT, PID, Trace, chain, ep, shared, workers};
use crate::model::{Latency, Limits, Model, Slowest};

const ITEM: Item = Item::socket(1, LISTENER, LT);

/// How many there were, and the longest of them with its beginning: from the callback that put an item there, and from the one
/// that woke a task.
fn seen(trace: &Trace) -> [(u64, Option<(u64, u64)>); 2] {
    let model = trace.model();
    let id = model.eventpolls().last_at(ep(1)).unwrap().id;
    let latencies = model.latencies(id).cloned().unwrap_or_default();
    let slowest = |latency: &Latency| latency.slowest().map(|Slowest { took_ns, since_ns }| (took_ns, since_ns));
    [&latencies.callback_to_return, &latencies.woken_to_return].map(|latency| (latency.samples(), slowest(latency)))
}

/// One task that waits.
fn waiting() -> Trace {
    let mut trace = Trace::new();
    workers(&mut trace, 1, LT);
    trace
}

#[test]
fn a_woken_task_that_returns_counts_for_its_item_and_for_its_wake() {
    let mut trace = waiting();
    let callback = trace.first(ITEM);
    trace.woken(ep(1), 101, callback);
    trace.scan(101, ep(1), 1, scan_flags::REQUEUED);
    trace.leave(101, ep(1), Ok(&[ITEM]));
    assert_eq!(seen(&trace), [(1, Some((3_000, callback))); 2]);
}

#[test]
fn the_way_from_a_callback_to_the_return_has_the_wake_between() {
    let mut trace = waiting();
    let callback = trace.first(ITEM);
    trace.woken(ep(1), 101, callback);
    if let Some(Event::Wake(wake)) = trace.events.last_mut() {
        wake.after_ns = 700;
    }
    trace.scan(101, ep(1), 1, scan_flags::REQUEUED);
    trace.leave(101, ep(1), Ok(&[ITEM]));
    assert_eq!(seen(&trace), [(1, Some((3_000, callback))), (1, Some((2_300, callback + 700)))]);
    let model = trace.model();
    let id = model.eventpolls().last_at(ep(1)).unwrap().id;
    let to_wake = &model.latencies(id).unwrap().callback_to_wake;
    assert_eq!((to_wake.samples(), to_wake.slowest().map(|slowest| slowest.took_ns)), (1, Some(700)));
}

#[test]
fn a_wait_that_was_not_asleep_counts_for_its_item_only() {
    let mut trace = Trace::new();
    trace.listens(LISTENER, 8080);
    trace.add(101, ITEM);
    let callback = trace.first(ITEM);
    trace.enter(101, ep(1));
    trace.scan(101, ep(1), 1, scan_flags::REQUEUED);
    trace.leave(101, ep(1), Ok(&[ITEM]));
    assert_eq!(seen(&trace), [(1, Some((3_000, callback))), (0, None)]);
}

#[test]
fn a_task_that_was_taken_off_the_queue_while_it_ran_was_not_woken() {
    let mut trace = waiting();
    let callback = trace.first(ITEM);
    trace.wake(ep(1), 101, WakeCause::Callback, (1, callback), 0);
    trace.scan(101, ep(1), 1, scan_flags::REQUEUED);
    trace.leave(101, ep(1), Ok(&[ITEM]));
    assert_eq!(seen(&trace), [(1, Some((3_000, callback))), (0, None)]);
}

#[test]
fn a_swallowed_wake_does_not_count_and_the_next_one_counts_from_its_own_callback() {
    let mut trace = waiting();
    let first = trace.first(ITEM);
    trace.woken(ep(1), 101, first);
    trace.scan(101, ep(1), 0, 0);
    let second = trace.first(ITEM);
    trace.woken(ep(1), 101, second);
    trace.scan(101, ep(1), 1, scan_flags::REQUEUED);
    trace.leave(101, ep(1), Ok(&[ITEM]));
    assert_eq!(seen(&trace), [(1, Some((3_000, second))); 2]);
    assert_eq!(trace.model().totals().swallowed, 1);
}

#[test]
fn a_wake_whose_wait_ends_without_events_does_not_count() {
    for result in [Ok(&[][..]), Err(-4)] {
        let mut trace = waiting();
        let callback = trace.first(ITEM);
        trace.woken(ep(1), 101, callback);
        trace.scan(101, ep(1), 0, 0);
        trace.leave(101, ep(1), result);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 1, scan_flags::REQUEUED);
        trace.leave(101, ep(1), Ok(&[ITEM]));
        assert_eq!(seen(&trace), [(0, None); 2]);
    }
}

#[test]
fn each_task_that_a_callback_woke_counts_from_it() {
    let mut trace = Trace::new();
    let item = shared(&mut trace, 2, LT);
    let callback = trace.first(item);
    for tid in [101, 102] {
        trace.woken(ep(1), tid, callback);
    }
    for tid in [101, 102] {
        trace.scan(tid, ep(1), 1, scan_flags::REQUEUED);
        trace.leave(tid, ep(1), Ok(&[item]));
    }
    // The second task found the item where the first had put it back.
    assert_eq!(seen(&trace), [(1, Some((4_000, callback))), (2, Some((6_000, callback)))]);
}

#[test]
fn tasks_that_a_scan_woke_are_not_woken_by_a_callback() {
    let trace = chain();
    let [items, wakes] = seen(&trace);
    assert_eq!((items.0, wakes.0), (1, 1));
    assert_eq!(trace.model().totals().woken, 4);
}

#[test]
fn an_item_of_the_overflow_list_counts_from_its_callback_on() {
    let mut trace = waiting();
    let edge = Item { events: ET, ..ITEM };
    trace.ctl(PID, 3, edge, 0);
    let first = trace.first(edge);
    trace.woken(ep(1), 101, first);
    let during = trace.callback(edge, callback_flags::SCANNING, 0);
    let again = callback_flags::SCANNING | callback_flags::ON_OVFLIST;
    trace.callback(edge, again, 0);
    trace.scan(101, ep(1), 1, scan_flags::OVERFLOW);
    trace.leave(101, ep(1), Ok(&[edge]));
    assert_eq!(seen(&trace), [(1, Some((5_000, first))); 2]);
    trace.enter(101, ep(1));
    trace.scan(101, ep(1), 1, 0);
    trace.leave(101, ep(1), Ok(&[edge]));
    assert_eq!(seen(&trace), [(2, Some((6_000, during))), (1, Some((5_000, first)))]);
}

#[test]
fn a_wake_that_is_told_after_its_return_counts_up_to_that() {
    let mut trace = waiting();
    let callback = trace.first(ITEM);
    trace.scan(101, ep(1), 1, scan_flags::REQUEUED);
    trace.leave(101, ep(1), Ok(&[ITEM]));
    trace.accept(101, LISTENER, 9);
    trace.accept(101, LISTENER, EAGAIN);
    trace.woken(ep(1), 101, callback);
    assert_eq!(seen(&trace), [(1, Some((2_000, callback))); 2]);
}

#[test]
fn eventpolls_beyond_the_limit_are_counted_and_the_others_go_on() {
    let mut trace = Trace::new();
    workers(&mut trace, 3, LT);
    for n in [1, 2, 3, 1] {
        let (tid, item) = (PID + u32::try_from(n).unwrap(), Item::socket(n, LISTENER, LT));
        let callback = trace.first(item);
        trace.woken(ep(n), tid, callback);
        trace.scan(tid, ep(n), 1, 0);
        trace.leave(tid, ep(n), Ok(&[item]));
        trace.enter(tid, ep(n));
        trace.scan(tid, ep(n), 0, 0);
    }
    let mut model = Model::with_limits(Limits { latencies: 2, ..Limits::default() });
    for event in &trace.events {
        model.apply(event);
    }
    model.finish();
    let known = |n| {
        let id = model.eventpolls().last_at(ep(n)).unwrap().id;
        model.latencies(id).map(|known| (known.callback_to_return.samples(), known.woken_to_return.samples()))
    };
    assert_eq!([1, 2, 3].map(known), [Some((2, 2)), Some((1, 1)), None]);
    assert_eq!(model.exceeded().latencies, 2);
    assert!(!model.exceeded().touches_numbers(), "no verdict depends on them");
}
