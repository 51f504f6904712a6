//! What programs do with the files of their events.

use tracer_common::events::{LEFT_UNKNOWN, io_call};

use super::{IN, TID, found, lint, pipe, withheld_after_a_loss};
use crate::event::{Event, MarkKind};
use crate::model::testing::{Item, LT, Trace, ep};

/// `EPOLLIN | EPOLLET`
const ET: u32 = 0x8000_0001;
/// `EPOLLOUT`
const OUT: u32 = 4;
const EAGAIN: i32 = -11;

/// What calls returned, and what they left.
type Calls<'a> = &'a [(i32, u32)];

/// An event of an item comes.
fn event(trace: &mut Trace, item: Item, events: u32) {
    trace.enter(TID, ep(1));
    trace.leave_with(TID, ep(1), &[(item, events)]);
}

/// One event, calls that return and leave this, and the next wait.
fn round(trace: &mut Trace, item: Item, call: u32, calls: Calls<'_>) {
    event(trace, item, IN);
    for (ret, left) in calls {
        trace.io(TID, item.file, call, *ret, *left);
    }
    trace.enter(TID, ep(1));
    trace.leave(TID, ep(1), Ok(&[]));
    trace.later(200_000_000);
}

fn after(events: u32, call: u32, rounds: &[Calls<'_>]) -> Trace {
    let mut trace = Trace::new();
    let item = pipe(&mut trace, 1, events);
    for calls in rounds {
        round(&mut trace, item, call, calls);
    }
    trace.mark(MarkKind::Stopped);
    trace
}

#[test]
fn data_that_is_left_after_the_only_read_of_each_event_is_found() {
    let mut trace = after(ET, io_call::READ, &[&[(256, 144)], &[(256, 288)]]);
    let report = lint(&trace);
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!((finding.rule, finding.times), ("et-not-drained", 2));
    assert!(finding.evidence[0].starts_with("144 left by the call in row "), "{:?}", finding.evidence);
    withheld_after_a_loss(&mut trace, "et-not-drained");
}

#[test]
fn connections_that_are_left_after_the_only_accept_of_each_event_are_found() {
    let mut trace = after(ET, io_call::ACCEPT, &[&[(7, 2)]]);
    let report = lint(&trace);
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!((finding.rule, finding.times), ("et-accept-once", 1));
    withheld_after_a_loss(&mut trace, "et-accept-once");
}

#[test]
fn a_program_that_keeps_its_own_account_of_what_is_left_is_not_accused() {
    // It read all; it cannot be told; it reads until EAGAIN elsewhere; it reads twice; level-triggered; one-shot.
    let innocent: [(u32, &[Calls<'_>]); 6] = [
        (ET, &[&[(256, 0)]]),
        (ET, &[&[(256, LEFT_UNKNOWN)]]),
        (ET, &[&[(256, 144)], &[(144, 0), (EAGAIN, 0)]]),
        (ET, &[&[(256, 144)], &[(100, 10), (10, 40)]]),
        (LT, &[&[(256, 144)]]),
        (ET | 1 << 30, &[&[(256, 144)]]),
    ];
    for (events, rounds) in innocent {
        assert_eq!(found(&lint(&after(events, io_call::READ, rounds))), [""; 0], "{events:#x} {rounds:?}");
    }
    // It reads on without an event.
    let mut trace = Trace::new();
    let item = pipe(&mut trace, 1, ET);
    round(&mut trace, item, io_call::READ, &[(256, 144)]);
    trace.io(TID, item.file, io_call::READ, 144, 0);
    assert_eq!(found(&lint(&trace)), [""; 0]);
    // The file is gone in time, or too late.
    for (calls, gone_after, rules) in
        [(&[(256, 144)], 0, &[][..]), (&[(256, 144)], 150_000_000, &["et-not-drained"][..])]
    {
        let mut trace = Trace::new();
        let item = pipe(&mut trace, 1, ET);
        event(&mut trace, item, IN);
        for (ret, left) in calls {
            trace.io(TID, item.file, io_call::READ, *ret, *left);
        }
        trace.enter(TID, ep(1));
        trace.later(gone_after);
        trace.file_gone(item.file);
        trace.later(200_000_000);
        trace.mark(MarkKind::Stopped);
        assert_eq!(found(&lint(&trace)), rules);
    }
    // It has not come back to wait, or the time is short.
    let mut trace = Trace::new();
    let item = pipe(&mut trace, 1, ET);
    event(&mut trace, item, IN);
    trace.io(TID, item.file, io_call::READ, 256, 144);
    trace.later(200_000_000);
    trace.mark(MarkKind::Stopped);
    assert_eq!(found(&lint(&trace)), [""; 0]);
    trace.enter(TID, ep(1));
    assert_eq!(found(&lint(&trace)), ["et-not-drained"]);
}

/// An event, and a read that sleeps so long.
fn sleeps(events: u32, ns: u64) -> Trace {
    let mut trace = Trace::new();
    let item = pipe(&mut trace, 1, events);
    event(&mut trace, item, IN);
    trace.io(TID, item.file, io_call::READ, 10, 0);
    trace.read_sleeps(TID, item.file);
    trace.later(ns);
    trace
}

#[test]
fn a_read_that_sleeps_on_an_edge_triggered_descriptor_is_found_whether_it_ends_or_not() {
    let mut ended = sleeps(ET, 50_000_000);
    ended.io(TID, 0x9010, io_call::READ, EAGAIN, 0);
    let report = lint(&ended);
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!((finding.rule, finding.times), ("et-blocking", 1));
    assert!(finding.evidence[0].contains("for 50."), "{:?}", finding.evidence);
    let mut open = sleeps(ET, 50_000_000);
    open.mark(MarkKind::Stopped);
    let report = lint(&open);
    assert_eq!(found(&report), ["et-blocking"]);
    assert!(report.findings[0].evidence[0].ends_with("until the end"), "{:?}", report.findings[0].evidence);
}

#[test]
fn a_short_sleep_a_level_triggered_descriptor_or_another_task_is_no_blocking_handler() {
    for (events, ns) in [(ET, 5_000_000), (LT, 50_000_000), (ET | 1 << 30, 50_000_000)] {
        let mut trace = sleeps(events, ns);
        trace.io(TID, 0x9010, io_call::READ, 1, 0);
        assert_eq!(found(&lint(&trace)), [""; 0], "{events:#x}");
    }
    let mut other = Trace::new();
    let item = pipe(&mut other, 1, ET);
    event(&mut other, item, IN);
    other.read_sleeps(TID + 1, item.file);
    other.later(50_000_000);
    other.mark(MarkKind::Stopped);
    assert_eq!(found(&lint(&other)), [""; 0]);
}

/// Deliveries with a call on the file after so many.
fn delivered(mask: u32, events: u32, times: u32, every: u32, call: u32) -> Trace {
    let mut trace = Trace::new();
    let item = pipe(&mut trace, 1, mask);
    for number in 1..=times {
        event(&mut trace, item, events);
        if every != 0 && number % every == 0 {
            trace.io(TID, item.file, call, 1, LEFT_UNKNOWN);
        }
    }
    trace
}

#[test]
fn room_to_write_again_and_again_with_nothing_written_is_found() {
    let mut trace = delivered(IN | OUT, OUT, 64, 0, 0);
    assert_eq!(found(&lint(&trace)), ["epollout-always-ready"]);
    withheld_after_a_loss(&mut trace, "epollout-always-ready");
    for trace in [
        delivered(OUT, OUT, 63, 0, 0),
        delivered(OUT, OUT, 500, 60, io_call::WRITE),
        delivered(OUT | 1 << 31, OUT, 500, 0, 0),
        delivered(OUT, OUT | 0x10, 60, 0, 0),
    ] {
        assert_eq!(found(&lint(&trace)), [""; 0]);
    }
}

#[test]
fn something_to_read_again_and_again_that_nobody_reads_is_found() {
    let mut trace = delivered(LT, IN, 128, 0, 0);
    assert_eq!(found(&lint(&trace)), ["level-ignored"]);
    withheld_after_a_loss(&mut trace, "level-ignored");
    for trace in [
        delivered(LT, IN, 127, 0, 0),
        delivered(LT, IN, 500, 100, io_call::READ),
        delivered(ET, IN, 500, 0, 0),
        delivered(LT, 0x10, 60, 0, 0),
    ] {
        assert_eq!(found(&lint(&trace)), [""; 0]);
    }
}

#[test]
fn events_that_go_on_after_the_close_are_found() {
    let go_on = |before: u32, after: u32| {
        let mut trace = Trace::new();
        let item = Item { fd: 3, ..pipe(&mut trace, 1, LT) };
        // The builder's calls are made with fd 3.
        trace.ctl(TID, 2, Item { fd: 21, ..item }, 0);
        trace.add(TID, item);
        for _ in 0..before {
            event(&mut trace, item, IN);
        }
        trace.io(TID, item.file, io_call::CLOSE, 0, LEFT_UNKNOWN);
        for _ in 0..after {
            event(&mut trace, item, IN);
        }
        found(&lint(&trace))
    };
    assert_eq!(go_on(1, 8), ["closed-registered"]);
    assert_eq!(go_on(0, 8), ["closed-registered"]);
    assert_eq!(go_on(20, 7), [""; 0]);
    assert_eq!(go_on(20, 0), [""; 0]);
}

#[test]
fn a_pipe_that_only_its_own_reader_writes_single_bytes_to_is_a_bell() {
    let bell = |kind: &str, bytes: i32, stranger: bool| {
        let mut trace = Trace::new();
        let item = pipe(&mut trace, 1, LT);
        trace.describes(item.file, 0xf0);
        for _ in 0..40 {
            trace.first(item);
            if let Some(Event::Callback(callback)) = trace.events.last_mut() {
                callback.header.tid = if stranger { 999 } else { TID };
            }
            event(&mut trace, item, IN);
            trace.io(TID, item.file, io_call::READ, bytes, 0);
        }
        let mut info = super::info();
        info.file_kinds.insert(0xf0, kind.to_owned());
        found(&super::lint_with(&trace, info))
    };
    assert_eq!(bell("pipe", 1, false), ["self-pipe"]);
    assert_eq!(bell("eventfd", 1, false), [""; 0]);
    assert_eq!(bell("pipe", 8, false), [""; 0], "eight bytes are a message");
    assert_eq!(bell("pipe", 1, true), [""; 0], "somebody else writes");
}

#[test]
fn without_the_calls_none_of_these_rules_is_judged() {
    let trace = after(ET, io_call::READ, &[&[(256, 144)]]);
    let report = super::lint_with(&trace, crate::model::testing::info());
    assert_eq!(found(&report), [""; 0]);
    let unjudged: Vec<&str> = report.unjudged.iter().map(|unjudged| unjudged.rule).collect();
    assert_eq!(
        unjudged,
        [
            "et-not-drained",
            "et-accept-once",
            "et-blocking",
            "closed-registered",
            "level-ignored",
            "epollout-always-ready",
            "self-pipe"
        ]
    );
}
