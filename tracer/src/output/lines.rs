//! Events one by one, as they happen: a readable line, or a JSON object, for each.
//!
//! Both take the model after it has taken in the event, so that the event's own names are known.

use tracer_common::events::{
    Accept, Audited, BY_IO_URING, Callback, Ctl, DELIVERED_UNKNOWN, FileInfo, Hooked, Io, ItemSeen, LEFT_UNKNOWN, Path,
    Returned, Scan, Symbol, WaitEnter, WaitExit, Wake, WakeCause, audit_flags, audit_moment, callback_flags, ctl_flags,
    io_call, io_flags, item_flags, scan_flags, softirq, symbol_of,
};

use super::layout::task_name;
use super::names::{ctl_op, epoll_events, result};
use super::{lines_json, sanitize};
use crate::analysis::{description, eventpoll_name};
use crate::event::{Event, Loss, MarkKind, TraceInfo, unpadded};
use crate::model::{Model, Outcome, comm};

/// `TCP_LISTEN` (`include/net/tcp_states.h`).
const TCP_LISTEN: u8 = 10;

/// One readable line, without its newline: seconds since tracing began, CPU, task, and what happened.
#[must_use]
pub fn line(event: &Event, info: &TraceInfo, model: &Model) -> String {
    let seconds = clock(event.ts_ns(), model.span().origin());
    let Some(header) = event.header() else {
        return sanitize::text(&format!("{seconds}  -  {}", what(event, info, model)));
    };
    let task = match event {
        // The model has taken in that it is gone.
        Event::TaskExit(exit) => task_name(&comm(&exit.comm), header.tgid, header.tid),
        _ => task(model, header.tgid, header.tid),
    };
    sanitize::text(&format!("{seconds} [{:03}] {task}: {}", header.cpu, what(event, info, model)))
}

/// One JSON object, with its newline.
#[must_use]
pub fn json_line(event: &Event, info: &TraceInfo, model: &Model) -> String {
    super::json::one_line(&lines_json::object(event, info, model))
}

/// Seconds with nine decimals since the origin, signed.
fn clock(ts_ns: u64, origin: u64) -> String {
    let sign = if ts_ns < origin { "-" } else { "" };
    let ns = ts_ns.abs_diff(origin);
    format!("{:>6}.{:09}", format!("{sign}{}", ns / 1_000_000_000), ns % 1_000_000_000)
}

fn what(event: &Event, info: &TraceInfo, model: &Model) -> String {
    match event {
        Event::Ctl(e) => ctl(e, info, model),
        Event::Hooked(e) => hooked(e, info, model),
        Event::Callback(e) => callback(e, info, model),
        Event::Wake(e) => wake(e, model),
        Event::WaitEnter(e) => wait_enter(e, model),
        Event::WaitExit(e) => wait_exit(e, model),
        Event::Returned(e) => returned(e),
        Event::Scan(e) => scan(e, model),
        Event::Accept(e) => accept(e),
        Event::Io(e) => io(e),
        Event::Path(e) => path(e, model),
        Event::Stack(e) => format!("makes its next call from stack {:#x}", e.stack),
        Event::Frame(e) => format!("stack {:#x}: {} of {} is {:#x}", e.stack, e.index, e.count, e.address),
        Event::Symbol(e) => symbol(e),
        Event::Fork(e) => format!("forks {}", task_name(&comm(&e.comm), e.child_tgid, e.child_tid)),
        Event::TaskName(e) => format!("is named {}", comm(&e.comm)),
        Event::TaskPid(e) => format!("is {}/{} in its pid namespace", e.ns_tgid, e.ns_tid),
        Event::TaskExit(_) => "ends".to_owned(),
        Event::FileGone(e) => format!("closes file {:#x} for good", e.file),
        Event::EventpollGone(e) => format!("closes eventpoll {} for good", eventpoll(model, e.ep)),
        Event::FileInfo(e) => file_info(e, info),
        Event::EventpollSeen(e) => format!("found open: eventpoll {}", eventpoll(model, e.ep)),
        Event::ItemSeen(e) => item_seen(e, info, model),
        Event::Raced(e) => format!("the callback of item {:#x} raced with another change", e.epi),
        Event::Audited(e) => audited(e, model),
        Event::FileEnds(e) => format!("begins to close file {:#x} for good", e.file),
        Event::AuditedItem(e) => format!("  {}: item {:#x}", e.index, e.epi),
        Event::Loss(e) => loss(e),
        Event::Mark(mark) => match mark.what {
            MarkKind::Started => "all probes are on".to_owned(),
            MarkKind::Stopped => "the probes are off".to_owned(),
        },
    }
}

