//! Verdicts and comparisons of traces whose truth is known.

use tracer_common::Hook;
use tracer_common::events::callback_flags;

use super::{Report, Verdict, compare};
use crate::event::Event;
use crate::model::testing::{
    Item, LISTENER, LT, ONESHOT, PID, RING_FULL, Trace, chain, ep, exclusive, info, lt, shared,
};
use crate::model::{Limits, Model};

fn report(trace: &Trace) -> Report {
    Report::new(&trace.model(), &info())
}

#[test]
fn the_level_triggered_herd_is_found_and_its_cure_named() {
    let report = report(&lt());
    let [row] = report.herd.as_slice() else { panic!("{:?}", report.herd) };
    assert_eq!(row.verdict, Verdict::Herd);
    assert_eq!((row.source.as_str(), row.sockets, row.workers, row.eventpolls), ("tcp 127.0.0.1:8080", 1, 4, 4));
    assert!(row.sentence.contains("4 eventpolls share one socket without EPOLLEXCLUSIVE"), "{}", row.sentence);
    assert!(row.cure.contains("EPOLLEXCLUSIVE"), "{}", row.cure);
    assert_eq!(report.totals.wasted, 9);
    let wasted: Vec<_> = report.tasks.iter().map(|task| (task.tid, task.wasted)).collect();
    assert_eq!(wasted, [(101, 0), (102, 3), (103, 3), (104, 3)]);
    assert!(report.complete);
}

#[test]
fn exclusive_is_no_herd() {
    let report = report(&exclusive());
    assert_eq!(report.herd[0].verdict, Verdict::NoHerd);
    assert!(report.herd[0].sentence.contains("EPOLLEXCLUSIVE"), "{}", report.herd[0].sentence);
    assert_eq!(report.herd[0].cure, "");
}

#[test]
fn the_wake_chain_of_a_shared_eventpoll_is_named_with_its_cure() {
    let report = report(&chain());
    let [row] = report.herd.as_slice() else { panic!("{:?}", report.herd) };
    assert_eq!((row.verdict, row.workers, row.eventpolls, row.chained), (Verdict::Herd, 4, 1, 3));
    assert!(row.sentence.contains("3 of 4 wakes came by the wake chain"), "{}", row.sentence);
    assert!(!row.sentence.contains("share one socket"), "{}", row.sentence);
    assert!(row.cure.contains("EPOLLONESHOT"), "{}", row.cure);
}

#[test]
fn oneshot_in_a_shared_eventpoll_is_no_herd() {
    let mut trace = Trace::new();
    let item = shared(&mut trace, 4, ONESHOT);
    let ts = trace.first(item);
    trace.woken(ep(1), 104, ts);
    trace.scan(104, ep(1), 1, 0);
    trace.leave(104, ep(1), Ok(&[item]));
    trace.accept(104, LISTENER, 9);
    let report = report(&trace);
    assert_eq!(report.herd[0].verdict, Verdict::NoHerd);
    assert!(report.herd[0].sentence.contains("EPOLLONESHOT"), "{}", report.herd[0].sentence);
}

/// The report of a model that remembers less.
fn bounded(trace: &Trace, limits: Limits) -> Report {
    let mut model = Model::with_limits(limits);
    for event in &trace.events {
        model.apply(event);
    }
    model.finish();
    Report::new(&model, &info())
}

#[test]
fn a_herd_of_which_not_all_was_followed_is_not_called_a_single_task() {
    let few = [Limits { eventpolls: 1, ..Limits::default() }, Limits { items: 1, ..Limits::default() }];
    for limits in few {
        for trace in [lt(), exclusive()] {
            let report = bounded(&trace, limits);
            let [row] = report.herd.as_slice() else { panic!("{:?}", report.herd) };
            assert_eq!(row.verdict, Verdict::Incomplete, "{}", row.sentence);
            assert!(!report.complete);
        }
    }
}

