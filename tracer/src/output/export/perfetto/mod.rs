//! A timeline for Perfetto (ui.perfetto.dev): a track per task with its waits, a track per eventpoll with its callbacks and the
//! length of its ready list, and arrows from a callback to the task it woke to that task's return.
//!
//! Each wait is a slice that bears in its name what ended it. Packets need not be in the order of time: a wait is written when it
//! ends, since only then that is known. What the probes tell for the reconstruction alone (walks of the audit, facts about files)
//! is left out.

mod proto;
#[cfg(test)]
mod tests;
mod tracks;
mod waits;

use std::io::{self, Write};

use tracer_common::events::{
    Accept, Callback, Ctl, DELIVERED_UNKNOWN, Returned, Scan, Wake, WakeCause, callback_flags, ctl_flags,
};

use self::tracks::{Mark, Packets, Track};
use self::waits::Wakes;
use super::EventExport;
use crate::event::{Event, Loss, MarkKind, TraceInfo};
use crate::model::{EpId, Model, Outcome};
use crate::output::layout::task_name;
use crate::output::lines::{cause, eventpoll, scan_notes};
use crate::output::names::{ctl_op, epoll_events, errno, result};

/// Writes a Perfetto trace.
pub struct Perfetto<W> {
    packets: Packets<W>,
    model: Model,
    wakes: Wakes,
    /// The lengths of ready lists that were written last; 0 is no entry.
    lengths: ahash::AHashMap<EpId, u64>,
    /// When the last event was.
    last_ns: u64,
}

