//! Events as the rules see them: with the eventpoll, the item and the task that each of them is about.

use tracer_common::Header;
use tracer_common::events::{
    Callback, Ctl, DELIVERED_UNKNOWN, Io, LEFT_UNKNOWN, Returned, WaitExit, io_call, io_flags, scan_flags,
};

use super::table::Tasks;
use crate::event::Event;
use crate::model::{EpId, FileId, Model, OpenWait, Outcome, TaskId};

/// An item, as the program knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) ep: EpId,
    pub(super) file: FileId,
    pub(super) fd: i32,
}

/// A row of the trace, from 1, and from where the call was made that it tells, if it tells one. No two rows have
/// one number, so it decides their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) number: u64,
    pub(super) call: Call,
}

/// From where a call was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    /// It is no call.
    #[default]
    No,
    /// It is not known.
    Unknown,
    /// From this stack.
    From(u64),
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.number.fmt(f)
    }
}

/// Something that happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) row: Row,
    pub(super) at_ns: u64,
    /// Whose doing it is; of a callback whoever was interrupted.
    pub(super) task: Option<TaskId>,
    /// How many waits that task has begun.
    pub(super) waits: u64,
    pub(super) what: What,
}

/// What happened.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    /// A task begins to wait.
    Waits { ep: EpId, timeout_ns: i64 },
    /// Its wait ended.
    Back { ep: EpId, ret: i32, wait: Option<OpenWait>, left_over: bool },
    /// It returned this event of this item, whose mask was this.
    Delivered { item: Subject, events: u32, mask: u32 },
    /// A source called an item back.
    Called { item: Subject, outcome: Outcome, key: u32 },
    /// `epoll_ctl` ended.
    Ctl { ep: EpId, file: Option<FileId>, fd: i32, op: i32, ret: i32 },
    /// `accept` ended.
    Accepted { file: Option<FileId>, fd: i32, ret: i32 },
    /// A call on a watched file ended, or begins, as [`Did`] says.
    Io { file: FileId, fd: i32, did: Did },
    /// A file is gone for good, and its items with it.
    FileGone { file: FileId },
    /// An eventpoll is gone for good, and its items with it.
    EventpollGone { ep: EpId },
    /// The task ends.
    TaskEnds,
}

/// What a call on a watched file did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Did {
    /// It read (bytes or messages, or a negative errno); so much is left, if that can be told.
    Read { ret: i32, left: Option<u32> },
    /// It accepted (a descriptor, or a negative errno); so many connections are left.
    Accept { ret: i32, left: Option<u32> },
    /// It wrote.
    Write,
    /// It begins to read, and will sleep: nothing is there.
    Sleeps,
    /// It begins to close the descriptor.
    Close,
}

/// What has to be remembered to tell.
#[derive(Debug, Default)]
pub(super) struct Watch {
    rows: u64,
    tasks: Tasks<Habit>,
}

/// Of a task.
#[derive(Debug, Clone, Copy, Default)]
struct Habit {
    waits: u64,
    /// The last scan of its present wait did not reach every item.
    left_over: bool,
}

