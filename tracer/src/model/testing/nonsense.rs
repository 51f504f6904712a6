//! Events in nonsense orders, with nonsense in them.

use proptest::prelude::{Strategy, any};
use proptest::sample::select;
use tracer_common::events::{
    Accept, Audited, AuditedItem, Callback, Ctl, EventpollGone, EventpollSeen, FileEnds, FileGone, FileInfo, Fork,
    Frame, Hooked, Io, ItemSeen, Path, Raced, Returned, Scan, Stack, Symbol, TaskExit, TaskName, TaskPid, WaitEnter,
    WaitExit, Wake,
};
use tracer_common::{Header, Hook};

use crate::event::{Event, Loss, LossReason, Mark, MarkKind};

/// Few values, so that events meet each other; and the ends of the range.
fn number() -> impl Strategy<Value = u64> {
    select(vec![0, 1, 2, 3, 4, 5, u64::MAX - 1, u64::MAX])
}

fn half() -> impl Strategy<Value = u32> {
    select(vec![0, 1, 2, 3, 4, 31, 0x19, 1 << 28, 1 << 30, 1 << 31, 0xc000_0019, u32::MAX])
}

fn signed() -> impl Strategy<Value = i32> {
    select(vec![0, 1, 2, 3, 64, -1, -4, -11, i32::MIN, i32::MAX])
}

fn build(kind: usize, n: [u64; 8], h: [u32; 6], s: [i32; 3], comm: [u8; 16]) -> Event {
    let header = Header { kind: 0, len: 0, cpu: h[0], ts_ns: n[0], tgid: h[1], tid: h[2] };
    let [_, ep, epi, file, whead, wait, data, parent_ts] = n;
    match kind {
        0 => Event::Ctl(Ctl {
            header,
            ep,
            file,
            data,
            epfd: s[0],
            op: s[1],
            fd: s[2],
            events: h[3],
            ret: if h[4] & 1 == 0 { 0 } else { s[0] },
            epi,
            flags: h[5],
        }),
        1 => Event::Hooked(Hooked { header, ep, epi, file, whead, data, events: h[3], fd: s[2] }),
        2 => Event::Callback(Callback {
            header,
            ep,
            epi,
            file,
            whead,
            wait,
            prev_wait: epi,
            data,
            parent_ts,
            key: h[3],
            events: h[4],
            fd: s[2],
            flags: h[5],
        }),
        3 => Event::Wake(Wake {
            header,
            ep,
            cause_ts: data,
            woken_tgid: h[3],
            woken_tid: h[4],
            cause: h[5],
            ret: s[0],
            after_ns: h[1],
            pad: 0,
        }),
        4 => Event::WaitEnter(WaitEnter { header, ep, timeout_ns: i64::from(s[0]), epfd: s[1], maxevents: s[2] }),
        5 => Event::WaitExit(WaitExit { header, ep, data, epfd: s[0], ret: s[1], events: h[4], captured: h[3] }),
        6 => Event::Returned(Returned { header, ep, data, events: h[3], index: h[4] }),
        7 => Event::Scan(Scan { header, ep, first_left: epi, delivered: s[0], flags: h[3] }),
        8 => Event::Accept(Accept { header, file, fd: s[0], ret: s[1] }),
        9 => Event::Fork(Fork { header, child_tgid: h[3], child_tid: h[4], comm }),
        10 => Event::TaskName(TaskName { header, comm }),
        11 => Event::TaskExit(TaskExit { header, comm }),
        12 => Event::FileGone(FileGone { header, file }),
        13 => Event::EventpollGone(EventpollGone { header, ep }),
        14 => Event::FileInfo(FileInfo {
            header,
            file,
            f_op: whead,
            ino: wait,
            local: comm,
            remote: comm,
            local_port: 1,
            remote_port: u16::from(comm[0]),
            family: u16::from(comm[1] % 11),
            sock_type: comm[2] % 3,
            state: comm[3] % 11,
            netns: u32::from(comm[4] % 3),
            pad: 0,
        }),
        15 => Event::EventpollSeen(EventpollSeen { header, ep, owner_tgid: h[3], epfd: s[0], pad: 0 }),
        16 => Event::ItemSeen(ItemSeen { header, ep, epi, file, data, events: h[3], fd: s[0], flags: h[4], pad: 0 }),
        17 => Event::Raced(Raced { header, ep, epi, callback_ts: parent_ts }),
        18 => Event::Audited(Audited { header, ep, moment: h[3] % 5, flags: h[4] % 4, count: h[5] % 4, pad: 0 }),
        19 => Event::AuditedItem(AuditedItem { header, ep, epi, list: h[3] % 3, index: h[4] }),
        20 => Event::FileEnds(FileEnds { header, file }),
        21 => Event::TaskPid(TaskPid { header, ns_tgid: h[3], ns_tid: h[4] }),
        22 => {
            Event::Io(Io { header, file, fd: s[0], ret: s[1], left: h[3] % 3, call: h[4] % 4, flags: h[5] % 2, pad: 0 })
        }
        23 => Event::Path(Path {
            header,
            ep,
            cause_ts: data,
            softirq_ts: epi,
            interrupt_ts: file,
            sock_ts: whead,
            wake_ts: wait,
            cause_cpu: h[3],
            softirq: h[4],
        }),
        24..=26 => stack(kind - 24, header, n, h, comm),
        27 => Event::Loss(Loss {
            ts_ns: n[0],
            hook: Hook::ALL.get(usize::from(comm[0])).copied(),
            cpu: Some(h[0]),
            reason: LossReason::ALL[usize::from(comm[1]) % LossReason::ALL.len()],
            count: n[1],
        }),
        _ => Event::Mark(Mark { ts_ns: n[0], what: if h[0] & 1 == 0 { MarkKind::Started } else { MarkKind::Stopped } }),
    }
}

fn stack(kind: usize, header: Header, n: [u64; 8], h: [u32; 6], comm: [u8; 16]) -> Event {
    match kind {
        0 => Event::Stack(Stack { header, stack: n[1] % 4 }),
        1 => Event::Frame(Frame { header, stack: n[1] % 4, address: n[5] % 8, index: h[3] % 40, count: h[4] % 40 }),
        _ => {
            let text = std::array::from_fn(|place| comm[place % comm.len()]);
            Event::Symbol(Symbol { header, address: n[5] % 8, offset: n[6], of: h[3] % 5, part: h[4] % 6, text })
        }
    }
}

/// Any event.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    let numbers = proptest::array::uniform8(number());
    let halves = proptest::array::uniform6(half());
    let signed = proptest::array::uniform3(signed());
    (0..29_usize, numbers, halves, signed, any::<[u8; 16]>())
        .prop_map(|(kind, n, h, s, comm)| build(kind, n, h, s, comm))
}