fn ctl(e: &Ctl, info: &TraceInfo, model: &Model) -> String {
    let (ep, file) = (eventpoll(model, e.ep), descriptor(e.fd, e.file, info, model));
    let ret = result(e.ret);
    if e.flags & ctl_flags::HAS_EVENT == 0 {
        return format!("epoll_ctl({ep}, {}, {file}) = {ret}", ctl_op(e.op));
    }
    let events = epoll_events(e.events);
    format!("epoll_ctl({ep}, {}, {file}, {events}, data {:#x}) = {ret}", ctl_op(e.op), e.data)
}

fn hooked(e: &Hooked, info: &TraceInfo, model: &Model) -> String {
    let (ep, events) = (eventpoll(model, e.ep), epoll_events(e.events));
    let file = descriptor(e.fd, e.file, info, model);
    format!("hooks {file} of {ep} to wait queue {:#x}: {events}, data {:#x}", e.whead, e.data)
}

fn item_seen(e: &ItemSeen, info: &TraceInfo, model: &Model) -> String {
    let (ep, events) = (eventpoll(model, e.ep), epoll_events(e.events));
    let file = descriptor(e.fd, e.file, info, model);
    let ready = if e.flags & item_flags::LINKED != 0 { ", ready" } else { "" };
    format!("found registered: {file} in {ep}: {events}, data {:#x}{ready}", e.data)
}

/// `fd 6 (tcp 127.0.0.1:80 listening)`; the number alone while nobody has told what file it is.
fn descriptor(fd: i32, file: u64, info: &TraceInfo, model: &Model) -> String {
    source(file, info, model).map_or_else(|| format!("fd {fd}"), |source| format!("fd {fd} ({source})"))
}

/// What the file at this address is, if that was told.
pub(super) fn source(file: u64, info: &TraceInfo, model: &Model) -> Option<String> {
    let file = model.files().live_at(file)?;
    Some(described(&file.info?, file.listening, info))
}

/// Whether it is a socket that listened when it was told of.
const fn listens(known: &FileInfo) -> bool {
    known.family != 0 && known.state == TCP_LISTEN
}

/// `tcp 127.0.0.1:80 listening`
fn described(known: &FileInfo, listening: bool, info: &TraceInfo) -> String {
    let description = description(known, listening, &info.file_kinds);
    if listening { format!("{description} listening") } else { description }
}

fn audited(e: &Audited, model: &Model) -> String {
    let ep = eventpoll(model, e.ep);
    let moment = audit_moment_name(e.moment);
    if e.flags & audit_flags::VALID == 0 {
        return format!("the lists of {ep} changed while they were walked ({moment})");
    }
    format!("the kernel's lists of {ep} hold {} items ({moment})", e.count)
}

/// When a walk of the kernel's lists was made.
pub(super) const fn audit_moment_name(moment: u32) -> &'static str {
    match moment {
        audit_moment::WAIT => "a wait began",
        audit_moment::CTL => "an epoll_ctl ended",
        audit_moment::CALLBACK => "a callback ended",
        audit_moment::SCAN_END => "a scan ended",
        _ => "unknown",
    }
}