#[test]
fn tasks_and_eventpolls_that_are_no_longer_shown_count_among_those_that_waited() {
    let mut trace = Trace::new();
    let item = shared(&mut trace, 10, LT);
    for tid in 101..=110 {
        let ts = trace.first(item);
        trace.woken(ep(1), tid, ts);
        trace.scan(tid, ep(1), 1, 0);
        trace.leave(tid, ep(1), Ok(&[item]));
        trace.accept(tid, LISTENER, 9);
        trace.exit(tid, "short");
    }
    for n in 2..=10 {
        trace.add(PID, Item::socket(n, LISTENER, LT));
        trace.eventpoll_gone(ep(n));
    }
    let [all, few] = [4_096, 2].map(|retired| bounded(&trace, Limits { retired, ..Limits::default() }));
    for report in [&all, &few] {
        assert_eq!((report.herd[0].workers, report.herd[0].eventpolls, report.eventpolls[0].tasks), (10, 10, 10));
        assert_eq!(report.herd[0].verdict, all.herd[0].verdict);
    }
    assert_eq!([all, few].map(|report| report.herd[0].tasks.len()), [10, 2]);
}

#[test]
fn a_reason_does_not_rest_on_how_many_tasks_were_followed() {
    let mut trace = Trace::new();
    crate::model::testing::workers(&mut trace, 1, LT);
    let item = Item::socket(1, LISTENER, LT);
    for _ in 0..20 {
        let ts = trace.first(item);
        trace.woken(ep(1), 101, ts);
        trace.scan(101, ep(1), 1, 0);
        trace.leave(101, ep(1), Ok(&[item]));
        trace.accept(101, LISTENER, 9);
        trace.enter(101, ep(1));
    }
    assert!(report(&trace).herd[0].sentence.contains("a single task waits"), "{}", report(&trace).herd[0].sentence);
    trace.enter(102, ep(2));
    let report = bounded(&trace, Limits { eventpolls: 1, ..Limits::default() });
    assert_eq!(report.herd[0].verdict, Verdict::NoHerd);
    assert!(!report.herd[0].sentence.contains("a single task waits"), "{}", report.herd[0].sentence);
}

#[test]
fn a_report_is_not_complete_when_items_of_a_scan_were_not_followed() {
    let report = bounded(&lt(), Limits { batch: 0, ..Limits::default() });
    assert!(!report.complete);
    assert_eq!(report.herd[0].verdict, Verdict::Herd, "no wake depends on them");
}

/// A socket of its own for each of four workers.
fn reuseport() -> Trace {
    let mut trace = Trace::new();
    for n in 1..=4 {
        let tid = PID + u32::try_from(n).unwrap();
        let item = Item::socket(n, LISTENER + 0x100 * n, LT);
        trace.listens(item.file, 8080);
        trace.add(tid, item);
        trace.enter(tid, ep(n));
        let ts = trace.first(item);
        trace.woken(ep(n), tid, ts);
        trace.leave(tid, ep(n), Ok(&[item]));
        trace.accept(tid, item.file, 20);
    }
    trace
}

#[test]
fn sockets_of_one_address_are_one_source() {
    let report = report(&reuseport());
    let [row] = report.herd.as_slice() else { panic!("{:?}", report.herd) };
    assert_eq!((row.sockets, row.workers, row.wakeups, row.useful.total), (4, 4, 4, 4));
    assert_eq!(row.verdict, Verdict::NoHerd);
    assert!(row.sentence.contains("a socket of its own"), "{}", row.sentence);
}

#[test]
fn sockets_of_one_address_in_several_network_namespaces_are_a_source_each() {
    let named = |namespaces: [u32; 4]| {
        let mut trace = reuseport();
        let mut namespaces = namespaces.into_iter();
        for event in &mut trace.events {
            if let Event::FileInfo(info) = event {
                info.netns = namespaces.next().unwrap();
            }
        }
        let mut rows: Vec<(String, usize)> =
            report(&trace).herd.into_iter().map(|row| (row.source, row.sockets)).collect();
        rows.sort();
        rows
    };
    let one = |name: &str, sockets| (name.to_owned(), sockets);
    assert_eq!(named([7; 4]), [one("tcp 127.0.0.1:8080", 4)]);
    assert_eq!(named([7, 8, 7, 7]), [one("tcp 127.0.0.1:8080 in net:[7]", 3), one("tcp 127.0.0.1:8080 in net:[8]", 1)]);
    assert_eq!(
        named([0, 8, 8, 8]),
        [one("tcp 127.0.0.1:8080 in an unknown network namespace", 1), one("tcp 127.0.0.1:8080 in net:[8]", 3)]
    );
}

