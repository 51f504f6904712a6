//! From where in its program an accused call was made.

use tracer_common::Header;
use tracer_common::events::{SYMBOL_PART, io_call, symbol_of};

use super::{TID, calls, found, info, lint_with, pipe};
use crate::analysis::lint::{LintReport, UserStack};
use crate::event::{Event, Frame, Io, Stack, Symbol, TraceInfo};
use crate::model::testing::{LT, PID, Trace, ep};

/// The number of the only stack.
const STACK: u64 = 0x1_0000;

fn traced() -> TraceInfo {
    TraceInfo { stacks: true, ..info() }
}

fn frame(index: u32, count: u32, address: u64) -> Event {
    let header = Header { tgid: PID, tid: TID, ..Header::default() };
    Event::Frame(Frame { header, stack: STACK, address, index, count })
}

fn symbol(address: u64, of: u32, offset: u64, part: u32, words: &str) -> Event {
    let mut text = [0; SYMBOL_PART];
    text.iter_mut().zip(words.bytes()).for_each(|(to, from)| *to = from);
    let header = Header { tgid: PID, tid: PID, ..Header::default() };
    Event::Symbol(Symbol { header, address, offset, of, part, text })
}

/// The trace with what was told of the stack before, and each call that `is_from_there` told to come from there.
fn with_stack(trace: &Trace, told: &[Event], is_from_there: impl Fn(&Event) -> bool) -> Trace {
    let mut events = told.to_vec();
    for event in &trace.events {
        if let Some(header) = event.header().filter(|_| is_from_there(event)) {
            events.push(Event::Stack(Stack { header: *header, stack: STACK }));
        }
        events.push(*event);
    }
    let mut with = trace.clone();
    with.events = events;
    with
}

fn stack_of(report: &LintReport) -> UserStack {
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    finding.stack.clone().expect("a call is accused")
}

fn spinning() -> Trace {
    let mut trace = Trace::new();
    calls::spins(&mut trace, 256);
    trace
}

fn is_return(event: &Event) -> bool {
    matches!(event, Event::WaitExit(_))
}

#[test]
fn a_finding_shows_from_where_its_call_was_made_with_names() {
    let told = [
        frame(0, 3, 0x1005),
        frame(1, 3, 0x2010),
        frame(2, 3, 0x3000),
        symbol(0x1005, symbol_of::MODULE, 0xf05, 0, "libc.so.6"),
        symbol(0x1005, symbol_of::FUNCTION, 5, 0, "epoll_wait"),
        symbol(0x2010, symbol_of::MODULE, 0x10, 0, "server"),
        symbol(0x2010, symbol_of::FUNCTION, 16, 0, &"x".repeat(SYMBOL_PART)),
        symbol(0x2010, symbol_of::FUNCTION, 16, 1, "::run"),
    ];
    let report = lint_with(&with_stack(&spinning(), &told, is_return), traced());
    let stack = stack_of(&report);
    let names: Vec<_> = stack.frames.iter().map(|frame| (frame.module.as_deref(), frame.function.as_deref())).collect();
    let long = format!("{}::run", "x".repeat(SYMBOL_PART));
    assert_eq!(names, [(Some("libc.so.6"), Some("epoll_wait")), (Some("server"), Some(long.as_str())), (None, None)]);
    assert_eq!((stack.frames[0].module_offset, stack.frames[0].function_offset), (Some(0xf05), Some(5)));
    assert_eq!((stack.frames[2].address.as_str(), stack.missing), ("0x3000", None));
    assert!(stack.frames[2].unknown.is_some(), "an address that was not looked up says so");
    assert_eq!(stack.row, *report.findings[0].rows.last().unwrap());
}

#[test]
fn a_stack_ends_where_no_call_returns_to() {
    let told = [
        frame(0, 3, 0x1005),
        frame(1, 3, 0x77),
        frame(2, 3, 0x3000),
        symbol(0x77, symbol_of::NO_CODE, 0, 0, "no call ends there"),
        symbol(0x1005, symbol_of::UNKNOWN, 0, 0, "the process had ended"),
    ];
    let stack = stack_of(&lint_with(&with_stack(&spinning(), &told, is_return), traced()));
    assert_eq!(stack.frames.len(), 1);
    assert_eq!(stack.frames[0].unknown.as_deref(), Some("the process had ended"));
    assert!(stack.missing.is_some_and(|why| why.contains("frame pointer")));
}

#[test]
fn a_stack_that_is_missing_has_a_reason() {
    let why = |trace: &Trace, info| {
        let stack = stack_of(&lint_with(trace, info));
        assert!(stack.frames.is_empty());
        stack.missing.expect("a reason")
    };
    assert!(why(&spinning(), info()).contains("--stacks"));
    assert!(why(&spinning(), traced()).contains("could not be taken"));
    let untold = with_stack(&spinning(), &[], is_return);
    assert!(why(&untold, traced()).contains("lost"));
    let half = with_stack(&spinning(), &[frame(1, 2, 0x2000)], is_return);
    assert!(why(&half, traced()).contains("lost"));
}

#[test]
fn the_stack_of_another_moment_or_cpu_is_not_taken_for_the_calls_own() {
    for differ in [
        |header: &mut Header| header.ts_ns -= 1,
        |header: &mut Header| header.cpu += 1,
        |header: &mut Header| {
            header.tid += 1;
        },
    ] {
        let mut trace = with_stack(&spinning(), &[frame(0, 1, 0x1005)], is_return);
        for event in &mut trace.events {
            if let Event::Stack(stack) = event {
                differ(&mut stack.header);
            }
        }
        assert_eq!(stack_of(&lint_with(&trace, traced())).frames, []);
    }
}

#[test]
fn the_read_that_left_something_is_shown_not_the_wait_in_which_it_was_seen() {
    let mut trace = Trace::new();
    let item = pipe(&mut trace, 1, LT | 1 << 31);
    trace.enter(TID, ep(1));
    trace.leave_with(TID, ep(1), &[(item, 1)]);
    trace.io(TID, item.file, io_call::READ, 256, 144);
    trace.enter(TID, ep(1));
    trace.leave(TID, ep(1), Ok(&[]));
    trace.later(200_000_000);
    trace.mark(crate::event::MarkKind::Stopped);
    let is_read = |event: &Event| matches!(event, Event::Io(_));
    let report = lint_with(&with_stack(&trace, &[frame(0, 1, 0x1005)], is_read), traced());
    assert_eq!((found(&report), stack_of(&report).frames.len()), (vec!["et-not-drained"], 1));
}

#[test]
fn of_a_closed_descriptor_the_close_is_shown() {
    let mut trace = Trace::new();
    let item = pipe(&mut trace, 1, LT);
    let deliver = |trace: &mut Trace| {
        trace.enter(TID, ep(1));
        trace.leave_with(TID, ep(1), &[(item, 1)]);
    };
    deliver(&mut trace);
    let header = trace.header(TID);
    let close =
        Io { header, file: item.file, fd: item.fd, ret: 0, left: u32::MAX, call: io_call::CLOSE, flags: 0, pad: 0 };
    trace.events.push(Event::Io(close));
    (0..8).for_each(|_| deliver(&mut trace));
    let told = [frame(0, 1, 0x1005)];
    let shown = |from: fn(&Event) -> bool| stack_of(&lint_with(&with_stack(&trace, &told, from), traced()));
    assert_eq!(shown(|event| matches!(event, Event::Io(_))).frames.len(), 1);
    assert_eq!(shown(is_return).frames, [], "the wait is not what is accused");
}
