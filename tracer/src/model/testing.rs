//! Synthetic traces: a builder that makes the events a kernel would make.

pub(crate) mod nonsense;
mod waits;

use tracer_common::events::{
    Accept, Callback, Ctl, EventpollGone, FileGone, FileInfo, Fork, Hooked, Io, Returned, Scan, TaskExit, TaskName,
    WaitEnter, WaitExit, Wake, WakeCause, callback_flags, ctl_flags, io_call, io_flags, scan_flags,
};
use tracer_common::{COMM_LEN, Header, Hook, Miss};

use super::Model;
use crate::event::{Event, HookInfo, Loss, LossReason, Mark, MarkKind, TraceInfo};

/// `-EAGAIN`
pub(crate) const EAGAIN: i32 = -11;
/// What a TCP socket announces with new data or a new connection.
pub(crate) const KEY_IN: u32 = 0xc3;
/// `EPOLLIN` and what the kernel adds.
pub(crate) const LT: u32 = 0x19;
/// `EPOLLIN | EPOLLET`
pub(crate) const ET: u32 = LT | 1 << 31;
/// `EPOLLIN | EPOLLONESHOT`
pub(crate) const ONESHOT: u32 = LT | 1 << 30;
/// `EPOLLIN | EPOLLEXCLUSIVE`
pub(crate) const EXCLUSIVE: u32 = LT | 1 << 28;
/// Address of the `file_operations` of sockets in these traces.
pub(crate) const SOCKET_FOPS: u64 = 0x5000;
/// The process of all workers.
pub(crate) const PID: u32 = 100;

/// Address of the eventpoll with this number.
pub(crate) const fn ep(number: u64) -> u64 {
    0xe000 + number
}

/// Address of the item with this number.
pub(crate) const fn epi(number: u64) -> u64 {
    0x1_0000 + number
}

/// A trace in the making. Time goes on by one microsecond with each event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace {
    pub(crate) events: Vec<Event>,
    pub(crate) cpu: u32,
    now: u64,
}

impl Trace {
    pub(crate) fn new() -> Self {
        let mut trace = Self { events: Vec::new(), cpu: 0, now: 1_000_000_000 };
        trace.mark(MarkKind::Started);
        trace
    }

    pub(crate) fn mark(&mut self, what: MarkKind) {
        self.now += 1_000;
        self.events.push(Event::Mark(Mark { ts_ns: self.now, what }));
    }

    pub(crate) fn header(&mut self, tid: u32) -> Header {
        self.now += 1_000;
        Header { cpu: self.cpu, ts_ns: self.now, tgid: PID, tid, ..Header::default() }
    }

    pub(crate) fn named(&mut self, tid: u32, name: &str) {
        let header = self.header(tid);
        self.events.push(Event::TaskName(TaskName { header, comm: padded(name) }));
    }

    pub(crate) fn fork(&mut self, tid: u32, pid: u32, child_tid: u32, name: &str) {
        let header = self.header(tid);
        self.events.push(Event::Fork(Fork { header, child_tgid: pid, child_tid, comm: padded(name) }));
    }

    pub(crate) fn exit(&mut self, tid: u32, name: &str) {
        let header = self.header(tid);
        self.events.push(Event::TaskExit(TaskExit { header, comm: padded(name) }));
    }

    /// A listening TCP socket on 127.0.0.1.
    pub(crate) fn listens(&mut self, file: u64, port: u16) {
        let header = self.header(PID);
        let mut local = [0; 16];
        local[..4].copy_from_slice(&[127, 0, 0, 1]);
        self.events.push(Event::FileInfo(FileInfo {
            header,
            file,
            f_op: SOCKET_FOPS,
            ino: file,
            local,
            remote: [0; 16],
            local_port: port,
            remote_port: 0,
            family: 2,
            sock_type: 1,
            state: 10,
            netns: 0,
            pad: 0,
        }));
    }

    /// A file with these operations.
    pub(crate) fn describes(&mut self, file: u64, f_op: u64) {
        self.listens(file, 0);
        if let Some(Event::FileInfo(info)) = self.events.last_mut() {
            *info = FileInfo { f_op, family: 0, sock_type: 0, state: 0, local: [0; 16], ..*info };
        }
    }