#[test]
fn a_loss_that_could_change_the_verdict_makes_it_incomplete() {
    for trace in [lt(), exclusive()] {
        let mut trace = trace;
        trace.lost(Hook::Wake, RING_FULL, 9);
        let report = report(&trace);
        assert_eq!(report.herd[0].verdict, Verdict::Incomplete);
        assert!(report.herd[0].sentence.contains("9 events were lost"), "{}", report.herd[0].sentence);
        assert!(!report.complete);
        assert_eq!((report.lost.total, report.lost.by.len()), (9, 1));
    }
}

#[test]
fn a_loss_too_small_to_change_the_verdict_leaves_it() {
    let mut trace = lt();
    trace.lost(Hook::Scan, RING_FULL, 1);
    assert_eq!(report(&trace).herd[0].verdict, Verdict::Herd);
    assert!(!report(&trace).complete);
}

#[test]
fn a_detail_that_is_missing_leaves_the_trace_complete() {
    let mut trace = lt();
    trace.lost(Hook::WaitExit, crate::event::LossReason::Probe(tracer_common::Miss::NoEntry), 4);
    assert!(report(&trace).complete);
    assert_eq!((report(&trace).lost.total, report(&trace).lost.events), (4, 0));
}

#[test]
fn a_hook_that_is_not_attached_allows_no_verdict() {
    let mut info = info();
    let wake = info.hooks.iter_mut().find(|hook| hook.hook == "wake").unwrap();
    wake.backend.clear();
    let report = Report::new(&lt().model(), &info);
    assert_eq!(report.herd[0].verdict, Verdict::Incomplete);
    assert!(report.herd[0].sentence.contains("wake"), "{}", report.herd[0].sentence);
}

#[test]
fn a_socket_without_connections_is_idle() {
    let mut trace = Trace::new();
    crate::model::testing::workers(&mut trace, 2, LT);
    assert_eq!(report(&trace).herd[0].verdict, Verdict::Idle);
}

#[test]
fn use_is_not_judged_where_no_accept_was_seen() {
    let mut trace = Trace::new();
    crate::model::testing::workers(&mut trace, 2, LT);
    trace.callback(Item::socket(1, LISTENER, LT), callback_flags::FIRST, 0);
    assert_eq!(report(&trace).herd[0].verdict, Verdict::Incomplete);
}

#[test]
fn usefulness_of_other_sources_is_not_observed() {
    let mut trace = Trace::new();
    let item = Item { ep: ep(1), epi: 0x3_0000, file: 0xf900, fd: 5, events: LT, data: 5 };
    trace.add(PID, item);
    trace.first(item);
    let report = report(&trace);
    assert_eq!(report.herd, []);
    assert_eq!((report.sources[0].useful.clone(), report.sources[0].wasted.clone()), (None, None));
    assert_eq!(report.sources[0].callbacks.linked, 1);
}

#[test]
fn the_comparison_says_that_the_herd_is_cured() {
    let comparison = compare(&report(&lt()), &report(&exclusive()));
    assert_eq!(comparison.pairs.len(), 1);
    assert_eq!(
        comparison.pairs[0].sentence,
        "woken per source wakeup 4.00 → 1.00, for nothing 3.00 → 0.00 (3 wakeups → 3 wakeups): the herd is cured."
    );
    assert!(comparison.only_before.is_empty() && comparison.only_after.is_empty());
}

#[test]
fn sockets_of_different_names_are_compared_when_there_is_one_each() {
    let mut other = Trace::new();
    other.listens(LISTENER, 9090);
    other.add(PID, Item::socket(1, LISTENER, LT));
    let comparison = compare(&report(&lt()), &report(&other));
    assert_eq!(comparison.pairs[0].after.source, "tcp 127.0.0.1:9090");
}