fn callback(e: &Callback, info: &TraceInfo, model: &Model) -> String {
    let key = if e.key == 0 { "anything".to_owned() } else { epoll_events(e.key) };
    let mut line = format!(
        "callback {} of {}: {} announced, {} wanted: {}",
        descriptor(e.fd, e.file, info, model),
        eventpoll(model, e.ep),
        key,
        epoll_events(e.events),
        Outcome::of(e).name(),
    );
    let notes = [
        (e.parent_ts != 0, ", nested"),
        (e.flags & callback_flags::FIRST != 0, ", first of its wait queue"),
        (e.flags & callback_flags::SCANNING != 0, ", during a scan"),
    ];
    for (_, note) in notes.into_iter().filter(|(applies, _)| *applies) {
        line.push_str(note);
    }
    line
}

fn wake(e: &Wake, model: &Model) -> String {
    let task = task(model, e.woken_tgid, e.woken_tid);
    let verb = if e.ret == 0 { "would wake (already running)" } else { "wakes" };
    format!("{verb} {task} waiting on {}, by {}", eventpoll(model, e.ep), cause(e.cause))
}

pub(super) fn cause(cause: u32) -> &'static str {
    match WakeCause::ALL.into_iter().find(|known| *known as u32 == cause) {
        Some(WakeCause::Task) => "its own call",
        Some(WakeCause::Callback) => "callback",
        Some(WakeCause::Scan) => "the end of its scan",
        None => "an unknown cause",
    }
}

fn wait_enter(e: &WaitEnter, model: &Model) -> String {
    let timeout = match u64::try_from(e.timeout_ns) {
        Ok(ns) => format!("{}.{:03} ms", ns / 1_000_000, ns % 1_000_000 / 1_000),
        Err(_) => "without end".to_owned(),
    };
    let call = wait_call(e.epfd);
    format!("{call}({}, maxevents {}, {timeout})", eventpoll(model, e.ep), e.maxevents)
}

fn wait_exit(e: &WaitExit, model: &Model) -> String {
    let first = if e.captured > 0 {
        format!(", event 0: {}, data {:#x}", epoll_events(e.events), e.data)
    } else {
        String::new()
    };
    format!("{}({}) = {}{first}", wait_call(e.epfd), eventpoll(model, e.ep), result(e.ret))
}

/// What made a wait.
pub(super) const fn wait_call(epfd: i32) -> &'static str {
    if epfd == BY_IO_URING { "io_uring EPOLL_WAIT" } else { "epoll_wait" }
}

fn returned(e: &Returned) -> String {
    format!("  event {}: {}, data {:#x}", e.index, epoll_events(e.events), e.data)
}

fn scan(e: &Scan, model: &Model) -> String {
    let delivered = match e.delivered {
        DELIVERED_UNKNOWN => String::new(),
        number if number < 0 => format!(", failed: {}", result(number)),
        number => format!(", {number} delivered"),
    };
    let mut line = format!("scans the ready list of {}{delivered}", eventpoll(model, e.ep));
    for note in scan_notes(e) {
        line.push_str(", ");
        line.push_str(note);
    }
    line
}

pub(super) fn scan_notes(e: &Scan) -> Vec<&'static str> {
    let has = |flag: u32| e.flags & flag != 0;
    let lists = has(scan_flags::LISTS_KNOWN);
    let notes = [
        (lists && has(scan_flags::REQUEUED), "some put back"),
        (lists && has(scan_flags::LEFT_OVER), "some left over"),
        (lists && has(scan_flags::OVERFLOW), "some came meanwhile"),
        (!has(scan_flags::IN_WAIT), "outside a wait of it"),
    ];
    notes.into_iter().filter(|(applies, _)| *applies).map(|(_, note)| note).collect()
}

fn accept(e: &Accept) -> String {
    let fd = if e.fd < 0 { "fd unknown".to_owned() } else { format!("fd {}", e.fd) };
    format!("accept({fd}) = {}", result(e.ret))
}

/// The name of an `io_call`.
pub(super) const fn io_call_name(call: u32) -> &'static str {
    match call {
        io_call::READ => "read",
        io_call::WRITE => "write",
        io_call::ACCEPT => "accept",
        io_call::CLOSE => "close",
        _ => "unknown",
    }
}