    pub(crate) fn ctl(&mut self, tid: u32, op: i32, item: Item, ret: i32) {
        let header = self.header(tid);
        self.events.push(Event::Ctl(Ctl {
            header,
            ep: item.ep,
            file: item.file,
            data: item.data,
            epfd: item.epfd(),
            op,
            fd: item.fd,
            events: item.events & !0x18,
            ret,
            epi: 0,
            flags: u32::from(op != 2),
        }));
    }

    /// A call that ended well and found this item.
    pub(crate) fn finds(&mut self, tid: u32, op: i32, item: Item, flags: u32) {
        self.ctl(tid, op, item, 0);
        if let Some(Event::Ctl(ctl)) = self.events.last_mut() {
            ctl.epi = item.epi;
            ctl.flags |= ctl_flags::FOUND | flags;
        }
    }

    /// A successful ADD with its hook.
    pub(crate) fn add(&mut self, tid: u32, item: Item) {
        self.hooked(tid, item);
        self.ctl(tid, 1, item, 0);
    }

    pub(crate) fn hooked(&mut self, tid: u32, item: Item) {
        let header = self.header(tid);
        self.events.push(Event::Hooked(Hooked {
            header,
            ep: item.ep,
            epi: item.epi,
            file: item.file,
            whead: item.file + 8,
            data: item.data,
            events: item.events,
            fd: item.fd,
        }));
    }

    pub(crate) fn enter(&mut self, tid: u32, ep: u64) {
        let header = self.header(tid);
        let epfd = Item { ep, ..Item::default() }.epfd();
        self.events.push(Event::WaitEnter(WaitEnter { header, ep, timeout_ns: -1, epfd, maxevents: 64 }));
    }

    /// The end of a wait that returned these items, or failed.
    pub(crate) fn leave(&mut self, tid: u32, ep: u64, result: Result<&[Item], i32>) {
        let header = self.header(tid);
        let epfd = Item { ep, ..Item::default() }.epfd();
        let items = result.unwrap_or_default();
        let captured = u32::try_from(items.len()).unwrap();
        let ret = result.map_or_else(|errno| errno, |items| i32::try_from(items.len()).unwrap());
        let (data, events) = items.first().map_or((0, 0), |item| (item.data, item.events & 0x7));
        self.events.push(Event::WaitExit(WaitExit { header, ep, data, epfd, ret, events, captured }));
        for (index, item) in (1..).zip(items.iter().skip(1)) {
            let events = item.events & 0x7;
            self.events.push(Event::Returned(Returned { header, ep, data: item.data, events, index }));
        }
    }

    /// A callback; gives its time, which names it as the cause of wakes.
    pub(crate) fn callback(&mut self, item: Item, flags: u32, parent_ts: u64) -> u64 {
        let header = self.header(1);
        let ts = header.ts_ns;
        self.events.push(Event::Callback(Callback {
            header,
            ep: item.ep,
            epi: item.epi,
            file: item.file,
            whead: item.file + 8,
            wait: item.epi + 0x8_0000,
            prev_wait: 0,
            data: item.data,
            parent_ts,
            key: KEY_IN,
            events: item.events,
            fd: item.fd,
            flags,
        }));
        ts
    }

    /// The first callback of a walk.
    pub(crate) fn first(&mut self, item: Item) -> u64 {
        self.callback(item, callback_flags::FIRST, 0)
    }

    pub(crate) fn wake(&mut self, ep: u64, tid: u32, cause: WakeCause, by: (u32, u64), ret: i32) {
        let header = self.header(by.0);
        let cause = cause as u32;
        self.events.push(Event::Wake(Wake {
            header,
            ep,
            cause_ts: by.1,
            woken_tgid: PID,
            woken_tid: tid,
            cause,
            ret,
            after_ns: 0,
            pad: 0,
        }));
    }

    /// A callback woke a task.
    pub(crate) fn woken(&mut self, ep: u64, tid: u32, callback: u64) {
        self.wake(ep, tid, WakeCause::Callback, (1, callback), 1);
    }

    /// A scan inside a wait.
    pub(crate) fn scan(&mut self, tid: u32, ep: u64, delivered: i32, flags: u32) {
        let header = self.header(tid);
        let flags = flags | scan_flags::IN_WAIT | scan_flags::LISTS_KNOWN;
        self.events.push(Event::Scan(Scan { header, ep, first_left: 0, delivered, flags }));
    }

