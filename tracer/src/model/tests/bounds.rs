//! Memory that depends on what lives, and what is said of the rest.

use tracer_common::events::{WakeCause, callback_flags, scan_flags};

use crate::event::Event;
use crate::model::testing::{Item, LISTENER, LT, PID, Trace, ep};
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

/// Tasks that wait on one eventpoll, are woken, accept, and end, one after the other.
fn short_tasks(count: u32) -> Trace {
    let mut trace = Trace::new();
    let item = Item::socket(1, LISTENER, LT);
    trace.listens(LISTENER, 8080);
    trace.add(PID, item);
    for n in 0..count {
        let tid = 1_000 + n;
        trace.fork(PID, PID, tid, "short");
        trace.enter(tid, ep(1));
        let callback = trace.first(item);
        trace.wake(ep(1), tid, WakeCause::Callback, (1, callback), 1);
        trace.scan(tid, ep(1), 1, scan_flags::REQUEUED);
        trace.leave(tid, ep(1), Ok(&[item]));
        trace.accept(tid, LISTENER, 9);
        trace.exit(tid, "short");
    }
    trace
}

#[test]
fn tasks_that_ended_long_ago_leave_their_number_and_nothing_else() {
    let model = folded(&short_tasks(100), Limits { retired: 4, ..Limits::default() });
    assert!(model.waiters.len() <= 5, "{} pairs of task and eventpoll", model.waiters.len());
    assert!(model.shares.len() <= 5, "{} shares", model.shares.len());
    let (ep, file) = (model.eventpolls().iter().next().unwrap(), model.files().iter().next().unwrap());
    assert_eq!((model.waiters_ever(ep.id), model.waiters(ep.id).count()), (100, 4));
    assert_eq!((file.stats.accepts, model.shares(file.id).count()), (100, 4));
    assert_eq!(model.exceeded().pairs, 0);
}

#[test]
fn tasks_that_ended_not_long_ago_keep_what_they_had() {
    let model = folded(&short_tasks(100), Limits { retired: 100, ..Limits::default() });
    let (ep, file) = (model.eventpolls().iter().next().unwrap(), model.files().iter().next().unwrap());
    assert_eq!((model.waiters_ever(ep.id), model.waiters(ep.id).count()), (100, 100));
    assert_eq!(model.shares(file.id).map(|(_, share)| share.accepts).sum::<u64>(), 100);
}

#[test]
fn eventpolls_that_ended_long_ago_leave_their_number_at_the_file_and_nothing_else() {
    let mut trace = Trace::new();
    for n in 0..100 {
        trace.add(PID, Item::socket(n, LISTENER, LT));
        trace.enter(PID, ep(n));
        trace.eventpoll_gone(ep(n));
    }
    let model = folded(&trace, Limits { retired: 4, ..Limits::default() });
    let file = model.files().iter().next().unwrap().id;
    assert!(model.registered.len() <= 5, "{} pairs of file and eventpoll", model.registered.len());
    assert!(model.waiters.len() <= 5, "{} pairs of task and eventpoll", model.waiters.len());
    assert_eq!((model.registered_ever(file), model.registered(file).count()), (100, 4));
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
