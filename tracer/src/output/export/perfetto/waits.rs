//! Waits as slices, written when they end, and the wakes that ended them.

use std::io::{self, Write};

use ahash::AHashMap;
use tracer_common::events::{Returned, WaitExit};

use super::Perfetto;
use super::tracks::{Mark, Track};
use crate::event::Event;
use crate::model::OpenWait;
use crate::output::lines::eventpoll;
use crate::output::names::{errno, result};

/// Wakes that are remembered; when there are more, arrows end at the wake.
const MAX_WAKES: usize = 1 << 18;

/// `-EINTR`
const EINTR: i32 = -4;

/// The last wake of each task, by its tid, until its wait ends.
#[derive(Default)]
pub(super) struct Wakes(AHashMap<u32, Woken>);

/// What woke a task.
struct Woken {
    arrow: u64,
    by: String,
}

impl Wakes {
    pub(super) fn woken(&mut self, tid: u32, arrow: u64, by: &str) {
        if self.0.len() < MAX_WAKES || self.0.contains_key(&tid) {
            self.0.insert(tid, Woken { arrow, by: by.to_owned() });
        }
    }
}

impl<W: Write> Perfetto<W> {
    /// Writes the wait that an event ends; the model has not taken in the event yet.
    pub(super) fn wait_ends(&mut self, event: &Event) -> io::Result<()> {
        let Some(header) = event.header() else { return Ok(()) };
        let (pid, tid) = (header.tgid, header.tid);
        if matches!(event, Event::TaskExit(_)) {
            // Once the model has taken it in, its name is gone.
            self.task(pid, tid)?;
        }
        let open = self.model.tasks().live_at(tid).filter(|task| task.pid == pid).and_then(|task| task.wait);
        let mark = match (event, open) {
            (Event::WaitExit(exit), _) => return self.exit(exit, open),
            (Event::WaitEnter(_), Some(open)) => self.begun("epoll_wait: end not seen", &open),
            (Event::TaskExit(_), Some(open)) => self.begun("epoll_wait: the task ended", &open),
            (Event::TaskExit(_), None) => {
                self.wakes.0.remove(&tid);
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.wakes.0.remove(&tid);
        let track = self.task(pid, tid)?;
        let since = open.map_or(header.ts_ns, |open| open.since_ns);
        self.packets.slice_begin(since, track, mark)?;
        self.packets.slice_end(header.ts_ns, track)
    }

    fn exit(&mut self, e: &WaitExit, open: Option<OpenWait>) -> io::Result<()> {
        let name = match e.ret {
            1.. => "epoll_wait: events",
            0 => "epoll_wait: timeout",
            EINTR => "epoll_wait: interrupted",
            _ => "epoll_wait: error",
        };
        let mut mark = match open {
            Some(open) => self.begun(name, &open),
            None => Mark::new(name).flag("beginning not seen", true).text("eventpoll", &eventpoll(&self.model, e.ep)),
        };
        mark = mark.number("ret", e.ret);
        if let Some(errno) = errno(e.ret) {
            mark = mark.text("errno", &errno);
        }
        let woken = self.wakes.0.remove(&e.header.tid);
        if let Some(woken) = &woken {
            mark = mark.text("woken by", &woken.by);
        }
        let track = self.task(e.header.tgid, e.header.tid)?;
        let since = open.map_or(e.header.ts_ns, |open| open.since_ns.min(e.header.ts_ns));
        self.packets.slice_begin(since, track, mark)?;
        if let Some(woken) = woken {
            let mark = Mark::new(format!("returns {}", result(e.ret))).end_of(Some(woken.arrow));
            self.packets.instant(e.header.ts_ns, track, mark)?;
        }
        if e.captured > 0 {
            let (header, ep, data, events) = (e.header, e.ep, e.data, e.events);
            self.returned(&Returned { header, ep, data, events, index: 0 })?;
        }
        self.packets.slice_end(e.header.ts_ns, track)
    }

    fn begun(&self, name: &str, open: &OpenWait) -> Mark {
        let address = open.ep.and_then(|ep| self.model.eventpolls().get(ep)).map_or(0, |ep| ep.address);
        let mark = Mark::new(name)
            .text("eventpoll", &eventpoll(&self.model, address))
            .number("epfd", open.epfd)
            .number("maxevents", open.maxevents);
        if open.timeout_ns < 0 { mark.text("timeout", "none") } else { mark.number("timeout ns", open.timeout_ns) }
    }

    /// Writes the waits that had not ended with the trace: slices without an end.
    pub(super) fn open_waits(&mut self) -> io::Result<()> {
        let waiting = self.model.tasks().iter().filter(|task| task.alive);
        let waiting: Vec<_> = waiting.filter_map(|task| Some((task.pid, task.tid, task.wait?))).collect();
        for (pid, tid, open) in waiting {
            let mark = self.begun("epoll_wait: not over", &open);
            self.task(pid, tid)?;
            self.packets.slice_begin(open.since_ns, Track::Task(pid, tid), mark)?;
        }
        Ok(())
    }
}