    /// A scan inside a wait that did not reach this item and those behind it.
    pub(crate) fn scan_leaving(&mut self, tid: u32, ep: u64, delivered: i32, flags: u32, first_left: u64) {
        self.scan(tid, ep, delivered, flags);
        if let Some(Event::Scan(scan)) = self.events.last_mut() {
            scan.first_left = first_left;
        }
    }

    pub(crate) fn accept(&mut self, tid: u32, file: u64, ret: i32) {
        let header = self.header(tid);
        self.events.push(Event::Accept(Accept { header, file, fd: 3, ret }));
    }

    /// A call on a watched file, as it ends: what it returned, and what is left to read.
    pub(crate) fn io(&mut self, tid: u32, file: u64, call: u32, ret: i32, left: u32) {
        let header = self.header(tid);
        self.events.push(Event::Io(Io { header, file, fd: 3, ret, left, call, flags: 0, pad: 0 }));
    }

    /// A read of a watched file, as it begins and will sleep.
    pub(crate) fn read_sleeps(&mut self, tid: u32, file: u64) {
        let header = self.header(tid);
        let flags = io_flags::WILL_SLEEP;
        self.events.push(Event::Io(Io { header, file, fd: 3, ret: 0, left: 0, call: io_call::READ, flags, pad: 0 }));
    }

    pub(crate) fn file_gone(&mut self, file: u64) {
        let header = self.header(PID);
        self.events.push(Event::FileGone(FileGone { header, file }));
    }

    pub(crate) fn eventpoll_gone(&mut self, ep: u64) {
        let header = self.header(PID);
        self.events.push(Event::EventpollGone(EventpollGone { header, ep }));
    }

    pub(crate) fn lost(&mut self, hook: Hook, reason: LossReason, count: u64) {
        self.now += 1_000;
        self.events.push(Event::Loss(Loss { ts_ns: self.now, hook: Some(hook), cpu: Some(1), reason, count }));
    }

    /// The finished model of the trace.
    pub(crate) fn model(&self) -> Model {
        let mut model = self.so_far();
        model.finish();
        model
    }

    /// The model of the trace, which goes on.
    fn so_far(&self) -> Model {
        let mut model = Model::new();
        for event in &self.events {
            model.apply(event);
        }
        model
    }
}

/// What the model makes of this before its end.
pub(crate) fn so_far(build: impl FnOnce(&mut Trace)) -> Model {
    let mut trace = Trace::new();
    build(&mut trace);
    trace.so_far()
}

/// Two items of one eventpoll, with descriptors 3 and 4.
pub(crate) fn pair(events: u32) -> (Item, Item) {
    let first = Item::socket(1, LISTENER, events);
    (first, Item { epi: 0x2_0000, file: 0xf100, fd: 4, data: 4, ..first })
}

/// One registration.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Item {
    pub(crate) ep: u64,
    pub(crate) epi: u64,
    pub(crate) file: u64,
    pub(crate) fd: i32,
    pub(crate) events: u32,
    pub(crate) data: u64,
}

impl Item {
    /// The socket `file`, fd 3, in eventpoll number `n`, as item number `n`.
    pub(crate) const fn socket(n: u64, file: u64, events: u32) -> Self {
        Self { ep: ep(n), epi: epi(n), file, fd: 3, events, data: 3 }
    }

    fn epfd(self) -> i32 {
        10 + i32::try_from(self.ep.saturating_sub(0xe000)).unwrap_or(0)
    }
}

/// The loss of events for want of room.
pub(crate) const RING_FULL: LossReason = LossReason::Probe(Miss::RingFull);

/// The facts of these traces.
pub(crate) fn info() -> TraceInfo {
    let hooks = Hook::ALL
        .into_iter()
        .filter(|hook| !matches!(hook, Hook::Audit | Hook::Io | Hook::Path | Hook::Stack))
        .map(|hook| HookInfo {
            hook: hook.name().to_owned(),
            backend: "fentry".to_owned(),
            targets: Vec::new(),
            missing: String::new(),
        });
    TraceInfo {
        eptrace: "0.1.0".to_owned(),
        kernel: "6.1.0".to_owned(),
        machine: "x86_64".to_owned(),
        cpus: 2,
        target: "-- herd".to_owned(),
        realtime_ns: 1_700_000_000_000_000_000,
        monotonic_ns: 1_000_000_000,
        hooks: hooks.collect(),
        file_kinds: [(SOCKET_FOPS, "socket".to_owned())].into(),
        stacks: false,
        limits: Vec::new(),
    }
}