impl Watch {
    /// What an event means. `model` knows what begins with it, and still knows what ends with it.
    pub(super) fn steps(&mut self, event: &Event, call: Call, model: &Model) -> Vec<Step> {
        self.rows = self.rows.saturating_add(1);
        let ep = |address| model.eventpolls().live_at(address).map(|ep| ep.id);
        let file = |address| model.files().live_at(address).map(|file| file.id);
        let whats: Vec<What> = match event {
            Event::WaitEnter(enter) => {
                if let Some(habit) = task(&enter.header, model).and_then(|task| self.tasks.at(task)) {
                    habit.waits = habit.waits.saturating_add(1);
                    habit.left_over = false;
                }
                ep(enter.ep).map(|ep| What::Waits { ep, timeout_ns: enter.timeout_ns }).into_iter().collect()
            }
            Event::Scan(scan) => {
                let in_wait = scan.flags & scan_flags::IN_WAIT != 0 || scan.delivered > 0;
                if let Some(habit) = task(&scan.header, model).filter(|_| in_wait).and_then(|task| self.tasks.at(task))
                {
                    let known = scan.flags & scan_flags::LISTS_KNOWN != 0 || scan.delivered == DELIVERED_UNKNOWN;
                    habit.left_over = known && scan.flags & scan_flags::LEFT_OVER != 0;
                }
                Vec::new()
            }
            Event::WaitExit(exit) => self.came_back(exit, model),
            Event::Returned(returned) => delivered(returned, model).into_iter().collect(),
            Event::Callback(callback) => called(callback, model).into_iter().collect(),
            Event::Ctl(ctl) => controlled(ctl, model).into_iter().collect(),
            Event::Accept(accept) => {
                vec![What::Accepted { file: file(accept.file), fd: accept.fd, ret: accept.ret }]
            }
            Event::Io(io) => called_on(io, model).into_iter().collect(),
            Event::FileGone(gone) => file(gone.file).map(|file| What::FileGone { file }).into_iter().collect(),
            Event::EventpollGone(gone) => ep(gone.ep).map(|ep| What::EventpollGone { ep }).into_iter().collect(),
            Event::TaskExit(_) => vec![What::TaskEnds],
            _ => Vec::new(),
        };
        let task = event.header().and_then(|header| task(header, model));
        let waits = task.and_then(|task| self.tasks.known(task)).map_or(0, |habit| habit.waits);
        if let (Event::TaskExit(_), Some(task)) = (event, task) {
            self.tasks.forget(task);
        }
        let row = Row { number: self.rows, call };
        whats.into_iter().map(|what| Step { row, at_ns: event.ts_ns(), task, waits, what }).collect()
    }

    /// The end of a wait, and its first event.
    fn came_back(&self, exit: &WaitExit, model: &Model) -> Vec<What> {
        let Some(ep) = model.eventpolls().live_at(exit.ep).map(|ep| ep.id) else { return Vec::new() };
        let known = model.tasks().live_at(exit.header.tid);
        let left_over = known.and_then(|task| self.tasks.known(task.id)).is_some_and(|habit| habit.left_over);
        let mut steps = vec![What::Back { ep, ret: exit.ret, wait: known.and_then(|task| task.wait), left_over }];
        if exit.captured > 0 {
            let &WaitExit { header, ep, data, events, .. } = exit;
            steps.extend(delivered(&Returned { header, ep, data, events, index: 0 }, model));
        }
        steps
    }
}

fn task(header: &Header, model: &Model) -> Option<TaskId> {
    model.tasks().live_at(header.tid).map(|task| task.id)
}

/// The item of a returned event, where its data says which one that is.
fn delivered(returned: &Returned, model: &Model) -> Option<What> {
    let ep = model.eventpolls().live_at(returned.ep)?.id;
    let items = model.items();
    let [id] = items.with_data(ep, returned.data, 2)[..] else { return None };
    let item = items.get(id)?;
    let subject = Subject { ep, file: item.file, fd: item.fd };
    Some(What::Delivered { item: subject, events: returned.events, mask: item.events })
}

fn called(callback: &Callback, model: &Model) -> Option<What> {
    let ep = model.eventpolls().live_at(callback.ep)?.id;
    let file = model.files().live_at(callback.file)?.id;
    let item = Subject { ep, file, fd: callback.fd };
    Some(What::Called { item, outcome: Outcome::of(callback), key: callback.key })
}

fn called_on(io: &Io, model: &Model) -> Option<What> {
    let left = (io.left != LEFT_UNKNOWN).then_some(io.left);
    let did = match io.call {
        _ if io.flags & io_flags::WILL_SLEEP != 0 => Did::Sleeps,
        io_call::READ => Did::Read { ret: io.ret, left },
        io_call::ACCEPT => Did::Accept { ret: io.ret, left },
        io_call::WRITE => Did::Write,
        io_call::CLOSE => Did::Close,
        _ => return None,
    };
    Some(What::Io { file: model.files().live_at(io.file)?.id, fd: io.fd, did })
}

fn controlled(ctl: &Ctl, model: &Model) -> Option<What> {
    let ep = model.eventpolls().live_at(ctl.ep)?.id;
    let file = model.files().live_at(ctl.file).map(|file| file.id);
    Some(What::Ctl { ep, file, fd: ctl.fd, op: ctl.op, ret: ctl.ret })
}
