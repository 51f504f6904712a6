//! Listening sockets.

use super::{found, lint};
use crate::model::testing::{EXCLUSIVE, Item, LISTENER, LT, Trace, ep, exclusive, lt, workers};
use tracer_common::events::{callback_flags, scan_flags};

const EMFILE: i32 = -24;

/// Connections that the first worker takes, and those that the second does.
fn shares(first: u64, second: u64) -> Trace {
    let mut trace = Trace::new();
    workers(&mut trace, 4, EXCLUSIVE);
    for (worker, connections) in [(1, first), (2, second)] {
        let item = Item::socket(worker, LISTENER, EXCLUSIVE);
        let tid = 100 + u32::try_from(worker).unwrap();
        for _ in 0..connections {
            let ts = trace.callback(item, callback_flags::FIRST | callback_flags::EXCLUSIVE, 0);
            trace.woken(ep(worker), tid, ts);
            trace.scan(tid, ep(worker), 1, scan_flags::REQUEUED);
            trace.leave(tid, ep(worker), Ok(&[item]));
            trace.accept(tid, LISTENER, 7);
            trace.enter(tid, ep(worker));
            trace.scan(tid, ep(worker), 0, 0);
        }
    }
    trace
}

#[test]
fn a_herd_is_found_when_there_were_enough_wakeups_to_say_so() {
    assert_eq!(found(&lint(&lt())), [""; 0], "three connections are too few");
    let mut trace = Trace::new();
    workers(&mut trace, 4, LT);
    for _ in 0..8 {
        for n in (1..=4).rev() {
            let flags = if n == 4 { callback_flags::FIRST } else { 0 };
            let tid = 100 + u32::try_from(n).unwrap();
            let ts = trace.callback(Item::socket(n, LISTENER, LT), flags, 0);
            trace.woken(ep(n), tid, ts);
        }
        let item = Item::socket(1, LISTENER, LT);
        trace.scan(101, ep(1), 1, scan_flags::REQUEUED);
        trace.leave(101, ep(1), Ok(&[item]));
        trace.accept(101, LISTENER, 7);
        for n in 2..=4 {
            trace.scan(100 + n, ep(u64::from(n)), 0, 0);
        }
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 0, 0);
    }
    let report = lint(&trace);
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!((finding.rule, finding.times), ("thundering-herd", 24));
    assert_eq!(finding.descriptors, ["tcp 127.0.0.1:8080"]);
    assert!(finding.evidence[0].contains("EPOLLEXCLUSIVE"), "{:?}", finding.evidence);
}

#[test]
fn one_worker_that_takes_nearly_everything_under_exclusive_is_noted() {
    let report = lint(&shares(90, 10));
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!(finding.rule, "exclusive-imbalance");
    assert_eq!(finding.sentence, "90 of 100 connections went to one of 4 workers.");
    assert_eq!(finding.evidence, ["accepted by each worker: 90, 10, 0, 0"]);
}

#[test]
fn workers_that_share_and_sockets_with_few_connections_are_not() {
    assert_eq!(found(&lint(&shares(89, 11))), [""; 0]);
    assert_eq!(found(&lint(&shares(63, 0))), [""; 0]);
    assert_eq!(found(&lint(&exclusive())), [""; 0]);
}

#[test]
fn accept_that_keeps_failing_for_want_of_descriptors_is_found() {
    let mut trace = Trace::new();
    workers(&mut trace, 1, LT);
    for _ in 0..20 {
        trace.accept(101, LISTENER, EMFILE);
    }
    let report = lint(&trace);
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!((finding.rule, finding.times), ("accept-fails", 5));
    assert!(finding.evidence[0].ends_with("EMFILE"), "{:?}", finding.evidence);
    assert_eq!(finding.descriptors, ["tcp 127.0.0.1:8080 (fd 3)"]);
}

#[test]
fn accept_that_recovers_or_finds_nothing_is_not() {
    for errno in [EMFILE, -11, -103] {
        let mut trace = Trace::new();
        workers(&mut trace, 1, LT);
        for round in 0..200 {
            trace.accept(101, LISTENER, if round % 10 == 0 { 7 } else { errno });
        }
        assert_eq!(found(&lint(&trace)), [""; 0]);
    }
}