fn padded(name: &str) -> [u8; COMM_LEN] {
    let mut comm = [0; COMM_LEN];
    for (to, from) in comm.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    comm
}

/// The listening socket of the scenarios below.
pub(crate) const LISTENER: u64 = 0xf000;

/// `workers` eventpolls with one waiting task each (tid 101...), all of which watch one socket.
pub(crate) fn workers(trace: &mut Trace, workers: u64, events: u32) {
    trace.named(PID, "herd");
    trace.listens(LISTENER, 8080);
    for n in 1..=workers {
        let tid = PID + u32::try_from(n).unwrap();
        trace.fork(PID, PID, tid, &format!("worker-{n}"));
        trace.add(tid, Item::socket(n, LISTENER, events));
        trace.enter(tid, ep(n));
    }
}

/// Level-triggered, four workers, three connections: each wakes all; the first accepts, the second finds nothing to accept, the
/// other two find nothing to return.
pub(crate) fn lt() -> Trace {
    let mut trace = Trace::new();
    workers(&mut trace, 4, LT);
    for connection in 0..3 {
        let mut calls = Vec::new();
        for n in (1..=4).rev() {
            let flags = if n == 4 { callback_flags::FIRST } else { 0 };
            let ts = trace.callback(Item::socket(n, LISTENER, LT), flags, 0);
            trace.woken(ep(n), PID + u32::try_from(n).unwrap(), ts);
            calls.push(ts);
        }
        for n in 1..=2 {
            let tid = PID + u32::try_from(n).unwrap();
            let item = Item::socket(n, LISTENER, LT);
            trace.scan(tid, ep(n), 1, scan_flags::REQUEUED);
            trace.leave(tid, ep(n), Ok(&[item]));
        }
        trace.accept(101, LISTENER, 7 + connection);
        trace.accept(102, LISTENER, EAGAIN);
        for n in 3..=4 {
            trace.scan(PID + n, ep(u64::from(n)), 0, 0);
        }
        for n in 1..=2 {
            let tid = PID + u32::try_from(n).unwrap();
            trace.enter(tid, ep(n));
            trace.scan(tid, ep(n), 0, 0);
        }
    }
    trace.mark(MarkKind::Stopped);
    trace
}

/// One eventpoll, `workers` waiting tasks (tid 101...) with one item on the listening socket.
pub(crate) fn shared(trace: &mut Trace, workers: u32, events: u32) -> Item {
    let item = Item::socket(1, LISTENER, events);
    trace.listens(LISTENER, 8080);
    trace.add(PID, item);
    for tid in 101..=PID + workers {
        trace.enter(tid, ep(1));
    }
    item
}

/// Level-triggered in one shared eventpoll, four tasks, one connection: each scan wakes the next task.
pub(crate) fn chain() -> Trace {
    let mut trace = Trace::new();
    let item = shared(&mut trace, 4, LT);
    let ts = trace.first(item);
    trace.woken(ep(1), 104, ts);
    for tid in (101..=104).rev() {
        if tid > 101 {
            trace.wake(ep(1), tid - 1, WakeCause::Scan, (tid, 0), 1);
        }
        trace.scan(tid, ep(1), 1, scan_flags::REQUEUED);
        trace.leave(tid, ep(1), Ok(&[item]));
    }
    trace.accept(104, LISTENER, 9);
    for tid in 101..=103 {
        trace.accept(tid, LISTENER, EAGAIN);
    }
    trace
}

/// `EPOLLEXCLUSIVE`, four workers, three connections: each wakes the first worker only.
pub(crate) fn exclusive() -> Trace {
    let mut trace = Trace::new();
    workers(&mut trace, 4, EXCLUSIVE);
    let item = Item::socket(1, LISTENER, EXCLUSIVE);
    for connection in 0..3 {
        let ts = trace.callback(item, callback_flags::FIRST | callback_flags::EXCLUSIVE, 0);
        trace.woken(ep(1), 101, ts);
        trace.scan(101, ep(1), 1, scan_flags::REQUEUED);
        trace.leave(101, ep(1), Ok(&[item]));
        trace.accept(101, LISTENER, 7 + connection);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 0, 0);
    }
    trace.mark(MarkKind::Stopped);
    trace
}
