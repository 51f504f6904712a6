//! One event as a JSON object. Addresses and data are hexadecimal strings, since JSON numbers end at 2^53.

use serde_json::{Map, Value, json};
use tracer_common::events::{
    Callback, Ctl, DELIVERED_UNKNOWN, FileInfo, LEFT_UNKNOWN, Path, Scan, WaitExit, Wake, WakeCause, audit_flags,
    audit_list, callback_flags, ctl_flags, io_flags, item_flags,
};

use super::lines::{
    audit_moment_name, eventpoll, io_call_name, lossy, scan_notes, softirq_name, source, symbol_of_name,
};
use super::names::{ctl_op, epoll_events, errno};
use crate::analysis::{SCHEMA_VERSION, ip};
use crate::event::{Event, MarkKind, TraceInfo};
use crate::model::{Model, Outcome, comm};

/// `{"schema_version":1,"kind":"event","event":NAME,"ts_ns":N,"cpu":N,"pid":N,"tid":N,"comm":S, ...}`
pub(super) fn object(event: &Event, info: &TraceInfo, model: &Model) -> Value {
    let (name, details) = details(event, info, model);
    let mut object = Map::new();
    object.insert("schema_version".to_owned(), json!(SCHEMA_VERSION));
    object.insert("kind".to_owned(), json!("event"));
    object.insert("event".to_owned(), json!(name));
    object.insert("ts_ns".to_owned(), json!(event.ts_ns()));
    if let Some(header) = event.header() {
        let task = model.tasks().live_at(header.tid).filter(|task| task.pid == header.tgid);
        object.insert("cpu".to_owned(), json!(header.cpu));
        object.insert("pid".to_owned(), json!(header.tgid));
        object.insert("tid".to_owned(), json!(header.tid));
        object.insert("comm".to_owned(), json!(task.map(|task| task.comm.as_str()).filter(|comm| !comm.is_empty())));
    }
    if let Value::Object(details) = details {
        object.extend(details);
    }
    Value::Object(object)
}