impl<W: Write> Perfetto<W> {
    /// The timeline of the trace that `info` belongs to; `model` is empty and knows its limits.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn new(out: W, info: &TraceInfo, model: Model) -> io::Result<Self> {
        let mut packets = Packets::new(out);
        packets.begin(info)?;
        packets.describe(Track::Tracer, "eptrace")?;
        let mut traced = Mark::new("trace").text("target", &info.target).text("kernel", &info.kernel);
        for limit in &info.limits {
            traced = traced.text("cannot see", limit);
        }
        packets.instant(info.monotonic_ns, Track::Tracer, traced)?;
        Ok(Self { packets, model, wakes: Wakes::default(), lengths: ahash::AHashMap::new(), last_ns: 0 })
    }

    /// The track of a task, described.
    fn task(&mut self, pid: u32, tid: u32) -> io::Result<Track> {
        let tasks = self.model.tasks();
        let process = tasks.process(pid).map_or("", |task| task.comm.as_str());
        self.packets.describe(Track::Process(pid), process)?;
        let named = tasks.live_at(tid).filter(|task| task.pid == pid).map_or("", |task| task.comm.as_str());
        let track = Track::Task(pid, tid);
        self.packets.describe(track, named)?;
        Ok(track)
    }

    /// The track of the eventpoll that lived last at this address, described.
    fn eventpoll(&mut self, address: u64) -> io::Result<Track> {
        let life = self.model.eventpolls().last_at(address).map_or(0, |ep| ep.id.0);
        let track = Track::Eventpoll(life);
        let name = if life == 0 { "unknown".to_owned() } else { eventpoll(&self.model, address) };
        self.packets.describe(track, &format!("eventpoll {name}"))?;
        Ok(track)
    }

    fn name_of(&self, pid: u32, tid: u32) -> String {
        let task = self.model.tasks().live_at(tid).filter(|task| task.pid == pid);
        task_name(task.map_or("", |task| task.comm.as_str()), pid, tid)
    }

    fn callback(&mut self, e: &Callback) -> io::Result<()> {
        let track = self.eventpoll(e.ep)?;
        let mark = Mark::new(format!("callback fd {}", e.fd))
            .flow(flow(e.header.cpu, e.header.ts_ns))
            .text("outcome", Outcome::of(e).name())
            .text("announced", &if e.key == 0 { "anything".to_owned() } else { epoll_events(e.key) })
            .text("wanted", &epoll_events(e.events))
            .number("fd", e.fd)
            .address("data", e.data)
            .address("wait queue", e.whead)
            .flag("first of its source wakeup", e.flags & callback_flags::FIRST != 0)
            .flag("nested", e.parent_ts != 0)
            .text("on", &self.name_of(e.header.tgid, e.header.tid))
            .number("cpu", e.header.cpu);
        self.packets.instant(e.header.ts_ns, track, mark)
    }

    fn wake(&mut self, e: &Wake) -> io::Result<()> {
        let by_callback = e.cause == WakeCause::Callback as u32;
        let arrow = if by_callback { flow(e.header.cpu, e.cause_ts) } else { !flow(e.header.cpu, e.header.ts_ns) };
        let woken = self.name_of(e.woken_tgid, e.woken_tid);
        if !by_callback {
            let track = self.task(e.header.tgid, e.header.tid)?;
            let mark = Mark::new(format!("wakes {woken}")).flow(arrow).text("by", cause(e.cause));
            self.packets.instant(e.header.ts_ns, track, mark)?;
        }
        let track = self.task(e.woken_tgid, e.woken_tid)?;
        let name = if e.ret == 0 { "already running" } else { "woken" };
        let by = if by_callback { "a callback".to_owned() } else { self.name_of(e.header.tgid, e.header.tid) };
        let mark = Mark::new(name)
            .flow(arrow)
            .text("by", &by)
            .text("cause", cause(e.cause))
            .text("eventpoll", &eventpoll(&self.model, e.ep));
        self.packets.instant(e.header.ts_ns, track, mark)?;
        // Where only the end of the waking is told, the wait may be over by then.
        let waits = self.model.tasks().live_at(e.woken_tid).is_some_and(|task| task.wait.is_some());
        if e.ret != 0 && (by_callback || waits) {
            self.wakes.woken(e.woken_tid, arrow, &by);
        }
        Ok(())
    }

    fn scan(&mut self, e: &Scan) -> io::Result<()> {
        let track = self.eventpoll(e.ep)?;
        let mut mark = Mark::new("scan").text("by", &self.name_of(e.header.tgid, e.header.tid));
        if e.delivered != DELIVERED_UNKNOWN {
            mark = mark.number("delivered", e.delivered);
        }
        for note in scan_notes(e) {
            mark = mark.text("note", note);
        }
        self.packets.instant(e.header.ts_ns, track, mark)
    }

    fn ctl(&mut self, e: &Ctl) -> io::Result<()> {
        let track = self.task(e.header.tgid, e.header.tid)?;
        let mut mark = Mark::new(format!("epoll_ctl {}", ctl_op(e.op).trim_start_matches("EPOLL_CTL_")))
            .text("eventpoll", &eventpoll(&self.model, e.ep))
            .number("fd", e.fd)
            .text("result", &result(e.ret));
        if e.flags & ctl_flags::HAS_EVENT != 0 {
            mark = mark.text("events", &epoll_events(e.events)).address("data", e.data);
        }
        self.packets.instant(e.header.ts_ns, track, mark)
    }

    fn accept(&mut self, e: &Accept) -> io::Result<()> {
        let track = self.task(e.header.tgid, e.header.tid)?;
        let name = errno(e.ret).map_or_else(|| "accept".to_owned(), |name| format!("accept {name}"));
        self.packets.instant(e.header.ts_ns, track, Mark::new(name).number("fd", e.fd).text("result", &result(e.ret)))
    }

    fn item(&mut self, what: &str, ts_ns: u64, ep: u64, (fd, events, data): (i32, u32, u64)) -> io::Result<()> {
        let track = self.eventpoll(ep)?;
        let mark = Mark::new(what).number("fd", fd).text("events", &epoll_events(events)).address("data", data);
        self.packets.instant(ts_ns, track, mark)
    }

    /// One event that a wait returned.
    fn returned(&mut self, e: &Returned) -> io::Result<()> {
        let track = self.task(e.header.tgid, e.header.tid)?;
        let mark = Mark::new("event").text("events", &epoll_events(e.events)).address("data", e.data);
        self.packets.instant(e.header.ts_ns, track, mark.number("index", e.index))
    }

    fn loss(&mut self, e: &Loss) -> io::Result<()> {
        self.packets.describe(Track::Losses, "LOST")?;
        let lost = e.reason.loses_events(e.hook);
        let mut mark = Mark::new(format!("{}: {}", if lost { "LOST" } else { "not in full" }, e.reason.name()))
            .number("count", i64::try_from(e.count).unwrap_or(i64::MAX))
            .flag("loses events", lost);
        if let Some(hook) = e.hook {
            mark = mark.text("hook", hook.name());
        }
        if let Some(cpu) = e.cpu {
            mark = mark.number("cpu", cpu);
        }
        self.packets.instant(e.ts_ns, Track::Losses, mark)
    }

    fn what(&mut self, event: &Event) -> io::Result<()> {
        let ts_ns = event.ts_ns();
        match event {
            Event::Ctl(e) => self.ctl(e),
            Event::Callback(e) => self.callback(e),
            Event::Wake(e) => self.wake(e),
            Event::Returned(e) => self.returned(e),
            Event::Scan(e) => self.scan(e),
            Event::Accept(e) => self.accept(e),
            Event::Hooked(e) => self.item("item hooked", ts_ns, e.ep, (e.fd, e.events, e.data)),
            Event::ItemSeen(e) => self.item("item found", ts_ns, e.ep, (e.fd, e.events, e.data)),
            Event::EventpollGone(e) => {
                let track = self.eventpoll(e.ep)?;
                self.packets.instant(ts_ns, track, Mark::new("closed for good"))
            }
            Event::TaskName(e) => self.task(e.header.tgid, e.header.tid).map(drop),
            Event::Fork(e) => self.task(e.child_tgid, e.child_tid).map(drop),
            Event::TaskExit(e) => {
                let track = Track::Task(e.header.tgid, e.header.tid);
                self.packets.instant(ts_ns, track, Mark::new("ends"))?;
                self.packets.forget(track);
                Ok(())
            }
            Event::Loss(e) => self.loss(e),
            Event::Mark(mark) => {
                let name = match mark.what {
                    MarkKind::Started => "all probes are on",
                    MarkKind::Stopped => "the probes are off",
                };
                self.packets.instant(ts_ns, Track::Tracer, Mark::new(name))
            }
            // Waits are written where they end; the others are for the reconstruction alone.
            Event::WaitEnter(_)
            | Event::WaitExit(_)
            | Event::FileInfo(_)
            | Event::EventpollSeen(_)
            | Event::FileGone(_)
            | Event::FileEnds(_)
            | Event::Raced(_)
            | Event::Audited(_)
            | Event::AuditedItem(_)
            | Event::TaskPid(_)
            | Event::Io(_)
            | Event::Path(_)
            | Event::Stack(_)
            | Event::Frame(_)
            | Event::Symbol(_) => Ok(()),
        }
    }

    /// Writes the lengths of ready lists that an event may have changed, if it has.
    fn lengths(&mut self, ts_ns: u64, ids: &[EpId]) -> io::Result<()> {
        for &id in ids {
            let length = self.model.items().ready(id);
            if self.lengths.get(&id).copied().unwrap_or_default() == length {
                continue;
            }
            if length == 0 {
                self.lengths.remove(&id);
            } else {
                self.lengths.insert(id, length);
            }
            if let Some(address) = self.model.eventpolls().get(id).map(|ep| ep.address) {
                self.eventpoll(address)?;
            }
            let track = Track::ReadyList(id.0);
            self.packets.describe(track, "ready list")?;
            self.packets.counter(ts_ns, track, length)?;
        }
        Ok(())
    }
}

