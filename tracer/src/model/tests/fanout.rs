//! Fan-out: called, woken, returned, useful.

use tracer_common::events::{WakeCause, callback_flags, scan_flags};

use crate::model::testing::{
    EAGAIN, ET, Item, LISTENER, LT, ONESHOT, PID, Trace, chain, ep, exclusive, lt, shared, workers,
};
use crate::model::{Model, SourceStats};

fn listener(model: &Model) -> SourceStats {
    model.files().iter().find(|file| file.address == LISTENER).unwrap().stats.clone()
}

/// Totals of called, woken, returned, useful, wasted.
fn fan_out(stats: &SourceStats) -> [u64; 5] {
    [&stats.called, &stats.woken, &stats.returned, &stats.useful, &stats.wasted].map(|histogram| histogram.total)
}

#[test]
fn level_triggered_herd_wakes_all_and_serves_one() {
    let model = lt().model();
    let stats = listener(&model);
    assert_eq!(stats.wakeups, 3);
    assert_eq!(fan_out(&stats), [12, 12, 6, 3, 9]);
    assert_eq!(stats.called.counts, [(4, 3)]);
    assert_eq!(stats.useful.counts, [(1, 3)]);
    assert_eq!(stats.swallowed, 6, "two tasks found nothing and slept on, three times");
    let totals = model.totals();
    assert_eq!((totals.waits, totals.waits_returned, totals.events), (6, 6, 6));
    assert_eq!((totals.accepts, totals.accept_eagain, totals.ctl_add), (3, 3, 4));
    assert_eq!(totals.waits_open, 4);
}

#[test]
fn a_swallowed_wake_shows_by_the_next_wake_even_without_scans() {
    let mut trace = Trace::new();
    workers(&mut trace, 1, LT);
    for _ in 0..3 {
        let ts = trace.first(Item::socket(1, LISTENER, LT));
        trace.woken(ep(1), 101, ts);
    }
    let model = trace.model();
    assert_eq!(listener(&model).swallowed, 2);
    assert_eq!(listener(&model).unfinished, 1, "of the last wake nothing is known");
}

#[test]
fn exclusive_wakes_one() {
    let model = exclusive().model();
    assert_eq!(listener(&model).wakeups, 3);
    assert_eq!(fan_out(&listener(&model)), [3, 3, 3, 3, 0]);
    assert_eq!(listener(&model).flags.exclusive, 4);
}

#[test]
fn shared_level_triggered_eventpoll_wakes_by_the_chain() {
    let stats = listener(&chain().model());
    assert_eq!(stats.wakeups, 1);
    assert_eq!(fan_out(&stats), [1, 4, 4, 1, 3]);
    assert_eq!(stats.chained, 3);
}

#[test]
fn shared_edge_triggered_eventpoll_wakes_one() {
    let mut trace = Trace::new();
    let item = shared(&mut trace, 4, ET);
    let ts = trace.first(item);
    trace.woken(ep(1), 104, ts);
    trace.scan(104, ep(1), 1, 0);
    trace.leave(104, ep(1), Ok(&[item]));
    trace.accept(104, LISTENER, 9);
    trace.accept(104, LISTENER, 10);
    trace.accept(104, LISTENER, EAGAIN);
    let stats = listener(&trace.model());
    assert_eq!(fan_out(&stats), [1, 1, 1, 1, 0]);
    assert_eq!((stats.gained, stats.accepts, stats.accept_eagain), (2, 2, 1), "useful counts waits, gained accepts");
}

#[test]
fn oneshot_callbacks_while_disabled_wake_nobody() {
    let mut trace = Trace::new();
    let item = shared(&mut trace, 4, ONESHOT);
    let ts = trace.first(item);
    trace.woken(ep(1), 104, ts);
    trace.scan(104, ep(1), 1, 0);
    trace.leave(104, ep(1), Ok(&[item]));
    trace.first(Item { events: 1 << 30, ..item });
    trace.accept(104, LISTENER, 9);
    trace.ctl(104, 3, item, 0);
    let model = trace.model();
    let stats = listener(&model);
    assert_eq!((stats.wakeups, stats.outcomes.linked, stats.outcomes.disabled), (2, 1, 1));
    assert_eq!(fan_out(&stats), [2, 1, 1, 1, 0]);
    assert_eq!((stats.flags.items, stats.flags.oneshot), (1, 1));
    assert_eq!(model.ready_list().went.oneshot, 1);
}

#[test]
fn a_wake_of_a_running_task_is_not_a_wake() {
    let mut trace = Trace::new();
    workers(&mut trace, 1, LT);
    let ts = trace.first(Item::socket(1, LISTENER, LT));
    trace.wake(ep(1), 101, WakeCause::Callback, (1, ts), 0);
    trace.leave(101, ep(1), Ok(&[Item::socket(1, LISTENER, LT)]));
    trace.accept(101, LISTENER, 5);
    let stats = listener(&trace.model());
    assert_eq!(fan_out(&stats), [1, 0, 0, 0, 0]);
    assert_eq!((stats.already_running, stats.accepts), (1, 1));
}

