//! Wakes that are reported after what they caused: the woken task runs on another CPU while the waker is held up.

use tracer_common::events::{WakeCause, scan_flags};

use crate::model::testing::{EAGAIN, Item, LISTENER, LT, PID, Trace, ep, workers};
use crate::model::{Model, SourceStats};

const ITEM: Item = Item::socket(1, LISTENER, LT);

fn stats(model: &Model) -> &SourceStats {
    &model.files().iter().find(|file| file.address == LISTENER).unwrap().stats
}

/// Totals of called, woken, returned, useful, wasted.
fn fan_out(trace: &Trace) -> [u64; 5] {
    let model = trace.model();
    let stats = stats(&model);
    [&stats.called, &stats.woken, &stats.returned, &stats.useful, &stats.wasted].map(|histogram| histogram.total)
}

/// One worker that is called back; its wake is still to be reported.
fn called_back() -> (Trace, u64) {
    let mut trace = Trace::new();
    workers(&mut trace, 1, LT);
    trace.enter(101, ep(1));
    let ts = trace.first(ITEM);
    (trace, ts)
}

#[test]
fn a_wake_told_after_its_wait_returned_is_that_waits() {
    let (mut trace, ts) = called_back();
    trace.scan(101, ep(1), 1, scan_flags::REQUEUED);
    trace.leave(101, ep(1), Ok(&[ITEM]));
    trace.woken(ep(1), 101, ts);
    trace.accept(101, LISTENER, 9);
    assert_eq!(fan_out(&trace), [1, 1, 1, 1, 0]);
}

#[test]
fn a_wake_told_after_the_accept_is_useful() {
    let (mut trace, ts) = called_back();
    trace.leave(101, ep(1), Ok(&[ITEM]));
    trace.accept(101, LISTENER, 9);
    trace.accept(101, LISTENER, 10);
    trace.accept(101, LISTENER, EAGAIN);
    trace.woken(ep(1), 101, ts);
    assert_eq!(fan_out(&trace), [1, 1, 1, 1, 0]);
    assert_eq!(stats(&trace.model()).gained, 2);
}

#[test]
fn a_wake_told_after_the_next_wait_began_leaves_that_one_alone() {
    let (mut trace, ts) = called_back();
    trace.leave(101, ep(1), Ok(&[ITEM]));
    trace.accept(101, LISTENER, 9);
    trace.enter(101, ep(1));
    trace.woken(ep(1), 101, ts);
    assert_eq!(fan_out(&trace), [1, 1, 1, 1, 0]);
    let ts = trace.first(ITEM);
    trace.woken(ep(1), 101, ts);
    trace.leave(101, ep(1), Ok(&[ITEM]));
    trace.accept(101, LISTENER, 9);
    assert_eq!(fan_out(&trace), [2, 2, 2, 2, 0]);
    assert_eq!(stats(&trace.model()).swallowed, 0);
}

#[test]
fn a_wake_told_after_the_tasks_end_makes_no_other_task() {
    let (mut trace, ts) = called_back();
    trace.leave(101, ep(1), Ok(&[ITEM]));
    trace.accept(101, LISTENER, 9);
    trace.exit(101, "worker-1");
    trace.woken(ep(1), 101, ts);
    assert_eq!(fan_out(&trace), [1, 1, 1, 1, 0]);
    assert_eq!(trace.model().tasks().iter().filter(|task| task.tid == 101).count(), 1);
}

#[test]
fn a_wait_that_ended_before_the_callback_has_nothing_to_do_with_its_wake() {
    let mut trace = Trace::new();
    workers(&mut trace, 1, LT);
    trace.leave(101, ep(1), Ok(&[ITEM]));
    trace.accept(101, LISTENER, 9);
    trace.enter(101, ep(1));
    let ts = trace.first(ITEM);
    trace.woken(ep(1), 101, ts);
    trace.scan(101, ep(1), 0, 0);
    assert_eq!(fan_out(&trace), [1, 1, 0, 0, 1]);
    assert_eq!(stats(&trace.model()).swallowed, 1);
}

#[test]
fn of_two_wakes_in_one_wait_one_was_swallowed_though_told_late() {
    let (mut trace, first) = called_back();
    trace.woken(ep(1), 101, first);
    trace.scan(101, ep(1), 0, 0);
    let second = trace.first(ITEM);
    trace.leave(101, ep(1), Ok(&[ITEM]));
    trace.woken(ep(1), 101, second);
    trace.accept(101, LISTENER, 9);
    assert_eq!(fan_out(&trace), [2, 2, 1, 1, 1]);
    assert_eq!(stats(&trace.model()).swallowed, 1);
}

#[test]
fn a_swallowed_wake_told_after_its_scan_is_swallowed() {
    let (mut trace, ts) = called_back();
    trace.scan(101, ep(1), 0, 0);
    trace.woken(ep(1), 101, ts);
    assert_eq!(stats(&trace.model()).swallowed, 1);
}

#[test]
fn the_chain_of_a_scan_is_known_though_the_scanners_own_wake_is_told_late() {
    let mut trace = Trace::new();
    trace.listens(LISTENER, 8080);
    trace.add(PID, ITEM);
    for tid in [101, 102] {
        trace.enter(tid, ep(1));
    }
    let ts = trace.first(ITEM);
    trace.wake(ep(1), 102, WakeCause::Scan, (101, 0), 1);
    trace.scan(101, ep(1), 1, scan_flags::REQUEUED);
    trace.scan(102, ep(1), 1, scan_flags::REQUEUED);
    trace.leave(102, ep(1), Ok(&[ITEM]));
    trace.accept(102, LISTENER, 9);
    trace.woken(ep(1), 101, ts);
    trace.leave(101, ep(1), Ok(&[ITEM]));
    trace.accept(101, LISTENER, EAGAIN);
    assert_eq!(fan_out(&trace), [1, 2, 2, 1, 1]);
    let model = trace.model();
    assert_eq!((stats(&model).chained, model.totals().other_wakes), (1, 0));
}