impl<W: Write> EventExport for Perfetto<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.last_ns = self.last_ns.max(event.ts_ns());
        self.wait_ends(event)?;
        let gone = match event {
            Event::FileGone(e) => self.model.files().live_at(e.file).map(|file| file.id),
            _ => None,
        };
        self.model.apply(event);
        self.what(event)?;
        if let Some(file) = gone {
            let registered: Vec<EpId> = self.model.registered(file).collect();
            return self.lengths(event.ts_ns(), &registered);
        }
        let changed = eventpoll_of(event).and_then(|ep| self.model.eventpolls().last_at(ep)).map(|ep| ep.id);
        self.lengths(event.ts_ns(), changed.as_slice())
    }

    fn finish(&mut self, torn: Option<&str>) -> io::Result<()> {
        self.open_waits()?;
        if let Some(torn) = torn {
            let mark = Mark::new("the recording ended without its end").text("how", torn);
            self.packets.instant(self.last_ns, Track::Tracer, mark)?;
        }
        self.packets.flush()
    }
}

/// The number of the arrow that begins at the callback of this CPU and time.
const fn flow(cpu: u32, ts_ns: u64) -> u64 {
    ts_ns << 12 ^ cpu as u64
}

/// The eventpoll whose ready list an event may have changed.
const fn eventpoll_of(event: &Event) -> Option<u64> {
    match event {
        Event::Ctl(e) => Some(e.ep),
        Event::Hooked(e) => Some(e.ep),
        Event::Callback(e) => Some(e.ep),
        Event::WaitExit(e) => Some(e.ep),
        Event::Returned(e) => Some(e.ep),
        Event::Scan(e) => Some(e.ep),
        Event::ItemSeen(e) => Some(e.ep),
        Event::EventpollGone(e) => Some(e.ep),
        _ => None,
    }
}
