//! The log line of each step of the player.

use tracer_common::events::{
    Callback, DELIVERED_UNKNOWN, Scan, WaitEnter, WaitExit, WakeCause, callback_flags, ctl_flags, item_flags,
};

use super::super::lines::{io, scan_notes, wait_call};
use super::super::names::{ctl_op, epoll_events, result};
use super::text;
use super::words::{count, duration};
use crate::analysis::player::Step;
use crate::event::Event;
use crate::model::Outcome;

/// What happened, in words that stand beside the drawing.
pub(super) fn line(step: &Step) -> String {
    let others = || step.others.join(", ");
    let source = step.source.as_deref().unwrap_or("a file");
    let line = match &step.event {
        Event::Callback(e) => callback(e, source, &step.others),
        Event::Wake(e) if e.ret == 0 => format!("{} would be woken, but runs already", others()),
        Event::Wake(e) => format!("{} is woken by {} and leaves the wait queue", others(), by(e.cause)),
        Event::WaitEnter(e) => wait_enter(e),
        Event::WaitExit(e) => wait_exit(e),
        Event::Returned(e) => format!("… and {}, data {:#x}", epoll_events(e.events), e.data),
        Event::Scan(e) => scan(e),
        Event::Ctl(e) => {
            let mask = if e.flags & ctl_flags::HAS_EVENT == 0 {
                String::new()
            } else {
                format!(", {}", epoll_events(e.events))
            };
            format!("epoll_ctl({}, fd {}{mask}) = {} ({source})", ctl_op(e.op), e.fd, result(e.ret))
        }
        Event::Hooked(e) => format!("fd {} hangs an entry on wait queue {:#x} of {source}", e.fd, e.whead),
        Event::Accept(e) => format!("accept = {} ({source})", result(e.ret)),
        Event::Io(e) => format!("{} ({source})", io(e)),
        Event::ItemSeen(e) => {
            let ready = if e.flags & item_flags::LINKED != 0 { ", ready" } else { "" };
            format!("found registered: fd {}, {}{ready} ({source})", e.fd, epoll_events(e.events))
        }
        Event::EventpollSeen(_) => "found open".to_owned(),
        Event::EventpollGone(_) => "the eventpoll is closed for good".to_owned(),
        Event::FileGone(_) => "a watched file is closed for good: its items are gone".to_owned(),
        Event::FileInfo(_) => "another file has come to live at the address of a watched one".to_owned(),
        Event::Fork(_) => format!("makes {}", others()),
        Event::TaskExit(_) => "the task ends".to_owned(),
        Event::Path(_) => "is on a CPU".to_owned(),
        Event::TaskName(_)
        | Event::TaskPid(_)
        | Event::Raced(_)
        | Event::Audited(_)
        | Event::AuditedItem(_)
        | Event::FileEnds(_)
        | Event::Stack(_)
        | Event::Frame(_)
        | Event::Symbol(_)
        | Event::Loss(_)
        | Event::Mark(_) => "the lists are put right".to_owned(),
    };
    text(&match &step.task {
        Some(task) if !matches!(step.event, Event::Callback(_) | Event::Wake(_)) => format!("{task}: {line}"),
        _ => line,
    })
}

/// What woke a task.
fn by(cause: u32) -> &'static str {
    match WakeCause::ALL.into_iter().find(|known| *known as u32 == cause) {
        Some(WakeCause::Task) => "an epoll_ctl",
        Some(WakeCause::Callback) => "a callback",
        Some(WakeCause::Scan) => "the end of another task's scan",
        None => "an unknown cause",
    }
}

/// `callback fd 42: EPOLLIN, linked, woke worker-3`
fn callback(e: &Callback, source: &str, woken: &[String]) -> String {
    let key = if e.key == 0 { "anything".to_owned() } else { epoll_events(e.key & (e.events | 0x18)) };
    let key = if key == "0" { epoll_events(e.key) } else { key };
    let mut line = format!("callback fd {} ({source}): {key}, {}", e.fd, Outcome::of(e).name());
    let notes = [
        (e.flags & callback_flags::FIRST != 0, ", first of its wait queue"),
        (e.flags & callback_flags::SCANNING != 0, ", during a scan"),
        (e.parent_ts != 0, ", nested"),
    ];
    for (_, note) in notes.into_iter().filter(|(applies, _)| *applies) {
        line.push_str(note);
    }
    if !woken.is_empty() {
        line.push_str(", woke ");
        line.push_str(&woken.join(", "));
    }
    line
}

fn wait_enter(e: &WaitEnter) -> String {
    let timeout = u64::try_from(e.timeout_ns).map_or_else(|_| "without end".to_owned(), duration);
    let room = count(u64::try_from(e.maxevents).unwrap_or(0), "event");
    format!("{} begins, room for {room}, {timeout}", wait_call(e.epfd))
}

fn wait_exit(e: &WaitExit) -> String {
    let first =
        if e.captured > 0 { format!(": {}, data {:#x}", epoll_events(e.events), e.data) } else { String::new() };
    format!("{} = {}{first}", wait_call(e.epfd), result(e.ret))
}

fn scan(e: &Scan) -> String {
    let delivered = match e.delivered {
        DELIVERED_UNKNOWN => String::new(),
        0 => ", nothing to deliver".to_owned(),
        number if number < 0 => format!(", failed: {}", result(number)),
        number => format!(", {number} delivered"),
    };
    let notes = scan_notes(e).join(", ");
    format!("scans the ready list{delivered}{}{notes}", if notes.is_empty() { "" } else { ", " })
}

/// What kind of step it is: a class of the style sheet.
pub(super) const fn kind(event: &Event) -> &'static str {
    match event {
        Event::Callback(_) => "callback",
        Event::Wake(_) => "wake",
        Event::WaitEnter(_) | Event::WaitExit(_) | Event::Returned(_) => "wait",
        Event::Scan(_) => "scan",
        Event::Ctl(_) | Event::Hooked(_) => "ctl",
        Event::Accept(_) => "accept",
        _ => "other",
    }
}