fn details(event: &Event, info: &TraceInfo, model: &Model) -> (&'static str, Value) {
    match event {
        Event::Ctl(e) => ("ctl", ctl(e, info, model)),
        Event::Hooked(e) => (
            "hooked",
            json!({ "ep": address(e.ep), "eventpoll": eventpoll(model, e.ep), "epi": address(e.epi), "file": address(e.file),
                "source": source(e.file, info, model), "whead": address(e.whead), "fd": e.fd,
                "events": epoll_events(e.events), "data": hex(e.data) }),
        ),
        Event::Callback(e) => ("callback", callback(e, info, model)),
        Event::Wake(e) => ("wake", wake(e, model)),
        Event::WaitEnter(e) => (
            "wait-enter",
            json!({ "ep": address(e.ep), "eventpoll": eventpoll(model, e.ep), "epfd": e.epfd, "maxevents": e.maxevents,
                "timeout_ns": e.timeout_ns }),
        ),
        Event::WaitExit(e) => ("wait-exit", wait_exit(e, model)),
        Event::Returned(e) => (
            "returned",
            json!({ "ep": address(e.ep), "eventpoll": eventpoll(model, e.ep), "index": e.index,
                "events": epoll_events(e.events), "data": hex(e.data) }),
        ),
        Event::Scan(e) => ("scan", scan(e, model)),
        Event::Accept(e) => (
            "accept",
            json!({ "file": address(e.file), "fd": (e.fd != -1).then_some(e.fd), "ret": e.ret, "errno": errno(e.ret) }),
        ),
        Event::Io(e) => (
            "io",
            json!({ "file": address(e.file), "fd": e.fd, "call": io_call_name(e.call), "ret": e.ret, "errno": errno(e.ret),
                "left": (e.left != LEFT_UNKNOWN).then_some(e.left), "will_sleep": e.flags & io_flags::WILL_SLEEP != 0 }),
        ),
        Event::Path(e) => ("path", path(e, model)),
        Event::Stack(e) => ("stack", json!({ "stack": hex(e.stack) })),
        Event::Frame(e) => {
            ("frame", json!({ "stack": hex(e.stack), "index": e.index, "frames": e.count, "address": hex(e.address) }))
        }
        Event::Symbol(e) => (
            "symbol",
            json!({ "address": hex(e.address), "of": symbol_of_name(e.of), "offset": e.offset, "index": e.part,
                "symbol": lossy(&e.text) }),
        ),
        Event::Fork(e) => {
            ("fork", json!({ "child_pid": e.child_tgid, "child_tid": e.child_tid, "child_comm": comm(&e.comm) }))
        }
        Event::TaskPid(e) => ("task-pid", json!({ "ns_pid": e.ns_tgid, "ns_tid": e.ns_tid })),
        Event::TaskName(e) => ("task-name", json!({ "comm": comm(&e.comm) })),
        Event::TaskExit(e) => ("task-exit", json!({ "comm": comm(&e.comm) })),
        Event::FileEnds(e) => ("file-ends", json!({ "file": address(e.file) })),
        Event::FileGone(e) => ("file-gone", json!({ "file": address(e.file) })),
        Event::EventpollGone(e) => {
            ("eventpoll-gone", json!({ "ep": address(e.ep), "eventpoll": eventpoll(model, e.ep) }))
        }
        Event::FileInfo(e) => ("file-info", file_info(e, info)),
        Event::EventpollSeen(e) => (
            "eventpoll-seen",
            json!({ "ep": address(e.ep), "eventpoll": eventpoll(model, e.ep), "owner_pid": e.owner_tgid, "epfd": e.epfd }),
        ),
        Event::ItemSeen(e) => (
            "item-seen",
            json!({ "ep": address(e.ep), "eventpoll": eventpoll(model, e.ep), "epi": address(e.epi), "file": address(e.file),
                "source": source(e.file, info, model), "fd": e.fd, "events": epoll_events(e.events), "data": hex(e.data),
                "ready": e.flags & item_flags::LINKED != 0 }),
        ),
        Event::Raced(e) => (
            "raced",
            json!({ "ep": address(e.ep), "eventpoll": eventpoll(model, e.ep), "epi": address(e.epi),
                "callback_ts_ns": e.callback_ts }),
        ),
        Event::Audited(e) => (
            "audited",
            json!({ "ep": address(e.ep), "eventpoll": eventpoll(model, e.ep), "moment": audit_moment_name(e.moment),
                "items": e.count, "valid": e.flags & audit_flags::VALID != 0,
                "truncated": e.flags & audit_flags::TRUNCATED != 0 }),
        ),
        Event::AuditedItem(e) => (
            "audited-item",
            json!({ "ep": address(e.ep), "eventpoll": eventpoll(model, e.ep), "epi": address(e.epi), "index": e.index,
                "list": match e.list {
                    audit_list::READY => "ready",
                    audit_list::OVERFLOW => "overflow",
                    _ => "left over",
                } }),
        ),
        Event::Loss(e) => (
            "loss",
            json!({ "hook": e.hook.map(tracer_common::Hook::name), "cpu": e.cpu, "reason": e.reason.name(),
                "count": e.count, "loses_events": e.reason.loses_events(e.hook) }),
        ),
        Event::Mark(mark) => match mark.what {
            MarkKind::Started => {
                ("started", json!({ "kernel": info.kernel, "machine": info.machine, "backend": info.backend() }))
            }
            MarkKind::Stopped => ("stopped", json!({})),
        },
    }
}

fn ctl(e: &Ctl, info: &TraceInfo, model: &Model) -> Value {
    let known = e.flags & ctl_flags::HAS_EVENT != 0;
    json!({ "ep": address(e.ep), "eventpoll": eventpoll(model, e.ep), "epfd": e.epfd, "op": ctl_op(e.op), "fd": e.fd,
        "file": address(e.file), "epi": address(e.epi), "source": source(e.file, info, model), "events": known.then(|| epoll_events(e.events)), "data": known.then(|| hex(e.data)),
        "ret": e.ret, "errno": errno(e.ret) })
}

