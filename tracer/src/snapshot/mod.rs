//! The structures of a running program as they stand: eventpolls with tree, lists, sleeping tasks and wait queues.
//!
//! In: the records of one reading, what `/proc/PID/fdinfo` said at the same moment, and who has which file open. Out: [`Eventpoll`],
//! checked: what does not fit together is a [`Fault`] of the tree or a [`Torn`] reading, never a panic. Nothing is trusted; every
//! walk ends.

mod descriptors;
pub mod fdinfo;
mod reading;
mod record;
mod shape;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::fmt;

use tracer_common::Miss;

pub use self::descriptors::{Descriptor, OpenFiles};
pub use self::reading::{Reading, read};
pub use self::record::{Record, record};
pub use self::shape::{Colour, Fault, Shape};
use crate::event::FileInfo;

/// The most items of one eventpoll that are read. They take some 300 bytes each.
pub const MAX_ITEMS_READ: usize = 1 << 20;

/// A snapshot of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Release of the kernel.
    pub kernel: String,
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// The eventpolls asked for, each followed by those that are nested in it.
    pub eventpolls: Vec<Eventpoll>,
    /// What was left out, or could not be read: sentences.
    pub notes: Vec<String>,
}

/// Who has an eventpoll open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Its descriptor there.
    pub epfd: i32,
}

/// One eventpoll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eventpoll {
    /// Its address.
    pub address: u64,
    /// Who has it open; the first is through whom it was read.
    pub holders: Vec<Holder>,
    /// How often it was read until the parts fitted together, or no longer.
    pub attempts: u32,
    /// What was read.
    pub reading: Reading,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its thread group.
    pub pid: u32,
    /// Its number.
    pub tid: u32,
    /// Its name.
    pub comm: String,
}

/// A task that sleeps in `epoll_wait`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sleeper {
    /// Which.
    pub task: Task,
    /// Whether a wakeup ends with it.
    pub exclusive: bool,
}

/// An item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Address of the epitem.
    pub epi: u64,
    /// Address of the watched file.
    pub file: u64,
    /// The descriptor that it was registered with.
    pub fd: i32,
    /// What that descriptor is now.
    pub descriptor: Descriptor,
    /// Its mask.
    pub events: u32,
    /// Its data.
    pub data: u64,
    /// What the file is.
    pub info: Option<FileInfo>,
    /// The eventpoll that the file is.
    pub inner: Option<u64>,
    /// Its place on the ready list.
    pub ready: Option<usize>,
    /// The wait queues that it hangs on.
    pub chain: Vec<Hook>,
}

/// An `eppoll_entry` and the wait queue that it hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// Address of the `eppoll_entry`.
    pub pwq: u64,
    /// Address of the wait queue head; 0 when the queue is gone.
    pub whead: u64,
    /// Where it stands on the wait queue, from 0; `None` when it was not met there.
    pub position: Option<u32>,
    /// Whether a wakeup may end with it (`EPOLLEXCLUSIVE`).
    pub is_exclusive: bool,
    /// Entries on the wait queue, this one included.
    pub entries: u32,
    /// Those that belong to eventpolls.
    pub epolls: u32,
    /// Those that are exclusive.
    pub exclusive: u32,
    /// The queue is longer than what was counted, or changed meanwhile.
    pub more: bool,
}

/// An item on a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Address of the epitem.
    pub epi: u64,
    /// Its place among the items, if it is one of them.
    pub item: Option<usize>,
}

/// A scan that ran when the reading began; the reading waited for its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The items that came meanwhile, as they stood on the overflow list: the last to come first.
    pub overflow: Vec<Place>,
    /// There may be more of them.
    pub more: bool,
}

/// Why a reading may be torn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Torn {
    /// The kernel did not come to the end of the tree, or some of it was not told.
    Incomplete,
    /// Something could not be read or told.
    Missed(Vec<Miss>),
    /// The tree contradicts itself.
    Tree,
    /// The tree is not what `/proc/PID/fdinfo` lists: how.
    Fdinfo(String),
    /// The ready list does not hold together.
    Ready,
    /// The queue of sleeping tasks was another before and after.
    Waiters,
    /// The eventpoll's mutex could not be had for so many seconds.
    Held(u64),
}

impl fmt::Display for Torn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete => out.write_str("the walk over the tree was not told to its end"),
            Self::Missed(misses) => {
                let names: Vec<_> = misses.iter().map(|miss| miss.name()).collect();
                write!(out, "something could not be read ({})", names.join(", "))
            }
            Self::Tree => out.write_str("the tree contradicts itself"),
            Self::Fdinfo(how) => write!(out, "the tree is not what fdinfo lists: {how}"),
            Self::Ready => out.write_str("the ready list changed while it was read"),
            Self::Waiters => out.write_str("tasks came or went on the queue of sleeping tasks"),
            Self::Held(seconds) => write!(out, "the eventpoll's mutex could not be had for {seconds} s"),
        }
    }
}

impl Torn {
    /// The name in JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Missed(_) => "missed",
            Self::Tree => "tree",
            Self::Fdinfo(_) => "fdinfo",
            Self::Ready => "ready",
            Self::Waiters => "waiters",
            Self::Held(_) => "held",
        }
    }
}
