//! What a task calls too often.

use super::{IN, TID, found, lint, pipe, withheld_after_a_loss};
use crate::model::testing::{Item, LT, Trace, ep};

const EEXIST: i32 = -17;
const ENOENT: i32 = -2;

/// Looks so many times, and finds nothing.
pub(super) fn spins(trace: &mut Trace, times: u32) {
    pipe(trace, 1, LT);
    for _ in 0..times {
        trace.enter_with(TID, ep(1), 0, 8);
        trace.leave_with(TID, ep(1), &[]);
    }
}

#[test]
fn waits_with_a_timeout_of_0_that_find_nothing_are_a_spin() {
    let mut trace = Trace::new();
    spins(&mut trace, 256);
    let report = lint(&trace);
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!(finding.rule, "zero-timeout-spin");
    assert_eq!((finding.tasks[0].tid, finding.times), (TID, 1));
    assert_eq!(finding.rows.len(), 1);
    withheld_after_a_loss(&mut trace, "zero-timeout-spin");
}

#[test]
fn looking_now_and_then_between_other_work_is_no_spin() {
    let mut few = Trace::new();
    spins(&mut few, 255);
    assert_eq!(found(&lint(&few)), [""; 0]);
    let mut busy = Trace::new();
    pipe(&mut busy, 1, LT);
    for _ in 0..1_000 {
        busy.enter_with(TID, ep(1), 0, 8);
        busy.leave_with(TID, ep(1), &[]);
        busy.later(150_000);
    }
    assert_eq!(found(&lint(&busy)), [""; 0]);
    let mut sleeper = Trace::new();
    pipe(&mut sleeper, 1, LT);
    for _ in 0..1_000 {
        sleeper.enter_with(TID, ep(1), 1_000, 8);
        sleeper.leave_with(TID, ep(1), &[]);
    }
    assert_eq!(found(&lint(&sleeper)), [""; 0]);
}

#[test]
fn a_spin_is_broken_by_an_event() {
    let mut trace = Trace::new();
    let item = pipe(&mut trace, 1, LT);
    for round in 0..1_000 {
        trace.enter_with(TID, ep(1), 0, 8);
        let event = [(item, IN)];
        trace.leave_with(TID, ep(1), if round % 200 == 0 { &event } else { &[] });
    }
    assert_eq!(found(&lint(&trace)), [""; 0]);
}

fn failing(op: i32, errno: i32, failures: u32, others: u32) -> Trace {
    let mut trace = Trace::new();
    let item = pipe(&mut trace, 1, LT);
    for _ in 0..failures {
        trace.ctl(TID, op, item, errno);
    }
    for n in 0..others {
        // Another file each time, so that nothing but the number of the descriptor matters.
        trace.ctl(TID, op, Item { file: 0xa_0000 + u64::from(n) * 16, ..item }, 0);
    }
    trace
}

#[test]
fn an_operation_that_keeps_failing_is_found_with_its_errno() {
    for (op, errno, words) in
        [(1, EEXIST, "EPOLL_CTL_ADD failed with EEXIST"), (3, ENOENT, "EPOLL_CTL_MOD failed with ENOENT")]
    {
        let report = lint(&failing(op, errno, 32, 10));
        let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
        assert_eq!((finding.rule, finding.times), ("ctl-fails", 32));
        assert!(finding.sentence.contains(words), "{}", finding.sentence);
        assert_eq!(finding.rows.len(), 1);
        assert!(finding.descriptors[0].contains("fd 21"), "{:?}", finding.descriptors);
    }
}

#[test]
fn an_operation_that_fails_now_and_then_is_not() {
    assert_eq!(found(&lint(&failing(1, EEXIST, 31, 0))), [""; 0]);
    assert_eq!(found(&lint(&failing(3, ENOENT, 40, 200))), [""; 0]);
    let mut spread = Trace::new();
    let item = pipe(&mut spread, 1, LT);
    for n in 0..1_000 {
        spread.ctl(TID, 2, Item { fd: 100 + n % 40, file: 0, ..item }, ENOENT);
    }
    assert_eq!(found(&lint(&spread)), [""; 0], "some failures of each of many descriptors");
    assert_eq!(
        found(&lint(&failing(1, -1, 1_000, 0))),
        [""; 0],
        "EPERM is how a program finds out what cannot be watched"
    );
}

#[test]
fn deleting_and_adding_again_at_once_is_churn() {
    let mut trace = Trace::new();
    let item = pipe(&mut trace, 1, LT);
    for _ in 0..40 {
        trace.ctl(TID, 2, item, 0);
        trace.add(TID, item);
    }
    let report = lint(&trace);
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!((finding.rule, finding.times), ("ctl-churn", 40));
    withheld_after_a_loss(&mut trace, "ctl-churn");
}

#[test]
fn deleting_and_adding_after_a_wait_is_not_and_neither_is_another_file() {
    let mut paused = Trace::new();
    let item = pipe(&mut paused, 1, LT);
    for _ in 0..100 {
        paused.ctl(TID, 2, item, 0);
        paused.enter_with(TID, ep(1), 1_000, 8);
        paused.leave_with(TID, ep(1), &[]);
        paused.add(TID, item);
    }
    assert_eq!(found(&lint(&paused)), [""; 0]);
    let mut reused = Trace::new();
    let item = pipe(&mut reused, 1, LT);
    for _ in 0..100 {
        reused.ctl(TID, 2, item, 0);
        reused.file_gone(item.file);
        reused.add(TID, item);
    }
    assert_eq!(found(&lint(&reused)), [""; 0]);
}
