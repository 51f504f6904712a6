//! Traces of a herd: workers with an eventpoll each, that watch one listening socket level-triggered.

use std::path::Path;

use anyhow::Result;
use eptrace::event::{
    Accept, Callback, Ctl, Event, FileInfo, Fork, Header, Hooked, Mark, MarkKind, Scan, TaskName, TraceInfo, WaitEnter,
    WaitExit, Wake, WakeCause,
};
use eptrace::trace_file::Writer;
use tracer_common::COMM_LEN;
use tracer_common::events::{callback_flags, scan_flags};

const PID: u32 = 100;
const SOCKET: u64 = 0xf000;
const MASK: u32 = 0x19;
const EAGAIN: i32 = -11;

/// A command line that a page must not take for markup.
pub(crate) const HOSTILE_TARGET: &str = "-- <script>alert(1)</script> <b hostile>";

/// So many workers, and so many connections.
pub(crate) struct Herd {
    workers: u32,
    connections: u32,
    hostile: bool,
}

impl Herd {
    pub(crate) const fn new(workers: u32, connections: u32) -> Self {
        Self { workers, connections, hostile: false }
    }

    /// Workers with names that are markup, and escape sequences.
    pub(crate) const fn hostile() -> Self {
        Self { workers: 4, connections: 5, hostile: true }
    }

    fn name(&self, worker: u32) -> String {
        match (self.hostile, worker) {
            (false, _) => format!("worker-{worker}"),
            (true, 1) => "<script>owned=1".to_owned(),
            (true, 2) => "\u{1b}]0;x\u{7}".to_owned(),
            (true, 3) => "</script><b>".to_owned(),
            (true, _) => "<img src=x>".to_owned(),
        }
    }

    /// Writes the trace.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let target = if self.hostile { HOSTILE_TARGET } else { "-- herd" };
        let mut writer = Writer::create(path, &TraceInfo { target: target.to_owned(), ..TraceInfo::default() })?;
        for event in self.events() {
            writer.push(&event)?;
        }
        writer.finish()?;
        Ok(())
    }

    /// Its events, a microsecond apart.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut trace = Trace { now: 1_000_000_000, events: Vec::new() };
        trace.mark(MarkKind::Started);
        trace.begins(self);
        for connection in 0..self.connections {
            trace.connection(self.workers, connection);
        }
        trace.mark(MarkKind::Stopped);
        trace.events
    }
}

struct Trace {
    now: u64,
    events: Vec<Event>,
}

fn comm(name: &str) -> [u8; COMM_LEN] {
    let mut comm = [0; COMM_LEN];
    comm.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    comm
}

fn ep(worker: u32) -> u64 {
    0xe000 + u64::from(worker)
}

fn epi(worker: u32) -> u64 {
    0x1_0000 + u64::from(worker)
}

fn epfd(worker: u32) -> i32 {
    10 + i32::try_from(worker).unwrap_or(0)
}

impl Trace {
    fn header(&mut self, tid: u32) -> Header {
        self.now += 1_000;
        Header { ts_ns: self.now, tgid: PID, tid, ..Header::default() }
    }

    fn mark(&mut self, what: MarkKind) {
        self.now += 1_000;
        self.events.push(Event::Mark(Mark { ts_ns: self.now, what }));
    }

    fn begins(&mut self, herd: &Herd) {
        let header = self.header(PID);
        self.events.push(Event::TaskName(TaskName { header, comm: comm("herd") }));
        let header = self.header(PID);
        let mut local = [0; 16];
        local[..4].copy_from_slice(&[127, 0, 0, 1]);
        self.events.push(Event::FileInfo(FileInfo {
            header,
            file: SOCKET,
            f_op: 0x5000,
            ino: 7,
            local,
            remote: [0; 16],
            local_port: 8080,
            remote_port: 0,
            family: 2,
            sock_type: 1,
            state: 10,
            netns: 0,
            pad: 0,
        }));
        for worker in 1..=herd.workers {
            let header = self.header(PID);
            let name = comm(&herd.name(worker));
            self.events.push(Event::Fork(Fork { header, child_tgid: PID, child_tid: PID + worker, comm: name }));
            self.registers(worker);
            self.enters(worker);
        }
    }

    fn registers(&mut self, worker: u32) {
        let (ep, epi, file, fd, data) = (ep(worker), epi(worker), SOCKET, 3, 3);
        let header = self.header(PID + worker);
        self.events.push(Event::Hooked(Hooked { header, ep, epi, file, whead: SOCKET + 8, data, events: MASK, fd }));
        let header = self.header(PID + worker);
        let epfd = epfd(worker);
        self.events.push(Event::Ctl(Ctl { header, ep, file, data, epfd, op: 1, fd, events: 1, ret: 0, epi, flags: 3 }));
    }

    fn enters(&mut self, worker: u32) {
        let header = self.header(PID + worker);
        let (ep, epfd) = (ep(worker), epfd(worker));
        self.events.push(Event::WaitEnter(WaitEnter { header, ep, timeout_ns: -1, epfd, maxevents: 64 }));
    }

    /// A connection wakes every worker; the first gets it, the second finds nothing to accept, the others sleep on.
    fn connection(&mut self, workers: u32, connection: u32) {
        for worker in (1..=workers).rev() {
            self.callback(worker, worker == workers);
        }
        for turn in 0..workers {
            let worker = 1 + (turn + connection) % workers;
            if turn > 1 {
                self.scan(worker, 0);
                continue;
            }
            self.scan(worker, 1);
            let header = self.header(PID + worker);
            let (ep, epfd) = (ep(worker), epfd(worker));
            self.events.push(Event::WaitExit(WaitExit { header, ep, data: 3, epfd, ret: 1, events: 1, captured: 1 }));
            let header = self.header(PID + worker);
            let ret = if turn == 0 { 9 } else { EAGAIN };
            self.events.push(Event::Accept(Accept { header, file: SOCKET, fd: 3, ret }));
            self.enters(worker);
            self.scan(worker, 0);
        }
    }

    fn callback(&mut self, worker: u32, first: bool) {
        let header = self.header(1);
        let (ep, epi) = (ep(worker), epi(worker));
        self.events.push(Event::Callback(Callback {
            header,
            ep,
            epi,
            file: SOCKET,
            whead: SOCKET + 8,
            wait: epi + 0x8_0000,
            prev_wait: 0,
            data: 3,
            parent_ts: 0,
            key: 0xc3,
            events: MASK,
            fd: 3,
            flags: if first { callback_flags::FIRST } else { 0 },
        }));
        let cause_ts = self.now;
        let header = self.header(1);
        self.events.push(Event::Wake(Wake {
            header,
            ep,
            cause_ts,
            woken_tgid: PID,
            woken_tid: PID + worker,
            cause: WakeCause::Callback as u32,
            ret: 1,
            after_ns: 700,
            pad: 0,
        }));
    }

    fn scan(&mut self, worker: u32, delivered: i32) {
        let header = self.header(PID + worker);
        let put_back = if delivered > 0 { scan_flags::REQUEUED } else { 0 };
        let flags = scan_flags::IN_WAIT | scan_flags::LISTS_KNOWN | put_back;
        self.events.push(Event::Scan(Scan { header, ep: ep(worker), first_left: 0, delivered, flags }));
    }
}