fn wait_exit(e: &WaitExit, model: &Model) -> Value {
    let known = e.captured > 0;
    json!({ "ep": address(e.ep), "eventpoll": eventpoll(model, e.ep), "epfd": (e.epfd != -1).then_some(e.epfd),
        "ret": e.ret, "errno": errno(e.ret), "captured": e.captured,
        "events": known.then(|| epoll_events(e.events)), "data": known.then(|| hex(e.data)) })
}

fn callback(e: &Callback, info: &TraceInfo, model: &Model) -> Value {
    let has = |flag: u32| e.flags & flag != 0;
    // Before the first of a queue stands no entry.
    let prev_wait = if has(callback_flags::FIRST) { None } else { address(e.prev_wait) };
    json!({ "ep": address(e.ep), "eventpoll": eventpoll(model, e.ep), "epi": address(e.epi), "file": address(e.file),
        "source": source(e.file, info, model), "whead": address(e.whead), "wait": address(e.wait), "prev_wait": prev_wait, "fd": e.fd, "key": epoll_events(e.key),
        "events": epoll_events(e.events), "data": hex(e.data), "outcome": Outcome::of(e).name(),
        "scanning": has(callback_flags::SCANNING), "exclusive": has(callback_flags::EXCLUSIVE),
        "first": has(callback_flags::FIRST), "parent_ts_ns": (e.parent_ts != 0).then_some(e.parent_ts) })
}

fn wake(e: &Wake, model: &Model) -> Value {
    let cause = match WakeCause::ALL.into_iter().find(|known| *known as u32 == e.cause) {
        Some(WakeCause::Task) => "task",
        Some(WakeCause::Callback) => "callback",
        Some(WakeCause::Scan) => "scan",
        None => "unknown",
    };
    let woken = model.tasks().live_at(e.woken_tid).filter(|task| task.pid == e.woken_tgid);
    json!({ "ep": address(e.ep), "eventpoll": eventpoll(model, e.ep), "cause": cause,
        "cause_ts_ns": (e.cause_ts != 0).then_some(e.cause_ts),
        "wake_after_ns": (e.after_ns != 0).then_some(e.after_ns), "woken_pid": e.woken_tgid, "woken_tid": e.woken_tid,
        "woken_comm": woken.map(|task| task.comm.as_str()).filter(|comm| !comm.is_empty()),
        "already_running": e.ret == 0 })
}

fn path(e: &Path, model: &Model) -> Value {
    let since = |ts_ns: u64| (ts_ns != 0).then_some(ts_ns);
    json!({ "ep": address(e.ep), "eventpoll": eventpoll(model, e.ep), "cause_ts_ns": e.cause_ts, "cause_cpu": e.cause_cpu,
        "softirq": (e.softirq_ts != 0).then(|| softirq_name(e.softirq)), "softirq_ts_ns": since(e.softirq_ts),
        "interrupt_ts_ns": since(e.interrupt_ts), "sock_ts_ns": since(e.sock_ts), "wake_ts_ns": e.wake_ts })
}

fn scan(e: &Scan, model: &Model) -> Value {
    let delivered = (e.delivered != DELIVERED_UNKNOWN).then_some(e.delivered);
    json!({ "ep": address(e.ep), "eventpoll": eventpoll(model, e.ep), "epi": address(e.first_left), "delivered": delivered,
        "notes": scan_notes(e) })
}

fn file_info(e: &FileInfo, info: &TraceInfo) -> Value {
    let remote = ip(e.family, e.remote).filter(|_| e.has_peer());
    let of_socket = |number: u16| e.is_socket().then_some(number);
    json!({ "file": address(e.file), "file_kind": info.file_kinds.get(&e.f_op).cloned().unwrap_or_else(|| hex(e.f_op)),
        "ino": e.ino, "family": of_socket(e.family), "sock_type": of_socket(e.sock_type.into()),
        "sock_state": of_socket(e.state.into()), "local_addr": ip(e.family, e.local),
        "local_port": of_socket(e.local_port), "remote_addr": remote,
        "remote_port": of_socket(e.remote_port), "netns": (e.netns != 0).then_some(e.netns) })
}

/// A kernel address; nothing for one that is not known.
fn address(number: u64) -> Option<String> {
    (number != 0).then(|| hex(number))
}

fn hex(number: u64) -> String {
    format!("{number:#x}")
}
