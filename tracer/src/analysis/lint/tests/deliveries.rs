//! What is delivered, and what becomes of it.

use tracer_common::events::scan_flags;

use super::{HUP, IN, TID, found, lint, pipe, withheld_after_a_loss};
use crate::event::MarkKind;
use crate::model::testing::{Item, LT, ONESHOT, PID, Trace, ep};

/// `EPOLLOUT`
const OUT: u32 = 4;

fn delivers(trace: &mut Trace, item: Item, events: u32) {
    trace.enter(TID, ep(1));
    trace.scan(TID, ep(1), 1, scan_flags::REQUEUED);
    trace.leave_with(TID, ep(1), &[(item, events)]);
}

#[test]
fn a_hangup_that_is_delivered_again_and_again_is_found() {
    let mut trace = Trace::new();
    let item = pipe(&mut trace, 1, LT);
    trace.first(item);
    for _ in 0..64 {
        delivers(&mut trace, item, HUP);
    }
    let report = lint(&trace);
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!((finding.rule, finding.eventpoll.as_str()), ("hangup-ignored", "?/100:11"));
    assert!(finding.evidence[0].contains("64 deliveries"), "{:?}", finding.evidence);
    withheld_after_a_loss(&mut trace, "hangup-ignored");
}

#[test]
fn a_hangup_with_data_to_read_or_with_callbacks_between_is_no_pitfall() {
    for (events, calls) in [(HUP | IN, false), (HUP, true), (OUT, true)] {
        let mut trace = Trace::new();
        let item = pipe(&mut trace, 1, LT);
        for _ in 0..100 {
            if calls {
                trace.first(item);
            }
            delivers(&mut trace, item, events);
        }
        assert_eq!(found(&lint(&trace)), [""; 0]);
    }
}

/// Delivered once; then data comes twice, and the task waits again.
fn disabled(trace: &mut Trace) -> Item {
    let item = pipe(trace, 1, ONESHOT);
    trace.enter(TID, ep(1));
    let ts = trace.first(item);
    trace.woken(ep(1), TID, ts);
    trace.scan(TID, ep(1), 1, 0);
    trace.leave_with(TID, ep(1), &[(item, IN)]);
    trace.enter(TID, ep(1));
    trace.first(Item { events: 1 << 30, ..item });
    trace.first(Item { events: 1 << 30, ..item });
    item
}

#[test]
fn a_oneshot_item_that_is_never_armed_again_though_more_came_is_found() {
    let mut trace = Trace::new();
    disabled(&mut trace);
    trace.later(600_000_000);
    trace.mark(MarkKind::Stopped);
    let report = lint(&trace);
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!(finding.rule, "oneshot-not-rearmed");
    assert!(finding.evidence[0].contains("2 callbacks unheard"), "{:?}", finding.evidence);
    withheld_after_a_loss(&mut trace, "oneshot-not-rearmed");
}

#[test]
fn a_oneshot_item_that_its_process_leaves_disabled_is_found_when_it_ends() {
    let ends = |ms: u64, tid: u32| {
        let mut trace = Trace::new();
        trace.enter(PID, ep(1));
        let item = disabled(&mut trace);
        trace.later(ms * 1_000_000);
        trace.exit(tid, "t");
        trace.eventpoll_gone(ep(1));
        trace.file_gone(item.file);
        trace
    };
    let report = lint(&ends(600, PID));
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!(finding.rule, "oneshot-not-rearmed");
    assert_eq!(found(&lint(&ends(400, PID))), [""; 0], "too soon");
    assert_eq!(found(&lint(&ends(600, TID))), [""; 0], "a thread is no process");
}

#[test]
fn a_oneshot_item_that_is_armed_closed_or_still_dealt_with_is_not() {
    let mut armed = Trace::new();
    let item = disabled(&mut armed);
    armed.later(600_000_000);
    armed.ctl(TID, 3, item, 0);
    assert_eq!(found(&lint(&armed)), [""; 0]);
    let mut closed = Trace::new();
    let item = disabled(&mut closed);
    closed.later(600_000_000);
    closed.file_gone(item.file);
    assert_eq!(found(&lint(&closed)), [""; 0]);
    let mut soon = Trace::new();
    disabled(&mut soon);
    soon.later(400_000_000);
    soon.mark(MarkKind::Stopped);
    assert_eq!(found(&lint(&soon)), [""; 0]);
    let mut working = Trace::new();
    let item = pipe(&mut working, 1, ONESHOT);
    working.enter(TID, ep(1));
    working.first(item);
    working.scan(TID, ep(1), 1, 0);
    working.leave_with(TID, ep(1), &[(item, IN)]);
    working.first(Item { events: 1 << 30, ..item });
    working.later(600_000_000);
    working.mark(MarkKind::Stopped);
    assert_eq!(found(&lint(&working)), [""; 0], "the task has not come back yet");
}

/// `ready` items, room for `room` of them.
fn crowded(ready: u64, room: u64) -> Trace {
    let mut trace = Trace::new();
    let items: Vec<Item> = (1..=ready).map(|number| pipe(&mut trace, number, LT)).collect();
    for item in &items {
        trace.first(*item);
    }
    let mut from = 0;
    for _ in 0..100 {
        let batch: Vec<(Item, u32)> =
            (from..from + room.min(ready)).map(|n| (items[usize::try_from(n % ready).unwrap()], IN)).collect();
        from = (from + room) % ready;
        trace.enter_with(TID, ep(1), -1, i32::try_from(room).unwrap());
        let left = if room < ready { scan_flags::LEFT_OVER } else { 0 };
        let first = items[usize::try_from(from).unwrap()].epi;
        trace.scan_leaving(TID, ep(1), i32::try_from(batch.len()).unwrap(), scan_flags::REQUEUED | left, first);
        trace.leave_with(TID, ep(1), &batch);
    }
    trace
}

#[test]
fn an_array_that_is_always_full_while_twice_as_many_items_are_ready_is_small() {
    let mut trace = crowded(12, 4);
    let report = lint(&trace);
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!(finding.rule, "small-maxevents");
    assert!(finding.evidence[0].contains("room for 4, and 12 items"), "{:?}", finding.evidence);
    withheld_after_a_loss(&mut trace, "small-maxevents");
}

#[test]
fn an_array_that_is_full_with_all_there_is_or_with_little_left_is_not() {
    assert_eq!(found(&lint(&crowded(4, 4))), [""; 0]);
    assert_eq!(found(&lint(&crowded(5, 4))), [""; 0]);
    let mut shared = crowded(12, 4);
    let mut other = Trace::new();
    pipe(&mut other, 1, LT);
    other.enter(TID + 1, ep(1));
    shared.events.splice(1..1, other.events.drain(1..));
    assert_eq!(found(&lint(&shared)), [""; 0], "each of several tasks takes what it can deal with");
}