#[test]
fn a_burst_gives_connections_to_waits_that_never_slept() {
    let mut trace = Trace::new();
    workers(&mut trace, 2, LT);
    let item = Item::socket(1, LISTENER, LT);
    for first in [true, false, false] {
        let ts = trace.callback(item, callback_flags::FIRST | if first { 0 } else { callback_flags::LINKED }, 0);
        if first {
            trace.woken(ep(1), 101, ts);
        }
    }
    for connection in 0..3 {
        trace.scan(101, ep(1), 1, scan_flags::REQUEUED);
        trace.leave(101, ep(1), Ok(&[item]));
        trace.accept(101, LISTENER, 7 + connection);
        trace.enter(101, ep(1));
    }
    let stats = listener(&trace.model());
    assert_eq!(stats.wakeups, 3);
    assert_eq!(fan_out(&stats), [3, 1, 1, 1, 0]);
    assert_eq!((stats.accepts, stats.gained), (3, 1));
}

#[test]
fn nested_callbacks_belong_to_the_walk_that_caused_them() {
    let mut trace = Trace::new();
    let inner = Item::socket(1, LISTENER, LT);
    let outer = Item { ep: ep(2), epi: 0x2_0000, file: 0xfe00, fd: 11, events: LT, data: 11 };
    trace.listens(LISTENER, 8080);
    trace.add(PID, inner);
    trace.add(PID, outer);
    trace.enter(101, ep(2));
    let root = trace.first(inner);
    let nested = trace.callback(outer, callback_flags::FIRST, root);
    trace.woken(ep(2), 101, nested);
    // The walk goes on after the nested one.
    let other = Item::socket(3, LISTENER, LT);
    trace.callback(other, 0, 0);
    trace.leave(101, ep(2), Ok(&[outer]));
    trace.accept(101, LISTENER, 9);
    let model = trace.model();
    let stats = listener(&model);
    assert_eq!(stats.wakeups, 1);
    assert_eq!(fan_out(&stats), [2, 1, 1, 1, 0]);
    assert_eq!((stats.nested, model.nested()), (1, 1));
}

#[test]
fn walks_are_told_apart_by_first_entry_repeated_entry_key_and_cpu() {
    let wakeups = |build: &dyn Fn(&mut Trace)| {
        let mut trace = Trace::new();
        build(&mut trace);
        listener(&trace.model()).called.counts
    };
    let item = |n| Item::socket(n, LISTENER, LT);
    assert_eq!(
        wakeups(&|trace| {
            trace.callback(item(1), 0, 0);
            trace.callback(item(2), 0, 0);
            trace.callback(item(1), 0, 0);
        }),
        [(1, 1), (2, 1)],
        "an entry is called once by a walk"
    );
    assert_eq!(
        wakeups(&|trace| {
            trace.callback(item(1), 0, 0);
            trace.first(item(2));
        }),
        [(1, 2)]
    );
    assert_eq!(
        wakeups(&|trace| {
            trace.callback(item(1), 0, 0);
            trace.cpu = 1;
            trace.callback(item(2), 0, 0);
            trace.cpu = 0;
            trace.callback(item(3), 0, 0);
        }),
        [(1, 1), (2, 1)],
        "walks on two CPUs run at the same time"
    );
}

#[test]
fn a_hundred_eventpolls_on_one_source_are_one_wakeup() {
    let mut trace = Trace::new();
    for n in 0..100 {
        trace.callback(Item::socket(n, LISTENER, LT), if n == 0 { callback_flags::FIRST } else { 0 }, 0);
    }
    assert_eq!(listener(&trace.model()).called.counts, [(100, 1)]);
}

#[test]
fn a_wake_by_epoll_ctl_has_no_source() {
    let mut trace = Trace::new();
    workers(&mut trace, 1, LT);
    trace.wake(ep(1), 101, WakeCause::Task, (PID, 0), 1);
    let model = trace.model();
    assert_eq!((model.totals().woken, model.totals().other_wakes), (1, 1));
    assert_eq!(listener(&model).woken.total, 0);
}

#[test]
fn an_accept_elsewhere_makes_no_wake_useful() {
    let mut trace = Trace::new();
    workers(&mut trace, 1, LT);
    let item = Item::socket(1, LISTENER, LT);
    let ts = trace.first(item);
    trace.woken(ep(1), 101, ts);
    trace.leave(101, ep(1), Ok(&[item]));
    trace.accept(101, LISTENER + 0x100, 9);
    assert_eq!(fan_out(&listener(&trace.model())), [1, 1, 1, 0, 1]);
    let mut unknown = Trace::new();
    workers(&mut unknown, 1, LT);
    let ts = unknown.first(item);
    unknown.woken(ep(1), 101, ts);
    unknown.leave(101, ep(1), Ok(&[item]));
    unknown.accept(101, 0, 9);
    assert_eq!(fan_out(&listener(&unknown.model())), [1, 1, 1, 1, 0], "a file that is not known may be this one");
}

#[test]
fn an_accept_after_the_next_wait_began_makes_no_earlier_wake_useful() {
    let mut trace = Trace::new();
    workers(&mut trace, 1, LT);
    let item = Item::socket(1, LISTENER, LT);
    let ts = trace.first(item);
    trace.woken(ep(1), 101, ts);
    trace.leave(101, ep(1), Ok(&[item]));
    trace.enter(101, ep(1));
    trace.leave(101, ep(1), Ok(&[item]));
    trace.accept(101, LISTENER, 9);
    assert_eq!(fan_out(&listener(&trace.model())), [1, 1, 1, 0, 1]);
}