/// `read(fd 5) = 256, 144 left`
pub(super) fn io(e: &Io) -> String {
    let call = format!("{}(fd {})", io_call_name(e.call), e.fd);
    if e.flags & io_flags::WILL_SLEEP != 0 {
        return format!("{call} will sleep: nothing is there");
    }
    if e.call == io_call::CLOSE {
        return call;
    }
    let left = if e.left == LEFT_UNKNOWN { String::new() } else { format!(", {} left", e.left) };
    format!("{call} = {}{left}", result(e.ret))
}

/// `is on a CPU 5300 ns after a callback of e1 on CPU 1 (in softirq NET_RX since 3120 ns before, wake 210 ns after)`
fn path(e: &Path, model: &Model) -> String {
    let within = [
        (e.softirq_ts, format!("softirq {}", softirq_name(e.softirq))),
        (e.interrupt_ts, "interrupt".to_owned()),
        (e.sock_ts, "sock_def_readable".to_owned()),
    ];
    let within = within.into_iter().filter(|(ts, _)| *ts != 0);
    let mut words: Vec<String> =
        within.map(|(ts, what)| format!("in {what} since {} ns before", e.cause_ts.saturating_sub(ts))).collect();
    words.push(format!("wake {} ns after", e.wake_ts.saturating_sub(e.cause_ts)));
    format!(
        "is on a CPU {} ns after a callback of {} on CPU {} ({})",
        e.header.ts_ns.saturating_sub(e.cause_ts),
        eventpoll(model, e.ep),
        e.cause_cpu,
        words.join(", ")
    )
}

/// `address 0x7f1200001005 is 0x1005 behind the beginning of module libc.so.6`
fn symbol(e: &Symbol) -> String {
    let text = lossy(&e.text);
    match e.of {
        symbol_of::MODULE | symbol_of::FUNCTION => {
            let what = symbol_of_name(e.of);
            format!("address {:#x} is {:#x} behind the beginning of {what} {text}", e.address, e.offset)
        }
        _ => format!("address {:#x} is unknown: {text}", e.address),
    }
}

/// Text padded with zeros.
pub(super) fn lossy(padded: &[u8]) -> String {
    String::from_utf8_lossy(unpadded(padded)).into_owned()
}

/// What a symbol names.
pub(super) const fn symbol_of_name(of: u32) -> &'static str {
    match of {
        symbol_of::MODULE => "module",
        symbol_of::FUNCTION => "function",
        symbol_of::NO_CODE => "no code",
        _ => "unknown",
    }
}

/// The kernel's name of a softirq.
pub(super) fn softirq_name(number: u32) -> &'static str {
    usize::try_from(number).ok().and_then(|number| softirq::NAMES.get(number)).copied().unwrap_or("unknown")
}

fn file_info(e: &FileInfo, info: &TraceInfo) -> String {
    let known = e.family != 0 || info.file_kinds.contains_key(&e.f_op);
    let what = if known { described(e, listens(e), info) } else { format!("file_operations {:#x}", e.f_op) };
    let inode = format!(", inode {}", e.ino);
    if what.ends_with(&inode) {
        format!("file {:#x} is {what}", e.file)
    } else {
        format!("file {:#x} is {what}{inode}", e.file)
    }
}

fn loss(e: &Loss) -> String {
    let hook = e.hook.map_or("an unknown hook", tracer_common::Hook::name);
    let cpu = e.cpu.map_or_else(|| "an unknown CPU".to_owned(), |cpu| format!("CPU {cpu}"));
    let what = if e.reason.loses_events(e.hook) { "LOST" } else { "not in full" };
    format!("{what}: {} from {hook} on {cpu} ({})", e.count, e.reason.name())
}

/// `comm/pid:epfd`, or the address.
pub(super) fn eventpoll(model: &Model, address: u64) -> String {
    if address == 0 {
        return "unknown".to_owned();
    }
    model.eventpolls().last_at(address).map_or_else(|| format!("{address:#x}"), |ep| eventpoll_name(model, ep))
}

fn task(model: &Model, pid: u32, tid: u32) -> String {
    let comm = model.tasks().live_at(tid).filter(|task| task.pid == pid).map_or("", |task| task.comm.as_str());
    task_name(comm, pid, tid)
}
